"""When not to answer: an image whose most probable class is not probable enough is called unknown.

That is selective classification by the top-1 probability (Chow 1970, "On optimum recognition error and reject
tradeoff"; Geifman and El-Yaniv 2017), which means something only where probabilities are calibrated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from classic_cv.errors import ClassicCVError
from classic_cv.neural.settings import HybridSettings

if TYPE_CHECKING:
    from classic_cv.model import Model

UNKNOWN = "unknown"
"""The label of an image that is not answered."""


class AbstentionError(ClassicCVError):
    """A model cannot abstain, or the threshold is no probability."""


def check_abstention(model: Model, threshold: float) -> None:
    """Refuse a threshold that is none, and a model whose answers cannot be measured by it.

    Args:
        threshold: of the top-1 probability, above 0 and at most 1.

    Raises:
        AbstentionError: so.
    """
    if not 0 < threshold <= 1:
        raise AbstentionError(
            f"cannot abstain below {threshold}: expected a probability above 0 and at most 1, such as 0.9"
        )
    if model.task == "regression":
        raise AbstentionError(
            "cannot abstain: this model estimates a number, and has no probability that could be too low; "
            "leave the threshold out"
        )
    # The scores of a hybrid head are calibrated within its last layer.
    if model.calibrator is None and not isinstance(model.recipe.head, HybridSettings):
        raise AbstentionError(
            "cannot abstain: the probabilities of this model are not calibrated, so nothing follows from their size; "
            "fit a recipe with another head"
        )
    if UNKNOWN in model.class_names:
        raise AbstentionError(
            f"cannot abstain: this model has a class {UNKNOWN!r}, which could not be told from no answer; "
            "give the class another name and fit again"
        )


def abstains(probabilities: NDArray[Any], threshold: float) -> NDArray[np.bool_]:
    """Whether no class is probable enough.

    Args:
        probabilities: float32 (..., n_classes).
        threshold: see ``check_abstention``.

    Returns:
        bool (...,). Compared in single precision, so that a probability that is shown as 0.9 is not below 0.9.
    """
    below: NDArray[np.bool_] = probabilities.max(axis=-1).astype(np.float32) < np.float32(threshold)
    return below

"""What being degraded costs: accuracy where a share of the answers is the fallback's and not the primary's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from classic_cv.dataset import Dataset
from classic_cv.errors import ParameterError
from classic_cv.extraction import Progress
from classic_cv.model import Model
from classic_cv.primary import Primary, checked, image_of, told
from classic_cv.stats import accuracy_interval, paired_difference, partial_credit_interval

SHARES = (0.01, 0.1, 0.5)
"""Of fallbacks, where none are asked for; 0 and 1 are always shown."""

SECONDS = 10.0
"""How long the primary is waited for: what it can do counts here, not how fast."""

FIRST = 10
"""Images of which the primary has to answer one; without that it is not asked for the others."""

NO_ANSWER = -1
"""The class number of an image that the primary did not answer."""


class Failure(NamedTuple):
    """An image that the primary did not answer, and why."""

    image: str
    reason: str


def check_shares(model: Model, shares: Iterable[float]) -> None:
    """Check what is asked, before any work.

    Raises:
        ParameterError: a share is not from 0 to 1, or the model estimates a number.
    """
    if model.task == "regression":
        raise ParameterError(
            "this model estimates a number: accuracy with a share of fallbacks is measured for classes only; leave "
            "the primary out"
        )
    for share in shares:
        if not 0 <= share <= 1:
            raise ParameterError(f"{share!r}: a share of fallbacks is a number from 0 to 1")


def ask_all(
    primary: Primary,
    n_classes: int,
    dataset: Dataset,
    indices: NDArray[np.intp],
    progress: Progress | None = None,
) -> tuple[NDArray[np.intp], list[Failure]]:
    """Ask the primary for each image once.

    Returns:
        class numbers (n,), ``NO_ANSWER`` where there is none, and why.

    Raises:
        ParameterError: it answered none of the first images, or none at all.
    """
    labels = np.full(len(indices), NO_ANSWER, np.intp)
    failures: list[Failure] = []
    for done, index in enumerate(indices):
        try:
            found = primary.ask(image_of(dataset.read(int(index))), SECONDS)
            labels[done] = checked(found, n_classes).argmax()
        except Exception as error:
            # Whatever it is, a fallback would answer in its place.
            failures.append(Failure(dataset.names[index], told(error)))
            _check_any_answer(failures, done + 1, len(indices))
        if progress:
            progress("primary", done + 1, len(indices))
    return labels, failures


def _check_any_answer(failures: Sequence[Failure], asked: int, n: int) -> None:
    if len(failures) == asked and asked in (FIRST, n):
        raise ParameterError(
            f"the primary answered none of {asked} images, the first one with: {failures[0].reason}"
        )


def degraded_figures(
    primary: NDArray[np.intp], fallback: NDArray[np.intp], y: NDArray[np.intp], shares: Iterable[float]
) -> dict[str, Any]:
    """Accuracy by the share of fallbacks, and how often both name the same class.

    A share s of the requests, whatever their images are, gets the fallback's answer: an image counts as right by
    (1 - s) where the primary is right and by s where the fallback is. Where the primary did not answer, the fallback's
    answer counts in its place at every share.

    Args:
        primary: class numbers (n,), ``NO_ANSWER`` where there is none; at least one is there.
        fallback: class numbers (n,).
        y: the true ones (n,).
        shares: from 0 to 1; 0 and 1 are added.

    Returns:
        ``n``, ``n_failed``, ``agreement`` of the images that the primary answered and ``agreement_ci95``, and
        ``shares``, for each ``share, accuracy, accuracy_ci95, loss`` (against share 0) and ``loss_ci95`` (None for a
        single image, and where both are right or wrong on the same images: that tells nothing of others).
    """
    answered = primary != NO_ANSWER
    fallback_right = fallback == y
    first_right = np.where(answered, primary == y, fallback_right)
    same, n_answered = int((primary == fallback)[answered].sum()), int(answered.sum())
    return {
        "n": len(y),
        "n_failed": len(y) - n_answered,
        "agreement": same / n_answered,
        "agreement_ci95": list(accuracy_interval(same, n_answered)),
        "shares": [_at(share, first_right, fallback_right) for share in sorted({0.0, *shares, 1.0})],
    }


def _at(share: float, first: NDArray[np.bool_], fallback: NDArray[np.bool_]) -> dict[str, Any]:
    """The figures at one share, of images on which the first and the fallback are right or wrong."""
    right = (1 - share) * first + share * fallback
    loss, interval = paired_difference(first, right)
    if share > 0 and (first == fallback).all():
        interval = None
    return {
        "share": float(share),
        "accuracy": float(right.mean()),
        "accuracy_ci95": list(partial_credit_interval(float(right.sum()), len(right))),
        "loss": loss,
        "loss_ci95": None if interval is None else list(interval),
    }

"""One answer for one image: what was estimated, who did it, and why."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from classic_cv.images import DEFAULT_MAX_PIXELS, Picture, to_picture
from classic_cv.model import Model

ServedBy = Literal["model", "primary", "fallback"]

Reason = Literal["late", "failed", "nonsense", "open", "busy"]
"""Why the primary did not answer: too late; an error; no probabilities of these classes; its breaker is open; too many
calls to it have not come back."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What is said of one image.

    Attributes:
        output: float32 (n_classes,), probabilities; of a regression (), the number.
        served_by: ``model`` where there is no primary.
        reason: why it is the fallback's; None where it is not.
        detail: what exactly went wrong with the primary, for a log; it may hold internals.
        seconds: from the call to the answer.
        stages: seconds of parts of it: ``decode``, ``features``, ``head``, ``primary``.
    """

    output: NDArray[np.float32]
    served_by: ServedBy = "model"
    reason: Reason | None = None
    detail: str | None = None
    seconds: float = 0.0
    stages: Mapping[str, float] = field(default_factory=dict)


def picture_for(model: Model, image: Any, max_pixels: int = DEFAULT_MAX_PIXELS) -> Picture:
    """An image decoded and brought to the model's size.

    Raises:
        ImageError: it cannot be used.
    """
    shape = model.featurizer.settings.shape
    source = None if isinstance(image, str) else "<image>"
    picture = to_picture(image, source=source, min_side=max(shape), max_pixels=max_pixels)
    return model.featurizer.prepare(picture)


def answer_of(model: Model, image: Any, max_pixels: int = DEFAULT_MAX_PIXELS) -> Answer:
    """The model's own answer for an encoded image, an array of pixels, or a prepared picture.

    Raises:
        ImageError: the image cannot be used.
    """
    start = time.perf_counter()
    picture = image if isinstance(image, Picture) else picture_for(model, image, max_pixels)
    decoded = time.perf_counter()
    X = model.featurizer.transform([picture])
    described = time.perf_counter()
    output = model.outputs(X)[0]
    end = time.perf_counter()
    stages = {"decode": decoded - start, "features": described - decoded, "head": end - described}
    return Answer(np.asarray(output, np.float32), seconds=end - start, stages=stages)

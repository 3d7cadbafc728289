"""From the images of a request to answers: one after another, each under its number."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from classic_cv.answer import Answer
from classic_cv.errors import ImageError
from classic_cv.images import read_header
from classic_cv.oip.tensors import OipError
from classic_cv.serve.admission import Work
from classic_cv.serve.logs import RequestLog
from classic_cv.serve.metrics import Metrics
from classic_cv.serve.record import Record
from classic_cv.serve.registry import Served

MOST_TOGETHER = 2
"""Times the pixels that one image may have, for all of a request."""


def check_pixels(images: Sequence[bytes | NDArray[np.uint8]], max_pixels: int) -> None:
    """Refuse images that are within the limit one by one, and together would be worked on for long.

    Raises:
        OipError: they have more than ``MOST_TOGETHER`` times the pixels of one.
    """
    total = sum(map(pixels_of, images)) if len(images) > 1 else 0
    if total > MOST_TOGETHER * max_pixels:
        raise OipError(
            f"the images have {total} pixels together, allowed are {MOST_TOGETHER * max_pixels}: send fewer at a time"
        )


def pixels_of(image: bytes | NDArray[np.uint8]) -> int:
    """By its header, where it is encoded; what is no image has none, and is told of when it has its turn."""
    if not isinstance(image, bytes):
        return int(image.shape[0] * image.shape[1])
    try:
        header = read_header(image)
    except ImageError:
        return 0
    return header.width * header.height


class Answerer:
    """Asks models for answers, and notes what came of it in the metrics and the log."""

    def __init__(self, metrics: Metrics, log: RequestLog) -> None:
        self._metrics = metrics
        self._log = log

    def answers(
        self, served: Served, images: Sequence[bytes | NDArray[np.uint8]], work: Work, record: Record
    ) -> list[Answer]:
        """The answers for images, as ``Served.answer`` takes them; called on the computing thread.

        Raises:
            ImageError: an image cannot be used; it is called ``image 0`` or as its place is.
            ClientDisconnect: nobody waits for them any more.
        """
        answers = []
        check_pixels(images, served.max_pixels)
        for number, image in enumerate(images):
            work.check()
            try:
                answer = served.answer(image)
            except ImageError as error:
                raise ImageError(f"image {number}", error.reason) from None
            self._note(served, answer, record)
            answers.append(answer)
        record.answered(answers)
        return answers

    def _note(self, served: Served, answer: Answer, record: Record) -> None:
        self._metrics.answered(served.name, answer)
        if served.abstains(answer):
            self._metrics.abstained(served.name, answer.served_by)
        if answer.detail is not None:
            # The one place where it is told what exactly is wrong with a primary.
            self._log.event(
                "fallback",
                request_id=record.request_id,
                model=served.name,
                reason=answer.reason,
                detail=answer.detail,
            )

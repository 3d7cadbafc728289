"""From the images of a request to answers: one after another, each under its number."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from classic_cv.answer import Answer
from classic_cv.errors import ImageError
from classic_cv.serve.admission import Work
from classic_cv.serve.logs import RequestLog
from classic_cv.serve.metrics import Metrics
from classic_cv.serve.record import Record
from classic_cv.serve.registry import Served


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
        if answer.detail is not None:
            # The one place where it is told what exactly is wrong with a primary.
            self._log.event(
                "fallback",
                request_id=record.request_id,
                model=served.name,
                reason=answer.reason,
                detail=answer.detail,
            )

"""A model that has to answer in time, and what its answers have taken."""

from __future__ import annotations

import threading
from collections import deque

from classic_cv.answer import Answer, answer_of, picture_for
from classic_cv.images import Picture
from classic_cv.model import Model, golden_images
from classic_cv.primary import Image

RECENT = 64
"""Answers that the time for the next one is taken from."""

QUARTER, MILLISECOND = 1.25, 1e-3
"""What is added to the time of an earlier answer."""


class Own:
    """A model, run by any thread, and the seconds that features and head have taken.

    Args:
        model: runs twice on two images of noise at once; the first time, which is slow, is not counted.
        max_pixels: larger images are refused.
    """

    def __init__(self, model: Model, max_pixels: int) -> None:
        self.model = model
        self._max_pixels = max_pixels
        self._lock = threading.Lock()
        self._seconds: deque[float] = deque(maxlen=RECENT)
        self._longest = self._typical = 0.0
        pictures = [self.picture(image) for image in golden_images()]
        for picture in pictures:
            answer_of(model, picture)
        self._golden = pictures
        self.measure()

    @property
    def typical(self) -> float:
        """Seconds to keep free for what an answer typically takes: the median of the last ones, and some more."""
        return self._typical

    def measure(self) -> None:
        """Answer the two images of noise once more, which counts."""
        for picture in self._golden:
            self.answer(picture)

    def picture(self, image: Image) -> Picture:
        """The image as ``answer`` takes it.

        Raises:
            ImageError: it cannot be used.
        """
        return picture_for(self.model, image, self._max_pixels)

    def answer(self, picture: Picture) -> Answer:
        """The model's own answer."""
        found = answer_of(self.model, picture)
        self._add(found.stages["features"] + found.stages["head"])
        return found

    def reserve(self, deadline: float) -> float:
        """Seconds to keep free for the next answer: what the longest of the last ones took, and some more.

        A single long one, such as when another process had the core, takes half of the deadline at most: the primary
        is to have its turn. What they typically take is always kept free.
        """
        return min(self._longest, max(self._typical, deadline / 2))

    def _add(self, seconds: float) -> None:
        with self._lock:
            self._seconds.append(seconds)
            self._longest = _with_some_more(max(self._seconds))
            self._typical = _with_some_more(sorted(self._seconds)[len(self._seconds) // 2])


def _with_some_more(seconds: float) -> float:
    return QUARTER * seconds + MILLISECOND

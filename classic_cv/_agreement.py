"""How often a primary and its fallback name the same class, from a share of the images."""

from __future__ import annotations

import dataclasses
import logging
import random
import threading
import weakref
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from classic_cv._caller import Caller
from classic_cv._own import Own
from classic_cv.answer import Answer
from classic_cv.images import Picture
from classic_cv.primary import Image

_log = logging.getLogger(__name__)


class Agreement(NamedTuple):
    """Images that were given to both, and those of them for which both named the same class."""

    n: int
    agreed: int


class Comparisons:
    """Compares a sampled share of the primary's answers with the fallback's own.

    Args:
        own: the fallback, which is computed on a thread of its own, one image at a time: others are left out.
        sample: the share.
        on_compared: called with whether the two agreed; what it raises is logged.

    Attributes:
        agreement: so far.
    """

    def __init__(self, own: Own, sample: float, on_compared: Callable[[bool], None] | None) -> None:
        self.agreement = Agreement(0, 0)
        self._own = own
        self._sample = sample
        self._on_compared = on_compared
        # Drawn, not every n-th: requests come in patterns.
        self._random = random.Random(0)
        self._lock = threading.Lock()
        # Not a thread of the primary's calls, which would find a place less.
        self._caller = Caller(1, "comparison")
        weakref.finalize(self, self._caller.close).atexit = False

    def consider(
        self, output: NDArray[np.float32], image: Image, picture: Picture, own: Answer | None
    ) -> None:
        """Compare, or not, the primary's probabilities (n_classes,) with the own answer.

        Args:
            output: the primary's.
            image: as it was given.
            picture: the same for the fallback.
            own: the fallback's answer, where it is known.

        Whoever listens is told by the thread of the comparisons: the answer waits for nobody.
        """
        if self._random.random() >= self._sample:
            return
        # The arrays are given away with the answers, and may be overwritten.
        label = int(output.argmax())
        if own is not None:
            self._caller.start(partial(self._compare, label, int(own.output.argmax())))
            return
        if isinstance(image, np.ndarray):
            # It may be the caller's array, who has the answer already and may overwrite it.
            picture = dataclasses.replace(picture, pixels=picture.pixels.copy())
        self._caller.start(partial(self._compute, label, picture))

    def close(self) -> None:
        """Compare no more, but what is known already."""
        self._caller.close()

    def _compute(self, label: int, picture: Picture) -> None:
        self._compare(label, int(self._own.answer(picture).output.argmax()))

    def _compare(self, label: int, own: int) -> None:
        agreed = label == own
        with self._lock:
            n, before = self.agreement
            self.agreement = Agreement(n + 1, before + agreed)
        if self._on_compared is None:
            return
        try:
            self._on_compared(agreed)
        except Exception:
            # The answer has been given, and is right.
            _log.exception("on_compared(%r) failed", agreed)

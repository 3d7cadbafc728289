"""A classical model behind another classifier: it answers, within a deadline, whatever the other one does."""

from __future__ import annotations

import math
import os
import time
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, get_args

import numpy as np
from numpy.typing import NDArray

from classic_cv._agreement import Agreement, Comparisons
from classic_cv._caller import Call, Caller, Outcome
from classic_cv._own import Own
from classic_cv.answer import Answer, Reason
from classic_cv.breaker import Breaker, Permit
from classic_cv.errors import ImageError, ParameterError
from classic_cv.images import DEFAULT_MAX_PIXELS, Picture, read_file, read_header
from classic_cv.model import Model, load
from classic_cv.oip.tensors import OipError
from classic_cv.primary import Image, NonsenseError, checked, image_of, primary_of, told

__all__ = ["Agreement", "Fallback", "Mode"]

Mode = Literal["fallback", "hedged"]

_Call = Call[NDArray[np.float32]]

OF_THE_IMAGE = (400, 413, 415, 422)
"""HTTP's status of a request that is refused for what it holds: of one image, and no fault of the primary."""

MEASURED_AGAIN = 3
"""Times at most, where the fallback is too slow for the deadline: another process may have had the core."""

DECODED = "the image took all the time to decode"
NO_TURN = "the fallback needs all of the deadline"


class _Miss(NamedTuple):
    """Why the primary does not answer."""

    reason: Reason
    detail: str | None = None


class _Said(NamedTuple):
    """What the primary answers, and the seconds it took."""

    value: NDArray[np.float32]
    seconds: float


class _Turn(NamedTuple):
    """One image on its way to an answer.

    Attributes:
        start, decoded: times of the clock.
        own: the fallback's answer, where it is known already.
        waited: seconds from the start until the primary was no longer waited for; None where it was not asked.
    """

    start: float
    picture: Picture
    decoded: float
    own: Answer | None = None
    waited: float | None = None


class Fallback:
    """A classifier that asks ``primary`` first, and answers with ``fallback`` where that does not answer well in time.

    It may be used by many threads at a time. What can go wrong with the primary, and what is then the ``reason``: no
    answer in time (``late``), an error (``failed``), no probabilities of these classes (``nonsense``), too many calls
    that have not come back (``busy``), or all that too often, so that it is not asked for a while (``open``). An image
    that cannot be read is an ``ImageError`` and no fault of the primary, and neither is one that an address refuses for
    what it is (``failed`` as well).

    A primary that runs in this process has to let others run: nothing can be answered while it holds the interpreter's
    lock. A call that is given up goes on until it returns, and takes up to two seconds one of the ``max_calls`` places.

    Args:
        primary: a callable from an image (bytes, or uint8 RGB (height, width, 3)) to probabilities (n_classes,) or
            (1, n_classes) in the order of ``class_names``, or to the number of a regression; a ``Model``; the path of
            a model file, or of an ONNX file with a TOML beside it as ``classic-cv compare`` takes them; or an address
            behind the Open Inference Protocol, such as ``http://host:8000/v2/models/NAME``, which need not be up yet.
        fallback: a ``Model`` or the path of a model file.
        deadline: seconds from an encoded image to its answer, which takes longer only where the fallback alone does.
        breaker: a ``Breaker()`` by default. One whose ``slow_seconds`` is None takes the deadline for it.
        mode: ``fallback`` computes the own answer when the primary's has not come, early enough for the deadline;
            ``hedged`` computes it at once, which costs more and leaves the primary the whole deadline.
        sample: share of the primary's answers that are compared with the fallback's, after they were given. Not for a
            regression.
        max_calls: calls to the primary at a time; none waits for its turn.
        max_pixels: larger images are an error.
        token: the bearer token that an address is shown.
        on_compared: called with whether the two agreed, by a thread of its own; what it raises is logged.

    Attributes:
        model: the fallback.
        breaker: of the primary.
        deadline: in seconds.

    Raises:
        ParameterError: a value is not allowed, the primary has other classes, or the fallback takes the whole deadline
            and is not hedged.
        ArtifactError: a file cannot be used.
        RecipeError: the TOML beside an ONNX file does not say what has to be said.
        MissingExtraError: ONNX Runtime is not installed.
    """

    def __init__(
        self,
        primary: Any,
        fallback: Model | str | Path,
        deadline: float = 0.05,
        breaker: Breaker | None = None,
        *,
        mode: Mode = "fallback",
        sample: float = 0.02,
        max_calls: int = 16,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        token: str | None = None,
        on_compared: Callable[[bool], None] | None = None,
    ) -> None:
        _check(deadline, mode, sample, max_calls)
        self.model = fallback if isinstance(fallback, Model) else load(fallback)
        self.deadline = deadline
        self.breaker = Breaker() if breaker is None else breaker
        if self.breaker.slow_seconds is None:
            self.breaker.slow_seconds = deadline
        self._n_classes = len(self.class_names) if self.task == "classification" else None
        self._max_pixels = max_pixels
        self._own = Own(self.model, max_pixels)
        self._hedged = mode == "hedged"
        if not self._hedged:
            _check_own(self._own, deadline)
        self._comparisons = Comparisons(self._own, 0.0 if self._n_classes is None else sample, on_compared)
        self._primary = primary_of(primary, self.model, max_pixels=max_pixels, token=token)
        self._caller = Caller(max_calls, "primary")
        weakref.finalize(self, self._caller.close, self._primary.close).atexit = False

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of probabilities; empty for a regression."""
        return self.model.class_names

    @property
    def task(self) -> str:
        """``classification`` or ``regression``."""
        return self.model.task

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on what the primary does not say of itself and is assumed; an address may add to them later."""
        return self._primary.notes

    @property
    def agreement(self) -> Agreement:
        """How the sampled comparisons have come out so far."""
        return self._comparisons.agreement

    def answer(self, image: Any) -> Answer:
        """What is said of one image, and who says it.

        Once closed, the fallback alone answers.

        Args:
            image: encoded bytes, an array of pixels, a path or a PIL image.

        Raises:
            ImageError: the image cannot be used.
        """
        if isinstance(image, str | os.PathLike):
            return self._answer_file(image)
        start = time.perf_counter()
        image = image_of(image)
        if isinstance(image, bytes):
            # Before the primary sees it, which may have other limits.
            read_header(image, source="<image>", max_pixels=self._max_pixels)
        permit = self.breaker.acquire()
        if permit is None:
            return self._instead(_Miss("open"), self._turn(image, start))
        with permit:
            return self._permitted(image, permit, start)

    def predict_proba(self, images: Any) -> NDArray[np.float32]:
        """Probabilities of images, one after another: float32 (n, n_classes).

        Args:
            images: a list of what ``answer`` takes, or one array (n, height, width[, 3]); a single path or bytes
                object counts as a list of one.

        Raises:
            TypeError: this is a regression.
            ImageError: an image cannot be used.
        """
        if self._n_classes is None:
            raise TypeError("this model estimates a number and has no class probabilities: use predict")
        rows = list(self._outputs(images))
        return np.stack(rows) if rows else np.empty((0, self._n_classes), np.float32)

    def predict(self, images: Any) -> NDArray[Any]:
        """The most probable class name, or the estimated number, of each image, as ``predict_proba`` takes them: (n,).

        Raises:
            ImageError: an image cannot be used.
        """
        if self._n_classes is None:
            return np.array(list(self._outputs(images)), np.float32)
        return np.array([self.class_names[row.argmax()] for row in self._outputs(images)], dtype=np.str_)

    def close(self) -> None:
        """Ask the primary no more. Calls under way are waited for and answered with as before."""
        self._comparisons.close()
        self._caller.close(self._primary.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _answer_file(self, path: str | os.PathLike[str]) -> Answer:
        data = read_file(path)
        try:
            return self.answer(data)
        except ImageError as error:
            raise ImageError(str(path), error.reason) from None

    def _outputs(self, images: Any) -> Iterator[NDArray[np.float32]]:
        alone = isinstance(images, str | os.PathLike | bytes)
        for index, image in enumerate([images] if alone else images):
            try:
                yield self.answer(image).output
            except ImageError as error:
                named = isinstance(image, str | os.PathLike)
                raise ImageError(error.source if named else f"image {index}", error.reason) from None

    def _turn(self, image: Image, start: float) -> _Turn:
        picture = self._own.picture(image)
        return _Turn(start, picture, time.perf_counter())

    def _permitted(self, image: Image, permit: Permit, start: float) -> Answer:
        """An answer where the primary may be asked."""
        call = self._caller.start(partial(self._ask, image, start + self.deadline))
        try:
            turn = self._turn(image, start)
            if call is None:
                return self._instead(self._no_place(permit), turn)
            return self._waited(image, call, permit, turn)
        finally:
            if call is not None:
                call.give_up()

    def _ask(self, image: Image, until: float) -> NDArray[np.float32]:
        """The primary's answer, checked; on a thread of its own."""
        value = self._primary.ask(image, max(until - time.perf_counter(), 0.0))
        return checked(value, self._n_classes)

    def _no_place(self, permit: Permit) -> _Miss:
        if self._caller.closed:
            permit.cancelled()
            return _Miss("busy", "closed: the primary is asked no more")
        # Calls that have not had their time yet say nothing of the primary: there are just many.
        if not self._caller.is_brisk(self.deadline):
            permit.failed()
        return _Miss("busy", "too many calls have not come back")

    def _waited(self, image: Image, call: _Call, permit: Permit, turn: _Turn) -> Answer:
        """The primary's answer if it comes in time and is one, else the own one."""
        own = self._own.answer(turn.picture) if self._hedged else None
        reserve = 0.0 if self._hedged else self._own.reserve(self.deadline)
        until = turn.start + self.deadline - reserve
        outcome = call.outcome(until - time.perf_counter())
        turn = turn._replace(own=own, waited=time.perf_counter() - turn.start)
        decoding = turn.decoded - turn.start
        no_time = (DECODED if decoding >= reserve else NO_TURN) if turn.decoded >= until else None
        said = _judge(outcome, permit, no_time)
        if isinstance(said, _Miss):
            return self._instead(said, turn)
        stages = {"decode": decoding, "primary": said.seconds}
        answer = Answer(said.value, "primary", seconds=time.perf_counter() - turn.start, stages=stages)
        self._comparisons.consider(said.value, image, turn.picture, own)
        return answer

    def _instead(self, miss: _Miss, turn: _Turn) -> Answer:
        """The own answer, and why."""
        own = self._own.answer(turn.picture) if turn.own is None else turn.own
        stages = {**own.stages, "decode": turn.decoded - turn.start}
        if turn.waited is not None:
            stages["primary"] = turn.waited
        seconds = time.perf_counter() - turn.start
        return Answer(own.output, "fallback", miss.reason, miss.detail, seconds, stages)


def _judge(
    outcome: Outcome[NDArray[np.float32]] | None, permit: Permit, no_time: str | None
) -> _Said | _Miss:
    """What the primary said, or why it did not, and how its breaker counts that.

    Args:
        outcome: None where it has not answered.
        permit: of the call.
        no_time: why it was not waited for; None where it was.
    """
    if outcome is None:
        # An image that took all the time to decode says nothing of the primary.
        if no_time == DECODED:
            permit.cancelled()
        else:
            permit.failed()
        return _Miss("late", no_time)
    if outcome.value is None:
        error = outcome.error
        if isinstance(error, OipError) and error.status in OF_THE_IMAGE:
            permit.cancelled()
        else:
            permit.failed()
        return _Miss(_reason(error), told(error))
    permit.succeeded(outcome.seconds)
    return _Said(outcome.value, outcome.seconds)


def _reason(error: BaseException | None) -> Reason:
    if isinstance(error, NonsenseError):
        return "nonsense"
    # It may know that its time is up before this thread does.
    return "late" if isinstance(error, TimeoutError) else "failed"


def _check(deadline: float, mode: str, sample: float, max_calls: int) -> None:
    if not (deadline > 0 and math.isfinite(deadline)):
        raise ParameterError(f"deadline={deadline!r}: allowed are seconds above 0, such as 0.05")
    if mode not in get_args(Mode):
        raise ParameterError(f"mode={mode!r}: allowed are {' and '.join(get_args(Mode))}")
    if not 0 <= sample <= 1:
        raise ParameterError(f"sample={sample!r}: allowed are shares from 0 to 1")
    if max_calls < 1:
        raise ParameterError(f"max_calls={max_calls!r}: allowed are 1 or more")


def _check_own(own: Own, deadline: float) -> None:
    """Refuse a fallback that would never leave the primary its turn."""
    for _ in range(MEASURED_AGAIN):
        if own.typical < deadline:
            return
        own.measure()
    if own.typical >= deadline:
        raise ParameterError(
            f"deadline={deadline!r}: the fallback typically takes {own.typical:.3g} seconds, margin included, and the "
            'primary would never have its turn: give a longer deadline, a faster model, or mode="hedged"'
        )

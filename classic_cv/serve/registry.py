"""The models of a service by name: loaded before it listens, and again when their files are replaced."""

from __future__ import annotations

import threading
import time
import weakref
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from classic_cv.abstention import AbstentionError, abstains, check_abstention
from classic_cv.answer import Answer, answer_of
from classic_cv.artifact import write_atomically
from classic_cv.errors import ClassicCVError
from classic_cv.model import Model
from classic_cv.serve.logs import RequestLog
from classic_cv.serve.metrics import Metrics
from classic_cv.serve.model_file import (
    Stamp,
    UnreadableError,
    check_readable,
    read_model,
    stamp_of,
    version_of,
)
from classic_cv.serve.settings import ModelSource, ServeSettings

if TYPE_CHECKING:
    from classic_cv.breaker import Breaker
    from classic_cv.fallback import Fallback
    from classic_cv.primary import Primary

AGAIN = 10.0
"""Seconds until a new file that the system did not let be read is tried again."""

SPARE_CALLS = 8
"""Calls to a primary that hang do not keep the next request from asking it."""


class UnknownModelError(ClassicCVError):
    """There is no model, or no version of it, of this name; the message names those there are."""


@dataclass(frozen=True, eq=False)
class Served:
    """A model file as it was loaded. Requests keep the one they began with.

    Attributes:
        name: in paths of requests.
        version: the first 8 hex digits of the file's SHA-256.
        fallback: what asks the primary first; None without one.
        max_pixels: of an image at most.
        abstain: see ``ServeSettings``.
    """

    name: str
    version: str
    model: Model
    fallback: Fallback | None
    max_pixels: int
    abstain: float | None = None

    def answer(self, image: bytes | NDArray[np.uint8]) -> Answer:
        """What is said of one encoded image or uint8 RGB array (height, width[, 3]).

        Raises:
            ImageError: it cannot be used.
        """
        if self.fallback is not None:
            return self.fallback.answer(image)
        return answer_of(self.model, image, self.max_pixels)

    def abstains(self, answer: Answer) -> bool:
        """Whether an answer is that the class is unknown."""
        return self.abstain is not None and bool(abstains(answer.output, self.abstain))


def _check_abstention(name: str, model: Model, threshold: float) -> None:
    """Raise AbstentionError, which names the model, where it cannot abstain."""
    try:
        check_abstention(model, threshold)
    except AbstentionError as error:
        raise AbstentionError(f"model {name!r}: {error}") from None


class _Behind(NamedTuple):
    """What stays over a reload of a model of the same classes."""

    class_names: tuple[str, ...]
    primary: Primary
    breaker: Breaker


def _notes(primary: Primary) -> tuple[str, ...]:
    return primary.notes


def _ask(primary: Primary, image: bytes | NDArray[np.uint8], timeout: float) -> Any:
    """Ask a primary that other models may ask as well: a fallback that is given this one does not close it."""
    return primary.ask(image, timeout)


class Registry:
    """The models that are served.

    Args:
        settings: which files, and their primaries.
        metrics, log: told of loads and of breakers.
        kept: a folder for copies of the files as they are served, so that a worker that starts anew beside a file
            that went bad serves what the others do; None where there are no others.

    Raises:
        ArtifactError: a file is no model.
        AbstentionError: a model cannot abstain, and has to.
        ClassicCVError: a primary cannot be used.
    """

    def __init__(
        self, settings: ServeSettings, metrics: Metrics, log: RequestLog, kept: Path | None = None
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._log = log
        self._kept = kept
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._looked: dict[str, Stamp | None] = {}
        self._taken: dict[str, Stamp | None] = {}
        self._unread: dict[str, float] = {}
        self._served: dict[str, Served] = {}
        self._behind: dict[str, _Behind] = {}
        for source in settings.models:
            self._taken[source.name] = stamp_of(source.path)
            self._begin(source)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the models, in the order they were given."""
        return tuple(self._served)

    @property
    def default(self) -> Served:
        """The model for requests that name none."""
        return self._served[self._settings.models[0].name]

    @property
    def ready(self) -> bool:
        """Whether all models are loaded, and the service is not being ended."""
        return not self._stopping.is_set()

    def get(self, name: str | None, version: str | None = None) -> Served:
        """The model of this name, as it is now.

        Raises:
            UnknownModelError: there is none, or it has another version now.
        """
        served = self.default if name is None else self._served.get(name)
        if served is None:
            raise UnknownModelError(f"no model {name!r}: there are {', '.join(self.names)}")
        if version is not None and version != served.version:
            raise UnknownModelError(
                f"model {served.name!r} has no version {version!r}: it has {served.version}"
            )
        return served

    def start(self) -> None:
        """Look at the files from now on."""
        self._thread = threading.Thread(target=self._watch, name="registry", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Look at the files no more, and end the calls to primaries."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        for served in self._served.values():
            if served.fallback is not None:
                served.fallback.close()
        self._behind.clear()

    def _watch(self) -> None:
        """Until the service ends: copies of what is served, then whatever changed."""
        for name in self.names:
            self._keep(name)
        while not self._stopping.wait(self._settings.poll):
            for source in self._settings.models:
                self._look(source)

    def _look(self, source: ModelSource) -> None:
        """Load a file that is another one than that which is served."""
        stamp = stamp_of(source.path)
        before = self._looked.get(source.name)
        self._looked[source.name] = stamp
        # The same at two looks: a file that is being written in place would be refused, and may end a process that
        # has it mapped when it is made shorter.
        is_known = stamp == self._taken[source.name] and (stamp is None or not self._is_due(source.name))
        if stamp != before or is_known:
            return
        self._taken[source.name] = stamp
        try:
            check_readable(source.path)
            version, model = read_model(source.path)
            if version != self._served[source.name].version:
                self._serve(source, version, model)
                self._keep(source.name)
        except UnreadableError as error:
            # Not the file is to blame, and it may be read later.
            self._unread[source.name] = time.monotonic()
            self._refused(source, error)
        except Exception as error:
            # Whatever a new file does, the old model goes on serving.
            self._refused(source, error)

    def _is_due(self, name: str) -> bool:
        """Whether a file that could not be read is to be tried again."""
        since = self._unread.get(name)
        if since is None or time.monotonic() - since < AGAIN:
            return False
        del self._unread[name]
        return True

    def _serve(self, source: ModelSource, version: str, model: Model) -> None:
        """Put a model in the place of the one before it, in one assignment."""
        abstain = self._settings.abstain
        if abstain is not None:
            _check_abstention(source.name, model, abstain)
        fallback = None if source.primary is None else self._fallback(source.name, source.primary, model)
        served = Served(source.name, version, model, fallback, self._settings.max_pixels, abstain)
        if fallback is not None:
            # Requests hold the model that they began with: its calls end after the last of these.
            weakref.finalize(served, fallback.close).atexit = False
        self._served[source.name] = served
        self._metrics.loaded(source.name, True)
        self._log.event("model loaded", model=source.name, version=version)
        for note in () if fallback is None else fallback.notes:
            self._log.event("primary", model=source.name, note=note)

    def _fallback(self, name: str, source: str, model: Model) -> Fallback:
        """The model behind its primary."""
        from classic_cv.fallback import Fallback
        from classic_cv.primary import Primary

        behind = self._behind.get(name)
        if behind is None or behind.class_names != model.class_names:
            behind = _Behind(model.class_names, self._primary(source, model), self._breaker(name))
        settings = self._settings
        fallback = Fallback(
            Primary(partial(_ask, behind.primary), assumed=partial(_notes, behind.primary)),
            model,
            settings.deadline,
            behind.breaker,
            mode=settings.mode,
            sample=settings.sample,
            max_calls=settings.places + SPARE_CALLS,
            max_pixels=settings.max_pixels,
            on_compared=partial(self._metrics.compared, name),
        )
        self._behind[name] = behind
        return fallback

    def _primary(self, source: str, model: Model) -> Primary:
        """A primary that is closed when no model asks it any more."""
        from classic_cv.primary import primary_of
        from classic_cv.serve.tokens import read_token

        token_file = self._settings.primary_token_file
        token = None if token_file is None else read_token(token_file)
        primary = primary_of(source, model, max_pixels=self._settings.max_pixels, token=token)
        weakref.finalize(primary, primary.close).atexit = False
        return primary

    def _breaker(self, name: str) -> Breaker:
        """A closed breaker whose changes are counted and logged."""
        from classic_cv.breaker import Breaker

        def changed(state: str) -> None:
            self._metrics.breaker(name, state)
            self._log.event("breaker", model=name, state=state)

        breaker = Breaker()
        breaker.on_change = changed
        self._metrics.breaker(name, breaker.state)
        return breaker

    def _refused(self, source: ModelSource, error: Exception) -> None:
        self._metrics.loaded(source.name, False)
        self._log.event("model refused", model=source.name, error=error)

    def _begin(self, source: ModelSource) -> None:
        """Serve a model's file, or the copy where the file went bad: damaged, or of a model that is not served here."""
        copy = self._copy(source.name)
        try:
            self._serve(source, *read_model(source.path))
            return
        except ClassicCVError as error:
            if copy is None or not copy.is_file():
                raise
            self._refused(source, error)
        self._serve(source, *read_model(copy))

    def _copy(self, name: str) -> Path | None:
        """Where the copy of a model's file is; its name is not the model's, which may hold any character."""
        if self._kept is None:
            return None
        return self._kept / f"{[source.name for source in self._settings.models].index(name)}.model"

    def _keep(self, name: str) -> None:
        """Copy the file of a model as it is served, unless it has been replaced since."""
        copy, served = self._copy(name), self._served[name]
        [path] = [source.path for source in self._settings.models if source.name == name]
        if copy is None:
            return
        try:
            data = Path(path).read_bytes()
            if version_of(data) == served.version:
                write_atomically(copy, data)
        except (OSError, ClassicCVError) as error:
            self._log.event("model not copied", model=name, error=error)

"""One process of a service: its models, figures, log and application, and how uvicorn has to run them."""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import uvicorn

from classic_cv.serve.addresses import BACKLOG
from classic_cv.serve.logs import RequestLog
from classic_cv.serve.protocol import LimitedProtocol
from classic_cv.serve.settings import ServeSettings
from classic_cv.serve.stderr import StandardError

if TYPE_CHECKING:
    from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, Scope

KEEP_ALIVE = 75
"""Seconds; more than the 60 after which proxies usually close idle connections, so that they are the ones that do."""


class ServiceConfig(uvicorn.Config):
    """uvicorn's settings for a service.

    Attributes:
        settings: of the service, for the protocol as well.
    """

    def __init__(self, settings: ServeSettings, factory: Callable[[], Any]) -> None:
        super().__init__(
            factory,
            factory=True,
            interface="asgi3",
            http=LimitedProtocol,
            ws="none",
            lifespan="on",
            workers=settings.workers,
            log_config=None,
            log_level="error",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE,
            # Annotated as whole seconds, but only waited for.
            timeout_graceful_shutdown=settings.drain,  # type: ignore[arg-type]
        )
        self.settings = settings


class Service:
    """The application with what lives as long as it: an ASGI application around the one of ``create_app``.

    Args:
        on_started: called when requests can be answered.
        kept: the folder for copies of model files that the workers share; see ``Registry``.

    Attributes:
        log: of this process.

    Raises:
        ClassicCVError: a model or the token cannot be used.
    """

    def __init__(
        self,
        settings: ServeSettings,
        on_started: Callable[[], object] = lambda: None,
        kept: Path | None = None,
    ) -> None:
        # Requests are what is computed at the same time: libraries' own threads would only get in their way. They
        # read the variables when they are loaded, which is why all that brings NumPy is imported here.
        os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
        import cv2
        import prometheus_client

        from classic_cv.allocator import return_freed_memory
        from classic_cv.serve.app import create_app
        from classic_cv.serve.metrics import Metrics
        from classic_cv.serve.registry import Registry

        cv2.setNumThreads(1)
        return_freed_memory()
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self._stderr = StandardError()
        self.log = RequestLog(settings.quiet, self._stderr.write)
        take_over_logging(self.log)
        metrics = Metrics()
        registry = Registry(settings, metrics, self.log, kept)
        self._on_started = on_started
        self._app: Any = create_app(settings, registry, metrics, self.log)

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Pass on a request, or the beginning and the end of the service."""
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _live(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        async def told(event: ASGISendEvent) -> None:
            if event["type"] == "lifespan.startup.complete":
                # What is there now stays: the collector need not look through it while requests wait.
                gc.freeze()
                self._stderr.capture(self._tell)
                self._on_started()
            await send(event)

        try:
            await self._app(scope, receive, told)
        finally:
            self._stderr.release()

    def _tell(self, line: str, left_out: int) -> None:
        self.log.event("stderr", line=line, left_out=left_out or None)


class ServiceServer(uvicorn.Server):
    """uvicorn's server, which also tells when it listens, and for which being ended by a signal is nothing special."""

    def __init__(self, config: ServiceConfig, log: RequestLog, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._log = log
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer."""
        await super().startup(sockets)
        if self.started:
            self._on_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections, and finish what is in flight."""
        self._log.event("draining", in_flight=len(self.server_state.tasks))
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End on a signal; on a second SIGINT at once. uvicorn would raise the signal again in the end."""
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


class _ToLog(logging.Handler):
    """What libraries log, as lines of the service's log."""

    def __init__(self, log: RequestLog) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        self._log.event("library", logger=record.name, message=record.getMessage(), error=error)


def take_over_logging(log: RequestLog) -> None:
    """Let Python's logging write into the service's log, from warnings on."""
    logging.getLogger().handlers = [_ToLog(log)]

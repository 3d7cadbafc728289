"""Serving: what is wrong is found before anything listens, and what is in flight at the end is finished."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from classic_cv.errors import MissingExtraError
from classic_cv.serve.addresses import bound, listen
from classic_cv.serve.settings import ServeSettings

PACKAGES = ("httptools", "prometheus_client", "python_multipart", "starlette", "uvicorn")

SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable with the folder where several workers keep their figures; prometheus_client reads it when
it is imported."""

OnReady = Callable[[str], None]
"""Takes the address of a service that answers."""


def check_packages() -> None:
    """Raise MissingExtraError unless what a service needs is installed."""
    missing = [package for package in PACKAGES if find_spec(package) is None]
    if missing:
        raise MissingExtraError(
            f"serving needs {', '.join(missing)}, not installed: pip install 'classic-cv[serve]'"
        )


def serve(settings: ServeSettings, on_ready: OnReady) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status, 0 once everything in flight has ended.

    Args:
        on_ready: called once, when requests are answered, with the address such as ``http://127.0.0.1:8000``.

    Raises:
        AddressError: the address cannot be listened at.
        MissingExtraError: a package of the extra ``serve`` is not installed.
        ClassicCVError: a model file, a primary or a token cannot be used.
    """
    check_packages()
    with bound(settings) as listener:
        if settings.workers == 1:
            _serve_alone(settings, listener, on_ready)
        else:
            _supervise(settings, listener, on_ready)
    return 0


def _serve_alone(settings: ServeSettings, listener: socket.socket, on_ready: OnReady) -> None:
    """Serve in this process."""
    os.environ.pop(SHARED_FOLDER, None)
    from classic_cv.serve.service import Service, ServiceConfig, ServiceServer

    service = Service(settings)
    address = listen(listener, settings)
    config = ServiceConfig(settings, lambda: service)
    ServiceServer(config, service.log, lambda: on_ready(address)).run([listener])


def _supervise(settings: ServeSettings, listener: socket.socket, on_ready: OnReady) -> None:
    """Serve in processes of their own."""
    with tempfile.TemporaryDirectory(prefix="classic-cv-") as folder:
        os.environ[SHARED_FOLDER] = folder
        from classic_cv.serve.supervisor import Supervisor

        Supervisor(settings, listener, Path(folder), lambda: on_ready(listen(listener, settings))).run()

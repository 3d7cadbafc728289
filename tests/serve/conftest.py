"""Services for tests: within the process, and behind a real socket."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
import uvicorn
from starlette.testclient import TestClient

from classic_cv.fitting import fit
from classic_cv.serve.app import create_app
from classic_cv.serve.logs import RequestLog
from classic_cv.serve.metrics import Metrics
from classic_cv.serve.registry import Registry
from classic_cv.serve.service import ServiceConfig
from classic_cv.serve.settings import ModelSource, ServeSettings

TOKEN = "0123456789abcdef-token"


@pytest.fixture
def settings(model_file: Path) -> Callable[..., ServeSettings]:
    """Makes settings of a service with the faces' model, called faces."""

    def make(**changes: Any) -> ServeSettings:
        models = (ModelSource(name="faces", path=str(model_file)),)
        return msgspec.structs.replace(ServeSettings(models=models, threads=2, poll=60.0), **changes)

    return make


@pytest.fixture
def log_lines() -> list[dict[str, Any]]:
    """What ``service`` and ``running`` wrote into their logs."""
    return []


@pytest.fixture
def application(
    settings: Callable[..., ServeSettings], log_lines: list[dict[str, Any]]
) -> Callable[..., Any]:
    """Makes the application of a service whose settings are changed."""

    def make(**changes: Any) -> Any:
        chosen, metrics = settings(**changes), Metrics()
        log = RequestLog(write=lambda line: log_lines.append(json.loads(line)))
        return create_app(chosen, Registry(chosen, metrics, log), metrics, log)

    return make


@pytest.fixture
def service(application: Callable[..., Any]) -> Iterator[Callable[..., TestClient]]:
    """Makes a client of a service whose settings are changed."""
    with ExitStack() as stack:

        def make(**changes: Any) -> TestClient:
            client = TestClient(application(**changes), base_url="http://127.0.0.1:8000")
            return stack.enter_context(client)

        yield make


@pytest.fixture
def running(
    application: Callable[..., Any], settings: Callable[..., ServeSettings]
) -> Iterator[Callable[..., str]]:
    """Starts a service behind a socket, in a thread; gives its address, such as http://127.0.0.1:12345."""
    with ExitStack() as stack:

        def start(**changes: Any) -> str:
            return stack.enter_context(_listening(application(**changes), settings(**changes)))

        yield start


@contextmanager
def _listening(app: Any, settings: ServeSettings) -> Iterator[str]:
    server = uvicorn.Server(ServiceConfig(settings, lambda: app))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        deadline = time.monotonic() + 30
        while not server.started and thread.is_alive() and time.monotonic() < deadline:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(30)


@pytest.fixture(scope="session")
def pixels(faces: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A face of the test part, enlarged: uint8 RGB (100, 100, 3)."""
    path = sorted((faces / "test").rglob("*.png"))[0]
    image: Any = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    return np.asarray(cv2.resize(image, (100, 100)), np.uint8)


@pytest.fixture(scope="session")
def png(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    """The same as a PNG file."""
    return cv2.imencode(".png", pixels[..., ::-1])[1].tobytes()


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    """A file with the bearer token ``0123456789abcdef-token``."""
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    return path


@pytest.fixture(scope="session")
def regression_file(tmp_path_factory: pytest.TempPathFactory, small_recipe: Path) -> Path:
    """A model file of a regression: how bright gray squares are."""
    folder = tmp_path_factory.mktemp("regression")
    lines = ["file,level"]
    for value in range(0, 250, 5):
        cv2.imwrite(str(folder / f"{value}.png"), np.full((32, 32, 3), value, np.uint8))
        lines.append(f"{value}.png,{value / 10}")
    (folder / "labels.csv").write_text("\n".join(lines))
    path = folder / "gray.safetensors"
    fit(folder, small_recipe, task="regression", jobs=1).save(path)
    return path

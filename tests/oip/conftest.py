"""Servers of the Open Inference Protocol in a thread: a sound one, and ones that do what no server should."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from classic_cv.images import to_picture
from classic_cv.oip.images import images_of
from classic_cv.oip.messages import HEADER_LENGTH, read_request, write_response
from classic_cv.oip.tensors import OipError, Tensor

RunServer = Callable[..., "ModelServer"]
RunScript = Callable[[Callable[[socket.socket], None]], str]


def shares(image: bytes | NDArray[np.uint8]) -> NDArray[np.float32]:
    """The share of each channel in the light of an image: three numbers that sum to 1."""
    sums = to_picture(image).pixels.reshape(-1, 3).sum(axis=0, dtype=np.float64) + 1
    found: NDArray[np.float32] = (sums / sums.sum()).astype(np.float32)
    return found


class ModelServer(ThreadingHTTPServer):
    """One model, whose answer for an image is ``model(image)``; all of its metadata can be set.

    Attributes:
        most: requests that are answered on one connection; then it is closed, and no header says so.
        seen: method, path, headers and body of each request.
        images: that the model was asked for.
        n_connections: that were opened.
    """

    daemon_threads = True
    request_queue_size = 32

    def __init__(self, model: Callable[[Any], NDArray[np.float32]] = shares) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.model = model
        self.class_names: Any = ["red", "green", "blue"]
        self.version = "1"
        self.inputs: Any = [{"name": "image", "datatype": "BYTES", "shape": [-1]}]
        self.outputs: Any = [
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]},
        ]
        self.extensions: Sequence[str] = ["binary_tensor_data"]
        self.status = 200
        self.most = 1_000_000
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        self.images: list[bytes | NDArray[np.uint8]] = []
        self.n_connections = 0

    @property
    def url(self) -> str:
        """Of the model."""
        return f"http://127.0.0.1:{self.server_address[1]}/v2/models/colors"

    def get_request(self) -> tuple[Any, Any]:
        self.n_connections += 1
        return super().get_request()

    def metadata(self) -> dict[str, Any]:
        """Of the model."""
        parameters = {} if self.class_names is None else {"class_names": self.class_names}
        return {
            "name": "colors",
            "versions": [self.version],
            "platform": "test",
            "inputs": self.inputs,
            "outputs": self.outputs,
            "parameters": parameters,
        }

    def inferred(self, body: bytes, length: int | None) -> tuple[bytes, int | None]:
        """The response to an inference."""
        request = read_request(body, length)
        images = images_of(request._replace(inputs=[request.inputs[0]._replace(name="image")]), 8)
        self.images += images
        probabilities = np.stack([self.model(image) for image in images])
        labels = np.array([b"%d" % row.argmax() for row in probabilities], object)
        values = {"label": labels, "probabilities": probabilities}
        outputs = [
            Tensor(output["name"], output["datatype"], values.get(output["name"], probabilities))
            for output in self.outputs
        ]
        return write_response("colors", self.version, request, outputs)


class _Handler(BaseHTTPRequestHandler):
    server: ModelServer
    protocol_version = "HTTP/1.1"
    n_answered = 0

    def handle(self) -> None:
        if self.server.most:
            super().handle()

    def do_GET(self) -> None:
        self.server.seen.append(("GET", self.path, dict(self.headers), b""))
        found = self.server.metadata() if "/models/" in self.path else {"extensions": self.server.extensions}
        self._send(msgspec.json.encode(found), None)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append(("POST", self.path, dict(self.headers), body))
        length = self.headers.get(HEADER_LENGTH)
        try:
            self._send(*self.server.inferred(body, None if length is None else int(length)))
        except OipError as error:
            self._send(msgspec.json.encode({"error": str(error)}), None, 400)

    def _send(self, body: bytes, length: int | None, status: int | None = None) -> None:
        self.send_response(status or self.server.status)
        self.send_header("Content-Length", str(len(body)))
        if length is not None:
            self.send_header(HEADER_LENGTH, str(length))
        self.end_headers()
        self.wfile.write(body)
        self.n_answered += 1
        self.close_connection |= self.n_answered >= self.server.most

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr."""


@contextlib.contextmanager
def running(server: ThreadingHTTPServer) -> Iterator[None]:
    """Serve in a thread inside the block."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def run_server() -> Iterator[RunServer]:
    """Starts a ``ModelServer``; it is stopped after the test."""
    with contextlib.ExitStack() as stack:

        def start(**settings: Any) -> ModelServer:
            server = ModelServer()
            for name, value in settings.items():
                setattr(server, name, value)
            stack.enter_context(running(server))
            return server

        yield start


@pytest.fixture
def run_script() -> Iterator[RunScript]:
    """Starts a TCP server that does with each connection what a function says; the address of a model behind it."""
    with contextlib.ExitStack() as stack:

        def start(script: Callable[[socket.socket], None]) -> str:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

            def talk(sock: socket.socket) -> None:
                with sock, contextlib.suppress(OSError):
                    script(sock)

            def accept() -> None:
                with contextlib.suppress(OSError):
                    while True:
                        sock, _ = listener.accept()
                        threading.Thread(target=talk, args=[sock], daemon=True).start()

            threading.Thread(target=accept, daemon=True).start()
            # Closing alone does not wake up a thread that accepts.
            stack.callback(listener.shutdown, socket.SHUT_RDWR)
            return f"http://127.0.0.1:{listener.getsockname()[1]}/v2/models/m"

        yield start

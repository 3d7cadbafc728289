"""What one client may cost the others: long messages, stalled bodies, many pixels, a log that nobody reads."""

from __future__ import annotations

import asyncio
import base64
import http.client
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.testclient import TestClient

from classic_cv.serve import admission, reading
from classic_cv.serve.guard import Guard, allowed_hosts
from classic_cv.serve.logs import RequestLog
from classic_cv.serve.metrics import Metrics
from classic_cv.serve.settings import ServeSettings

Service = Callable[..., TestClient]

INFER = "/v2/models/faces/infer"


def images(*encoded: bytes) -> dict[str, Any]:
    data = [base64.b64encode(one).decode() for one in encoded]
    return {"inputs": [{"name": "image", "shape": [len(data)], "datatype": "BYTES", "data": data}]}


@pytest.mark.parametrize(
    "part",
    [
        {"id": "x" * 257},
        {"outputs": [{"name": f"n{k}"} for k in range(65)]},
        {"inputs": [{"name": f"n{k}", "shape": [1], "datatype": "FP32", "data": [0]} for k in range(65)]},
    ],
)
def test_what_a_message_may_name_is_bounded(service: Service, png: bytes, part: dict[str, Any]) -> None:
    response = service().post(INFER, json={**images(png), **part})
    assert response.status_code == 400
    assert "length <=" in response.json()["error"]


def test_an_id_of_the_greatest_length_comes_back(service: Service, png: bytes) -> None:
    response = service().post(INFER, json={**images(png), "id": "x" * 256})
    assert response.json()["id"] == "x" * 256


def test_images_are_limited_together(service: Service, png: bytes) -> None:
    client = service(max_pixels=10_000)
    assert client.post(INFER, json=images(png, png)).status_code == 200
    response = client.post(INFER, json=images(png, png, png))
    assert response.status_code == 400
    assert "30000 pixels together, allowed are 20000" in response.json()["error"]
    large = cv2.imencode(".png", np.zeros((101, 100, 3), np.uint8))[1].tobytes()
    response = client.post(INFER, json=images(large))
    assert response.json()["error"].startswith("image 0: 100x101 are 10100 pixels")


def test_a_body_that_stalls_is_given_up_long_before_its_time(
    running: Callable[..., str], monkeypatch: pytest.MonkeyPatch, png: bytes
) -> None:
    monkeypatch.setattr(reading, "STALL", 0.2)
    address = urlsplit(running(body_timeout=60))
    with socket.create_connection((address.hostname, address.port), timeout=30) as line:
        head = b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n"
        start = time.monotonic()
        line.sendall(head + png[:10])
        assert line.recv(4096).startswith(b"HTTP/1.1 408")
    assert time.monotonic() - start < 20


def test_long_uploads_do_not_keep_small_images_away(
    running: Callable[..., str], monkeypatch: pytest.MonkeyPatch, png: bytes
) -> None:
    monkeypatch.setattr(admission, "MOST_HELD", 1)
    address = urlsplit(running(max_body=2**20))
    head = b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1048576\r\n\r\n"
    lines = [socket.create_connection((address.hostname, address.port), timeout=30) for _ in range(2)]
    try:
        # Together they hold all that is held at most; the second is over it.
        lines[0].sendall(head + bytes(2**20 - 1))
        time.sleep(0.3)
        lines[1].sendall(head + bytes(300_000))
        assert lines[1].recv(4096).startswith(b"HTTP/1.1 503")
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
        connection.request("POST", "/classify", png)
        assert connection.getresponse().status == 200
        connection.close()
    finally:
        for line in lines:
            line.close()


def test_a_request_of_several_hosts(service: Service) -> None:
    response = service().get("/v2", headers=[("host", "evil.example"), ("host", "localhost")])
    assert response.status_code == 400
    assert "several Host headers" in response.json()["error"]


@pytest.mark.parametrize("host", ["127.1", "127.0.0.2", "::1", "localhost"])
def test_the_loopback_is_known_however_it_is_written(
    settings: Callable[..., ServeSettings], host: str
) -> None:
    hosts = allowed_hosts(settings(host=host))
    assert hosts is not None
    assert "localhost" in hosts
    assert "evil.example" not in hosts


def test_a_request_that_the_end_of_the_service_cuts_off(settings: Callable[..., ServeSettings]) -> None:
    started = asyncio.Event()

    async def hang(request: Request) -> Response:
        started.set()
        await asyncio.sleep(60)
        return Response()

    log = RequestLog(write=lambda line: None)
    guard = Guard(Router([Route("/v2", hang, methods=["GET"])]), settings(), Metrics(), log)
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def cut_off() -> None:
        scope = {"type": "http", "method": "GET", "path": "/v2", "headers": [(b"host", b"localhost")]}
        task = asyncio.ensure_future(guard({**scope, "root_path": "", "query_string": b""}, receive, send))
        await started.wait()
        task.cancel()
        await task

    asyncio.run(cut_off())
    assert sent[0]["status"] == 503
    assert (b"connection", b"close") in sent[0]["headers"]
    assert b"the service is ending" in sent[1]["body"]


WRITING = """
from classic_cv.serve.logs import RequestLog
log = RequestLog()
for number in range(5000):
    log.event("started", text="x" * 100, number=number)
print("done", flush=True)
"""


def test_a_log_that_nobody_reads_stops_nothing() -> None:
    command = [sys.executable, "-c", WRITING]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "done\n"
        assert process.wait(30) == 0


def test_a_log_in_a_file_is_whole(tmp_path: Any) -> None:
    path = tmp_path / "log"
    path.write_text("before\n")
    with path.open("a") as file:
        subprocess.run([sys.executable, "-c", WRITING], stderr=file, stdout=subprocess.DEVNULL, check=True)
    lines = path.read_text().splitlines()
    assert (len(lines), lines[0]) == (5001, "before")

"""What all endpoints have in common: routes, refusals, limits, what is noted."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from classic_cv.answer import Answer
from classic_cv.errors import ArtifactError
from classic_cv.serve import admission
from classic_cv.serve.registry import Served

Service = Callable[..., TestClient]

GETS = ["/", "/v2", "/v2/health/live", "/v2/models/faces", "/metrics", "/docs", "/openapi.json"]


class Gate:
    """Lets answers wait until it is opened."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.entered = threading.Semaphore(0)
        self.calls = 0

    def close(self) -> None:
        self.opened.set()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """Every answer waits at it."""
    gate, answer = Gate(), Served.answer

    def wait(served: Served, image: Any) -> Answer:
        gate.calls += 1
        gate.entered.release()
        assert gate.opened.wait(30)
        return answer(served, image)

    monkeypatch.setattr(Served, "answer", wait)
    yield gate
    gate.opened.set()


def connected(url: str) -> socket.socket:
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname, parts.port), timeout=20)


def received(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of an answer."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()


def head(length: int | None, path: str = "/classify", *more: str) -> bytes:
    """The head of a request; without a length it is chunked."""
    size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: 127.0.0.1", size, *more, "\r\n"]).encode()


def eventually(condition: Callable[[], bool]) -> bool:
    """Whether it comes true within some seconds."""
    deadline = time.monotonic() + 20
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def in_flight(client: TestClient | str) -> float:
    """The figure of the metrics."""
    if isinstance(client, str):
        parts = urlsplit(client)
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=20)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
    else:
        text = client.get("/metrics").text
    [line] = [line for line in text.splitlines() if line.startswith("classic_cv_in_flight ")]
    return float(line.split()[1])


def requests_in(lines: list[dict[str, Any]], endpoint: str = "/classify") -> list[dict[str, Any]]:
    return [line for line in lines if line["event"] == "request" and line["endpoint"] == endpoint]


# --- routes -------------------------------------------------------------------------------------------------


def test_what_there_is_not(service: Service, log_lines: list[dict[str, Any]]) -> None:
    client = service()
    for path in (
        "/secret-path",
        "/v2/",
        "/v2/models",
        "/v2/models/a/b",
        "/docs/",
        "/classify/x",
        "/%2e%2e/etc",
    ):
        response = client.get(path)
        assert response.status_code == 404
        assert "/docs" in response.json()["error"]
    assert {line["endpoint"] for line in log_lines if line["event"] == "request"} == {"other"}
    assert "secret-path" not in json.dumps(log_lines) + client.get("/metrics").text


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
def test_methods_that_a_path_does_not_take(service: Service, method: str) -> None:
    client = service()
    response = client.request(method, "/classify")
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    response = client.request(method, "/v2/models/faces")
    assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD")
    assert response.json() == {"error": "this path takes GET, HEAD only"}


@pytest.mark.parametrize("path", GETS)
def test_a_head_is_answered_like_a_get(service: Service, path: str) -> None:
    client = service()
    response = client.head(path)
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["content-type"] == client.get(path).headers["content-type"]


def test_a_head_of_what_is_posted(service: Service) -> None:
    response = service().head("/classify")
    assert (response.status_code, response.headers["allow"]) == (405, "POST")


def test_a_web_socket_is_closed(service: Service) -> None:
    with pytest.raises(WebSocketDisconnect), service().websocket_connect("/classify"):
        raise AssertionError("it was opened")


def test_templates_are_noted_in_place_of_paths(service: Service, log_lines: list[dict[str, Any]]) -> None:
    client = service()
    client.post("/v2/models/private-name/versions/private-version/infer")
    client.get("/v2/models/faces/infer")
    figures = client.get("/metrics").text
    line, other = [line for line in log_lines if line["event"] == "request"][:2]
    assert line["endpoint"] == "/v2/models/{name}/versions/{version}/infer"
    assert (line["method"], line["status"]) == ("POST", 404)
    assert (other["endpoint"], other["status"]) == ("/v2/models/{name}/infer", 405)
    assert 'classic_cv_requests_total{endpoint="/v2/models/{name}/infer",status="405"} 1.0' in figures
    assert "private" not in json.dumps(log_lines) + figures


def test_a_request_is_noted(service: Service, png: bytes, log_lines: list[dict[str, Any]]) -> None:
    client = service()
    response = client.post("/classify", content=png)
    [line] = requests_in(log_lines)
    assert line["request_id"] == response.headers["x-request-id"]
    assert (line["status"], line["bytes"], line["model"], line["images"]) == (200, len(png), "faces", 1)
    assert line["served_by"] == "model"
    assert line["ms"] > 0
    figures = client.get("/metrics").text
    assert 'classic_cv_requests_total{endpoint="/classify",status="200"} 1.0' in figures
    for stage in ("read", "wait", "decode", "features", "head"):
        assert f'classic_cv_stage_seconds_count{{stage="{stage}"}} 1.0' in figures


def test_pages_can_be_read(service: Service) -> None:
    client = service()
    start = client.get("/")
    assert "<html" in start.text
    assert start.headers["permissions-policy"] == "camera=(self)"
    docs = client.get("/docs")
    assert "POST</span> <code>/v2/models/{name}/infer</code>" in docs.text
    assert client.get("/metrics").headers["content-type"].startswith("text/plain; version=")


# --- errors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [RuntimeError, StopIteration, ArtifactError, MemoryError])
def test_an_unexpected_error_tells_nothing(
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
    log_lines: list[dict[str, Any]],
    kind: type[Exception],
) -> None:
    def fail(*_: Any) -> Answer:
        raise kind("cannot open /home/somebody/model.bin")

    monkeypatch.setattr(Served, "answer", fail)
    client = service()
    response = client.post("/classify", content=b"x", headers={"X-Request-Id": "abc"})
    assert response.status_code == 500
    assert response.json() == {"error": "internal error", "request_id": "abc"}
    [line] = [line for line in log_lines if line["event"] == "error"]
    assert (line["request_id"], line["endpoint"]) == ("abc", "/classify")
    assert "in fail" in line["traceback"]
    assert requests_in(log_lines)[0]["status"] == 500
    assert in_flight(client) == 0


# --- bodies -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/classify", "/explain", "/v2/models/faces/infer"])
def test_a_body_over_the_limit(service: Service, path: str) -> None:
    client = service(max_body=1000)
    response = client.post(path, content=b"x" * 1001)
    assert response.status_code == 413
    assert "1000 bytes" in response.json()["error"]
    assert client.post(path, content=b"x" * 1000).status_code == 400


def test_a_length_over_the_limit_is_refused_before_the_body(
    running: Callable[..., str], log_lines: list[dict[str, Any]]
) -> None:
    with connected(running(max_body=1000)) as connection:
        connection.sendall(head(1001))
        status, _, body = received(connection)
    assert (status, b"longer than the 1000" in body) == (413, True)
    assert requests_in(log_lines)[0]["bytes"] == 0


def test_a_client_that_asks_first_need_not_send(running: Callable[..., str]) -> None:
    with connected(running(max_body=1000)) as connection:
        connection.sendall(head(100_000, "/classify", "Expect: 100-continue"))
        assert received(connection)[0] == 413


def test_chunks_are_counted(running: Callable[..., str]) -> None:
    with connected(running(max_body=1000)) as connection:
        connection.sendall(head(None))
        for _ in range(3):
            connection.sendall(b"190\r\n" + b"x" * 400 + b"\r\n")
        assert received(connection)[0] == 413


def test_a_body_in_chunks_is_put_together(running: Callable[..., str], png: bytes) -> None:
    with connected(running()) as connection:
        connection.sendall(head(None))
        for start in range(0, len(png), 1000):
            part = png[start : start + 1000]
            connection.sendall(b"%x\r\n%b\r\n" % (len(part), part))
        connection.sendall(b"0\r\n\r\n")
        status, _, body = received(connection)
    assert (status, json.loads(body)["model"]) == (200, "faces")


def test_a_body_that_drips_is_not_waited_for(
    running: Callable[..., str], log_lines: list[dict[str, Any]]
) -> None:
    with connected(running(body_timeout=0.5)) as connection:
        connection.sendall(head(1000))
        start = time.monotonic()
        dripping = threading.Event()

        def drip() -> None:
            while not dripping.wait(0.05):
                connection.sendall(b"x")

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            status, headers, body = received(connection)
        finally:
            dripping.set()
            thread.join()
        assert time.monotonic() - start < 10
    assert (status, headers["connection"]) == (408, "close")
    assert b"within 0.5 seconds" in body


def test_a_body_that_ends_too_early_has_no_answer(
    running: Callable[..., str], log_lines: list[dict[str, Any]]
) -> None:
    with connected(running()) as connection:
        connection.sendall(head(1000) + b"only some")
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1000) == b""
    assert eventually(lambda: bool(requests_in(log_lines)))
    [line] = requests_in(log_lines)
    assert (line["status"], line["client_gone"], line["bytes"]) == (499, True, 9)


@pytest.mark.parametrize("value", ["gzip", "br", "identity, gzip"])
def test_encoded_bodies_are_not_taken(service: Service, png: bytes, value: str) -> None:
    response = service().post("/classify", content=png, headers={"content-encoding": value})
    assert response.status_code == 415
    assert "Content-Encoding" in response.json()["error"]


def test_a_body_as_it_is_may_say_so(service: Service, png: bytes) -> None:
    client = service()
    assert client.post("/classify", content=png, headers={"content-encoding": "Identity"}).status_code == 200


@pytest.mark.parametrize("length", ["x", "-1", "1" * 19, ""])
def test_a_length_that_is_no_number(service: Service, length: str) -> None:
    response = service().post("/classify", content=b"x", headers={"content-length": length})
    assert response.status_code == 400
    assert "Content-Length" in response.json()["error"]


# --- places -------------------------------------------------------------------------------------------------


def test_more_requests_than_places_are_refused(
    service: Service, gate: Gate, png: bytes, log_lines: list[dict[str, Any]]
) -> None:
    client = service(max_in_flight=2, threads=1)
    statuses: list[int] = []

    def ask() -> None:
        statuses.append(client.post("/classify", content=png).status_code)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert eventually(lambda: in_flight(client) == 2)
    response = client.post("/classify", content=png)
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert "too many requests" in response.json()["error"]
    # Before its body was read.
    assert requests_in(log_lines)[0]["bytes"] == 0
    assert client.get("/v2/health/live").status_code == 200
    gate.close()
    for thread in threads:
        thread.join(30)
    assert statuses == [200, 200]
    assert in_flight(client) == 0
    assert client.post("/classify", content=png).status_code == 200


def test_bodies_being_received_have_places_too(running: Callable[..., str], png: bytes) -> None:
    url = running(max_reading=1)
    with connected(url) as slow, connected(url) as other:
        slow.sendall(head(len(png)))
        slow.sendall(png[:100])
        time.sleep(0.2)
        other.sendall(head(len(png)) + png)
        assert received(other)[0] == 503
        slow.sendall(png[100:])
        assert received(slow)[0] == 200
        other.sendall(head(len(png)) + png)
        assert received(other)[0] == 200


def test_bodies_being_received_take_only_so_much_memory(
    running: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "SMALL", 1000)
    url = running(max_body=100_000)
    part = b"x" * 90_000
    waiting = [connected(url) for _ in range(4)]
    try:
        for connection in waiting:
            connection.sendall(head(100_000) + part)
        time.sleep(0.5)
        with connected(url) as last:
            last.sendall(head(100_000) + part)
            assert received(last)[0] == 503
        for connection in waiting:
            connection.sendall(b"x" * 10_000)
            assert received(connection)[0] == 400
        with connected(url) as last:
            last.sendall(head(100_000) + b"x" * 100_000)
            assert received(last)[0] == 400
    finally:
        for connection in waiting:
            connection.close()


def test_a_client_that_goes_away_frees_its_reading_place(running: Callable[..., str], png: bytes) -> None:
    url = running(max_reading=1)
    with connected(url) as slow:
        slow.sendall(head(len(png)) + png[:100])
        time.sleep(0.2)

    def is_answered() -> bool:
        with connected(url) as other:
            other.sendall(head(len(png)) + png)
            return received(other)[0] == 200

    assert eventually(is_answered)


def test_a_client_that_goes_away_frees_its_place_in_the_queue(
    running: Callable[..., str], gate: Gate, png: bytes, log_lines: list[dict[str, Any]]
) -> None:
    url = running(threads=1, max_in_flight=2)
    with connected(url) as first:
        first.sendall(head(len(png)) + png)
        assert gate.entered.acquire(timeout=20)
        with connected(url) as second:
            second.sendall(head(len(png)) + png)
            assert eventually(lambda: in_flight(url) == 2)
        # The second went away before a thread took it.
        assert eventually(lambda: in_flight(url) == 1)
        gate.close()
        assert received(first)[0] == 200
    assert gate.calls == 1
    assert eventually(lambda: len(requests_in(log_lines)) == 2)
    assert sorted(line["status"] for line in requests_in(log_lines)) == [200, 499]


def test_work_for_a_client_that_went_away_stops_between_images(
    running: Callable[..., str], gate: Gate, png: bytes
) -> None:
    url = running(threads=1)
    data = b'{"inputs":[{"name":"image","datatype":"BYTES","shape":[3],"data":["aaaa","aaaa","aaaa"]}]}'
    with connected(url) as client:
        client.sendall(head(len(data), "/v2/models/faces/infer") + data)
        assert gate.entered.acquire(timeout=20)
        time.sleep(0.1)
    time.sleep(0.3)
    assert in_flight(url) == 1
    gate.close()
    assert eventually(lambda: in_flight(url) == 0)
    assert gate.calls == 1


def test_a_long_answer_is_waited_for(running: Callable[..., str], gate: Gate, png: bytes) -> None:
    with connected(running()) as client:
        client.sendall(head(len(png)) + png)
        assert gate.entered.acquire(timeout=20)
        time.sleep(0.2)
        gate.close()
        assert received(client)[0] == 200
        client.sendall(head(len(png)) + png)
        assert received(client)[0] == 200


def test_threads_are_as_many_as_asked_for_or_as_wait_for_primaries(
    settings: Callable[..., Any], model_file: Path
) -> None:
    from classic_cv.serve.admission import n_threads
    from classic_cv.serve.settings import ModelSource
    from classic_cv.timing import available_cores

    waiting = (ModelSource(name="a", path="/a", primary="http://localhost/v2/models/a"),)
    assert n_threads(settings(threads=3)) == 3
    assert n_threads(settings(threads=None, max_in_flight=7, models=waiting)) == 7
    assert n_threads(settings(threads=None, workers=1)) == available_cores()
    assert n_threads(settings(threads=None, workers=1000)) == 1

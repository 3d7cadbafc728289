"""``classic-cv serve`` as its users meet it: processes, signals, replaced files."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from classic_cv.cli import main
from classic_cv.errors import MissingExtraError
from classic_cv.model import load
from classic_cv.serve import server
from classic_cv.serve.settings import ModelSource, ServeSettings

PATIENCE = 120
"""Seconds until a test gives up; far more than anything should take."""


class Service:
    """A service in a process of its own."""

    def __init__(self, folder: Path, *arguments: object) -> None:
        self.log_file = folder / "log.jsonl"
        command = [sys.executable, "-m", "classic_cv", "serve", "--port", "0", *map(str, arguments)]
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self.process.stdout is not None
        self.ready_line = self.process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)$", self.ready_line)
        assert found is not None, self.log_file.read_text()
        self.port = int(found[1])

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """The status and the body of an answer, over a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body, {"Content-Type": "image/png"} if body else {})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def version(self) -> str:
        """Of the model that answers."""
        _, body = self.ask("GET", "/v2/models/faces")
        return str(json.loads(body)["versions"][0])

    def requests_counted(self) -> float:
        """Requests to /v2 by the figures of all workers."""
        _, body = self.ask("GET", "/metrics")
        found = re.search(
            rb'^classic_cv_requests_total\{endpoint="/v2",status="200"\} (\S+)$', body, re.MULTILINE
        )
        return float(found[1]) if found else 0.0

    def events(self, name: str) -> list[dict[str, Any]]:
        """Lines of the log."""
        lines = map(json.loads, self.log_file.read_text().splitlines())
        return [line for line in lines if line["event"] == name]

    def workers(self) -> set[int]:
        """Processes that loaded the model and run."""
        pids = {line["pid"] for line in self.events("model loaded")}
        return {pid for pid in pids if is_running(pid)}

    def end(self, sig: int = signal.SIGTERM) -> int:
        """The exit status after a signal."""
        self.process.send_signal(sig)
        return self.process.wait(PATIENCE)


class Asked:
    """What a client that asks again and again is answered."""

    def __init__(self) -> None:
        self.statuses: set[int] = set()
        self.versions: set[str] = set()

    def until(self, stop: threading.Event, service: Service, face: bytes) -> None:
        """Ask until ``stop``."""
        while not stop.is_set():
            status, body = service.ask("POST", "/classify?model=faces", face)
            self.statuses.add(status)
            if status == 200:
                self.versions.add(json.loads(body)["version"])


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Starts ``classic-cv serve ARGUMENTS`` and waits until it is ready."""
    services: list[Service] = []

    def make(*arguments: object) -> Service:
        services.append(Service(tmp_path, *arguments))
        return services[-1]

    yield make
    for service in services:
        if service.process.poll() is None:
            service.process.kill()
        service.process.wait()
        assert service.process.stdout is not None
        service.process.stdout.close()


@pytest.fixture
def file(model_file: Path, tmp_path: Path) -> Path:
    """A model file that may be replaced."""
    path = tmp_path / "faces.safetensors"
    path.write_bytes(model_file.read_bytes())
    return path


@pytest.fixture(scope="session")
def face(faces: Path) -> bytes:
    return sorted((faces / "test").rglob("*.png"))[0].read_bytes()


def refuses(port: int) -> bool:
    """Whether nobody listens."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE).close()
    except ConnectionRefusedError:
        return True
    return False


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def replace(file: Path, data: bytes) -> None:
    aside = file.with_suffix(".new")
    aside.write_bytes(data)
    aside.replace(file)


def variant(file: Path) -> bytes:
    """The same model with another seed noted, and so of another version."""
    model = load(file)
    model.metadata = msgspec.structs.replace(model.metadata, seed=model.metadata.seed + 1)
    return model.to_bytes()


def failing(*arguments: object) -> str:
    """What ``classic-cv serve ARGUMENTS`` complains of; nothing has listened."""
    command = [sys.executable, "-m", "classic_cv", "serve", *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert run.returncode == 2
    assert run.stdout == ""
    assert "Traceback" not in run.stderr
    return run.stderr


def test_the_life_of_a_service(
    start: Callable[..., Service], file: Path, face: bytes, tmp_path: Path
) -> None:
    """One process, for a start takes a while: ready, a file replaced under load, SIGTERM with a request in flight."""
    facts = tmp_path / "facts.json"
    service = start(f"people={file}", file, "--json", facts)
    url = f"http://127.0.0.1:{service.port}"
    assert service.ready_line == f"serving people, faces on {url}\n"
    assert json.loads(facts.read_text()) == {"url": url, "models": ["people", "faces"]}
    status, body = service.ask("POST", "/classify?model=faces", face)
    assert (status, json.loads(body)["label"]) == (200, load(file).predict([face])[0])

    libraries = Path(f"/proc/{service.process.pid}/maps").read_text()
    assert "/cv2/" in libraries
    assert not [
        name for name in ("sklearn", "scipy", "skimage", "torch", "onnxruntime") if f"/{name}/" in libraries
    ]

    before, asked, stop = service.version(), Asked(), threading.Event()
    asking = threading.Thread(target=asked.until, args=(stop, service, face))
    asking.start()
    replace(file, variant(file))
    wait_until(lambda: len({before} | asked.versions) == 2)
    stop.set()
    asking.join()
    assert asked.statuses == {200}

    # SIGTERM while a body is being sent: the request is finished, and no other is taken.
    with socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE) as client:
        head = f"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(face)}\r\n\r\n"
        client.sendall(head.encode() + face[:10])
        time.sleep(0.2)
        service.process.send_signal(signal.SIGTERM)
        wait_until(lambda: bool(service.events("draining")))
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE)
        client.sendall(face[10:])
        answer = client.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b"connection: close" in answer
    assert service.process.wait(PATIENCE) == 0
    assert {line["status"] for line in service.events("request")} == {200}


def test_the_time_to_drain_is_bounded(start: Callable[..., Service], file: Path) -> None:
    service = start(file, "--drain", "0.2s", "--quiet")
    with socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE) as client:
        client.sendall(b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nabc")
        time.sleep(0.2)
        assert service.end(signal.SIGINT) == 0


def test_workers_come_back_and_serve_what_was_served(start: Callable[..., Service], file: Path) -> None:
    """Two processes: one is killed, also beside a bad file; figures are of both; SIGTERM ends all."""
    service = start(file, "--workers", 2)
    first, second = sorted(service.workers())
    version = service.version()
    for _ in range(10):
        assert service.ask("GET", "/v2")[0] == 200
    assert service.requests_counted() == 10

    replace(file, b"no model")
    wait_until(lambda: len(service.events("model refused")) == 2)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: len(service.workers() - {first}) == 2)
    [death] = service.events("worker died")
    assert (death["worker"], death["exit_status"]) == (first, -signal.SIGKILL)
    # Whichever of the two answers.
    assert {service.version() for _ in range(10)} == {version}
    # What the dead one had counted still counts.
    assert service.requests_counted() == 10

    workers = service.workers()
    assert second in workers
    with socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE) as client:
        client.sendall(b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nabc")
        time.sleep(0.2)
        service.process.send_signal(signal.SIGTERM)
        # Whoever connects while the upload is waited for is not left without an answer.
        wait_until(lambda: refuses(service.port))
        assert any(map(is_running, workers))
    assert service.process.wait(PATIENCE) == 0
    assert not any(map(is_running, workers))


def test_workers_end_with_a_supervisor_that_was_killed(start: Callable[..., Service], file: Path) -> None:
    service = start(file, "--workers", 2)
    workers = service.workers()
    assert len(workers) == 2

    service.end(signal.SIGKILL)
    wait_until(lambda: not any(map(is_running, workers)))


def test_what_is_wrong_is_found_before_anything_listens(file: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"no model")

    assert (
        "bad.safetensors: is not a whole safetensors file"
        in failing(file, bad, "--workers", 2).splitlines()[-1]
    )


def test_what_is_wrong_ends_the_command(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    bad, token = tmp_path / "bad.safetensors", tmp_path / "token"
    bad.write_bytes(b"no model")
    token.write_text("short")

    def fails(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["classic-cv", "serve", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        assert stop.value.code == 2
        told = capfd.readouterr()
        assert told.out == ""
        return told.err

    assert "bad.safetensors: is not a whole safetensors file" in fails(file, bad)
    assert "token: holds no token" in fails(file, "--token-file", token)
    assert "there is a model 'faces' already" in fails(file, file)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert f"cannot listen on 127.0.0.1 port {port}" in fails(file, "--port", port)


def test_an_extra_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "find_spec", lambda name: None if name == "httptools" else name)
    settings = ServeSettings(models=(ModelSource(name="m", path="/m"),))

    with pytest.raises(MissingExtraError, match=r"needs httptools, .*pip install 'classic-cv\[serve\]'"):
        server.serve(settings, print)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[ServeSettings]:
    """What the command would serve."""
    found: list[ServeSettings] = []

    def serve(settings: ServeSettings, on_ready: Callable[[str], None]) -> int:
        found.append(settings)
        on_ready("http://host:1")
        return 0

    monkeypatch.setattr(server, "serve", serve)
    return found


def command(*arguments: str) -> None:
    from classic_cv.cli import cli

    with pytest.raises(SystemExit) as stop:
        cli.main(["serve", *arguments], standalone_mode=False)
    assert stop.value.code == 0


def test_the_command_s_defaults_are_the_settings(
    served: list[ServeSettings], capsys: pytest.CaptureFixture[str]
) -> None:
    command("/a/digits.safetensors")

    [settings] = served
    assert settings == ServeSettings(models=(ModelSource(name="digits", path="/a/digits.safetensors"),))
    assert capsys.readouterr() == ("serving digits on http://host:1\n", "")


def test_options_become_settings(served: list[ServeSettings], capsys: pytest.CaptureFixture[str]) -> None:
    options = (
        "m=/a --host 0.0.0.0 --port 1 --workers 2 --threads 3 --primary /b --deadline 20ms --mode hedged --sample 0.5 "
        "--abstain 0.9 --token-file /t --primary-token-file /u --allow-host h --allow-host i --max-body 4 "
        "--max-pixels 5 --max-images 6 --max-in-flight 7 --drain 8s --quiet --json -"
    )
    command(*options.split())

    [settings] = served
    assert settings == ServeSettings(
        models=(ModelSource(name="m", path="/a", primary="/b"),),
        host="0.0.0.0",
        port=1,
        workers=2,
        threads=3,
        deadline=0.02,
        mode="hedged",
        sample=0.5,
        abstain=0.9,
        token_file="/t",
        primary_token_file="/u",
        allowed_hosts=("h", "i"),
        max_body=4 * 2**20,
        max_pixels=5,
        max_images=6,
        max_in_flight=7,
        drain=8.0,
        quiet=True,
    )
    out, err = capsys.readouterr()
    assert json.loads(out) == {"url": "http://host:1", "models": ["m"]}
    assert err == "warning: --abstain takes the primary's probabilities as they are, calibrated or not\n"


def test_a_deadline_without_a_unit_is_in_milliseconds(served: list[ServeSettings]) -> None:
    command("faces.safetensors", "--deadline", "50")
    assert served[0].deadline == 0.05


def test_an_open_door_is_warned_of(served: list[ServeSettings], capsys: pytest.CaptureFixture[str]) -> None:
    command("m=/a", "--host", "0.0.0.0")
    assert "warning: anyone who can reach 0.0.0.0 can ask; --token-file" in capsys.readouterr().err
    command("m=/a", "--host", "localhost")
    assert capsys.readouterr().err == ""

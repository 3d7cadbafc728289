"""Figures of a service among trouble: a primary that misbehaves, a killed worker, damaged input."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from benchmarks._load import Reply, answer_in
from benchmarks._mutation import mutated_image, mutated_request
from benchmarks._primary import NAME
from benchmarks._requests import classify, infer, request
from benchmarks._service import MB, Service, first_line, load, memory, service, stop, workers
from benchmarks._setting import Row, Setting, behind, in_a_row, summary

DEADLINE = 0.05
TROUBLES = ("hangs", "dies", "500", "garbage", "drips")
PRIMARY_RATE = 50.0
CALM, HEALING = 1.0, 8.0
"""Seconds before and after the trouble."""
KILL_RATE = 100.0
AT_ONCE = 4
"""Damaged images in flight: fewer than the service takes, so that it has no reason to refuse any."""
PATIENCE = 30.0
"""Seconds for an answer to a damaged image."""
WAITING_AT_ONCE, SHORT_PATIENCE = 16, 1.0
"""The same for damaged requests: of many the service waits for the rest."""


class Primary:
    """The misbehaving primary as a process that can die and be started again at the same port."""

    def __init__(self, class_names: tuple[str, ...]) -> None:
        self.class_names = class_names
        self.port = 0
        self.start()

    def start(self) -> None:
        script = str(Path(__file__).with_name("_primary.py"))
        self.process = subprocess.Popen(
            [sys.executable, script, str(self.port), *self.class_names],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = int(first_line(self.process))

    def behave(self, how: str) -> None:
        """One of `TROUBLES`, or ``good``, from now on."""
        if how == "dies":
            self.process.kill()
            self.process.wait()
        elif self.process.poll() is not None:
            self.start()
        elif self.process.stdin:
            print(how, file=self.process.stdin, flush=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v2/models/{NAME}"


@contextlib.contextmanager
def _primary(class_names: tuple[str, ...]) -> Iterator[Primary]:
    primary = Primary(class_names)
    try:
        yield primary
    finally:
        stop(primary.process)


def primary(setting: Setting) -> list[Row]:
    """50 requests a second while the primary is in each kind of trouble, and after it."""
    seconds, rows = setting.seconds or 10.0, []
    with _primary(setting.model.class_names) as behind_it:
        options = "--primary", behind_it.url, "--deadline", f"{1e3 * DEADLINE:g}ms"
        with service(setting.model_path, *options) as found:
            for trouble in TROUBLES:
                rows.append(_trouble(found, behind_it, trouble, seconds, classify(setting.jpeg)))
    return rows


def _trouble(found: Service, behind_it: Primary, trouble: str, seconds: float, asked: bytes) -> Row:
    phases = [(PRIMARY_RATE, CALM + seconds + HEALING)]
    with load(found, [asked], phases) as running:
        running.wait(CALM)
        begin = time.monotonic()
        behind_it.behave(trouble)
        running.wait(CALM + seconds)
        end = time.monotonic()
        behind_it.behave("good")
        healed = time.monotonic()
        replies = running.replies()
    during = [one for one in replies if begin <= one.due < end]
    back = _back([one for one in replies if one.due >= end], healed)
    numbers = {**summary(during), "back_s": back, "before": summary(_until(replies, begin))["served_by"]}
    answered = sum(one.status == 200 for one in during) / len(during)
    returned = "not back" if back is None else f"back after {back:.2f} s"
    measured = f"{answered:.1%}, p99 {numbers['p99_ms']:.1f} ms, {_counts(numbers['served_by'])}; {returned}"
    asked_for = f"100 %, p99 < {1e3 * DEADLINE + 10:g} ms, back < 5 s"
    return Row(f"primary: {trouble}", asked_for, measured + behind(numbers), numbers)


def _until(replies: list[Reply], time_: float) -> list[Reply]:
    return [one for one in replies if one.due < time_]


def _back(replies: list[Reply], healed: float) -> float | None:
    """Seconds from the healing until the first of five answers in a row by the primary was there."""
    first = in_a_row([one.served_by == "primary" for one in replies], 5)
    return None if first is None else max(0.0, replies[first].done - healed)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in sorted(counts.items()))


def kill(setting: Setting) -> list[Row]:
    """One of two workers is killed under load."""
    seconds = setting.seconds or 10.0
    with (
        service(setting.model_path, "--workers", "2") as found,
        load(found, [classify(setting.jpeg)], [(KILL_RATE, seconds)]) as running,
    ):
        running.wait(seconds / 3)
        before = workers(found)
        killed = time.monotonic()
        os.kill(min(before), signal.SIGKILL)
        back = _two_again(found, before, killed)
        replies = running.replies()
    failed = [one for one in replies if one.status != 200]
    in_flight = sum(not one.status and one.sent < killed <= one.done for one in failed)
    numbers = {**summary(replies), "in_flight": in_flight, "back_s": back}
    text = f"{len(failed)} of {len(replies):,}, {in_flight} of them in flight: {numbers['outcomes']}"
    return [
        Row("kill -9 of a worker: failed", "those in flight", text + behind(numbers), numbers),
        Row("kill -9: two workers again", "< 2 s", "not within 20 s" if back is None else f"{back:.2f} s"),
    ]


def _two_again(found: Service, before: set[int], killed: float) -> float | None:
    """Seconds from the kill until there are two workers, of which the new one answers; None for not soon."""
    while time.monotonic() < killed + 20:
        new = workers(found) - before
        if new and any(_answers(found, pid) for pid in new):
            return time.monotonic() - killed
        time.sleep(0.01)
    return None


def _answers(found: Service, pid: int) -> bool:
    """Whether a request on a new connection was taken, and answered, by this very process."""
    with socket.create_connection((found.host, found.port), timeout=1.0) as line:
        line.sendall(request("/v2/health/live"))
        try:
            alive = line.recv(65536).startswith(b"HTTP/1.1 200")
            peers = {one.raddr.port for one in psutil.Process(pid).net_connections("tcp") if one.raddr}
        except (OSError, psutil.Error):
            return False
        return alive and line.getsockname()[1] in peers


def fuzz(setting: Setting) -> list[Row]:
    """Damaged images and damaged requests, each at a new connection."""
    with service(setting.model_path) as found:
        half = setting.mutations // 2
        images = [lambda number: classify(_image(setting, number))]
        images += [lambda number: infer(setting.name, _image(setting, number))]
        # What the decoders and the allocator keep for good, they have after some hundreds.
        asyncio.run(_counted(found, images[0], range(-300, 0)))
        before = memory(found.process.pid)
        counts = [asyncio.run(_counted(found, make, range(half))) for make in images]
        requests = _counted(found, _damaged_request(setting), range(half), WAITING_AT_ONCE, SHORT_PATIENCE)
        counts.append(asyncio.run(requests))
        after, alive = memory(found.process.pid), found.alive
    names = "images to /classify", "images to OIP infer", "requests"
    rows = [
        Row(f"fuzz: {half:,} damaged {name}", "no 5xx but 503", _outcomes(count), {"outcomes": dict(count)})
        for name, count in zip(names, counts, strict=True)
    ]
    growth = (
        f"{'lives' if alive else 'dead'}, {(after.rss - before.rss) / MB:+.2f} MB, to {after.rss / MB:.1f} MB"
    )
    return [*rows, Row("fuzz: the process", "lives, no growth", growth)]


def _image(setting: Setting, number: int) -> bytes:
    return mutated_image(setting.files, setting.seed, number)


def _damaged_request(setting: Setting) -> Callable[[int], bytes]:
    return lambda number: mutated_request(setting.jpeg, setting.name, setting.seed, number)


def _outcomes(counts: Counter[str]) -> str:
    bad = sum(n for name, n in counts.items() if name[0] == "5" and name != "503")
    return f"{bad} bad; {_counts(counts)}"


async def _counted(
    found: Service,
    make: Callable[[int], bytes],
    numbers: range,
    at_once: int = AT_ONCE,
    patience: float = PATIENCE,
) -> Counter[str]:
    """Statuses of the answers to ``make(number)``, some at a time."""
    counts: Counter[str] = Counter()
    left = iter(numbers)

    async def some() -> None:
        for number in left:
            counts[await _outcome(found, make(number), patience)] += 1

    await asyncio.gather(*(some() for _ in range(at_once)))
    return counts


async def _outcome(found: Service, data: bytes, patience: float) -> str:
    """The status, ``closed`` without one, or ``waits`` for a service that waits for the rest of the request."""
    writer: Any = None
    try:
        reader, writer = await asyncio.open_connection(found.host, found.port)
        writer.write(data)
        return await asyncio.wait_for(_status(reader), patience)
    except TimeoutError:
        return "waits"
    except ConnectionRefusedError:
        return "refused"
    except OSError:
        return "closed"
    finally:
        if writer is not None:
            writer.close()


async def _status(reader: asyncio.StreamReader) -> str:
    data = b""
    while part := await reader.read(65536):
        data += part
        try:
            answer = answer_in(data)
        except ValueError:
            return "no HTTP"
        if answer is not None:
            return str(answer.status)
    return "closed"

"""The load client against a server of a few lines, its arithmetic, and what the fuzzer sends."""

from __future__ import annotations

import asyncio
import json
import random
import struct
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks import serve
from benchmarks._faults import _outcomes
from benchmarks._load import Job, Load, Reply, answer_in, schedule
from benchmarks._mutation import FORMATS, _infer_json, changed, encoded, mutated_image, mutated_request
from benchmarks._primary import Primary
from benchmarks._requests import classify, infer, request
from benchmarks._setting import Row, Setting, behind, in_a_row, p, summary

OK = b'HTTP/1.1 200 OK\r\nContent-Length: 24\r\n\r\n{"served_by": "primary"}'
BUSY = b"HTTP/1.1 503 X\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n"


@pytest.fixture(scope="module")
def files() -> list[bytes]:
    rng = np.random.default_rng(0)
    smooth = np.add.outer(np.arange(24), np.arange(32)).astype(np.uint8)
    pixels = np.dstack([smooth, smooth[::-1], rng.integers(0, 256, (24, 32), np.uint8)])
    return list(encoded(pixels).values())


def reply(due: float = 0.0, done: float = 0.01, status: int = 200, late: float = 0.0) -> Reply:
    return Reply(due, due + late, due + late, due + done, status)


def replies_of(
    answer: Callable[[int], bytes], phases: list[tuple[float, float]], in_flight: int | None = None
) -> list[Reply]:
    """Of a server that answers its n-th request with ``answer(n)``, where nothing stands for no answer at all."""

    async def both() -> list[Reply]:
        count = 0

        async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal count
            try:
                while await reader.readuntil(b"\r\n\r\n"):
                    count += 1
                    writer.write(answer(count - 1))
            except asyncio.IncompleteReadError:
                writer.close()

        server = await asyncio.start_server(serve_one, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        job = Job("127.0.0.1", port, [request("/")], phases, in_flight, connections=4, timeout=0.5)
        load = Load(job)
        try:
            return await load.run(time.monotonic())
        finally:
            server.close()
            for connection in load.idle:
                connection.transport.close()
            await asyncio.sleep(0.01)

    return asyncio.run(both())


def test_schedule_goes_through_its_phases() -> None:
    assert list(schedule([(2.0, 1.0), (4.0, 0.5)])) == [0.0, 0.5, 1.0, 1.25]
    assert len(list(schedule([(300.0, 5.0)]))) == 1500


def test_percentiles_are_numpys() -> None:
    assert p(50, [3.0, 1.0, 2.0]) == 2.0
    assert p(99, [float(value) for value in range(101)]) == 99.0
    assert np.isnan(p(50, []))


def test_latency_counts_from_when_a_request_was_due() -> None:
    found = summary([Reply(1.0, 1.2, 1.2, 1.25, 200), Reply(2.0, 2.0, 2.0, 2.01, 503)])
    assert found["p50_ms"] == pytest.approx(250.0)
    assert found["outcomes"] == {"200": 1, "503": 1}


@pytest.mark.parametrize(
    ("late", "remark"), [(0.001, ""), (0.01, "; the client fell behind: 10.0 ms late at p99")]
)
def test_a_client_that_fell_behind_says_so(late: float, remark: str) -> None:
    assert behind(summary([reply(late=late)])) == remark


@pytest.mark.parametrize(("flags", "first"), [("1101110", 3), ("110", None), ("0111", 1), ("", None)])
def test_in_a_row(flags: str, first: int | None) -> None:
    assert in_a_row([flag == "1" for flag in flags], 3) == first


def test_an_answer_is_whole_or_none() -> None:
    for length in range(len(OK)):
        assert answer_in(OK[:length]) is None
    found = answer_in(OK)
    assert found is not None
    assert (found.status, found.body, found.closes) == (200, b'{"served_by": "primary"}', False)


def test_a_chunked_answer_ends_with_its_last_chunk() -> None:
    data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n1\r\nx\r\n0\r\n\r\n"
    assert answer_in(data[:-1]) is None
    found = answer_in(data)
    assert found is not None
    assert found.closes


def test_what_is_no_http_is_an_error() -> None:
    with pytest.raises(ValueError, match="no HTTP"):
        answer_in(b"SSH-2.0")


def test_open_loop_keeps_its_schedule_and_reads_answers() -> None:
    found = replies_of(lambda n: BUSY if n % 2 else OK, [(100.0, 0.2)])
    assert len(found) == 20
    assert np.diff([one.due for one in found]) == pytest.approx(0.01)
    assert all(one.due <= one.fired <= one.sent <= one.done for one in found)
    assert {(one.status, one.served_by, one.retry_after) for one in found} == {
        (200, "primary", False),
        (503, "", True),
    }


def test_open_loop_does_not_wait_for_a_server_that_does_not_answer() -> None:
    found = replies_of(lambda n: b"" if n == 0 else OK, [(50.0, 0.2)])
    assert [one.error for one in found] == ["timeout"] + [""] * 9
    assert max(one.sent - one.due for one in found) < 0.4


def test_a_lost_request_is_counted_once_and_the_rest_is_sent() -> None:
    found = replies_of(lambda n: b"SSH-2.0\r\n" if n == 2 else OK, [(50.0, 0.2)])
    assert sorted((one.status, one.error) for one in found) == [(0, "garbage")] + [(200, "")] * 9


def test_closed_loop_has_so_many_in_flight() -> None:
    found = replies_of(lambda _: OK, [(1.0, 0.1)], in_flight=3)
    assert len(found) > 3
    starts = sorted([(one.sent, 1) for one in found] + [(one.done, -1) for one in found])
    assert max(np.cumsum([change for _, change in starts])) == 3


def test_no_server_is_an_error_of_every_request() -> None:
    async def alone() -> list[Reply]:
        return await Load(Job("127.0.0.1", 1, [b""], [(50.0, 0.1)])).run(time.monotonic())

    assert [one.error for one in asyncio.run(alone())] == ["no connection"] * 5


def test_mutations_follow_from_seed_and_number(files: list[bytes]) -> None:
    images = [mutated_image(files, 0, number) for number in range(50)]
    requests = [mutated_request(files[0], "m", 0, number) for number in range(50)]
    assert images == [mutated_image(files, 0, number) for number in range(50)]
    assert requests == [mutated_request(files[0], "m", 0, number) for number in range(50)]
    assert len(set(images)) > 45
    assert len(set(requests)) > 45
    assert images != [mutated_image(files, 1, number) for number in range(50)]
    assert not set(images) & set(files)


def test_images_come_in_every_format(files: list[bytes]) -> None:
    signatures = [b"\xff\xd8\xff", b"\x89PNG", b"RIFF", b"GIF8", b"BM", b"II*\x00"]
    assert [data[: len(start)] for data, start in zip(files, signatures, strict=True)] == signatures
    assert len(files) == len(FORMATS)


def test_changed_json_differs() -> None:
    whole = json.dumps(_infer_json(b"x"))
    texts = {json.dumps(changed(json.loads(whole), random.Random(seed))) for seed in range(60)}
    assert whole not in texts
    assert len(texts) > 20


def test_requests_are_as_the_protocol_has_them() -> None:
    assert classify(b"ab").endswith(b"Content-Length: 2\r\n\r\nab")
    head, _, body = infer("m", b"abc").partition(b"\r\n\r\n")
    length = int(head.partition(b"Inference-Header-Content-Length: ")[2].split(b"\r\n")[0])
    tensor = json.loads(body[:length])["inputs"][0]
    assert body[length:] == struct.pack("<I", 3) + b"abc"
    assert tensor["parameters"]["binary_data_size"] == len(body) - length
    assert head.startswith(b"POST /v2/models/m/infer HTTP/1.1\r\n")


def test_the_primary_answers_in_the_protocol() -> None:
    value = json.loads(Primary(["a", "b", "c"]).probabilities(2))["outputs"][0]
    assert value["shape"] == [2, 3]
    assert value["data"] == pytest.approx([0.9, 0.05, 0.05] * 2)


def test_bad_statuses_are_counted() -> None:
    assert _outcomes(Counter({"200": 5, "500": 2, "503": 1, "502": 1, "closed": 3})).startswith(
        "3 bad; 200 5,"
    )


def test_a_figure_that_fails_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: Setting) -> list[Row]:
        raise RuntimeError("no service")

    monkeypatch.setitem(serve.FIGURES, "start", fails)
    assert serve.measure("start", Setting(Path("m"))) == [Row("start", "", "failed: no service")]

"""The client gets probabilities from any server of the protocol, and is not harmed by what is none."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from classic_cv.errors import ImageError, ParameterError
from classic_cv.images import resize, to_picture
from classic_cv.oip import client
from classic_cv.oip.client import OipClient, address_of
from classic_cv.oip.description import TensorMetadata
from classic_cv.oip.tensors import OipError
from tests.oip.conftest import RunScript, RunServer, shares

PIXELS = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
PNG = cv2.imencode(".png", PIXELS[..., ::-1])[1].tobytes()

Connect = Callable[..., OipClient]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Makes clients that are closed after the test."""
    made: list[OipClient] = []

    def make(url: str, **settings: object) -> OipClient:
        made.append(OipClient(url, **settings))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        one.close()


# Addresses.


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://h:8000/v2/models/m", ("h", 8000, False, "/v2", "/v2/models/m")),
        ("oip:http://h:8000/v2/models/m/", ("h", 8000, False, "/v2", "/v2/models/m")),
        ("http://h/v2/models/m/versions/3", ("h", 80, False, "/v2", "/v2/models/m/versions/3")),
        ("https://h/a/b/v2/models/m", ("h", 443, True, "/a/b/v2", "/a/b/v2/models/m")),
        ("http://[::1]:9/v2/models/v2", ("::1", 9, False, "/v2", "/v2/models/v2")),
    ],
)
def test_addresses(url: str, expected: tuple[object, ...]) -> None:
    assert address_of(url)[1:] == expected


@pytest.mark.parametrize(
    "url",
    [
        "",
        "h:8000/v2/models/m",
        "ftp://h/v2/models/m",
        "http:///v2/models/m",
        "http://h:port/v2/models/m",
        "http://h:99999/v2/models/m",
        "http://[::1/v2/models/m",
        "http://h/v2/models/",
        "http://h/v2/models/m/infer",
        "http://h/v1/models/m",
        "http://h/v2/models/m?x=1",
        "http://h/v2/models/m m",
        "http://h/v2/models/ä",
        "http://h/v2/models/m\r\nX: y",
    ],
)
def test_what_is_no_address_is_told_with_what_is(url: str) -> None:
    with pytest.raises(ParameterError, match=r"is no address of a model.*http://HOST:PORT/v2/models/NAME"):
        OipClient(url)


def test_a_password_in_an_address_is_not_repeated() -> None:
    with pytest.raises(ParameterError, match="a name and a password are not taken") as caught:
        OipClient("http://me:secret@h/v2/models/m")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("token", ["", "a b", "a\r\nX: y", "ä"])
def test_a_token_that_no_header_holds(token: str) -> None:
    with pytest.raises(ParameterError, match="printable ASCII"):
        OipClient("http://h/v2/models/m", token=token)


# A sound server.


def test_the_metadata(run_server: RunServer, connect: Connect) -> None:
    found = connect(run_server().url).metadata()
    assert (found.name, found.versions) == ("colors", ("1",))
    assert found.class_names == ("red", "green", "blue")
    assert found.inputs == (TensorMetadata("image", "BYTES", (-1,)),)
    assert connect(run_server(class_names=None).url).metadata().class_names is None


@pytest.mark.parametrize("extensions", [["binary_tensor_data"], []])
@pytest.mark.parametrize("shape", [[-1], [-1, 1], [1]])
def test_encoded_images_go_as_they_are(
    run_server: RunServer, connect: Connect, extensions: list[str], shape: list[int]
) -> None:
    """As binary data where the server says that it takes them, else as base64."""
    inputs = [{"name": "picture", "datatype": "BYTES", "shape": shape}]
    server = run_server(extensions=extensions, inputs=inputs)
    found = connect(server.url).probabilities([PNG, PNG])
    np.testing.assert_array_equal(found, [shares(PNG)] * 2)
    assert found.dtype == np.float32
    assert server.images == [PNG, PNG]
    method, path, headers, body = server.seen[-1]
    assert (method, path) == ("POST", "/v2/models/colors/infer")
    assert (PNG in body) == ("Inference-Header-Content-Length" in headers) == bool(extensions)
    kind = "octet-stream" if extensions else "json"
    assert headers["Content-Type"] == f"application/{kind}"


def test_pixels_are_encoded_without_loss(run_server: RunServer, connect: Connect) -> None:
    server = run_server()
    found = connect(server.url).call(PIXELS, 5.0)
    np.testing.assert_array_equal(found, shares(PIXELS))
    [sent] = server.images
    assert isinstance(sent, bytes)
    np.testing.assert_array_equal(to_picture(sent).pixels, PIXELS)


@pytest.mark.parametrize("extensions", [["binary_tensor_data"], []])
@pytest.mark.parametrize("image", [PIXELS, PNG], ids=["pixels", "png"])
def test_models_of_pixels_get_them_at_their_size(
    run_server: RunServer, connect: Connect, image: object, extensions: list[str]
) -> None:
    inputs = [{"name": "image", "datatype": "UINT8", "shape": [-1, 4, 6, 3]}]
    server = run_server(inputs=inputs, extensions=extensions)
    small = resize(PIXELS, (4, 6))
    np.testing.assert_array_equal(connect(server.url).call(image, 5.0), shares(small))
    np.testing.assert_array_equal(server.images, [small])
    with pytest.raises(ImageError):
        connect(server.url).call(b"no image", 5.0)


def test_the_only_output_of_two_axes_is_taken(run_server: RunServer, connect: Connect) -> None:
    outputs = [
        {"name": "features", "datatype": "FP32", "shape": [-1, 8, 8]},
        {"name": "scores", "datatype": "FP32", "shape": [-1, 3]},
    ]
    server = run_server(outputs=outputs)
    np.testing.assert_array_equal(connect(server.url).call(PNG, 5.0), shares(PNG))
    assert b'"scores"' in server.seen[-1][3]
    assert b'"features"' not in server.seen[-1][3]


def test_a_token_is_shown_on_every_request(run_server: RunServer, connect: Connect) -> None:
    server = run_server()
    connect(server.url, token="abc").call(PNG, 5.0)
    assert [headers.get("Authorization") for _, _, headers, _ in server.seen] == ["Bearer abc"] * 3


def test_one_connection_is_kept_for_calls_one_after_another(run_server: RunServer, connect: Connect) -> None:
    server = run_server()
    one = connect(server.url)
    one.probabilities([PNG] * 5)
    assert server.n_connections == 1
    assert [path for _, path, _, _ in server.seen[:2]] == ["/v2/models/colors", "/v2"]
    assert len(server.seen) == 2 + 5


def test_many_threads_get_their_own_answers(run_server: RunServer, connect: Connect) -> None:
    one = connect(run_server().url)
    images = [np.full((4, 4, 3), (k, 0, 255 - k), np.uint8) for k in range(0, 250, 5)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda image: one.call(image, 20.0), images))
    np.testing.assert_array_equal(found, [shares(image) for image in images])


def test_no_images() -> None:
    with pytest.raises(ParameterError, match="no images"):
        OipClient("http://127.0.0.1:9/v2/models/m").probabilities([])


def test_the_names_are_those_that_the_answer_goes_by(run_server: RunServer, connect: Connect) -> None:
    """Not those that another thread reads of the model's successor while the call is in flight."""
    server = run_server()
    one = connect(server.url)

    def replaced(image: bytes | NDArray[np.uint8]) -> NDArray[np.float32]:
        server.class_names = ["blue", "green", "red"]
        assert one.metadata().class_names == ("blue", "green", "red")
        return shares(image)

    server.model = replaced
    row, names = one.call_named(PNG, 5.0)
    np.testing.assert_array_equal(row, shares(PNG))
    assert names == ("red", "green", "blue")
    server.model = shares
    assert one.call_named(PNG, 5.0)[1] == ("blue", "green", "red")


def test_what_is_forgotten_is_asked_again(run_server: RunServer, connect: Connect) -> None:
    server = run_server()
    one = connect(server.url)
    assert not one.is_described
    one.call(PNG, 5.0)
    assert one.is_described
    server.class_names = ["blue", "green", "red"]
    assert one.call_named(PNG, 5.0)[1] == ("red", "green", "blue")
    one.forget()
    assert one.call_named(PNG, 5.0)[1] == ("blue", "green", "red")


@pytest.mark.parametrize("datatype", ["UINT8", "BYTES"])
def test_larger_images_are_not_decoded(run_server: RunServer, connect: Connect, datatype: str) -> None:
    shape = [-1, 4, 6, 3] if datatype == "UINT8" else [-1]
    server = run_server(inputs=[{"name": "image", "datatype": datatype, "shape": shape}])
    np.testing.assert_allclose(connect(server.url, max_pixels=63).call(PNG, 5.0).sum(), 1, atol=1e-6)
    one = connect(server.url, max_pixels=62)
    if datatype == "UINT8":
        with pytest.raises(ImageError, match="max_pixels=62"):
            one.call(PNG, 5.0)
    else:
        one.call(PNG, 5.0)


FORKED = """
import os, sys
from classic_cv.oip.client import OipClient
url, data = sys.argv[1], open(sys.argv[2], "rb").read()
client = OipClient(url)
first = client.call(data, 20.0)
child = os.fork()
if not child:
    os._exit(0 if (client.call(data, 20.0) == first).all() else 1)
status = os.waitpid(child, 0)[1]
print(status, (client.call(data, 20.0) == first).all())
client.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_process_has_connections_of_its_own(run_server: RunServer, tmp_path: Path) -> None:
    server = run_server()
    (tmp_path / "image.png").write_bytes(PNG)
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKED, server.url, str(tmp_path / "image.png")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "0 True\n", "")
    # The child's, and one that the parent has kept all the time.
    assert server.n_connections == 2


# Servers whose models are others.


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"inputs": []}, "model 'colors' takes nothing; a model is needed with one input"),
        (
            {"inputs": [{"name": "a", "datatype": "FP32", "shape": [-1, 3, 8, 8]}]},
            r"'a' FP32 \[-1, 3, 8, 8\]",
        ),
        ({"inputs": [{"name": "a", "datatype": "UINT8", "shape": [-1, -1, -1, 3]}]}, "fixed size"),
        ({"inputs": [{"name": "a", "datatype": "UINT8", "shape": [4, 8, 8, 3]}]}, "takes 'a' UINT8"),
        ({"inputs": [{"name": "a", "datatype": "BYTES", "shape": [2]}]}, r"takes 'a' BYTES \[2\]"),
        ({"outputs": [{"name": "value", "datatype": "FP32", "shape": [-1]}]}, r"gives 'value' FP32 \[-1\]"),
        (
            {"outputs": [{"name": name, "datatype": "FP32", "shape": [-1, 3]} for name in "ab"]},
            "needed is an output probabilities, or just one",
        ),
        ({"class_names": "red"}, "class_names is no list of texts"),
        ({"class_names": ["red", 1]}, "class_names is no list of texts"),
        ({"class_names": ["red", "red"]}, "class_names has a name twice"),
        ({"inputs": 5}, "metadata are not valid: Expected `array`"),
        ({"status": 404}, "answers 404: "),
        ({"status": 400}, "answers 400: "),
    ],
)
def test_a_model_that_cannot_be_used_is_told(
    run_server: RunServer, connect: Connect, settings: dict[str, object], match: str
) -> None:
    with pytest.raises(OipError, match=match) as caught:
        connect(run_server(**settings).url).metadata()
    # Whatever it is, it is not about an image.
    assert caught.value.status is None


def test_a_refusal_is_repeated_with_its_status(run_server: RunServer, connect: Connect) -> None:
    server = run_server(inputs=[{"name": "image", "datatype": "UINT8", "shape": [-1, 4, 4, 3]}])
    one = connect(server.url)
    one.metadata()

    def refuse(image: object) -> NoReturn:
        raise OipError("too many" + "y" * 999)

    server.model = refuse
    with pytest.raises(OipError, match=r"/v2/models/colors answers 400: too many") as caught:
        one.call(PIXELS, 5.0)
    assert len(str(caught.value)) < 400
    assert caught.value.status == 400
    assert pickle.loads(pickle.dumps(caught.value)).status == 400


def test_a_model_that_was_replaced_is_noticed(run_server: RunServer, connect: Connect) -> None:
    """Its classes may come in another order: what was read of the old one holds no more."""
    server = run_server()
    one = connect(server.url)
    one.call(PNG, 5.0)
    server.version, server.class_names = "2", ["blue", "green", "red"]
    with pytest.raises(OipError, match="the model was replaced: version '2' answers, not 1"):
        one.call(PNG, 5.0)
    np.testing.assert_array_equal(one.call(PNG, 5.0), shares(PNG))
    assert one.metadata().class_names == ("blue", "green", "red")


def test_what_is_known_of_a_model_is_not_asked_again_after_a_late_answer(
    run_server: RunServer, connect: Connect
) -> None:
    server = run_server()
    one = connect(server.url)
    one.call(PNG, 5.0)

    def late(image: bytes | NDArray[np.uint8]) -> NDArray[np.float32]:
        time.sleep(0.5)
        return shares(image)

    server.model = late
    with pytest.raises(TimeoutError):
        one.call(PNG, 0.1)
    server.model = shares
    np.testing.assert_array_equal(one.call(PNG, 5.0), shares(PNG))
    assert [method for method, *_ in server.seen] == ["GET", "GET", "POST", "POST", "POST"]


@pytest.mark.parametrize("n", [2, 4])
def test_another_number_of_probabilities_than_classes(
    run_server: RunServer, connect: Connect, n: int
) -> None:
    server = run_server(model=lambda image: np.full(n, 1 / n, np.float32))
    with pytest.raises(OipError, match=rf"'probabilities' has the shape \[1, {n}\]; expected is \[1, 3\]"):
        connect(server.url).call(PNG, 5.0)
    server.class_names = None
    assert connect(server.url).call(PNG, 5.0).shape == (n,)


# Servers that do what none should.


def head(n: int, more: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n" % (n, more)


def drips(first: bytes) -> Callable[[socket.socket], None]:
    """Sends something at once and then a byte now and then, without end."""

    def script(sock: socket.socket) -> None:
        sock.sendall(first)
        while True:
            time.sleep(0.02)
            sock.sendall(b"a")

    return script


@pytest.mark.parametrize(
    "script",
    [
        lambda sock: time.sleep(30),
        drips(b""),
        drips(b"HTTP/1.1 200 OK\r\nX-Long: "),
        drips(head(10**6)),
        drips(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n"),
        drips(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;"),
        drips(b"HTTP/1.1 200 OK\r\n\r\n"),
    ],
    ids=["silent", "status", "header", "body", "chunk", "chunk size", "endless"],
)
def test_a_server_that_hangs_or_drips_costs_no_more_than_the_time_out(
    run_script: RunScript, connect: Connect, script: Callable[[socket.socket], None]
) -> None:
    one = connect(run_script(script))
    start = time.monotonic()
    with pytest.raises(TimeoutError, match="no answer in time"):
        one.call(PNG, 0.3)
    assert 0.25 < time.monotonic() - start < 3


def test_a_server_that_does_not_read_costs_no_more_than_the_time_out(
    run_script: RunScript, connect: Connect
) -> None:
    """The request is larger than what fits between the two."""
    metadata = json.dumps(
        {
            "name": "m",
            "inputs": [{"name": "image", "datatype": "BYTES", "shape": [-1]}],
            "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]}],
        }
    ).encode()

    def script(sock: socket.socket) -> None:
        for _ in range(2):
            sock.recv(65536)
            sock.sendall(head(len(metadata)) + metadata)
        time.sleep(30)

    start = time.monotonic()
    with pytest.raises(TimeoutError):
        connect(run_script(script)).call(b"x" * 2**25, 1.0)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        (b"", "cannot be reached, or gives no HTTP"),
        (b"\x00\xff\x00\xff\r\n\r\n", "gives no HTTP"),
        (b"SSH-2.0-OpenSSH\r\n", "gives no HTTP"),
        (b"HTTP/1.1 999999 OK\r\n\r\n", "gives no HTTP"),
        (b"HTTP/1.1 200 " + b"a" * 70_000, "gives no HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200 + b"\r\n", "gives no HTTP"),
        (head(100) + b"{}", "IncompleteRead"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "gives no HTTP"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "gives no HTTP"),
        (head(2) + b"{}", "metadata are not valid: Object missing required field"),
        (head(3) + b"[1]", "metadata are not valid"),
        (head(4) + b"\xff\xfe\x00\x01", "metadata are not valid"),
        (head(8, b"Content-Encoding: gzip\r\n") + b"\x1f\x8b\x08\0\0\0\0\0", "metadata are not valid"),
        (
            b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
            "answers 302: $",
        ),
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 14\r\n\r\n" + b'{"error": "x"}', "answers 500: x$"),
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 4\r\n\r\n\xff<p>", "answers 500: \ufffd<p>$"),
    ],
)
def test_garbage_is_an_oip_error(run_script: RunScript, connect: Connect, answer: bytes, match: str) -> None:
    def script(sock: socket.socket) -> None:
        sock.recv(65536)
        sock.sendall(answer)
        sock.shutdown(socket.SHUT_WR)
        sock.recv(65536)

    with pytest.raises(OipError, match=match):
        connect(run_script(script)).call(PNG, 10.0)


@pytest.mark.parametrize("stated", [True, False])
def test_a_response_without_end_is_given_up_at_the_limit(
    run_script: RunScript, connect: Connect, monkeypatch: pytest.MonkeyPatch, stated: bool
) -> None:
    monkeypatch.setattr(client, "MAX_METADATA", 100_000)
    sent = [0]

    def script(sock: socket.socket) -> None:
        sock.recv(65536)
        sock.sendall(head(10**12) if stated else b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            sent[0] += sock.send(bytes(65536))

    with pytest.raises(OipError, match="more than 100000 bytes"):
        connect(run_script(script)).call(PNG, 20.0)
    assert sent[0] < 2**26


def test_nobody_listens(connect: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(OipError, match=r"cannot be reached.*refused") as caught:
        connect(f"http://127.0.0.1:{port}/v2/models/m").call(PNG, 5.0)
    assert caught.value.status is None


def test_an_address_of_a_host_that_swallows_packets_leaves_time_for_the_next(
    run_server: RunServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = run_server()
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        addresses = [full.getsockname(), server.server_address]
        found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", address) for address in addresses]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        np.testing.assert_array_equal(connect(server.url).call(PNG, 2.0), shares(PNG))


def test_a_server_that_comes_up_later_is_found(run_server: RunServer, connect: Connect) -> None:
    server = run_server(status=503)
    one = connect(server.url)
    for _ in range(2):
        with pytest.raises(OipError, match="answers 503"):
            one.call(PNG, 5.0)
    server.status = 200
    np.testing.assert_array_equal(one.call(PNG, 5.0), shares(PNG))


def test_a_kept_connection_that_the_server_has_closed_is_opened_anew(
    run_server: RunServer, connect: Connect
) -> None:
    """Once: a server that closes every connection is an error."""
    server = run_server(most=3)
    one = connect(server.url)
    one.call(PNG, 10.0)
    # These were three requests: the server has closed the connection, and said nothing.
    np.testing.assert_array_equal(one.call(PNG, 10.0), shares(PNG))
    assert server.n_connections == 2
    server.most = 0
    with pytest.raises(OipError, match="cannot be reached"):
        one.probabilities([PNG] * 3)


def test_after_closing_no_connection_is_left(run_server: RunServer) -> None:
    server = run_server()
    one = OipClient(server.url)
    one.call(PNG, 5.0)
    one.close()
    # A call that was under way ends, and its connection is not kept.
    np.testing.assert_array_equal(one.call(PNG, 5.0), shares(PNG))
    assert not one._idle

"""Requests and responses are read and written as the official client does it; anything else is an OipError."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from classic_cv.oip.messages import (
    InferRequest,
    Requested,
    read_request,
    read_response,
    write_request,
    write_response,
)
from classic_cv.oip.tensors import OipError, Tensor

RNG = np.random.default_rng(0)

ARRAYS: dict[str, NDArray[Any]] = {
    "BOOL": np.array([[True, False, True]]),
    "UINT8": RNG.integers(0, 256, (2, 3, 4, 3), np.uint8),
    "UINT16": np.array([0, 65535], np.uint16),
    "UINT32": np.array([[1], [2**32 - 1]], np.uint32),
    "UINT64": np.array([0, 2**64 - 1], np.uint64),
    "INT8": np.array([[-128, 127]], np.int8),
    "INT16": np.array([-32768, 5], np.int16),
    "INT32": np.array([-(2**31), 7], np.int32),
    "INT64": np.array([-(2**63), 2**63 - 1], np.int64),
    "FP16": np.array([0.5, -65504], np.float16),
    "FP32": RNG.normal(size=(2, 5)).astype(np.float32),
    "FP64": RNG.normal(size=(3, 1, 2)),
    "BYTES": np.array([[b"abc", b""], [b"d", "ä,[".encode()]], object),
}


def tensor(datatype: str, name: str = "x") -> Tensor:
    return Tensor(name, datatype, ARRAYS[datatype])


def of_triton(
    inputs: list[tuple[str, str, bool]], outputs: list[triton.InferRequestedOutput] | None = None
) -> tuple[bytes, int | None]:
    """What the official client sends for (name, datatype, whether as binary data)."""
    made = []
    for name, datatype, binary in inputs:
        array = ARRAYS[datatype]
        value = triton.InferInput(name, list(array.shape), datatype)
        made.append(value.set_data_from_numpy(array, binary_data=binary))
    body, length = triton.InferenceServerClient.generate_request_body(made, outputs, request_id="7")
    return body, length


def json_request(**tensor: Any) -> bytes:
    return json.dumps({"inputs": [{"name": "x", "datatype": "UINT8", "shape": [2], **tensor}]}).encode()


def refused(body: bytes, length: int | None, match: str) -> None:
    with pytest.raises(OipError, match=match):
        read_request(body, length)


# Both ways with the official client.


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("datatype", ARRAYS)
def test_what_the_official_client_sends_is_read(datatype: str, binary: bool) -> None:
    request = read_request(*of_triton([("x", datatype, binary)]))
    [found] = request.inputs
    assert (found.name, found.datatype, found.from_json) == ("x", datatype, not binary)
    assert found.array.dtype == ARRAYS[datatype].dtype
    np.testing.assert_array_equal(found.array, ARRAYS[datatype])
    assert (request.id, request.outputs, request.binary_default) == ("7", None, True)


def test_tensors_in_the_json_and_after_it_in_one_request() -> None:
    outputs = [triton.InferRequestedOutput("b", binary_data=False), triton.InferRequestedOutput("a")]
    body, length = of_triton([("p", "BYTES", True), ("q", "INT8", False), ("r", "FP32", True)], outputs)
    request = read_request(body, length)
    assert [found.from_json for found in request.inputs] == [False, True, False]
    for found, datatype in zip(request.inputs, ("BYTES", "INT8", "FP32"), strict=True):
        np.testing.assert_array_equal(found.array, ARRAYS[datatype])
    assert request.outputs == [Requested("b", False), Requested("a", True)]
    assert not request.binary_default


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("datatype", ARRAYS)
def test_what_is_sent_is_read_by_the_official_client(datatype: str, binary: bool) -> None:
    request = read_request(*of_triton([("x", "INT8", True)]))._replace(binary_default=binary)
    body, length = write_response("m", "2", request, [tensor("UINT8", "first"), tensor(datatype)], {"a": 1})
    assert (length is not None) == binary
    result = triton.InferResult.from_response_body(body, header_length=length)
    found = result.as_numpy("x")
    if datatype == "BYTES" and not binary:
        found = np.array([[text.encode() for text in row] for row in found], object)
    np.testing.assert_array_equal(found, ARRAYS[datatype])
    np.testing.assert_array_equal(result.as_numpy("first"), ARRAYS["UINT8"])
    head = {key: value for key, value in result.get_response().items() if key != "outputs"}
    assert head == {"model_name": "m", "model_version": "2", "id": "7", "parameters": {"a": 1}}


def test_requests_are_written_as_the_official_client_does() -> None:
    for binary in (True, False):
        outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("a", "b")]
        theirs, length = of_triton([("x", "BYTES", binary), ("y", "FP32", binary)], outputs)
        ours, own_length = write_request([tensor("BYTES"), tensor("FP32", "y")], ["a", "b"], binary, "7")
        one, two = json.loads(theirs[:length]), json.loads(ours[:own_length])
        if not binary:
            # One writes float32 with all digits of a double, the other the digits that it takes.
            values = [message["inputs"][1].pop("data") for message in (one, two)]
            np.testing.assert_array_equal(*np.asarray(values, np.float32))
        assert one == two
        assert theirs[length:] == ours[own_length:] or not binary


def test_all_outputs_are_wanted_the_way_the_inputs_are_sent() -> None:
    for binary in (True, False):
        request = read_request(*write_request([tensor("INT8")], binary=binary))
        assert (request.outputs, request.binary_default, request.id) == (None, binary, None)


# Responses.


def answer_to(outputs: list[Requested] | None, given: list[Tensor], binary: bool = False) -> Any:
    request = InferRequest(None, [tensor("INT8")], outputs, binary, {})
    return read_response(*write_response("m", "1", request, given))


def test_outputs_come_in_the_order_and_way_that_is_asked_for() -> None:
    given = [tensor("BYTES", "a"), tensor("FP32", "b"), tensor("BOOL", "c")]
    found = answer_to([Requested("c", True), Requested("a", False)], given, binary=True)
    assert [(one.name, one.from_json) for one in found.outputs] == [("c", False), ("a", True)]
    np.testing.assert_array_equal(found.outputs[0].array, ARRAYS["BOOL"])
    assert (found.model_name, found.model_version, found.id, found.parameters) == ("m", "1", None, {})


def test_an_output_that_there_is_not_is_told_with_those_that_there_are() -> None:
    with pytest.raises(OipError, match=r"no output 'z'; the outputs are a, b"):
        answer_to([Requested("a", True), Requested("z", True)], [tensor("BYTES", "a"), tensor("FP32", "b")])


def test_bytes_that_are_no_text_go_only_as_binary_data() -> None:
    noise = Tensor("x", "BYTES", np.array([b"\xff"], object))
    assert answer_to([Requested("x", True)], [noise]).outputs[0].array[0] == b"\xff"
    with pytest.raises(OipError, match="'x' holds bytes that are no text: take them as binary data"):
        answer_to([Requested("x", False)], [noise])


def test_null_for_what_is_optional_counts_as_left_out() -> None:
    body = b"""{"model_name": "m", "model_version": null, "id": null, "parameters": null, "outputs": [
        {"name": "x", "datatype": "FP32", "shape": [1, 2], "parameters": null, "data": [0.25, 0.75]}]}"""
    found = read_response(body, None)
    assert (found.model_version, found.id, found.parameters) == (None, None, {})
    np.testing.assert_array_equal(found.outputs[0].array, [[0.25, 0.75]])
    request = read_request(json_request(data=[1, 2])[:-1] + b', "outputs": null, "parameters": null}', None)
    assert (request.outputs, request.parameters) == (None, {})


# What is not valid.

UINT8 = '{"inputs": [{"name": "x", "datatype": "UINT8", "shape": [2], %s}]}'


@pytest.mark.parametrize(
    ("body", "length", "match"),
    [
        (b"", None, "the body of the request is empty"),
        (b"", 0, "the body of the request is empty"),
        (b"{}", 0, "Inference-Header-Content-Length is 0, the body has 2 bytes"),
        (b"{}", -1, "Inference-Header-Content-Length is -1"),
        (b"{}", 3, "Inference-Header-Content-Length is 3"),
        (b"{}", None, "missing required field `inputs`"),
        (b'{"inputs": []}', None, "no inputs"),
        (b"\xff\xfe", None, "the JSON of the request is not valid"),
        (b"[" * 100_000, None, "the JSON of the request is not valid"),
        (b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b', "inputs": []}', None, "not valid: .*recursion"),
        (b'{"inputs": 5}', None, r"Expected `array`, got `int` - at `\$.inputs`"),
        (b'{"inputs": [{"name": "x"}]}', None, "missing required field `datatype`"),
        (json_request(shape=[]), None, "Expected `array` of length >= 1"),
        (json_request(shape=[1] * 9), None, "Expected `array` of length <= 8"),
        (json_request(shape=[0]), None, "Expected `int` >= 1"),
        (json_request(shape=[-2]), None, "Expected `int` >= 1"),
        (json_request(shape=[2**63]), None, "Expected `int` <="),
        (json_request(shape=[1.5]), None, "Expected `int`, got `float`"),
        (json_request(name=None), None, "Expected `str`, got `null`"),
        (json_request(datatype="BF16"), None, "input 'x' has datatype 'BF16'; allowed are BOOL, UINT8"),
        (json_request(datatype="d" * 999), None, "datatype 'd{59}…'; allowed"),
        (json_request(), None, "input 'x' has no data; give data or binary_data_size"),
        (json_request(data=None), None, "input 'x' has no data"),
        (json_request(data=[1]), None, r"must be a list of 2 values, as its shape \[2\] says"),
        (json_request(data=[1, 2, 3]), None, "must be a list of 2 values"),
        (json_request(data=5, shape=[1]), None, "must be a list of 1 values"),
        (json_request(data={"a": [1]}, shape=[1]), None, "not values of UINT8"),
        (json_request(data=[[1], [2]]), None, "flat list, or nested"),
        (json_request(data=[[1, 2], [3, 4]], shape=[4, 1]), None, "flat list, or nested"),
        (json_request(data=[[1, 2, 3], [4]], shape=[2, 2]), None, "flat list, or nested"),
        (json_request(data=[[[1]], 2], shape=[2, 1]), None, "flat list, or nested"),
        (json_request(data=[1, 256]), None, "not values of UINT8 .*256 out of bounds"),
        (json_request(data=[1, -1]), None, "not values of UINT8"),
        (json_request(data=[1, 1.5]), None, "not values of UINT8 .*Expected `int`, got `float`"),
        (json_request(data=["1", 1]), None, "not values of UINT8"),
        (json_request(data=[True, 1]), None, "not values of UINT8"),
        (json_request(data=[1, 10**4000]), None, "not values of UINT8"),
        (json_request(data=[1, 2**64], datatype="UINT64"), None, "not values of UINT64"),
        (json_request(data=[0, 1], datatype="BOOL"), None, "not values of BOOL"),
        (json_request(data=[0, 1e39], datatype="FP32"), None, "number is out of range"),
        (json_request(data=[0, 7e4], datatype="FP16"), None, "number is out of range"),
        ((UINT8 % '"data": [NaN, 1]').encode(), None, "JSON of the request is not valid"),
        ((UINT8 % '"data": [1, 1e999]').replace("UINT8", "FP64").encode(), None, "Number out of range"),
        (json_request(data=["a"], datatype="BYTES"), None, "must be 2 texts"),
        (json_request(data=["a", 1], datatype="BYTES"), None, "must be 2 texts"),
        (json_request(data="ab", datatype="BYTES"), None, "not values of BYTES"),
        (json_request(data=[["a"], ["b"]], datatype="BYTES"), None, "must be 2 texts"),
        (json_request(data=[["a"], "b"], datatype="BYTES", shape=[2, 1]), None, "another length"),
        (json_request(data=[["a", "b"]], datatype="BYTES", shape=[2, 1]), None, "another length"),
        (
            (UINT8 % r'"data": ["\ud800", "a"]').replace("UINT8", "BYTES").encode(),
            None,
            "not values of BYTES|JSON of the request is not valid",
        ),
        (json_request(data=["a"] * 70_000, datatype="BYTES"), None, "more than the 2 elements"),
        (json_request(datatype="BYTES", shape=[2**17], data=[]), None, "at most 65536 are allowed"),
        (
            json_request(parameters={"binary_data_size": 2}, data=[1, 2]),
            None,
            "both data and binary_data_size",
        ),
        (json_request(parameters={"binary_data_size": 2}), None, "not one of 0 to the 0 bytes that are left"),
        (json_request(parameters={"binary_data_size": -1}), None, "binary_data_size is not one of"),
        (json_request(parameters={"binary_data_size": True}), None, "binary_data_size is not one of"),
        (json_request(parameters={"binary_data_size": "2"}), None, "binary_data_size is not one of"),
        (json_request(parameters=5), None, "the parameters of input 'x' are not valid"),
        (json_request(parameters={"a": "b" * 70_000}), None, "take 70009 bytes; at most 65536"),
        (
            json_request(parameters={"shared_memory_region": "r"}),
            None,
            "shared memory, which is not supported",
        ),
        (json_request(data=[1, 2])[:-1] + b', "id": 5}', None, "Expected `str | null`, got `int`"),
        (
            json_request(data=[1, 2])[:-1]
            + b', "outputs": [{"name": "a", "parameters": {"classification": 2}}]}',
            None,
            "output 'a' is wanted as a classification",
        ),
        (
            json_request(data=[1, 2])[:-1]
            + b', "outputs": [{"name": "a", "parameters": {"binary_data": 1}}]}',
            None,
            "parameter binary_data of output 'a' must be true or false",
        ),
        (
            json_request(data=[1, 2])[:-1] + b', "parameters": {"binary_data_output": "yes"}}',
            None,
            "parameter binary_data_output of the request must be true or false",
        ),
        (
            json_request(data=[1, 2])[:-1] + b', "outputs": [{"name": "a"}, {"name": "a"}]}',
            None,
            "an output is named twice",
        ),
    ],
)
def test_what_is_not_valid_is_refused_with_the_reason(body: bytes, length: int | None, match: str) -> None:
    refused(body, length, match)


def binary_request(data: bytes, size: int, **tensor: Any) -> tuple[bytes, int]:
    head = json_request(parameters={"binary_data_size": size}, **tensor)
    return head + data, len(head)


@pytest.mark.parametrize(
    ("data", "size", "tensor", "match"),
    [
        (b"abc", 3, {}, r"input 'x' has 3 bytes; its shape \[2\] of UINT8 needs 2"),
        (b"ab", 2, {"shape": [2**40] * 8}, r"has 2 bytes; its shape .* needs \d{97}"),
        (b"abc", 2, {}, "1 bytes follow the inputs; no binary_data_size accounts for them"),
        (b"a", 2, {}, "not one of 0 to the 1 bytes that are left"),
        (b"\1\0\0\0a", 5, {"datatype": "BYTES"}, "has 1 elements; its shape needs 2"),
        (b"\1\0\0\0a" * 3, 15, {"datatype": "BYTES"}, "more than the 2 elements"),
        (b"\1\0\0\0a\0\0", 7, {"datatype": "BYTES"}, "element 1 goes beyond the end"),
        (b"\xff\xff\xff\xffa", 5, {"datatype": "BYTES"}, "element 0 goes beyond the end"),
        (b"", 0, {"datatype": "BYTES"}, "has 0 elements; its shape needs 2"),
    ],
)
def test_binary_data_that_do_not_fit_are_refused(
    data: bytes, size: int, tensor: dict[str, Any], match: str
) -> None:
    refused(*binary_request(data, size, **tensor), match)


def test_an_input_twice_is_refused() -> None:
    body, length = write_request([tensor("INT8"), tensor("FP32")])
    refused(body, length, "an input is named twice: 'x', 'x'; name each once")


def test_nested_lists_and_flat_ones_are_the_same() -> None:
    for data in ([1, 2, 3, 4, 5, 6], [[[1], [2], [3]], [[4], [5], [6]]]):
        [found] = read_request(json_request(shape=[2, 3, 1], data=data), None).inputs
        np.testing.assert_array_equal(found.array, [[[1], [2], [3]], [[4], [5], [6]]])
    for texts in (["a", "[,"], [["a"], ["[,"]]):
        [found] = read_request(json_request(datatype="BYTES", shape=[2, 1], data=texts), None).inputs
        assert found.array.tolist() == [[b"a"], [b"[,"]]


def test_many_numbers_come_through_in_pieces() -> None:
    values = RNG.integers(-(2**31), 2**31, 50_000)
    body = json_request(datatype="INT32", shape=[100, 500], data=values.tolist())
    [found] = read_request(body, None).inputs
    np.testing.assert_array_equal(found.array, values.reshape(100, 500))


MB = 2**20


@pytest.mark.parametrize(
    ("body", "length"),
    [
        binary_request(b"", 0, shape=[2**40]),
        binary_request(b"\xff\xff\xff\xff", 4, datatype="BYTES", shape=[60_000]),
        (json_request(shape=[2**40], data=[1]), None),
        ((UINT8 % f'"data": [{"[],[0]," * (MB // 7)}0]').encode(), None),
        ((UINT8 % f'"data": [{"[]," * (MB // 3)}0]').replace("UINT8", "BYTES").encode(), None),
        ((UINT8 % f'"parameters": {{"a": [{"[]," * (MB // 3)}0]}}').encode(), None),
        ((UINT8 % f'"x": [{"[]," * (MB // 3)}0]').encode(), None),
        ((UINT8 % f'"data": [{"1000," * (MB // 5)}1]').replace("[2]", f"[{MB // 5 + 1}]").encode(), None),
    ],
)
def test_a_claim_is_no_reason_to_take_memory(body: bytes, length: int | None) -> None:
    """At most three times the largest body above, though lists of so many things would be many times as large."""
    tracemalloc.start()
    try:
        refused(body, length, ".")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 * MB


# Anything at all.

NAMES = st.sampled_from(["image", "x", "y"])


@st.composite
def requests(draw: st.DrawFn) -> tuple[bytes, int | None]:
    """A valid request."""
    datatypes = draw(st.lists(st.sampled_from(sorted(ARRAYS)), min_size=1, max_size=3))
    inputs = [tensor(datatype, f"in{number}") for number, datatype in enumerate(datatypes)]
    outputs = draw(st.none() | st.lists(NAMES, max_size=2, unique=True))
    return write_request(inputs, outputs or None, draw(st.booleans()), draw(st.none() | st.text(max_size=5)))


def read_or_refuse(body: bytes, length: int | None) -> InferRequest | None:
    """The request, or None; any other error passes through."""
    try:
        return read_request(body, length)
    except OipError:
        return None


LENGTHS = st.none() | st.integers(-3, 200)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), LENGTHS)
def test_any_bytes_are_refused_or_read(body: bytes, length: int | None) -> None:
    read_or_refuse(body, length)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
TENSORS = st.fixed_dictionaries(
    {
        "name": NAMES | VALUES,
        "datatype": st.sampled_from([*ARRAYS, "BF16"]) | VALUES,
        "shape": st.lists(st.integers(-1, 4) | st.integers(), max_size=4) | VALUES,
    },
    optional={
        "data": VALUES | st.lists(st.integers(0, 3)),
        "parameters": st.fixed_dictionaries({}, optional={"binary_data_size": st.integers(-1, 40) | VALUES})
        | VALUES,
    },
)


@settings(max_examples=300, deadline=None)
@given(
    st.fixed_dictionaries(
        {"inputs": st.lists(TENSORS, max_size=3) | VALUES},
        optional={"id": VALUES, "outputs": VALUES, "parameters": VALUES},
    ),
    st.binary(max_size=40),
)
def test_json_of_any_kind_is_refused_or_read(head: dict[str, Any], tail: bytes) -> None:
    text = json.dumps(head).encode()
    request = read_or_refuse(text + tail, len(text))
    for found in request.inputs if request else ():
        assert list(found.array.shape) == next(t["shape"] for t in head["inputs"] if t["name"] == found.name)


@settings(max_examples=300, deadline=None)
@given(requests(), st.data())
def test_a_request_with_changes_is_refused_or_read(
    request: tuple[bytes, int | None], data: st.DataObject
) -> None:
    body, length = bytearray(request[0]), request[1]
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(body)))
        end = data.draw(st.integers(start, min(len(body), start + 4)))
        body[start:end] = data.draw(
            st.binary(max_size=4) | st.sampled_from([b"-", b"9", b"[", b"]", b'"', b"0,"])
        )
    if length is not None:
        length += data.draw(st.integers(-2, 2))
    read_or_refuse(bytes(body), length)


@settings(max_examples=100, deadline=None)
@given(requests())
def test_a_request_that_is_written_is_read_again(request: tuple[bytes, int | None]) -> None:
    found = read_or_refuse(*request)
    assert found is not None
    for one in found.inputs:
        np.testing.assert_array_equal(one.array, ARRAYS[one.datatype])

"""Requests and responses of the Open Inference Protocol (version 2, REST), with its binary tensor data extension.

A body is JSON, or JSON of ``Inference-Header-Content-Length`` bytes and after it, in the order of the tensors that
have a ``binary_data_size``, their bytes. Source: Triton Inference Server, "Binary Tensor Data Extension", and the
protocol of the Open Inference Protocol project. Tensors in shared memory and the classification extension are
refused. Where the JSON holds null for something optional, as some servers write it, it counts as left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec
from msgspec import Meta, Raw

from classic_cv.oip.tensors import (
    OipError,
    Shape,
    Tensor,
    check_datatype,
    from_bytes,
    from_json,
    shown,
    to_bytes,
    to_json,
)

HEADER_LENGTH = "Inference-Header-Content-Length"
"""The HTTP header that says how long the JSON before binary data is."""

MAX_PARAMETERS = 1 << 16
"""Bytes of the JSON of one object of parameters at most."""

_EMPTY = Raw(b"")


class Requested(NamedTuple):
    """An output that a client wants, as binary data or in the JSON."""

    name: str
    binary: bool


class InferRequest(NamedTuple):
    """What a client asks.

    Attributes:
        id: comes back in the response.
        inputs: at least one, each name once.
        outputs: in the order of the response; None for all.
        binary_default: whether outputs that are not named come as binary data.
        parameters: as they were sent.
    """

    id: str | None
    inputs: list[Tensor]
    outputs: list[Requested] | None
    binary_default: bool
    parameters: dict[str, Any]


class InferResponse(NamedTuple):
    """What a server answers; names, version and id as far as it gives them."""

    model_name: str | None
    model_version: str | None
    id: str | None
    outputs: list[Tensor]
    parameters: dict[str, Any]


class _TensorHead(msgspec.Struct):
    name: str
    datatype: str
    shape: Shape
    parameters: Raw = _EMPTY
    data: Raw = _EMPTY


class _OutputHead(msgspec.Struct):
    name: str
    parameters: Raw = _EMPTY


MOST_TENSORS = 64
"""Inputs or outputs that a message names: a request of megabytes of names would be worked on for seconds."""

LONGEST_ID = 256
"""Characters: an id comes back, and what comes back is not for the client to make large."""


class _RequestHead(msgspec.Struct):
    inputs: Annotated[list[_TensorHead], Meta(max_length=MOST_TENSORS)]
    id: Annotated[str, Meta(max_length=LONGEST_ID)] | None = None
    outputs: Annotated[list[_OutputHead], Meta(max_length=MOST_TENSORS)] | None = None
    parameters: Raw = _EMPTY


class _ResponseHead(msgspec.Struct):
    outputs: Annotated[list[_TensorHead], Meta(max_length=MOST_TENSORS)]
    model_name: str | None = None
    model_version: str | None = None
    id: str | None = None
    parameters: Raw = _EMPTY


_Head = TypeVar("_Head", _RequestHead, _ResponseHead)
_REQUESTS = msgspec.json.Decoder(_RequestHead)
_RESPONSES = msgspec.json.Decoder(_ResponseHead)
_PARAMETERS = msgspec.json.Decoder(dict[str, Any] | None)


def read_request(body: bytes, header_length: int | None) -> InferRequest:
    """A request of its body.

    Args:
        body: all of it.
        header_length: bytes of the JSON, where binary data follow it; None where the whole body is JSON.

    Raises:
        OipError: it is not valid; nothing else is raised, whatever the body is.
    """
    head, binary = _parted(_REQUESTS, body, header_length, "request")
    inputs = _tensors(head.inputs, binary, "input")
    if not inputs:
        raise OipError("the request has no inputs; one at least is needed")
    parameters = _parameters(head.parameters, "the request")
    default = _flag(parameters, "binary_data_output", False, "the request")
    outputs = [_requested(output, default) for output in head.outputs or ()]
    _check_once([output.name for output in outputs], "output")
    return InferRequest(head.id, inputs, outputs or None, default, parameters)


def read_response(body: bytes, header_length: int | None) -> InferResponse:
    """A response of its body, as ``read_request``.

    Raises:
        OipError: it is not valid; nothing else is raised.
    """
    head, binary = _parted(_RESPONSES, body, header_length, "response")
    outputs = _tensors(head.outputs, binary, "output")
    parameters = _parameters(head.parameters, "the response")
    return InferResponse(head.model_name, head.model_version, head.id, outputs, parameters)


def write_request(
    inputs: Sequence[Tensor],
    outputs: Sequence[str] | None = None,
    binary: bool = True,
    id: str | None = None,
) -> tuple[bytes, int | None]:
    """The body of a request, and ``Inference-Header-Content-Length``, None where all is JSON.

    Args:
        inputs: BYTES are written as text where they go into JSON, so images have to be base64 already.
        outputs: names; None for all that the model has.
        binary: send the inputs and get the outputs as binary data.
        id: comes back in the response.

    Raises:
        OipError: BYTES that are no text, and not ``binary``.
    """
    head: dict[str, Any] = {} if id is None else {"id": id}
    heads, tail = _written(inputs, repeat(binary))
    head["inputs"] = heads
    if outputs is None:
        head["parameters"] = {"binary_data_output": binary}
    else:
        head["outputs"] = [{"name": name, "parameters": {"binary_data": binary}} for name in outputs]
    return _joined(head, tail)


def write_response(
    model: str,
    version: str,
    request: InferRequest,
    outputs: Sequence[Tensor],
    parameters: Mapping[str, Any] | None = None,
) -> tuple[bytes, int | None]:
    """The body of the response to a request, and ``Inference-Header-Content-Length``, None where all is JSON.

    Args:
        model, version: who answers.
        request: says which of the outputs it wants, and how.
        outputs: all that there are.
        parameters: of the response; None for none.

    Raises:
        OipError: the request wants an output that there is not, or wants bytes that are no text in JSON.
    """
    known = {output.name: output for output in outputs}
    wanted = request.outputs or [Requested(name, request.binary_default) for name in known]
    unknown = [shown(output.name) for output in wanted if output.name not in known]
    if unknown:
        raise OipError(f"no output {unknown[0]}; the outputs are {', '.join(known)}")
    head: dict[str, Any] = {"model_name": model, "model_version": version}
    if request.id is not None:
        head["id"] = request.id
    if parameters:
        head["parameters"] = dict(parameters)
    chosen = [known[output.name] for output in wanted]
    head["outputs"], tail = _written(chosen, (output.binary for output in wanted))
    return _joined(head, tail)


def _parted(
    decoder: msgspec.json.Decoder[_Head], body: bytes, header_length: int | None, what: str
) -> tuple[_Head, memoryview]:
    """The JSON of a body, read, and the binary data after it."""
    length = len(body) if header_length is None else header_length
    if not 0 < length <= len(body):
        raise OipError(
            f"{HEADER_LENGTH} is {length}, the body has {len(body)} bytes; it must be the length of the JSON"
            if body
            else f"the body of the {what} is empty; JSON is needed"
        )
    view = memoryview(body)
    try:
        return decoder.decode(view[:length]), view[length:]
    except (ValueError, RecursionError) as error:
        raise OipError(f"the JSON of the {what} is not valid: {error}") from None


def _tensors(heads: Sequence[_TensorHead], binary: memoryview, kind: str) -> list[Tensor]:
    """The tensors of a body, each name once, that together take all of its binary data."""
    _check_once([head.name for head in heads], kind)
    tensors = []
    for head in heads:
        tensor, binary = _tensor(head, binary, f"{kind} {shown(head.name)}")
        tensors.append(tensor)
    if len(binary):
        raise OipError(f"{len(binary)} bytes follow the {kind}s; no binary_data_size accounts for them")
    return tensors


def _tensor(head: _TensorHead, binary: memoryview, what: str) -> tuple[Tensor, memoryview]:
    """A tensor, and the binary data that it leaves."""
    check_datatype(head.datatype, what)
    parameters = _parameters(head.parameters, what)
    size = parameters.get("binary_data_size")
    data = bytes(head.data)
    if size is None:
        if data in (b"", b"null"):
            raise OipError(f"{what} has no data; give data or binary_data_size")
        array = from_json(head.datatype, head.shape, data, what)
        return Tensor(head.name, head.datatype, array, from_json=True), binary
    if data not in (b"", b"null"):
        raise OipError(f"{what} has both data and binary_data_size; give one of them")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(binary):
        raise OipError(f"{what}: binary_data_size is not one of 0 to the {len(binary)} bytes that are left")
    array = from_bytes(head.datatype, head.shape, binary[:size], what)
    return Tensor(head.name, head.datatype, array), binary[size:]


def _parameters(raw: Raw, what: str) -> dict[str, Any]:
    """An object of parameters; empty where there is none."""
    data = memoryview(raw)
    if not len(data):
        return {}
    if len(data) > MAX_PARAMETERS:
        raise OipError(
            f"the parameters of {what} take {len(data)} bytes; at most {MAX_PARAMETERS} are allowed"
        )
    try:
        parameters = _PARAMETERS.decode(data) or {}
    except (ValueError, RecursionError) as error:
        raise OipError(f"the parameters of {what} are not valid: {error}") from None
    if "shared_memory_region" in parameters:
        raise OipError(f"{what} is in shared memory, which is not supported; send the data in the body")
    return parameters


def _requested(output: _OutputHead, default: bool) -> Requested:
    what = f"output {shown(output.name)}"
    parameters = _parameters(output.parameters, what)
    if parameters.get("classification"):
        raise OipError(f"{what} is wanted as a classification, which is not supported; take its values")
    return Requested(output.name, _flag(parameters, "binary_data", default, what))


def _flag(parameters: Mapping[str, Any], name: str, default: bool, what: str) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise OipError(f"the parameter {name} of {what} must be true or false")
    return value


def _check_once(names: Sequence[str], kind: str) -> None:
    if len(set(names)) < len(names):
        raise OipError(f"an {kind} is named twice: {', '.join(map(shown, names[:8]))}; name each once")


def _written(tensors: Sequence[Tensor], binary: Iterator[bool]) -> tuple[list[dict[str, Any]], list[bytes]]:
    """The heads of tensors with their values where these go into JSON, and the bytes of the others."""
    heads, tail = [], []
    for tensor, as_bytes in zip(tensors, binary, strict=False):
        head: dict[str, Any] = {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": list(tensor.array.shape),
        }
        if as_bytes:
            tail.append(to_bytes(tensor))
            head["parameters"] = {"binary_data_size": len(tail[-1])}
        else:
            head["data"] = to_json(tensor)
        heads.append(head)
    return heads, tail


def _joined(head: Mapping[str, Any], tail: Sequence[bytes]) -> tuple[bytes, int | None]:
    text = msgspec.json.encode(head)
    return b"".join((text, *tail)), len(text) if tail else None

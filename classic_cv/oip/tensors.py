"""Tensors of the Open Inference Protocol: values as JSON lists or as bytes, checked against the shape that is claimed.

Memory is only ever taken for values that are there: a shape is compared with the data before anything is allocated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from classic_cv.errors import ClassicCVError

Shape = Annotated[list[Annotated[int, Meta(ge=1, le=2**40)]], Meta(min_length=1, max_length=8)]

DTYPES: Mapping[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    **{f"UINT{bits}": np.dtype(f"<u{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"INT{bits}": np.dtype(f"<i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": np.dtype(f"<f{bits // 8}") for bits in (16, 32, 64)},
}
"""NumPy's dtype of each of the protocol's datatypes but BYTES, whose elements have a length of their own."""

MAX_TEXTS = 65_536
"""Elements of a BYTES tensor at most: each costs many times the bytes that an empty one takes in a body."""

CHUNK = 1 << 16
"""Bytes of JSON whose numbers exist as Python objects at one time."""

SHOWN = 60
"""Characters of a name that a client gave which a message repeats."""

_DECODERS: Mapping[str, msgspec.json.Decoder[list[Any]]] = {
    "b": msgspec.json.Decoder(list[bool]),
    "u": msgspec.json.Decoder(list[int]),
    "i": msgspec.json.Decoder(list[int]),
    "f": msgspec.json.Decoder(list[float]),
}
"""By NumPy's kind of dtype."""

_NOT_BRACKETS = bytes(set(range(256)) - set(b"[],"))


class OipError(ClassicCVError):
    """A message of the Open Inference Protocol is not valid, or a server refuses or answers something else.

    Its text holds nothing but what the other side said, so it can be shown to a client.

    Attributes:
        status: of HTTP, where a server refuses an inference with it; None for everything else.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Tensor(NamedTuple):
    """A named array.

    Attributes:
        name: of the input or output.
        datatype: the protocol's, such as ``UINT8``, ``FP32`` or ``BYTES``.
        array: of the dtype in ``DTYPES``; of BYTES an object array whose elements are bytes. It may be read-only.
        from_json: it came as JSON: BYTES are then the UTF-8 of text, and images in them are base64.
    """

    name: str
    datatype: str
    array: NDArray[Any]
    from_json: bool = False


def shown(name: str) -> str:
    """A name of the other side as a message repeats it: quoted, and cut."""
    return repr(name if len(name) <= SHOWN else name[: SHOWN - 1] + "…")


def check_datatype(datatype: str, what: str) -> None:
    """Refuse a datatype that the protocol does not have.

    Raises:
        OipError: there is no such datatype.
    """
    if datatype != "BYTES" and datatype not in DTYPES:
        raise OipError(f"{what} has datatype {shown(datatype)}; allowed are {', '.join(DTYPES)} and BYTES")


def n_elements(datatype: str, shape: Sequence[int], what: str) -> int:
    """Values that a shape claims.

    Raises:
        OipError: more texts than a tensor may have.
    """
    n = math.prod(shape)
    if datatype == "BYTES" and n > MAX_TEXTS:
        raise OipError(f"{what} has {n} elements of datatype BYTES; at most {MAX_TEXTS} are allowed")
    return n


def from_bytes(datatype: str, shape: Sequence[int], data: memoryview, what: str) -> NDArray[Any]:
    """An array of a tensor's bytes, row by row, little endian; BYTES each after its length in four bytes.

    Args:
        datatype: one that ``check_datatype`` allows.
        shape: as claimed.
        data: of exactly this tensor.
        what: the tensor in messages.

    Returns:
        of the shape; a read-only view of ``data`` where its alignment allows that.

    Raises:
        OipError: the bytes are not those of so many values.
    """
    n = n_elements(datatype, shape, what)
    if datatype == "BYTES":
        return _object_array(_split(data, n, what), shape)
    dtype = DTYPES[datatype]
    if len(data) != n * dtype.itemsize:
        raise OipError(
            f"{what} has {len(data)} bytes; its shape {list(shape)} of {datatype} needs {n * dtype.itemsize}"
        )
    if datatype == "BOOL":
        truths: NDArray[np.bool_] = np.frombuffer(data, np.uint8) != 0
        return truths.reshape(shape)
    return np.require(np.frombuffer(data, dtype), requirements="A").reshape(shape)


def _split(data: memoryview, n: int, what: str) -> list[bytes]:
    """The elements of a BYTES tensor."""
    found: list[bytes] = []
    start = 0
    while start < len(data):
        end = start + 4 + int.from_bytes(data[start : start + 4], "little")
        if start + 4 > len(data) or end > len(data):
            raise OipError(f"{what}: element {len(found)} goes beyond the end of its data")
        if len(found) == n:
            raise OipError(f"{what} has more than the {n} elements of its shape")
        found.append(bytes(data[start + 4 : end]))
        start = end
    if len(found) != n:
        raise OipError(f"{what} has {len(found)} elements; its shape needs {n}")
    return found


def _object_array(elements: Sequence[bytes], shape: Sequence[int]) -> NDArray[Any]:
    array = np.empty(len(elements), object)
    array[:] = elements
    return array.reshape(shape)


def from_json(datatype: str, shape: Sequence[int], data: bytes, what: str) -> NDArray[Any]:
    """An array of a tensor's values in JSON, as a flat list or nested as the shape is.

    Args:
        datatype: one that ``check_datatype`` allows.
        shape: as claimed.
        data: JSON whose syntax is right.
        what: the tensor in messages.

    Returns:
        of the shape; BYTES are the UTF-8 of the texts.

    Raises:
        OipError: other values than the datatype has, or in lists of another shape.
    """
    n = n_elements(datatype, shape, what)
    try:
        if datatype == "BYTES":
            return _object_array(_texts(data, shape, n, what), shape)
        return _numbers(_flat(data, shape, n, what), DTYPES[datatype]).reshape(shape)
    except (ValueError, OverflowError, RecursionError) as error:
        raise OipError(f"{what}: its data are not values of {datatype} ({error})") from None


def _flat(data: bytes, shape: Sequence[int], n: int, what: str) -> bytes:
    """The values of lists of numbers with commas between them."""
    n_lists = data.count(b"[")
    if not n_lists or data.count(b",") != n - 1:
        raise OipError(f"{what}: its data must be a list of {n} values, as its shape {list(shape)} says")
    if n_lists > 1:
        # The brackets are compared as text: lists of lists in memory would be many times as large as the body.
        expected = sum(math.prod(shape[:axis]) for axis in range(len(shape)))
        if n_lists != expected or data.translate(None, _NOT_BRACKETS) != _brackets(shape):
            raise OipError(f"{what}: its data must be a flat list, or nested as its shape {list(shape)} is")
    return data.translate(None, b"[]")


def _brackets(shape: Sequence[int]) -> bytes:
    """What nested lists of a shape hold beside their values."""
    inner = b""
    for side in reversed(shape):
        inner = b"[" + b",".join([inner] * side) + b"]"
    return inner


def _numbers(text: bytes, dtype: np.dtype[Any]) -> NDArray[Any]:
    """(n,) of numbers with commas between them."""
    decoder = _DECODERS[dtype.kind]
    parts = []
    start = 0
    while start < len(text):
        end = text.find(b",", start + CHUNK)
        end = len(text) if end < 0 else end
        parts.append(_cast(decoder.decode(b"[" + text[start:end] + b"]"), dtype))
        start = end + 1
    return np.concatenate(parts)


def _cast(values: list[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    with np.errstate(over="ignore"):
        array = np.array(values, dtype)
    if dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError("a number is out of range")
    return array


def _texts(data: bytes, shape: Sequence[int], n: int, what: str) -> list[bytes]:
    """The UTF-8 of the texts in a flat or nested list."""
    # Texts may hold commas themselves, so this is only a bound: it keeps the lists below from becoming huge.
    if data.count(b",") >= n + MAX_TEXTS:
        raise OipError(f"{what} has more than the {n} elements of its shape")
    values: list[Any] = msgspec.json.decode(data, type=list[Any])
    if values and isinstance(values[0], list):
        values = _unnested(values, shape)
    if len(values) != n or not all(isinstance(value, str) for value in values):
        raise OipError(f"{what}: its data must be {n} texts, as its shape {list(shape)} says")
    return [value.encode() for value in values]


def _unnested(values: list[Any], shape: Sequence[int]) -> list[Any]:
    """The innermost elements of lists of a shape."""
    if len(values) != shape[0]:
        raise ValueError("lists of another length than the shape")
    for side in shape[1:]:
        if not all(isinstance(value, list) and len(value) == side for value in values):
            raise ValueError("lists of another length than the shape")
        values = [element for value in values for element in value]
    return values


def to_json(tensor: Tensor) -> list[Any]:
    """The values as a flat list for JSON.

    Raises:
        OipError: BYTES that are no UTF-8.
    """
    flat: list[Any] = tensor.array.reshape(-1).tolist()
    if tensor.datatype != "BYTES":
        return flat
    try:
        return [value.decode() for value in flat]
    except UnicodeDecodeError:
        raise OipError(
            f"{shown(tensor.name)} holds bytes that are no text: take them as binary data"
        ) from None


def to_bytes(tensor: Tensor) -> bytes:
    """The values as ``from_bytes`` reads them."""
    if tensor.datatype == "BYTES":
        elements = tensor.array.reshape(-1).tolist()
        return b"".join(len(value).to_bytes(4, "little") + value for value in elements)
    return np.ascontiguousarray(tensor.array, DTYPES[tensor.datatype]).tobytes()

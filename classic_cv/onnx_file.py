"""What is inside an ONNX file, read without the ``onnx`` package; anything but a plain network is refused.

An ONNX file can name other files to read, operators of foreign libraries, and loops. A network for small
images needs none of them, so this reader knows only the fields and operators that such networks have, and
refuses the rest before a runtime sees the file. What it does not bound is the memory that running needs: a few
bytes can ask for padding of any size.

The messages and their field numbers are those of
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto, the bytes those of
https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

from classic_cv.errors import ArtifactError

MAX_BYTES = 2**28
"""Largest file that is read, unless another limit is given."""

MAX_FIELDS = 2**18
"""Most protobuf fields in a file; a network of a hundred layers has about ten thousand."""

MAX_RANK = 8
"""Most axes of a tensor."""

ALLOWED = frozenset(
    """
    Abs Add Ceil Clip Cos Div Erf Exp Floor Log Max Mean Min Mod Mul Neg Pow Reciprocal Round Sign Sin Sqrt Sub Sum
    And Equal Greater GreaterOrEqual Less LessOrEqual Not Or Where
    Celu Elu Gelu HardSigmoid HardSwish LeakyRelu LogSoftmax Mish PRelu Relu Selu Sigmoid Softmax Softplus
    Softsign Swish Tanh
    AveragePool Conv Einsum Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool LpPool MatMul MaxPool
    BatchNormalization Dropout GroupNormalization InstanceNormalization LRN LayerNormalization LpNormalization
    RMSNormalization
    ReduceL1 ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare
    Cast Concat Constant ConstantOfShape DepthToSpace Expand Flatten Gather GatherElements GatherND Identity Pad Range
    Reshape Resize Shape Slice SpaceToDepth Split Squeeze Tile Transpose Trilu Unsqueeze
    ConvInteger DequantizeLinear DynamicQuantizeLinear MatMulInteger QLinearConv QLinearMatMul QuantizeLinear
    """.split()
)
"""Operators that a network may have: functions of dense tensors, without control flow, chance or state."""

FLOAT, UINT8, INT8, INT32, INT64, BOOL, FLOAT16, DOUBLE, BFLOAT16 = 1, 2, 3, 6, 7, 9, 10, 11, 16
"""Of TensorProto.DataType: the element types that a network may have."""


class Initializer(NamedTuple):
    """A tensor that is stored in the file.

    Attributes:
        name: as nodes refer to it; of a ``Constant`` node the name of its output.
        dtype: a number of TensorProto.DataType, such as ``FLOAT``.
        shape: empty for a scalar.
    """

    name: str
    dtype: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class OnnxSummary:
    """What is inside a network.

    Attributes:
        operators: the operator of each node, in the order of the file.
        initializers: first those of the graph, then those of ``Constant`` nodes, each in the order of the file.
        inputs: what has to be fed; an initializer that is listed as an input too is left out.
        outputs: names of the results.
        opset: version of the default operator set.
        quantization: names that nodes take as scale or zero point only.
    """

    operators: tuple[str, ...]
    initializers: tuple[Initializer, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    opset: int
    quantization: frozenset[str]


class _DataType(NamedTuple):
    width: int
    field: str


# Bytes of an element in raw_data, and the field of TensorProto that holds it otherwise.
_DATA_TYPES = {
    FLOAT: _DataType(4, "float_data"),
    UINT8: _DataType(1, "int32_data"),
    INT8: _DataType(1, "int32_data"),
    INT32: _DataType(4, "int32_data"),
    INT64: _DataType(8, "int64_data"),
    BOOL: _DataType(1, "int32_data"),
    FLOAT16: _DataType(2, "int32_data"),
    DOUBLE: _DataType(8, "double_data"),
    BFLOAT16: _DataType(2, "int32_data"),
}

_COUNTED = frozenset(_DATA_TYPES) - {INT64, BOOL}

# Positions of scales and zero points among the inputs of an operator.
_QUANTIZATION_INPUTS = {
    "QuantizeLinear": (1, 2),
    "DequantizeLinear": (1, 2),
    "QLinearConv": (1, 2, 4, 5, 6, 7),
    "QLinearMatMul": (1, 2, 4, 5, 6, 7),
    "ConvInteger": (2, 3),
    "MatMulInteger": (2, 3),
}

# Attributes that a Constant may have, with the field of AttributeProto that holds each.
_CONSTANT_VALUES = {
    "value": "t",
    "value_float": "f",
    "value_floats": "floats",
    "value_int": "i",
    "value_ints": "ints",
}

_DEFAULT_DOMAINS = ("", "ai.onnx")

# Wire types of the protobuf encoding; 3 and 4, groups, are in no ONNX message.
_VARINT, _I64, _LEN, _I32 = 0, 1, 2, 5
_WIDTHS = {_I64: 8, _I32: 4}


class _Field(NamedTuple):
    name: str
    wire: int
    repeated: bool = False


# Left out on purpose, so refused: segments of tensors, attributes that refer to those of a function, types as
# attributes, and multi-device configurations.
_MESSAGES = {
    "ModelProto": {
        1: _Field("ir_version", _VARINT),
        2: _Field("producer_name", _LEN),
        3: _Field("producer_version", _LEN),
        4: _Field("domain", _LEN),
        5: _Field("model_version", _VARINT),
        6: _Field("doc_string", _LEN),
        7: _Field("graph", _LEN),
        8: _Field("opset_import", _LEN, repeated=True),
        14: _Field("metadata_props", _LEN, repeated=True),
        20: _Field("training_info", _LEN, repeated=True),
        25: _Field("functions", _LEN, repeated=True),
    },
    "OperatorSetIdProto": {
        1: _Field("domain", _LEN),
        2: _Field("version", _VARINT),
    },
    "GraphProto": {
        1: _Field("node", _LEN, repeated=True),
        2: _Field("name", _LEN),
        5: _Field("initializer", _LEN, repeated=True),
        10: _Field("doc_string", _LEN),
        11: _Field("input", _LEN, repeated=True),
        12: _Field("output", _LEN, repeated=True),
        13: _Field("value_info", _LEN, repeated=True),
        14: _Field("quantization_annotation", _LEN, repeated=True),
        15: _Field("sparse_initializer", _LEN, repeated=True),
        16: _Field("metadata_props", _LEN, repeated=True),
    },
    "ValueInfoProto": {
        1: _Field("name", _LEN),
        2: _Field("type", _LEN),
        3: _Field("doc_string", _LEN),
        4: _Field("metadata_props", _LEN, repeated=True),
    },
    "NodeProto": {
        1: _Field("input", _LEN, repeated=True),
        2: _Field("output", _LEN, repeated=True),
        3: _Field("name", _LEN),
        4: _Field("op_type", _LEN),
        5: _Field("attribute", _LEN, repeated=True),
        6: _Field("doc_string", _LEN),
        7: _Field("domain", _LEN),
        8: _Field("overload", _LEN),
        9: _Field("metadata_props", _LEN, repeated=True),
    },
    "AttributeProto": {
        1: _Field("name", _LEN),
        2: _Field("f", _I32),
        3: _Field("i", _VARINT),
        4: _Field("s", _LEN),
        5: _Field("t", _LEN),
        6: _Field("g", _LEN),
        7: _Field("floats", _I32, repeated=True),
        8: _Field("ints", _VARINT, repeated=True),
        9: _Field("strings", _LEN, repeated=True),
        10: _Field("tensors", _LEN, repeated=True),
        11: _Field("graphs", _LEN, repeated=True),
        13: _Field("doc_string", _LEN),
        20: _Field("type", _VARINT),
        22: _Field("sparse_tensor", _LEN),
        23: _Field("sparse_tensors", _LEN, repeated=True),
    },
    "TensorProto": {
        1: _Field("dims", _VARINT, repeated=True),
        2: _Field("data_type", _VARINT),
        4: _Field("float_data", _I32, repeated=True),
        5: _Field("int32_data", _VARINT, repeated=True),
        6: _Field("string_data", _LEN, repeated=True),
        7: _Field("int64_data", _VARINT, repeated=True),
        8: _Field("name", _LEN),
        9: _Field("raw_data", _LEN),
        10: _Field("double_data", _I64, repeated=True),
        11: _Field("uint64_data", _VARINT, repeated=True),
        12: _Field("doc_string", _LEN),
        13: _Field("external_data", _LEN, repeated=True),
        14: _Field("data_location", _VARINT),
        16: _Field("metadata_props", _LEN, repeated=True),
    },
}

_TENSOR_DATA = (
    "float_data",
    "int32_data",
    "string_data",
    "int64_data",
    "raw_data",
    "double_data",
    "uint64_data",
)


class _Refused(Exception):
    """Why a file is refused, without its name."""


def _damaged(why: str) -> _Refused:
    return _Refused(f"is not a whole ONNX network ({why}); export or copy it again")


def _quoted(text: str) -> str:
    """``text`` for a message: it came from the file, so it may be long or hold control characters."""
    return repr(text if len(text) <= 60 else text[:60] + "...")


def inspect(data: bytes, source: str = "network", max_bytes: int | None = None) -> OnnxSummary:
    """Read the bytes of an ONNX file (a ModelProto) and check that it is a plain, self-contained network.

    Time and memory grow linearly with ``data``; nothing is read but ``data``. Types of values,
    ``quantization_annotation`` and ``metadata_props`` are not looked into.

    Args:
        data: the whole file.
        source: its name, for messages.
        max_bytes: largest file that is read; None for ``MAX_BYTES``.

    Raises:
        ArtifactError: ``data`` is damaged, truncated or no ONNX file; or it has external data, an operator that
            is custom or not in ``ALLOWED``, another operator set than the default one, functions, training
            information, a subgraph, a sparse tensor, tensors elsewhere than as an initializer, in a ``Constant``
            or as the one value of a ``ConstantOfShape``, element types other than those above, or a field that
            this reader does not know.
    """
    try:
        limit = MAX_BYTES if max_bytes is None else max_bytes
        if len(data) > limit:
            raise _Refused(f"has {len(data)} bytes, allowed are {limit}; export a smaller network")
        return _summary(_Reader(), memoryview(data))
    except _Refused as refused:
        raise ArtifactError(f"{source}: {refused}") from None


def count_parameters(summary: OnnxSummary) -> int:
    """How many weights a network has, the same for a float network and its quantised twin.

    Counted are the elements of all initializers and ``Constant`` tensors of type float32, float16, bfloat16,
    float64, int8, uint8 and int32 with one axis or more, whether a node uses them or not. Not counted are:

    - int64, which holds shapes and axes, and bool;
    - scalars without an axis, of any type;
    - tensors of one axis which nodes take only as a scale or zero point (inputs 1 and 2 of ``QuantizeLinear``
      and ``DequantizeLinear``, the corresponding ones of ``QLinearConv``, ``QLinearMatMul``, ``ConvInteger``
      and ``MatMulInteger``), as they are in quantization per channel.

    A tensor that another input takes too, or that is an output of the network, is counted.
    """
    return sum(prod(tensor.shape) for tensor in summary.initializers if _is_counted(tensor, summary))


def _is_counted(tensor: Initializer, summary: OnnxSummary) -> bool:
    if tensor.dtype not in _COUNTED or not tensor.shape:
        return False
    return len(tensor.shape) > 1 or tensor.name not in summary.quantization


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    """The unsigned value of the varint at ``at``, and where it ends: at most 10 bytes and 64 bits."""
    value = 0
    for index, byte in enumerate(view[at : at + 10]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            if value >> 64:
                break
            return value, at + index + 1
    else:
        if len(view) - at < 10:
            raise _damaged("it ends within a number")
    raise _damaged("a number has more than 64 bits")


def _value(view: memoryview, at: int, wire: int) -> tuple[int | memoryview, int]:
    """The value at ``at``, and where it ends: an integer for a varint, else a view of its bytes."""
    if wire == _VARINT:
        return _varint(view, at)
    if wire == _LEN:
        length, at = _varint(view, at)
    elif wire in _WIDTHS:
        length = _WIDTHS[wire]
    else:
        raise _damaged(f"a field has the wire type {wire}")
    if length > len(view) - at:
        raise _damaged(f"it ends within a field of {length} bytes")
    return view[at : at + length], at + length


def _text(view: memoryview) -> str:
    try:
        return str(view, "utf-8")
    except UnicodeDecodeError:
        raise _damaged("a name is not UTF-8") from None


def _packed_varints(view: memoryview) -> int:
    """How many varints follow each other in ``view``: as many as bytes without a continuation bit."""
    data = bytes(view)
    if data and data[-1] >= 0x80:
        raise _damaged("it ends within a number")
    if re.search(rb"[\x80-\xff]{10}", data):
        raise _damaged("a number has more than 64 bits")
    return len(data.translate(None, bytes(range(0x80, 0x100))))


class _Message:
    """The fields of one message by name; a submessage stays bytes until someone asks for it."""

    def __init__(self) -> None:
        self.values: dict[str, list[int | memoryview]] = {}

    def has(self, name: str) -> bool:
        return name in self.values

    def views(self, name: str) -> list[memoryview]:
        return [value for value in self.values.get(name, ()) if isinstance(value, memoryview)]

    def integer(self, name: str) -> int:
        """A varint that occurs at most once, without its sign: a negative one is 2**63 or more."""
        return next((value for value in self.values.get(name, ()) if isinstance(value, int)), 0)

    def texts(self, name: str) -> list[str]:
        return [_text(view) for view in self.views(name)]

    def text(self, name: str) -> str:
        return next(iter(self.texts(name)), "")

    def integers(self, name: str) -> Iterator[int]:
        """Varints of a repeated field, packed or not."""
        for value in self.values.get(name, ()):
            if isinstance(value, int):
                yield value
                continue
            at = 0
            while at < len(value):
                number, at = _varint(value, at)
                yield number

    def count_integers(self, name: str) -> int:
        """How many varints a repeated field has, packed or not."""
        values = self.values.get(name, ())
        return sum(1 if isinstance(value, int) else _packed_varints(value) for value in values)

    def count_fixed(self, name: str, width: int) -> int:
        """How many numbers of ``width`` bytes a repeated field has, packed or not."""
        sizes = [len(view) for view in self.views(name)]
        if any(size % width for size in sizes):
            raise _damaged("it ends within a number")
        return sum(sizes) // width


class _Reader:
    """Decodes messages, and counts the fields of all of them: empty ones would take hours otherwise."""

    def __init__(self) -> None:
        self.fields = 0

    def message(self, kind: str, view: memoryview) -> _Message:
        """Decode one message, not those in it."""
        message = _Message()
        at = 0
        while at < len(view):
            tag, at = _varint(view, at)
            field = self._field(kind, tag >> 3, tag & 7)
            value, at = _value(view, at, tag & 7)
            values = message.values.setdefault(field.name, [])
            # Parsers merge a field that occurs twice, or let the last one win: too clever to check.
            if values and not field.repeated:
                raise _damaged(f"{kind} has {field.name} twice")
            values.append(value)
        return message

    def messages(self, kind: str, parent: _Message, name: str) -> Iterator[_Message]:
        for view in parent.views(name):
            yield self.message(kind, view)

    def _field(self, kind: str, number: int, wire: int) -> _Field:
        self.fields += 1
        if self.fields > MAX_FIELDS:
            raise _Refused(f"has more than {MAX_FIELDS} fields; export a smaller network")
        field = _MESSAGES[kind].get(number)
        if field is None:
            raise _Refused(
                f"is damaged or no plain network: field {number} of {kind} is not among those which are allowed "
                f"({', '.join(known.name for known in _MESSAGES[kind].values())}); export it again"
            )
        packed = field.repeated and wire == _LEN
        if wire != field.wire and not packed:
            raise _damaged(f"{field.name} of {kind} has the wire type {wire}, not {field.wire}")
        return field


def _summary(reader: _Reader, view: memoryview) -> OnnxSummary:
    model = reader.message("ModelProto", view)
    for name in ("functions", "training_info"):
        if model.has(name):
            raise _Refused(
                f"has {name}; allowed is one graph of plain operators; export it with functions inlined, "
                "for inference"
            )
    for name in ("ir_version", "graph", "opset_import"):
        if not model.has(name):
            raise _damaged(f"it has no {name}")
    return _graph(reader, reader.message("GraphProto", model.views("graph")[0]), _opset(reader, model))


def _opset(reader: _Reader, model: _Message) -> int:
    versions = []
    for entry in reader.messages("OperatorSetIdProto", model, "opset_import"):
        domain = entry.text("domain")
        if domain not in _DEFAULT_DOMAINS:
            raise _Refused(
                f"imports the operator set {_quoted(domain)}; allowed is the default one, ai.onnx; "
                "remove the import, or export without custom operators"
            )
        versions.append(entry.integer("version"))
    if len(versions) != 1 or not 1 <= versions[0] < 2**31:
        raise _damaged("it does not import one version of the default operator set")
    return versions[0]


def _graph(reader: _Reader, graph: _Message, opset: int) -> OnnxSummary:
    if graph.has("sparse_initializer"):
        raise _sparse("the graph")
    initializers = [
        _tensor(reader.message("TensorProto", view), f"initializer {index}")
        for index, view in enumerate(graph.views("initializer"))
    ]
    stored = {tensor.name for tensor in initializers}
    listed = [value.text("name") for value in reader.messages("ValueInfoProto", graph, "input")]
    inputs = tuple(name for name in listed if name not in stored)
    outputs = tuple(value.text("name") for value in reader.messages("ValueInfoProto", graph, "output"))
    if not inputs or not outputs:
        raise _damaged("it has no input or no output")
    operators = []
    scales: set[str] = set()
    others = {"", *outputs}
    for index, node in enumerate(reader.messages("NodeProto", graph, "node")):
        where = f"node {index} ({_quoted(node.text('op_type'))})"
        initializers += _check_node(reader, node, where)
        operators.append(node.text("op_type"))
        positions = _QUANTIZATION_INPUTS.get(operators[-1], ())
        for position, name in enumerate(node.texts("input")):
            (scales if position in positions else others).add(name)
    return OnnxSummary(
        tuple(operators), tuple(initializers), inputs, outputs, opset, frozenset(scales - others)
    )


def _sparse(where: str) -> _Refused:
    return _Refused(f"{where} has a sparse tensor; allowed are dense ones; export it with dense weights")


def _check_node(reader: _Reader, node: _Message, where: str) -> list[Initializer]:
    """Refuse what no plain node has; the tensor of a ``Constant``."""
    domain, operator = node.text("domain"), node.text("op_type")
    if domain not in _DEFAULT_DOMAINS:
        raise _Refused(
            f"{where} is a custom operator of {_quoted(domain)}; allowed are those of ai.onnx; "
            "export without custom operators"
        )
    attributes = list(reader.messages("AttributeProto", node, "attribute"))
    tensors = [tensor for attribute in attributes for tensor in _attribute_tensors(reader, attribute, where)]
    if operator not in ALLOWED:
        raise _Refused(
            f"{where} is an operator which is not allowed; allowed are {', '.join(sorted(ALLOWED))}; "
            "change the network"
        )
    if operator == "Constant":
        return [_constant(node, attributes, tensors, where)]
    if operator == "ConstantOfShape" and len(tensors) <= 1 and all(prod(t.shape) == 1 for t in tensors):
        # The value that all elements get: no weight.
        return []
    if tensors:
        raise _Refused(f"{where} has a tensor as an attribute; allowed is that for Constant; export it again")
    return []


def _attribute_tensors(reader: _Reader, attribute: _Message, where: str) -> list[Initializer]:
    """Refuse an attribute that holds more than numbers, strings or one tensor; that tensor."""
    if attribute.has("g") or attribute.has("graphs"):
        raise _Refused(
            f"{where} has a subgraph; allowed are operators without control flow; export without loops and "
            "conditions"
        )
    if attribute.has("sparse_tensor") or attribute.has("sparse_tensors"):
        raise _sparse(where)
    if attribute.has("tensors"):
        raise _Refused(f"{where} has a list of tensors; allowed is one, of a Constant; export it again")
    return [_tensor(tensor, where) for tensor in reader.messages("TensorProto", attribute, "t")]


def _constant(
    node: _Message, attributes: list[_Message], tensors: list[Initializer], where: str
) -> Initializer:
    """The value of a ``Constant``, whose attribute is a tensor or plain numbers, named by its output."""
    outputs = node.texts("output")
    names = [attribute.text("name") for attribute in attributes]
    if len(names) != 1 or names[0] not in _CONSTANT_VALUES or len(outputs) != 1:
        raise _Refused(
            f"{where} has {len(outputs)} outputs and the attributes {_quoted(', '.join(names))}; allowed are one "
            f"output and one of {', '.join(_CONSTANT_VALUES)}; export it again"
        )
    field, attribute = _CONSTANT_VALUES[names[0]], attributes[0]
    if any(attribute.has(other) for other in _CONSTANT_VALUES.values() if other != field):
        raise _damaged(f"{where} has more than one value")
    if field == "t":
        if not tensors:
            raise _damaged(f"{where} has no value")
        return tensors[0]._replace(name=outputs[0])
    dtype = FLOAT if field in ("f", "floats") else INT64
    if field in ("f", "i"):
        return Initializer(outputs[0], dtype, ())
    count = attribute.count_fixed(field, 4) if field == "floats" else attribute.count_integers(field)
    return Initializer(outputs[0], dtype, (count,))


def _tensor(tensor: _Message, where: str) -> Initializer:
    """Name, type and shape of a tensor whose elements are all in the file."""
    name = tensor.text("name")
    where = f"{where}, tensor {_quoted(name)}," if name else f"{where}, a tensor,"
    if tensor.integer("data_location") != 0 or tensor.has("external_data"):
        raise _Refused(
            f"{where} is in an external file; allowed are tensors within the file; export it with "
            "external_data=False"
        )
    dtype = tensor.integer("data_type")
    if dtype not in _DATA_TYPES:
        raise _Refused(
            f"{where} has the element type {dtype}; allowed are {', '.join(map(str, _DATA_TYPES))} of "
            "TensorProto.DataType; convert the weights"
        )
    shape = _shape(tensor, where)
    _check_elements(tensor, dtype, prod(shape), where)
    return Initializer(name, dtype, shape)


def _shape(tensor: _Message, where: str) -> tuple[int, ...]:
    rank = tensor.count_integers("dims")
    if rank > MAX_RANK:
        raise _Refused(f"{where} has {rank} axes, allowed are {MAX_RANK}; reshape it")
    shape = tuple(tensor.integers("dims"))
    if any(size >= 2**63 for size in shape):
        raise _damaged(f"{where} has an axis of negative size")
    return shape


def _check_elements(tensor: _Message, dtype: int, expected: int, where: str) -> None:
    """The elements are in one field only, and as many as the shape says."""
    width, field = _DATA_TYPES[dtype]
    if tensor.has("raw_data"):
        field = "raw_data"
        found = tensor.count_fixed(field, width)
    elif field in ("float_data", "double_data"):
        found = tensor.count_fixed(field, width)
    else:
        found = tensor.count_integers(field)
    if any(tensor.has(other) for other in _TENSOR_DATA if other != field):
        raise _damaged(f"{where} has elements elsewhere than in {field}")
    if found != expected:
        raise _damaged(f"{where} has {found} elements, its shape says {expected}")

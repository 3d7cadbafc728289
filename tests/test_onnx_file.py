"""ONNX files: what the reader says is what ``onnx`` says, and all that is not a plain network is refused."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from classic_cv import onnx_file
from classic_cv.errors import ArtifactError
from classic_cv.onnx_file import Initializer, OnnxSummary, count_parameters, inspect


def small_model() -> Any:
    """A convolution, a bias from a ``Constant``, and a reshape: all kinds of tensors and attributes."""
    rng = np.random.default_rng(0)
    bias = numpy_helper.from_array(rng.normal(size=(1, 4, 1, 1)).astype(np.float32))
    nodes = [
        helper.make_node("Conv", ["image", "weight"], ["maps"], pads=[1, 1, 1, 1], name="conv"),
        helper.make_node("Constant", [], ["bias"], value=bias),
        helper.make_node("Add", ["maps", "bias"], ["sum"]),
        helper.make_node("Clip", ["sum", "low"], ["clipped"]),
        helper.make_node("GlobalAveragePool", ["clipped"], ["means"]),
        helper.make_node("Reshape", ["means", "shape"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 4])],
        [
            numpy_helper.from_array(rng.normal(size=(4, 3, 3, 3)).astype(np.float32), "weight"),
            helper.make_tensor("low", TensorProto.FLOAT, [], [0.0]),
            helper.make_tensor("shape", TensorProto.INT64, [2], [-1, 4]),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], producer_name="test")


def model_of(nodes: list[Any], initializers: list[Any] | None = None) -> bytes:
    """A network of ``nodes`` from ``x`` to ``y``."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph(nodes, "graph", values[:1], values[1:], initializers or [])
    return serialized(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]))


def serialized(model: Any) -> bytes:
    return bytes(model.SerializeToString())


def expected_initializers(model: Any) -> list[tuple[str, int, tuple[int, ...]]]:
    """What ``onnx`` says: initializers, then tensors of ``Constant`` nodes."""
    tensors = [(tensor.name, tensor) for tensor in model.graph.initializer]
    tensors += [
        (node.output[0], node.attribute[0].t) for node in model.graph.node if node.op_type == "Constant"
    ]
    # numpy_helper checks the number of elements too.
    return [(name, t.data_type, numpy_helper.to_array(t).shape) for name, t in tensors]


def assert_as_onnx_says(summary: OnnxSummary, model: Any) -> None:
    assert list(summary.operators) == [node.op_type for node in model.graph.node]
    assert [tuple(tensor) for tensor in summary.initializers] == expected_initializers(model)
    stored = {tensor.name for tensor in model.graph.initializer}
    assert list(summary.inputs) == [v.name for v in model.graph.input if v.name not in stored]
    assert list(summary.outputs) == [v.name for v in model.graph.output]
    assert [summary.opset] == [opset.version for opset in model.opset_import]


# What is accepted.


def test_the_summary_is_what_onnx_says() -> None:
    model = small_model()
    onnx.checker.check_model(model)
    summary = inspect(serialized(model))
    assert_as_onnx_says(summary, model)
    assert summary.initializers[-1] == Initializer("bias", onnx_file.FLOAT, (1, 4, 1, 1))
    assert count_parameters(summary) == 4 * 3 * 3 * 3 + 4


def test_an_initializer_that_is_listed_as_an_input_need_not_be_fed() -> None:
    model = small_model()
    model.graph.input.append(helper.make_tensor_value_info("weight", TensorProto.FLOAT, [4, 3, 3, 3]))
    assert inspect(serialized(model)).inputs == ("image",)


def test_the_element_types_are_those_of_onnx() -> None:
    names = "FLOAT UINT8 INT8 INT32 INT64 BOOL FLOAT16 DOUBLE BFLOAT16".split()
    assert {name: getattr(onnx_file, name) for name in names} == {
        name: TensorProto.DataType.Value(name) for name in names
    }
    assert set(onnx_file._DATA_TYPES) == {getattr(onnx_file, name) for name in names}


def test_the_field_numbers_are_those_of_onnx() -> None:
    for kind, fields in onnx_file._MESSAGES.items():
        descriptor = getattr(onnx, kind).DESCRIPTOR
        wires = {1: 1, 2: 5, 3: 0, 4: 0, 5: 0, 9: 2, 11: 2, 12: 2, 14: 0}
        for number, field in fields.items():
            known = descriptor.fields_by_number[number]
            assert (known.name, wires[known.type]) == (field.name, field.wire)
            assert known.is_repeated == field.repeated


def test_the_allowed_operators_are_of_onnx_and_have_no_subgraph() -> None:
    for name in onnx_file.ALLOWED:
        attributes = onnx.defs.get_schema(name).attributes.values()
        graphs = {onnx.defs.OpSchema.AttrType.GRAPH, onnx.defs.OpSchema.AttrType.GRAPHS}
        assert not graphs & {attribute.type for attribute in attributes}


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("name", "FLOAT UINT8 INT8 INT32 INT64 BOOL FLOAT16 DOUBLE".split())
def test_every_element_type_in_every_storage(name: str, raw: bool) -> None:
    dtype = TensorProto.DataType.Value(name)
    array = np.array([[0, 1, 1], [1, 0, 1]]).astype(helper.tensor_dtype_to_np_dtype(dtype))
    if np.issubdtype(array.dtype, np.signedinteger):
        array = -array  # Ten bytes each as a varint.
    values: Any = array.tobytes() if raw else array.ravel()
    tensor = helper.make_tensor("weight", dtype, array.shape, values, raw=raw)
    summary = inspect(model_of([helper.make_node("Add", ["x", "weight"], ["y"])], [tensor]))
    assert summary.initializers == (Initializer("weight", dtype, (2, 3)),)
    assert count_parameters(summary) == (0 if name in ("INT64", "BOOL") else 6)


@pytest.mark.parametrize(
    ("attribute", "value", "dtype", "shape"),
    [
        ("value_float", 1.5, onnx_file.FLOAT, ()),
        ("value_floats", [1.5, 2.5], onnx_file.FLOAT, (2,)),
        ("value_int", -3, onnx_file.INT64, ()),
        ("value_ints", [1, -2, 3], onnx_file.INT64, (3,)),
    ],
)
def test_a_constant_of_plain_numbers_is_listed(
    attribute: str, value: Any, dtype: int, shape: tuple[int, ...]
) -> None:
    summary = inspect(model_of([helper.make_node("Constant", [], ["y"], **{attribute: value})]))
    assert summary.initializers == (Initializer("y", dtype, shape),)
    assert count_parameters(summary) == (2 if attribute == "value_floats" else 0)


def test_packed_and_unpacked_dims_are_the_same() -> None:
    data = model_of(
        [helper.make_node("Add", ["x", "w"], ["y"])], [helper.make_tensor("w", 3, [2, 3], range(6))]
    )
    assert data.count(b"\x08\x02\x08\x03") == 1  # Two fields, as long as one of two bytes.
    assert inspect(data.replace(b"\x08\x02\x08\x03", b"\x0a\x02\x02\x03")) == inspect(data)


def quantized_model(*, scale_shape: tuple[int, ...] = (4,), also_added: bool = False) -> bytes:
    scale = helper.make_tensor("scale", TensorProto.FLOAT, scale_shape, np.ones(scale_shape))
    zero = helper.make_tensor("zero", TensorProto.INT8, scale_shape, np.zeros(scale_shape, int))
    weight = helper.make_tensor("weight", TensorProto.INT8, [4, 6], range(24))
    nodes = [
        helper.make_node("DequantizeLinear", ["weight", "scale", "zero"], ["float"], axis=0),
        helper.make_node("MatMul", ["x", "float"], ["product"]),
        helper.make_node("Add", ["product", "scale" if also_added else "float"], ["y"]),
    ]
    return model_of(nodes, [weight, scale, zero])


def test_scales_and_zero_points_are_not_parameters() -> None:
    summary = inspect(quantized_model())
    assert summary.quantization == {"scale", "zero"}
    assert count_parameters(summary) == 24


def test_a_scale_that_is_used_otherwise_is_counted() -> None:
    summary = inspect(quantized_model(also_added=True))
    assert summary.quantization == {"zero"}
    assert count_parameters(summary) == 24 + 4


def test_a_scale_of_two_axes_is_counted() -> None:
    assert count_parameters(inspect(quantized_model(scale_shape=(4, 2)))) == 24 + 8 + 8


# What is refused.


def refused(data: bytes, text: str, source: str = "network") -> None:
    with pytest.raises(ArtifactError, match=f"^{re.escape(source)}: .*{text}"):
        inspect(data, source)


def changed(change: Callable[[Any], object]) -> bytes:
    model = small_model()
    change(model)
    return serialized(model)


def weight_of(model: Any) -> Any:
    return model.graph.initializer[0]


def constant_of(model: Any) -> Any:
    return model.graph.node[1].attribute[0]


def make_external(tensor: Any) -> None:
    tensor.data_location = TensorProto.EXTERNAL
    tensor.ClearField("raw_data")
    tensor.external_data.add(key="location", value="../../etc/passwd")


@pytest.mark.parametrize("tensor_of", [weight_of, lambda model: constant_of(model).t])
def test_external_data_is_refused(tensor_of: Callable[[Any], Any]) -> None:
    text = "is in an external file; allowed are tensors within the file; export it with external_data=False"
    refused(changed(lambda model: make_external(tensor_of(model))), text)
    refused(changed(lambda model: tensor_of(model).external_data.add(key="location", value="w")), text)
    refused(changed(lambda model: setattr(tensor_of(model), "data_location", TensorProto.EXTERNAL)), text)


def test_external_data_is_refused_wherever_it_is() -> None:
    external = helper.make_tensor("hidden", TensorProto.FLOAT, [1], [1.0])
    make_external(external)
    indices = helper.make_tensor("indices", TensorProto.INT64, [1], [0])
    sparse = helper.make_sparse_tensor(external, indices, [3])
    value = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([], "inner", [], [value], [external])
    cases: list[tuple[dict[str, Any], str]] = [
        ({"value": external}, "external file"),
        ({"values": [external]}, "list of tensors"),
        ({"sparse_value": sparse}, "sparse tensor"),
        ({"sparse_values": [sparse]}, "sparse tensor"),
        ({"body": graph}, "subgraph"),
        ({"bodies": [graph]}, "subgraph"),
    ]
    for attribute, text in cases:
        for operator in ("Constant", "Relu", "Unheard"):
            refused(model_of([helper.make_node(operator, ["x"], ["y"], **attribute)]), text)
    refused(changed(lambda model: model.graph.sparse_initializer.append(sparse)), "sparse tensor")


def test_an_unknown_data_location_is_refused() -> None:
    # 2**32 + 1, which a parser may cut to 32 bits: EXTERNAL.
    location = b"\x70\x81\x80\x80\x80\x10"
    weight = serialized(weight_of(small_model()))
    refused(with_graph(field(5, weight + location)), "is in an external file")


def test_a_custom_operator_is_refused() -> None:
    nodes = [helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")]
    refused(
        model_of(nodes),
        r"node 0 \('Gelu'\) is a custom operator of 'com.microsoft'; allowed are those of ai.onnx",
    )
    assert inspect(model_of([helper.make_node("Gelu", ["x"], ["y"], domain="ai.onnx")])).operators == (
        "Gelu",
    )


@pytest.mark.parametrize("domain", ["ai.onnx.ml", "com.microsoft", "ai.onnx.training"])
def test_another_operator_set_is_refused(domain: str) -> None:
    data = changed(lambda model: model.opset_import.append(helper.make_opsetid(domain, 1)))
    refused(
        data, f"imports the operator set '{domain}'; allowed is the default one, ai.onnx; remove the import"
    )


def test_functions_and_training_are_refused() -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    function = helper.make_function("", "Relu", ["x"], ["y"], [node], [helper.make_opsetid("", 20)])
    refused(changed(lambda model: model.functions.append(function)), "has functions; allowed is one graph")
    refused(changed(lambda model: model.training_info.add()), "has training_info; allowed is one graph")


@pytest.mark.parametrize(
    "operator", ["If", "Loop", "Scan", "RandomNormal", "LSTM", "ImageDecoder", "relu", ""]
)
def test_an_operator_that_is_not_allowed_is_refused(operator: str) -> None:
    data = model_of([helper.make_node("Relu", ["x"], ["z"]), helper.make_node(operator, ["z"], ["y"])])
    refused(data, rf"node 1 \('{operator}'\) is an operator which is not allowed; allowed are Abs, Add, ")


def test_a_name_from_the_file_is_shown_without_control_characters_and_cut() -> None:
    with pytest.raises(ArtifactError) as caught:
        inspect(model_of([helper.make_node("\x1b[31m" + "x" * 10_000, ["x"], ["y"])]), "f.onnx")
    assert str(caught.value).startswith(r"f.onnx: node 0 ('\x1b[31mxxx")
    assert len(str(caught.value)) < 2000


def test_a_tensor_in_another_node_than_constant_is_refused() -> None:
    tensor = helper.make_tensor("t", TensorProto.FLOAT, [1], [1.0])
    refused(model_of([helper.make_node("Relu", ["x"], ["y"], alpha=tensor)]), "has a tensor as an attribute")


def test_the_value_of_a_constant_of_a_shape_is_no_weight() -> None:
    """Exporters of attention write these."""
    value = helper.make_tensor("v", TensorProto.FLOAT, [1], [2.0])
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["twos"], value=value),
        helper.make_node("Greater", ["x", "twos"], ["large"]),
        helper.make_node("Where", ["large", "x", "twos"], ["y"]),
    ]
    summary = inspect(model_of(nodes))
    assert summary.operators == ("Shape", "ConstantOfShape", "Greater", "Where")
    assert (summary.initializers, count_parameters(summary)) == ((), 0)
    pair = helper.make_tensor("v", TensorProto.FLOAT, [2], [2.0, 3.0])
    refused(
        model_of([helper.make_node("ConstantOfShape", ["x"], ["y"], value=pair)]), "has a tensor as an attri"
    )


def test_a_constant_without_one_plain_value_is_refused() -> None:
    text = "allowed are one output and one of value, value_float"
    refused(model_of([helper.make_node("Constant", [], ["y"], value_string="a")]), text)
    refused(model_of([helper.make_node("Constant", [], ["y"], value_int=1, value_ints=[1])]), text)
    refused(model_of([helper.make_node("Constant", [], ["y", "z"], value_int=1)]), text)
    refused(changed(lambda model: setattr(constant_of(model), "i", 3)), "has more than one value")
    refused(changed(lambda model: constant_of(model).ClearField("t")), "has no value")


@pytest.mark.parametrize("dtype", ["UNDEFINED", "STRING", "INT4", "COMPLEX64", "FLOAT8E5M2", "UINT16"])
def test_another_element_type_is_refused(dtype: str) -> None:
    number = TensorProto.DataType.Value(dtype)
    data = changed(lambda model: setattr(weight_of(model), "data_type", number))
    refused(data, f"tensor 'weight', has the element type {number}; allowed are 1, 2, 3, 6, 7, 9, 10, 11, 16")


def test_elements_that_do_not_fit_the_shape_are_refused() -> None:
    text = "is not a whole ONNX network"
    refused(
        changed(lambda model: weight_of(model).dims.append(2)), f"{text}.* 108 elements, its shape says 216"
    )
    refused(
        changed(lambda model: weight_of(model).ClearField("raw_data")), "has 0 elements, its shape says 108"
    )
    refused(
        changed(lambda model: weight_of(model).float_data.append(1)),
        "has elements elsewhere than in raw_data",
    )
    refused(
        changed(lambda model: model.graph.initializer[2].int32_data.append(1)), "elsewhere than in int64_data"
    )
    refused(changed(lambda model: weight_of(model).dims.append(-1)), "has an axis of negative size")
    refused(changed(lambda model: weight_of(model).dims.extend([1] * 5)), "has 9 axes, allowed are 8")
    refused(
        changed(lambda model: setattr(weight_of(model), "raw_data", b"123")),
        f"{text}.*it ends within a number",
    )


def test_what_a_model_must_have() -> None:
    for name in ("ir_version", "graph", "opset_import"):
        refused(changed(lambda model, name=name: model.ClearField(name)), f"it has no {name}")  # type: ignore[misc]
    for name in ("input", "output"):
        data = changed(lambda model, name=name: model.graph.ClearField(name))  # type: ignore[misc]
        refused(data, "it has no input or no output")
    for version in (0, -1):
        data = changed(lambda model, version=version: setattr(model.opset_import[0], "version", version))  # type: ignore[misc]
        refused(data, "does not import one version")
    refused(
        changed(lambda model: model.opset_import.append(helper.make_opsetid("ai.onnx", 19))), "one version"
    )


# Bytes that no writer of ONNX files makes.


def varint(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def field(number: int, payload: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def with_graph(extra: bytes) -> bytes:
    """The small network with ``extra`` at the end of its graph."""
    model = small_model()
    graph = serialized(model.graph)
    model.ClearField("graph")
    return serialized(model) + field(7, graph + extra)


DAMAGE = {
    "empty": (b"", "it has no ir_version"),
    "image": (b"GIF89a" + bytes(100), "is not a whole ONNX network"),
    "zeros": (bytes(100), "field 0 of ModelProto is not among those which are allowed"),
    "group": (b"\x0b\x0c", "has the wire type 3"),
    "wire type": (b"\x0f", "has the wire type 7"),
    "wrong wire type": (b"\x0a\x00", "ir_version of ModelProto has the wire type 2, not 0"),
    "eleven bytes": (b"\x08" + b"\x80" * 10 + b"\x01", "a number has more than 64 bits"),
    "65 bits": (b"\x08" + b"\xff" * 9 + b"\x02", "a number has more than 64 bits"),
    "cut number": (b"\x08" + b"\x80" * 9, "it ends within a number"),
    "huge length": (
        b"\x3a" + b"\xff" * 9 + b"\x01\x00",
        "it ends within a field of 18446744073709551615 bytes",
    ),
    "long by one": (b"\x3a\x03\x00\x00", "it ends within a field of 3 bytes"),
    "not UTF-8": (with_graph(field(11, field(1, b"\xff"))), "a name is not UTF-8"),
    "unknown field": (
        with_graph(field(99, b"")),
        "field 99 of GraphProto is not among those which are allowed",
    ),
    "segment": (with_graph(field(5, field(3, b""))), "field 3 of TensorProto is not among those"),
    "reference": (with_graph(field(1, field(5, field(21, b"a")))), "field 21 of AttributeProto is not among"),
    "two graphs": (serialized(small_model()) * 2, "has ir_version twice"),
    "two types": (with_graph(field(1, field(4, b"Relu") + field(4, b"If"))), "NodeProto has op_type twice"),
    "cut varints": (with_graph(field(5, b"\x10\x06" + field(5, b"\x80"))), "it ends within a number"),
    "long varints": (with_graph(field(5, b"\x10\x06" + field(5, b"\xff" * 10 + b"\1"))), "more than 64 bits"),
    "cut floats": (with_graph(field(5, b"\x10\x01" + field(4, b"123"))), "it ends within a number"),
    "many dims": (with_graph(field(5, b"\x10\x06" + field(1, b"\1" * 10**6))), "1000000 axes, allowed are 8"),
    "many fields": (with_graph(b"\x0a\x00" * 10**6), "has more than 262144 fields"),
    "many outputs": (with_graph(b"\x62\x00" * 10**6), "has more than 262144 fields"),
    "many names": (with_graph(field(1, field(4, b"Add") + b"\x0a\0" * 10**6)), "more than 262144 fields"),
    "nested": (with_graph(field(1, field(4, b"If") + field(5, field(6, b"\x0a" * 10**6)))), "has a subgraph"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_refused(name: str) -> None:
    refused(*DAMAGE[name], source=f"{name}.onnx")


def test_a_file_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_file, "MAX_BYTES", 100)
    refused(bytes(101), "has 101 bytes, allowed are 100; export a smaller network")


def assert_refused_or_right(data: bytes) -> None:
    """Only ArtifactError; and what is accepted means to ``onnx`` what it means to this reader."""
    try:
        summary = inspect(data)
    except ArtifactError:
        return
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        # Parts that are not looked into can be damaged: a runtime refuses them, as onnx does.
        return
    assert_as_onnx_says(summary, model)


def test_a_truncated_file_is_never_another_error() -> None:
    data = serialized(small_model())
    for length in range(len(data)):
        assert_refused_or_right(data[:length])


SMALL, QUANTIZED = serialized(small_model()), quantized_model()


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A network with some bytes flipped, inserted, deleted or repeated."""
    data = bytearray(draw(st.sampled_from([SMALL, QUANTIZED])))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data)))
        kind = draw(st.sampled_from(["flip", "insert", "delete", "repeat"]))
        if kind == "flip" and at < len(data):
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=12))
        elif kind == "delete":
            del data[at : at + draw(st.integers(1, 20))]
        else:
            data[at:at] = data[at : at + draw(st.integers(1, 200))]
    return bytes(data)


@settings(max_examples=1000, deadline=None)
@given(mutated())
def test_a_mutated_file_is_refused_or_means_what_onnx_says(data: bytes) -> None:
    assert_refused_or_right(data)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_mean_what_onnx_says(data: bytes) -> None:
    assert_refused_or_right(data)


@pytest.mark.parametrize("data", [SMALL, QUANTIZED])
def test_every_flipped_bit_is_refused_or_means_what_onnx_says(data: bytes) -> None:
    for position in range(len(data)):
        for bit in range(8):
            assert_refused_or_right(
                data[:position] + bytes([data[position] ^ 1 << bit]) + data[position + 1 :]
            )


# What the exporters make.


class Calibration:
    """Random images, as onnxruntime's CalibrationDataReader hands them out."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.batches: Iterator[NDArray[np.float32]] = iter(rng.random((4, 2, 3, 16, 16), np.float32))

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        batch = next(self.batches, None)
        return None if batch is None else {"image": batch}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A small torch network as ONNX file, and how many parameters torch says it has."""
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.maps = nn.Sequential(
                nn.Conv2d(3, 8, 3, stride=2, padding=1),
                nn.Hardswish(),
                nn.Conv2d(8, 8, 3, padding=1, groups=8),
                nn.ReLU6(),
                nn.Conv2d(8, 16, 1),
                nn.SiLU(),
                nn.MaxPool2d(2),
                nn.Conv2d(16, 16, 1),
                nn.GELU(),
            )
            self.scores = nn.Linear(16, 5)

        def forward(self, image: Any) -> Any:
            return torch.softmax(self.scores(self.maps(image).mean((2, 3))), 1)

    torch.manual_seed(0)
    net = Net().eval()
    path = tmp_path_factory.mktemp("onnx") / "net.onnx"
    torch.onnx.export(
        net,
        (torch.zeros(2, 3, 16, 16),),
        path,
        dynamo=True,
        external_data=False,
        input_names=["image"],
        output_names=["scores"],
        dynamic_shapes=({0: torch.export.Dim("n")},),
        verbose=False,
    )
    return path, sum(parameter.numel() for parameter in net.parameters())


def test_an_export_of_torch_is_accepted(exported: tuple[Path, int]) -> None:
    path, parameters = exported
    summary = inspect(path.read_bytes(), str(path))
    assert_as_onnx_says(summary, onnx.load(path))
    assert summary.inputs == ("image",)
    assert summary.outputs == ("scores",)
    assert {"Conv", "HardSwish", "Clip", "MaxPool"} <= set(summary.operators)
    assert count_parameters(summary) == parameters


@pytest.mark.parametrize("activations", ["QInt8", "QUInt8"])
def test_its_quantized_twin_is_accepted_and_has_the_same_weights(
    exported: tuple[Path, int], activations: str, tmp_path: Path
) -> None:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    path, parameters = exported
    twin = tmp_path / "twin.onnx"
    quantize_static(
        path,
        twin,
        Calibration(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType[activations],
        weight_type=QuantType.QInt8,
    )
    summary = inspect(twin.read_bytes(), str(twin))
    assert_as_onnx_says(summary, onnx.load(twin))
    assert summary.operators.count("DequantizeLinear") > 5
    assert sum(t.dtype == onnx_file.INT8 and len(t.shape) > 1 for t in summary.initializers) == 5
    assert count_parameters(summary) == parameters


def test_a_truncated_export_is_never_another_error(exported: tuple[Path, int]) -> None:
    data = exported[0].read_bytes()
    for length in np.linspace(0, len(data), 300, dtype=int):
        assert_refused_or_right(data[:length])


def test_the_reader_does_not_import_onnx() -> None:
    code = "import sys, classic_cv.onnx_file; print({'onnx', 'google.protobuf'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"

"""Requests by the service's own OpenAPI document, and damaged images: every answer is one that the document knows."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import features
from schemathesis import Case, CheckContext, GenerationMode, Response
from schemathesis.core.result import Ok
from schemathesis.openapi import from_asgi
from schemathesis.python.asgi import shutdown_lifespans
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.testclient import TestClient

from benchmarks._mutation import encoded

FAST = settings(
    derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck), print_blob=False
)
MODEL, VERSION = "/v2/models/{name}", "/v2/models/{name}/versions/{version}"
PLAIN = ("/", "/docs", "/metrics", "/openapi.json", "/v2", "/v2/health/live", "/v2/health/ready")
OF_MODELS = (MODEL, f"{MODEL}/ready", VERSION, f"{VERSION}/ready")
WITH_BODY = ("/classify", "/explain", f"{MODEL}/infer", f"{VERSION}/infer")
ROOT = Path(__file__).parents[2]
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF") + (("AVIF",) if features.check("avif") else ())
INTERNAL = ("Traceback", ".py", str(ROOT), "/tmp", " at 0x", "safetensors")


LIMITS: dict[str, Any] = {"allowed_hosts": ("testserver",), "max_body": 100_000, "max_images": 4}


@pytest.fixture
def schema(application: Callable[..., Any]) -> Iterator[BaseSchema]:
    """The service as its OpenAPI document describes it; requests go to the application itself."""
    yield from_asgi("/openapi.json", application(**LIMITS))
    shutdown_lifespans()


@pytest.fixture
def unsure_schema(application: Callable[..., Any]) -> Iterator[BaseSchema]:
    """The same of a service that is hardly ever sure."""
    yield from_asgi("/openapi.json", application(**LIMITS, abstain=1.0))
    shutdown_lifespans()


@pytest.fixture
def known(model_file: Path) -> dict[str, str]:
    """Parameters of paths that lead to the model."""
    return {"name": "faces", "version": hashlib.sha256(model_file.read_bytes()).hexdigest()[:8]}


def no_failure(_: CheckContext, response: Response, case: Case[Any]) -> None:
    """Nothing is wrong with the service itself; it may be busy."""
    assert response.status_code < 500 or response.status_code == 503, case.as_curl_command()


CHECKS = [
    no_failure,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


def statuses(schema: BaseSchema, path: str, method: str, examples: int, **strategy: Any) -> set[int]:
    """Statuses of the checked answers to that many requests, which ``strategy`` may fix parts of."""
    found = set()

    @settings(FAST, max_examples=examples)
    @given(case=schema[path][method].as_strategy(**strategy))
    def ask(case: Case[Any]) -> None:
        found.add(case.call_and_validate(checks=CHECKS).status_code)

    ask()
    return found


def test_every_operation_is_asked(schema: BaseSchema) -> None:
    described = {found.ok().label for found in schema.get_all_operations() if isinstance(found, Ok)}
    asked = {f"GET {path}" for path in PLAIN + OF_MODELS} | {f"POST {path}" for path in WITH_BODY}
    # schemathesis leaves out the operation that it has the document from.
    assert described == asked - {"GET /openapi.json"}


def test_operations_without_parameters_answer(schema: BaseSchema) -> None:
    found = {path: statuses(schema, path, "GET", 2) for path in PLAIN}
    assert found == {path: {200} for path in PLAIN}


@pytest.mark.parametrize("path", OF_MODELS)
def test_models_that_are_not_there_are_not_found(schema: BaseSchema, path: str) -> None:
    assert statuses(schema, path, "GET", 8) == {404}


@pytest.mark.parametrize("path", OF_MODELS)
def test_models_that_are_there_answer(schema: BaseSchema, path: str, known: dict[str, str]) -> None:
    assert statuses(schema, path, "GET", 1, path_parameters=known) == {200}


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize("path", WITH_BODY)
def test_any_body_is_answered_as_described(
    schema: BaseSchema, path: str, mode: GenerationMode, known: dict[str, str]
) -> None:
    fixed = {"path_parameters": known} if path.endswith("/infer") else {}
    found = statuses(schema, path, "POST", 15, generation_mode=mode, **fixed)
    assert found <= {200, 400, 404, 413, 415, 422}
    assert 404 not in found or not fixed


@pytest.mark.parametrize("path", ["/classify", "/explain"])
def test_an_image_is_answered_as_described(schema: BaseSchema, path: str) -> None:
    query = {"model": "faces"} | ({"class": "face"} if path == "/explain" else {})
    body = {"body": FILES["PNG"], "media_type": "application/octet-stream"}
    assert statuses(schema, path, "POST", 5, query=query, **body) == {200}


def test_what_is_not_answered_is_told_as_described(unsure_schema: BaseSchema, known: dict[str, str]) -> None:
    body: dict[str, Any] = {"body": FILES["PNG"], "media_type": "application/octet-stream"}
    asked = unsure_schema["/classify"]["POST"].Case(query={"model": "faces"}, **body)
    assert asked.call_and_validate(checks=CHECKS).json()["abstained"] is True
    infer = unsure_schema[f"{VERSION}/infer"]["POST"].Case(
        path_parameters=known, body={"inputs": [tensor_of(FILES["PNG"])]}, media_type="application/json"
    )
    told = {tensor["name"]: tensor for tensor in infer.call_and_validate(checks=CHECKS).json()["outputs"]}
    assert (told["label"]["data"], told["abstained"]["data"]) == (["unknown"], [True])
    assert statuses(unsure_schema, VERSION, "GET", 1, path_parameters=known) == {200}


def test_a_request_of_the_protocol_is_answered_as_described(
    schema: BaseSchema, known: dict[str, str]
) -> None:
    body: Any = {"inputs": [tensor_of(FILES["PNG"])], "outputs": [{"name": "probabilities"}], "id": "x"}
    asked = schema[f"{VERSION}/infer"]["POST"].Case(
        path_parameters=known, body=body, media_type="application/json"
    )
    assert asked.call_and_validate(checks=CHECKS).status_code == 200


def drawn() -> dict[str, bytes]:
    """A small picture in each format."""
    pixels = np.zeros((24, 32, 3), np.uint8)
    pixels[..., 0] = np.add.outer(np.arange(24), np.arange(32)) * 4
    pixels[6:18, 8:24, 1] = 200
    pixels[::3, ::4, 2] = 255
    return encoded(pixels, FORMATS)


FILES = drawn()


@st.composite
def damaged(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """``whole`` with bytes changed, cut, or extended, or with the end of a file of another format."""
    data = bytearray(draw(whole))
    for kind in draw(
        st.lists(st.sampled_from(["change", "cut", "splice", "extend"]), min_size=1, max_size=3)
    ):
        position = draw(st.integers(0, len(data)) | st.integers(0, min(64, len(data))))
        match kind:
            case "change":
                data[position : position + 1] = draw(st.binary(max_size=4))
            case "cut":
                del data[position:]
            case "splice":
                other = draw(st.sampled_from(list(FILES.values())))
                data[position:] = other[draw(st.integers(0, len(other))) :]
            case _:
                data += draw(st.binary(max_size=300))
    return bytes(data)


def as_body(client: TestClient, image: bytes) -> Any:
    return client.post("/classify", content=image)


def as_form(client: TestClient, image: bytes) -> Any:
    return client.post("/classify", files={"image": ("x.jpg", image)})


def as_json(client: TestClient, image: bytes) -> Any:
    return client.post("/v2/models/faces/infer", json={"inputs": [tensor_of(image)]})


def tensor_of(image: bytes) -> dict[str, Any]:
    """An encoded image as the protocol has it in JSON."""
    data = [base64.b64encode(image).decode()]
    return {"name": "image", "datatype": "BYTES", "shape": [1], "data": data}


def binary_parts(image: bytes) -> tuple[bytes, bytes]:
    """The JSON, and the binary data after it, of a request of the protocol."""
    parameters = {"binary_data_size": len(image) + 4}
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "parameters": parameters}
    return json.dumps({"inputs": [tensor]}).encode(), struct.pack("<I", len(image)) + image


def as_binary(client: TestClient, image: bytes) -> Any:
    head, data = binary_parts(image)
    return posted(client, head + data, str(len(head)))


def posted(client: TestClient, body: bytes, length: str) -> Any:
    headers = {"Inference-Header-Content-Length": length}
    return client.post("/v2/models/faces/infer", content=body, headers=headers)


WAYS = [as_body, as_form, as_json, as_binary]


def check_answer(response: Any) -> None:
    """An answer about the faces, or an error of the client's in the JSON form that tells nothing internal."""
    value = response.json()
    if response.status_code != 200:
        assert response.status_code in (400, 413, 415)
        assert set(value) == {"error"}
        assert 0 < len(value["error"]) <= 1000
        assert not [word for word in INTERNAL if word in value["error"]]
    elif "outputs" in value:
        outputs = {output["name"]: output["data"] for output in value["outputs"]}
        assert sum(outputs["probabilities"]) == pytest.approx(1, abs=1e-3)
        assert outputs["label"][0] in ("face", "not-face")
    else:
        assert value["label"] in ("face", "not-face")
        assert 0.5 <= value["probability"] <= 1


@pytest.mark.parametrize("way", WAYS)
def test_whole_images_are_answered(service: Callable[..., TestClient], way: Any) -> None:
    client = service()
    found = {name: way(client, data).status_code for name, data in FILES.items()}
    assert found == dict.fromkeys(FORMATS, 200)


@pytest.mark.parametrize("way", WAYS)
def test_damaged_images_are_answered_or_refused(service: Callable[..., TestClient], way: Any) -> None:
    client, found = service(), []

    @settings(FAST, max_examples=50)
    @given(image=damaged(st.sampled_from(list(FILES.values()))))
    @example(image=b"")
    def ask(image: bytes) -> None:
        response = way(client, image)
        check_answer(response)
        found.append(response.status_code)

    ask()
    assert {200, 400} <= set(found)


def test_damaged_bodies_of_the_protocol_are_refused(service: Callable[..., TestClient]) -> None:
    client, (head, data) = service(), binary_parts(FILES["PNG"])
    bodies = damaged(st.just(head + data)) | damaged(st.just(head)).map(lambda changed: changed + data)
    lengths = st.integers(-5, 2 * len(head)).map(str) | st.sampled_from(["", "x", "9" * 40, "1e2"])

    @settings(FAST, max_examples=80)
    @given(body=bodies, length=st.just(str(len(head))) | lengths)
    def ask(body: bytes, length: str) -> None:
        check_answer(posted(client, body, length))

    ask()


def test_json_of_any_shape_is_refused(service: Callable[..., TestClient]) -> None:
    client = service()
    leaf = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
    leaf |= st.sampled_from(["image", "BYTES", "UINT8", "FP32"])
    value = st.recursive(leaf, lambda part: st.lists(part, max_size=4), max_leaves=8)
    tensor = st.fixed_dictionaries(
        {},
        optional={
            "name": st.just("image") | value,
            "datatype": st.sampled_from(["BYTES", "UINT8", "FP32"]) | value,
            "shape": st.lists(st.integers(-2, 2**64), max_size=5) | value,
            "data": value,
            "parameters": st.dictionaries(st.just("binary_data_size"), value, max_size=1) | value,
        },
    )
    request = st.fixed_dictionaries(
        {"inputs": st.lists(tensor, max_size=2) | value},
        optional={"outputs": value, "id": value, "parameters": value},
    )

    @settings(FAST, max_examples=100)
    @given(request=request | value)
    def ask(request: Any) -> None:
        response = client.post("/v2/models/faces/infer", content=json.dumps(request).encode())
        assert response.status_code == 400
        check_answer(response)

    ask()

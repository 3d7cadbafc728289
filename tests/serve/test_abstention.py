"""A service that does not answer where no class is probable enough."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from jsonschema_rs import Draft202012Validator
from starlette.testclient import TestClient
from tritonclient import http as triton

from classic_cv.abstention import AbstentionError
from classic_cv.answer import Answer
from classic_cv.model import load
from classic_cv.oip.client import OipClient
from classic_cv.serve.registry import Served
from classic_cv.serve.settings import ModelSource

Service = Callable[..., TestClient]

SURE, UNSURE = np.array([0.05, 0.95], np.float32), np.array([0.6, 0.4], np.float32)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[Answer]:
    """What the models answer, one after another."""
    left = [Answer(SURE, "primary"), Answer(UNSURE, "fallback", "late"), Answer(UNSURE, "primary")]
    monkeypatch.setattr(Served, "answer", lambda *_: left.pop(0))
    return left


def infer(client: TestClient, *images: bytes) -> dict[str, Any]:
    data = [base64.b64encode(image).decode() for image in images]
    image = {"name": "image", "datatype": "BYTES", "shape": [len(images)], "data": data}
    response = client.post("/v2/models/faces/infer", json={"inputs": [image]})
    assert response.status_code == 200
    return {tensor["name"]: tensor["data"] for tensor in response.json()["outputs"]}


def test_an_improbable_class_is_unknown_with_its_candidates(
    service: Service, answers: list[Answer], model_file: Path
) -> None:
    client = service(abstain=0.9)
    first, second = load(model_file).class_names
    sure = client.post("/classify", content=b"x").json()
    assert (sure["label"], sure["abstained"]) == (second, False)
    unsure = client.post("/classify", content=b"x").json()
    assert (unsure["label"], unsure["abstained"]) == ("unknown", True)
    assert unsure["probability"] == pytest.approx(0.6)
    assert [entry["label"] for entry in unsure["predictions"]] == [first, second]
    assert unsure["reason"] == "late"


def test_the_protocol_tells_it_by_image_and_keeps_the_probabilities(
    service: Service, answers: list[Answer], model_file: Path
) -> None:
    client = service(abstain=0.9)
    told = infer(client, b"x", b"x", b"x")
    assert told["label"] == [load(model_file).class_names[1], "unknown", "unknown"]
    assert told["abstained"] == [False, True, True]
    np.testing.assert_allclose(np.reshape(told["probabilities"], (3, 2)), [SURE, UNSURE, UNSURE], atol=1e-6)
    about = client.get("/v2/models/faces").json()
    assert about["outputs"][-1] == {"name": "abstained", "datatype": "BOOL", "shape": [-1]}
    assert about["parameters"]["abstain"] == 0.9


def test_it_is_counted_by_who_answered(service: Service, answers: list[Answer]) -> None:
    client = service(abstain=0.9)
    infer(client, b"x", b"x", b"x")
    figures = client.get("/metrics").text
    for who in ("fallback", "primary"):
        assert f'classic_cv_abstentions_total{{model="faces",served_by="{who}"}} 1.0' in figures


def test_nothing_is_said_of_it_where_it_is_not_asked_for(service: Service, answers: list[Answer]) -> None:
    client = service()
    assert "abstained" not in client.post("/classify", content=b"x").json()
    assert set(infer(client, b"x", b"x")) == {"label", "probabilities", "served_by"}
    about = client.get("/v2/models/faces").json()
    assert [output["name"] for output in about["outputs"]] == ["label", "probabilities", "served_by"]
    assert "abstain" not in about["parameters"]
    assert "classic_cv_abstentions_total{" not in client.get("/metrics").text


def test_answers_are_as_described(service: Service, answers: list[Answer]) -> None:
    client = service(abstain=0.9)
    described = client.get("/openapi.json").json()

    def check(response: Any, name: str) -> None:
        schema = {"$ref": f"#/components/schemas/{name}", "components": described["components"]}
        Draft202012Validator(schema).validate(response.json())

    check(client.post("/classify", content=b"x"), "Classified")
    image = {"name": "image", "datatype": "BYTES", "shape": [1], "data": ["eA=="]}
    body = {"inputs": [image], "outputs": [{"name": "abstained"}]}
    request = {"$ref": "#/components/schemas/InferRequest", "components": described["components"]}
    Draft202012Validator(request).validate(body)
    response = client.post("/v2/models/faces/infer", json=body)
    check(response, "InferResponse")
    assert response.json()["outputs"][0]["data"] == [True]
    check(client.get("/v2/models/faces"), "ModelMetadata")
    docs = client.get("/docs").text
    assert "started with --abstain" in docs


def test_the_official_client_reads_it(running: Callable[..., str], answers: list[Answer]) -> None:
    client = triton.InferenceServerClient(running(abstain=0.9).removeprefix("http://"))
    image = triton.InferInput("image", [2], "BYTES")
    image.set_data_from_numpy(np.array([b"x", b"x"], object))
    result = client.infer("faces", [image])
    assert result.as_numpy("abstained").tolist() == [False, True]
    assert result.as_numpy("label")[1] == b"unknown"
    client.close()


def test_who_asks_for_probabilities_gets_them_as_before(
    running: Callable[..., str], answers: list[Answer], model_file: Path
) -> None:
    client = OipClient(f"{running(abstain=0.9)}/v2/models/faces")
    told = [client.call_named(b"x", 30.0) for _ in range(2)]
    client.close()
    np.testing.assert_array_equal([row for row, _ in told], [SURE, UNSURE])
    assert [names for _, names in told] == [load(model_file).class_names] * 2


def test_outputs_are_told_by_name_where_there_are_any(service: Service, answers: list[Answer]) -> None:
    image = {"name": "image", "datatype": "BYTES", "shape": [1], "data": ["eA=="]}
    body = {"inputs": [image], "outputs": [{"name": "abstained"}]}
    refused = service().post("/v2/models/faces/infer", json=body)
    assert refused.status_code == 400
    assert refused.json()["error"] == "no output 'abstained'; the outputs are label, probabilities, served_by"
    body["outputs"] = [{"name": "label"}]
    told = service(abstain=0.9).post("/v2/models/faces/infer", json=body).json()["outputs"]
    assert told == [{"name": "label", "datatype": "BYTES", "shape": [1], "data": ["unknown"]}]


def test_models_that_cannot_abstain_are_not_served(
    service: Service, regression_file: Path, model_file: Path, tmp_path: Path
) -> None:
    sources = (
        ModelSource(name="faces", path=str(model_file)),
        ModelSource(name="gray", path=str(regression_file)),
    )
    with pytest.raises(AbstentionError, match=r"model 'gray': .*estimates a number"):
        service(models=sources, abstain=0.9)
    model = load(model_file)
    model.metadata = msgspec.structs.replace(model.metadata, class_names=("face", "unknown"))
    model.save(tmp_path / "m")
    with pytest.raises(AbstentionError, match=r"model 'm': .*has a class 'unknown'"):
        service(models=(ModelSource(name="m", path=str(tmp_path / "m")),), abstain=0.9)

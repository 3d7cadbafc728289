"""The Open Inference Protocol: as JSON, and with the official client."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from starlette.testclient import TestClient
from tritonclient import http as triton
from tritonclient.utils import InferenceServerException

from classic_cv.answer import Answer
from classic_cv.model import load
from classic_cv.serve.registry import Served
from classic_cv.serve.settings import ModelSource

Service = Callable[..., TestClient]

INFER = "/v2/models/faces/infer"


def asked(*images: bytes, **changes: Any) -> dict[str, Any]:
    """A request with images as base64."""
    data = [base64.b64encode(image).decode() for image in images]
    return {
        "inputs": [{"name": "image", "datatype": "BYTES", "shape": [len(images)], "data": data}],
        **changes,
    }


def output(response: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any]
    [found] = [tensor for tensor in response["outputs"] if tensor["name"] == name]
    return found


def test_the_server_tells_what_it_is(service: Service) -> None:
    client = service()
    told = client.get("/v2").json()
    assert told["name"] == "classic-cv"
    assert told["extensions"] == ["binary_tensor_data"]
    assert told["parameters"] == {"models": ["faces"]}
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    assert client.get("/v2/models/faces/ready").json() == {"ready": True}


def test_a_service_that_ends_is_not_ready(application: Callable[..., Any]) -> None:
    app = application()
    with TestClient(app, base_url="http://localhost") as client:
        assert client.get("/v2/health/ready").status_code == 200
    response = TestClient(app, base_url="http://localhost").get("/v2/health/ready")
    assert (response.status_code, response.json()) == (503, {"ready": False})


def test_a_model_tells_what_it_takes_and_gives(service: Service, model_file: Path) -> None:
    client = service()
    told = client.get("/v2/models/faces").json()
    [version] = told["versions"]
    assert told == client.get(f"/v2/models/faces/versions/{version}").json()
    assert told["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [-1]}]
    assert told["outputs"] == [
        {"name": "label", "datatype": "BYTES", "shape": [-1]},
        {"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]},
        {"name": "served_by", "datatype": "BYTES", "shape": [-1]},
    ]
    names = list(load(model_file).class_names)
    assert told["parameters"] == {"class_names": names, "task": "classification"}


@pytest.mark.parametrize("path", ["", "/ready", "/versions/00000000", "/versions/00000000/ready"])
def test_models_and_versions_that_there_are_not(service: Service, path: str) -> None:
    name = "faces" if "versions" in path else "other"
    response = service().get(f"/v2/models/{name}{path}")
    assert response.status_code == 404
    assert "faces" in response.json()["error"]


def test_images_as_json(service: Service, png: bytes, model_file: Path) -> None:
    model = load(model_file)
    response = service().post(INFER, json=asked(png, png, id="one"))
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    told = response.json()
    assert (told["model_name"], told["id"]) == ("faces", "one")
    assert "parameters" not in told
    assert output(told, "label")["data"] == [model.predict([png])[0]] * 2
    probabilities = np.reshape(output(told, "probabilities")["data"], (2, 2))
    np.testing.assert_allclose(probabilities, np.repeat(model.predict_proba([png]), 2, axis=0), atol=1e-6)
    assert output(told, "probabilities")["shape"] == [2, 2]
    assert output(told, "served_by")["data"] == ["model", "model"]


def test_a_version_of_a_model_can_be_asked(service: Service, png: bytes) -> None:
    client = service()
    [version] = client.get("/v2/models/faces").json()["versions"]
    told = client.post(f"/v2/models/faces/versions/{version}/infer", json=asked(png)).json()
    assert told["model_version"] == version
    response = client.post("/v2/models/faces/versions/0/infer", json=asked(png))
    assert response.status_code == 404


def test_outputs_can_be_chosen(service: Service, png: bytes) -> None:
    client = service()
    told = client.post(INFER, json=asked(png, outputs=[{"name": "served_by"}])).json()
    assert [tensor["name"] for tensor in told["outputs"]] == ["served_by"]
    response = client.post(INFER, json=asked(png, outputs=[{"name": "depth"}]))
    assert response.status_code == 400
    assert "label, probabilities, served_by" in response.json()["error"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "empty"),
        (b"{", "not valid"),
        (b"[]", "not valid"),
        (b'{"inputs": []}', "no inputs"),
        (b"\xff" * 100, "not valid"),
        (b"[" * 100_000, "not valid"),
    ],
)
def test_bodies_that_are_no_request(service: Service, body: bytes, reason: str) -> None:
    response = service().post(INFER, content=body)
    assert response.status_code == 400
    assert reason in response.json()["error"]


@pytest.mark.parametrize("length", ["-1", "x", "1.5", "9" * 30, "+1", "0", "100000"])
def test_lengths_of_the_json_that_cannot_be(service: Service, png: bytes, length: str) -> None:
    headers = {"Inference-Header-Content-Length": length}
    response = service().post(INFER, content=b'{"inputs": []}', headers=headers)
    assert response.status_code == 400
    assert "Inference-Header-Content-Length" in response.json()["error"]


def test_a_bad_image_is_named_by_its_place(service: Service, png: bytes) -> None:
    response = service().post(INFER, json=asked(png, b"nothing"))
    assert response.status_code == 400
    assert response.json()["error"].startswith("image 1: ")


def test_too_many_images(service: Service, png: bytes) -> None:
    response = service(max_images=1).post(INFER, json=asked(png, png))
    assert response.status_code == 400
    assert "at most 1" in response.json()["error"]


def test_reasons_of_fallbacks_are_told(
    service: Service, monkeypatch: pytest.MonkeyPatch, log_lines: list[dict[str, Any]]
) -> None:
    output_ = np.array([0.25, 0.75], np.float32)
    answers = iter(
        [
            Answer(output_, "fallback", "late"),
            Answer(output_, "primary"),
            Answer(output_, "fallback", "open"),
            Answer(output_, "fallback", "late"),
        ]
    )
    monkeypatch.setattr(Served, "answer", lambda *_: next(answers))
    client = service()
    told = client.post(INFER, json=asked(*[b"x"] * 4)).json()
    assert told["parameters"] == {"reason": "late,open"}
    assert output(told, "served_by")["data"] == ["fallback", "primary", "fallback", "fallback"]
    [line] = [line for line in log_lines if line["event"] == "request"]
    assert (line["images"], line["served_by"], line["reason"]) == (4, "fallback,primary", "late,open")
    figures = client.get("/metrics").text
    assert 'classic_cv_fallbacks_total{model="faces",reason="late"} 2.0' in figures
    assert 'classic_cv_images_total{model="faces",served_by="primary"} 1.0' in figures


def test_a_regression_tells_values(service: Service, regression_file: Path, png: bytes) -> None:
    client = service(models=(ModelSource(name="gray", path=str(regression_file)),))
    [value, _] = client.get("/v2/models/gray").json()["outputs"]
    assert value == {"name": "value", "datatype": "FP32", "shape": [-1]}
    told = client.post("/v2/models/gray/infer", json=asked(png, png)).json()
    expected = load(regression_file).predict([png])[0]
    assert output(told, "value")["data"] == pytest.approx([expected] * 2, rel=1e-5)
    assert output(told, "value")["shape"] == [2]


def test_a_primary_answers_and_else_the_model(service: Service, model_file: Path, png: bytes) -> None:
    path = str(model_file)
    client = service(
        models=(
            ModelSource(name="behind", path=path, primary=path),
            ModelSource(name="alone", path=path, primary="http://127.0.0.1:9/v2/models/faces"),
        ),
        deadline=20.0,
        sample=0.0,
    )
    told = client.post("/v2/models/behind/infer", json=asked(png)).json()
    assert output(told, "served_by")["data"] == ["primary"]
    told = client.post("/v2/models/alone/infer", json=asked(png)).json()
    assert output(told, "served_by")["data"] == ["fallback"]
    assert told["parameters"] == {"reason": "failed"}
    told = client.post("/classify?model=alone", content=png).json()
    assert (told["served_by"], told["reason"]) == ("fallback", "failed")
    assert told["label"] == load(model_file).predict([png])[0]
    # Whoever would answer, a bad image is the client's.
    for name in ("behind", "alone"):
        response = client.post(f"/classify?model={name}", content=b"nothing")
        assert response.status_code == 400
        assert response.json()["error"].startswith("image 0: ")


@pytest.mark.parametrize("binary", [False, True])
def test_the_official_client_sends_encoded_images(
    running: Callable[..., str], png: bytes, model_file: Path, binary: bool
) -> None:
    model = load(model_file)
    client = triton.InferenceServerClient(running().removeprefix("http://"))
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("faces")
    assert client.get_server_metadata()["name"] == "classic-cv"
    assert client.get_model_metadata("faces")["platform"] == "classic-cv"
    image = triton.InferInput("image", [2], "BYTES")
    data = png if binary else base64.b64encode(png)
    image.set_data_from_numpy(np.array([data, data], object), binary_data=binary)
    wanted = [
        triton.InferRequestedOutput(name, binary_data=binary)
        for name in ("label", "probabilities", "served_by")
    ]
    result = client.infer("faces", [image], outputs=wanted, request_id="7")
    probabilities = np.repeat(model.predict_proba([png]), 2, axis=0)
    np.testing.assert_allclose(result.as_numpy("probabilities"), probabilities, atol=1e-6)
    labels = [label.decode() if binary else label for label in result.as_numpy("label")]
    assert labels == [model.predict([png])[0]] * 2
    assert result.get_response()["id"] == "7"
    client.close()


def test_the_official_client_sends_pixels(
    running: Callable[..., str], pixels: NDArray[np.uint8], model_file: Path
) -> None:
    client = triton.InferenceServerClient(running().removeprefix("http://"))
    image = triton.InferInput("image", [1, *pixels.shape], "UINT8")
    image.set_data_from_numpy(pixels[None])
    result = client.infer("faces", [image])
    np.testing.assert_allclose(
        result.as_numpy("probabilities"), load(model_file).predict_proba([pixels]), atol=1e-6
    )
    with pytest.raises(InferenceServerException, match="no model 'other': there are faces"):
        client.infer("other", [image])
    client.close()

"""Answers for one image: as JSON, and as an explanation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
from starlette.testclient import TestClient

from classic_cv.answer import Answer
from classic_cv.errors import ImageError
from classic_cv.model import load
from classic_cv.serve.registry import Served
from classic_cv.serve.settings import ModelSource

Service = Callable[..., TestClient]


def form(*parts: bytes, boundary: str = "xyz", end: str = "--\r\n") -> dict[str, Any]:
    """The body and the header of a form of parts as they are."""
    body = b"".join(b"--xyz\r\n" + part + b"\r\n" for part in parts) + b"--xyz" + end.encode()
    return {"content": body, "headers": {"content-type": f"multipart/form-data; boundary={boundary}"}}


def field(content: bytes, head: bytes = b'Content-Disposition: form-data; name="a"; filename="b"') -> bytes:
    return head + b"\r\n\r\n" + content


def test_an_image_is_classified_as_the_model_does(service: Service, png: bytes, model_file: Path) -> None:
    model = load(model_file)
    [expected] = model.predict_proba([png])
    response = service().post("/classify", content=png, headers={"X-Request-Id": "mine-1"})
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    told = response.json()
    assert told["label"] == model.predict([png])[0]
    assert told["probability"] == pytest.approx(expected.max(), abs=1e-6)
    assert [entry["probability"] for entry in told["predictions"]] == pytest.approx(
        sorted(expected)[::-1], abs=1e-6
    )
    assert [entry["label"] for entry in told["predictions"]] == [
        model.class_names[k] for k in np.argsort(-expected)
    ]
    assert (told["model"], told["served_by"], told["reason"]) == ("faces", "model", None)
    assert told["request_id"] == "mine-1" == response.headers["X-Request-Id"]
    assert 0 < told["ms"] < 10_000
    assert len(told["version"]) == 8


def test_only_so_many_predictions_come(service: Service, png: bytes) -> None:
    told = service().post("/classify?top=1&model=faces", content=png).json()
    assert [entry["label"] for entry in told["predictions"]] == [told["label"]]


@pytest.mark.parametrize("query", ["top=0", "top=1001", "top=x", "top=1&top=2", "tip=1", "top=", "a=1&" * 20])
def test_parameters_that_are_not_allowed(service: Service, png: bytes, query: str) -> None:
    response = service().post(f"/classify?{query}", content=png)
    assert response.status_code == 400
    assert "parameter" in response.json()["error"]


def test_an_unknown_model_is_told_with_those_there_are(service: Service, png: bytes) -> None:
    response = service().post("/classify?model=%C3%A4pfel", content=png)
    assert response.status_code == 404
    assert response.json() == {"error": "no model 'äpfel': there are faces"}


def test_a_form_with_one_file_is_an_image(service: Service, png: bytes) -> None:
    client = service()
    plain = client.post("/classify", content=png).json()
    sent = client.post("/classify", files={"whatever": ("some name.png", png, "image/png")})
    assert sent.status_code == 200
    assert sent.json()["predictions"] == plain["predictions"]


def test_a_form_may_have_a_quoted_boundary(service: Service, png: bytes) -> None:
    assert service().post("/classify", **form(field(png), boundary='"xyz"')).status_code == 200


@pytest.mark.parametrize(
    ("sent", "status", "reason"),
    [
        (form(field(b"1"), field(b"2")), 400, "several parts"),
        (form(*[field(b"1")] * 20_000), 400, "several parts"),
        (form(), 400, "damaged"),
        (form(field(b"1"), end=""), 400, "damaged"),
        (form(field(b"1"), boundary="other"), 400, "damaged"),
        (form(field(b"1"), boundary="x" * 71), 400, "1 to 70 bytes"),
        (form(field(b"1"), boundary=""), 400, "1 to 70 bytes"),
        (form(b"no headers"), 400, "do not end"),
        (form(field(b"1", b"Content-Disposition: form-data; name=" + b"n" * 9000)), 400, "within 8192 bytes"),
        (form(field(b"1", b"X: y\r\n" * 2000 + b"Z: a")), 400, "within 8192 bytes"),
        (form(field(b"1", b"Content-Type: image/png")), 400, "no Content-Disposition"),
        (form(field(b"1", b"Content-Disposition: attachment")), 400, "no Content-Disposition"),
        (
            form(field(b"1", b"Content-Disposition: form-data\r\nContent-Transfer-Encoding: BASE64")),
            415,
            "Content-Transfer-Encoding",
        ),
        (form(field(b"not an image")), 400, "image 0: "),
        (form(field(b"")), 400, "image 0: "),
    ],
)
def test_forms_that_are_refused(service: Service, sent: dict[str, Any], status: int, reason: str) -> None:
    response = service().post("/classify", **sent)
    assert response.status_code == status
    assert reason in response.json()["error"]


@pytest.mark.parametrize("kind", ["multipart/mixed; boundary=xyz", "Multipart/Related"])
def test_bodies_that_are_no_image_by_their_type(service: Service, png: bytes, kind: str) -> None:
    response = service().post("/classify", content=png, headers={"content-type": kind})
    assert response.status_code == 415
    assert "curl -F" in response.json()["error"]


@pytest.mark.parametrize(
    "kind", ["image/png", "application/octet-stream", "application/x-www-form-urlencoded", "nonsense", None]
)
def test_any_other_type_is_taken(service: Service, png: bytes, kind: str | None) -> None:
    headers = {} if kind is None else {"content-type": kind}
    assert service().post("/classify", content=png, headers=headers).status_code == 200


@pytest.mark.parametrize("part", [b"", b"GIF89a", b"\xff\xd8\xff", b"/etc/passwd", b"<svg/>"])
def test_bytes_that_are_no_image(service: Service, part: bytes) -> None:
    response = service().post("/classify", content=part)
    assert response.status_code == 400
    assert response.json()["error"].startswith("image 0: ")


def test_an_image_over_the_limit_of_pixels(service: Service, png: bytes) -> None:
    client = service(max_pixels=9_999)
    for endpoint in ("/classify", "/explain"):
        response = client.post(endpoint, content=png)
        assert response.status_code == 400
        assert "10000 pixels, more than max_pixels=9999" in response.json()["error"]


def test_messages_hold_no_file_names_nor_places_in_memory(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise ImageError("/home/somebody/secret.png", "cannot identify <_io.BytesIO object at 0x7f00aa>")

    monkeypatch.setattr(Served, "answer", fail)
    assert service().post("/classify", content=b"x").json() == {"error": "image 0: cannot identify an object"}


def test_a_fallback_says_why(
    service: Service, monkeypatch: pytest.MonkeyPatch, png: bytes, log_lines: list[dict[str, Any]]
) -> None:
    output = np.array([-1e-4, 1 + 1e-4], np.float32)

    def answer(*_: Any) -> Answer:
        return Answer(output, "fallback", "late", "some internals", 0.05, {"decode": 0.01})

    monkeypatch.setattr(Served, "answer", answer)
    told = service().post("/classify", content=png).json()
    assert (told["served_by"], told["reason"], told["ms"]) == ("fallback", "late", 50.0)
    # What rounding adds to a primary's probabilities does not get out.
    assert [entry["probability"] for entry in told["predictions"]] == [1.0, 0.0]
    # What exactly went wrong is for the log alone.
    assert "internals" not in str(told)
    [line] = [line for line in log_lines if line["event"] == "fallback"]
    assert (line["model"], line["reason"], line["detail"]) == ("faces", "late", "some internals")
    assert line["request_id"] == told["request_id"]


def test_a_regression_tells_a_number(service: Service, regression_file: Path) -> None:
    client = service(models=(ModelSource(name="gray", path=str(regression_file)),))
    image = cv2.imencode(".png", np.full((40, 40, 3), 120, np.uint8))[1].tobytes()
    told = client.post("/classify", content=image).json()
    assert told["value"] == pytest.approx(float(load(regression_file).predict([image])[0]), rel=1e-5)
    assert set(told) == {"model", "version", "value", "served_by", "reason", "ms", "request_id"}


def test_an_explanation_is_the_drawing_of_the_model(service: Service, png: bytes, model_file: Path) -> None:
    model = load(model_file)
    client = service()
    for name in model.class_names:
        response = client.post("/explain", params={"class": name, "model": "faces"}, content=png)
        assert response.status_code == 200
        assert response.headers["content-type"] == "image/png"
        drawn = cv2.imdecode(np.frombuffer(response.content, np.uint8), cv2.IMREAD_COLOR_RGB)
        np.testing.assert_array_equal(drawn, model.explain(png, name).draw(png))


def test_an_explanation_of_a_class_that_there_is_not(service: Service, png: bytes) -> None:
    response = service().post("/explain?class=Z%C3%BCrich", content=png)
    assert response.status_code == 422
    assert "this model has no class 'Zürich'" in response.json()["error"]


def test_an_explanation_of_something_that_is_no_image(service: Service) -> None:
    response = service().post("/explain", files={"image": b"nothing"})
    assert response.status_code == 400
    assert response.json()["error"].startswith("image 0: ")


def test_a_number_is_explained_without_a_class(service: Service, regression_file: Path, png: bytes) -> None:
    client = service(models=(ModelSource(name="gray", path=str(regression_file)),))
    assert client.post("/explain", content=png).status_code == 200
    assert client.post("/explain?class=a", content=png).status_code == 422


def test_names_may_be_of_any_letters(service: Service, model_file: Path, png: bytes) -> None:
    path = str(model_file)
    client = service(models=tuple(ModelSource(name=name, path=path) for name in ("grün", "数字", "a b")))
    for name in ("grün", "数字", "a b"):
        assert client.post("/classify", params={"model": name}, content=png).json()["model"] == name
        assert client.get(f"/v2/models/{name}").json()["name"] == name
    assert client.get("/v2").json()["parameters"] == {"models": ["grün", "数字", "a b"]}


def test_class_names_may_be_of_any_letters(
    service: Service, png: bytes, model_file: Path, tmp_path: Path
) -> None:
    names, model = ("Äpfel \N{PILE OF POO}", "梨"), load(model_file)
    model.metadata = msgspec.structs.replace(model.metadata, class_names=names)
    model.save(tmp_path / "fruit")
    client = service(models=(ModelSource(name="fruit", path=str(tmp_path / "fruit")),))
    told = client.post("/classify", content=png).json()
    assert {entry["label"] for entry in told["predictions"]} == set(names)
    assert client.post("/explain?class=梨", content=png).status_code == 200

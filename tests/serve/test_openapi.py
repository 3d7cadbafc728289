"""The description of the service, for programs and for people."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from classic_cv.serve.openapi import document

Service = Callable[..., TestClient]

BODIES = {"/classify", "/explain", "/v2/models/{name}/infer", "/v2/models/{name}/versions/{version}/infer"}


def references(value: Any) -> Iterator[str]:
    """All references in a document."""
    if isinstance(value, dict):
        yield from [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        for part in value.values():
            yield from references(part)
    elif isinstance(value, list):
        for part in value:
            yield from references(part)


def operations(description: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def test_it_describes_every_route_and_no_other(service: Service) -> None:
    client = service()
    inner: Any = client.app
    routes = {(route.path, method) for route in inner.routes for method in route.methods if method != "HEAD"}
    described = client.get("/openapi.json").json()
    assert {(path, method.upper()) for path, method, _ in operations(described)} == routes


def test_references_lead_somewhere_and_all_schemas_are_used() -> None:
    description = document(True, 64)
    schemas = {f"#/components/schemas/{name}" for name in description["components"]["schemas"]}
    assert set(references(description)) == schemas


def test_ids_of_operations_differ() -> None:
    names = [operation["operationId"] for _, _, operation in operations(document(False, 64))]
    assert len(set(names)) == len(names)


def test_every_operation_tells_what_it_may_answer() -> None:
    for path, _, operation in operations(document(True, 64)):
        statuses = set(operation["responses"])
        assert {"200", "400", "421", "431", "500"} <= statuses
        assert (
            ("401" in statuses)
            == ("security" in operation)
            == (path not in ("/", "/v2/health/live", "/v2/health/ready"))
        )
        assert ({"408", "413", "415", "503"} <= statuses) == (path in BODIES)
        assert all("X-Request-Id" in response["headers"] for response in operation["responses"].values())


def test_a_token_is_described_only_where_one_is_needed(service: Service, token_file: Path) -> None:
    assert "security" not in str(service().get("/openapi.json").json())
    headers = {"Authorization": f"Bearer {token_file.read_text().strip()}"}
    described = service(token_file=str(token_file)).get("/openapi.json", headers=headers).json()
    assert described["components"]["securitySchemes"] == {"bearer": {"type": "http", "scheme": "bearer"}}


def test_answers_are_as_described(service: Service, png: bytes) -> None:
    from jsonschema_rs import Draft202012Validator

    client = service()
    described = client.get("/openapi.json").json()

    def check(response: Any, path: str, method: str) -> None:
        content = described["paths"][path][method]["responses"][str(response.status_code)]["content"]
        schema = content[response.headers["content-type"]]["schema"]
        Draft202012Validator({**schema, "components": described["components"]}).validate(response.json())

    image = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [base64.b64encode(png).decode()]}
    for path in ("/v2", "/v2/health/live", "/v2/health/ready"):
        check(client.get(path), path, "get")
    check(client.get("/v2/models/faces"), "/v2/models/{name}", "get")
    check(client.get("/v2/models/other"), "/v2/models/{name}", "get")
    check(client.post("/classify", content=png), "/classify", "post")
    check(client.post("/classify", content=b"x"), "/classify", "post")
    check(client.post("/v2/models/faces/infer", json={"inputs": [image]}), "/v2/models/{name}/infer", "post")
    request = described["components"]["schemas"]["InferRequest"]
    validator = Draft202012Validator({**request, "components": described["components"]})
    validator.validate({"inputs": [image]})
    assert not validator.is_valid({"inputs": [{**image, "name": "other"}]})


def test_the_page_shows_every_operation_and_loads_nothing(service: Service) -> None:
    client = service()
    response = client.get("/docs")
    html = response.text
    for path, method, operation in operations(client.get("/openapi.json").json()):
        assert f'<section id="{operation["operationId"]}">' in html
        assert f"{method.upper()} {path}</code></a>" in html
    assert not re.search(r'<(script|img|link|iframe)|src=|href="(?!#|openapi\.json)', html)
    for target in re.findall(r'href="#([^"]*)"', html):
        assert f'id="{target}"' in html


def test_the_style_of_the_page_is_the_one_its_policy_allows(service: Service) -> None:
    response = service().get("/docs")
    [style] = re.findall(r"<style>(.*?)</style>", response.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in response.headers["content-security-policy"]


@pytest.mark.parametrize("n", [1, 64])
def test_the_limit_of_images_is_described(n: int) -> None:
    schema = document(False, n)["components"]["schemas"]["EncodedImages"]
    assert schema["properties"]["data"]["maxItems"] == n

"""Who may ask: hosts, tokens, ids of requests, headers of answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from classic_cv.serve.guard import allowed_hosts, name_of_host
from classic_cv.serve.tokens import TokenError, read_token

Service = Callable[..., TestClient]

TOKEN = "0123456789abcdef-token"

PATHS = ["/", "/v2", "/v2/health/live", "/metrics", "/docs", "/openapi.json", "/nowhere", "/classify"]


# --- token --------------------------------------------------------------------------------------------------


def test_a_token_is_read_without_what_is_around_it(token_file: Path) -> None:
    assert read_token(token_file) == TOKEN


@pytest.mark.parametrize(
    "content",
    [
        *(
            b"",
            b"  \n",
            b"short",
            b"fifteen-charact",
            b"two words of length",
            b"line one here\nline two here",
        ),
        *(b"\x00" * 20, "sixteen-zeichen-ä".encode(), b"\xff" * 20, b"x" * 5000),
    ],
)
def test_files_without_a_token(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(TokenError, match="holds no token; it must be one line of 16 to 4096") as caught:
        read_token(path)
    assert "two words" not in str(caught.value)


def test_a_token_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(TokenError, match=r"cannot be read \("):
            read_token(path)


def test_a_service_with_a_bad_token_file_is_not_made(application: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(TokenError, match="missing"):
        application(token_file=str(tmp_path / "missing"))


@pytest.mark.parametrize(
    "path", ["/v2", "/metrics", "/docs", "/openapi.json", "/nowhere", "/v2/models/faces"]
)
def test_without_the_token_nothing_is_told(service: Service, token_file: Path, path: str) -> None:
    client = service(token_file=str(token_file))
    response = client.get(path)
    assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
    assert response.json() == {"error": "a token is needed: Authorization: Bearer TOKEN"}


def test_without_the_token_nothing_is_computed(service: Service, token_file: Path, png: bytes) -> None:
    client = service(token_file=str(token_file))
    for path in ("/classify", "/explain", "/v2/models/faces/infer"):
        assert client.post(path, content=png).status_code == 401


@pytest.mark.parametrize("path", ["/", "/v2/health/live", "/v2/health/ready"])
def test_the_page_and_the_health_need_no_token(service: Service, token_file: Path, path: str) -> None:
    assert service(token_file=str(token_file)).get(path).status_code == 200


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (f"Bearer {TOKEN}", 200),
        (f"bearer  {TOKEN}", 200),
        (f"Bearer {TOKEN}x", 401),
        (f"Bearer {TOKEN[:-1]}", 401),
        (f"Basic {TOKEN}", 401),
        (TOKEN, 401),
        ("Bearer", 401),
        ("Bearer ", 401),
        ("Bearer \xe4\xff", 401),
    ],
)
def test_tokens_that_are_shown(service: Service, token_file: Path, value: str, status: int) -> None:
    client = service(token_file=str(token_file))
    headers = [(b"authorization", value.encode("latin-1"))]
    assert client.get("/v2", headers=headers).status_code == status


def test_a_token_is_in_no_log(service: Service, token_file: Path, log_lines: list[dict[str, Any]]) -> None:
    client = service(token_file=str(token_file))
    client.get("/v2", headers={"Authorization": f"Bearer {TOKEN}"})
    client.get(f"/v2?token={TOKEN}")
    assert TOKEN not in str(log_lines)


# --- host ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8000", 200),
        ("127.0.0.1", 200),
        ("localhost:99", 200),
        ("LOCALHOST.", 200),
        ("[::1]:8000", 200),
        ("[::1]", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("evil.example:8000", 421),
        ("localhost.evil.example", 421),
        ("localhost@evil.example", 421),
        ("", 421),
        ("[", 421),
    ],
)
def test_on_the_loopback_only_its_names_are_answered_for(service: Service, host: str, status: int) -> None:
    response = service().get("/v2/health/live", headers={"Host": host})
    assert response.status_code == status
    if status == 421:
        assert "--allow-host" in response.json()["error"]
        assert "evil" not in response.text


def test_the_host_is_looked_at_before_the_token(service: Service, token_file: Path) -> None:
    response = service(token_file=str(token_file)).get("/v2", headers={"Host": "evil.example"})
    assert response.status_code == 421


def test_where_others_can_connect_any_name_is_answered_for(service: Service) -> None:
    client = service(host="0.0.0.0")
    assert client.get("/v2", headers={"Host": "some.name"}).status_code == 200


def test_allowed_hosts_replace_those_of_the_loopback(service: Service) -> None:
    client = service(allowed_hosts=("models.example:8443",))
    assert client.get("/v2", headers={"Host": "Models.example"}).status_code == 200
    assert client.get("/v2", headers={"Host": "localhost"}).status_code == 421


def test_hosts_by_where_the_service_listens(settings: Callable[..., Any]) -> None:
    loopback = frozenset(["localhost", "127.0.0.1", "[::1]"])
    assert allowed_hosts(settings(host="127.0.0.1")) == loopback
    assert allowed_hosts(settings(host="127.0.0.2")) == loopback | {"127.0.0.2"}
    assert allowed_hosts(settings(host="::1")) == loopback
    assert allowed_hosts(settings(host="localhost")) == loopback
    assert allowed_hosts(settings(host="0.0.0.0")) is None
    assert allowed_hosts(settings(host="::")) is None
    assert allowed_hosts(settings(host="models.example")) is None


@pytest.mark.parametrize(
    ("host", "name"),
    [("A.b:1", "a.b"), ("[::1]:80", "[::1]"), ("::1", "[::1]"), ("a.b.", "a.b"), (" a ", "a"), ("[x", "")],
)
def test_the_name_in_a_host(host: str, name: str) -> None:
    assert name_of_host(host) == name


# --- headers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_has_the_headers_that_protect(service: Service, path: str) -> None:
    headers = service().get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["permissions-policy"] == ("camera=(self)" if path == "/" else "camera=()")
    assert len(headers.get_list("content-security-policy")) == 1
    for rule in ("default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"):
        assert rule in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize("own", ["a", "A-b_c.9", "x" * 64])
def test_the_id_of_a_client_comes_back(service: Service, own: str) -> None:
    assert service().get("/v2", headers={"X-Request-Id": own}).headers["x-request-id"] == own


@pytest.mark.parametrize("own", ["", "x" * 65, "a b", "a;b", "ä", '"', "a\t", "{}"])
def test_other_ids_are_replaced(service: Service, own: str, log_lines: list[dict[str, Any]]) -> None:
    client = service()
    headers = [(b"x-request-id", own.encode("utf-8"))]
    first, second = (client.get("/v2", headers=headers).headers["x-request-id"] for _ in range(2))
    assert len(first) == len(second) == 16
    assert first != second
    assert [line["request_id"] for line in log_lines if line["event"] == "request"] == [first, second]

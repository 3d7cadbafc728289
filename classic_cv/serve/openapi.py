"""The description of the service in OpenAPI 3.1: each endpoint with all that it may answer."""

from __future__ import annotations

import functools
from typing import Any

import msgspec

from classic_cv.oip.messages import HEADER_LENGTH
from classic_cv.serve.app import MODEL, VERSION
from classic_cv.serve.guard import OPEN
from classic_cv.serve.inference import BINARY, package_version
from classic_cv.serve.problems import JSON
from classic_cv.serve.schemas import Json, ref, schemas
from classic_cv.serve.settings import ServeSettings

PROBLEMS = {
    400: "The request is not valid: its form, a parameter, or an image in it.",
    401: "The bearer token is missing or wrong.",
    404: "There is no such model, or it has another version now.",
    408: "The body did not come in time.",
    413: "The body is too long.",
    415: "The body is of a type that is not taken, or encoded.",
    421: "The service does not answer for the host of the request.",
    422: "The model cannot be explained, or has no such class.",
    431: "The head of the request is too long.",
    500: "Something is wrong with the service; its log says more under the request id.",
    503: "Too many requests at a time, or the service is ending: try again.",
}

ALWAYS = (400, 421, 431, 500)
"""Problems that any request may have."""

BODY = (*ALWAYS, 404, 408, 413, 415, 503)
"""Problems that a request with a body may have."""

_REQUEST_ID = {
    "description": "The client's own, of 1 to 64 characters A-Z a-z 0-9 . _ -, or a new one.",
    "required": True,
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
}
_RETRY_AFTER = {"description": "Seconds.", "schema": {"type": "integer", "minimum": 0}}
_CHALLENGE = {"description": "Bearer", "schema": {"const": "Bearer"}}
_IMAGE: Json = {"type": "string", "format": "binary"}


def encoded_document(settings: ServeSettings) -> bytes:
    """The description as JSON."""
    return _encoded(settings.token_file is not None, settings.max_images)


@functools.cache
def _encoded(token: bool, max_images: int) -> bytes:
    return msgspec.json.encode(document(token, max_images))


def document(token: bool, max_images: int) -> Json:
    """The description.

    Args:
        token: whether one is needed.
        max_images: of a request.
    """
    paths = _paths()
    for path, methods in paths.items():
        for operation in methods.values():
            _complete(operation, token and path not in OPEN)
    components: Json = {"schemas": schemas(max_images)}
    if token:
        components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "classic-cv",
            "version": package_version(),
            "summary": "Image classifiers behind HTTP.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": components,
    }


def _paths() -> Json:
    return {
        "/classify": {"post": _classify()},
        "/explain": {"post": _explain()},
        "/v2": {"get": _get("server", "What the service is, and its models", ref("ServerMetadata"))},
        "/v2/health/live": {"get": _get("live", "Whether the service runs", ref("Live"))},
        "/v2/health/ready": {"get": _ready("ready", "Whether the service can answer for all models")},
        **_model_paths(MODEL, "", [_path_parameter("name", "A model's name.")]),
        **_model_paths(
            VERSION,
            "_version",
            [_path_parameter("name", "A model's name."), _path_parameter("version", "A model's version.")],
        ),
        "/metrics": {"get": _text("metrics", "Figures in Prometheus' text format", "text/plain")},
        "/openapi.json": {"get": _get("openapi", "This description", {"type": "object"})},
        "/docs": {"get": _text("docs", "This description as a page", "text/html")},
        "/": {"get": _text("start", "A page to try the models", "text/html")},
    }


def _model_paths(path: str, suffix: str, parameters: list[Json]) -> Json:
    """The endpoints of a model, or of one version of it."""
    which = "a version of a model" if suffix else "a model"
    metadata = _get(f"model{suffix}", f"What {which} takes and gives", ref("ModelMetadata"), 404)
    ready = _ready(f"model{suffix}_ready", f"Whether {which} can answer", 404)
    return {
        path: {"get": {**metadata, "parameters": parameters}},
        f"{path}/ready": {"get": {**ready, "parameters": parameters}},
        f"{path}/infer": {"post": _infer(f"infer{suffix}", f"Ask {which} for answers to images", parameters)},
    }


def _get(name: str, summary: str, schema: Json, *problems: int) -> Json:
    answer = {"description": "The answer.", "content": {JSON: {"schema": schema}}}
    return _operation(name, summary, answer, (*ALWAYS, *problems))


def _ready(name: str, summary: str, *problems: int) -> Json:
    operation = _get(name, summary, ref("Ready"), *problems)
    operation["responses"]["503"] = {
        "description": "Not now.",
        "content": {JSON: {"schema": ref("Ready")}},
    }
    return operation


def _text(name: str, summary: str, media_type: str) -> Json:
    answer = {"description": "The answer.", "content": {media_type: {"schema": {"type": "string"}}}}
    return _operation(name, summary, answer, ALWAYS)


def _infer(name: str, summary: str, parameters: list[Json]) -> Json:
    length = {
        "name": HEADER_LENGTH,
        "in": "header",
        "description": "Bytes of the JSON before binary tensors, where there are any.",
        "schema": {"type": "integer", "minimum": 1},
    }
    body = {
        "required": True,
        "content": {JSON: {"schema": ref("InferRequest")}, BINARY: {"schema": _IMAGE}},
    }
    answer = {
        "description": f"One answer per image. Binary outputs follow the JSON, whose length {HEADER_LENGTH} tells.",
        "headers": {HEADER_LENGTH: {"schema": {"type": "integer", "minimum": 1}}},
        "content": {JSON: {"schema": ref("InferResponse")}, BINARY: {"schema": _IMAGE}},
    }
    operation = _operation(name, summary, answer, BODY)
    return {**operation, "parameters": [*parameters, length], "requestBody": body}


def _classify() -> Json:
    answer = {
        "description": "The most probable classes, and `unknown` as the label where the service is started with "
        "--abstain and none is so probable; or of a regression the number.",
        "content": {JSON: {"schema": {"anyOf": [ref("Classified"), ref("Estimated")]}}},
    }
    top = {
        "name": "top",
        "in": "query",
        "description": "Predictions at most.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 5},
    }
    operation = _operation("classify", "What an image shows", answer, BODY)
    return {**operation, "parameters": [top, _model_parameter()], "requestBody": _image_body()}


def _explain() -> Json:
    answer = {
        "description": "The image: what raises the score in red, what lowers it in blue.",
        "content": {"image/png": {"schema": _IMAGE}},
    }
    named = {
        "name": "class",
        "in": "query",
        "description": "Whose score; the predicted class by default.",
        "schema": {"type": "string"},
    }
    operation = _operation("explain", "Which parts of an image speak for a class", answer, (*BODY, 422))
    return {**operation, "parameters": [named, _model_parameter()], "requestBody": _image_body()}


def _image_body() -> Json:
    form = {
        "type": "object",
        "properties": {"image": _IMAGE},
        "required": ["image"],
        "additionalProperties": False,
    }
    return {
        "required": True,
        "description": "The encoded image (JPEG, PNG, WebP, TIFF, BMP, GIF or AVIF) under any content type but "
        "multipart's, or a form with one part.",
        "content": {BINARY: {"schema": _IMAGE}, "multipart/form-data": {"schema": form}},
    }


def _path_parameter(name: str, description: str) -> Json:
    schema = {"type": "string", "minLength": 1}
    return {"name": name, "in": "path", "required": True, "description": description, "schema": schema}


def _model_parameter() -> Json:
    description = "A model's name; the first model by default."
    return {"name": "model", "in": "query", "description": description, "schema": {"type": "string"}}


def _operation(name: str, summary: str, answer: Json, problems: tuple[int, ...]) -> Json:
    responses = {"200": answer, **{str(status): _problem(status) for status in sorted(problems)}}
    return {"operationId": name, "summary": summary, "responses": responses}


def _problem(status: int) -> Json:
    headers = {"Retry-After": _RETRY_AFTER} if status == 503 else {}
    headers |= {"WWW-Authenticate": _CHALLENGE} if status == 401 else {}
    return {
        "description": PROBLEMS[status],
        "headers": headers,
        "content": {JSON: {"schema": ref("ErrorBody")}},
    }


def _complete(operation: Json, token: bool) -> None:
    """Add what all operations have: the token where one is needed, and the request id."""
    responses: dict[str, Any] = operation["responses"]
    if token:
        operation["security"] = [{"bearer": []}]
        responses["401"] = _problem(401)
    for response in responses.values():
        response["headers"] = {**response.get("headers", {}), "X-Request-Id": _REQUEST_ID}

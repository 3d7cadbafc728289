"""The description of the service as a page for people: complete in itself, without scripts."""

from __future__ import annotations

import functools

from classic_cv.serve.assets import read_asset, source_of
from classic_cv.serve.openapi import document
from classic_cv.serve.schemas import Json
from classic_cv.serve.settings import ServeSettings

EXAMPLES = {
    "classify": "curl --data-binary @photo.jpg '{url}/classify?top=3'",
    "explain": "curl -F image=@photo.jpg '{url}/explain' --output explanation.png",
    "infer": """curl '{url}/v2/models/NAME/infer' --data '{{"inputs": [{{"name": "image", "datatype": "BYTES",
  "shape": [1], "data": ["BASE64"]}}]}}' -H 'Content-Type: application/json'""",
}
"""A call of each operation that people try first, by its id."""


def docs_page(settings: ServeSettings) -> tuple[bytes, dict[str, str]]:
    """The page, and the headers that it has to be sent with."""
    return _rendered(settings.token_file is not None, settings.max_images)


@functools.cache
def _rendered(token: bool, max_images: int) -> tuple[bytes, dict[str, str]]:
    # Here, as it takes longer to import than all else of a start together, and most services are never asked for this.
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(read_asset),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    description, style = document(token, max_images), read_asset("docs.css")
    html = environment.get_template("docs.html.j2").render(
        info=description["info"],
        operations=_operations(description),
        schemas=description["components"]["schemas"],
        style=style,
        token=token,
    )
    return html.encode(), _headers(style)


def _operations(description: Json) -> list[Json]:
    """What the page shows of each, in their order."""
    return [
        {
            **operation,
            "id": operation["operationId"],
            "method": method.upper(),
            "path": path,
            "example": EXAMPLES.get(operation["operationId"], "").format(url="http://127.0.0.1:8000"),
        }
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
    ]


def _headers(style: str) -> dict[str, str]:
    policy = (
        f"default-src 'none'; style-src {source_of(style)}; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    return {"content-type": "text/html; charset=utf-8", "content-security-policy": policy}

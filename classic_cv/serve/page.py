"""The page at ``/``: one answer that holds its own style and script, and needs nothing else."""

from __future__ import annotations

import functools

from classic_cv.serve.assets import read_asset, source_of


def page() -> tuple[bytes, dict[str, str]]:
    """The page and the headers that it has to be sent with.

    Its policy lets it use just the style and the script in it, by their SHA-256, and talk to just the server that it is
    from. Nothing in it may turn text into markup or script.

    Returns:
        HTML in UTF-8; headers, with names in small letters.
    """
    html, policy = _built()
    headers = {
        "content-type": "text/html; charset=utf-8",
        "content-security-policy": policy,
        "permissions-policy": "camera=(self)",
    }
    return html, headers


@functools.cache
def _built() -> tuple[bytes, str]:
    style, script = read_asset("page.css"), read_asset("page.js")
    html = read_asset("page.html").replace("/* page.css */", style).replace("/* page.js */", script)
    return html.encode(), _policy(style, script)


def _policy(style: str, script: str) -> str:
    """Pictures are blobs that the script made; form-action is for what a browser would send by itself."""
    rules = {
        "default-src": "'none'",
        "style-src": source_of(style),
        "script-src": source_of(script),
        "connect-src": "'self'",
        "img-src": "blob: data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())

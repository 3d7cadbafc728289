"""Files of the package that go into pages, and what a content-security policy says of them."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources


def read_asset(name: str) -> str:
    """The text of a file beside this one."""
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def source_of(text: str) -> str:
    """The source by which a policy lets a page use just this style or script in it (CSP level 2)."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"

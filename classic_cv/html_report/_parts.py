"""What the pages share: templates, pictures, and figures as cells of a table."""

from __future__ import annotations

import base64
import functools
import io
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import jinja2
import numpy as np
from numpy.typing import NDArray

from classic_cv.html_report._format import Format, count, is_number

Record = Mapping[str, Any]

MOST_SKIPPED = 50
"""Images that are named where some were left out."""

SMALL_PICTURE = 64
"""Pictures up to this many px are kept exactly and enlarged without smoothing."""

# Characters that neither HTML nor XML allows, and those that make text read backwards. Lone surrogates come from
# file names that are not UTF-8.
_ILLEGAL = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)


def render(template: str, context: Mapping[str, Any]) -> str:
    """The page that the file ``template`` of this package makes of ``context``; all of it is escaped."""
    return _ILLEGAL.sub("\ufffd", _environment().get_template(template).render(context))


@functools.cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FunctionLoader(_source),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _source(template: str) -> str:
    return resources.files(__package__).joinpath(template).read_text(encoding="utf-8")


def text_of(record: Record, key: str, text: Format) -> str | None:
    """The number ``key`` of ``record`` as text, None where there is none."""
    return text(record[key]) if is_number(record.get(key)) else None


def bar(low: float, high: float, value: float) -> dict[str, str]:
    """CSS lengths of an interval on a scale from 0 to 1."""
    low, high, value = (min(1.0, max(0.0, end)) for end in (low, high, value))
    return {"left": f"{100 * low:.2f}%", "width": f"{100 * (high - low):.2f}%", "at": f"{100 * value:.2f}%"}


def picture(pixels: NDArray[np.uint8]) -> dict[str, Any]:
    """An image of RGB pixels (height, width, 3) with its size.

    It is embedded as a data URL: PNG where it is so small that every pixel is seen, JPEG for others.
    """
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(pixels))
    small = max(image.size) <= SMALL_PICTURE
    buffer = io.BytesIO()
    if small:
        image.save(buffer, "PNG", optimize=True)
    else:
        image.save(buffer, "JPEG", quality=85)
    encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
    return {
        "image": f"data:image/{'png' if small else 'jpeg'};base64,{encoded}",
        "width": image.width,
        "height": image.height,
        "small": small,
    }


def skipped(found: Sequence[Record]) -> dict[str, Any] | None:
    """Images that were left out."""
    if not found:
        return None
    return {
        "text": count(len(found), "image"),
        "rows": [(entry.get("image", ""), entry.get("reason", "")) for entry in found[:MOST_SKIPPED]],
        "more": max(0, len(found) - MOST_SKIPPED),
    }

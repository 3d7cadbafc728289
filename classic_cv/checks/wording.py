"""How properties of images, shares and counts are named and told to people."""

from __future__ import annotations

import numpy as np

from classic_cv.checks.surveying import FORMAT_CODES, MODE_CODES

_CODES = {"format": FORMAT_CODES, "mode": MODE_CODES}

_TITLES = {
    "mean_r": "mean red",
    "mean_g": "mean green",
    "mean_b": "mean blue",
    "pixel_quality": "JPEG quality seen in the pixels",
}


def property_title(name: str) -> str:
    """``log_bytes_per_pixel`` as ``bytes per pixel``."""
    words = name.removeprefix("log_").replace("_", " ").replace("jpeg", "JPEG")
    return _TITLES.get(name, words)


def property_amount(name: str, value: float) -> str:
    """Three digits; what the survey keeps as a logarithm as the amount itself, a code as what it stands for."""
    if name in ("jpeg_quality", "pixel_quality") and value < 1:
        return "none"
    if name in _CODES:
        codes, number = _CODES[name], round(value)
        return codes[number] if 0 <= number < len(codes) else "other"
    if name.startswith("jpeg_") and value < 0:
        return "no JPEG"
    if name == "log_sharpness":
        value = float(np.expm1(value))
    elif name.startswith("log_"):
        value = float(np.exp(value))
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def small_share(share: float) -> str:
    """A share that may be tiny: ``2.8 %``, ``0.02 %``, ``below 0.01 %``, and ``0 %`` of none."""
    if 0 < share < 0.0001:
        return "below 0.01 %"
    return f"{100 * share:.{2 if share < 0.001 else 1}f} %" if share else "0 %"


def counted(n: int, one: str, many: str = "") -> str:
    """``1 image``, ``1,360 images``; ``many`` where an s is not enough."""
    return f"{n:,} {one if n == 1 else many or f'{one}s'}"


def p_value(p: float) -> str:
    """``p = 0.012``, ``p < 0.001``."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"

"""How properties of images are named and told to people."""

from __future__ import annotations

import numpy as np

from classic_cv.checks.surveying import FORMAT_CODES, MODE_CODES

_CODES = {"format": FORMAT_CODES, "mode": MODE_CODES}


def property_title(name: str) -> str:
    """``log_bytes_per_pixel`` as ``bytes per pixel``."""
    return name.removeprefix("log_").replace("_", " ")


def property_amount(name: str, value: float) -> str:
    """Three digits; what the survey keeps as a logarithm as the amount itself, a code as what it stands for."""
    if name in _CODES:
        codes, number = _CODES[name], round(value)
        return codes[number] if 0 <= number < len(codes) else "other"
    if name == "log_sharpness":
        value = float(np.expm1(value))
    elif name.startswith("log_"):
        value = float(np.exp(value))
    return f"{value:.3g}"

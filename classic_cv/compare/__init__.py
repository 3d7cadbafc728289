"""Contestants on one split, within one budget of CPU seconds, and a verdict.

``compare`` and ``Options`` are what a caller needs; ``FitTask``, ``Fitted`` and ``Predictor`` what a contestant written
in Python does. They are imported when they are asked for, since each contestant's process imports this package.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from classic_cv.compare.comparison import Comparison, Options, compare
    from classic_cv.compare.contestant import FitTask, Fitted, Predictor

__all__ = ["Comparison", "FitTask", "Fitted", "Options", "Predictor", "compare"]

_HOMES = {
    "Comparison": "comparison",
    "FitTask": "contestant",
    "Fitted": "contestant",
    "Options": "comparison",
    "Predictor": "contestant",
    "compare": "comparison",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)

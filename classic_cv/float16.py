"""Large learned arrays in 16 bits: float16 with a power of two per row, which halves the size of a model file.

float16 alone has its 11 bits only from 6e-5 to 65504, and weights of raw features span many decades. With a
power of two that brings a row's largest value to the top of that range the 11 bits reach down to a
billionth of it. Arrays are rounded once, right after they are learned: what is measured, saved and loaded
are the same numbers, and computing stays in float32.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGEST = 65504.0
"""The largest number of float16."""

CHUNK_VALUES = 2**20
"""Values that are worked on at a time: the float64 copies stay small."""


def to_float16(array: NDArray[np.float32]) -> tuple[NDArray[np.float16], NDArray[np.int16]]:
    """Values and exponents such that ``values * 2**exponents`` is ``array``, rounded.

    A value is off by at most 2^-11 of itself, and where it is less than 2^-29 of its row's largest by at most
    2^-40 of that. Zeros keep their sign; NaN and infinity stay. What was rounded once is not changed again.

    Args:
        array: float32 (..., n); its rows are along the last axis.

    Returns:
        values float16 (..., n), exponents int16 (...).
    """
    rows = array.reshape(math.prod(array.shape[:-1]), array.shape[-1])
    values = np.empty(rows.shape, np.float16)
    exponents = np.empty(len(rows), np.int16)
    for part in _chunks(rows):
        finite = np.isfinite(rows[part])
        largest = np.max(np.abs(rows[part]), axis=1, initial=0.0, where=finite)
        # frexp's mantissas are from 1/2 to below 1: the largest comes to lie from 2^15 to below 2^16.
        exponents[part] = np.frexp(largest)[1] - 16
        scaled = rows[part] * _powers(-exponents[part])
        # What would be rounded up to 2^16, which float16 does not have, becomes the number before it.
        np.clip(scaled, -LARGEST, LARGEST, out=scaled, where=finite)
        values[part] = scaled
    return values.reshape(array.shape), exponents.reshape(array.shape[:-1])


def from_float16(values: NDArray[np.float16], exponents: NDArray[np.int16]) -> NDArray[np.float32]:
    """``values * 2**exponents`` as float32 (..., n), exact for what ``to_float16`` returned.

    Raises:
        ValueError: there is not one integer exponent per row.
    """
    if exponents.shape != values.shape[:-1] or exponents.dtype.kind != "i":
        raise ValueError(
            f"exponents are {exponents.dtype} of shape {exponents.shape}, expected integers of shape "
            f"{values.shape[:-1]}: one per row"
        )
    rows = values.reshape(math.prod(values.shape[:-1]), values.shape[-1])
    out = np.empty(rows.shape, np.float32)
    for part in _chunks(rows):
        out[part] = rows[part] * _powers(exponents.reshape(-1)[part])
    return out.reshape(values.shape)


def rounded(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """The float32 array (..., n) rounded to what ``to_float16`` keeps of it."""
    return from_float16(*to_float16(array))


def _powers(exponents: NDArray[Any]) -> NDArray[np.float64]:
    """Two to these powers, as a column; float64 holds all that float32 values can need."""
    return np.ldexp(1.0, exponents.astype(np.int32))[:, None]


def _chunks(rows: NDArray[Any]) -> list[slice]:
    step = max(1, CHUNK_VALUES // max(1, rows.shape[1]))
    return [slice(start, start + step) for start in range(0, len(rows), step)]

"""The sheet that charts are drawn on: ticks and texts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from classic_cv.html_report import _sheet


@given(st.floats(1e-3, 1e3), st.floats(1.3, 1e5))
def test_log_ticks_are_within_and_few(low: float, factor: float) -> None:
    ticks = _sheet.log_ticks(low, low * factor)
    assert 2 <= len(ticks) <= 14
    assert ticks == sorted(set(ticks))
    assert all(low <= tick <= low * factor for tick in ticks)


@given(st.text(max_size=60), st.floats(20, 200))
def test_shortened_text_fits(text: str, width: float) -> None:
    cut = _sheet.shortened(text, width)
    assert _sheet.text_width(cut) <= width
    assert cut == " ".join(text.split()) or cut.endswith("…")

"""How properties, shares and counts are told to people."""

from __future__ import annotations

import math

import pytest

from classic_cv.checks.surveying import PROPERTY_NAMES
from classic_cv.checks.wording import counted, p_value, property_amount, property_title, small_share


def test_titles_are_words_and_differ() -> None:
    titles = [property_title(name) for name in PROPERTY_NAMES]
    assert len(set(titles)) == len(titles)
    assert not any("_" in title or title.startswith("log") for title in titles)
    assert property_title("log_bytes_per_pixel") == "bytes per pixel"
    assert property_title("mean_g") == "mean green"
    assert property_title("jpeg_quality") == "JPEG quality"


def test_amounts_are_those_of_the_property_itself() -> None:
    assert property_amount("log_width", math.log(320)) == "320"
    assert property_amount("log_sharpness", math.log1p(2330.0)) == "2,330"
    assert property_amount("jpeg_quality", -1) == "none"
    assert property_amount("jpeg_subsampling", -1) == "no JPEG"
    assert property_amount("contrast", 0.21713) == "0.217"


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.0, "0 %"), (1e-6, "below 0.01 %"), (14 / 70_000, "0.02 %"), (0.028, "2.8 %"), (1.0, "100.0 %")],
)
def test_small_shares_are_not_rounded_to_nothing(share: float, expected: str) -> None:
    assert small_share(share) == expected


def test_counts_and_p_values() -> None:
    assert [counted(n, "pair") for n in (1, 2, 1360)] == ["1 pair", "2 pairs", "1,360 pairs"]
    assert counted(2, "class", "classes") == "2 classes"
    assert [p_value(p) for p in (1e-13, 0.0, 0.012, 1.0)] == ["p < 0.001", "p < 0.001", "p = 0.012", "p = 1"]

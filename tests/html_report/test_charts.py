"""Charts: what is drawn where, and text that stays text."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree import ElementTree

import numpy as np
import pytest

from classic_cv.html_report import _charts
from classic_cv.html_report._format import Score, duration, like, number, points, signed, size_text

SVG = "{http://www.w3.org/2000/svg}"
Texts = Callable[[str], list[str]]


def test_names_are_text_and_long_ones_keep_a_tooltip(texts_of: Texts) -> None:
    names = ["<b>&", "$x$", "花" * 40, "Nq00000"]
    svg = _charts.class_balance({name: {"train": 3, "test": 1} for name in names})
    assert {"<b>&", "$x$", "Nq00000"} <= set(texts_of(svg))
    [title] = ElementTree.fromstring(svg).iter(f"{SVG}title")
    assert title.text == "花" * 40
    assert "font-family" not in svg
    assert "<!--" not in svg


def test_class_balance_is_sorted(texts_of: Texts) -> None:
    svg = _charts.class_balance({"few": {"train": 1}, "many": {"train": 9, "test": 2}})
    shown = texts_of(svg)
    assert shown.index("many") < shown.index("few")
    assert {"1", "11"} <= set(shown)
    assert "from 11 down to 1" in _charts.class_balance_compact(
        {"a": {"train": 1}, "b": {"train": 9, "test": 2}}
    )


def test_counts_of_bins_are_written(texts_of: Texts) -> None:
    bins = [{"low": 0, "high": 0.5, "n": 0, "confidence": None, "accuracy": None}]
    bins += [{"low": 0.5, "high": 1, "n": 37, "confidence": 0.75, "accuracy": 0.8}]
    svg = _charts.reliability(bins, 0.05)
    assert "37" in texts_of(svg)
    assert "error 0.050" in svg


def test_heatmap_of_empty_rows() -> None:
    svg = _charts.confusion_heatmap(np.diag([3, 0, 5]).tolist())
    assert "data:image/png" in svg
    assert "on the diagonal: 100.0 %" in svg


def test_losses_that_are_all_zero(texts_of: Texts) -> None:
    svg = _charts.group_losses([_charts.Loss("hog", 0.0, None)], Score("accuracy"))
    assert "0.0 points" in texts_of(svg)


@pytest.mark.parametrize("pairs", [[[1.0, 1.0]], [[5e6, 4e6], [-3e6, 1.0]], [[k, -k] for k in range(4000)]])
def test_regression_charts(pairs: list[list[float]], texts_of: Texts) -> None:
    values = np.array(pairs, np.float64)
    scatter = _charts.predicted_against_true(values, "price")
    assert scatter.count("<use") <= _charts.MOST_MARKS + 40
    assert "true price" in texts_of(scatter)
    assert "predicted − true price" in texts_of(_charts.residual_histogram(values, "price"))


def test_numbers() -> None:
    assert [number(v) for v in (0, 3.21432, 0.0123456, 1234.5, -0.5, 1e-9)] == (
        "0 3.214 0.01235 1234 −0.5000 1e−09".split()
    )
    assert like(3.2)(0.016) == "0.016"
    assert [points(v) for v in (0.012, -0.004, 0.0, -0.0001)] == (
        ["+1.2 points", "−0.4 points", "0.0 points", "0.0 points"]
    )
    assert signed(0.0, number) == "0"
    assert [duration(s) for s in (3.21, 250)] == ["3.2 s", "4 min 10 s"]
    assert [size_text(s) for s in (128, [96, 128], None)] == ["128 px", "96 × 128 px", "–"]

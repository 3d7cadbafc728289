"""Charts of a comparison: what is drawn where, in which order, and named how."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree import ElementTree

import pytest

from classic_cv.html_report import _comparison_charts as charts
from classic_cv.html_report._comparison_charts import Curve, Difference, Stages
from classic_cv.html_report._format import points

Texts = Callable[[str], list[str]]


def difference(name: str, value: float, claim: str = "worse") -> Difference:
    return Difference(name, value, (value - 0.02, value + 0.02), claim, f"{points(value)}, {claim}")


def test_curves_are_listed_as_they_end(texts_of: Texts) -> None:
    curves = [Curve("low", [(1, 0.2), (9, 0.4)]), Curve("<high>", [(2, 0.1), (5, 0.8)])]
    svg = charts.training_curves(curves)
    shown = texts_of(svg)
    assert shown.index("<high>") < shown.index("low")
    assert {"80.0 %", "40.0 %", "CPU seconds of the fit"} <= set(shown)
    assert "of 2 contestants; highest at its end: &lt;high&gt;, 80.0 %" in svg


@pytest.mark.parametrize("x", [0.0, 3.0])
def test_a_curve_of_one_point(x: float, texts_of: Texts) -> None:
    assert "one" in texts_of(charts.training_curves([Curve("one", [(x, 0.5)])]))


def test_twenty_curves_are_all_named(texts_of: Texts) -> None:
    curves = [Curve(f"network {k}", [(1, 0.1), (2, 0.2 + k / 100)]) for k in range(20)]
    svg = charts.training_curves(curves)
    assert {curve.name for curve in curves} <= set(texts_of(svg))
    assert float(ElementTree.fromstring(svg).attrib["height"]) > 19 * 20


def test_sizes_of_a_learning_curve_do_not_touch(texts_of: Texts) -> None:
    sizes = [(5.0, "5"), (10.0, "10"), (59.0, "59"), (60.0, "all")]
    curve = Curve("auto", [(x, 0.5) for x, _ in sizes], [(0.4, 0.6), None, None, None])
    svg = charts.learning_curves([curve], sizes, 23.4)
    shown = texts_of(svg)
    assert {"5", "10", "all"} <= set(shown)
    assert "59" not in shown
    assert "cross at about 23.4 images per class" in svg
    assert "cross" not in charts.learning_curves([curve], sizes, None)


def test_a_learning_curve_of_one_size(texts_of: Texts) -> None:
    assert "all" in texts_of(
        charts.learning_curves([Curve("auto", [(60.0, 0.5)], [None])], [(60.0, "all")], None)
    )


def test_differences_are_named_with_their_claim(texts_of: Texts) -> None:
    rows = [difference("net", 0.012, "better"), difference("hog", -0.2)]
    svg = charts.differences("differences", rows, "differences", "less accurate", "more accurate")
    shown = texts_of(svg)
    assert {"better", "worse", "+1.2 points, better", "−20.0 points, worse", "← less accurate"} <= set(shown)
    assert "no claim" not in shown
    assert 'aria-label="differences; the highest: net, +1.2 points"' in svg


def test_differences_of_zero_without_interval(texts_of: Texts) -> None:
    rows = [Difference("same", 0.0, None, "", "0.0 points")]
    shown = texts_of(charts.differences("classes", rows, "differences", "less", "more"))
    assert {"same", "0.0 points", "← less", "more →"} <= set(shown)


def test_stages_fill_their_bar(texts_of: Texts) -> None:
    rows = [
        Stages("fast", {"decode": 0.1, "features": 0.3}, "0.42 ms"),
        Stages("none", {"decode": 0.0}, "– ms"),
    ]
    svg = charts.stages(rows)
    assert {"decode", "features", "head", "fast", "0.42 ms", "100 %"} <= set(texts_of(svg))
    assert "of 2 contestants" in svg

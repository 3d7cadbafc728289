"""Charts of a check: what is drawn, named and told to those who do not see it."""

from __future__ import annotations

from collections.abc import Callable

from classic_cv.html_report._check_charts import Point, coverage_curve, learning_curve

Texts = Callable[[str], list[str]]


def test_a_learning_curve_names_its_sizes_and_what_is_expected(texts_of: Texts) -> None:
    measured = [Point(127, 0.68, (0.64, 0.72)), Point(510, 0.84), Point(1020, 0.91, (0.9, 0.92))]
    fitted = [(127.0, 0.68), (1020.0, 0.905), (2040.0, 0.926)]
    svg = learning_curve(measured, fitted, Point(2040, 0.926, (0.91, 0.94)))
    shown = texts_of(svg)
    assert {"127", "510", "1,020", "2,040", "measured", "expected", "training images, log scale"} <= set(
        shown
    )
    assert "91.0 % with 1,020, about 92.6 % expected with 2,040" in svg


def test_a_learning_curve_without_a_law(texts_of: Texts) -> None:
    svg = learning_curve([Point(10, 0.5)], [], None)
    assert "expected" not in svg
    assert "10" in texts_of(svg)


def test_sizes_that_would_touch_are_left_out(texts_of: Texts) -> None:
    shown = texts_of(learning_curve([Point(1000, 0.5), Point(1001, 0.5), Point(9000, 0.6)], [], None))
    assert {"1,001", "9,000"} <= set(shown)
    assert "1,000" not in shown


def test_a_perfect_model_has_an_axis_that_ends_at_100_percent(texts_of: Texts) -> None:
    shown = texts_of(coverage_curve([Point(0.5, 1.0, (0.99, 1.0)), Point(1.0, 1.0, (0.99, 1.0))], None))
    percents = [float(text.removesuffix(" %")) for text in shown if text.endswith(" %")]
    assert max(percents) == 100
    assert "suggested" not in shown


def test_a_coverage_curve_marks_where_to_stand(texts_of: Texts) -> None:
    points = [Point(0.4, 0.99, (0.97, 1.0)), Point(0.8, 0.95), Point(1.0, 0.912, (0.88, 0.94))]
    svg = coverage_curve(points, Point(0.784, 0.961))
    assert {"96.1 %", "suggested", "coverage: share of images answered"} <= set(texts_of(svg))
    assert "91.2 % at a coverage of 100.0 %; suggested: 96.1 % at 78.4 %" in svg

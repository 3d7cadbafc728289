"""Charts: what is drawn where, and text that stays text."""

from __future__ import annotations

import itertools
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from classic_cv.html_report import _charts
from classic_cv.html_report._charts import Candidate
from classic_cv.html_report._format import Score, duration, like, number, points, signed, size_text

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg: str) -> list[str]:
    """Every text of a chart, without the tooltips in it."""
    root = ElementTree.fromstring(svg)
    found = []
    for text in root.iter(f"{SVG}text"):
        title = text.find(f"{SVG}title")
        found.append((text.text if title is None else title.tail) or "")
    return found


def candidates(*rows: tuple[str, float, float], winner: str = "") -> list[Candidate]:
    return [
        Candidate(name, ms, score, (score - 0.02, score + 0.02), "64 px", name == winner)
        for name, ms, score in rows
    ]


def test_pareto_front() -> None:
    rows = candidates(("fast", 1, 0.5), ("beaten", 2, 0.4), ("good", 3, 0.8), ("slow", 9, 0.8))
    assert [c.name for c in _charts.pareto_front(rows, lower_is_better=False)] == ["fast", "good"]
    assert [c.name for c in _charts.pareto_front(rows, lower_is_better=True)] == ["fast", "beaten"]


def test_only_the_front_and_the_winner_are_labelled() -> None:
    rows = candidates(("fast", 1, 0.5), ("beaten", 2, 0.4), ("good", 3, 0.8), ("mine", 9, 0.7), winner="mine")
    svg = _charts.score_against_latency(rows, Score("accuracy"))
    assert {"fast", "good", "mine"} <= set(texts(svg))
    assert "beaten" not in texts(svg)
    assert (
        'aria-label="accuracy against latency of 4 candidates; the winner, mine, has 70.0 % at 9.00 ms' in svg
    )


def test_labels_do_not_overlap() -> None:
    rows = candidates(*((f"a recipe with a name {k}", 1 + k / 40, 0.5 + k / 400) for k in range(12)))
    svg = _charts.score_against_latency(rows, Score("accuracy"))
    root = ElementTree.fromstring(svg)
    labels = [text for text in root.iter(f"{SVG}text") if (text.text or "").startswith("a recipe")]
    assert len(labels) > 5
    for one, other in itertools.combinations(labels, 2):
        near = abs(float(one.attrib["y"]) - float(other.attrib["y"])) < 12
        if near:
            assert abs(float(one.attrib["x"]) - float(other.attrib["x"])) > 100


@pytest.mark.parametrize("ms", [0.004, 1.0, 7.3, 25000.0])
def test_a_lone_candidate_without_interval(ms: float) -> None:
    svg = _charts.score_against_latency([Candidate("one", ms, 0.0, None, "64 px", True)], Score("accuracy"))
    assert "one" in texts(svg)


@given(st.floats(1e-3, 1e3), st.floats(1.3, 1e5))
def test_log_ticks_are_within_and_few(low: float, factor: float) -> None:
    ticks = _charts.log_ticks(low, low * factor)
    assert 2 <= len(ticks) <= 14
    assert ticks == sorted(set(ticks))
    assert all(low <= tick <= low * factor for tick in ticks)


@given(st.text(max_size=60), st.floats(20, 200))
def test_shortened_text_fits(text: str, width: float) -> None:
    cut = _charts.shortened(text, width)
    assert _charts.text_width(cut) <= width
    assert cut == " ".join(text.split()) or cut.endswith("…")


def test_names_are_text_and_long_ones_keep_a_tooltip() -> None:
    names = ["<b>&", "$x$", "花" * 40, "Nq00000"]
    svg = _charts.class_balance({name: {"train": 3, "test": 1} for name in names})
    assert {"<b>&", "$x$", "Nq00000"} <= set(texts(svg))
    [title] = ElementTree.fromstring(svg).iter(f"{SVG}title")
    assert title.text == "花" * 40
    assert "font-family" not in svg
    assert "<!--" not in svg


def test_class_balance_is_sorted() -> None:
    svg = _charts.class_balance({"few": {"train": 1}, "many": {"train": 9, "test": 2}})
    shown = texts(svg)
    assert shown.index("many") < shown.index("few")
    assert {"1", "11"} <= set(shown)
    assert "from 11 down to 1" in _charts.class_balance_compact(
        {"a": {"train": 1}, "b": {"train": 9, "test": 2}}
    )


def test_counts_of_bins_are_written() -> None:
    bins = [{"low": 0, "high": 0.5, "n": 0, "confidence": None, "accuracy": None}]
    bins += [{"low": 0.5, "high": 1, "n": 37, "confidence": 0.75, "accuracy": 0.8}]
    svg = _charts.reliability(bins, 0.05)
    assert "37" in texts(svg)
    assert "error 0.050" in svg


def test_heatmap_of_empty_rows() -> None:
    svg = _charts.confusion_heatmap(np.diag([3, 0, 5]).tolist())
    assert "data:image/png" in svg
    assert "on the diagonal: 100.0 %" in svg


def test_losses_that_are_all_zero() -> None:
    svg = _charts.group_losses([_charts.Loss("hog", 0.0, None)], Score("accuracy"))
    assert "0.0 points" in texts(svg)


@pytest.mark.parametrize("pairs", [[[1.0, 1.0]], [[5e6, 4e6], [-3e6, 1.0]], [[k, -k] for k in range(4000)]])
def test_regression_charts(pairs: list[list[float]]) -> None:
    values = np.array(pairs, np.float64)
    scatter = _charts.predicted_against_true(values, "price")
    assert scatter.count("<use") <= _charts.MOST_MARKS + 40
    assert "true price" in texts(scatter)
    assert "predicted − true price" in texts(_charts.residual_histogram(values, "price"))


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

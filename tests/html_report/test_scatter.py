"""The chart of score against cost: what is drawn, named and joined."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from xml.etree import ElementTree

import pytest

from classic_cv.html_report._format import Score
from classic_cv.html_report._scatter import Candidate, pareto_front, score_against_cost
from classic_cv.html_report._sheet import SERIES

SVG = "{http://www.w3.org/2000/svg}"
Texts = Callable[[str], list[str]]


def candidates(*rows: tuple[str, float, float], winner: str = "") -> list[Candidate]:
    return [
        Candidate(name, ms, score, (score - 0.02, score + 0.02), "64 px", name == winner)
        for name, ms, score in rows
    ]


def test_pareto_front() -> None:
    rows = candidates(("fast", 1, 0.5), ("beaten", 2, 0.4), ("good", 3, 0.8), ("slow", 9, 0.8))
    assert [c.name for c in pareto_front(rows, lower_is_better=False)] == ["fast", "good"]
    assert [c.name for c in pareto_front(rows, lower_is_better=True)] == ["fast", "beaten"]


def test_only_the_front_and_the_winner_are_labelled(texts_of: Texts) -> None:
    rows = candidates(("fast", 1, 0.5), ("beaten", 2, 0.4), ("good", 3, 0.8), ("mine", 9, 0.7), winner="mine")
    svg = score_against_cost(rows, Score("accuracy"))
    assert {"fast", "good", "mine"} <= set(texts_of(svg))
    assert "beaten" not in texts_of(svg)
    assert (
        'aria-label="accuracy against latency of 4 candidates; the winner, mine, has 70.0 % at 9.00 ms' in svg
    )


def test_labels_do_not_overlap() -> None:
    rows = candidates(*((f"a recipe with a name {k}", 1 + k / 40, 0.5 + k / 400) for k in range(12)))
    svg = score_against_cost(rows, Score("accuracy"))
    root = ElementTree.fromstring(svg)
    labels = [text for text in root.iter(f"{SVG}text") if (text.text or "").startswith("a recipe")]
    assert len(labels) > 5
    for one, other in itertools.combinations(labels, 2):
        near = abs(float(one.attrib["y"]) - float(other.attrib["y"])) < 12
        if near:
            assert abs(float(one.attrib["x"]) - float(other.attrib["x"])) > 100


@pytest.mark.parametrize("ms", [0.004, 1.0, 7.3, 25000.0])
def test_a_lone_candidate_without_interval(ms: float, texts_of: Texts) -> None:
    svg = score_against_cost([Candidate("one", ms, 0.0, None, "64 px", True)], Score("accuracy"))
    assert "one" in texts_of(svg)


def test_all_are_labelled_with_room_at_the_right(texts_of: Texts) -> None:
    rows = candidates(*((f"a long name of network {k}", 290 + k, 0.1 + k / 10) for k in range(8)))
    svg = score_against_cost(rows, Score("accuracy"), noun="contestant", label_all=True)
    assert {row.name for row in rows} <= set(texts_of(svg))
    assert "of 8 contestants" in svg


def test_a_path_has_one_label_and_counts_once(texts_of: Texts) -> None:
    path = candidates(("net", 60, 0.3), ("net", 300, 0.6))
    rows = [*candidates(("auto", 280, 0.9)), *path]
    svg = score_against_cost(rows, Score("accuracy"), front=(), paths=[path], label_all=True)
    assert texts_of(svg).count("net") == 1
    assert "of 2 candidates" in svg


def test_given_looks_are_shown_in_their_order(texts_of: Texts) -> None:
    rows = [Candidate(kind, 2.0, 0.5, None, kind, False) for kind in ("deep", "classical")]
    looks = {"classical": SERIES[0], "deep": SERIES[1], "hybrid": SERIES[2]}
    shown = texts_of(score_against_cost(rows, Score("accuracy"), looks=looks, front=()))
    assert shown.index("classical") < shown.index("deep")
    assert "hybrid" not in shown

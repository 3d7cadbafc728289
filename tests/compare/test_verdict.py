"""Verdicts on hand-made contestants whose right answer is known."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from classic_cv.compare.verdict import judge
from classic_cv.errors import ParameterError

N = 200
CLASSES = ("a", "b", "c", "d")
Y = np.arange(N) % 4


def entry(name: str, kind: str = "classical", **changes: Any) -> dict[str, Any]:
    """A contestant that ended well: 1 ms, 1 MB, 10 CPU seconds."""
    p50 = changes.pop("p50", 1.0)
    found: dict[str, Any] = {
        "name": name,
        "kind": kind,
        "outcome": "ok",
        "message": "",
        "latency_ms": None if p50 is None else {"p50": p50, "p95": 1.5 * p50},
        "model_bytes": 1_000_000,
        "fit_cpu_seconds": 10.0,
        "repeats": [],
    }
    return found | changes


def right_on(first: int, n: int = N, start: int = 0) -> NDArray[np.bool_]:
    """Right on ``first`` images from ``start`` on."""
    return (np.arange(n) >= start) & (np.arange(n) < start + first)


DUMMY = entry("dummy", "floor", p50=0.1, model_bytes=100, fit_cpu_seconds=0.1)


def verdict(*contestants: tuple[dict[str, Any], NDArray[np.bool_] | None], **options: Any) -> dict[str, Any]:
    y, names = options.pop("y", Y), options.pop("class_names", CLASSES)
    right = {record["name"]: answers for record, answers in contestants if answers is not None}
    found = judge([record for record, _ in contestants], right, y, names, **options)
    # Plain data without NaN, as it goes into JSON.
    json.dumps(found, allow_nan=False)
    return found


def compared(found: dict[str, Any], name: str) -> dict[str, Any]:
    return next(c for c in found["comparisons"] if c["name"] == name)


def test_a_deep_one_that_gains_is_told_with_its_costs() -> None:
    deep = entry("net", "deep", p50=12.0, model_bytes=30_000_000, fit_cpu_seconds=54.0)
    found = verdict((DUMMY, right_on(50)), (entry("hog"), right_on(150)), (deep, right_on(180)))
    assert (found["winner"], found["reference"], found["best_deep"]) == ("net", "hog", "net")
    pair = compared(found, "net")
    assert pair["difference"] == pytest.approx(0.15)
    assert (pair["wins"], pair["losses"]) == (30, 0)
    assert pair["mcnemar_p"] == pytest.approx(2 / 2**30)
    assert pair["ci95"] == pytest.approx([0.10, 0.20], abs=0.011)
    assert (pair["latency_ratio"], pair["size_ratio"], pair["fit_ratio"]) == (12, 30, pytest.approx(5.4))
    assert (pair["claim"], pair["reason"]) == ("better", "")
    assert compared(found, "dummy")["claim"] == "worse"
    assert "Use net: 90.0 % (95 % interval 85.1 to 93.4 %, n = 200), 12 ms per image" in found["text"]
    assert (
        "The best deep contestant, net, gains 15.0 points over the best classical one, hog (95 % "
        in found["text"]
    )
    costs = "at 12 times the milliseconds per image, 30 times the megabytes and 5.4 times the CPU seconds of training"
    assert costs in found["text"]


def test_holm_counts_all_comparisons() -> None:
    # 2 / 2^7 = 0.0156 alone, times 4 rivals: 0.0625, and as much for those that are not ahead of it.
    rivals = [(entry(f"net{i}", "deep"), right_on(107)) for i in range(4)]
    found = verdict((entry("hog"), right_on(100)), *rivals)
    assert compared(found, "net0")["mcnemar_p"] == pytest.approx(2 / 2**7)
    assert [c["holm_p"] for c in found["comparisons"]] == pytest.approx([4 * 2 / 2**7] * 4)
    assert {c["claim"] for c in found["comparisons"]} == {"no difference shown"}
    assert compared(found, "net0")["ci95"][0] > 0
    alone = verdict((entry("hog"), right_on(100)), rivals[0])
    assert compared(alone, "net0")["claim"] == "better"


def test_the_cheaper_one_wins_where_it_is_not_shown_to_be_worse() -> None:
    deep = entry("net", "deep", p50=7.0)
    found = verdict((entry("hog"), right_on(180)), (deep, right_on(180, start=3)))
    assert found["winner"] == "hog"
    better = verdict((entry("hog"), right_on(180)), (deep, right_on(182)))
    assert better["winner"] == "hog"
    assert (
        "net is 1.0 points more accurate on these images, but hog is not shown to be worse" in better["text"]
    )
    assert "7.0 times as fast" in better["text"]
    assert (
        "net, against the best classical one, hog: no difference is shown, it is 1.0 points ahead"
        in better["text"]
    )


def test_less_than_twice_as_fast_is_not_enough() -> None:
    contestants = (entry("hog"), right_on(180)), (entry("net", "deep", p50=1.9), right_on(182))
    assert verdict(*contestants)["winner"] == "net"


def test_among_fast_ones_the_most_accurate_wins() -> None:
    found = verdict(
        (entry("tiny", p50=0.1), right_on(177)),
        (entry("hog"), right_on(179)),
        (entry("net", "deep", p50=7.0), right_on(180)),
    )
    assert found["winner"] == "hog"


def test_of_equals_the_faster_then_the_smaller_is_first() -> None:
    found = verdict(
        (entry("slow", p50=1.5), right_on(180)),
        (entry("large"), right_on(180)),
        (entry("small", model_bytes=10), right_on(180)),
    )
    assert found["winner"] == found["reference"] == "small"


def test_limits_hold_for_winner_and_reference() -> None:
    contestants = (
        (entry("fisher", p50=8.0), right_on(170)),
        (entry("hog"), right_on(140)),
        (entry("net", "deep", p50=2.0, model_bytes=90_000_000), right_on(190)),
    )
    found = verdict(*contestants, latency_limit_ms=5.0, size_limit_mb=10)
    # The 95th percentile counts, here 1.5 times the median.
    assert (found["winner"], found["reference"], found["best_deep"]) == ("hog", "hog", "net")
    assert "Within 5 ms (p95) and 10 MB, use hog: " in found["text"]
    assert "net does not keep the limits: it has 90 MB." in found["text"]
    assert verdict(*contestants, latency_limit_ms=2.9)["winner"] == "hog"
    assert verdict(*contestants, latency_limit_ms=3.0)["winner"] == "net"


def test_what_was_not_measured_keeps_no_limit() -> None:
    given = entry("file", "given", p50=None, model_bytes=None, fit_cpu_seconds=None)
    found = verdict((entry("hog"), right_on(150)), (given, right_on(190)), latency_limit_ms=5.0)
    assert found["winner"] == "hog"
    assert "file does not keep the limits: its latency was not measured." in found["text"]
    free = verdict((entry("hog"), right_on(150)), (given, right_on(190)))
    assert (free["winner"], free["front"]) == ("file", ["hog"])
    pair = compared(free, "file")
    assert (pair["latency_ratio"], pair["size_ratio"], pair["fit_ratio"]) == (None, None, None)
    assert "The best given contestant, file, gains 20.0 points" in free["text"]


def test_nobody_keeps_the_limits() -> None:
    found = verdict((entry("hog"), right_on(150)), latency_limit_ms=0.1)
    assert (found["winner"], found["reference"], found["comparisons"]) == (None, None, [])
    assert "No contestant keeps the limits of 0.1 ms (p95) (hog: it takes 1.5 ms (p95))." in found["text"]
    assert "no classical contestant was measured as planned and keeps the limits" in found["text"]


@pytest.mark.parametrize("outcome", ["undertrained", "over budget", "disqualified"])
def test_no_claim_about_a_fit_that_did_not_end_well(outcome: str) -> None:
    deep = entry("net", "deep", outcome=outcome, message="2 epochs of 30")
    found = verdict((entry("hog"), right_on(100)), (deep, right_on(190)))
    assert (found["winner"], found["best_deep"], found["front"]) == ("hog", None, ["hog"])
    pair = compared(found, "net")
    assert (pair["claim"], pair["reason"]) == ("none", f"{outcome}: 2 epochs of 30")
    assert pair["difference"] == pytest.approx(0.45)
    assert "Whether a deep model is worth its cost is not known" in found["text"]
    assert f"No claim is made about net ({outcome}: 2 epochs of 30)." in found["text"]


def test_no_deep_contestant() -> None:
    found = verdict((DUMMY, right_on(50)), (entry("hog"), right_on(150)), (entry("lbp"), right_on(100)))
    assert found["best_deep"] is None
    assert "No deep contestant took part." in found["text"]
    assert compared(found, "lbp")["claim"] == "worse"


def test_no_classical_contestant() -> None:
    found = verdict((DUMMY, right_on(50)), (entry("net", "deep"), right_on(150)))
    assert (found["winner"], found["reference"], found["comparisons"]) == ("net", None, [])
    assert "no classical contestant took part" in found["text"]


def test_a_single_contestant() -> None:
    found = verdict((entry("hog"), right_on(150)))
    assert (found["winner"], found["reference"], found["front"]) == ("hog", "hog", ["hog"])
    assert found["comparisons"] == []
    assert found["warnings"] == []


def test_all_crashed() -> None:
    crashed = [
        (entry(name, kind, outcome="crashed"), None) for name, kind in (("hog", "classical"), ("net", "deep"))
    ]
    found = verdict(*crashed, challenger="net")
    assert (found["winner"], found["reference"], found["best_deep"], found["front"]) == (None, None, None, [])
    assert "No contestant can be recommended" in found["text"]
    assert "No claim is made about hog (crashed) and net (crashed)." in found["text"]
    assert found["challenger"]["text"] == "No: net does not pass, since crashed."


def test_a_floor_never_wins() -> None:
    found = verdict((DUMMY, right_on(190)), (entry("hog"), right_on(150)))
    assert (found["winner"], found["reference"], found["front"]) == ("hog", "hog", ["hog"])


def test_a_hybrid_counts_as_deep_and_not_as_reference() -> None:
    found = verdict((entry("auto", "hybrid"), right_on(190)), (entry("hog"), right_on(150)))
    assert (found["reference"], found["best_deep"]) == ("hog", "auto")
    assert "The best hybrid contestant, auto, gains 20.0 points" in found["text"]


def test_a_single_test_image_shows_nothing() -> None:
    yes, no = np.array([True]), np.array([False])
    found = verdict(
        (entry("hog"), no),
        (entry("net", "deep"), yes),
        y=np.array([2]),
        challenger="net",
        class_names=CLASSES,
    )
    pair = compared(found, "net")
    assert (pair["ci95"], pair["claim"], pair["reason"]) == (None, "none", "there is a single test image")
    assert "no claim, since there is a single test image" in found["text"]
    assert not found["challenger"]["passed"]
    assert "a test part of 1 is too small" in found["challenger"]["text"]
    assert any("too small to show any difference" in warning for warning in found["warnings"])


def test_one_class_only() -> None:
    found = verdict(
        (DUMMY, right_on(10, 10)), (entry("hog"), right_on(10, 10)), y=np.zeros(10, int), class_names=("a",)
    )
    assert found["warnings"][0].startswith("all test images are of one class (a)")
    assert any(
        "hog, the best classical contestant, is not shown to be better" in w for w in found["warnings"]
    )


def test_the_front_of_accuracy_latency_and_size() -> None:
    contestants = [
        (entry("accurate", p50=9.0, model_bytes=900), right_on(190)),
        (entry("dominated", p50=9.5, model_bytes=900), right_on(190)),
        (entry("small", p50=5.0, model_bytes=100), right_on(150)),
        (entry("fast", p50=0.5, model_bytes=5000), right_on(140)),
        (entry("twin", p50=0.5, model_bytes=5000), right_on(140)),
        (entry("worse", p50=5.0, model_bytes=200), right_on(150)),
        (DUMMY, right_on(50)),
    ]
    assert verdict(*contestants)["front"] == ["fast", "twin", "small", "accurate"]


def test_classes_that_differ_are_told_the_largest_first() -> None:
    a = np.ones(N, bool)
    a[(Y == 0) & (np.arange(N) < 80)] = False
    a[(Y == 1) & (np.arange(N) < 40)] = False
    a[(Y == 2) & (np.arange(N) < 8)] = False
    found = compared(verdict((entry("hog"), a), (entry("net", "deep"), np.ones(N, bool))), "net")
    # Class c has 2 wins of 50: its interval excludes 0 in no more than the test does.
    assert [(c["class"], c["n"], c["difference"]) for c in found["per_class"]] == [
        ("a", 50, 0.4),
        ("b", 50, 0.2),
    ]
    assert found["per_class"][0]["ci95"] == pytest.approx([0.26, 0.54], abs=0.021)


def test_at_most_five_classes_are_told() -> None:
    y = np.arange(320) % 8
    wrong = np.arange(320) < 8 * (10 + y)
    hog, net = ~wrong, np.ones(320, bool)
    found = verdict((entry("hog"), hog), (entry("net", "deep"), net), y=y, class_names=[*"abcdefgh"])
    assert [c["class"] for c in compared(found, "net")["per_class"]] == [*"hgfed"]


def test_a_leak_is_named() -> None:
    shuffled = entry("shuffled", "floor")
    found = verdict((shuffled, right_on(70)), (entry("hog"), right_on(150)))
    assert "the evaluation leaks" in found["warnings"][0]
    assert "35.0 % of the test images, above the 25.0 % of the largest class" in found["warnings"][0]
    # 60 of 200: the interval begins at 24.1 %.
    chance = verdict((shuffled, right_on(60)), (entry("hog"), right_on(150)))
    assert not any("leaks" in warning for warning in chance["warnings"])


@pytest.mark.parametrize(
    ("correct", "reference", "named"), [(85, 199, True), (75, 190, False), (75, 90, True)]
)
def test_a_shortcut_is_named(correct: int, reference: int, named: bool) -> None:
    # Chance is 50 of 200; 85 are more than 15 points above it, 75 more than half of the way to 90, not to 190.
    found = verdict(
        (DUMMY, right_on(50)),
        (entry("properties", "floor"), right_on(correct)),
        (entry("hog"), right_on(reference)),
    )
    assert any(warning.startswith("properties, which sees") for warning in found["warnings"]) == named


def test_a_reference_at_chance_is_named() -> None:
    expected = "hog, the best classical contestant, is not shown to be better than always the same answer"
    assert expected in verdict((DUMMY, right_on(50)), (entry("hog"), right_on(54)))["warnings"]
    assert expected in verdict((entry("hog"), right_on(54)))["warnings"]
    assert expected not in verdict((DUMMY, right_on(50)), (entry("hog"), right_on(80)))["warnings"]


def test_a_test_part_too_small_is_named_with_its_number() -> None:
    found = verdict((entry("hog"), right_on(180)), (entry("net", "deep"), right_on(180, start=4)))
    (warning,) = found["warnings"]
    # It takes six wins without a loss; of 200 images there are so many in 80 % of draws where 7.9 are expected.
    assert "200 test images show differences between net and hog from about 4.0 points on" in warning
    assert "the observed one is 0.0 points" in warning
    n = 20_000
    large = verdict(
        (entry("hog"), right_on(18_000, n)), (entry("net", "deep"), right_on(18_300, n)), y=np.arange(n) % 4
    )
    assert large["warnings"] == []


def test_classes_with_few_images_are_named() -> None:
    y = np.array([0] * 100 + [1] * 96 + [2] * 4)
    found = verdict((entry("hog"), right_on(150)), y=y)
    assert "2 of 4 classes have fewer than 5 test images (c: 4 and d: 0)" in found["warnings"][-1]


def test_seeds_are_told_and_compared_with_the_difference() -> None:
    repeats: list[dict[str, Any]] = [
        {"seed": 1, "accuracy": 0.80},
        {"seed": 2, "accuracy": 0.96},
        {"seed": 3, "accuracy": None},
    ]
    repeats.append({"seed": 4, "accuracy": 0.1, "outcome": "undertrained"})
    deep = entry("net", "deep", repeats=repeats)
    found = verdict((entry("hog"), right_on(160)), (deep, right_on(180)))
    # 0.90, 0.80, 0.96.
    assert "Over 3 seeds, net reached 80.0 to 96.0 % (standard deviation 8.1 points)." in found["text"]
    expected = "moves the accuracy by up to 16.0 points, more than the 10.0 points between net and hog"
    assert any(expected in warning for warning in found["warnings"])


def test_a_challenger_passes_by_the_low_end_of_the_interval() -> None:
    contestants = (entry("hog"), right_on(150)), (entry("net", "deep"), right_on(180))
    passed = verdict(*contestants, challenger="net", margin=0.09)["challenger"]
    assert (passed["name"], passed["margin"], passed["passed"]) == ("net", 0.09, True)
    assert passed["text"].startswith("Yes: net is 15.0 points more accurate than hog (95 % interval 10.")
    failed = verdict(*contestants, challenger="net", margin=0.12)["challenger"]
    assert not failed["passed"]
    assert failed["text"].endswith("the low end of the interval must be above 12.0 points.")
    assert verdict(*contestants, challenger="net", margin=0.12, confidence=0.5)["challenger"]["passed"]


def test_a_challenger_must_show_it_by_the_exact_test_too() -> None:
    # Five wins of five: an interval from 20 to 80 points, and p = 0.0625.
    found = verdict(
        (entry("hog"), right_on(5, 10)), (entry("net", "deep"), right_on(10, 10)), y=Y[:10], challenger="net"
    )
    assert not found["challenger"]["passed"]
    assert found["challenger"]["text"].endswith("but a test part of 10 is too small to show a difference.")


def test_a_classical_challenger_meets_the_best_other_one() -> None:
    contestants = (entry("hog"), right_on(150)), (entry("fisher"), right_on(180))
    found = verdict(*contestants, challenger="fisher")
    assert found["reference"] == "fisher"
    assert found["challenger"]["passed"]
    assert "more accurate than hog" in found["challenger"]["text"]
    worse = verdict(*contestants, challenger="hog")["challenger"]
    assert worse["text"].startswith("No: hog is 15.0 points less accurate than fisher")
    alone = verdict(contestants[0], challenger="hog")["challenger"]
    assert alone["text"] == "No: hog does not pass, since there is no other classical contestant to beat."


def test_a_challenger_must_keep_the_limits_and_end_well() -> None:
    late = entry("net", "deep", p50=9.0)
    found = verdict(
        (entry("hog"), right_on(150)), (late, right_on(190)), challenger="net", latency_limit_ms=5
    )
    assert found["challenger"]["text"] == "No: net does not pass, since it takes 13.5 ms (p95)."
    short = entry("net", "deep", outcome="undertrained", message="2 epochs")
    found = verdict((entry("hog"), right_on(150)), (short, right_on(190)), challenger="net")
    assert found["challenger"]["text"] == "No: net does not pass, since undertrained: 2 epochs."


def test_what_does_not_fit_is_an_error() -> None:
    with pytest.raises(ParameterError, match="'nte' is not among the contestants: name one of hog"):
        verdict((entry("hog"), right_on(150)), challenger="nte")
    with pytest.raises(ParameterError, match=r"hog: answers to \(3,\) test images, there are 200"):
        verdict((entry("hog"), right_on(2, 3)))
    with pytest.raises(ParameterError, match="no test image"):
        verdict((entry("hog"), right_on(0, 0)), y=np.zeros(0, int))

"""The verdict in words, from what was decided; no decision is made here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from classic_cv.compare.entries import Limits
from classic_cv.compare.result import NETWORKS, Result, breach
from classic_cv.report import accuracy_text
from classic_cv.stats import accuracy_interval

RATIOS = {
    "latency_ratio": "milliseconds per image",
    "size_ratio": "megabytes",
    "fit_ratio": "CPU seconds of training",
}


def points(share: float) -> str:
    """0.0312 as ``3.1 points``, without a sign."""
    return f"{abs(100 * share):.1f} points"


def points_interval(interval: Sequence[float] | None, confidence: float = 0.95) -> str:
    """``95 % interval 0.4 to 5.9``, in points; of a single image none."""
    if interval is None:
        return "no interval from a single image"
    # Adding 0 turns -0.0 into 0.0.
    low, high = (round(100 * end, 1) + 0.0 for end in interval)
    return f"{100 * confidence:g} % interval {low:.1f} to {high:.1f}"


def limits_text(limits: Limits) -> str:
    """``5 ms (p95) and 10 MB``; empty without limits."""
    told = [f"{limits.latency_ms:g} ms (p95)"] if limits.latency_ms is not None else []
    told += [f"{limits.size_mb:g} MB"] if limits.size_mb is not None else []
    return " and ".join(told)


def listed(names: Sequence[str], most: int = 5) -> str:
    """``a, b and c``; ``a, b, c, d, e and 3 more``."""
    shown = list(names[:most])
    shown += [f"{len(names) - most} more"] if len(names) > most else []
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def verdict_text(
    results: Sequence[Result],
    limits: Limits,
    winner: Result | None,
    instead_of: Mapping[str, Any] | None,
    reference: Result | None,
    deep: Result | None,
    comparisons: Sequence[Mapping[str, Any]],
) -> str:
    """The verdict, some sentences.

    Args:
        winner: which to use.
        instead_of: the winner's difference to the most accurate one, where it was taken instead of that.
        reference: the best classical one.
        deep: the best deep one.
        comparisons: of all with the reference.
    """
    by_name = {found["name"]: found for found in comparisons}
    sentences = [_use(results, limits, winner)]
    if winner and instead_of:
        sentences.append(_instead(winner, instead_of))
    sentences.append(_deep_sentence(results, deep, reference, by_name))
    if deep and breach(deep, limits):
        sentences.append(f"{deep.name} does not keep the limits: {breach(deep, limits)}.")
    if reference is None:
        sentences.append(_no_reference(results, limits))
    if winner and winner is not deep and winner.name in by_name:
        sentences.append(f"{winner.name}: {_against(by_name[winner.name])}{costs(by_name[winner.name])}.")
    sentences += [_no_claims(results), *(spread_text(r) for r in results if r in (winner, deep, reference))]
    return " ".join(sentence for sentence in sentences if sentence)


def _use(results: Sequence[Result], limits: Limits, winner: Result | None) -> str:
    kept = limits_text(limits)
    if winner is not None and winner.right is not None:
        correct, n = int(winner.right.sum()), len(winner.right)
        interval = accuracy_interval(correct, n)
        measured = accuracy_text({"accuracy": winner.accuracy, "accuracy_ci95": interval, "n": n})
        p50, size = winner.latency("p50"), winner.figure("model_bytes")
        told = [measured]
        told += [f"{p50:.3g} ms per image (median, one thread)"] if p50 is not None else []
        told += [f"{size / 1e6:.3g} MB"] if size is not None else []
        return f"{f'Within {kept}, use' if kept else 'Use'} {winner.name}: {', '.join(told)}."
    broken = [f"{r.name}: {breach(r, limits)}" for r in results if r.may_win]
    if broken:
        return f"No contestant keeps the limits of {kept} ({listed(broken)})."
    return "No contestant can be recommended: none was fitted and measured as planned."


def _instead(winner: Result, found: Mapping[str, Any]) -> str:
    faster = f"{_times(found['speedup'])} times as fast" if found["speedup"] else "far faster"
    if found["difference"] == 0:
        return f"{found['reference']} is as accurate on these images; {winner.name} is {faster}."
    gap = points(found["difference"])
    return (
        f"{found['reference']} is {gap} more accurate on these images, but {winner.name} is not shown to be worse "
        f"({points_interval(found['ci95'])} for its difference) and is {faster}."
    )


def _deep_sentence(
    results: Sequence[Result],
    deep: Result | None,
    reference: Result | None,
    by_name: Mapping[str, Mapping[str, Any]],
) -> str:
    if deep is None:
        if any(r.kind in NETWORKS for r in results):
            return "Whether a deep model is worth its cost is not known: no claim can be made about one."
        return "No deep contestant took part."
    if reference is None:
        return ""
    found, kind = by_name[deep.name], deep.kind
    gap, interval = points(found["difference"]), points_interval(found["ci95"])
    best = f"the best classical one, {reference.name}"
    if found["claim"] == "better":
        told = f"The best {kind} contestant, {deep.name}, gains {gap} over {best} ({interval})"
    elif found["claim"] == "worse":
        told = f"The best {kind} contestant, {deep.name}, loses {gap} to {best} ({interval})"
    else:
        told = f"The best {kind} contestant, {deep.name}, against {best}: {_against(found)}"
    return f"{told}{costs(found)}."


def _against(found: Mapping[str, Any]) -> str:
    """The difference to the reference, as far as it may be claimed."""
    gap, interval, reference = points(found["difference"]), points_interval(found["ci95"]), found["reference"]
    if found["claim"] in ("better", "worse"):
        word = "more" if found["claim"] == "better" else "less"
        return f"{gap} {word} accurate than {reference} ({interval})"
    if found["difference"] == 0:
        where = f"level with {reference}"
    else:
        where = f"{gap} {'ahead of' if found['difference'] > 0 else 'behind'} {reference}"
    shown = f"no claim, since {found['reason']}" if found["claim"] == "none" else "no difference is shown"
    return f"{shown}, it is {where} ({interval})"


def costs(found: Mapping[str, Any]) -> str:
    """``, at 12 times the milliseconds per image, …``; empty where nothing was measured."""
    told = [
        f"{_times(found[key])} times the {unit}" for key, unit in RATIOS.items() if found[key] is not None
    ]
    return f", at {listed(told)}" if told else ""


def _times(ratio: float) -> str:
    if ratio >= 10:
        return f"{ratio:,.0f}"
    return f"{ratio:.1f}" if ratio >= 1 else f"{ratio:.2g}"


def _no_reference(results: Sequence[Result], limits: Limits) -> str:
    kept = " and keeps the limits" if limits_text(limits) else ""
    if any(r.kind == "classical" for r in results):
        return f"There is nothing to compare with: no classical contestant was measured as planned{kept}."
    return "There is nothing to compare with: no classical contestant took part."


def _no_claims(results: Sequence[Result]) -> str:
    told = [f"{r.name} ({r.no_claim})" for r in results if r.no_claim]
    return f"No claim is made about {listed(told, 10)}." if told else ""


def seeds(result: Result) -> list[float]:
    """Accuracies of all seeds whose fit ended well: the one that is judged first."""
    repeats = [r for r in result.record.get("repeats") or [] if r.get("outcome", "ok") == "ok"]
    again = [r["accuracy"] for r in repeats if r["accuracy"] is not None]
    return [result.accuracy, *again]


def spread_text(result: Result) -> str:
    """How far the accuracy moves with the seed; empty where there is one seed only."""
    found = seeds(result)
    if len(found) < 2 or result.right is None:
        return ""
    low, high = 100 * min(found), 100 * max(found)
    deviation = points(float(np.std(found, ddof=1)))
    return f"Over {len(found)} seeds, {result.name} reached {low:.1f} to {high:.1f} % (standard deviation {deviation})."


def challenge_text(
    name: str,
    reference: Result | None,
    difference: float | None,
    interval: tuple[float, float] | None,
    margin: float,
    confidence: float,
    obstacle: str,
) -> str:
    """Whether a challenger passed, and why.

    Args:
        difference: to the reference; None where it was not measured.
        obstacle: what stands against it apart from the interval; empty for nothing.
    """
    if reference is None or difference is None:
        return f"No: {name} does not pass, since {obstacle}."
    word = "less" if difference < 0 else "more"
    told = f"{points(difference)} {word} accurate than {reference.name} ({points_interval(interval, confidence)})"
    if obstacle:
        return f"No: {name} is {told}, but {obstacle}."
    if interval is not None and interval[0] > margin:
        return f"Yes: {name} is {told}, by more than the {points(margin)} asked for."
    return f"No: {name} is {told}; the low end of the interval must be above {points(margin)}."

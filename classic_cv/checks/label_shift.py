"""Whether the test part has other shares of the classes than the training part, or other classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from classic_cv.checks.finding import Checked, Finding
from classic_cv.checks.subject import Subject
from classic_cv.checks.wording import counted, p_value
from classic_cv.dataset._dataset import listing
from classic_cv.report import percent

ALPHA = 0.01

TOTAL_VARIATION = 0.05
"""Share of the test images that would have to be of another class, above what chance gives, to be worth telling."""

LARGE_VARIATION = 0.15
"""The same for a warning: an accuracy differs by up to this share between the two distributions of classes."""

DRAWS = 1999
"""Random test parts of the same size that the shift is compared with: a p-value of at least 0.0005."""

NAMED = 3


def check_label_shift(subject: Subject) -> Checked:
    """Compares the classes' shares in both parts, which have images; of a regression the distributions of targets."""
    train, test = subject.y(subject.train), subject.y(subject.test)
    if not subject.is_classification:
        return _targets(train, test)
    names = subject.class_names
    counts = np.stack([np.bincount(y, minlength=len(names)) for y in (train, test)])
    shift = label_shift(counts, subject.job.seed)
    missing = [names[k] for k in np.flatnonzero((counts[0] > 0) & (counts[1] == 0)).tolist()]
    new = [names[k] for k in np.flatnonzero((counts[0] == 0) & (counts[1] > 0)).tolist()]
    findings = [
        _absent(new, "new-classes"),
        _absent(missing, "missing-classes"),
        _shifted(names, counts, shift),
    ]
    figures = {"label_shift": shift, "missing": missing, "new": new}
    return Checked([one for one in findings if one is not None], {"drift": figures})


def label_shift(counts: NDArray[np.integer], seed: int) -> dict[str, float]:
    """How far two parts differ in their classes' shares, and how far random parts of these sizes do.

    The test is the chi-squared test of homogeneity with its exact conditional distribution, by Monte Carlo: the second
    part's counts are drawn from all images without replacement, which holds for classes of any size.

    Args:
        counts: (2, n_classes), images of each class in both parts; both have some.
        seed: of the draws.

    Returns:
        ``p``; ``total_variation``, half the sum of the shares' absolute differences (0 to 1); ``by_chance``, its mean
        over the draws.
    """
    totals = counts.sum(axis=0)
    occurring = totals > 0
    totals, second = totals[occurring].astype(np.int64), counts[1][occurring]
    n_second = int(second.sum())
    expected = totals * (n_second / totals.sum())
    rng = np.random.default_rng(seed)
    drawn = rng.multivariate_hypergeometric(totals, n_second, size=DRAWS, method="marginals")
    # Chi-squared over both parts is this times a constant, since what one part lacks the other has.
    distances = (((drawn - expected) ** 2) / totals).sum(axis=1)
    observed = (((second - expected) ** 2) / totals).sum()
    p = (1 + int((distances >= observed * (1 - 1e-12)).sum())) / (1 + DRAWS)
    return {
        "p": p,
        "total_variation": _variation(totals, second),
        "by_chance": float(_variations(totals, drawn).mean()),
    }


def _variations(totals: NDArray[np.int64], second: NDArray[np.integer]) -> NDArray[np.float64]:
    first = totals - second
    shares = [part / np.maximum(part.sum(axis=-1, keepdims=True), 1) for part in (first, second)]
    return np.asarray(np.abs(shares[0] - shares[1]).sum(axis=-1) / 2, np.float64)


def _variation(totals: NDArray[np.int64], second: NDArray[np.integer]) -> float:
    return float(_variations(totals, second))


def _shifted(names: tuple[str, ...], counts: NDArray[np.integer], shift: dict[str, float]) -> Finding | None:
    excess = shift["total_variation"] - shift["by_chance"]
    if shift["p"] >= ALPHA or excess < TOTAL_VARIATION:
        return None
    shares = counts / counts.sum(axis=1, keepdims=True)
    change = shares[1] - shares[0]
    most = np.argsort(-np.abs(change), kind="stable")[:NAMED].tolist()
    told = listing([f"{names[k]} {percent(shares[0][k])} to {percent(shares[1][k])}" for k in most])
    return Finding(
        check="drift",
        kind="label-shift",
        severity="warning" if excess >= LARGE_VARIATION else "info",
        count=int((counts.sum(axis=0) > 0).sum()),
        message=f"The classes' shares differ between training and test part by {percent(shift['total_variation'])} of "
        f"the images in all (chance alone gives {percent(shift['by_chance'])}, {p_value(shift['p'])}), most: {told}.",
        why="A model expects classes as often as it has learned them, and an accuracy depends on their shares.",
        action="Compare models by balanced accuracy, or draw the test part so that the shares are those of the use.",
    )


def _absent(classes: list[str], kind: str) -> Finding | None:
    """Classes that only one part has."""
    if not classes:
        return None
    new = kind == "new-classes"
    there, lacking = ("test", "training") if new else ("training", "test")
    return Finding(
        check="drift",
        kind=kind,
        severity="error" if new else "warning",
        count=len(classes),
        message=f"The {there} part has {counted(len(classes), 'class', 'classes')} without {lacking} images: "
        f"{listing(classes)}.",
        why="No answer for images of a class that a model has never seen can be right."
        if new
        else "Nothing is known of how well a class is recognised that is never tested.",
        action=f"Add {lacking} images of what is lacking, or leave it out.",
    )


def _targets(train: NDArray[Any], test: NDArray[Any]) -> Checked:
    """Numbers instead of classes: the largest difference of their cumulative shares."""
    from scipy.stats import ks_2samp

    found = ks_2samp(train, test, method="asymp")
    distance, p = float(found.statistic), float(found.pvalue)
    figures = {"drift": {"label_shift": {"p": p, "ks": distance}, "missing": [], "new": []}}
    if p >= ALPHA or distance < LARGE_VARIATION:
        return Checked(figures=figures)
    return Checked(
        [
            Finding(
                check="drift",
                kind="target-shift",
                severity="warning",
                count=len(test),
                message=f"The targets of training and test part differ: medians {np.median(train):.4g} and "
                f"{np.median(test):.4g}, cumulative shares by up to {percent(distance)} ({p_value(p)}).",
                why="Errors depend on where the targets lie, and a model estimates badly where it has seen few.",
                action="Draw the test part so that its targets are distributed as those of the training part.",
            )
        ],
        figures,
    )

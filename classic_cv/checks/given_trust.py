"""How far somebody else's predictions can be trusted: calibration, copies in training, labels that two contradict."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from classic_cv.checks.finding import Finding, Item
from classic_cv.checks.strata import worse_by_chance
from classic_cv.checks.subject import Subject
from classic_cv.checks.wording import p_value
from classic_cv.compare.wording import points, points_interval
from classic_cv.metrics import calibration_noise, expected_calibration_error
from classic_cv.report import percent
from classic_cv.stats import accuracy_interval, paired_difference

Told = tuple[dict[str, Any] | None, list[Finding]]
"""Figures, None where they cannot be told, and findings."""

CHECK = "predictions"

MISCALIBRATED = 0.05
"""How far the calibration error has to be above that of chance: of 100 answers five are more or less sure than they
should be. Less changes hardly a decision, and many a network that is well trained has it."""

BEYOND_NOISE = 3.0
"""And so many times that of chance. Even where all images are in one bin, so that the error is the absolute value of
one normal variable, chance reaches three times its mean in fewer than 2 of 100 parts."""

FEWEST_IMAGES = 30
"""Images below which nothing is held against a calibration: one mistake with a probability of 0.9 is no rarity."""

INFLATED = 0.01
"""Share of accuracy that copies in training have to bring before they are held against a score: a point is what people
compare models by."""

ALPHA = 0.05


def calibration(name: str, probabilities: NDArray[np.float32] | None, y: NDArray[np.int64]) -> Told:
    """Whether the probability of the most probable class is how often it is right.

    Returns:
        ``ece, noise`` (what perfect calibration would show, see ``calibration_noise``), ``surplus``: mean probability
        less accuracy, above 0 for overconfidence, with ``surplus_ci95``. None without probabilities.
    """
    if probabilities is None:
        return None, []
    ece, noise = expected_calibration_error(probabilities, y), calibration_noise(probabilities)
    surplus, interval = paired_difference(probabilities.max(axis=1), probabilities.argmax(axis=1) == y)
    figures = {
        "ece": ece,
        "noise": noise,
        "surplus": surplus,
        "surplus_ci95": None if interval is None else list(interval),
    }
    if len(y) < FEWEST_IMAGES or ece - noise < MISCALIBRATED or ece < BEYOND_NOISE * noise:
        return figures, []
    kind = "miscalibrated"
    if interval is not None and interval[0] > 0:
        kind = "overconfident"
    elif interval is not None and interval[1] < 0:
        kind = "underconfident"
    message = (
        f"{name} is {kind}: its calibration error is {percent(ece)}, perfect calibration would show {percent(noise)} "
        f"on {len(y):,} images; mean probability less accuracy is {_signed(surplus)} ({points_interval(interval)})."
    )
    return figures, [
        Finding(
            CHECK,
            kind,
            "warning",
            len(y),
            message,
            "A threshold on such probabilities, or a cost computed from them, goes wrong.",
            "Calibrate on validation images, by temperature scaling for example, before probabilities are used.",
        )
    ]


def leakage(
    name: str,
    indices: NDArray[np.intp],
    right: NDArray[np.bool_],
    is_leaked: NDArray[np.bool_],
    y: NDArray[np.int64],
) -> Told:
    """The accuracy on all test images, on those without copies in training, and on those with copies.

    Args:
        name: of the predictions.
        indices: (n,) positions in the data set.
        right, is_leaked: (n,), whether the answer is right, and whether the image has a copy in training.
        y: (n,) class numbers: copies are compared with others of the same class.

    Returns:
        ``all, without_leaked, leaked``: ``n, accuracy, ci95`` each, the last two None where n is 0; ``p``: of the exact
        test whether leaked images are answered better.
    """
    parts = {"all": right, "without_leaked": right[~is_leaked], "leaked": right[is_leaked]}
    figures: dict[str, Any] = {key: _share(part) for key, part in parts.items()}
    p = worse_by_chance(right, ~is_leaked, y)
    figures["p"] = p
    whole, clean, leaked = (figures[key] for key in parts)
    if not clean["n"] or whole["accuracy"] - clean["accuracy"] < INFLATED or p >= ALPHA:
        return figures, []
    low, high = clean["ci95"]
    message = (
        f"{name} reaches {percent(whole['accuracy'])} on all {whole['n']:,} test images, but "
        f"{percent(clean['accuracy'])} (95 % interval {100 * low:.1f} to {percent(high)}) without the {leaked['n']:,} "
        f"that have copies in training, of which it gets {percent(leaked['accuracy'])} right ({p_value(p)})."
    )
    items = tuple(Item((int(index),), 1.0) for index in indices[is_leaked & right].tolist())
    return figures, [
        Finding(
            CHECK,
            "inflated-by-copies",
            "error",
            leaked["n"],
            message,
            "What a model has seen in training it need not recognise: the score of new images is the lower one.",
            "Report the accuracy without these test images, and train again without the copies.",
            items,
            "answered right",
        )
    ]


def label_suspects(
    subject: Subject,
    indices: NDArray[np.intp],
    labels: NDArray[np.int64],
    probabilities: NDArray[np.float32] | None,
) -> Told:
    """Test images for which predictions and the classical model agree on another class than the label, both surely.

    Sure is, as in confident learning (Northcutt, Jiang and Chuang 2021), who gives a class at least the probability
    that it gives on average to the images labelled so.

    Args:
        subject: with its reference.
        indices: (n,) positions in the data set of the test images.
        labels, probabilities: (n,) and (n, n_classes), the predictions; probabilities may be unknown.

    Returns:
        ``n`` suspects ``of`` images that both answer, ``share`` and ``ci95``; None without a reference.
    """
    reference = subject.reference
    if reference is None:
        return None, []
    common, mine, theirs = np.intersect1d(indices, reference.test, return_indices=True)
    if len(common) == 0:
        return None, []
    y, said = subject.y(common), labels[mine]
    known = [reference.outputs_test[theirs]]
    known += [probabilities[mine]] if probabilities is not None else []
    suspect = (said != y) & (known[0].argmax(axis=1) == said)
    for outputs in known:
        suspect &= outputs[np.arange(len(y)), said] >= _own_class(outputs, y)[said]
    margins = np.mean([_margins(outputs, said, y) for outputs in known], axis=0)
    found = np.flatnonzero(suspect)
    found = found[np.argsort(-margins[found], kind="stable")]
    n = len(found)
    figures = {"n": n, "of": len(y), "share": n / len(y), "ci95": list(accuracy_interval(n, len(y)))}
    if n == 0:
        return figures, []
    names = subject.class_names
    items = tuple(
        Item((int(common[k]),), float(margins[k]), f"labelled {names[y[k]]}, both predict {names[said[k]]}")
        for k in found.tolist()
    )
    message = (
        f"{n:,} of {len(y):,} test images ({percent(n / len(y))}) may be labelled wrong: the predictions and the "
        f"classical model, {reference.recipe.name}, surely agree on another class."
    )
    return figures, [
        Finding(
            CHECK,
            "label-suspects",
            "info",
            n,
            message,
            "Wrong labels in the test part are counted as mistakes of whoever is right.",
            "Look at these images, correct the labels that are wrong, and measure again.",
            items,
            "margin",
        )
    ]


def _share(right: NDArray[np.bool_]) -> dict[str, Any]:
    n, correct = len(right), int(right.sum())
    if n == 0:
        return {"n": 0, "accuracy": None, "ci95": None}
    return {"n": n, "accuracy": correct / n, "ci95": list(accuracy_interval(correct, n))}


def _own_class(outputs: NDArray[np.float32], y: NDArray[np.int64]) -> NDArray[np.float64]:
    """Each class's mean probability over the images labelled so; 1, which is as good as never, where there are none."""
    n_classes = outputs.shape[1]
    counts = np.bincount(y, minlength=n_classes)
    sums = np.bincount(y, weights=outputs[np.arange(len(y)), y], minlength=n_classes)
    return np.where(counts > 0, sums / np.maximum(counts, 1), 1.0)


def _margins(
    outputs: NDArray[np.float32], said: NDArray[np.int64], y: NDArray[np.int64]
) -> NDArray[np.float64]:
    rows = np.arange(len(y))
    return (outputs[rows, said] - outputs[rows, y]).astype(np.float64)


def _signed(share: float) -> str:
    return f"{'-' if share < 0 else '+'}{points(share)}"

"""A linear SVM on what a backbone gives, as the last layer of a network."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from classic_cv.compare.contestant import FitTask
from classic_cv.deep.networks import as_input, head_of
from classic_cv.deep.training import DeepData
from classic_cv.heads.calibration import Calibrator
from classic_cv.heads.fitting import FittedStack, TrainingSet, fit_head
from classic_cv.heads.svm import LinearSVM
from classic_cv.recipe import LinearSVMSettings

SOLVE_SECONDS = 3e-7
"""CPU seconds of choosing C and of calibration, per image, column and class: 6 s for 1,000 x 1,280 and 17 classes."""

PLAIN_C = 1.0
"""Where there is no time to choose."""

NEVER = -30.0
"""The logit of a class without a training image."""

MOST_STARTED = 2000
"""Images that fine-tuning's first head is fitted on at most."""

EMBEDDED = 64
"""Images that are embedded at a time."""


def fit_linear_head(
    X: NDArray[np.float32],
    y: NDArray[np.intp],
    groups: NDArray[np.int64],
    n_classes: int,
    task: FitTask,
    log: list[str],
) -> FittedStack:
    """A calibrated linear SVM; C by cross-validation that keeps groups together, where the budget pays for that.

    Args:
        X: embedded images (n, width); overwritten.
        y, groups: of these, (n,); classes are numbered from 0 without gaps.
        n_classes: how many.
        task: its budget, seed and progress.
        log: gets a line on what was chosen.
    """
    needed = SOLVE_SECONDS * X.size * n_classes
    C: Any = "auto"
    if needed > task.budget.left:
        C = PLAIN_C
        log.append(f"C = {C:g} is not chosen: that would take about {needed:.0f} CPU seconds")
    settings = LinearSVMSettings(C=C, scale="groups", precision="float32")
    training = TrainingSet(X, y, groups, [X.shape[1]], "classification", task.seed)
    stack = fit_head(settings, training, task.progress)
    accuracy = stack.choices.get("cv_accuracy")
    shown = "" if accuracy is None else f", accuracy {accuracy:.3f} in cross-validation"
    log.append(f"linear SVM on {X.shape[1]} columns of {len(y)} images: C = {stack.settings.C}{shown}")  # type: ignore[union-attr]
    return stack


def folded_head(
    stack: FittedStack, classes: NDArray[np.int64], n_classes: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weights (n_classes, width) and biases (n_classes,) whose softmax are the calibrated probabilities.

    Args:
        stack: a linear SVM without maps, and its calibration.
        classes: the class number of each of its classes.
        n_classes: of all; one that it has not seen gets a logit that makes its probability 0.
    """
    svm, calibrator = _parts(stack)
    own = svm.coef_.astype(np.float64) * calibrator.scale_[:, None]
    own_bias = svm.intercept_.astype(np.float64) * calibrator.scale_ + calibrator.bias_
    if len(own) == 1:
        # Two classes are one problem: the softmax of (0, z) is the logistic function of z.
        own, own_bias = np.vstack([np.zeros_like(own), own]), np.concatenate([[0.0], own_bias])
    weight, bias = np.zeros((n_classes, own.shape[1]), np.float32), np.full(n_classes, NEVER, np.float32)
    weight[classes], bias[classes] = own, own_bias
    return weight, bias


def expected_probabilities(
    stack: FittedStack, X: NDArray[np.float32], classes: NDArray[np.int64], n_classes: int
) -> NDArray[np.float32]:
    """What the SVM and its calibration say of embedded images (n, width): float32 (n, n_classes)."""
    svm, calibrator = _parts(stack)
    scores = svm.decision_function(X)
    found = np.zeros((len(X), n_classes), np.float32)
    found[:, classes] = calibrator.transform(scores if scores.ndim == 2 else scores[:, None])
    return found


def _parts(stack: FittedStack) -> tuple[LinearSVM, Calibrator]:
    assert isinstance(stack.head, LinearSVM)
    assert stack.calibrator is not None
    return stack.head, stack.calibrator


def start_head(network: nn.Module, data: DeepData, n_classes: int, seed: int) -> None:
    """Let the last layer begin as a linear SVM of what the pretrained backbone gives, in place.

    From a random head, the first gradients spoil what the backbone knows before the head can use it (Kumar et al. 2022,
    arXiv:2202.10054: first the head, then all).

    Args:
        network: with a pretrained backbone.
        data: to train on; at most ``MOST_STARTED`` of its images are looked at.
        n_classes: of the network.
        seed: of the folds of the calibration.
    """
    n = len(data.y)
    rows = np.linspace(0, n - 1, min(MOST_STARTED, n)).astype(np.intp)
    classes, y = np.unique(data.y[rows], return_inverse=True)
    head = head_of(network)
    if len(classes) < 2 or np.bincount(y).min() < 2 or not isinstance(head, nn.Linear):
        return
    X = _embedded(network, data, rows)
    settings = LinearSVMSettings(C=PLAIN_C, scale="groups", precision="float32")
    training = TrainingSet(X, y, None, [X.shape[1]], "classification", seed)
    weight, bias = folded_head(fit_head(settings, training, None), classes, n_classes)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(weight))
        head.bias.copy_(torch.from_numpy(bias))


def _embedded(network: nn.Module, data: DeepData, rows: NDArray[np.intp]) -> NDArray[np.float32]:
    """What the last layer sees of some images: float32 (n, width)."""
    network.eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(rows), EMBEDDED):
            pixels = as_input(data.pixels[rows[start : start + EMBEDDED]], data.values)
            maps = network.forward_features(pixels)  # type: ignore[operator]
            parts.append(network.forward_head(maps, pre_logits=True).float().numpy())  # type: ignore[operator]
    return np.concatenate(parts)

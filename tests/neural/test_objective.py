"""Losses and figures against formulas written out in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from classic_cv.neural.objective import Figures, Objective

Reals = NDArray[np.float64]


def drawn(n: int, k: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(0, 2, (n, k)).astype(np.float32))


def softmax(scores: Reals) -> Reals:
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    result: Reals = e / e.sum(axis=1, keepdims=True)
    return result


def divergence(p: Reals, q: Reals) -> float:
    return float((p * np.log(p / q)).sum(axis=1).mean())


def as_two(scores: Tensor) -> Reals:
    """One score as two: the logistic function is the softmax of 0 and the score."""
    column = scores.double().numpy()
    return np.hstack([np.zeros_like(column), column])


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("weighted", [False, True])
def test_two_classes_cost_the_smoothed_log_loss_of_the_logistic_function(
    smoothing: float, weighted: bool
) -> None:
    scores, y = drawn(40, 1), torch.arange(40) % 2
    weights = torch.tensor([0.6, 1.4]) if weighted else None
    found = Objective("classification", smoothing, class_weights=weights).loss(scores, y)
    p = 1 / (1 + np.exp(-scores.double().numpy()[:, 0]))
    target = np.where(y.numpy() == 1, 1 - smoothing / 2, smoothing / 2)
    each = -target * np.log(p) - (1 - target) * np.log(1 - p)
    factor = np.where(y.numpy() == 1, 1.4, 0.6) if weighted else np.ones(40)
    assert float(found) == pytest.approx((factor * each).mean(), rel=1e-5)


def test_two_classes_without_weights_cost_the_same_with_one_score_as_with_two() -> None:
    scores, y = drawn(40, 1), torch.arange(40) % 2
    objective = Objective("classification", 0.2)
    two = torch.cat([torch.zeros_like(scores), scores], dim=1)
    assert float(objective.loss(scores, y)) == pytest.approx(float(objective.loss(two, y)), rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
def test_several_classes_cost_the_smoothed_cross_entropy(smoothing: float, weighted: bool) -> None:
    scores, y = drawn(60, 4), torch.arange(60) % 4
    weights = np.array([0.25, 0.5, 1.25, 2.0]) if weighted else np.ones(4)
    tensor = torch.from_numpy(weights.astype(np.float32)) if weighted else None
    found = Objective("classification", smoothing, class_weights=tensor).loss(scores, y)
    logs = np.log(softmax(scores.double().numpy()))
    target = (1 - smoothing) * np.eye(4)[y.numpy()] + smoothing / 4
    # Each class's part of a target has the class's weight; the mean is over the weights of the true classes.
    expected = -(target * weights * logs).sum() / weights[y.numpy()].sum()
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_huber_is_square_below_one_and_linear_above() -> None:
    errors = np.array([0.0, 0.5, -0.5, 1.0, -3.0, 10.0])
    scores, y = torch.from_numpy(errors).float()[:, None] + 2, torch.full((6,), 2.0)
    expected = np.where(np.abs(errors) <= 1, errors**2 / 2, np.abs(errors) - 0.5).mean()
    assert float(Objective("regression").loss(scores, y)) == pytest.approx(expected)
    squared = Objective("regression", regression_loss="mse").loss(scores, y)
    assert float(squared) == pytest.approx((errors**2).mean())


CASES: list[tuple[str, int]] = [("classification", 1), ("classification", 5), ("regression", 1)]


@pytest.mark.parametrize(("task", "k"), CASES)
@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_distillation_is_zero_at_the_teachers_scores_and_positive_elsewhere(
    task: Any, k: int, temperature: float
) -> None:
    objective, teacher = Objective(task), drawn(30, k)
    own = teacher.clone().requires_grad_()
    loss = objective.distillation(own, teacher, temperature)
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == pytest.approx(0, abs=1e-6)
    assert own.grad is not None
    np.testing.assert_allclose(own.grad, 0, atol=1e-7)
    for seed in range(1, 5):
        assert float(objective.distillation(drawn(30, k, seed), teacher, temperature)) > 0.01


@pytest.mark.parametrize(("task", "k"), CASES)
def test_the_gradient_of_distillation_leads_to_the_teacher(task: Any, k: int) -> None:
    objective, teacher = Objective(task), drawn(30, k)
    own = drawn(30, k, 1).requires_grad_()
    objective.distillation(own, teacher, 2.0).backward()  # type: ignore[no-untyped-call]
    assert own.grad is not None
    with torch.no_grad():
        before = float(objective.distillation(own, teacher, 2.0))
        after = float(objective.distillation(own - own.grad, teacher, 2.0))
    assert after < before
    if k == 1:
        # The score goes up where the teacher's is higher.
        assert torch.equal(torch.sign(-own.grad), torch.sign(teacher - own.detach()))


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_distillation_is_the_divergence_of_the_cooled_softmax_times_the_squared_temperature(
    temperature: float,
) -> None:
    plain: Callable[[Tensor], Reals] = lambda scores: scores.double().numpy()  # noqa: E731
    for k, of in ((4, plain), (1, as_two)):
        scores, teacher = drawn(25, k), drawn(25, k, 7)
        found = Objective("classification").distillation(scores, teacher, temperature)
        p, q = (softmax(of(s) / temperature) for s in (teacher, scores))
        assert float(found) == pytest.approx(temperature**2 * divergence(p, q), rel=1e-4)


def test_the_error_is_the_share_of_wrong_images() -> None:
    y = torch.tensor([0, 1, 2, 0])
    scores = torch.tensor([[2.0, 0, 0], [0, 2, 0], [0, 2, 0], [0, 0, 1]])
    assert Objective("classification", 0.3).figures(scores, y).error == 0.5
    one = torch.tensor([[1.0], [-1.0], [2.0], [-3.0], [-0.1]])
    assert Objective("classification").figures(one, torch.tensor([1, 1, 1, 0, 0])).error == pytest.approx(0.2)
    assert Objective.predicted(one).tolist() == [1, 0, 1, 0, 0]
    assert Objective.predicted(scores).tolist() == [0, 1, 1, 2]


def test_with_class_weights_every_class_counts_alike_in_the_error() -> None:
    y = torch.tensor([0] * 8 + [1] * 2)
    scores = torch.full((10, 1), -1.0)
    balanced = Objective("classification", class_weights=torch.tensor([0.625, 2.5]))
    assert Objective("classification").figures(scores, y).error == pytest.approx(0.2)
    assert balanced.figures(scores, y).error == 0.5
    three = torch.eye(3)[torch.tensor([0, 0, 1, 2])] * 5
    weighted = Objective("classification", class_weights=torch.tensor([0.75, 1.5, 1.5]))
    # Class 2 does not occur: it has no error, rather than an undefined one.
    assert weighted.figures(three, torch.tensor([0, 0, 1, 1])).error == 0.25


def test_the_loss_in_the_figures_is_not_smoothed() -> None:
    scores, y = drawn(40, 3), torch.arange(40) % 3
    found = Objective("classification", 0.4).figures(scores, y)
    expected = -np.log(softmax(scores.double().numpy())[np.arange(40), y.numpy()]).mean()
    assert found.loss == pytest.approx(expected, rel=1e-5)


def test_the_figures_of_a_regression_are_the_mean_absolute_error_and_the_loss() -> None:
    scores, y = torch.tensor([[1.0], [2.0], [5.0]]), torch.tensor([1.0, 2.5, 2.0])
    assert Objective("regression").figures(scores, y) == pytest.approx(Figures(3.5 / 3, (0.125 + 2.5) / 3))

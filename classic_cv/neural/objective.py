"""What training makes small, and what it is judged by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

HUBER_DELTA = 1.0
"""In standard deviations of the target: larger errors count in proportion, not squared."""


class Figures(NamedTuple):
    """How good scores are: ``error`` is a share of wrong images or a mean absolute error, ``loss`` the log loss."""

    error: float
    loss: float


@dataclass(frozen=True)
class Objective:
    """Loss and figures of one task.

    Several classes have a score each (softmax), two classes one score (logistic), a regression one score, the target
    in standard deviations from its mean.

    Attributes:
        task: ``classification`` or ``regression``.
        label_smoothing: share of the target's probability that all classes get alike.
        regression_loss: Huber's or the squared error.
        class_weights: float32 (K,), of mean 1 over the training images; None where all count alike.
    """

    task: Literal["classification", "regression"]
    label_smoothing: float = 0.0
    regression_loss: Literal["huber", "mse"] = "huber"
    class_weights: Tensor | None = None

    def loss(self, scores: Tensor, y: Tensor) -> Tensor:
        """Mean loss of scores (n, n_outputs) for y, int64 classes or float32 targets (n,)."""
        if self.task == "regression":
            of = F.huber_loss if self.regression_loss == "huber" else F.mse_loss
            return of(scores[:, 0], y)
        if scores.shape[1] > 1:
            return F.cross_entropy(scores, y, self.class_weights, label_smoothing=self.label_smoothing)
        target = y.to(scores) * (1 - self.label_smoothing) + self.label_smoothing / 2
        weight = None if self.class_weights is None else self.class_weights[y]
        return F.binary_cross_entropy_with_logits(scores[:, 0], target, weight)

    def distillation(self, scores: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """How far scores are from a teacher's, (n, n_outputs) both (Hinton et al. 2015, arXiv:1503.02531).

        The divergence of the softmax at ``temperature``, times its square, so that its gradient has the size of that
        of the plain loss; for a regression the loss itself.
        """
        if self.task == "regression":
            return self.loss(scores, teacher[:, 0])
        if scores.shape[1] == 1:
            # Two classes as a softmax of two scores, so that both cases are the same divergence.
            scores, teacher = F.pad(scores, (1, 0)), F.pad(teacher, (1, 0))
        goal = F.log_softmax(teacher / temperature, dim=1)
        own = F.log_softmax(scores / temperature, dim=1)
        return temperature**2 * F.kl_div(own, goal, reduction="batchmean", log_target=True)

    def figures(self, scores: Tensor, y: Tensor) -> Figures:
        """Error and loss of scores without smoothing; every class counts alike where there are class weights."""
        plain = Objective(self.task, 0.0, self.regression_loss, self.class_weights)
        loss = float(plain.loss(scores, y))
        if self.task == "regression":
            return Figures(float((scores[:, 0] - y).abs().mean()), loss)
        wrong = (self.predicted(scores) != y).float()
        if self.class_weights is None:
            return Figures(float(wrong.mean()), loss)
        per_class = [wrong[y == k].mean() for k in torch.unique(y)]
        return Figures(float(torch.stack(per_class).mean()), loss)

    @staticmethod
    def predicted(scores: Tensor) -> Tensor:
        """Class numbers (n,) of scores (n, n_outputs)."""
        return (scores[:, 0] > 0).long() if scores.shape[1] == 1 else scores.argmax(dim=1)

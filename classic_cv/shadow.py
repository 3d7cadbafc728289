"""Latency and size of a recipe before it is fitted: a model of zeros with the shapes that fitting would give."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import numpy as np

from classic_cv._latency import ATTEMPTS
from classic_cv.artifact import Metadata
from classic_cv.estimator import Estimator
from classic_cv.featurizer import Featurizer
from classic_cv.fitting import Job, training_latency
from classic_cv.heads.kernel_map import AdditiveMap, Nystroem
from classic_cv.heads.scaler import Scaler
from classic_cv.heads.stack import unfitted_stack
from classic_cv.heads.svm import LinearSVM
from classic_cv.heads.svr import LinearSVR
from classic_cv.model import Model
from classic_cv.recipe import Recipe

FEW, MANY = 20, 100
"""Images that the latency is measured on: for the leaderboard, and where a limit has to be kept."""


class Shadow(NamedTuple):
    """Median and 95th percentile in ms of one image on one thread, bytes of the model, columns of features and head.

    ``columns`` are all that a fit holds at a time: those of the features, and of what the maps make of them.
    """

    ms: float
    p95_ms: float
    model_bytes: int
    n_features: int
    columns: int


def shadow_of(job: Job, featurizer: Featurizer, recipe: Recipe, exact: bool = False) -> Shadow:
    """Measure a recipe's model on training images, with a head of zeros: its time does not depend on its values."""
    model = shadow_model(job, featurizer, recipe)
    latency = training_latency(model, job, MANY, ATTEMPTS) if exact else training_latency(model, job, FEW)
    return Shadow(latency["p50"], latency["p95"], len(model.to_bytes()), *_widths(model))


def shadow_model(job: Job, featurizer: Featurizer, recipe: Recipe) -> Model:
    """A model of zeros."""
    maps, head, calibrator = unfitted_stack(recipe.head, job.task.kind)
    names = job.task.class_names
    width, K = featurizer.n_features, max(len(names), 2)
    n_rows = (2 if recipe.train.mirror is True else 1) * len(job.train)
    for step in maps:
        width = _fill_map(step, width, n_rows)
    for estimator in [head, *([calibrator] if calibrator is not None else [])]:
        estimator.load_state(_zeros(estimator, width, K, n_rows))
    if getattr(recipe.head, "precision", "float32") == "float16":
        for step in [*maps, head]:
            step.round_to_float16()
    metadata = Metadata(
        recipe_name=recipe.name,
        recipe=recipe.to_table(),
        gray=featurizer.gray,
        class_names=names,
        seed=job.seed,
        test_fraction=job.test_fraction,
        split_sha256=job.split.fingerprint,
        n_train=len(job.train),
        fit={},
        versions={},
        task=job.task.kind,
    )
    plain = msgspec.structs.replace(recipe)
    explained = isinstance(head, LinearSVM | LinearSVR) and not any(isinstance(m, Nystroem) for m in maps)
    mean = np.zeros(width, np.float32) if explained else None
    return Model(plain, featurizer, head, calibrator, metadata, maps, mean)


def _fill_map(step: Estimator, width: int, n_rows: int) -> int:
    """Give a map zeros for ``width`` columns; returns how many it makes of them."""
    if isinstance(step, AdditiveMap):
        step.n_features_in_ = width
        return width * step.n_copies()
    if isinstance(step, Scaler):
        step.learn(np.zeros(width, np.float32), np.ones(width, np.float32))
        return width
    assert isinstance(step, Nystroem)
    m = min(step.n_components, n_rows)
    step.landmarks_ = np.zeros((m, width), np.float32)
    step.normalization_ = np.eye(m, dtype=np.float32)
    return m


def _zeros(estimator: Estimator, width: int, K: int, n_rows: int) -> dict[str, Any]:
    """Learned arrays of the right shapes."""
    single = K == 2
    name = type(estimator).__name__
    problems = 1 if single else K
    shapes: dict[str, dict[str, Any]] = {
        "LinearSVM": {
            "coef_": np.zeros((problems, width), np.float32),
            "intercept_": np.zeros(problems, np.float32),
            "classes_": np.arange(K),
        },
        "Calibrator": {"scale_": np.ones(problems, np.float32), "bias_": np.zeros(problems, np.float32)},
        "Dummy": {"classes_": np.arange(K), "log_prior_": np.zeros(K, np.float32)},
        "DummyRegressor": {"median_": np.zeros(1)},
        "LinearSVR": {"coef_": np.zeros(width, np.float32), "intercept_": np.zeros(1)},
    }
    if name == "RBFSVM":
        # All training rows as support vectors: the most there can be.
        per_class = np.full(K, n_rows // K, np.int64)
        per_class[: n_rows % K] += 1
        return {
            "support_vectors_": np.zeros((n_rows, width), np.float32),
            "dual_coef_": np.zeros((K - 1, n_rows), np.float32),
            "intercept_": np.zeros(K * (K - 1) // 2, np.float32),
            "n_support_": per_class,
            "classes_": np.arange(K),
        }
    if name == "RBFSVR":
        return {
            "support_vectors_": np.zeros((n_rows, width), np.float32),
            "dual_coef_": np.zeros(n_rows, np.float32),
            "intercept_": np.zeros(1),
        }
    return shapes[name]


def _widths(model: Model) -> tuple[int, int]:
    """Columns of what the head sees, and of everything that a fit holds."""
    width = held = model.featurizer.n_features
    for step in model.maps:
        if isinstance(step, AdditiveMap):
            width *= step.n_copies()
            held += width
        if isinstance(step, Nystroem):
            width = len(step.landmarks_)
            held += width
    return width, held

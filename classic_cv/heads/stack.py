"""What a recipe's ``[head]`` consists of: maps of features, the head, calibration. Nothing heavy is imported."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from classic_cv.estimator import Estimator
from classic_cv.heads.calibration import Calibrator
from classic_cv.heads.dummy import Dummy
from classic_cv.heads.hybrid import HybridNetwork, HybridRegressionNetwork
from classic_cv.heads.kernel_map import AdditiveChi2, AdditiveMap, Hellinger, Nystroem
from classic_cv.heads.rbf_svm import RBFSVM
from classic_cv.heads.scaler import Scaler
from classic_cv.heads.svm import LinearSVM
from classic_cv.heads.svr import RBFSVR, DummyRegressor, LinearSVR
from classic_cv.neural.settings import HybridSettings
from classic_cv.recipe import DummySettings, Head, LinearSVMSettings, LinearSVRSettings, RBFSVMSettings

TaskKind = Literal["classification", "regression"]
FittedHead: TypeAlias = LinearSVM | RBFSVM | Dummy | LinearSVR | RBFSVR | DummyRegressor | HybridNetwork
Regressor = LinearSVR | RBFSVR | DummyRegressor | HybridRegressionNetwork


def unfitted_stack(settings: Head, task: TaskKind) -> tuple[list[Estimator], FittedHead, Calibrator | None]:
    """Maps, head and calibrator of ``settings`` before fitting, as a model file is read into them."""
    calibrator = Calibrator() if task == "classification" else None
    if isinstance(settings, DummySettings):
        return [], (Dummy() if task == "classification" else DummyRegressor()), None
    if isinstance(settings, HybridSettings):
        # Its scores are calibrated already: that is a part of its last layer.
        return [], (HybridNetwork() if task == "classification" else HybridRegressionNetwork()), None
    maps: list[Estimator] = list(additive_maps(settings.kernel_map))
    if isinstance(settings, LinearSVMSettings):
        if "rbf" in settings.kernel_map:
            maps += [Scaler(), Nystroem(settings.n_components, _number(settings.gamma))]
        return maps, LinearSVM(), calibrator
    if isinstance(settings, RBFSVMSettings):
        return [*maps, Scaler()], RBFSVM(gamma=_number(settings.gamma)), calibrator
    if isinstance(settings, LinearSVRSettings):
        return maps, LinearSVR(), None
    return [*maps, Scaler()], RBFSVR(gamma=_number(settings.gamma)), None


def _number(value: Any) -> float:
    return 1.0 if value == "auto" else float(value)


def additive_maps(kernel_map: str) -> list[AdditiveMap]:
    """The maps of single values that ``kernel_map`` begins with."""
    if kernel_map.startswith("hellinger"):
        return [Hellinger()]
    return [AdditiveChi2()] if kernel_map == "chi2" else []

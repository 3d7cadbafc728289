"""classic-cv: classical computer vision as a baseline one can trust.

    import classic_cv

    model = classic_cv.fit("data/")
    model.save("model.safetensors")
    classic_cv.load("model.safetensors").predict(["photo.jpg"])

Names are resolved when first used: loading a model and predicting import NumPy and OpenCV only, fitting
imports scikit-learn.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from classic_cv.breaker import Breaker
    from classic_cv.checks.whole import check
    from classic_cv.dataset import Dataset, Split, load_dataset, make_split
    from classic_cv.errors import (
        ArtifactError,
        ClassicCVError,
        DatasetError,
        ExplanationError,
        ImageError,
        LatencyError,
        MissingExtraError,
        NotFittedError,
        ParameterError,
        RecipeError,
        TrainingError,
    )
    from classic_cv.evaluation import evaluate
    from classic_cv.explanation import Explanation
    from classic_cv.fallback import Fallback
    from classic_cv.features import (
        HOG,
        LBP,
        VLAD,
        BagOfVisualWords,
        ColorHistogram,
        DoGHistogram,
        FisherVector,
        ImageProperties,
        PatchDictionary,
        Pixels,
    )
    from classic_cv.features.local import DenseLBP, DenseSIFT, KeypointSIFT, LocalColor, Patches
    from classic_cv.features.resize import Resize
    from classic_cv.fitting import fit
    from classic_cv.heads.calibration import Calibrator
    from classic_cv.heads.rbf_svm import RBFSVM
    from classic_cv.heads.svm import LinearSVM
    from classic_cv.heads.svr import RBFSVR, LinearSVR
    from classic_cv.hybrid import HybridClassifier, HybridRegressor
    from classic_cv.images import Picture, decode, read_image
    from classic_cv.model import Model, load
    from classic_cv.recipe import Recipe, load_recipe

_HOMES = {
    "classic_cv.breaker": ("Breaker",),
    "classic_cv.checks.whole": ("check",),
    "classic_cv.dataset": ("Dataset", "Split", "load_dataset", "make_split"),
    "classic_cv.errors": (
        "ArtifactError",
        "ClassicCVError",
        "DatasetError",
        "ExplanationError",
        "ImageError",
        "LatencyError",
        "MissingExtraError",
        "NotFittedError",
        "ParameterError",
        "RecipeError",
        "TrainingError",
    ),
    "classic_cv.evaluation": ("evaluate",),
    "classic_cv.explanation": ("Explanation",),
    "classic_cv.fallback": ("Fallback",),
    "classic_cv.features": (
        "HOG",
        "LBP",
        "VLAD",
        "BagOfVisualWords",
        "ColorHistogram",
        "DoGHistogram",
        "FisherVector",
        "ImageProperties",
        "PatchDictionary",
        "Pixels",
    ),
    "classic_cv.features.local": ("DenseLBP", "DenseSIFT", "KeypointSIFT", "LocalColor", "Patches"),
    "classic_cv.features.resize": ("Resize",),
    "classic_cv.fitting": ("fit",),
    "classic_cv.heads.calibration": ("Calibrator",),
    "classic_cv.heads.rbf_svm": ("RBFSVM",),
    "classic_cv.heads.svm": ("LinearSVM",),
    "classic_cv.heads.svr": ("RBFSVR", "LinearSVR"),
    "classic_cv.hybrid": ("HybridClassifier", "HybridRegressor"),
    "classic_cv.images": ("Picture", "decode", "read_image"),
    "classic_cv.model": ("Model", "load"),
    "classic_cv.recipe": ("Recipe", "load_recipe"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [  # noqa: RUF022 - the two main verbs first
    "fit",
    "load",
    "evaluate",
    "ArtifactError",
    "BagOfVisualWords",
    "Breaker",
    "Calibrator",
    "ClassicCVError",
    "ColorHistogram",
    "Dataset",
    "DatasetError",
    "DenseLBP",
    "DenseSIFT",
    "DoGHistogram",
    "Explanation",
    "ExplanationError",
    "Fallback",
    "FisherVector",
    "HOG",
    "HybridClassifier",
    "HybridRegressor",
    "ImageError",
    "ImageProperties",
    "KeypointSIFT",
    "LBP",
    "LatencyError",
    "LinearSVM",
    "LinearSVR",
    "LocalColor",
    "MissingExtraError",
    "Model",
    "NotFittedError",
    "ParameterError",
    "PatchDictionary",
    "Patches",
    "Picture",
    "Pixels",
    "RBFSVM",
    "RBFSVR",
    "Recipe",
    "RecipeError",
    "Resize",
    "Split",
    "TrainingError",
    "VLAD",
    "check",
    "decode",
    "load_dataset",
    "load_recipe",
    "make_split",
    "read_image",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

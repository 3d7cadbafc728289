"""The fitted or loaded model: images in, labels and probabilities out. Imports NumPy and OpenCV only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from classic_cv import artifact
from classic_cv.abstention import UNKNOWN, abstains, check_abstention
from classic_cv.artifact import Metadata
from classic_cv.errors import ArtifactError, ClassicCVError, MissingExtraError
from classic_cv.estimator import Estimator
from classic_cv.extraction import Progress, extract
from classic_cv.features.base import Features
from classic_cv.featurizer import Featurizer
from classic_cv.float16 import from_float16, to_float16
from classic_cv.heads.calibration import Calibrator, probabilities_of
from classic_cv.heads.hybrid import HybridNetwork
from classic_cv.heads.stack import FittedHead, Regressor, unfitted_stack
from classic_cv.recipe import Recipe, parse_recipe

if TYPE_CHECKING:
    from classic_cv.explanation import Explanation

GOLDEN_TOLERANCE = 1e-3
"""Relative to the score's size, at least absolute: how close stored scores must come out at loading."""


QUANTISED_TOLERANCE = 3e-2
"""The same for a network in 8 bits: a difference in the last bit of a sum may round to the next of 256 steps."""


def golden_images(seed: int = 0) -> list[NDArray[np.uint8]]:
    """Two RGB images of 48x64 drawn from ``seed``, smooth and rough: never training images.

    From PCG64's raw bits, whose stream NumPy keeps stable across versions (NEP 19).
    """
    raw = np.random.PCG64(seed).random_raw(6 * 8 * 3 + 48 * 64 * 3)
    values = (raw >> np.uint64(56)).astype(np.uint8)
    smooth = cv2.resize(values[: 6 * 8 * 3].reshape(6, 8, 3), (64, 48), interpolation=cv2.INTER_LINEAR)
    rough = values[6 * 8 * 3 :].reshape(48, 64, 3)
    return [np.asarray(smooth, np.uint8), cv2.addWeighted(smooth, 0.75, rough, 0.25, 0.0).astype(np.uint8)]


class Model:
    """A fitted classifier, or a fitted regression.

    Attributes:
        recipe: what it was built from.
        task: ``classification`` or ``regression``.
        class_names: names of the classes, in the order of scores and probabilities; empty for a regression.
        metadata: seed, split fingerprint, choices made while fitting, versions.
        mean: float32, what explanations are relative to: of a linear head (n_mapped,), the mean training features as
            it sees them; of a hybrid head (n_features + planes,), the mean features and the mean color. None for
            other heads and in files of older versions.
        course: of a network that was just trained: ``metadata.fit`` with times and what was tried; None otherwise.
        report: figures that ``fit`` measured; None for a loaded model.
        mistakes: the worst mistakes on the test part, where ``fit`` was asked for insight.
    """

    def __init__(
        self,
        recipe: Recipe,
        featurizer: Featurizer,
        head: FittedHead,
        calibrator: Calibrator | None,
        metadata: Metadata,
        maps: Sequence[Estimator] = (),
        mean: Features | None = None,
    ) -> None:
        self.recipe = recipe
        self.featurizer = featurizer
        self.maps = list(maps)
        self.head = head
        self.calibrator = calibrator
        self.metadata = metadata
        self.mean = mean
        self.report: dict[str, Any] | None = None
        self.course: dict[str, Any] | None = None
        self.mistakes: list[Any] = []

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of scores and probabilities."""
        return self.metadata.class_names

    @property
    def task(self) -> str:
        """``classification`` or ``regression``."""
        return self.metadata.task

    def summary(self) -> dict[str, Any]:
        """What the model is, as plain data: the metadata, the number of features, the file's size."""
        return {
            **msgspec.to_builtins(self.metadata),
            "n_features": self.featurizer.n_features,
            "model_bytes": len(self.to_bytes()),
        }

    def scores(self, X: Features) -> NDArray[np.float32]:
        """Class scores of features: float32 (n, n_classes), or (n,) for two classes; numbers of a regression."""
        mapped: Any = X
        for step in self.maps:
            mapped = step.transform(mapped)  # type: ignore[attr-defined]
        if isinstance(self.head, Regressor):
            return np.asarray(self.head.predict(mapped))
        return np.asarray(self.head.decision_function(mapped), np.float32)

    def probabilities(self, X: Features) -> NDArray[np.float32]:
        """Calibrated class probabilities of features: float32 (n, n_classes), rows sum to 1.

        Raises:
            TypeError: the model estimates a number.
        """
        if self.task == "regression":
            raise TypeError("this model estimates a number and has no class probabilities: use predict")
        scores = self.scores(X)
        if self.calibrator is not None:
            return self.calibrator.transform(scores)
        return probabilities_of(scores)

    def outputs(self, X: Features) -> NDArray[Any]:
        """What is measured of features: probabilities (n, n_classes), or the numbers (n,) of a regression."""
        return self.scores(X) if self.task == "regression" else self.probabilities(X)

    def features(self, images: Any, jobs: int = 1, progress: Progress | None = None) -> Features:
        """Features of images: float32 (n, n_features).

        Args:
            images: a list of paths, encoded bytes or uint8 arrays, or one array (n, height, width[, 3]);
                a single path or bytes object counts as a list of one.
            jobs: threads; -1 for all cores. The result does not depend on it.

        Raises:
            ImageError: an image cannot be used.
        """
        source = _Listed(images)
        if len(source.items) == 1:
            # One image at a time is what latency is about: no batches, no threads, no bookkeeping.
            picture = self.featurizer.prepare(source.items[0], source.names[0])
            return self.featurizer.transform([picture])
        extraction = extract(source, range(len(source.items)), self.featurizer, jobs, progress)
        if extraction.problems:
            raise extraction.problems[0]
        return extraction.X

    def decision_function(self, images: Any, jobs: int = 1) -> NDArray[np.float32]:
        """Class scores of images, as ``features`` takes them: (n, n_classes), or (n,) for two classes."""
        return self.scores(self.features(images, jobs))

    def predict_proba(self, images: Any, jobs: int = 1) -> NDArray[np.float32]:
        """Calibrated probabilities of images, as ``features`` takes them: float32 (n, n_classes)."""
        return self.probabilities(self.features(images, jobs))

    def predict(self, images: Any, jobs: int = 1, abstain: float | None = None) -> NDArray[Any]:
        """The most probable class name, or the estimated number, of each image, as ``features`` takes them: (n,).

        Args:
            abstain: ``unknown`` in place of a class that is less probable than this.

        Raises:
            AbstentionError: the model cannot abstain, or ``abstain`` is no probability.
            ImageError: an image cannot be used.
        """
        if abstain is not None:
            check_abstention(self, abstain)
        if self.task == "regression":
            return self.scores(self.features(images, jobs))
        probabilities = self.predict_proba(images, jobs)
        names: NDArray[Any] = np.array(
            [self.class_names[k] for k in probabilities.argmax(axis=1)], dtype=np.str_
        )
        return names if abstain is None else np.where(abstains(probabilities, abstain), UNKNOWN, names)

    def explain(self, image: Any, class_name: str | None = None) -> Explanation:
        """What each part of one image adds to the score of a class, by default of the predicted one.

        Args:
            image: a path, encoded bytes, an array of pixels or a PIL image.
            class_name: whose score; None for a model that estimates a number.

        Raises:
            ExplanationError: the head couples all columns (an RBF kernel), so its scores are no such sums; or there
                is no such class.
            ImageError: the image cannot be used.
        """
        from classic_cv.explanation import explain

        return explain(self, image, class_name)

    def to_bytes(self) -> bytes:
        """The bytes of the model file."""
        tensors = {}
        for prefix, estimator in _parts(self.featurizer, self.maps, self.head, self.calibrator):
            for name, array in estimator.state().items():
                tensors[f"{prefix}.{name}"] = array
        if self.mean is not None:
            values, exponents = to_float16(self.mean[None])
            tensors |= {"explanation.mean": values, "explanation.exponent": exponents}
        tensors["golden.scores"] = self.decision_function(golden_images())
        return artifact.to_bytes(self.metadata, tensors)

    def save(self, path: str | Path) -> int:
        """Write the model file, aside and renamed; returns its size in bytes.

        Raises:
            ArtifactError: it cannot be written there.
        """
        data = self.to_bytes()
        artifact.write_atomically(Path(path), data)
        return len(data)


class _Listed:
    """A list of images as an ``ImageSource``."""

    def __init__(self, images: Any) -> None:
        self.items: Sequence[Any] = [images] if isinstance(images, str | Path | bytes) else images
        self.names = [
            str(item) if isinstance(item, str | Path) else f"image {index}"
            for index, item in enumerate(self.items)
        ]

    def read(self, index: int) -> Any:
        return self.items[index]


def _parts(
    featurizer: Featurizer, maps: Sequence[Estimator], head: FittedHead, calibrator: Calibrator | None
) -> list[tuple[str, Estimator]]:
    """The estimators whose learned arrays make up a model, with the prefix of their tensor names."""
    parts: list[tuple[str, Estimator]] = [
        (f"features.{index}", extractor) for index, extractor in enumerate(featurizer.extractors)
    ]
    parts += [(f"maps.{index}", step) for index, step in enumerate(maps)]
    parts.append(("head", head))
    if calibrator is not None:
        parts.append(("calibrator", calibrator))
    return parts


def load(path: str | Path) -> Model:
    """Read a model file, verify it and check that its golden scores come out again.

    Raises:
        ArtifactError: no such file, not a classic-cv model, damaged, truncated, of a newer format, or it
            gives other scores here than where it was fitted.
    """
    metadata, tensors = artifact.read_file(path)
    try:
        model = _build(metadata, tensors)
        expected = tensors["golden.scores"]
        golden = model.decision_function(golden_images())
        if golden.shape != expected.shape:
            raise ValueError(f"golden scores of shape {expected.shape}, expected {golden.shape}")
    except MissingExtraError as error:
        raise MissingExtraError(f"{path}: {error}") from None
    except (ClassicCVError, KeyError, ValueError, TypeError, AttributeError, IndexError, cv2.error) as error:
        raise ArtifactError(f"{path}: its contents do not make a model ({error})") from None
    difference = np.abs(golden - expected) / np.maximum(np.abs(expected), 1.0)
    allowed = QUANTISED_TOLERANCE if getattr(model.head, "is_quantised", False) else GOLDEN_TOLERANCE
    if not float(difference.max()) <= allowed:
        raise ArtifactError(
            f"{path}: gives other scores here than where it was fitted (by {difference.max():.2g}, allowed "
            f"{allowed}); fitted with {metadata.versions}; fit it again with these versions"
        )
    return model


def _n_explained(head: FittedHead) -> int:
    """How many numbers the mean of the training images has that explanations are relative to."""
    if isinstance(head, HybridNetwork):
        return head.n_features_ + int(head.shape_[0])
    coef = np.atleast_1d(getattr(head, "coef_", ()))
    return int(coef.shape[-1])


def _build(metadata: Metadata, tensors: dict[str, NDArray[Any]]) -> Model:
    recipe = parse_recipe(metadata.recipe, name=metadata.recipe_name, source="recipe")
    featurizer = Featurizer.of(recipe)
    featurizer.gray = metadata.gray
    maps, head, calibrator = unfitted_stack(recipe.head, metadata.task)
    for prefix, estimator in _parts(featurizer, maps, head, calibrator):
        start = f"{prefix}."
        estimator.load_state(
            {name.removeprefix(start): array for name, array in tensors.items() if name.startswith(start)}
        )
    mean = None
    if "explanation.mean" in tensors:
        [mean] = from_float16(tensors["explanation.mean"], tensors["explanation.exponent"])
        if len(mean) != _n_explained(head):
            raise ValueError("mean features of another number than the weights")
    return Model(recipe, featurizer, head, calibrator, metadata, maps, mean)

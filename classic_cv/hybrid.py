"""The hybrid head as scikit-learn estimators: images in, a small network beside classical features, labels out."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import ArrayLike, NDArray

from classic_cv.errors import ParameterError, RecipeError
from classic_cv.estimator import Estimator
from classic_cv.extraction import extract
from classic_cv.features.base import Extractor, Features, Images, check_images
from classic_cv.features.pixels import Pixels
from classic_cv.features.resize import Sides
from classic_cv.featurizer import Featurizer
from classic_cv.heads.calibration import probabilities_of
from classic_cv.heads.hybrid import HybridNetwork
from classic_cv.heads.stack import TaskKind
from classic_cv.heads.svm import check_labels
from classic_cv.images import to_picture
from classic_cv.neural.settings import Blocks, Channels, HybridSettings, Positive
from classic_cv.recipe import ImageSettings, hybrid_problem

OWN = {
    "block": "network",
    "channels": "network",
    "blocks": "network",
    "max_parameters": "network",
    "epochs": "optimization",
    "learning_rate": "optimization",
    "pca": "",
}
"""Parameters that ``HybridSettings`` has as well, and the part of it that they are in; none for the top level."""


class _Hybrid(Estimator):
    """What both estimators share: parameters, features, training."""

    learned: ClassVar[tuple[str, ...]] = ("featurizer_", "network_", "settings_", "summary_")
    featurizer_: Featurizer
    network_: HybridNetwork
    settings_: HybridSettings
    summary_: dict[str, Any]

    def __init__(
        self,
        features: Sequence[Extractor] = (),
        *,
        size: Sides = 32,
        block: Literal["plain", "residual", "dense", "separable"] = "separable",
        channels: Annotated[tuple[Channels, ...], Meta(min_length=1, max_length=6)] = (16, 48, 96),
        blocks: Annotated[tuple[Blocks, ...], Meta(min_length=1, max_length=6)] = (1, 3, 2),
        max_parameters: Literal["none"] | Annotated[int, Meta(ge=100)] = "none",
        pca: Annotated[int, Meta(ge=0)] = 0,
        mirror: bool = False,
        epochs: Literal["auto"] | Annotated[int, Meta(ge=1)] = "auto",
        learning_rate: Literal["auto"] | Positive = "auto",
        time_limit: Positive = 300.0,
        settings: HybridSettings | None = None,
        random_state: Annotated[int, Meta(ge=0, lt=2**32)] = 0,
        n_jobs: Annotated[int, Meta(ge=-1)] = -1,
    ) -> None:
        self.features = features
        self.size = size
        self.block = block
        self.channels = channels
        self.blocks = blocks
        self.max_parameters = max_parameters
        self.pca = pca
        self.mirror = mirror
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.time_limit = time_limit
        self.settings = settings
        self.random_state = random_state
        self.n_jobs = n_jobs

    def check_params(self) -> None:
        """Check every parameter by itself, and those that have to fit one another.

        Raises:
            ParameterError: names the class, the parameter, the value and what is allowed.
        """
        super().check_params()
        name = type(self).__name__
        if self.n_jobs == 0:
            raise ParameterError(f"{name}(n_jobs=0): expected -1 for all cores, or at least 1")
        given = self.settings or HybridSettings()
        for key, part in OWN.items():
            inside, mine = _entry(given, part, key), _plain(getattr(self, key))
            if inside not in (_entry(HybridSettings(), part, key), mine):
                raise ParameterError(
                    f"{name}: {'.'.join(filter(None, ('settings', part, key)))} is {inside!r}, but {key} is {mine!r}: "
                    f"give {key}={inside!r} to {name}, and leave it out of settings"
                )
        problem = hybrid_problem(self._all_settings(), self._image_settings())
        if problem:
            raise ParameterError(f"{name}: {_own_names(problem)}")

    def _all_settings(self) -> HybridSettings:
        """``settings``, or the defaults, with the parameters of this estimator in their places."""
        table = msgspec.to_builtins(self.settings or HybridSettings(), enc_hook=_plain)
        for key, part in OWN.items():
            (table[part] if part else table)[key] = _plain(getattr(self, key))
        return msgspec.convert(table, HybridSettings)

    def _image_settings(self) -> ImageSettings:
        return msgspec.convert({"size": _plain(self.size)}, ImageSettings)

    def _fit(self, X: Images, y: NDArray[Any], task: TaskKind, started: float) -> None:
        """Fit extractors and network, with ``y`` as a ``TrainingSet`` has it."""
        from classic_cv.fitting import AFTER_TRAINING, require_torch

        require_torch(type(self).__name__)

        from classic_cv.heads.fitting import TrainingSet
        from classic_cv.neural.course import Surroundings
        from classic_cv.neural.fitting import fit_hybrid

        featurizer = self._fitted_featurizer(X)
        rows = _rows(X, featurizer, self.n_jobs, copies=bool(self.mirror))
        training = TrainingSet(rows, y, None, featurizer.group_widths, task, int(self.random_state))
        shape = featurizer.extractors[-1].shape_.tolist()  # type: ignore[attr-defined]
        n_pixels = featurizer.group_widths[-1]
        around = Surroundings(
            deadline=started + self.time_limit - min(AFTER_TRAINING, self.time_limit / 2),
            n_learned=featurizer.n_learned,
            features_of=lambda pixels: featurizer.transform_pixels(pixels)[:, :-n_pixels],
            jobs=int(self.n_jobs),
        )
        try:
            stack = fit_hybrid(self._all_settings(), training, shape, around)
        except RecipeError as error:
            raise ParameterError(f"{type(self).__name__}: {_own_names(str(error))}") from None
        assert isinstance(stack.head, HybridNetwork)
        assert isinstance(stack.settings, HybridSettings)
        self.featurizer_, self.network_, self.settings_ = featurizer, stack.head, stack.settings
        self.summary_ = (stack.course or stack.choices)["network"]
        self._warn_of_missing_epochs()

    def _fitted_featurizer(self, X: Images) -> Featurizer:
        """New extractors and the pixels, fitted on a random sample as large as they want it."""
        from sklearn.base import clone

        extractors = [*(clone(extractor) for extractor in self.features), Pixels()]
        featurizer = Featurizer(self._image_settings(), extractors)
        sample = np.random.default_rng(int(self.random_state)).permutation(len(X))[: featurizer.fit_images]
        return featurizer.fit([featurizer.prepare(X[index], f"image {index}") for index in sample.tolist()])

    def _warn_of_missing_epochs(self) -> None:
        done = round(self.summary_["training"]["epochs"])
        if self.epochs != "auto" and self.summary_["training"]["shortened"] and done < self.epochs:
            warnings.warn(
                f"{type(self).__name__}(epochs={self.epochs}) took only {done} epochs, since time_limit="
                f"{self.time_limit} allows no more: raise time_limit, or lower epochs",
                UserWarning,
                stacklevel=4,
            )

    def _scores(self, X: Images) -> NDArray[np.float32]:
        self.check_fitted()
        return self.network_.decision_function(_rows(_checked(X), self.featurizer_, self.n_jobs))

    def _tags(self, **kind: Any) -> Any:
        from sklearn.utils import InputTags, Tags, TargetTags

        return Tags(
            target_tags=TargetTags(required=True),
            input_tags=InputTags(two_d_array=False, three_d_array=True),
            # How many epochs a time limit allows is a matter of the machine.
            non_deterministic=self.epochs == "auto",
            no_validation=True,
            **kind,
        )


class HybridClassifier(_Hybrid):
    """A small convolutional network beside classical features, joined by one linear layer, as a classifier of images.

    Images are resized to ``size`` and, where all of a sample of the training images are gray, looked at in gray.
    The network is trained on the CPU with PyTorch (``pip install 'classic-cv[deep]'``), calibrated and kept as ONNX:
    predicting needs ONNX Runtime alone, and neither PyTorch nor scikit-learn. A pickle of the fitted estimator holds
    all of it. With ``epochs`` a number, the same images, parameters and threads give the same network bit for bit,
    unless ``time_limit`` cuts the training short, which gives a warning. Ctrl-C ends a training early, and what it has
    reached is kept.

    Args:
        features: extractors such as ``[HOG(), ColorHistogram()]`` whose columns join the network's; cloned before
            they are fitted. None by default.
        size: pixels of both sides, or (height, width), of what network and extractors see.
        block: kind of the network's blocks, see ``NetworkSettings``.
        channels: of each stage; every stage but the first halves the image.
        blocks: of each stage, as many as there are ``channels``.
        max_parameters: of network, linear layer and extractors together. With a number, ``channels`` and ``blocks``
            are only the shape to begin with: the widest and deepest network of that shape within the limit is taken.
        pca: principal components that the features are reduced to; 0 leaves them as they are.
        mirror: learn from the left-right mirror images of the training images as well.
        epochs: passes over the training images; ``"auto"`` as many as ``time_limit`` allows.
        learning_rate: the highest of the schedule; ``"auto"`` suits optimizer and batch size.
        time_limit: seconds that ``fit`` may take. At least one epoch is trained.
        settings: everything else: optimizer, augmentation, compression, class weights and so on. What is a parameter
            here is given here.
        random_state: seed of initial weights, of the order and the changes of images, and of what is held out.
        n_jobs: threads; -1 for all cores. In a search that runs several fits at a time, 1 is fastest.

    After ``fit``: ``classes_`` (n_classes,); ``network_``, the ``HybridNetwork``; ``featurizer_``, the fitted
    extractors behind the image preparation, with ``Pixels`` as the last; ``settings_``, the ``HybridSettings`` with
    the choices filled in; ``summary_``, what was chosen and measured, as plain data.
    """

    learned: ClassVar[tuple[str, ...]] = (*_Hybrid.learned, "classes_")
    classes_: NDArray[Any]

    def fit(self, X: Images, y: ArrayLike) -> Self:
        """Train on images and labels.

        Args:
            X: a list of n uint8 images, (height, width) gray or (height, width, 3) RGB, of any sizes, or one uint8
                array (n, height, width[, 3]).
            y: strings, integers or booleans, (n,).

        Raises:
            ParameterError: a parameter is out of range, or two do not fit; the message names it.
            MissingExtraError: PyTorch is not installed.
            TypeError: images of another dtype.
            ValueError: images or labels cannot be used; the message says why.
            TrainingError: the loss is no number any more; the message says what to do.
        """
        started = time.perf_counter()
        self.check_params()
        X = _checked(X)
        classes, codes = check_labels(y, len(X))
        self._fit(X, codes, "classification", started)
        self.classes_ = classes
        return self

    def decision_function(self, X: Images) -> NDArray[np.float32]:
        """Calibrated log-odds of images as in ``fit``: float32 (n, n_classes), or (n,) of ``classes_[1]`` for two.

        Raises:
            NotFittedError: before ``fit``.
            TypeError, ValueError: images cannot be used.
        """
        return self._scores(X)

    def predict_proba(self, X: Images) -> NDArray[np.float32]:
        """Calibrated probabilities of images as in ``fit``: float32 (n, n_classes), rows sum to 1."""
        return probabilities_of(self._scores(X))

    def predict(self, X: Images) -> NDArray[Any]:
        """The label of each image, images as in ``fit``: (n,), of the kind of ``classes_``."""
        scores = self._scores(X)
        winners = (scores > 0).astype(np.intp) if scores.ndim == 1 else scores.argmax(axis=1)
        labels: NDArray[Any] = self.classes_[winners]
        return labels

    def score(self, X: Images, y: ArrayLike) -> float:
        """Accuracy on images and labels (n,)."""
        return float(np.mean(self.predict(X) == _one_each(y, len(X))))

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags

        return self._tags(estimator_type="classifier", classifier_tags=ClassifierTags())


class HybridRegressor(_Hybrid):
    """The same network with one output, a number: parameters and attributes as of ``HybridClassifier``.

    Targets are standardised inside, so that their unit does not matter. There are no ``classes_``.
    """

    def fit(self, X: Images, y: ArrayLike) -> Self:
        """Train on images, as ``HybridClassifier.fit`` takes them, and finite numbers y (n,).

        Raises:
            ParameterError, MissingExtraError, TypeError, ValueError, TrainingError: as there.
        """
        from classic_cv.heads.svr import check_targets

        started = time.perf_counter()
        self.check_params()
        X = _checked(X)
        self._fit(X, check_targets(y, len(X)), "regression", started)
        return self

    def predict(self, X: Images) -> NDArray[np.float64]:
        """The number of each image, images as in ``fit``: float64 (n,), in the unit of ``fit``'s y.

        Raises:
            NotFittedError: before ``fit``.
            TypeError, ValueError: images cannot be used.
        """
        return self._scores(X).astype(np.float64)

    def score(self, X: Images, y: ArrayLike) -> float:
        """R^2 on images and targets y (n,): 1 is perfect, 0 no better than their mean."""
        from classic_cv.heads.svr import check_targets, r2

        return r2(check_targets(y, len(X)), self.predict(X))

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import RegressorTags

        return self._tags(estimator_type="regressor", regressor_tags=RegressorTags())


def _checked(X: Images) -> Images:
    """X as ``check_images`` wants it; an array of arrays, which images of different sizes make, as a list."""
    return check_images(list(X) if isinstance(X, np.ndarray) and X.dtype == object else X)


class _Arrays:
    """Images in memory as an ``ImageSource``."""

    def __init__(self, images: Images) -> None:
        self.images = images
        self.names = [f"image {index}" for index in range(len(images))]

    def read(self, index: int) -> Any:
        return to_picture(self.images[index], source=self.names[index])


def _rows(X: Images, featurizer: Featurizer, jobs: int, copies: bool = False) -> Features:
    """What the network takes of each image, and of its mirror image where ``copies`` are asked for.

    Raises:
        ImageError: an image cannot be used.
    """
    found = extract(_Arrays(X), range(len(X)), featurizer, int(jobs), with_copies=copies)
    if found.problems:
        raise found.problems[0]
    return found.X


def _one_each(y: ArrayLike, n: int) -> NDArray[Any]:
    """y as an array (n,).

    Raises:
        ValueError: it has another shape.
    """
    labels: NDArray[Any] = np.asarray(y)
    if labels.shape != (n,):
        raise ValueError(f"y has shape {labels.shape}, expected ({n},): one label per image")
    return labels


def _entry(settings: HybridSettings, part: str, key: str) -> Any:
    return getattr(getattr(settings, part) if part else settings, key)


def _plain(value: Any) -> Any:
    """As settings hold it: NumPy's scalars as Python's, arrays and lists as tuples."""
    value = value.tolist() if isinstance(value, (np.generic, np.ndarray)) else value
    return tuple(map(_plain, value)) if isinstance(value, list | tuple) else value


def _own_names(problem: str) -> str:
    """What is wrong with a recipe, in the words of the estimators' parameters."""
    return problem.replace("head.network.", "").replace("image.size", "size")

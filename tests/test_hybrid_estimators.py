"""The hybrid head as scikit-learn estimators: tiny networks on digits and drawings."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import joblib
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags

from classic_cv import HOG, ColorHistogram, LinearSVM, NotFittedError, ParameterError
from classic_cv.errors import MissingExtraError
from classic_cv.features.pixels import Pixels
from classic_cv.heads.hybrid import HybridNetwork
from classic_cv.hybrid import HybridClassifier, HybridRegressor
from classic_cv.neural.augmentation import AugmentationSettings
from classic_cv.neural.settings import HybridSettings, NetworkSettings, OptimizationSettings

torch = pytest.importorskip("torch")

Image = NDArray[np.uint8]

NAMES = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])

UNCHANGED = HybridSettings(
    augmentation=AugmentationSettings(shift=0, rotation=0, zoom=0, color=0, cutout=0, mixup=0)
)


def small(cls: Any = HybridClassifier, **parameters: Any) -> Any:
    """An estimator whose network fits in about a second."""
    own = {"size": 16, "block": "plain", "channels": (8,), "blocks": (0,), "epochs": 5, "n_jobs": 1}
    return cls(**{**own, **parameters})


def digits(n: int, start: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.intp]]:
    bunch: Any = load_digits()
    images: NDArray[np.uint8] = (bunch.images[start : start + n] * 15.9375).astype(np.uint8)
    return images, bunch.target[start : start + n]


def discs(n: int, seed: int) -> tuple[list[Image], NDArray[np.str_]]:
    """Images of different sizes with a red or a blue disc."""
    rng = np.random.default_rng(seed)
    images = []
    kinds = rng.integers(0, 2, n)
    for kind in kinds:
        height, width = rng.integers(14, 40, 2).tolist()
        image = rng.integers(80, 120, (height, width, 3)).astype(np.uint8)
        center = (int(rng.integers(4, width - 4)), int(rng.integers(4, height - 4)))
        color = (220, 30, 30) if kind else (30, 30, 220)
        images.append(np.asarray(cv2.circle(image, center, 4, color, -1), np.uint8))
    return images, np.array(["blue", "red"])[kinds]


def blobs(n: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Gray images of 24 x 24 pixels with 0 to 6 bright blobs that do not touch, and their numbers."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 60, (n, 24, 24)).astype(np.uint8)
    counts = rng.integers(0, 7, n)
    for image, count in zip(images, counts, strict=True):
        for cell in rng.permutation(16)[:count].tolist():
            y, x = 6 * (cell // 4) + 1, 6 * (cell % 4) + 1
            image[y : y + 4, x : x + 4] = 200
    return images, counts


@pytest.fixture(scope="module")
def fitted() -> Any:
    """A network beside a histogram, fitted on 300 digits with their names as labels."""
    X, y = digits(300)
    network = {"channels": (16, 32, 32), "blocks": (0, 1, 1), "epochs": 20, "learning_rate": 0.2}
    return small(features=[ColorHistogram("gray")], **network).fit(X, NAMES[y])


def test_weak_features_and_a_network_are_better_than_the_features(fitted: Any) -> None:
    X, y = digits(300)
    new, truth = digits(1000, 300)
    alone = make_pipeline(ColorHistogram("gray"), StandardScaler(), LinearSVM(C=0.01)).fit(X, NAMES[y])
    assert alone.score(new, NAMES[truth]) < 0.45
    assert fitted.score(new, NAMES[truth]) > 0.75


def test_labels_scores_and_probabilities_belong_together(fitted: Any) -> None:
    new, _ = digits(50, 300)
    assert fitted.classes_.tolist() == sorted(NAMES.tolist())
    scores, probabilities = fitted.decision_function(new), fitted.predict_proba(new)
    assert scores.shape == probabilities.shape == (50, 10)
    assert scores.dtype == probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    softmax = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities, softmax, atol=1e-6)
    np.testing.assert_array_equal(fitted.predict(new), fitted.classes_[probabilities.argmax(axis=1)])


def test_one_image_at_a_time_gives_the_same(fitted: Any) -> None:
    new, _ = digits(5, 300)
    alone = [fitted.decision_function([image])[0] for image in new]
    np.testing.assert_allclose(fitted.decision_function(new), alone, rtol=1e-5, atol=1e-5)


def test_what_a_fit_leaves(fitted: Any) -> None:
    assert isinstance(fitted.network_, HybridNetwork)
    assert [type(extractor) for extractor in fitted.featurizer_.extractors] == [ColorHistogram, Pixels]
    assert fitted.network_.shape_.tolist() == [1, 16, 16]
    assert fitted.network_.n_features_ == fitted.featurizer_.group_widths[0]
    assert fitted.summary_["n_parameters"] == fitted.network_.n_parameters
    assert fitted.settings_.network == NetworkSettings("plain", (16, 32, 32), (0, 1, 1))
    assert fitted.settings_.optimization.epochs == 20


def test_the_given_extractors_stay_unfitted(fitted: Any) -> None:
    with pytest.raises(NotFittedError):
        fitted.features[0].transform(digits(2)[0])


def test_pickle_and_joblib_round_trip(fitted: Any, tmp_path: Path) -> None:
    new, _ = digits(40, 300)
    joblib.dump(fitted, tmp_path / "fitted.joblib")
    for again in (pickle.loads(pickle.dumps(fitted)), joblib.load(tmp_path / "fitted.joblib")):
        np.testing.assert_array_equal(again.decision_function(new), fitted.decision_function(new))
        np.testing.assert_array_equal(again.predict(new), fitted.predict(new))
        assert again.get_params()["channels"] == (16, 32, 32)
        assert again.settings_ == fitted.settings_
    unfitted = pickle.loads(pickle.dumps(small()))
    with pytest.raises(NotFittedError, match="this HybridClassifier is not fitted yet: call fit first"):
        unfitted.predict(new)


def test_predicting_from_a_pickle_needs_neither_torch_nor_scikit_learn(fitted: Any, tmp_path: Path) -> None:
    new, _ = digits(5, 300)
    (tmp_path / "fitted.pickle").write_bytes(pickle.dumps(fitted))
    np.save(tmp_path / "new.npy", new)
    code = (
        "import pickle, sys, numpy as np; folder = sys.argv[1]; "
        "fitted = pickle.load(open(folder + '/fitted.pickle', 'rb')); "
        "print(*fitted.predict(np.load(folder + '/new.npy'))); "
        "bad = {'sklearn', 'scipy', 'torch', 'onnx'} & set(sys.modules); assert not bad, bad"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True, text=True
    )
    assert run.stdout.split() == fitted.predict(new).tolist()


def test_importing_is_light() -> None:
    code = (
        "import sys, classic_cv.hybrid; "
        "bad = {'sklearn', 'scipy', 'torch', 'onnxruntime', 'joblib'} & set(sys.modules); assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_two_classes_have_one_score() -> None:
    X, y = digits(400)
    X, y = X[y < 2], y[y < 2] == 1
    binary = small(features=(ColorHistogram("gray", grid=2),)).fit(X[:60], y[:60])
    assert binary.classes_.tolist() == [False, True]
    scores, probabilities = binary.decision_function(X), binary.predict_proba(X)
    assert scores.shape == (len(X),)
    np.testing.assert_allclose(probabilities[:, 1], 1 / (1 + np.exp(-scores)), atol=1e-6)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(binary.predict(X), scores > 0)
    assert binary.score(X[60:], y[60:]) > 0.9


def test_the_seed_alone_decides() -> None:
    X, y = digits(120)
    new, _ = digits(50, 300)
    first = small(epochs=2, random_state=3).fit(X, y)
    threads = torch.get_num_threads()
    again = clone(first).fit(list(X), y.tolist())
    other = clone(first).set_params(random_state=4).fit(X, y)
    assert torch.get_num_threads() == threads
    assert first.decision_function(new).tobytes() == again.decision_function(new).tobytes()
    assert first.network_.network_.tobytes() == again.network_.network_.tobytes()
    assert not np.array_equal(first.decision_function(new), other.decision_function(new))


def test_color_images_of_different_sizes() -> None:
    X, y = discs(80, 0)
    new, truth = discs(60, 1)
    classifier = small(features=[ColorHistogram("rgb")], settings=UNCHANGED).fit(X, y)
    assert classifier.network_.shape_.tolist() == [3, 16, 16]
    assert classifier.score(new, truth) > 0.9
    # An array of arrays is what NumPy makes of them.
    together = np.empty(60, object)
    together[:] = new
    np.testing.assert_array_equal(classifier.predict(together), classifier.predict(new))


def test_a_model_takes_gray_and_color_whatever_it_was_fitted_on(fitted: Any) -> None:
    new, _ = digits(10, 300)
    in_color = np.repeat(new[..., None], 3, axis=3)
    np.testing.assert_array_equal(fitted.decision_function(in_color), fitted.decision_function(new))
    mixed = [*new[:5], *in_color[5:]]
    np.testing.assert_array_equal(fitted.predict(mixed), fitted.predict(new))


def test_mirror_learns_what_only_mirror_images_show() -> None:
    rng = np.random.default_rng(0)
    X = rng.integers(0, 100, (120, 16, 16)).astype(np.uint8)
    below = np.arange(120) % 2
    X[below == 0, :8, :8] += 100
    X[below == 1, 8:, :8] += 100
    others = np.ascontiguousarray(X[:, :, ::-1])
    own = {"features": [ColorHistogram("gray", grid=2)], "settings": UNCHANGED}
    assert small(**own, mirror=True).fit(X, below).score(others, below) > 0.95
    assert small(**own).fit(X, below).score(others, below) < 0.8


def test_counting_blobs() -> None:
    X, y = blobs(200, 0)
    new, truth = blobs(200, 1)
    regressor = small(HybridRegressor, size=24, epochs=8, settings=UNCHANGED).fit(X, y)
    predictions = regressor.predict(new)
    assert predictions.dtype == np.float64
    assert predictions.shape == (200,)
    explained = 1 - np.square(truth - predictions).sum() / np.square(truth - truth.mean()).sum()
    assert regressor.score(new, truth) == pytest.approx(explained)
    assert regressor.score(new, truth) > 0.8
    again = pickle.loads(pickle.dumps(regressor))
    np.testing.assert_array_equal(again.predict(new), predictions)
    assert not hasattr(regressor, "predict_proba")


def test_a_regression_cross_validates_whatever_the_unit() -> None:
    rng = np.random.default_rng(0)
    brightness = rng.uniform(20, 200, 120)
    noise = rng.integers(-20, 20, (120, 12, 10, 3))
    X = (brightness[:, None, None, None] + noise).astype(np.uint8)
    regressor = small(HybridRegressor, features=[ColorHistogram("gray")], settings=UNCHANGED, epochs=8)
    assert cross_val_score(regressor, list(X), 1e-3 * brightness + 7, cv=2).min() > 0.8


def test_grid_search_over_parameters() -> None:
    X, y = digits(100)
    grid = [
        {"features": [()]},
        {"features": [[HOG(pixels_per_cell=8)]], "channels": [(4,)], "learning_rate": [0.1]},
    ]
    search = GridSearchCV(small(), grid, cv=2, error_score="raise").fit(X, y)
    assert search.best_params_["channels"] == (4,)
    assert search.best_score_ > max(0.4, search.cv_results_["mean_test_score"][0] + 0.2)
    best = search.best_estimator_
    assert best.settings_.network.channels == (4,)
    assert best.settings_.optimization.learning_rate == best.summary_["training"]["learning_rate"] == 0.1
    assert search.predict(X[:3]).shape == (3,)


def test_parameters_by_scikit_learns_protocol() -> None:
    classifier = HybridClassifier([HOG()], channels=(4, 8), settings=UNCHANGED, epochs=3)
    copy = clone(classifier)
    assert copy.get_params().keys() == classifier.get_params().keys()
    assert copy.features[0] is not classifier.features[0]
    assert copy.get_params()["channels"] == (4, 8)
    assert copy.settings == UNCHANGED
    assert copy.set_params(learning_rate=0.1, features=()).get_params()["learning_rate"] == 0.1
    with pytest.raises(
        ParameterError, match="HybridClassifier has no parameter 'width'; it has: features, size"
    ):
        copy.set_params(width=3)
    assert repr(HybridRegressor(epochs=3, size=(8, 16))) == "HybridRegressor(size=(8, 16), epochs=3)"


def test_tags() -> None:
    classifier, regressor = HybridClassifier(), HybridRegressor()
    assert is_classifier(classifier)
    assert is_regressor(regressor)
    for estimator in (classifier, regressor):
        tags = get_tags(estimator)
        assert tags.target_tags.required
        assert tags.input_tags.three_d_array
        assert not tags.input_tags.two_d_array
    assert get_tags(classifier).non_deterministic
    assert not get_tags(HybridClassifier(epochs=3)).non_deterministic


def test_settings_say_the_rest() -> None:
    X, y = digits(80)
    optimization = OptimizationSettings(optimizer="adamw", batch_size=20, features_of="augmented")
    settings = HybridSettings(optimization=optimization, class_weight="balanced")
    classifier = small(features=[HOG(pixels_per_cell=8)], settings=settings, epochs=2, pca=5).fit(X, y)
    assert classifier.settings_.pca == 5
    assert classifier.settings_.optimization == msgspec.structs.replace(optimization, epochs=2)
    assert classifier.summary_["training"]["batch_size"] == 16
    assert classifier.summary_["scoring"] == "balanced accuracy"


def test_a_limit_on_parameters() -> None:
    X, y = digits(60)
    classifier = small(channels=(8, 16), blocks=(0, 1), max_parameters=900, epochs=1).fit(X, y)
    assert 600 < classifier.network_.n_parameters <= 900
    assert classifier.settings_.network.max_parameters == "none"
    with pytest.raises(ParameterError, match=r"^HybridClassifier: max_parameters = 100: "):
        small(features=[HOG(pixels_per_cell=8)], max_parameters=100).fit(X, y)


def test_numpy_numbers_and_lists_are_parameters_too() -> None:
    X, y = digits(60)
    own = {"channels": np.array([4, 8]), "blocks": [0, 0], "epochs": np.int64(1), "size": np.array([16, 12])}
    classifier = small(**own, learning_rate=np.float64(0.1), random_state=np.int64(1)).fit(X, y)
    assert classifier.network_.shape_.tolist() == [1, 16, 12]
    assert classifier.settings_.network.channels == (4, 8)


def test_epochs_that_the_time_limit_does_not_allow_give_a_warning() -> None:
    X, y = digits(100)
    with pytest.warns(
        UserWarning, match=r"HybridClassifier\(epochs=50000\) took only \d+ epochs, since time_limit=1.0"
    ):
        small(epochs=50_000, time_limit=1.0).fit(X, y)


def test_automatic_epochs_fill_the_time_limit() -> None:
    X, y = digits(100)
    classifier = small(epochs="auto", time_limit=1.0).fit(X, y)
    assert classifier.settings_.optimization.epochs >= 1
    assert classifier.settings_.optimization.epochs == classifier.summary_["training"]["planned_epochs"]


def test_without_torch_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("classic_cv.fitting.find_spec", lambda name: None if name == "torch" else object())
    message = r"HybridClassifier trains a network, which needs torch: pip install 'classic-cv\[deep\]'"
    with pytest.raises(MissingExtraError, match=message):
        small().fit(*digits(20))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"channels": (0,)}, r"HybridClassifier\(channels=\(0,\)\): expected `int` >= 1"),
        ({"channels": ()}, r"HybridClassifier\(channels=\(\)\): expected `array` of length >= 1"),
        ({"channels": 8}, r"HybridClassifier\(channels=8\): expected `array`, got `int`"),
        (
            {"channels": (8, 8)},
            "HybridClassifier: blocks: 1 stages, and channels has 2: give one number per stage",
        ),
        (
            {"size": 3, "channels": (8, 8), "blocks": (0, 0)},
            "HybridClassifier: size: 3 pixels are too few for 2 stages",
        ),
        ({"size": "large"}, r"HybridClassifier\(size='large'\)"),
        ({"block": "wide"}, r"HybridClassifier\(block='wide'\): invalid enum value 'wide'"),
        ({"max_parameters": 99}, r"HybridClassifier\(max_parameters=99\): expected `int` >= 100"),
        ({"pca": -1}, r"HybridClassifier\(pca=-1\): expected `int` >= 0"),
        ({"mirror": "auto"}, r"HybridClassifier\(mirror='auto'\): expected `bool`, got `str`"),
        ({"epochs": 0}, r"HybridClassifier\(epochs=0\): expected `int` >= 1"),
        ({"epochs": "all"}, r"HybridClassifier\(epochs='all'\)"),
        ({"learning_rate": 0}, r"HybridClassifier\(learning_rate=0\): expected `float` > 0"),
        ({"time_limit": 0}, r"HybridClassifier\(time_limit=0\): expected `float` > 0"),
        ({"random_state": None}, r"HybridClassifier\(random_state=None\): expected `int`, got `null`"),
        ({"n_jobs": 0}, r"HybridClassifier\(n_jobs=0\): expected -1 for all cores, or at least 1"),
        ({"n_jobs": -2}, r"HybridClassifier\(n_jobs=-2\): expected `int` >= -1"),
        ({"features": [HOG]}, r"expected `Extractor`, got `type` - at `\$\[0\]`"),
        ({"features": HOG()}, r"HybridClassifier\(features=HOG\(\)\): expected `array`, got `HOG`"),
        ({"features": [HOG(pixels_per_cell=0)]}, r"HOG\(pixels_per_cell=0\): expected `int` >= 1"),
        ({"settings": {"pca": 3}}, r"HybridClassifier\(settings=.*\): expected `HybridSettings`, got `dict`"),
        ({"settings": HybridSettings(validation=0.7)}, r"expected `float` <= 0.5 - at `\$.validation`"),
        (
            {"settings": HybridSettings(optimization=OptimizationSettings(epochs=9))},
            r"HybridClassifier: settings.optimization.epochs is 9, but epochs is 5: give epochs=9 to HybridClassifier",
        ),
        (
            {"settings": HybridSettings(pca=9)},
            "HybridClassifier: settings.pca is 9, but pca is 0: give pca=9",
        ),
    ],
)
def test_bad_parameters_are_named(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        small(**parameters).fit(*digits(20))


def test_bad_data_are_named(fitted: Any) -> None:
    X, y = digits(20)
    with pytest.raises(TypeError, match="image 0 is float64, expected a uint8 array"):
        small().fit(X / 255, y)
    with pytest.raises(TypeError, match="image 1 is str, expected a uint8 array"):
        small().fit([X[0], "photo.jpg"], y[:2])
    with pytest.raises(ValueError, match=r"image 0 has shape \(64,\), expected \(height, width\)"):
        small().fit(X.reshape(20, 64), y)
    with pytest.raises(ValueError, match="no images given"):
        small().fit([], [])
    with pytest.raises(ValueError, match="X has 20 samples, but y has 19 labels: they must be as many"):
        small().fit(X, y[:-1])
    with pytest.raises(
        ValueError, match=r"y has only one class \(.*'a'.*\): a classifier needs samples of at least two"
    ):
        small().fit(X, ["a"] * 20)
    with pytest.raises(ValueError, match=r"continuous\. y must hold classes"):
        small().fit(X, y + 0.5)
    with pytest.raises(ValueError, match="X has 20 samples, but y has 19 targets"):
        small(HybridRegressor).fit(X, y[:-1])
    with pytest.raises(ValueError, match="y holds 'a', expected numbers: train a classifier for labels"):
        small(HybridRegressor).fit(X, ["a"] * 20)
    with pytest.raises(ValueError, match="contains NaN or infinity: 20 values"):
        small(HybridRegressor).fit(X, np.full(20, np.nan))
    with pytest.raises(TypeError, match="image 0 is float32, expected a uint8 array"):
        fitted.predict(X.astype(np.float32))
    with pytest.raises(ValueError, match=r"y has shape \(19,\), expected \(20,\): one label per image"):
        fitted.score(X, y[:-1])
    with pytest.raises(NotFittedError, match="this HybridRegressor is not fitted yet: call fit first"):
        HybridRegressor().predict(X)

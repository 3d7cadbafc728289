"""What every extractor promises: one suite over all of them."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing.pool import ThreadPool
from typing import Any

import cv2
import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError as SklearnNotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils.validation import check_is_fitted

from classic_cv.errors import NotFittedError, ParameterError
from classic_cv.features.base import Extractor
from classic_cv.features.color import ColorHistogram
from classic_cv.features.dog import DoGHistogram
from classic_cv.features.encoding import VLAD, BagOfVisualWords, Encoder, FisherVector, PatchDictionary
from classic_cv.features.hog import HOG
from classic_cv.features.lbp import LBP
from classic_cv.features.local import DenseSIFT, LocalColor
from classic_cv.features.pixels import Pixels
from classic_cv.features.properties import ImageProperties

Stack = NDArray[np.uint8]

EXTRACTORS: list[Extractor] = [
    HOG(),
    HOG(pixels_per_cell=(8, 16), cells_per_block=1, orientations=6, signed=True),
    HOG(color="strongest", interpolation="none"),
    ColorHistogram(),
    ColorHistogram("rgb", (4, 5, 6), joint=True, grid=(2, 3), hellinger=False),
    ColorHistogram("hsv", (8, 3, 3), joint=True, grid=2, soft=True),
    ColorHistogram("hsv", 8, joint=True, grid=4),
    ColorHistogram("lab", 7, grid=3, soft=True),
    ColorHistogram("opponent", 8, grid=5, soft=True),
    ColorHistogram("gray", 8, grid=(17, 16)),
    LBP(),
    LBP("nri_uniform", ((8, 1.0), (16, 2.0)), grid=2),
    LBP("uniform", ((8, 3.0), (24, 3.0)), grid=(3, 2), hellinger=False),
    LBP("nri_uniform", ((24, 2.5),)),
    DoGHistogram(),
    DoGHistogram((1.0, 6.0), 2.0, 7, grid=(2, 3), channel="gray", hellinger=True),
    ImageProperties(),
    Pixels(),
    FisherVector(DenseSIFT(bins=(3.0,), step=6), n_components=4, pca=8),
    FisherVector(LocalColor(), n_components=3, pca=0, positions=False, pyramid=(1, (3, 1))),
    VLAD(DenseSIFT(bins=(3.0,), step=6), n_words=5, pca=8, pyramid=(2,)),
    BagOfVisualWords(DenseSIFT(bins=(3.0,), step=6), n_words=20, pca=0),
    BagOfVisualWords(
        DenseSIFT(bins=(3.0,), step=6), n_words=20, assignment="soft", pca=8, pyramid=(1, (2, 3))
    ),
    PatchDictionary(n_atoms=12, n_samples=500),
    PatchDictionary(5, 2, 9, "sampled", "triangle", grid=(3, 1), root=False, n_samples=500),
]
LEARNERS = (Encoder, PatchDictionary)
"""What these say of an image depends on the images of ``fit``."""
SIZE_FREE = [extractor for extractor in EXTRACTORS if not isinstance(extractor, HOG | Pixels)]


def names(extractors: list[Extractor]) -> list[str]:
    return [repr(extractor) for extractor in extractors]


def photos(kind: str, height: int = 48, width: int = 64) -> Stack:
    """Nine overlapping parts of a photo, RGB or gray: (9, height, width[, 3])."""
    load: Any = skimage.data.astronaut
    photo = load()[::2, ::2]
    if kind == "gray":
        photo = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
    return np.stack([photo[y : y + height, x : x + width] for y in (0, 60, 120) for x in (50, 80, 130)])


def copy_of(extractor: Extractor) -> Extractor:
    return type(extractor)(**extractor.get_params())


@pytest.fixture(params=["rgb", "gray"])
def X(request: pytest.FixtureRequest) -> Stack:
    return photos(request.param)


@pytest.fixture(params=EXTRACTORS, ids=names(EXTRACTORS))
def extractor(request: pytest.FixtureRequest) -> Extractor:
    """A new, unfitted extractor."""
    return copy_of(request.param)


@pytest.fixture(params=SIZE_FREE, ids=names(SIZE_FREE))
def size_free(request: pytest.FixtureRequest) -> Extractor:
    """A new, unfitted extractor that takes images of any sizes."""
    return copy_of(request.param)


def test_clone_and_parameters_round_trip(extractor: Extractor) -> None:
    params = extractor.get_params()
    copy = clone(extractor)
    assert type(copy) is type(extractor)
    assert copy is not extractor
    assert copy.get_params() == params
    other = type(extractor)().set_params(**params)
    assert other.get_params() == params
    assert eval(repr(extractor), dict(globals())).get_params() == params
    with pytest.raises(
        ParameterError, match=rf"{type(extractor).__name__} has no parameter 'nonsense'; it has"
    ):
        extractor.set_params(nonsense=1)


def test_repr_shows_what_differs_from_the_defaults() -> None:
    assert repr(ColorHistogram()) == "ColorHistogram()"
    assert repr(LBP(grid=2)) == "LBP(grid=2)"
    assert repr(ColorHistogram("lab", soft=True)) == "ColorHistogram(space='lab', soft=True)"


def test_rows_are_finite_float32_of_the_promised_width(extractor: Extractor, X: Stack) -> None:
    features = extractor.fit_transform(X)
    assert features.dtype == np.float32
    assert features.shape == (len(X), extractor.n_features_out_)
    assert np.isfinite(features).all()
    # Different images have different rows: nothing is constant or copied.
    assert len(np.unique(features, axis=0)) == len(X)


def test_columns_have_unique_stable_names(extractor: Extractor, X: Stack) -> None:
    found = extractor.fit(X).get_feature_names_out()
    assert len(found) == len(set(found)) == extractor.n_features_out_
    assert all(isinstance(name, str) for name in found)
    again = copy_of(extractor).fit(X[:1])
    assert again.get_feature_names_out().tolist() == found.tolist()


def test_a_batch_of_one_equals_the_row_in_a_batch(extractor: Extractor, X: Stack) -> None:
    many = np.concatenate([X] * 4)
    features = extractor.fit(X).transform(many)
    for index in (0, 4, 8, 35):
        np.testing.assert_array_equal(extractor.transform(many[index : index + 1])[0], features[index])
    np.testing.assert_array_equal(extractor.transform(many[7:31]), features[7:31])


def test_a_list_equals_an_array(extractor: Extractor, X: Stack) -> None:
    extractor.fit(X)
    np.testing.assert_array_equal(extractor.transform(list(X)), extractor.transform(X))
    np.testing.assert_array_equal(extractor.fit(list(X)).transform(X), extractor.transform(X))


@pytest.mark.parametrize("value", [0, 255])
def test_blank_images_are_finite(extractor: Extractor, X: Stack, value: int) -> None:
    blank = np.full_like(X, value)
    features = extractor.fit(X).transform(blank)
    assert np.isfinite(features).all()
    np.testing.assert_array_equal(features, np.repeat(features[:1], len(X), axis=0))
    fitted_on_blank = extractor.fit(blank).transform(X)
    assert np.isfinite(fitted_on_blank).all()
    if not isinstance(extractor, LEARNERS):
        np.testing.assert_array_equal(fitted_on_blank, extractor.fit(X).transform(X))


@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (1, 5), (1, 1, 3), (3, 3, 3)])
def test_tiny_images_work_or_are_refused_clearly(extractor: Extractor, shape: tuple[int, ...]) -> None:
    image = np.arange(1, np.prod(shape) + 1, dtype=np.uint8).reshape(shape)
    if isinstance(extractor, HOG):
        with pytest.raises(
            ValueError, match=rf"images of {shape[0]}x{shape[1]} pixels .* smaller than a HOG block"
        ):
            extractor.fit([image])
    else:
        features = extractor.fit_transform([image])
        assert np.isfinite(features).all()
        # An image without room for a local descriptor is a row of zeros; one patch teaches a dictionary nothing.
        if not isinstance(extractor, PatchDictionary):
            assert features.any() != isinstance(extractor, Encoder)


def test_instances_and_threads_agree(extractor: Extractor, X: Stack) -> None:
    extractor.fit(X)
    many = np.concatenate([X[:4], X[:4, ::-1]])
    expected = extractor.transform(many)

    def fresh(index: int) -> NDArray[np.float32]:
        mine = copy_of(extractor).fit(X) if index % 2 else extractor
        return mine.transform(many[index % 8 :])

    with ThreadPool(4) as pool:
        for index, rows in enumerate(pool.map(fresh, range(24), chunksize=1)):
            np.testing.assert_array_equal(rows, expected[index % 8 :])


def test_input_is_not_modified(extractor: Extractor, X: Stack) -> None:
    before = X.copy()
    X.flags.writeable = False
    extractor.fit(X).transform(X)
    extractor.transform(list(X))
    np.testing.assert_array_equal(X, before)


VIEWS: dict[str, Callable[[Stack], Stack]] = {
    "flipped rows": lambda X: X[:, ::-1],
    "flipped columns": lambda X: X[:, :, ::-1],
    "every other row": lambda X: X[:, ::2],
    "crop": lambda X: X[:, 3:45, 5:60],
    "reversed batch": lambda X: X[::-2],
    "transposed": lambda X: X.swapaxes(1, 2),
    "reversed channels": lambda X: X[..., ::-1] if X.ndim == 4 else X,
    "Fortran order": lambda X: np.asfortranarray(X),
}


@pytest.mark.parametrize("view", VIEWS)
def test_views_equal_their_copies(extractor: Extractor, X: Stack, view: str) -> None:
    seen = VIEWS[view](X)
    copy = np.ascontiguousarray(seen)
    expected = extractor.fit(copy).transform(copy)
    np.testing.assert_array_equal(extractor.transform(seen), expected)
    np.testing.assert_array_equal(extractor.transform(list(seen)), expected)


def test_refit_forgets_the_first_fit(extractor: Extractor) -> None:
    first, second = photos("rgb"), photos("rgb", 64, 40)
    refitted = extractor.fit(first).fit(second)
    fresh = copy_of(extractor).fit(second)
    np.testing.assert_array_equal(refitted.transform(second), fresh.transform(second))
    assert refitted.get_feature_names_out().tolist() == fresh.get_feature_names_out().tolist()


def test_images_of_many_sizes_keep_their_order(size_free: Extractor) -> None:
    batch = [
        *photos("rgb"),
        *photos("gray", 21, 33)[:3],
        *photos("rgb", 21, 33)[:3],
        *photos("rgb")[:2],
        photos("rgb", 1, 1)[0],
        *photos("gray")[:2],
    ]
    features = size_free.fit(batch).transform(batch)
    for image, row in zip(batch, features, strict=True):
        np.testing.assert_array_equal(size_free.transform([image])[0], row)


def test_state_makes_a_fitted_twin(extractor: Extractor, X: Stack) -> None:
    state = extractor.fit(X).state()
    assert all(isinstance(array, np.ndarray) for array in state.values())
    twin = copy_of(extractor)
    twin.load_state({name: array.copy() for name, array in state.items()})
    np.testing.assert_array_equal(twin.transform(X), extractor.transform(X))
    assert twin.n_features_out_ == extractor.n_features_out_
    assert twin.get_feature_names_out().tolist() == extractor.get_feature_names_out().tolist()


def test_regions_are_places_in_the_image_and_keep_the_sums(extractor: Extractor, X: Stack) -> None:
    contributions = np.random.default_rng(0).normal(size=(extractor.fit(X).n_features_out_, 2))
    boxes, values = extractor.spread(X[0], contributions)
    assert boxes.dtype == np.float32
    assert values.dtype == np.float64
    assert boxes.shape == (len(values), 4)
    np.testing.assert_allclose(values.sum(axis=0), contributions.sum(axis=0), rtol=1e-9)
    # Ordered, and not beside the image; they may stick out.
    height, width = X.shape[1:3]
    assert (boxes[:, :2] <= boxes[:, 2:]).all()
    assert (boxes[:, :2] <= [width, height]).all()
    assert (boxes[:, 2:] >= 0).all()


def test_use_before_fit_is_an_error(extractor: Extractor, X: Stack) -> None:
    match = f"this {type(extractor).__name__} is not fitted yet: call fit first"
    with pytest.raises(NotFittedError, match=match):
        extractor.transform(X)
    with pytest.raises(NotFittedError, match=match):
        extractor.state()
    with pytest.raises(SklearnNotFittedError):
        check_is_fitted(extractor)
    check_is_fitted(extractor.fit(X))


@pytest.mark.parametrize(
    ("kind", "name", "value", "reason"),
    [
        (HOG, "orientations", 0, "expected `int` >= "),
        (HOG, "pixels_per_cell", "8", "expected `.*got `str`"),
        (HOG, "cells_per_block", 0, "expected `int` >= 1"),
        (HOG, "color", "rgb", "invalid enum value 'rgb'"),
        (HOG, "signed", "yes", "expected `bool`, got `str`"),
        (HOG, "interpolation", "cubic", "invalid enum value 'cubic'"),
        (ColorHistogram, "space", "xyz", "invalid enum value 'xyz'"),
        (ColorHistogram, "bins", 0, "expected `int` >= 1"),
        (ColorHistogram, "bins", 257, "expected `int` <= 256"),
        (ColorHistogram, "bins", (8, 0, 8), r"expected `int` >= 1 - at `\$\[1\]`"),
        (ColorHistogram, "joint", 1, "expected `bool`, got `int`"),
        (ColorHistogram, "grid", 0, "expected `int` >= 1"),
        (ColorHistogram, "grid", (1, 2, 3), "expected `array` of length <= 2"),
        (ColorHistogram, "soft", None, "expected `bool`, got `null`"),
        (ColorHistogram, "hellinger", "no", "expected `bool`, got `str`"),
        (LBP, "method", "ror", "invalid enum value 'ror'"),
        (LBP, "points_radii", (), "expected `array` of length >= 1"),
        (LBP, "points_radii", ((25, 1.0),), "expected `int` <= 24"),
        (LBP, "points_radii", ((8, 0.0),), "expected `float` > 0"),
        (LBP, "points_radii", ((8,),), "expected `array` of length 2, got 1"),
        (LBP, "grid", 2.5, "expected `int | array`, got `float`"),
        (LBP, "hellinger", 1, "expected `bool`, got `int`"),
        (DoGHistogram, "sigmas", (), "expected `array` of length >= 1"),
        (DoGHistogram, "sigmas", (1.0, 0.1), "expected `float` >= 0.5"),
        (DoGHistogram, "ratio", 1, "expected `float` >= 1.1"),
        (DoGHistogram, "bins", 1, "expected `int` >= 2"),
        (DoGHistogram, "channel", "hue", "invalid enum value 'hue'"),
        (PatchDictionary, "size", 1, "expected `int` >= 2"),
        (PatchDictionary, "step", 0, "expected `int` >= 1"),
        (PatchDictionary, "n_atoms", 0, "expected `int` >= 1"),
        (PatchDictionary, "dictionary", "svd", "invalid enum value 'svd'"),
        (PatchDictionary, "activation", "relu", "invalid enum value 'relu'"),
        (PatchDictionary, "threshold", 1.0, "expected `float` < 1"),
        (PatchDictionary, "grid", 0, "expected `int` >= 1"),
        (PatchDictionary, "root", 1, "expected `bool`, got `int`"),
        (PatchDictionary, "eps", -0.1, "expected `float` >= 0"),
        (PatchDictionary, "n_samples", 0, "expected `int` >= 1"),
        (PatchDictionary, "random_state", -1, "expected `int` >= 0"),
    ],
)
def test_bad_parameters_are_named(kind: type[Extractor], name: str, value: Any, reason: str) -> None:
    extractor = kind(**{name: value})  # storing is fine, fitting is not
    start = f"{kind.__name__}({name}={value!r}): "
    with pytest.raises(ParameterError, match=reason.replace("|", r"\|")) as caught:
        extractor.fit(photos("rgb"))
    assert str(caught.value).startswith(start)


@pytest.mark.parametrize("step", ["fit", "transform"])
@pytest.mark.parametrize(
    ("bad", "error", "match"),
    [
        (np.zeros((2, 32, 32, 3), np.float32), TypeError, "image 0 is float32, expected a uint8 array"),
        ([np.zeros((32, 32), np.int64)], TypeError, "image 0 is int64, expected a uint8 array"),
        (["photo.jpg"], TypeError, "image 0 is str, expected a uint8 array"),
        (np.zeros((2, 32, 32, 4), np.uint8), ValueError, r"image 0 has shape \(32, 32, 4\), expected"),
        (np.zeros((32, 32), np.uint8), ValueError, r"image 0 has shape \(32,\), expected"),
        ([np.zeros((32, 0), np.uint8)], ValueError, r"image 0 has shape \(32, 0\), expected"),
        ([], ValueError, "no images given: expected at least one"),
    ],
)
def test_input_of_the_wrong_kind_is_refused(
    extractor: Extractor, step: str, bad: Any, error: type[Exception], match: str
) -> None:
    if step == "transform":
        extractor.fit(photos("gray", 32, 32))
    with pytest.raises(error, match=match):
        getattr(extractor, step)(bad)


def digits(n: int = 120) -> tuple[Stack, NDArray[np.int64]]:
    """Zeros and ones of scikit-learn's digits at 16 x 16 pixels."""
    data = load_digits(n_class=2)
    images = np.kron(data.images[:n] * 15, np.ones((1, 2, 2))).astype(np.uint8)
    return images, data.target[:n]


def test_works_in_a_pipeline(extractor: Extractor) -> None:
    X, y = digits()
    if isinstance(extractor, HOG):
        extractor.set_params(pixels_per_cell=4)
    pipeline = Pipeline([("features", extractor), ("head", KNeighborsClassifier(3))])
    assert clone(pipeline).fit(X[::2], y[::2]).score(X[1::2], y[1::2]) >= 0.8


def test_works_in_a_union_and_a_search() -> None:
    X, y = digits()
    union = FeatureUnion([("hog", HOG(pixels_per_cell=4)), ("lbp", LBP()), ("gray", ColorHistogram("gray"))])
    pipeline = Pipeline([("features", union), ("head", KNeighborsClassifier(3))])
    grid = {"features__lbp__grid": [1, (2, 2)], "features__hog__orientations": [6, 9]}
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(X, y)
    assert search.best_score_ >= 0.95
    best = search.best_estimator_.named_steps["features"]
    parts = [best.named_transformers[name] for name in ("hog", "lbp", "gray")]
    np.testing.assert_array_equal(best.transform(X), np.hstack([part.transform(X) for part in parts]))
    found = best.get_feature_names_out()
    assert found.tolist() == [
        f"{name}__{column}"
        for name, part in zip(("hog", "lbp", "gray"), parts, strict=True)
        for column in part.get_feature_names_out()
    ]


def test_a_search_refuses_what_fit_refuses() -> None:
    X, y = digits()
    pipeline = Pipeline([("features", LBP()), ("head", KNeighborsClassifier(1))])
    with pytest.raises(ParameterError, match=r"LBP\(grid=0\)"):
        GridSearchCV(pipeline, {"features__grid": [0]}, cv=2, error_score="raise").fit(X, y)


@pytest.mark.parametrize(
    "hog",
    [HOG(), HOG(interpolation="none"), HOG(color="strongest", signed=True)],
    ids=repr,
)
@given(shift=st.integers(-60, 60))
@settings(deadline=None, derandomize=True, max_examples=15)
def test_brightness_does_not_matter_to_hog(hog: HOG, shift: int) -> None:
    X = photos("rgb") // 2 + np.uint8(60)
    hog.fit(X)
    # Each channel moves by the same amount, and so does gray, but for rounding luma to 8 bits: stay in gray.
    gray = np.ascontiguousarray(X[..., 1]) if hog.color == "gray" else X
    shifted = (gray.astype(int) + shift).astype(np.uint8)
    np.testing.assert_array_equal(hog.transform(shifted), hog.transform(gray))


@pytest.mark.parametrize(("orientations", "signed"), [(9, False), (8, True)])
@pytest.mark.parametrize("color", ["gray", "rgb"])
def test_a_flip_mirrors_the_cells_and_orientations_of_hog(
    orientations: int, signed: bool, color: str
) -> None:
    # Between hard bins a mirrored angle on a boundary changes sides, so this holds for interpolated ones.
    X = photos(color)
    hog = HOG(orientations, cells_per_block=1, signed=signed, color="strongest").fit(X)
    cells = hog.transform(X).reshape(len(X), 48 // 8, 64 // 8, orientations)
    flipped = hog.transform(X[:, :, ::-1]).reshape(cells.shape)
    half = orientations // 2 if signed else orientations
    mirrored = (half - 1 - np.arange(orientations)) % orientations
    np.testing.assert_allclose(flipped, cells[:, :, ::-1, mirrored], atol=1e-5)

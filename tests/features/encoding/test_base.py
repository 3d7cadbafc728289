"""What all encoders share: the sample, the pyramid, what is left out, placeholders, sharing out contributions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray
from sklearn.base import clone

from classic_cv.features.base import Image
from classic_cv.features.encoding import VLAD, BagOfVisualWords, Encoder, FisherVector
from classic_cv.features.encoding.base import (
    Pieces,
    cell_numbers,
    in_color,
    relative_positions,
    signed_root,
    to_unit_length,
    without_zeros,
)
from classic_cv.features.local import DenseSIFT, KeypointSIFT, LocalColor, LocalFeatures, Patches
from classic_cv.timing import thread_limit

SIFT = DenseSIFT(bins=(3.0,), step=5)
Make = Callable[..., Encoder]

MAKERS: list[Make] = [
    lambda **params: FisherVector(n_components=3, **params),
    lambda **params: VLAD(n_words=4, **params),
    lambda **params: BagOfVisualWords(n_words=9, **params),
    lambda **params: BagOfVisualWords(n_words=9, assignment="soft", **params),
]
IDS = ["fisher", "vlad", "hard", "soft"]


@pytest.fixture(params=MAKERS, ids=IDS)
def make(request: pytest.FixtureRequest) -> Make:
    """Makes a small encoder of each kind."""
    found: Make = request.param
    return found


def photos(n: int = 6, side: int = 48, gray: bool = False) -> NDArray[np.uint8]:
    load: Any = skimage.data.astronaut
    photo = load()[::2, ::2]
    if gray:
        photo = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
    return np.stack([photo[20 * i : 20 * i + side, 25 * i : 25 * i + side] for i in range(n)])


def test_positions_are_parts_of_the_image_from_its_center() -> None:
    positions = np.array([[0, 0], [40, 10], [20, 5], [40, 0]], np.float32)
    expected = [[-0.5, -0.5], [0.5, 0.5], [0, 0], [0.5, -0.5]]
    np.testing.assert_array_equal(relative_positions(positions, (10, 40, 3)), expected)


def test_cells_are_numbered_row_by_row() -> None:
    relative = np.array([[-0.5, -0.5], [0.1, -0.5], [0.5, -0.01], [-0.4, 0.2], [0.5, 0.5]], np.float32)
    np.testing.assert_array_equal(cell_numbers(relative, (2, 3)), [0, 1, 2, 3, 5])
    np.testing.assert_array_equal(cell_numbers(relative, (1, 1)), 0)


@pytest.mark.parametrize("grids", [[(1, 1)], [(1, 1), (2, 2)], [(3, 1), (1, 2), (2, 2)]])
def test_pieces_make_up_the_cells_of_every_grid(grids: list[tuple[int, int]]) -> None:
    rng = np.random.default_rng(0)
    relative = (rng.random((40, 2)) - 0.5).astype(np.float32)
    order, starts, cells = Pieces.of(relative, grids)
    order = np.arange(40) if order is None else order
    assert sorted(order) == list(range(40))
    for grid, numbers in zip(grids, cells, strict=True):
        np.testing.assert_array_equal(
            np.repeat(numbers, np.diff(starts)), cell_numbers(relative[order], grid)
        )


def test_signed_roots_and_unit_length() -> None:
    np.testing.assert_array_equal(signed_root(np.array([-4, 0, 9], np.float32)), [-2, 0, 3])
    rows = to_unit_length(np.array([[3, 4], [0, 0]], np.float32))
    np.testing.assert_allclose(rows, np.array([[0.6, 0.8], [0, 0]]), atol=1e-7)


def test_a_pyramid_is_the_rows_of_its_cells(make: Make) -> None:
    # Each cell's row is what an image with only the cell's descriptors gets without a pyramid.
    X = photos()
    whole = make(descriptor=SIFT, pca=6).fit(X)
    pyramid = make(descriptor=SIFT, pca=6, pyramid=(1, (3, 1), 2)).fit(X)
    np.testing.assert_array_equal(whole.codebook_, pyramid.codebook_)
    rows = pyramid.transform(X[:1]).reshape(8, -1)
    np.testing.assert_allclose(rows[:1], whole.transform(X[:1]), atol=1e-4)
    _, relative = whole._describe(X[0])
    describe = whole._describe
    start = 1
    for grid in ((3, 1), (2, 2)):
        for cell in range(grid[0] * grid[1]):
            inside = cell_numbers(relative, grid) == cell

            def only(image: Image, inside: NDArray[np.bool_] = inside) -> tuple[LocalFeatures, Any]:
                local, relative = describe(image)
                return LocalFeatures(*(part[inside] for part in local)), relative[inside]

            whole._describe = only  # type: ignore[method-assign]
            np.testing.assert_allclose(whole.transform(X[:1])[0], rows[start + cell], atol=1e-3)
        start += grid[0] * grid[1]


def test_a_cell_without_descriptors_is_zeros(make: Make) -> None:
    X = photos().copy()
    X[0, :, 24:] = 90
    patches = Patches(size=4, step=4)
    encoder = make(descriptor=patches, pca=6, pyramid=((1, 2),)).fit(X)
    left, right = encoder.transform(X[:1]).reshape(2, -1)
    assert left.any()
    assert not right.any()


def test_rows_of_zeros_count_neither_in_learning_nor_in_encoding(make: Make) -> None:
    photo = photos(1)[0]
    framed = np.full((96, 96, 3), 90, np.uint8)
    framed[24:72, 24:72] = photo
    patches = Patches(size=4, step=4)
    local = patches.describe(framed)
    flat = ~local.descriptors.any(axis=1)
    assert flat.mean() > 0.6
    np.testing.assert_array_equal(without_zeros(local).descriptors, local.descriptors[~flat])
    params: dict[str, Any] = {"descriptor": patches, "pca": 6}
    if isinstance(make(), FisherVector):
        params["positions"] = False
    alone, inside = make(**params).fit([photo]), make(**params).fit([framed])
    np.testing.assert_allclose(alone.transform([framed]), alone.transform([photo]), atol=1e-3)
    np.testing.assert_allclose(inside.codebook_, alone.codebook_, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("gray", [False, True])
def test_images_without_descriptors_are_zeros(make: Make, gray: bool) -> None:
    encoder = make(descriptor=SIFT, pca=6).fit(photos(gray=gray))
    shape = (30, 30) if gray else (30, 30, 3)
    for image in (np.zeros(shape, np.uint8), np.full(shape, 200, np.uint8), np.zeros((2, 2), np.uint8)):
        assert not encoder.transform([image]).any()
    # Learning from nothing else gives placeholders; the images that come then are finite.
    blank = make(descriptor=SIFT, pca=6).fit([np.zeros(shape, np.uint8)])
    assert np.isfinite(blank.transform(photos(gray=gray))).all()
    np.testing.assert_array_equal(
        blank.codebook_, make(descriptor=SIFT, pca=6).unlearned(photos(1, gray=gray)).codebook_
    )


@pytest.mark.parametrize("n_samples", [1, 7, 40, 10_000])
def test_the_sample_is_drawn_evenly_and_by_the_seed(n_samples: int) -> None:
    X = np.random.default_rng(0).integers(0, 256, (10, 30, 30, 3), dtype=np.uint8)
    available = len(SIFT.describe(X[0]).descriptors)
    encoder = VLAD(SIFT, n_samples=n_samples)
    encoder._start(X)
    sample = encoder._sample(X)
    assert len(sample.descriptors) == len(sample.positions)
    assert len(sample.descriptors) <= n_samples
    # Every image gives the same number, or all that it has.
    origin = [set(map(bytes, SIFT.describe(image).descriptors)) for image in X]
    given = np.array([sum(bytes(row) in rows for row in sample.descriptors) for rows in origin])
    expected = min(n_samples // 10, available) if n_samples >= 10 else 1
    assert set(given) <= {0, expected}
    assert (given > 0).sum() == min(10, n_samples)
    np.testing.assert_array_equal(encoder._sample(X).descriptors, sample.descriptors)
    encoder.random_state = 1
    if expected < available:
        assert not np.array_equal(encoder._sample(X).descriptors, sample.descriptors)


def test_the_same_seed_learns_the_same_bit_for_bit_on_any_number_of_threads(make: Make) -> None:
    X = photos()
    first = make(descriptor=SIFT, pca=6).fit(X)
    with thread_limit(1):
        second = make(descriptor=SIFT, pca=6).fit(X)
        rows = second.transform(X)
    for name, array in first.state().items():
        np.testing.assert_array_equal(array, second.state()[name])
    np.testing.assert_array_equal(first.transform(X), rows)
    other = make(descriptor=SIFT, pca=6, random_state=1).fit(X)
    assert not np.array_equal(other.codebook_, first.codebook_)


@pytest.mark.parametrize("pca", [0, 6, 500])
def test_unlearned_has_the_shapes_of_fit(make: Make, pca: int) -> None:
    X = photos()
    fitted = make(descriptor=SIFT, pca=pca, pyramid=(1, 2)).fit(X)
    unlearned = make(descriptor=SIFT, pca=pca, pyramid=(1, 2)).unlearned(X[:1])
    for name, array in fitted.state().items():
        placeholder = unlearned.state()[name]
        assert placeholder.shape == array.shape
        assert placeholder.dtype == array.dtype
    assert unlearned.n_features_out_ == fitted.n_features_out_
    features = unlearned.transform(X)
    assert np.isfinite(features).all()
    assert features.any(axis=1).all()
    # More components than values are as many as there are values.
    assert fitted.whitening_.shape == {0: (1, 128), 6: (129, 6), 500: (129, 128)}[pca]


def test_what_is_learned_is_small_float32(make: Make) -> None:
    state = make(descriptor=SIFT, pca=6).fit(photos()).state()
    assert set(state) == {"color_", "n_features_out_", "whitening_", "codebook_"}
    assert state["whitening_"].dtype == state["codebook_"].dtype == np.float32


def test_one_tiny_image_is_enough(make: Make) -> None:
    # One descriptor, fewer than words and components.
    X = photos(1, 10)
    assert len(SIFT.describe(X[0]).descriptors) == 1
    features = make(descriptor=SIFT).fit(X).transform(photos())
    assert np.isfinite(features).all()


def test_gray_and_color_images_are_brought_to_what_was_fitted() -> None:
    rgb, gray = photos(), photos(gray=True)
    three = np.repeat(gray[..., None], 3, axis=3)
    np.testing.assert_array_equal(in_color(gray[0], True), three[0])
    np.testing.assert_array_equal(in_color(rgb[0], False), gray[0])
    color = VLAD(LocalColor(bins=(3.0,)), n_words=4, pca=8).fit([gray[0], rgb[0]])
    assert color.color_ == 1
    np.testing.assert_array_equal(color.transform(gray), color.transform(three))
    plain = VLAD(LocalColor(bins=(3.0,)), n_words=4, pca=8).fit(gray)
    assert plain.color_ == 0
    np.testing.assert_array_equal(plain.transform(rgb), plain.transform(gray))


def test_parameters_that_are_structs_survive_copies_and_repr() -> None:
    encoder = FisherVector(KeypointSIFT(), n_components=4)
    copy = clone(encoder)
    assert copy.get_params() == encoder.get_params()
    assert copy.descriptor == KeypointSIFT()
    again = eval(repr(encoder), dict(globals()))
    assert again.get_params() == encoder.get_params()
    assert repr(FisherVector()) == "FisherVector()"
    numbers: Any = {"bins": np.array([3.0]), "step": np.int64(5)}
    FisherVector(DenseSIFT(**numbers)).check_params()


@pytest.mark.parametrize("pyramid", [(1,), (1, (2, 1))])
def test_what_descriptors_are_given_adds_up_to_what_columns_contribute(make: Make, pyramid: Any) -> None:
    X = photos()
    encoder = make(descriptor=SIFT, pca=6, pyramid=pyramid).fit(X)
    features = encoder.transform(X[1:2])[0]
    weights = np.random.default_rng(0).normal(size=(len(features), 3))
    contributions = features[:, None] * weights
    boxes, values = encoder.spread(X[1], contributions)
    assert boxes.dtype == np.float32
    assert len(boxes) == len(values) == len(SIFT.describe(X[1]).descriptors)
    np.testing.assert_allclose(values.sum(axis=0), contributions.sum(axis=0), rtol=1e-9)


def test_a_descriptor_is_given_its_share_of_each_sum(make: Make) -> None:
    # What a descriptor adds to the sums is what sums of it alone are.
    X = photos()
    encoder = make(descriptor=SIFT, pca=6).fit(X)
    local, relative = encoder._describe(X[1])
    white = encoder._whiten(local.descriptors, relative).astype(np.float64)
    alone = encoder._sums(white, np.arange(len(white) + 1))
    sums = alone.sum(axis=0)
    features = encoder.transform(X[1:2])[0].astype(np.float64)
    contributions = features[:, None] * np.random.default_rng(0).normal(size=(len(features), 2))
    ratios = np.divide(
        contributions, sums[:, None], out=np.zeros_like(contributions), where=sums[:, None] != 0
    )
    _, values = encoder.spread(X[1], contributions)
    np.testing.assert_allclose(values, alone @ ratios, rtol=1e-3, atol=1e-3 * np.abs(values).max())


def test_boxes_are_the_squares_of_the_descriptors_with_contrast() -> None:
    X = photos().copy()
    X[0, :, 24:] = 90
    patches = Patches(size=4, step=4)
    encoder = VLAD(patches, n_words=3, pca=6).fit(X)
    boxes, values = encoder.spread(X[0], np.ones((encoder.n_features_out_, 1)))
    np.testing.assert_array_equal(boxes[:, 2:] - boxes[:, :2], 4)
    np.testing.assert_array_equal(boxes[0], [0, 0, 4, 4])
    assert boxes[:, 0].max() == 20
    assert len(boxes) == len(values) == 72


def test_an_image_without_descriptors_is_one_region() -> None:
    encoder = VLAD(SIFT, n_words=3, pca=6).fit(photos())
    contributions = np.random.default_rng(0).normal(size=(encoder.n_features_out_, 2))
    boxes, values = encoder.spread(np.zeros((20, 30), np.uint8), contributions)
    np.testing.assert_array_equal(boxes, [[0, 0, 30, 20]])
    np.testing.assert_allclose(values[0], contributions.sum(axis=0))

"""PatchDictionary against loops that normalize, whiten, compare and pool one patch at a time."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from classic_cv.errors import ParameterError
from classic_cv.features.encoding import patch_dictionary
from classic_cv.features.encoding.patch_dictionary import (
    CENTER,
    NOISE,
    Activation,
    Layout,
    PatchDictionary,
    blocks,
    encode,
    learn_atoms,
    normalize_patches,
    patch_rows,
    sample_patches,
    threshold_filters,
    triangle_filters,
    unit_length,
)

Floats = NDArray[np.float32]
Reals = NDArray[np.float64]
Stack = NDArray[np.uint8]


def photo(height: int = 40, width: int = 48, color: bool = True) -> Stack:
    load: Any = skimage.data.astronaut
    part = np.ascontiguousarray(load()[20 : 20 + height, 180 : 180 + width])
    return part if color else np.asarray(cv2.cvtColor(part, cv2.COLOR_RGB2GRAY), np.uint8)


def photos(n: int = 6, side: int = 24, color: bool = True) -> Stack:
    large = photo(60, 120, color)
    return np.stack([large[5 * i : 5 * i + side, 12 * i : 12 * i + side] for i in range(n)])


def small(**parameters: Any) -> PatchDictionary:
    """A dictionary that is learned in a moment."""
    return PatchDictionary(**{"n_atoms": 6, "n_samples": 600, **parameters})


def learned(d: int, n_atoms: int, seed: int = 0) -> tuple[Floats, Floats, Floats]:
    """Any atoms (n_atoms, d), mean (d,) and projection (d, d)."""
    rng = np.random.default_rng(seed)
    atoms, mean, projection = (rng.normal(size=shape) for shape in ((n_atoms, d), d, (d, d)))
    return (
        unit_length(atoms.astype(np.float32)),
        (0.1 * mean).astype(np.float32),
        projection.astype(np.float32),
    )


def slow_white(patch: NDArray[np.uint8], mean: Floats, projection: Floats) -> Reals:
    """One patch (size, size, channels), normalized and whitened in float64."""
    values = patch.transpose(1, 0, 2).ravel().astype(float)
    normal = (values - values.mean()) / np.sqrt(values.var() + NOISE)
    white: Reals = (normal - mean.astype(float)) @ projection.astype(float)
    return white


def slow_encode(
    image: Stack, atoms: Floats, mean: Floats, projection: Floats, threshold: float, layout: Layout
) -> Reals:
    """Means per cell, patch by patch and atom by atom."""
    size, step = layout.size, layout.step
    down, across = ((side - size) // step + 1 for side in image.shape[:2])
    sums = np.zeros((*layout.grid, layout.n_columns))
    counts = np.zeros(layout.grid)
    for i in range(down):
        for j in range(across):
            patch = image[i * step : i * step + size, j * step : j * step + size]
            white = slow_white(patch, mean, projection)
            if layout.activation == "triangle":
                distances = np.array([np.linalg.norm(white - atom) for atom in atoms])
                found = np.maximum(0, distances.mean() - distances)
            else:
                z = np.array([white @ atom for atom in atoms])
                found = np.concatenate([np.maximum(0, z - threshold), np.maximum(0, -z - threshold)])
            # The cell whose part of the rows and columns of patches i and j are in.
            cell = tuple(
                next(c for c in range(cells) if k < (c + 1) * n // cells)
                for k, n, cells in zip((i, j), (down, across), layout.grid, strict=True)
            )
            sums[cell] += found
            counts[cell] += 1
    return np.asarray(sums / np.maximum(counts, 1)[..., None], np.float64)


@pytest.mark.parametrize(
    ("shape", "size", "step", "grid"),
    [
        ((13, 17, 3), 4, 1, (2, 3)),
        ((13, 17, 1), 5, 2, (2, 2)),
        ((9, 8, 3), 3, 3, (1, 4)),
        ((6, 20, 1), 6, 1, (2, 1)),
    ],
)
@pytest.mark.parametrize("activation", ["threshold", "triangle"])
@pytest.mark.parametrize("block_values", [1, 2**17])
def test_means_equal_loops(
    shape: tuple[int, int, int],
    size: int,
    step: int,
    grid: tuple[int, int],
    activation: Activation,
    block_values: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(patch_dictionary, "BLOCK_VALUES", block_values)
    monkeypatch.setattr(patch_dictionary, "ATOM_BLOCK", 3)
    blocks.cache_clear()
    image = photo(shape[0], shape[1], shape[2] == 3).reshape(shape)
    atoms, mean, projection = learned(size * size * shape[2], 7)
    layout = Layout(size, step, grid, activation, len(atoms))
    if activation == "triangle":
        filters = triangle_filters(atoms, mean, projection)
    else:
        filters = threshold_filters(atoms, mean, projection, 0.4)
    found = encode(image, filters, 0.4, layout)
    blocks.cache_clear()
    expected = slow_encode(image, atoms, mean, projection, 0.4, layout)
    assert (expected > 0).any()
    np.testing.assert_allclose(found, expected, atol=2e-4)


@given(seed=st.integers(0, 10**6), contrast=st.sampled_from([0, 1, 5, 255]))
@settings(deadline=None, derandomize=True, max_examples=25)
def test_folded_filters_equal_normalizing_whitening_comparing(seed: int, contrast: int) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(255 - contrast, 256, (7, 9, 3), np.uint8)
    atoms, mean, projection = learned(4 * 4 * 3, 6, seed)
    found = patch_rows(image, 4, 1) @ threshold_filters(atoms, mean, projection, 0.25)
    windows = np.lib.stride_tricks.sliding_window_view(image, (4, 4), axis=(0, 1))
    patches = windows.transpose(0, 1, 4, 3, 2).reshape(-1, 48)
    expected = (normalize_patches(patches) - mean) @ projection @ atoms.T - 0.25
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_rows_of_patches_have_exact_contrast() -> None:
    image = np.full((5, 5, 1), 255, np.uint8)
    image[3:, 3:] = 0
    rows = patch_rows(image, 2, 1)
    flat, corner = rows[0], rows[10]
    np.testing.assert_array_equal(flat[:4], np.float32((255 - CENTER) / np.sqrt(NOISE)))
    one, three = 0 - CENTER, 255 - CENTER
    deviation = np.sqrt(255**2 * 3 / 16 + NOISE)
    np.testing.assert_allclose(corner[:4], np.array([three, three, three, one]) / deviation, rtol=1e-6)
    assert (rows[:, 4] == 1).all()


def test_every_patch_counts_once_in_its_cell() -> None:
    layout = Layout(5, 2, (3, 4), "threshold", 300)
    found = blocks(64, 900, layout)
    assert len(found) > 3
    for cell_row in range(3):
        pools = [block.pool for block in found if block.cell_row == cell_row]
        np.testing.assert_allclose(sum(pool.sum(axis=1) for pool in pools), 1, rtol=1e-5)
        assert all(((pool > 0).sum(axis=0) == 1).all() for pool in pools)
    patches = sum(block.pool.shape[1] for block in found)
    assert patches == 30 * 448
    assert [block.top for block in found] == sorted(block.top for block in found)


@pytest.mark.parametrize("activation", ["threshold", "triangle"])
def test_brightness_and_contrast_do_not_matter(activation: Activation) -> None:
    X = photos() // 2
    extractor = small(activation=activation, root=False).fit(X)
    expected = extractor.transform(X)
    np.testing.assert_allclose(extractor.transform(X + np.uint8(90)), expected, atol=1e-3)
    # Without a patch close to NOISE the contrast divides out.
    rough = (np.random.default_rng(0).random((2, 20, 20)) > 0.5).astype(np.uint8)
    extractor = small(activation=activation, root=False).fit(rough * np.uint8(200))
    strong, weak = (extractor.transform(rough * np.uint8(v) + np.uint8(5)) for v in (240, 120))
    np.testing.assert_allclose(weak, strong, rtol=0.01, atol=0.005)


def test_a_shift_by_a_cell_moves_the_columns() -> None:
    texture = np.tile(photo(12, 12), (2, 3, 1))
    layout = PatchDictionary(4, step=4, n_atoms=9, grid=(2, 3), n_samples=500).fit([texture])
    cells = layout.transform([texture])[0].reshape(6, -1)
    np.testing.assert_allclose(cells, np.repeat(cells[:1], 6, axis=0), atol=1e-5)


@pytest.mark.parametrize("dictionary", ["kmeans", "sampled"])
def test_the_threshold_cuts_its_share_of_the_responses(dictionary: Any) -> None:
    X = photos()
    for share in (0.0, 0.3, 0.9):
        extractor = small(dictionary=dictionary, threshold=share, n_samples=4000).fit(X)
        rows = np.concatenate([patch_rows(image, 6, 1) for image in X])
        above = rows @ extractor.filters_
        active = (above > 0).mean() + (above < -2 * float(extractor.threshold_)).mean()
        assert active == pytest.approx(1 - share, abs=0.03)


def test_filters_whiten_as_scikit_learn_does() -> None:
    X = photos(color=False)
    extractor = small(
        size=4, n_atoms=1, activation="triangle", eps=0.0, dictionary="sampled", n_samples=6 * 21 * 21
    )
    extractor.fit(X)
    rows = np.concatenate([patch_rows(image[..., None], 4, 1) for image in X])
    white = rows @ extractor.filters_[:, 1:]
    patches = sample_patches(
        [image[..., None] for image in X], 4, extractor.n_samples, np.random.default_rng()
    )
    assert len(patches) == len(rows)
    # A patch has mean 0: one direction less than values. Lengths do not depend on the axes.
    pca = PCA(15, whiten=True).fit(patches)
    normal = rows[:, :-1] - rows[:, :-1].mean(axis=1, keepdims=True)
    expected = np.linalg.norm(pca.transform(normal), axis=1)
    np.testing.assert_allclose(np.linalg.norm(white, axis=1), expected, rtol=2e-3)


def test_kmeans_finds_the_clusters() -> None:
    rng = np.random.default_rng(0)
    centers = 10 * rng.standard_normal((5, 12))
    points = (np.repeat(centers, 200, axis=0) + 0.1 * rng.standard_normal((1000, 12))).astype(np.float32)
    atoms = learn_atoms(rng.permutation(points), 5, "kmeans", seed=0)
    distances = np.linalg.norm(atoms[:, None] - centers, axis=2)
    assert (distances.min(axis=0) < 0.1).all()


def test_sampled_atoms_are_patches_and_random_directions_fill_up() -> None:
    white = np.random.default_rng(0).standard_normal((8, 5)).astype(np.float32)
    few = learn_atoms(white, 3, "sampled", seed=3)
    assert {tuple(row) for row in few.tolist()} <= {tuple(row) for row in white.tolist()}
    for dictionary in ("sampled", "kmeans"):
        atoms = learn_atoms(np.concatenate([white, white[:3]]), 14, dictionary, seed=3)
        distances = np.linalg.norm(atoms[:, None] - white, axis=2)
        assert atoms.shape == (14, 5)
        np.testing.assert_allclose(distances.min(axis=0), 0, atol=1e-6)
        assert (distances.min(axis=1) > 0.1).sum() == (3 if dictionary == "sampled" else 6)


def test_samples_are_normalized_and_flat_patches_left_out() -> None:
    half = np.full((20, 40, 1), 7, np.uint8)
    half[:, 20:, 0] = np.random.default_rng(0).integers(0, 256, (20, 20))
    patches = sample_patches([half], 3, 10_000, np.random.default_rng(0))
    assert len(patches) == 18 * 20
    np.testing.assert_allclose(patches.mean(axis=1), 0, atol=1e-5)
    assert 0.9 < np.median(patches.std(axis=1)) < 1
    blank = np.zeros((9, 9, 3), np.uint8)
    alone = sample_patches([blank], 3, 10, np.random.default_rng(0))
    assert alone.shape == (10, 27)
    assert not alone.any()
    assert len(sample_patches([half, half], 3, 100, np.random.default_rng(0))) <= 100


def test_the_same_seed_learns_the_same() -> None:
    X = photos()
    first, second = small().fit(X), small().fit(X)
    np.testing.assert_array_equal(first.filters_, second.filters_)
    assert (small(random_state=1).fit(X).filters_ != first.filters_).any()


@pytest.mark.parametrize("activation", ["threshold", "triangle"])
def test_flat_images_of_any_brightness_have_one_row(activation: Activation) -> None:
    extractor = small(activation=activation, root=False).fit(photos())
    flat = np.stack([np.full((15, 15, 3), value, np.uint8) for value in (0, 100, 255)])
    rows = extractor.transform(flat)
    assert np.isfinite(rows).all()
    np.testing.assert_allclose(rows, np.repeat(rows[:1], 3, axis=0), atol=1e-3)


@pytest.mark.parametrize("activation", ["threshold", "triangle"])
@pytest.mark.parametrize("dictionary", ["kmeans", "sampled"])
def test_works_with_flat_images_one_patch_and_one_atom(activation: Any, dictionary: Any) -> None:
    X = [photo(6, 6)]
    blank, dot = np.zeros((20, 20, 3), np.uint8), np.zeros((1, 1), np.uint8)
    trainings: list[list[Stack]] = [[blank], X, [photo(2, 3)], [dot]]
    for training in trainings:
        for n_atoms in (1, 30):
            extractor = small(activation=activation, dictionary=dictionary, n_atoms=n_atoms)
            assert np.isfinite(extractor.fit(training).transform(X)).all()


def test_small_images_are_extended_by_their_border() -> None:
    extractor = small(grid=(2, 2)).fit(photos())
    for height, width in ((1, 1), (3, 30), (30, 5), (5, 4)):
        image = photo(height, width)
        rows, columns = max(0, 6 - height), max(0, 6 - width)
        padded = cv2.copyMakeBorder(
            image, rows // 2, rows - rows // 2, columns // 2, columns - columns // 2, cv2.BORDER_REPLICATE
        )
        np.testing.assert_array_equal(
            extractor.transform([image]), extractor.transform([np.asarray(padded, np.uint8)])
        )


def test_images_of_the_other_kind_are_converted() -> None:
    color, gray = photos(), photos(color=False)
    for_color = small().fit(color)
    three = np.repeat(gray[..., None], 3, axis=3)
    np.testing.assert_array_equal(for_color.transform(gray), for_color.transform(three))
    for_gray = small().fit(gray)
    np.testing.assert_array_equal(for_gray.transform(color), for_gray.transform(gray))
    mixed = small().fit([gray[0], color[1]])
    assert len(mixed.filters_) == 6 * 6 * 3 + 1


def test_root_takes_the_square_root() -> None:
    X = photos()
    plain, root = (small(root=value).fit(X).transform(X) for value in (False, True))
    np.testing.assert_array_equal(np.sqrt(plain), root)


@pytest.mark.parametrize("activation", ["threshold", "triangle"])
def test_unlearned_has_the_shapes_of_fit(activation: Activation) -> None:
    X = photos()
    fitted, quick = small(activation=activation).fit(X), small(activation=activation).unlearned(X[:1])
    for name, array in fitted.state().items():
        assert array.shape == quick.state()[name].shape
        assert array.dtype == quick.state()[name].dtype
    assert quick.transform(X).shape == fitted.transform(X).shape
    with pytest.raises(ParameterError, match=r"PatchDictionary\(size=1\): expected `int` >= 2"):
        PatchDictionary(1).unlearned(X)


def test_names_follow_the_columns() -> None:
    image = photo(20, 20)
    image[:, :10] = 60
    extractor = small(n_atoms=4, grid=(1, 2), step=5, size=5, root=False).fit([image])
    names = extractor.get_feature_names_out()
    assert names[[0, 4, 8, 15]].tolist() == [
        "patch5_y0_x0_atom0_pos",
        "patch5_y0_x0_atom0_neg",
        "patch5_y0_x1_atom0_pos",
        "patch5_y0_x1_atom3_neg",
    ]
    values = dict(zip(names, extractor.transform([image])[0], strict=True))
    responses = patch_rows(image[:5, 10:15], 5, 1) @ extractor.filters_[:, 2]
    one = extractor.transform([np.tile(image[:5, 10:15], (1, 2, 1))])[0]
    expected = max(0, responses[0]), max(0, -responses[0] - 2 * float(extractor.threshold_))
    assert one[[2, 6]] == pytest.approx(expected, abs=1e-5)
    assert sum(value for name, value in values.items() if "x1" in name) > 0
    triangle = small(n_atoms=2, activation="triangle", grid=1).fit([image])
    assert triangle.get_feature_names_out().tolist() == ["patch6_y0_x0_atom0", "patch6_y0_x0_atom1"]


@pytest.mark.parametrize("activation", ["threshold", "triangle"])
@pytest.mark.parametrize("root", [False, True])
@pytest.mark.parametrize(("height", "width", "step"), [(24, 30, 1), (24, 30, 3), (7, 3, 1), (1, 1, 1)])
def test_spread_shares_everything_out(
    activation: Activation, root: bool, height: int, width: int, step: int
) -> None:
    extractor = small(activation=activation, root=root, step=step, grid=(2, 3)).fit(photos())
    contributions = np.random.default_rng(0).normal(size=(extractor.n_features_out_, 2))
    boxes, values = extractor.spread(photo(height, width), contributions)
    assert boxes.dtype == np.float32
    assert values.dtype == np.float64
    np.testing.assert_allclose(values.sum(axis=0), contributions.sum(axis=0), rtol=1e-9)
    assert (boxes >= 0).all()
    assert (boxes <= [width, height, width, height]).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()


def test_spread_goes_by_what_a_patch_adds() -> None:
    image = photo(20, 22)
    extractor = small(n_atoms=3, grid=2, root=False, size=5).fit([image])
    features = extractor.transform([image])[0]
    names = extractor.get_feature_names_out().tolist()
    column = names.index("patch5_y1_x0_atom1_pos")
    contributions = np.zeros((len(names), 1))
    contributions[column] = features[column]
    boxes, values = extractor.spread(image, contributions)
    assert len(boxes) == 16 * 18
    responses = np.maximum(patch_rows(image, 5, 1) @ extractor.filters_[:, 1], 0).reshape(16, 18)
    responses[:8] = 0
    responses[:, 9:] = 0
    np.testing.assert_allclose(values.ravel(), responses.ravel() / (8 * 9), atol=1e-5)
    np.testing.assert_array_equal(boxes[18 * 2 + 7], [7, 2, 12, 7])


def test_spread_refuses_contributions_of_another_width() -> None:
    extractor = small().fit(photos())
    with pytest.raises(ValueError, match=r"contributions have shape \(3, 1\), expected \(108, k\)"):
        extractor.spread(photo(), np.zeros((3, 1)))

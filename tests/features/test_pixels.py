"""The pixels themselves, plane after plane."""

from __future__ import annotations

from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import skimage.data
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from classic_cv.features.pixels import Pixels

batches = hnp.arrays(
    np.uint8,
    st.one_of(
        st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6)),
        st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6), st.just(3)),
    ),
)


@given(batches)
def test_planes_follow_each_other_row_by_row(X: NDArray[np.uint8]) -> None:
    found = Pixels().fit_transform(X)
    for image, row in zip(X, found, strict=True):
        planes = [image] if image.ndim == 2 else [image[:, :, k] for k in range(3)]
        expected = [value for plane in planes for line in plane for value in line]
        assert row.tolist() == [float(value) for value in expected]


@given(batches)
def test_columns_are_named_by_color_and_place(X: NDArray[np.uint8]) -> None:
    extractor = Pixels().fit(X)
    row = extractor.transform(X)[0]
    for name, value in zip(extractor.get_feature_names_out(), row, strict=True):
        _, color, y, x = name.split("_")
        pixel = X[0, int(y[1:]), int(x[1:])]
        assert value == (pixel if color == "gray" else pixel[["red", "green", "blue"].index(color)])


def test_known_values() -> None:
    image = np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)
    extractor = Pixels().fit([image])
    np.testing.assert_array_equal(extractor.transform([image]), [[1, 4, 2, 5, 3, 6]])
    assert extractor.get_feature_names_out()[:3].tolist() == [
        "pixel_red_y0_x0",
        "pixel_red_y0_x1",
        "pixel_green_y0_x0",
    ]
    assert extractor.shape_.tolist() == [3, 1, 2]
    assert extractor.n_features_out_ == 6


def test_a_brighter_image_has_larger_columns() -> None:
    load: Any = skimage.data.astronaut
    photo = load()[::8, ::8] // 2
    extractor = Pixels().fit([photo])
    np.testing.assert_array_equal(extractor.transform([photo + 9]), extractor.transform([photo]) + 9)


def test_a_pixel_is_a_region_with_the_sum_of_its_planes() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (4, 5, 3)).astype(np.uint8)
    extractor = Pixels().fit([image])
    contributions = rng.standard_normal((60, 2))
    boxes, values = extractor.spread(image, contributions)
    of = dict(zip(extractor.get_feature_names_out(), contributions, strict=True))
    assert len(boxes) == 20
    for (left, top, right, bottom), value in zip(boxes.astype(int).tolist(), values, strict=True):
        assert (right, bottom) == (left + 1, top + 1)
        expected = sum(of[f"pixel_{color}_y{top}_x{left}"] for color in ("red", "green", "blue"))
        np.testing.assert_allclose(value, expected)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (
            [np.zeros((4, 5), np.uint8), np.zeros((5, 4), np.uint8)],
            r"image 1 has shape \(5, 4\), expected \(4, 5\)",
        ),
        (
            [np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5), np.uint8)],
            r"image 1 has shape \(4, 5\), expected \(4, 5, 3\) as in fit: resize the images first",
        ),
    ],
)
def test_images_of_several_shapes_are_refused(images: list[NDArray[np.uint8]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Pixels().fit(images)
    with pytest.raises(ValueError, match=message):
        Pixels().fit(images[:1]).transform(images)


def test_an_array_of_another_size_than_in_fit_is_refused() -> None:
    extractor = Pixels().fit(np.zeros((2, 4, 5, 3), np.uint8))
    with pytest.raises(
        ValueError,
        match=r"^image 0 has shape \(6, 5, 3\), expected \(4, 5, 3\) as in fit: resize the images first$",
    ):
        extractor.transform(np.zeros((2, 6, 5, 3), np.uint8))

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray
from scipy import ndimage

from classic_cv.features.properties import NAMES, ImageProperties, image_properties


@dataclass(frozen=True)
class Stored:
    pixels: NDArray[np.uint8]
    width: int
    height: int
    n_bytes: int


def photo() -> NDArray[np.uint8]:
    load: Any = skimage.data.chelsea
    return np.asarray(load()[50:200, 100:320], np.uint8)


def columns(image: NDArray[np.uint8] | Stored) -> dict[str, float]:
    extractor = ImageProperties().fit([image])
    row = extractor.transform([image])[0].tolist()
    return dict(zip(extractor.get_feature_names_out(), row, strict=True))


def test_pixel_statistics_equal_numpys_and_scipys() -> None:
    image = photo()
    gray = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), float)
    found = columns(image)
    assert found["brightness"] == pytest.approx(gray.mean() / 255)
    assert found["contrast"] == pytest.approx(gray.std() / 255)
    laplacian = ndimage.laplace(gray, mode="mirror")
    assert found["log_sharpness"] == pytest.approx(np.log1p(laplacian.var()), rel=1e-6)
    means = image.reshape(-1, 3).mean(axis=0) / 255
    assert [found[name] for name in ("mean_r", "mean_g", "mean_b")] == pytest.approx(means.tolist())


def test_a_bare_array_is_stored_uncompressed_at_its_size() -> None:
    found = columns(photo())
    assert found["log_height"] == pytest.approx(np.log(150))
    assert found["log_width"] == pytest.approx(np.log(220))
    assert found["log_aspect"] == pytest.approx(np.log(220 / 150))
    assert found["log_bytes_per_pixel"] == pytest.approx(np.log((1 + 3 * 150 * 220) / (150 * 220)))


def test_a_picture_tells_about_the_stored_image() -> None:
    pixels = np.asarray(cv2.resize(photo(), (64, 64)), np.uint8)
    found = columns(Stored(pixels, width=4000, height=3000, n_bytes=2_400_000))
    assert found["log_width"] == pytest.approx(np.log(4000))
    assert found["log_aspect"] == pytest.approx(np.log(4 / 3))
    assert found["log_bytes_per_pixel"] == pytest.approx(np.log(0.2), abs=1e-5)
    same = columns(pixels)
    described = NAMES[4:]
    assert [found[name] for name in described] == [same[name] for name in described]


def test_gray_has_equal_channel_means() -> None:
    gray = np.ascontiguousarray(photo()[:, :, 1])
    found = columns(gray)
    assert found["mean_r"] == found["mean_g"] == found["mean_b"] == found["brightness"]


def test_blur_lowers_sharpness_and_nothing_else_by_much() -> None:
    image = photo()
    sharp, soft = columns(image), columns(np.asarray(cv2.GaussianBlur(image, (0, 0), 2), np.uint8))
    assert soft["log_sharpness"] < sharp["log_sharpness"] - 1
    assert soft["brightness"] == pytest.approx(sharp["brightness"], abs=0.01)


@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 3), (1, 7), (20_000, 20)])
def test_extreme_shapes_are_finite(shape: tuple[int, ...]) -> None:
    row = image_properties(np.full(shape, 200, np.uint8), shape[1], shape[0], 0)
    assert np.isfinite(row).all()
    assert row[NAMES.index("contrast")] == row[NAMES.index("log_sharpness")] == 0


def test_pixels_of_the_wrong_kind_are_refused_in_pictures_too() -> None:
    with pytest.raises(TypeError, match="image 1 is float64, expected a uint8 array"):
        ImageProperties().fit([photo(), Stored(np.zeros((3, 3)), 3, 3, 9)])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="image 0 is str, expected a uint8 array"):
        ImageProperties().fit(["photo.jpg"])  # type: ignore[list-item]


def test_the_pipeline_is_told_to_hand_over_pictures() -> None:
    assert ImageProperties.accepts_pictures

"""What files say of themselves, against files that Pillow has written."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image as Pillow
from skimage import data

from classic_cv.checks.exif import Traces, luma_steps, read_traces, zigzag

DATA: Any = data
PHOTO: NDArray[np.uint8] = DATA.astronaut()[100:260, 150:350]


def encoded(kind: str, pixels: Any = PHOTO, **options: Any) -> bytes:
    stream = io.BytesIO()
    Pillow.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def exif(**tags: str) -> Any:
    block = Pillow.Exif()
    numbers = {"make": 271, "model": 272, "saved": 306}
    for name, value in tags.items():
        if name == "taken":
            block.get_ifd(0x8769)[36867] = value
        else:
            block[numbers[name]] = value
    return block


@pytest.mark.parametrize("quality", [1, 5, 10, 24, 25, 40, 49, 50, 51, 60, 75, 80, 85, 90, 92, 95, 99, 100])
def test_quality_is_that_of_the_encoder(quality: int) -> None:
    assert read_traces(encoded("JPEG", quality=quality), "JPEG").jpeg_quality == quality


@pytest.mark.parametrize("quality", [20, 50, 75, 90])
def test_quality_of_a_gray_file_comes_from_its_one_table(quality: int) -> None:
    traces = read_traces(encoded("JPEG", PHOTO[..., 1], quality=quality), "JPEG")
    assert (traces.jpeg_quality, traces.jpeg_subsampling) == (quality, 0)


def test_foreign_tables_get_the_nearest_quality() -> None:
    tables = [[7] * 64, [7] * 64]
    assert 85 <= read_traces(encoded("JPEG", qtables=tables), "JPEG").jpeg_quality <= 97


@pytest.mark.parametrize(("given", "pixels"), [(0, 1), (1, 2), (2, 4)])
def test_subsampling_counts_the_pixels_of_a_color_sample(given: int, pixels: int) -> None:
    assert read_traces(encoded("JPEG", subsampling=given), "JPEG").jpeg_subsampling == pixels


@pytest.mark.parametrize("progressive", [False, True])
def test_progressive(progressive: bool) -> None:
    assert read_traces(encoded("JPEG", progressive=progressive), "JPEG").jpeg_progressive == int(progressive)


def test_luma_steps_are_in_the_order_of_the_files() -> None:
    image = Pillow.open(io.BytesIO(encoded("JPEG", quality=37)))
    tables: dict[int, list[int]] = image.quantization  # type: ignore[attr-defined]
    by_row = np.array(tables[0])
    assert luma_steps()[36].tolist() in (by_row.tolist(), by_row[zigzag()].tolist())
    assert zigzag()[:6].tolist() == [0, 1, 8, 16, 9, 2]


@pytest.mark.parametrize(("kind", "name"), [("JPEG", "JPEG"), ("PNG", "PNG"), ("WEBP", "WebP")])
def test_date_and_camera(kind: str, name: str) -> None:
    block = exif(
        make="Canon", model="Canon EOS 80D", saved="2025:01:02 03:04:05", taken="2024:05:31 12:00:00"
    )
    traces = read_traces(encoded(kind, exif=block), name)
    assert (traces.date, traces.camera) == ("2024-05-31T12:00:00", "Canon EOS 80D")


def test_a_tiff_has_them_in_its_directory() -> None:
    block = exif(make="Canon", model="Canon EOS 80D", saved="2025:01:02 03:04:05")
    traces = read_traces(encoded("TIFF", exif=block), "TIFF")
    assert (traces.date, traces.camera) == ("2025-01-02T03:04:05", "Canon EOS 80D")


def test_date_of_saving_stands_in_and_names_are_joined() -> None:
    traces = read_traces(
        encoded("JPEG", exif=exif(make="NIKON", model="D70\0", saved="2025:01:02 03:04:05")), "JPEG"
    )
    assert (traces.date, traces.camera) == ("2025-01-02T03:04:05", "NIKON D70")


@pytest.mark.parametrize("date", ["0000:00:00 00:00:00", "    :  :     :  :  ", "yesterday"])
def test_a_date_that_is_none_is_unknown(date: str) -> None:
    assert read_traces(encoded("JPEG", exif=exif(saved=date)), "JPEG").date == ""


def test_a_file_without_traces() -> None:
    assert read_traces(encoded("PNG"), "PNG") == Traces()
    assert read_traces(encoded("BMP"), "BMP") == Traces()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damage_is_never_an_error(draw: st.DataObject) -> None:
    kind = draw.draw(st.sampled_from(["JPEG", "PNG", "WebP", "TIFF"]))
    whole = bytearray(encoded(kind, PHOTO[:16, :16], exif=exif(make="a", taken="2024:05:31 12:00:00")))
    for _ in range(draw.draw(st.integers(1, 8))):
        whole[draw.draw(st.integers(2, min(len(whole) - 1, 400)))] = draw.draw(st.integers(0, 255))
    cut = bytes(whole[: draw.draw(st.integers(0, len(whole)))])
    traces = read_traces(cut, kind)
    assert -1 <= traces.jpeg_quality <= 100
    assert len(traces.date) in (0, 19)


@given(st.binary(max_size=200), st.sampled_from(["JPEG", "PNG", "WebP", "TIFF", "AVIF"]))
def test_garbage_is_never_an_error(data: bytes, kind: str) -> None:
    read_traces(data, kind)

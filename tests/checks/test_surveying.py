"""The one pass over all images, on files that are written in known ways."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow
from skimage import data
from sklearn.datasets import load_digits

from classic_cv.checks.appearance import QUALITY_NAMES
from classic_cv.checks.border import N_BORDER
from classic_cv.checks.survey import THUMBNAIL, Survey
from classic_cv.checks.surveying import CHUNK, PROPERTY_NAMES, read_survey
from classic_cv.dataset import load_dataset
from classic_cv.features.properties import NAMES, image_properties

DATA: Any = data
ASTRONAUT: NDArray[np.uint8] = DATA.astronaut()


def save(path: Path, pixels: Any, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(pixels).save(path, **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes, a folder within one, six kinds of files, one truncated and one that is none."""
    root = tmp_path_factory.mktemp("survey")
    block = Pillow.Exif()
    block[271], block[272], block[274], block[306] = "Acme", "One", 6, "2024:05:31 12:00:00"
    save(root / "a/1.jpg", ASTRONAUT[:120, :200], quality=63, exif=block)
    save(root / "a/deep/er/2.png", ASTRONAUT[:64, :64])
    save(root / "b/3.png", ASTRONAUT[:50, :90, 1])
    save(root / "b/4.webp", ASTRONAUT[200:300, 200:300], lossless=True)
    save(root / "b/5.bmp", np.zeros((40, 40, 3), np.uint8))
    save(root / "b/6.gif", ASTRONAUT[:40, :40, 0])
    whole = (root / "a/1.jpg").read_bytes()
    (root / "b/7.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "b/8.jpg").write_bytes(b"no image")
    return root


@pytest.fixture(scope="module")
def survey(folder: Path) -> Survey:
    return read_survey(load_dataset(folder))


def column(survey: Survey, name: str) -> list[float]:
    values: list[float] = survey.properties[:, survey.property_names.index(name)].tolist()
    return values


def test_facts_of_the_files(folder: Path, survey: Survey) -> None:
    dataset = load_dataset(folder)
    names = [dataset.names[index] for index in survey.indices]
    assert names == ["a/1.jpg", "a/deep/er/2.png", "b/3.png", "b/4.webp", "b/5.bmp", "b/6.gif"]
    assert survey.format.tolist() == ["JPEG", "PNG", "PNG", "WebP", "BMP", "GIF"]
    assert survey.mode.tolist()[:4] == ["RGB", "RGB", "L", "RGB"]
    assert survey.width.tolist() == [120, 64, 90, 100, 40, 40]
    assert survey.height.tolist() == [200, 64, 50, 100, 40, 40]
    assert survey.orientation.tolist() == [6, 1, 1, 1, 1, 1]
    assert survey.n_bytes.tolist() == [(folder / name).stat().st_size for name in names]
    assert survey.folder.tolist() == ["", "deep/er", "", "", "", ""]
    assert survey.gray.tolist() == [False, False, True, False, True, True]
    assert survey.date.tolist()[:2] == ["2024-05-31T12:00:00", ""]
    assert survey.camera.tolist()[:2] == ["Acme One", ""]


def test_what_cannot_be_decoded_is_named(survey: Survey) -> None:
    assert [problem.source for problem in survey.problems] == ["b/7.jpg", "b/8.jpg"]
    assert "truncated JPEG" in survey.problems[0].reason
    assert survey.rows(np.array([0, 6, 7, 3])).tolist() == [0, 3]


def test_columns(survey: Survey) -> None:
    assert survey.property_names == PROPERTY_NAMES
    assert survey.quality_names == QUALITY_NAMES
    assert survey.properties.shape == (6, len(PROPERTY_NAMES))
    assert survey.border.shape == (6, N_BORDER)
    for values in (survey.properties, survey.quality, survey.color, survey.border):
        assert values.dtype == np.float32
        assert np.isfinite(values).all()


def test_properties_are_those_of_the_features(folder: Path, survey: Survey) -> None:
    expected = image_properties(ASTRONAUT[:64, :64], 64, 64, (folder / "a/deep/er/2.png").stat().st_size)
    assert survey.properties[1, : len(NAMES)].tolist() == expected.tolist()


def test_properties_of_the_file(survey: Survey) -> None:
    assert column(survey, "jpeg_quality") == [63, -1, -1, -1, -1, -1]
    assert column(survey, "format") == [0, 1, 1, 2, 4, 5]
    assert len(set(column(survey, "mode")[1:4])) == 2
    assert column(survey, "pixel_quality")[0] == pytest.approx(63, abs=1)


def test_properties_of_pixels_against_numpy(survey: Survey) -> None:
    pixels = ASTRONAUT[:64, :64]
    gray = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(float)
    shares = np.bincount(gray.astype(int).ravel()) / gray.size
    inside = np.zeros((64, 64), bool)
    inside[4:-4, 4:-4] = True
    largest, smallest = pixels.max(axis=2).astype(float), pixels.min(axis=2)
    row = dict(zip(survey.property_names, survey.properties[1].tolist(), strict=True))
    assert row["entropy"] == pytest.approx(
        -(shares[shares > 0] * np.log2(shares[shares > 0])).sum(), rel=1e-5
    )
    contrast = abs(gray[~inside].mean() - gray[inside].mean()) / 255
    assert row["border_contrast"] == pytest.approx(contrast, rel=1e-4)
    assert row["border_deviation"] == pytest.approx(gray[~inside].std() / 255, rel=1e-4)
    saturation = ((largest - smallest) / np.maximum(largest, 1)).mean()
    assert row["saturation"] == pytest.approx(saturation, abs=0.003)


def test_quality_against_numpy(survey: Survey) -> None:
    gray = cv2.cvtColor(ASTRONAUT[:64, :64], cv2.COLOR_RGB2GRAY) / 255
    row = dict(zip(survey.quality_names, survey.quality[1].tolist(), strict=True))
    expected = np.quantile(gray, (0.01, 0.05, 0.95, 0.99), method="inverted_cdf")
    assert [row[name] for name in ("darkest", "dark", "light", "lightest")] == pytest.approx(expected)
    assert row["deviation"] == pytest.approx(gray.std(), rel=1e-4)


def test_color_is_a_histogram(survey: Survey) -> None:
    assert (survey.color[:, :64] ** 2).sum(axis=1) == pytest.approx(1, rel=1e-5)
    assert (survey.color[:, 64:] ** 2).sum(axis=1) == pytest.approx(1, rel=1e-5)
    assert survey.color[4, [0, 64]].tolist() == [1, 1]
    red = ASTRONAUT[:64, :64, 0] // 64 == 3
    assert (survey.color[1, 48:64] ** 2).sum() == pytest.approx(red.mean(), rel=1e-4)


def test_thumbnails_are_area_means(survey: Survey) -> None:
    gray = cv2.cvtColor(ASTRONAUT[:64, :64], cv2.COLOR_RGB2GRAY).astype(float)
    expected = gray.reshape(THUMBNAIL, 2, THUMBNAIL, 2).mean(axis=(1, 3))
    assert np.abs(survey.thumbnails[1] - expected).max() <= 0.5
    assert survey.thumbnails[4].max() == 0


def test_the_result_does_not_depend_on_threads(tmp_path: Path) -> None:
    images = (load_digits().images[:200] * 15).astype(np.uint8)
    np.savez(tmp_path / "x.npz", train_images=images, train_labels=np.arange(200) % 10)
    dataset = load_dataset(tmp_path / "x.npz")
    done: list[tuple[str, int, int]] = []
    one = read_survey(dataset, 1, lambda *step: done.append(step))
    two = read_survey(dataset, 2)
    assert len(done) == -(-len(dataset) // CHUNK)
    assert done[-1] == ("survey", len(dataset), len(dataset))
    for name in ("indices", "properties", "quality", "color", "border", "thumbnails", "folder"):
        assert np.array_equal(getattr(one, name), getattr(two, name)), name


def test_a_border_is_seen_in_the_border_alone(tmp_path: Path) -> None:
    framed = ASTRONAUT[100:200, 100:200].copy()
    framed[:4] = framed[-4:] = framed[:, :4] = framed[:, -4:] = 0
    save(tmp_path / "a/1.png", ASTRONAUT[100:200, 100:200])
    save(tmp_path / "b/2.png", framed)
    survey = read_survey(load_dataset(tmp_path))
    assert survey.border[0].max() > 0.5
    assert survey.border[1].max() == 0
    assert column(survey, "border_deviation")[1] == 0


def test_a_huge_jpeg_is_read_at_a_part_of_its_size(tmp_path: Path) -> None:
    huge = cv2.resize(ASTRONAUT, (2100, 2100), interpolation=cv2.INTER_CUBIC)
    save(tmp_path / "a/1.jpg", huge, quality=95)
    save(tmp_path / "b/2.bmp", huge)
    survey = read_survey(load_dataset(tmp_path))
    assert survey.width.tolist() == [2100, 2100]
    assert np.abs(survey.thumbnails[0].astype(int) - survey.thumbnails[1]).max() <= 3
    assert survey.border[0] == pytest.approx(survey.border[1], abs=0.05)


def test_arrays(tmp_path: Path) -> None:
    images = np.stack([ASTRONAUT[:28, :28, 0], np.full((28, 28), 9, np.uint8)])
    np.savez(tmp_path / "x.npz", train_images=images, train_labels=np.array([0, 1]))
    survey = read_survey(load_dataset(tmp_path / "x.npz"))
    assert survey.format.tolist() == ["array"] * 2
    assert survey.mode.tolist() == ["L"] * 2
    assert survey.n_bytes.tolist() == [784] * 2
    assert survey.gray.all()
    assert survey.folder.tolist() == ["", ""]
    assert column(survey, "jpeg_quality") == [-1, -1]


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (3, 2), (8, 8), (9, 33), (33, 40)])
def test_tiny_and_flat_images(tmp_path: Path, shape: tuple[int, int]) -> None:
    save(tmp_path / "a/1.png", np.full((*shape, 3), 200, np.uint8))
    save(tmp_path / "b/2.png", np.resize(ASTRONAUT, (*shape, 3)))
    survey = read_survey(load_dataset(tmp_path))
    for values in (survey.properties, survey.quality, survey.color, survey.border):
        assert np.isfinite(values).all()
    assert column(survey, "entropy")[0] == 0
    assert column(survey, "blockiness")[0] == 0
    assert column(survey, "border_deviation")[0] == pytest.approx(0, abs=1e-6)
    assert (survey.thumbnails[0] == 200).all()


def test_folders_of_a_manifest(tmp_path: Path) -> None:
    for name in ("all/x/1.png", "all/Rose/y/2.png", "3.png"):
        save(tmp_path / name, ASTRONAUT[:20, :20])
    rows = "path,label\nall/x/1.png,tulip\nall/Rose/y/2.png,rose\n3.png,rose\n"
    (tmp_path / "list.csv").write_text(rows, encoding="utf-8")
    survey = read_survey(load_dataset(tmp_path / "list.csv"))
    assert survey.folder.tolist() == ["all/x", "y", ""]


def test_nothing_that_can_be_decoded(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.jpg").write_bytes(b"nothing")
    survey = read_survey(load_dataset(tmp_path))
    assert len(survey) == 0
    assert len(survey.problems) == 2
    assert survey.properties.shape == (0, len(PROPERTY_NAMES))
    assert survey.thumbnails.shape == (0, THUMBNAIL, THUMBNAIL)

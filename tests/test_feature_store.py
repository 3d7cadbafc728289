"""The feature store: the same features as extracting them at once, each computed once, bad files left out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest

from classic_cv import feature_store
from classic_cv.extraction import extract
from classic_cv.feature_store import FeatureStore
from classic_cv.features import HOG, ColorHistogram
from classic_cv.fitting import Job, fit_featurizer, make_job
from classic_cv.recipe import Recipe, load_recipe

BROKEN = ("a/003.png", "b/011.png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of 30 images of noise."""
    rng = np.random.default_rng(0)
    for index in range(60):
        path = tmp_path / "data" / "ab"[index % 2] / f"{index // 2:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)
        path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    return tmp_path / "data"


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_store, "CHUNK", 10)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many images each extractor has seen."""
    seen: Counter[str] = Counter()

    def watch(kind: Any) -> None:
        transform = kind.transform

        def counted(self: Any, X: Any) -> Any:
            seen[kind.__name__] += len(X)
            return transform(self, X)

        monkeypatch.setattr(kind, "transform", counted)

    watch(HOG)
    watch(ColorHistogram)
    return seen


def break_some(folder: Path) -> None:
    for name in BROKEN:
        (folder / name).write_bytes(b"\x89PNG\r\n\x1a\n and no more")


def small(name: str) -> Recipe:
    return load_recipe(name).resized(32)


def expected(job: Job, recipe: Recipe, indices: Any) -> Any:
    """The features as a fit without a search has them."""
    featurizer = fit_featurizer(recipe, job.dataset, job.train)
    return extract(job.dataset, np.sort(indices), featurizer)


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("broken", [False, True])
@pytest.mark.parametrize("name", ["hog", "hog-color-lbp", "properties", "blobs"])
def test_features_are_those_of_extracting_at_once(
    folder: Path, tmp_path: Path, name: str, broken: bool, jobs: int
) -> None:
    if broken:
        break_some(folder)
    job, recipe = make_job(folder, jobs=jobs), small(name)
    store = FeatureStore(job, str(tmp_path / "store"))
    for n in (7, 25, len(job.train)):
        found = store.extraction(recipe, n)
        wanted = expected(job, recipe, job.order()[:n])
        rows = np.argsort(found.kept)
        np.testing.assert_array_equal(found.kept[rows], wanted.kept)
        np.testing.assert_array_equal(found.X[rows], wanted.X)
        assert found.X.dtype == np.float32
        # In nested order: a longer beginning starts with the shorter one.
        order = job.order()[:n]
        np.testing.assert_array_equal(found.kept, order[np.isin(order, wanted.kept)])


def test_growing_computes_only_what_is_new(folder: Path, tmp_path: Path, computed: Counter[str]) -> None:
    job, recipe = make_job(folder), small("hog")
    store = FeatureStore(job, str(tmp_path / "store"))
    n = len(job.train)
    assert store.missing(recipe, n) == n
    first = store.extraction(recipe, 15)
    assert computed == {"HOG": 20}
    assert store.missing(recipe, 15) == store.missing(recipe, 20) == 0
    assert store.missing(recipe, 25) == 10
    second = store.extraction(recipe, 25)
    assert computed == {"HOG": 30}
    store.extraction(recipe, 15)
    store.extraction(recipe, 30)
    assert computed == {"HOG": 30}
    np.testing.assert_array_equal(second.X[:15], first.X)
    store.extraction(recipe, n)
    assert computed == {"HOG": n}
    assert store.missing(recipe, n) == 0


def test_what_the_final_fit_needs_is_not_kept(folder: Path, tmp_path: Path, computed: Counter[str]) -> None:
    job, recipe = make_job(folder), small("hog")
    store = FeatureStore(job, str(tmp_path / "store"))
    n = len(job.train)
    store.extraction(recipe, 20)
    final = store.extraction(recipe, n, final=True, keep=False)
    assert computed == {"HOG": n}
    assert store.missing(recipe, n) == n - 20
    wanted = expected(job, recipe, job.train)
    np.testing.assert_array_equal(final.kept, wanted.kept)
    np.testing.assert_array_equal(final.X, wanted.X)


def test_recipes_that_share_an_extractor_share_its_features(
    folder: Path, tmp_path: Path, computed: Counter[str]
) -> None:
    job = make_job(folder)
    store = FeatureStore(job, str(tmp_path / "store"))
    both = store.extraction(small("hog-color"), 20)
    assert computed == {"HOG": 20, "ColorHistogram": 40}  # two color histograms
    rich = small("hog-color-lbp")
    assert (store.missing(rich, 30), store.missing(rich, 30, all_features=True)) == (30, 10)
    assert store.missing(small("hog"), 20) == store.missing(small("color"), 20) == 0
    hog, color = store.extraction(small("hog"), 20), store.extraction(small("color"), 20)
    assert computed == {"HOG": 20, "ColorHistogram": 40}
    np.testing.assert_array_equal(both.X, np.hstack([hog.X, color.X]))
    # Another size is another feature.
    assert store.missing(load_recipe("hog"), 20) == 20


def test_a_broken_file_is_skipped_by_name(folder: Path, tmp_path: Path) -> None:
    whole = FeatureStore(make_job(folder, test_fraction=0.0), str(tmp_path / "whole"))
    names = list(whole.job.dataset.names)
    before = whole.extraction(small("hog"), 60)
    break_some(folder)
    job = make_job(folder, test_fraction=0.0)
    store = FeatureStore(job, str(tmp_path / "store"))
    found = store.extraction(small("hog"), 60)
    assert sorted(problem.source for problem in found.problems) == list(BROKEN)
    kept = [job.dataset.names[index] for index in found.kept]
    assert sorted(kept) == sorted(set(names) - set(BROKEN))
    # Each row is still that of its own image.
    row_of = {names[index]: row for index, row in zip(before.kept, before.X, strict=True)}
    for name, row in zip(kept, found.X, strict=True):
        np.testing.assert_array_equal(row, row_of[name])


def test_broken_files_do_not_come_back_from_the_store(folder: Path, tmp_path: Path) -> None:
    break_some(folder)
    job = make_job(folder, test_fraction=0.0)
    store = FeatureStore(job, str(tmp_path / "store"))
    first = store.extraction(small("hog"), 60)
    second = store.extraction(small("hog-color"), 60)
    np.testing.assert_array_equal(first.kept, second.kept)
    assert [str(p) for p in first.problems] == [str(p) for p in second.problems]
    np.testing.assert_array_equal(second.X[:, : first.X.shape[1]], first.X)


def test_a_chunk_without_a_readable_image(folder: Path, tmp_path: Path) -> None:
    job = make_job(folder)
    for index in job.order()[:10]:
        (folder / job.dataset.names[index]).write_bytes(b"no image")
    found = FeatureStore(job, str(tmp_path / "store")).extraction(small("hog-color"), 20)
    assert len(found.problems) == 10
    np.testing.assert_array_equal(found.kept, job.order()[10:20])


def test_the_dummy_reads_nothing(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job, recipe = make_job(folder), load_recipe("dummy")
    store = FeatureStore(job, str(tmp_path / "store"))
    store.featurizer(recipe)
    monkeypatch.setattr(type(job.dataset), "read", None)
    assert store.missing(recipe, 20) == 0
    found = store.extraction(recipe, 20)
    assert found.X.shape == (20, 0)
    np.testing.assert_array_equal(found.kept, job.order()[:20])


def test_progress_counts_images(folder: Path, tmp_path: Path) -> None:
    calls: list[tuple[str, int, int]] = []
    break_some(folder)
    job = make_job(folder, progress=lambda *call: calls.append(call))
    FeatureStore(job, str(tmp_path / "store")).extraction(small("hog"), 25)
    assert calls == [("features of hog-32", done, 30) for done in (10, 20, 30)]


def mirrored(name: str, copies: bool = False, averaged: bool = False) -> Recipe:
    recipe = small(name)
    return msgspec.structs.replace(
        recipe,
        image=msgspec.structs.replace(recipe.image, mirror=averaged),
        train=msgspec.structs.replace(recipe.train, mirror=copies),
    )


@pytest.mark.parametrize("broken", [False, True])
@pytest.mark.parametrize(("copies", "averaged"), [(True, False), (False, True)])
def test_mirrored_features_are_those_of_extracting_them_at_once(
    folder: Path, tmp_path: Path, copies: bool, averaged: bool, broken: bool
) -> None:
    if broken:
        break_some(folder)
    job, recipe = make_job(folder), mirrored("hog-color", copies, averaged)
    store = FeatureStore(job, str(tmp_path / "store"))
    featurizer = fit_featurizer(recipe, job.dataset, job.train)
    half = FeatureStore(job, str(tmp_path / "half"))
    half.extraction(recipe, 15)
    for n in (7, 25, len(job.train)):
        found = store.extraction(recipe, n)
        wanted = extract(job.dataset, np.sort(job.order()[:n]), featurizer, with_copies=copies)
        assert found.has_copies == wanted.has_copies == copies
        # From what is there already, in part, and from nothing.
        for one in (store, half, FeatureStore(job, str(tmp_path / f"fresh {n}"))):
            final = one.extraction(recipe, n, final=True, keep=False)
            np.testing.assert_array_equal(final.kept, wanted.kept)
            np.testing.assert_array_equal(final.X, wanted.X)
            assert list(map(str, final.problems)) == list(map(str, wanted.problems))
        order = job.order()[:n]
        np.testing.assert_array_equal(found.kept, order[np.isin(order, wanted.kept)])


def test_mirror_images_are_looked_at_once(folder: Path, tmp_path: Path, computed: Counter[str]) -> None:
    store = FeatureStore(make_job(folder), str(tmp_path / "store"))
    plain, copies, averaged = small("hog"), mirrored("hog", copies=True), mirrored("hog", averaged=True)
    # In predictions' worth of work: the average is one prediction, which looks at both.
    assert [store.missing(recipe, 20) for recipe in (plain, copies, averaged)] == [20, 40, 20]
    there = store.extraction(plain, 20)
    assert computed == {"HOG": 20}
    assert [store.missing(recipe, 20) for recipe in (plain, copies, averaged)] == [0, 20, 10]
    both = store.extraction(copies, 20)
    assert computed == {"HOG": 40}
    assert [store.missing(recipe, 20) for recipe in (plain, copies, averaged)] == [0, 0, 0]
    mean = store.extraction(averaged, 20)
    assert computed == {"HOG": 40}
    np.testing.assert_array_equal(both.X[:20], there.X)
    np.testing.assert_array_equal(mean.X, (both.X[:20] + both.X[20:]) * np.float32(0.5))
    assert store.featurizer(averaged).settings.mirror
    assert not store.featurizer(plain).settings.mirror


def test_the_dummy_has_rows_for_copies(folder: Path, tmp_path: Path) -> None:
    job, dummy = make_job(folder), load_recipe("dummy")
    recipe = msgspec.structs.replace(dummy, train=msgspec.structs.replace(dummy.train, mirror=True))
    found = FeatureStore(job, str(tmp_path / "store")).extraction(recipe, 20)
    assert found.X.shape == (40, 0)
    assert found.has_copies

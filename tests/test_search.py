"""The search: it finds what tells the classes apart, keeps its limits, and never looks at the test part."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

import classic_cv.fitting
import classic_cv.forecast
import classic_cv.search
from classic_cv import evaluation
from classic_cv.candidates import feature_recipes
from classic_cv.dataset import Dataset
from classic_cv.errors import DatasetError, LatencyError, RecipeError
from classic_cv.fitting import fit, make_job
from classic_cv.heads import fitting as heads_fitting
from classic_cv.model import Model, load
from classic_cv.recipe import LinearSVRSettings, Recipe, TrainSettings, load_recipe
from classic_cv.search import rungs_for
from classic_cv.shadow import Shadow, shadow_of

Pixels = NDArray[np.uint8]
Draw = Callable[[int, np.random.Generator], Pixels]

KEYS = """recipe size head score score_name score_ci95 n_images n_rows fit_seconds ms_per_image p95_ms model_bytes
    status""".split()


SHELF = feature_recipes
FEW = ("hog-color-32", "color-32", "hog-small", "lbp-32")


def few_recipes(task: Any, sizes: Any) -> list[Recipe]:
    """Four feature sets: what is tested with them does not depend on how many there are."""
    return [recipe for recipe in SHELF(task, [32]) if recipe.name in FEW]


@pytest.fixture(autouse=True)
def small_shelf() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classic_cv.search, "feature_recipes", few_recipes)
        patch.setattr(classic_cv.search, "EXPANDED", 0)
        yield


@pytest.fixture(scope="module", autouse=True)
def whole_shelf() -> Iterator[None]:
    """Models that are fitted once for several tests see the whole shelf, at its smallest size."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classic_cv.search, "sizes_for", lambda side: [32])
        patch.setattr(classic_cv.search, "FIRST_CS", (0.1, 1.0, 10.0))
        patch.setattr(heads_fitting, "EPSILONS", (0.1,))
        patch.setattr(heads_fitting, "REGRESSION_CS", (1.0, 30.0, 1000.0))
        yield


def write(path: Path, pixels: Pixels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())


def clipped(values: Any) -> Pixels:
    return np.asarray(np.clip(values, 0, 255), np.uint8)


def colored(k: int, rng: np.random.Generator) -> Pixels:
    """Stripes any way, of one of three colors of the same gray level (0.299 R + 0.587 G + 0.114 B)."""
    color = np.array([(110.0, 110.0, 110.0), (190.0, 64.0, 138.0), (30.0, 157.0, 83.0)][k])[::-1]
    return clipped(color + 0.3 * (striped(int(rng.integers(3)), rng)[..., None] - 127.0))


def striped(k: int, rng: np.random.Generator) -> Pixels:
    """Gray stripes in one of three directions under strong noise."""
    angle = np.pi * k / 3 + rng.normal(0, 0.1)
    y, x = np.mgrid[:32, :32]
    wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * rng.uniform(0.6, 1.0) + rng.uniform(0, 2 * np.pi))
    return clipped(127 + 70 * wave + rng.normal(0, 45, (32, 32)))


def shaded(k: int, rng: np.random.Generator) -> Pixels:
    """Noise whose brightness tells the class."""
    return rng.integers(60 * k, 60 * k + 90, (24, 24, 3), dtype=np.uint8)


def classes(folder: Path, draw: Draw, counts: list[int], seed: int = 0) -> Path:
    """Folders ``a``, ``b``, … with so many images each."""
    rng = np.random.default_rng(seed)
    for k, count in enumerate(counts):
        for index in range(count):
            write(folder / "abcdefgh"[k] / f"{index:03}.png", draw(k, rng))
    return folder


def dots(folder: Path, n: int = 60) -> Path:
    """Images with up to 25 dots that do not touch, and a manifest of how many."""
    rng = np.random.default_rng(0)
    cells = [(x, y) for x in range(5, 48, 9) for y in range(5, 48, 9)]
    rows = []
    for index in range(n):
        count = int(rng.integers(1, 26))
        pixels = clipped(rng.normal(60, 8, (48, 48)))
        for cell in rng.permutation(len(cells))[:count]:
            x, y = np.array(cells[cell]) + rng.integers(-1, 2, 2)
            cv2.circle(pixels, (int(x), int(y)), 2, 200, -1)
        write(folder / f"{index}.png", pixels)
        rows.append(f"{index}.png,{count}")
    (folder / "labels.csv").write_text("file,dots\n" + "\n".join(rows))
    return folder


@pytest.fixture(scope="module")
def colors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return classes(tmp_path_factory.mktemp("data") / "colors", colored, [18, 18, 18])


@pytest.fixture(scope="module")
def stripes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return classes(tmp_path_factory.mktemp("data") / "stripes", striped, [24, 24, 24])


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dots(tmp_path_factory.mktemp("data") / "dots")


@pytest.fixture(scope="module")
def color_model(colors: Path) -> Model:
    return fit(colors)


@pytest.fixture(scope="module")
def stripe_model(stripes: Path) -> Model:
    return fit(stripes)


@pytest.fixture(scope="module")
def count_model(counting: Path) -> Model:
    return fit(counting)


def found(model: Model) -> dict[str, Any]:
    assert model.report is not None
    summary: dict[str, Any] = model.report["search"]
    return summary


def leaderboard(model: Model) -> list[dict[str, Any]]:
    """The entries, each checked to be complete."""
    entries: list[dict[str, Any]] = found(model)["leaderboard"]
    for entry in entries:
        assert list(entry) == KEYS
        assert entry["p95_ms"] >= entry["ms_per_image"] > 0
        assert entry["model_bytes"] > 0
        if entry["score"] is not None:
            low, high = entry["score_ci95"]
            assert low <= entry["score"] <= high
            assert 0 < entry["n_rows"] <= entry["n_images"]
            assert entry["fit_seconds"] > 0
    assert len({entry["recipe"] for entry in entries}) == len(entries)
    return entries


def entry_of(model: Model, recipe: str) -> dict[str, Any]:
    [entry] = [entry for entry in leaderboard(model) if entry["recipe"] == recipe]
    return entry


def feature_types(model: Model) -> set[str]:
    return {spec.type for spec in model.recipe.features}


def test_classes_that_differ_in_color_are_told_apart_by_color(color_model: Model) -> None:
    assert "color-histogram" in feature_types(color_model)
    assert color_model.report is not None
    assert color_model.report["test"]["accuracy"] >= 0.9
    without = entry_of(color_model, "lbp-32")
    winner = leaderboard(color_model)[0]
    assert winner["score"] > without["score"] + 0.1


def test_stripes_are_told_apart_by_their_direction(stripe_model: Model) -> None:
    # HOG, LBP that are not rotation invariant, or dense SIFT: what knows which way an edge runs.
    descriptors = {spec.params.get("descriptor", {}).get("type") for spec in stripe_model.recipe.features}
    assert (feature_types(stripe_model) | descriptors) & {"hog", "lbp", "dense-sift"}
    assert stripe_model.featurizer.gray
    assert stripe_model.report is not None
    assert stripe_model.report["test"]["accuracy"] >= 0.9
    color, hog = entry_of(stripe_model, "color-32"), entry_of(stripe_model, "hog-small")
    assert hog["score"] > color["score"] + 0.2
    assert leaderboard(stripe_model)[0]["score"] >= hog["score"]


def test_dots_are_counted(count_model: Model, counting: Path) -> None:
    assert count_model.task == "regression"
    assert count_model.report is not None
    test = count_model.report["test"]
    dummy = entry_of(count_model, "dummy")
    assert test["mae"] < 0.25 * dummy["score"]
    assert leaderboard(count_model)[0]["score"] < 0.25 * dummy["score"]
    assert found(count_model)["scoring"] == dummy["score_name"] == "mean absolute error"

    rows = [line.split(",") for line in (counting / "labels.csv").read_text().splitlines()[1:]]
    answers = count_model.predict([counting / file for file, _ in rows])
    assert answers.dtype.kind == "f"
    assert np.abs(answers - [float(count) for _, count in rows]).mean() < 1.5
    assert "more than 20: estimated as a number" in " ".join(count_model.report["notes"])


@pytest.mark.parametrize("name", ["color", "stripe", "count"])
def test_the_leaderboard_is_complete(name: str, request: pytest.FixtureRequest) -> None:
    model: Model = request.getfixturevalue(f"{name}_model")
    entries = leaderboard(model)
    statuses = Counter(entry["status"] for entry in entries)
    assert statuses["winner"] == 1
    assert entries[0]["status"] == "winner"
    assert entries[0]["recipe"] == model.recipe.name
    assert [entry["recipe"] for entry in entries if entry["status"] == "floor"] != []
    assert {entry["recipe"] for entry in entries if entry["status"] == "floor"} == {"dummy", "properties"}
    # The winner is the best of those that may win.
    worse = 1 if name == "count" else -1
    may_win = [entry for entry in entries if entry["status"] in ("winner", "compared", "behind")]
    assert min(worse * entry["score"] for entry in may_win) == worse * entries[0]["score"]
    # With every feature set of the shelf, and other heads for the best.
    assert {entry["recipe"] for entry in entries} >= {recipe.name for recipe in SHELF("classification", [32])}
    assert len({entry["head"] for entry in entries}) >= 4
    summary = found(model)
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert summary["stopped"] == "every candidate was compared, or was clearly behind"
    assert summary["latency_limit_ms"] is None


@pytest.mark.parametrize(
    ("name", "data"), [("color", "colors"), ("stripe", "stripes"), ("count", "counting")]
)
def test_the_winner_can_be_fitted_again(
    name: str, data: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    model: Model = request.getfixturevalue(f"{name}_model")
    folder: Path = request.getfixturevalue(data)
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    model.save(first)
    fit(folder, first, jobs=1).save(second)
    assert first.read_bytes() == second.read_bytes()
    assert load(second).recipe == model.recipe


def test_several_rungs_and_a_part_of_the_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Candidates that are clearly behind are dropped; a fit of fewer images than there are can be repeated too."""
    monkeypatch.setattr(classic_cv.search, "RUNGS", (30, 60, 80))
    monkeypatch.setattr(classic_cv.forecast, "MOST_BYTES", 1.0)
    monkeypatch.setattr(classic_cv.search, "ENOUGH_IMAGES", 0)
    data = classes(tmp_path / "data", striped, [45, 45, 45])
    (data / "a" / "007.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    model = fit(data, jobs=1)
    entries = leaderboard(model)
    assert {entry["n_images"] for entry in entries if entry["status"] != "floor"} >= {30, 80}
    assert {"behind"} <= {entry["status"] for entry in entries}
    # Where the memory does not hold the copies of all images they are not tried.
    assert not any(entry["recipe"].endswith("-mirrored") for entry in entries)
    assert entries[0]["n_images"] == model.recipe.train.images == 80
    assert model.metadata.n_train in (79, 80)
    model.save(tmp_path / "first.safetensors")
    again = fit(data, tmp_path / "first.safetensors", jobs=2)
    assert again.to_bytes() == (tmp_path / "first.safetensors").read_bytes()


def test_what_is_too_wide_for_the_images_is_not_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = classes(tmp_path / "data", striped, [20, 20])
    narrow, wide = (fit(data, name, jobs=1).featurizer.n_features for name in ("lbp", "hog-small"))
    assert narrow < wide
    n = len(make_job(data).train)
    # The memory holds all images at the narrow one's columns, and not half of them at the wide one's.
    monkeypatch.setattr(classic_cv.forecast, "MOST_BYTES", 4.0 * n * narrow)
    monkeypatch.setattr(classic_cv.forecast, "MEMORY_SHARE", 1.0)
    assert wide > 2 * narrow
    monkeypatch.setattr(
        classic_cv.search,
        "feature_recipes",
        lambda *_: [load_recipe("hog-small"), load_recipe("lbp").resized(32)],
    )
    entries = {entry["recipe"]: entry["status"] for entry in leaderboard(fit(data, jobs=1))}
    assert entries["hog-small"] == "too wide for so many images"
    assert entries["lbp-32"] in ("compared", "winner")


@pytest.mark.parametrize(
    ("n", "n_classes", "rungs"),
    [
        (2, 2, [2]),
        (58, 3, [58]),
        (700, 2, [700]),
        (800, 2, [500, 800]),
        (5000, 10, [500, 2500, 5000]),
        (60_000, 10, [500, 2500, 8000, 15_000]),
        (5000, 102, [1020, 2500, 5000]),
        (3000, 200, [2000, 3000]),
    ],
)
def test_rungs(n: int, n_classes: int, rungs: list[int]) -> None:
    assert rungs_for(n, n_classes) == rungs


def test_the_test_part_is_not_read_before_the_end(colors: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Dataset.read
    before: set[int] = set()
    during: set[int] = set()
    test: set[int] = set()
    measure = evaluation.measure
    measuring = False

    def recorded(self: Dataset, index: int, **more: Any) -> Any:
        (during if measuring else before).add(int(index))
        return read(self, index, **more)

    def watched(model: Model, dataset: Dataset, task: Any, indices: Any, *more: Any) -> Any:
        nonlocal measuring
        measuring = True
        test.update(indices.tolist())
        return measure(model, dataset, task, indices, *more)

    monkeypatch.setattr(Dataset, "read", recorded)
    monkeypatch.setattr(classic_cv.fitting, "measure", watched)
    fit(colors, jobs=1, latency_limit=1e6)
    assert len(test) >= 9
    assert test.isdisjoint(before)
    assert len(before | test) == 54
    assert during == test


def test_a_short_time_limit_still_gives_a_model(tmp_path: Path) -> None:
    data = classes(tmp_path / "data", striped, [120, 120, 120])
    model = fit(data, time_limit=3.0)
    assert model.report is not None
    assert model.report["test"]["accuracy"] > 0.5
    assert found(model)["time_limit"] == 3.0
    assert leaderboard(model)[0]["status"] == "winner"


def test_no_time_at_all_still_gives_a_model(stripes: Path) -> None:
    model = fit(stripes, time_limit=1e-3)
    statuses = Counter(entry["status"] for entry in leaderboard(model))
    assert statuses["winner"] == 1
    assert statuses["floor"] == 2
    assert statuses["compared"] == 0


def test_a_search_that_ran_out_of_time_says_so(stripes: Path) -> None:
    assert found(fit(stripes, time_limit=1e-3))["stopped"] == "the time limit"


def test_an_impossible_latency_limit_is_an_error_that_names_the_fastest(colors: Path) -> None:
    job = make_job(colors, jobs=1)
    with pytest.raises(LatencyError, match=r"no recipe keeps 0\.001 ms") as raised:
        fit(colors, latency_limit=1e-3)
    assert any(f"the fastest, {name}, takes " in str(raised.value) for name in FEW)
    with pytest.raises(LatencyError, match="no recipe keeps"):
        classic_cv.search.search(job, time_limit=10, latency_limit=1e-3)


def slow_texture(job: Any, featurizer: Any, recipe: Any, exact: bool = False) -> Shadow:
    """What ``shadow_of`` finds, but recipes with LBP take a thousand seconds."""
    shadow = shadow_of(job, featurizer, recipe, exact)
    slow = any(spec.type == "lbp" for spec in recipe.features)
    return shadow._replace(p95_ms=1e6) if slow else shadow


def test_a_latency_limit_is_kept(colors: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classic_cv.search, "shadow_of", slow_texture)
    model = fit(colors, latency_limit=1e5)
    entries = leaderboard(model)
    dropped = [entry for entry in entries if entry["status"] == "over the latency limit"]
    assert [entry["recipe"] for entry in dropped] == ["lbp-32"]
    assert all(entry["score"] is None for entry in dropped)
    assert all(entry["p95_ms"] <= 1e5 for entry in entries if entry not in dropped)
    assert found(model)["latency_limit_ms"] == 1e5
    assert "lbp" not in feature_types(model)


def test_a_winner_that_turns_out_too_slow_makes_way(colors: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[str] = []

    def check(model: Model, job: Any, limit: float) -> None:
        measured.append(model.recipe.name)
        if len(measured) < 3:
            raise LatencyError("too slow")

    monkeypatch.setattr(classic_cv.search, "check_latency", check)
    model = fit(colors, latency_limit=1e5)
    entries = leaderboard(model)
    assert model.recipe.name == measured[2] == entries[0]["recipe"]
    again = {e["recipe"] for e in entries if e["status"] == "over the latency limit when measured again"}
    assert again == set(measured[:2])


@pytest.mark.parametrize("recipe", ["auto", "hog-small"])
def test_a_latency_limit_with_an_unreadable_image(tmp_path: Path, recipe: str) -> None:
    data = classes(tmp_path / "data", shaded, [15, 15])
    (data / "a" / "000.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    model = fit(data, recipe, latency_limit=1e5, test_fraction=0.1)
    assert model.report is not None
    assert [entry["image"] for entry in model.report["skipped"]] == ["a/000.png"]


def test_one_image_per_class(tmp_path: Path) -> None:
    data = classes(tmp_path / "data", shaded, [1, 1, 1])
    model = fit(data)
    entries = leaderboard(model)
    assert [entry["status"] for entry in entries].count("winner") == 1
    assert all(entry["score"] is None for entry in entries)
    assert "nothing could be held out" in found(model)["stopped"]
    assert model.predict(sorted(data.rglob("*.png"))).tolist() == ["a", "b", "c"]
    assert model.report is not None
    assert model.report["test"] is None


def test_two_images_in_all(tmp_path: Path) -> None:
    data = classes(tmp_path / "data", shaded, [1, 1])
    model = fit(data)
    assert model.predict(sorted(data.rglob("*.png"))).tolist() == ["a", "b"]
    model.save(tmp_path / "first.safetensors")
    assert fit(data, tmp_path / "first.safetensors").to_bytes() == model.to_bytes()


@pytest.mark.parametrize("counts", [[3, 3], [2, 1, 1]])
def test_fewer_images_than_folds(tmp_path: Path, counts: list[int]) -> None:
    data = classes(tmp_path / "data", shaded, counts)
    model = fit(data)
    assert leaderboard(model)[0]["status"] == "winner"
    assert model.class_names == tuple("abc"[: len(counts)])
    assert np.mean(model.predict(sorted(data.rglob("*.png"))) == np.repeat(model.class_names, counts)) > 0.7


def test_few_numbers(tmp_path: Path) -> None:
    """A regression on five images."""
    rows = []
    for index in range(5):
        write(tmp_path / f"{index}.png", shaded(0, np.random.default_rng(index)) + np.uint8(30 * index))
        rows.append(f"{index}.png,{index / 2}")
    (tmp_path / "labels.csv").write_text("file,level\n" + "\n".join(rows))
    model = fit(tmp_path, task="regression")
    assert leaderboard(model)[0]["status"] == "winner"
    answers = model.predict([tmp_path / f"{index}.png" for index in range(5)])
    assert answers[4] > answers[0]


def test_unreadable_files_are_skipped_by_name(tmp_path: Path) -> None:
    data = classes(tmp_path / "data", striped, [20, 20, 20])
    broken = ["a/003.png", "b/007.png", "c/011.png"]
    for name in broken:
        (data / name).write_bytes(b"\x89PNG\r\n\x1a\n " + name.encode())
    model = fit(data)
    assert model.report is not None
    assert sorted(entry["image"] for entry in model.report["skipped"]) == broken
    # Rows that slipped past a missing one would have the wrong class.
    assert leaderboard(model)[0]["score"] > 0.85
    assert model.report["test"]["accuracy"] > 0.75


def test_unequal_classes_are_compared_by_balanced_accuracy(tmp_path: Path) -> None:
    model = fit(classes(tmp_path / "data", striped, [40, 10, 10]))
    assert found(model)["scoring"] == "balanced accuracy"
    assert {entry["score_name"] for entry in leaderboard(model)} == {"balanced accuracy"}
    assert entry_of(model, "dummy")["score"] == pytest.approx(1 / 3)


def test_equal_classes_are_compared_by_accuracy(color_model: Model) -> None:
    assert found(color_model)["scoring"] == "accuracy"
    assert entry_of(color_model, "dummy")["score"] == pytest.approx(1 / 3, abs=0.02)


def test_groups_are_kept_together(tmp_path: Path) -> None:
    """Nearly the same picture three times with a class drawn by lot: only who has seen its group knows it."""
    rng = np.random.default_rng(0)
    rows = []
    for group in range(21):
        scene = rng.integers(0, 240, (6, 6, 3), dtype=np.uint8)
        for copy in range(3):
            pixels = cv2.resize(scene, (24, 24), interpolation=cv2.INTER_CUBIC).astype(np.uint8)
            write(
                tmp_path / f"{group}-{copy}.png",
                pixels // 2 + rng.integers(0, 8, (24, 24, 3), dtype=np.uint8),
            )
            rows.append(f"{group}-{copy}.png,{'abc'[group % 3]},{group}")
    (tmp_path / "labels.csv").write_text("file,class,group\n" + "\n".join(rows))
    model = fit(tmp_path)
    assert model.report is not None
    best = max(entry["score"] for entry in leaderboard(model))
    assert best < 0.75
    # Without the groups it would seem to know them all.
    (tmp_path / "labels.csv").write_text("file,class\n" + "\n".join(row.rpartition(",")[0] for row in rows))
    assert leaderboard(fit(tmp_path, time_limit=1e-3))[0]["score"] > best + 0.1


def test_entries_are_told_as_they_are_measured(stripes: Path) -> None:
    told: list[dict[str, Any]] = []
    model = fit(stripes, time_limit=1e-3, on_entry=told.append)
    measured = [entry["recipe"] for entry in leaderboard(model) if entry["score"] is not None]
    assert sorted(entry["recipe"] for entry in told) == sorted(measured)
    assert [entry["recipe"] for entry in told[:2]] == ["dummy", "properties"]


def test_groups_larger_than_a_rung_are_compared_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two classes of four long groups: a beginning of the training images knows several of each."""
    monkeypatch.setattr("classic_cv.search.RUNGS", (20, 60))
    rows = ["path,label,group"]
    rng = np.random.default_rng(0)
    for k, name in enumerate(("dark", "light")):
        for group in range(4):
            for frame in range(15):
                pixels = rng.integers(100 * k, 100 * k + 120, (24, 24, 3), dtype=np.uint8)
                file = f"{name}-{group}-{frame}.png"
                (tmp_path / file).write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
                rows.append(f"{file},{name},{name}{group}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    model = fit(tmp_path, target="label", time_limit=20)
    assert model.report is not None
    assert model.report["test"]["accuracy"] > 0.9


def test_a_class_that_cannot_be_read_is_named_before_the_search(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for k, name in enumerate(("good", "bad")):
        (tmp_path / name).mkdir()
        for i in range(8):
            data = cv2.imencode(".png", rng.integers(0, 255, (24, 24, 3), dtype=np.uint8))[1].tobytes()
            (tmp_path / name / f"{i}.png").write_bytes(data[:60] if k else data)
    with pytest.raises(DatasetError, match=r"6 of 16 images cannot be used"):
        fit(tmp_path, time_limit=20)
    with pytest.raises(DatasetError, match=r"only one class|no training image can be read"):
        fit(tmp_path, time_limit=20, max_bad=0.9)


def test_a_recipe_that_cannot_learn_the_task_is_refused(colors: Path) -> None:
    recipe = load_recipe("hog-small")
    number = msgspec.structs.replace(recipe, head=LinearSVRSettings())
    with pytest.raises(RecipeError, match="its head estimates numbers"):
        fit(colors, number)
    few = msgspec.structs.replace(recipe, train=TrainSettings(2))
    with pytest.raises(RecipeError, match=r"train\.images is 2, fewer than the 3 classes"):
        fit(colors, few)

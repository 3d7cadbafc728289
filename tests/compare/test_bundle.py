"""What is handed to a contestant's process."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from classic_cv.compare.bundle import read_queries, read_training, write_queries, write_training
from classic_cv.dataset import load_dataset, make_split


def test_files_come_back_by_position_and_nothing_else_does(discs: Path, tmp_path: Path) -> None:
    dataset = load_dataset(discs)
    split = make_split(dataset)
    chosen = split.train[::3]
    write_training(tmp_path, dataset, chosen, dataset.y[chosen], dataset.class_names, split.groups[chosen])
    found = read_training(tmp_path)
    assert len(found.dataset) == len(chosen)
    for position, index in enumerate(chosen.tolist()):
        assert found.dataset.read(position) == dataset.read(index)
    assert found.y.tolist() == dataset.y[chosen].tolist()
    assert found.class_names == dataset.class_names
    assert [found.class_names[k] for k in found.y] == list(found.dataset.targets)


def test_arrays_of_several_shapes_are_copied(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    train = rng.integers(0, 255, (6, 8, 9, 3), dtype=np.uint8)
    test = rng.integers(0, 255, (4, 8, 9, 3), dtype=np.uint8)
    file = tmp_path / "data.npz"
    np.savez(file, train_images=train, train_labels=[0, 1] * 3, test_images=test, test_labels=[0, 1] * 2)
    dataset = load_dataset(file)
    folder = tmp_path / "bundle"
    folder.mkdir()
    chosen = np.array([0, 2, 5])
    write_training(folder, dataset, chosen, dataset.y[chosen], dataset.class_names, chosen)
    found = read_training(folder)
    assert np.array_equal(np.stack([found.dataset.read(k) for k in range(3)]), train[chosen])


def test_queries_have_no_names_and_broken_ones_are_told(discs: Path, tmp_path: Path) -> None:
    copy = tmp_path / "data"
    for part in ("train", "test"):
        for name in ("red", "green"):
            (copy / part / name).mkdir(parents=True)
            for file in sorted((discs / part / name).iterdir())[:3]:
                (copy / part / name / file.name).write_bytes(file.read_bytes())
    broken = copy / "test" / "red" / "01.png"
    broken.write_bytes(broken.read_bytes()[:40])
    dataset = load_dataset(copy)
    split = make_split(dataset)
    out = tmp_path / "queries"
    out.mkdir()
    files, kept, problems = write_queries(out, dataset, split.test)
    assert [problem.source for problem in problems] == ["test/red/01.png"]
    assert len(kept) == 5
    assert read_queries(files) == [dataset.read(int(i)) for i in kept]
    assert b"red" not in b"".join(file.read_bytes() for file in files)

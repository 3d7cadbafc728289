"""The model file: round trip, verified at loading, written atomically, the same bytes every time."""

from __future__ import annotations

import contextlib
import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import safetensors.numpy
from safetensors.numpy import save

from classic_cv import artifact
from classic_cv.errors import ArtifactError
from classic_cv.evaluation import evaluate
from classic_cv.float16 import from_float16
from classic_cv.model import Model, load


def with_header(data: bytes, change: Any) -> bytes:
    """``data`` with the JSON under our metadata key changed by ``change(envelope)``."""
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    envelope = json.loads(header["__metadata__"][artifact.METADATA_KEY])
    change(envelope)
    header["__metadata__"][artifact.METADATA_KEY] = json.dumps(envelope)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def test_a_loaded_model_predicts_what_the_fitted_one_did(model: Model, model_file: Path, faces: Path) -> None:
    images = sorted((faces / "test").rglob("*.png"))
    loaded = load(model_file)
    np.testing.assert_array_equal(loaded.predict_proba(images), model.predict_proba(images))
    assert loaded.metadata == model.metadata
    assert loaded.recipe == model.recipe
    assert loaded.to_bytes() == model_file.read_bytes()


def test_every_single_flipped_byte_of_the_tensors_is_found(model_file: Path, tmp_path: Path) -> None:
    data = model_file.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    path = tmp_path / "flipped.safetensors"
    rng = np.random.default_rng(0)
    for position in rng.integers(8 + length, len(data), 20):
        damaged = bytearray(data)
        damaged[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        with pytest.raises(ArtifactError, match="do not match their SHA-256"):
            load(path)


def test_a_flipped_byte_of_the_header_never_gives_another_error(model_file: Path, tmp_path: Path) -> None:
    data = model_file.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    path = tmp_path / "flipped.safetensors"
    rng = np.random.default_rng(1)
    for position in rng.integers(0, 8 + length, 60):
        damaged = bytearray(data)
        damaged[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        # A flipped letter of a description or class name is not noticed; any other error fails the test.
        with contextlib.suppress(ArtifactError):
            load(path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_file_is_an_artifact_error(model_file: Path, tmp_path: Path, share: float) -> None:
    data = model_file.read_bytes()
    path = tmp_path / "cut.safetensors"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ArtifactError, match="is not a whole safetensors file"):
        load(path)


def test_foreign_files_are_artifact_errors(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.safetensors"
    foreign.write_bytes(save({"weight": np.zeros(3, np.float32)}, metadata={"format": "pt"}))
    with pytest.raises(ArtifactError, match="is a safetensors file, but not a classic-cv model"):
        load(foreign)
    foreign.write_bytes(save({"weight": np.zeros(3, np.float32)}))
    with pytest.raises(ArtifactError, match="not a classic-cv model"):
        load(foreign)
    foreign.write_bytes(b"GIF89a" + bytes(100))
    with pytest.raises(ArtifactError, match="is not a whole safetensors file"):
        load(foreign)


def test_a_missing_file_and_a_folder_are_artifact_errors(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"cannot be read \(No such file"):
        load(tmp_path / "none.safetensors")
    with pytest.raises(ArtifactError, match=r"cannot be read \(Is a directory"):
        load(tmp_path)


def test_a_newer_format_says_to_update(model_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "newer.safetensors"

    def change(envelope: dict[str, Any]) -> None:
        envelope["format_version"] = 99

    path.write_bytes(with_header(model_file.read_bytes(), change))
    with pytest.raises(ArtifactError, match=r"has model format 99, .* reads up to 4; update classic-cv"):
        load(path)


def in_32_bits(data: bytes) -> bytes:
    """The model file ``data`` with its weights as formats 1 and 2 had them."""
    tensors = safetensors.numpy.load(data)
    tensors["head.coef_"] = from_float16(tensors["head.coef_"], tensors.pop("head.coef_exponent_"))
    (length,) = struct.unpack("<Q", data[:8])
    envelope = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][artifact.METADATA_KEY])
    return artifact.to_bytes(msgspec.convert(envelope["model"], artifact.Metadata), tensors)


@pytest.mark.parametrize("version", [1, 2])
def test_a_file_of_an_older_format_is_read(
    version: int, model: Model, model_file: Path, faces: Path, tmp_path: Path
) -> None:
    assert artifact.WITHOUT_NETWORK == 3
    path = tmp_path / "old.safetensors"

    def change(envelope: dict[str, Any]) -> None:
        envelope["format_version"] = version
        recipe = envelope["model"]["recipe"]
        del recipe["head"]["precision"]
        if version == 2:
            return
        # What format 1 did not have: these keys, and these values of the recipe's tables.
        for key in ("task", "positive", "target"):
            del envelope["model"][key]
        del recipe["train"]
        recipe["head"] = {"type": "linear-svm", "C": 1.0, "scale": "groups", "class_weight": "none"}

    path.write_bytes(with_header(in_32_bits(model_file.read_bytes()), change))
    old = load(path)
    images = sorted((faces / "test").rglob("*.png"))
    np.testing.assert_array_equal(old.predict_proba(images), model.predict_proba(images))
    assert (old.task, old.metadata.positive, old.metadata.target) == ("classification", None, "class")
    assert evaluate(old, faces)["accuracy"] == evaluate(model, faces)["accuracy"]


def test_other_golden_scores_are_refused(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "other.safetensors"
    written = Model.decision_function
    monkeypatch.setattr(Model, "decision_function", lambda self, images: written(self, images) + 0.1)
    model.save(path)
    monkeypatch.undo()
    with pytest.raises(ArtifactError, match=r"gives other scores here .* fit it again"):
        load(path)


def test_golden_scores_of_another_shape_are_refused(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "other.safetensors"
    monkeypatch.setattr(Model, "decision_function", lambda self, images: np.zeros((2, 3), np.float32))
    model.save(path)
    monkeypatch.undo()
    with pytest.raises(
        ArtifactError, match=r"do not make a model \(golden scores of shape \(2, 3\), expected \(2,\)"
    ):
        load(path)


def test_a_recipe_that_does_not_fit_its_tensors_is_refused(model_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "mixed.safetensors"

    def change(envelope: dict[str, Any]) -> None:
        envelope["model"]["recipe"]["features"][0]["orientations"] = 7

    path.write_bytes(with_header(model_file.read_bytes(), change))
    with pytest.raises(ArtifactError, match="do not make a model"):
        load(path)


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ArtifactError, match=r"cannot be written \(No space left on device"):
        model.save(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_check_writable_names_the_folder(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"the folder .* does not exist; make it first"):
        artifact.check_writable(tmp_path / "none" / "model.safetensors")
    with pytest.raises(ArtifactError, match="is a folder; give the name of a file"):
        artifact.check_writable(tmp_path)


def test_the_same_fit_gives_the_same_bytes_in_another_process(
    model_file: Path, faces: Path, small_recipe: Path, tmp_path: Path
) -> None:
    again = tmp_path / "again.safetensors"
    code = (
        "import sys; from classic_cv.fitting import fit; "
        "fit(sys.argv[1], sys.argv[2], jobs=2).save(sys.argv[3])"
    )
    subprocess.run([sys.executable, "-c", code, str(faces), str(small_recipe), str(again)], check=True)
    assert again.read_bytes() == model_file.read_bytes()

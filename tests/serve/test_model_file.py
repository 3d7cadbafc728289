"""Model files: what tells one from the next in its place."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from classic_cv.errors import ArtifactError
from classic_cv.model import Model, load
from classic_cv.serve import model_file as module
from classic_cv.serve.model_file import read_model, stamp_of


def test_a_file_has_a_model_and_the_version_of_its_bytes(model_file: Path) -> None:
    version, model = read_model(model_file)

    assert version == hashlib.sha256(model_file.read_bytes()).hexdigest()[:8]
    assert model.metadata == load(model_file).metadata


def test_replacing_and_writing_change_the_stamp(tmp_path: Path) -> None:
    path, aside = tmp_path / "m", tmp_path / "aside"
    assert stamp_of(path) is None
    path.write_bytes(b"one")
    first = stamp_of(path)
    assert stamp_of(path) == first
    aside.write_bytes(b"two")
    aside.replace(path)
    second = stamp_of(path)
    path.write_bytes(b"three")
    assert len({None, first, second, stamp_of(path)}) == 4


def test_a_link_that_leads_elsewhere_has_another_stamp(tmp_path: Path) -> None:
    for name in ("v1", "v2"):
        (tmp_path / name).write_bytes(b"same")
    (tmp_path / "now").symlink_to("v1")
    before = stamp_of(tmp_path / "now")
    (tmp_path / "aside").symlink_to("v2")
    (tmp_path / "aside").replace(tmp_path / "now")

    assert stamp_of(tmp_path / "now") != before


def test_a_file_that_changes_while_it_is_read_is_refused(
    model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(model_file.read_bytes())

    def replacing(file: Path) -> Model:
        model = load(file)
        file.write_bytes(b"another")
        return model

    monkeypatch.setattr(module, "load", replacing)
    with pytest.raises(ArtifactError, match="was changed while it was read; replace it with one rename"):
        read_model(path)

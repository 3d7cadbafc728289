"""The model file: one safetensors file whose metadata is one JSON string; no code in it, so safe to open.

Several metadata keys would be written in an order that differs from run to run, one key keeps the bytes
the same. safetensors loads a flipped byte silently, so the metadata also holds a SHA-256 of the tensors.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from classic_cv.errors import ArtifactError

FORMAT_VERSION = 4
"""2 has kernel maps, RBF heads and regression; 3 has arrays in 16 bits and mean features; 4 has networks. Files of
1 to 3 are read as before, and models without a network are still written as 3."""

WITHOUT_NETWORK = 3

METADATA_KEY = "classic_cv"

Tensors = Mapping[str, NDArray[Any]]


class Metadata(msgspec.Struct, frozen=True):
    """What a model file says besides its tensors.

    Attributes:
        recipe_name, recipe: the recipe, every default written out.
        gray: whether the model works on gray images.
        class_names: in the order of the scores.
        seed: of the split and the fit.
        test_fraction: share held out where the data had no test part.
        split_sha256: fingerprint of the split that the model was fitted on.
        n_train: images that it was fitted on.
        fit: choices made while fitting, such as C and its cross-validated accuracy.
        versions: of the packages that fitted it.
        task: ``classification`` or ``regression``, which has no class names.
        positive: the class that is told from all others, where only that was asked.
        target: the name of what is predicted: ``class``, or the manifest's column.
    """

    recipe_name: str
    recipe: dict[str, Any]
    gray: bool
    class_names: tuple[str, ...]
    seed: int
    test_fraction: float
    split_sha256: str
    n_train: int
    fit: dict[str, Any]
    versions: dict[str, str]
    task: Literal["classification", "regression"] = "classification"
    positive: str | None = None
    target: str = "class"


class _Envelope(msgspec.Struct, frozen=True):
    """The JSON under the one metadata key."""

    format_version: int
    tensors_sha256: str
    model: msgspec.Raw


def tensors_sha256(tensors: Tensors) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of the tensors, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        array = np.asarray(tensors[name], order="C")
        digest.update(f"{name}|{array.dtype.str}|{array.shape}|".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def to_bytes(metadata: Metadata, tensors: Tensors) -> bytes:
    """The bytes of the model file: the same input gives the same bytes."""
    from safetensors.numpy import save

    # Not ascontiguousarray: it makes a 0-d array 1-d.
    arrays = {name: np.asarray(array, order="C") for name, array in sorted(tensors.items())}
    envelope = {
        "format_version": FORMAT_VERSION if "head.network_" in arrays else WITHOUT_NETWORK,
        "tensors_sha256": tensors_sha256(arrays),
        "model": msgspec.to_builtins(metadata),
    }
    text = json.dumps(envelope, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return bytes(save(arrays, metadata={METADATA_KEY: text}))


def write_atomically(path: Path, data: bytes) -> None:
    """Write ``data`` aside, then rename: ``path`` is either the old file or the whole new one.

    Raises:
        ArtifactError: the folder is missing or read-only, the disk is full, or ``path`` is a folder.
    """
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes the file private; a model is as readable as the user's umask says.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except BaseException as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise ArtifactError(f"{path}: cannot be written ({error.strerror or error})") from None
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def check_writable(path: Path) -> None:
    """Fail now rather than after an hour of fitting when ``path`` cannot be written.

    Raises:
        ArtifactError: the folder is missing or read-only, or ``path`` is a folder.
    """
    if path.is_dir():
        raise ArtifactError(f"{path}: is a folder; give the name of a file to write")
    if not path.parent.is_dir():
        raise ArtifactError(f"{path}: the folder {path.parent} does not exist; make it first")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be written there ({error.strerror or error})") from None


def read_file(path: str | Path) -> tuple[Metadata, dict[str, NDArray[Any]]]:
    """Read and verify a model file.

    Raises:
        ArtifactError: no such file, not a classic-cv model, damaged, truncated, or of a newer format.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    try:
        path.open("rb").close()
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error.strerror or error})") from None
    try:
        with safe_open(path, framework="numpy") as file:
            header = (file.metadata() or {}).get(METADATA_KEY)
            # A tensor keeps the file mapped: copies let it be replaced or deleted.
            tensors = {name: np.array(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise ArtifactError(f"{path}: is not a whole safetensors file ({error})") from None
    if header is None:
        raise ArtifactError(f"{path}: is a safetensors file, but not a classic-cv model")
    return _metadata(path, header, tensors), tensors


def _metadata(path: Path, header: str, tensors: Tensors) -> Metadata:
    try:
        version = json.loads(header).get("format_version")
        if isinstance(version, int) and version > FORMAT_VERSION:
            raise ArtifactError(
                f"{path}: has model format {version}, this classic-cv reads up to {FORMAT_VERSION}; "
                "update classic-cv"
            )
        envelope = msgspec.json.decode(header, type=_Envelope)
        metadata = msgspec.json.decode(envelope.model, type=Metadata)
    except (ValueError, AttributeError, RecursionError) as error:
        raise ArtifactError(f"{path}: its metadata is damaged ({error})") from None
    if envelope.tensors_sha256 != tensors_sha256(tensors):
        raise ArtifactError(f"{path}: is damaged: its tensors do not match their SHA-256")
    return metadata

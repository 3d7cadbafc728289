"""What a comparison keeps on disk, so that an interrupted one goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classic_cv.artifact import check_writable, write_atomically
from classic_cv.errors import ArtifactError

RESULT, MODEL, LOG, PROBABILITIES = "result.json", "model", "log.txt", "probabilities.npy"


@dataclass(frozen=True)
class Slot:
    """The place of one run: a contestant, a budget, a seed, a part of the training images.

    Attributes:
        folder: of everything below.
    """

    folder: Path

    @property
    def model(self) -> Path:
        """The folder of the stored contestant."""
        return self.folder / MODEL

    @property
    def log(self) -> Path:
        """What its processes printed."""
        return self.folder / LOG

    @property
    def has_model(self) -> bool:
        """Whether a fit has stored something."""
        return self.model.is_dir() and any(self.model.iterdir())

    def result(self) -> dict[str, Any] | None:
        """What is known of the run, None where it is not done."""
        try:
            found: dict[str, Any] = json.loads((self.folder / RESULT).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found

    def keep(self, result: Mapping[str, Any], probabilities: NDArray[np.float32] | None) -> None:
        """Write what is known; the result last, since it says that the rest is there."""
        if probabilities is not None:
            np.save(self.folder / PROBABILITIES, probabilities)
        text = json.dumps(result, ensure_ascii=False, indent=1)
        write_atomically(self.folder / RESULT, text.encode())

    def probabilities(self) -> NDArray[np.float32] | None:
        """float32 (n_test, n_classes), None where nothing was scored."""
        try:
            found: NDArray[np.float32] = np.load(self.folder / PROBABILITIES, allow_pickle=False)
        except (OSError, ValueError):
            return None
        return found

    def clear(self) -> None:
        """Begin anew: nothing of a run that was not finished is left."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.model.mkdir(parents=True)


class Store:
    """A folder with a place for every run.

    Args:
        folder: is made where it is not there.

    Raises:
        ArtifactError: nothing can be written there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            (folder / "runs").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ArtifactError(f"{folder}: cannot be made ({error.strerror})") from None
        check_writable(folder / "comparison.json")

    def slot(self, name: str, identity: Mapping[str, Any]) -> Slot:
        """The place of a run, by all that its result follows from."""
        text = json.dumps(identity, sort_keys=True, default=str)
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        readable = re.sub(r"[^\w.-]+", "_", name)[:60]
        return Slot(self.folder / "runs" / f"{readable}-{digest}")

"""The state of a training in a file, written aside and renamed: an interrupted run can go on from it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from torch import nn

from classic_cv.artifact import write_atomically
from classic_cv.errors import TrainingError
from classic_cv.neural.optimizer import AveragedWeights


def write_checkpoint(
    path: Path,
    fingerprint: str,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: AveragedWeights | None,
    state: dict[str, Any],
) -> None:
    """Keep everything that the next step depends on.

    Raises:
        ArtifactError: it cannot be written there.
    """
    figures = state["best_figures"]
    saved = {
        "fingerprint": fingerprint,
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "average": average.state() if average else None,
        "state": {**state, "best_figures": None if figures is None else list(figures)},
    }
    buffer = io.BytesIO()
    torch.save(saved, buffer)
    write_atomically(path, buffer.getvalue())


def read_checkpoint(path: Path | None, fingerprint: str) -> dict[str, Any] | None:
    """What ``write_checkpoint`` kept; None where there is no such file. Only tensors and plain values are read.

    Raises:
        TrainingError: the file is damaged, or of a training with other data or settings.
    """
    if path is None or not path.exists():
        return None
    try:
        saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        found = saved["fingerprint"]
    except Exception as error:
        raise TrainingError(
            f"{path}: is not a whole checkpoint ({type(error).__name__}); remove it to begin anew"
        ) from None
    if found != fingerprint:
        raise TrainingError(
            f"{path}: is the checkpoint of a training with other data, settings or seed; give another file, or "
            "remove it to begin anew"
        )
    return saved

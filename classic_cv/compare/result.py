"""A contestant as it is judged: its figures, whether a claim may be made about it, whether it keeps the limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classic_cv.compare.entries import Limits

NETWORKS = ("deep", "hybrid")
"""The kinds that hold a trained network."""


@dataclass(frozen=True, eq=False)
class Result:
    """What came out of one contestant.

    Attributes:
        record: its part of the comparison's record.
        right: bool (n_test,), which test images it is right on; None where it was not measured.
    """

    record: Mapping[str, Any]
    right: NDArray[np.bool_] | None

    @property
    def name(self) -> str:
        return str(self.record["name"])

    @property
    def kind(self) -> str:
        return str(self.record["kind"])

    @property
    def outcome(self) -> str:
        """The outcome with its message, in words."""
        message = self.record.get("message") or ""
        return f"{self.record['outcome']}: {message}" if message else str(self.record["outcome"])

    @property
    def no_claim(self) -> str:
        """Why no claim is made about it; empty where one may be made."""
        if self.record["outcome"] != "ok":
            return self.outcome
        return "" if self.right is not None else "not measured on the test part"

    @property
    def may_win(self) -> bool:
        return self.kind != "floor" and not self.no_claim

    @property
    def accuracy(self) -> float:
        """On the test part; NaN where it was not measured."""
        return float(self.right.mean()) if self.right is not None else float("nan")

    def latency(self, percentile: str) -> float | None:
        """Milliseconds per image on one thread; ``percentile`` as in ``p50``."""
        found: float | None = (self.record.get("latency_ms") or {}).get(percentile)
        return found

    def figure(self, name: str) -> float | None:
        """Another figure of the record; None where it was not measured."""
        found: float | None = self.record.get(name)
        return found

    def rank(self) -> tuple[float, float, float]:
        """The more accurate first; of equals the faster, then the smaller."""
        p50, size = self.latency("p50"), self.figure("model_bytes")
        unknown = float("inf")
        return -self.accuracy, unknown if p50 is None else p50, unknown if size is None else size


def breach(result: Result, limits: Limits) -> str:
    """In which way a contestant does not keep the limits; empty where it does.

    The latency limit is for the 95th percentile of a single image on one thread, as in a search; the size limit for
    the stored model, in 10^6 bytes. What was not measured does not keep a limit.
    """
    told = []
    if limits.latency_ms is not None:
        p95 = result.latency("p95")
        if p95 is None:
            told.append("its latency was not measured")
        elif p95 > limits.latency_ms:
            told.append(f"it takes {p95:.3g} ms (p95)")
    if limits.size_mb is not None:
        size = result.figure("model_bytes")
        if size is None:
            told.append("its size is not known")
        elif size > limits.size_mb * 1e6:
            told.append(f"it has {size / 1e6:.3g} MB")
    return " and ".join(told)

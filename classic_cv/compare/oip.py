"""A contestant behind an address: a server of the Open Inference Protocol, asked image by image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from classic_cv.dataset import Encoded
from classic_cv.dataset._dataset import class_name
from classic_cv.errors import RecipeError
from classic_cv.model import golden_images
from classic_cv.oip.client import OipClient
from classic_cv.oip.tensors import OipError
from classic_cv.task import listed

SERVICE = "service.json"
"""Name of the file in a folder that says where the server is."""

SUM_TOLERANCE = 0.01
"""How far from 1 the sum of probabilities may be."""

ELSEWHERE = (
    "it runs in a process of its own that is not measured: its CPU seconds, memory, threads and size are not known; "
    "latency is what a client here waits for over a kept connection, throughput is of one request at a time"
)


class Service(msgspec.Struct, frozen=True):
    """Where a server is, and the class number of each of its columns: the content of ``service.json``."""

    url: str
    classes: tuple[int, ...]


def store_address(url: str, class_names: Sequence[str], folder: Path) -> list[str]:
    """Ask a server for its classes and for one answer, and write the folder that ``OipPredictor.load`` reads.

    Args:
        url: of the model, as ``OipClient`` takes it.
        class_names: of the data, by class number.
        folder: exists, and is empty.

    Returns:
        sentences on what is not measured, and on what was not said and is assumed.

    Raises:
        OipError: the server cannot be reached, or gives no probabilities.
        RecipeError: its classes are not those of the data.
        TimeoutError: it does not answer.
    """
    client = OipClient(url)
    try:
        names = client.metadata().class_names
        [row] = client.probabilities(golden_images()[:1])
    finally:
        client.close()
    classes, notes = _classes(url, names, class_names)
    if len(row) != len(classes):
        raise RecipeError(
            f"{url}: gives {len(row)} probabilities, but the data has {len(classes)} classes ({listed(class_names)}); "
            "give a model of these classes"
        )
    if not (np.isfinite(row).all() and row.min() >= 0 and abs(row.sum() - 1) <= SUM_TOLERANCE):
        raise OipError(
            f"{url}: gives no probabilities, which are from 0 on and sum to 1; add a softmax to the model"
        )
    (folder / SERVICE).write_bytes(msgspec.json.encode(Service(url, classes)))
    return [ELSEWHERE, *notes]


def _classes(
    url: str, given: Sequence[str] | None, names: Sequence[str]
) -> tuple[tuple[int, ...], list[str]]:
    """The class number of each column, and a note where the order is not said."""
    if given is None:
        note = f"its class_names are not said: its columns are taken for {listed(names)}, the data's order"
        return tuple(range(len(names))), [note]
    known = {class_name(name): number for number, name in enumerate(names)}
    columns = [class_name(name) for name in given]
    if sorted(columns) != sorted(known):
        raise RecipeError(
            f"{url}: its classes are {listed(given)}, those of the data {listed(names)}: give a model of these classes"
        )
    return tuple(known[name] for name in columns), []


class OipPredictor:
    """A server as a contestant.

    Args:
        service: where it is.
    """

    model_bytes = None

    def __init__(self, service: Service) -> None:
        self._client = OipClient(service.url)
        self._order = np.argsort(service.classes)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What ``store_address`` wrote."""
        return cls(msgspec.json.decode((folder / SERVICE).read_bytes(), type=Service))

    def label(self, image: Encoded) -> int:
        """The class number of one image.

        Raises:
            OipError, TimeoutError: the server does not give one.
        """
        return int(self.probabilities([image])[0].argmax())

    def probabilities(self, images: Sequence[Encoded]) -> NDArray[np.float32]:
        """float32 (n, n_classes), asked for one after another.

        Raises:
            OipError, TimeoutError: the server does not give them.
        """
        return self._client.probabilities(images)[:, self._order]

    def stages(self, image: Encoded) -> dict[str, float]:
        """Of the server, which does not tell."""
        return {}

    def threads(self) -> dict[str, int]:
        """Of the server, which does not tell."""
        return {}

    def close(self) -> None:
        """Close the connection that is kept."""
        self._client.close()

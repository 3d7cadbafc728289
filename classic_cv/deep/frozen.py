"""A pretrained backbone as it is, and a linear SVM on its outputs: one ONNX file from pixels to probabilities.

Nothing of the backbone is trained, so a pass over the images and the fit of the SVM are all the cost.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from classic_cv.compare.contestant import FitTask, Fitted
from classic_cv.deep.backbone import Backbone, interface_of, make_backbone, with_head
from classic_cv.deep.images import Decoded, decode
from classic_cv.deep.linear_head import expected_probabilities, fit_linear_head, folded_head
from classic_cv.deep.predictor import Interface, OnnxPredictor, write_network
from classic_cv.deep.settings import DeepSettings
from classic_cv.errors import DatasetError, ImageError, TrainingError
from classic_cv.subset import nested_order

EMBEDDING_SHARE = 0.75
"""Of the CPU seconds that are left, for the pass over the images; the rest is for the SVM and the checks."""

PILOT_IMAGES = 8
"""Images that the costs of decoding and of the backbone are measured on."""

STEP = 32
"""Pixels between the sizes that are tried where the time does not reach."""

FEWEST_PER_CLASS = 10
"""Images per class that are better than more pixels."""

BATCH = 32
TOLERANCE = 1e-3
"""The stored probabilities may differ from the SVM's by so much."""


def fit_frozen(settings: DeepSettings, task: FitTask) -> Fitted:
    """Fit a linear SVM on a backbone's outputs, and store both as one network.

    The size is that of the settings; ``auto`` takes the one that the architecture was published for. Where the
    CPU seconds do not reach for all images, it takes fewer pixels, down to half of that, and then fewer images: the
    beginning of an order whose every beginning has the classes in their proportions.

    Args:
        settings: of the network; its mode is taken for ``frozen``.
        task: what is learned from. C is chosen by cross-validation that keeps its groups together.

    Raises:
        RecipeError: no such architecture, or its weights cannot be had.
        MissingExtraError: the package that holds the weights is not installed.
        DatasetError: no image can be used.
        TrainingError: the network cannot be used so, or what is stored does not answer as the SVM does.
    """
    settings = msgspec.structs.replace(settings, mode="frozen")
    log: list[str] = []
    backbone, order = _affordable(settings, task, log)
    found = _embedded(backbone.embedder(settings, task.threads), task, order, log)
    classes, y = np.unique(task.y[found.rows], return_inverse=True)
    sample = found.X[: len(found.first)].copy()
    stack = fit_linear_head(found.X, y, task.groups[found.rows], len(classes), task, log)
    weight, bias = folded_head(stack, classes, len(task.class_names))
    network = with_head(backbone.network, weight, bias)
    interface = interface_of(settings, backbone.size, len(task.class_names), "probabilities")
    expected = expected_probabilities(stack, sample, classes, len(task.class_names))
    _check(network, interface, found.first, expected)
    write_network(task.folder, network, interface)
    details = {
        "mode": "frozen",
        "size": backbone.size,
        "width": backbone.width,
        "C": getattr(stack.settings, "C", None),
    }
    return Fitted(
        len(found.rows),
        log=log,
        skipped=[{"image": problem.source, "reason": problem.reason} for problem in found.problems],
        details=details | stack.choices,
    )


# The images.


def _affordable(settings: DeepSettings, task: FitTask, log: list[str]) -> tuple[Backbone, NDArray[np.int64]]:
    """The backbone at the size that the time reaches for, and the images, in nested order."""
    order = task.train[nested_order(task.y[task.train], task.groups[task.train], task.seed)]
    n_classes = len(task.class_names)
    size = settings.max_size if settings.size == "auto" else settings.size
    backbone = make_backbone(settings, size, n_classes, task.seed)
    decoding, computing = _pilot(backbone.embedder(settings, task.threads), task, order)
    log.append(f"{size} pixels: {1000 * (decoding + computing):.1f} CPU ms per image")
    seconds = EMBEDDING_SHARE * task.budget.left
    chosen, n = plan(settings, size, len(order), n_classes, seconds, decoding, computing)
    if chosen != size:
        log.append(f"{chosen} pixels in place of {size}: {len(order)} images would not fit into the time")
        backbone = make_backbone(settings, chosen, n_classes, task.seed)
    return backbone, order[:n]


def _pilot(embedder: OnnxPredictor, task: FitTask, order: NDArray[np.int64]) -> tuple[float, float]:
    """CPU seconds per image of decoding, and of the backbone."""
    start = task.budget.used()
    pixels = _decoded(embedder, task, order[:PILOT_IMAGES]).pixels
    middle = task.budget.used()
    decoding = (middle - start) / len(order[:PILOT_IMAGES])
    if not len(pixels):
        return decoding, 0.0
    embedder.scores(pixels)
    return decoding, (task.budget.used() - middle) / len(pixels)


def _decoded(embedder: OnnxPredictor, task: FitTask, rows: NDArray[np.int64]) -> Decoded:
    """The images at the network's size; none of them where none can be used."""
    size, resize = embedder.interface.shape[0], embedder.interface.resize
    try:
        return decode(task.dataset, rows, size, resize, task.threads)
    except DatasetError as error:
        problems = [ImageError(task.dataset.names[row], str(error)) for row in rows.tolist()]
        return Decoded(np.empty((0, size, size, 3), np.uint8), np.empty(0, np.int64), problems)


def plan(
    settings: DeepSettings,
    size: int,
    n: int,
    n_classes: int,
    seconds: float,
    decoding: float,
    computing: float,
) -> tuple[int, int]:
    """The size and the number of images that ``seconds`` reach for.

    Args:
        settings: of the network: a size that they give is kept, and ``min_size``.
        size: the one to begin with.
        n: images that there are.
        n_classes: how many.
        seconds: CPU seconds that there are.
        decoding, computing: CPU seconds per image at ``size``; the latter go with the number of pixels.
    """
    sizes = [size]
    if settings.size == "auto":
        sizes += list(range((size - 1) // STEP * STEP, settings.min_size - 1, -STEP))
    best = sizes[-1], 0
    for chosen in sizes:
        cost = decoding + computing * (chosen / size) ** 2
        reached = n if seconds >= n * cost else int(seconds / cost)
        # Half the pixels of a side cost a pretrained network little; below that, more images are worth more.
        enough = n if chosen > size / 2 + STEP / 2 else min(n, FEWEST_PER_CLASS * n_classes)
        best = chosen, reached
        if reached >= enough:
            break
    return best[0], min(n, max(best[1], 2 * n_classes))


@dataclass(frozen=True, eq=False)
class _Embedded:
    """What a pass over the images gives.

    Attributes:
        rows: int64 (n,), positions in the data set.
        X: float32 (n, width), what the head sees.
        first: uint8 (at least 1, size, size, 3), the pixels of the first ones.
        problems: one error per image that cannot be used.
    """

    rows: NDArray[np.int64]
    X: NDArray[np.float32]
    first: NDArray[np.uint8]
    problems: list[ImageError]


def _embedded(embedder: OnnxPredictor, task: FitTask, order: NDArray[np.int64], log: list[str]) -> _Embedded:
    """Embed the images in this order; it ends early where the time does, which leaves a fair choice of them."""
    deadline = task.budget.used() + EMBEDDING_SHARE * task.budget.left
    fewest = 2 * len(task.class_names)
    parts: list[tuple[Decoded, NDArray[np.float32]]] = []
    problems: list[ImageError] = []
    n = 0
    for start in range(0, len(order), BATCH):
        decoded = _decoded(embedder, task, order[start : start + BATCH])
        problems += decoded.problems
        if len(decoded.pixels):
            parts.append((decoded, embedder.scores(decoded.pixels)))
            n += len(decoded.pixels)
            if len(parts) > 1:
                decoded.pixels = decoded.pixels[:0]
        if task.progress is not None:
            task.progress("embedding images", min(start + BATCH, len(order)), len(order))
        if n >= fewest and task.budget.used() > deadline:
            break
    if problems:
        log.append(f"{len(problems)} images cannot be used and are left out; the first: {problems[0]}")
    if n + len(problems) < len(task.train):
        log.append(f"{n} of {len(task.train)} images: the time does not reach for more")
    if not parts:
        raise DatasetError(f"{task.dataset.path}: no training image can be used; the first: {problems[0]}")
    rows = np.concatenate([decoded.kept for decoded, _ in parts])
    return _Embedded(rows, np.concatenate([X for _, X in parts]), parts[0][0].pixels, problems)


def _check(
    network: bytes, interface: Interface, pixels: NDArray[np.uint8], expected: NDArray[np.float32]
) -> None:
    """The stored network answers as the SVM does on the images' embeddings.

    Raises:
        TrainingError: it does not.
    """
    found = OnnxPredictor(network, interface, 1, len(network)).of_pixels(pixels)
    difference = float(np.abs(found - expected).max())
    if difference > TOLERANCE:
        raise TrainingError(
            f"the stored network's probabilities differ from the SVM's by up to {difference:.3g}, more than "
            f"{TOLERANCE}: take another architecture"
        )

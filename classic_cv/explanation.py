"""Where a score comes from: what each part of an image adds to a class's score, or to an estimated number.

The score of a linear head is a bias plus a sum over columns, and maps that work value by value (Hellinger, additive
chi2) keep it one. Extractors know which parts of the image a column describes (``Extractor.spread``). So nothing is
estimated: the parts add up to the score. RBF kernels couple all columns; their scores are no such sums. Networks
couple them as well, but see places, so that what a place does can be measured: ``classic_cv.occlusion`` does that.

A contribution is relative to the mean of the training images, which has only the bias: a column that is as usual
contributes nothing. Relative to zeros, the scale of a column would matter more than what an image shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from classic_cv.artifact import write_atomically
from classic_cv.errors import ExplanationError
from classic_cv.features.base import Image, Regions
from classic_cv.heads.hybrid import HybridNetwork
from classic_cv.heads.kernel_map import AdditiveMap
from classic_cv.heads.svm import LinearSVM
from classic_cv.heads.svr import LinearSVR
from classic_cv.images import fit_size, resize, to_picture
from classic_cv.recipe import feature_groups

if TYPE_CHECKING:
    from classic_cv.model import Model

Reals = NDArray[np.float64]

LONGEST = 1600
"""Pixels of the longer side of a drawn image at most."""

SHORTEST = 384
"""Smaller images are enlarged to this many pixels of the longer side; a drawing is never narrower."""

FOR, AGAINST = (202, 24, 29), (25, 84, 190)
"""Red raises the score, blue lowers it; their luma differs, so that they differ in gray too."""

OPACITY = 0.8
"""Of the color at the strongest place."""


class Contribution(NamedTuple):
    """What one extractor's columns add to the score."""

    extractor: str
    contribution: float


@dataclass(frozen=True, eq=False)
class Explanation:
    """What adds up to a score: ``bias`` plus ``values`` of the regions, or plus those of ``groups``.

    For a hybrid head contributions are measured by occlusion, and three things differ, see ``classic_cv.occlusion``:
    with three classes or more ``score`` is the log-odds of the class, ``bias`` is what no single place accounts for,
    and ``groups`` do not add up.

    Attributes:
        class_name: whose score it is; None for the number that a regression estimates.
        score: as ``Model.decision_function`` gives it. With two classes there is one score, that of the second; the
            first has its negative.
        bias: the score of the mean features of the training images; 0 takes the place of the mean for extractors that
            are ``centered``, and for a model file of an older version, which does not know it.
        groups: the contribution of each extractor, in the recipe's order, by the names of ``feature_groups``.
        boxes: float32 (m, 4): x0, y0, x1, y1 of each region in pixels of the stored image, upright.
        values: float64 (m,): the contribution of each region.
        width, height: of the stored image in pixels, upright.
    """

    class_name: str | None
    score: float
    bias: float
    groups: tuple[Contribution, ...]
    boxes: NDArray[np.float32]
    values: Reals
    width: int
    height: int

    @property
    def is_whole(self) -> NDArray[np.bool_]:
        """(m,): which regions are the whole image, and so say nothing about places."""
        size = np.array([self.width, self.height])
        slack = 1e-4 * size
        covers: NDArray[np.bool_] = (self.boxes[:, :2] <= slack) & (self.boxes[:, 2:] >= size - slack)
        return covers[:, 0] & covers[:, 1]

    @property
    def whole_image(self) -> float:
        """The contribution of features that describe the image as a whole."""
        return float(self.values[self.is_whole].sum())

    def heatmap(self, shape: tuple[int, int]) -> NDArray[np.float32]:
        """Contributions per pixel: float32 ``shape``, (height, width), for the image at any size.

        Each region's value is spread evenly over its box. The sum is ``score - bias - whole_image``: regions that are
        the whole image are left out.
        """
        height, width = shape
        there = ~self.is_whole
        scale = np.array([width / self.width, height / self.height] * 2)
        return density(self.boxes[there] * scale, self.values[there], shape).astype(np.float32)

    def draw(self, image: Any) -> Image:
        """The image in gray with what raises the score in red and what lowers it in blue, and a legend below.

        Args:
            image: what was explained, in any form that ``Model.explain`` takes.

        Returns:
            uint8 RGB. The longer side of the image is brought to 384 to 1600 pixels.

        Raises:
            ImageError: the image cannot be used.
        """
        pixels = to_picture(image, min_side=LONGEST // 2).pixels
        height, width = pixels.shape[:2]
        size = fit_size(height, width, min(max(height, width, SHORTEST), LONGEST))
        heat = self.heatmap(size)
        strongest = float(np.abs(heat).max())
        picture = overlay(_shown(pixels, size), heat / strongest if strongest else heat)
        return _with_legend(picture, self, strongest * heat.size / 100)

    def save_drawing(self, path: str | Path, image: Any) -> None:
        """Write what ``draw`` returns as a PNG file, aside and renamed.

        Raises:
            ImageError: the image cannot be used.
            ArtifactError: the file cannot be written.
        """
        drawn = cv2.cvtColor(self.draw(image), cv2.COLOR_RGB2BGR)
        write_atomically(Path(path), cv2.imencode(".png", drawn)[1].tobytes())

    def to_table(self) -> dict[str, Any]:
        """Class, score, bias and groups as plain data."""
        return {
            "class": self.class_name,
            "score": self.score,
            "bias": self.bias,
            "groups": [group._asdict() for group in self.groups],
        }


def check_explainable(model: Model) -> None:
    """Check that the scores of ``model`` are sums over columns, or that occlusion can measure what places do.

    Raises:
        ExplanationError: its head, or a map before it, is not one of those that can be explained.
    """
    head = model.recipe.head
    if isinstance(model.head, HybridNetwork):
        return
    if isinstance(model.head, LinearSVM | LinearSVR) and all(isinstance(m, AdditiveMap) for m in model.maps):
        return
    kind, map_ = msgspec.to_builtins(head)["type"], getattr(head, "kernel_map", "none")
    name = kind if map_ == "none" else f'{kind} with kernel_map = "{map_}"'
    raise ExplanationError(
        f"the head of this model is {name}, whose score is not a sum over parts of the image. Heads that can be "
        f'explained: linear-svm with kernel_map = "none", "hellinger" or "chi2", linear-svr, and hybrid. Fit with a '
        f"recipe that has one, such as --recipe hog-color"
    )


def explain(model: Model, image: Any, class_name: str | None = None) -> Explanation:
    """What each part of ``image`` adds to the score of a class, or to the number that ``model`` estimates.

    Args:
        image: one path, encoded image, array of pixels or PIL image.
        class_name: whose score; by default of the predicted class.

    Raises:
        ExplanationError: the model's scores are not sums over parts of the image, nor those of a network that sees it;
            or it has no such class.
        ImageError: the image cannot be used.
    """
    check_explainable(model)
    if class_name is not None:
        _check_class(model, class_name)
    picture = model.featurizer.prepare(image, str(image) if isinstance(image, str | Path) else "<image>")
    views = model.featurizer.views(picture)
    rows = np.concatenate([row for _, row in views])
    X: NDArray[np.float32] = rows.mean(axis=0, keepdims=True)
    number = _class_number(model, X, class_name)
    if isinstance(model.head, HybridNetwork):
        # Here, as that module needs this one.
        from classic_cv.occlusion import explain_by_occlusion

        return explain_by_occlusion(model, picture, X[0], number)
    weights, bias, score = _score(model, X, number)
    mean = usual_values(model, len(weights))
    shares = column_contributions(model, rows, weights, mean)
    regions = _regions(model, [pixels for pixels, _ in views], shares, (picture.width, picture.height))
    return Explanation(
        class_name=None if number is None else model.class_names[number],
        score=score,
        bias=bias + float(weights @ mean),
        groups=_groups(model, shares.sum(axis=0)),
        boxes=regions.boxes,
        values=regions.values[:, 0],
        width=picture.width,
        height=picture.height,
    )


def usual_values(model: Model, n_mapped: int) -> Reals:
    """What contributes nothing, of each mapped column: float64 (n_mapped,).

    The mean of the training images, or 0 where it is not known, and for ``centered`` extractors: there 0 is usual,
    and a column near 0 is a sum of large terms that cancel out, which would share the mean out among places wildly.
    """
    if model.mean is None:
        return np.zeros(n_mapped)
    featurizer = model.featurizer
    centered = np.repeat([extractor.centered for extractor in featurizer.extractors], featurizer.group_widths)
    usual: Reals = np.where(
        np.repeat(centered, n_mapped // len(centered)), 0.0, model.mean.astype(np.float64)
    )
    return usual


def column_contributions(model: Model, rows: NDArray[np.float32], weights: Reals, mean: Reals) -> Reals:
    """What each column adds to the score of one image: float64 (n_views, n_features), to be summed.

    Args:
        rows: float32 (n_views, n_features): features of the image, or of it and its mirror image, whose mean is scored.
        weights, mean: float64 (n_mapped,), of the columns that the model's maps make of the features: what they count,
            and their usual values, which contribute nothing.

    Without a map each view adds its weighted features. A map sees the mean of the views only: what a column of it
    adds is shared in proportion to the size of the column in each view.
    """
    if not model.maps:
        return (rows - mean) * (weights / len(rows))
    mapped: Any = rows.mean(axis=0, keepdims=True)
    for step in model.maps:
        mapped = step.transform(mapped)  # type: ignore[attr-defined]
    # An additive map's columns lie side by side, as many for each feature.
    total = ((mapped[0] - mean) * weights).reshape(rows.shape[1], -1).sum(axis=1)
    size = np.abs(rows.astype(np.float64))
    share: Reals = np.full(rows.shape, 1 / len(rows))
    np.divide(size, size.sum(axis=0), out=share, where=size.sum(axis=0) > 0)
    share *= total
    return share


def _regions(model: Model, views: Sequence[Image], contributions: Reals, size: tuple[int, int]) -> Regions:
    """Regions of all extractors in the first of the views; the others are its mirror images.

    Args:
        contributions: float64 (n_views, n_features).
        size: (width, height) that boxes refer to.
    """
    featurizer = model.featurizer
    ends = np.cumsum(featurizer.group_widths)[:-1]
    boxes, values = [], []
    for index, (view, row) in enumerate(zip(views, contributions, strict=True)):
        for number, columns in enumerate(np.split(row, ends)):
            pixels = featurizer.seen_by(number, view[None])[0]
            found = featurizer.extractors[number].spread(pixels, columns[:, None])
            there = found.boxes * np.array([size[0] / pixels.shape[1], size[1] / pixels.shape[0]] * 2)
            if index:
                there[:, [0, 2]] = size[0] - there[:, [2, 0]]
            boxes.append(there.astype(np.float32))
            values.append(found.values)
    return Regions(np.concatenate(boxes), np.concatenate(values))


def _groups(model: Model, contributions: Reals) -> tuple[Contribution, ...]:
    """The sum over each extractor's columns."""
    parts = np.split(contributions, np.cumsum(model.featurizer.group_widths)[:-1])
    names = feature_groups(model.recipe)
    return tuple(Contribution(name, float(part.sum())) for name, part in zip(names, parts, strict=True))


def _check_class(model: Model, class_name: str) -> None:
    if model.task == "regression":
        raise ExplanationError(
            f"this model estimates a number and has no class {class_name!r}: explain it without a class"
        )
    if class_name not in model.class_names:
        names = ", ".join(map(repr, model.class_names[:20])) + (", …" if len(model.class_names) > 20 else "")
        raise ExplanationError(f"this model has no class {class_name!r}; it has: {names}")


def _class_number(model: Model, X: NDArray[np.float32], class_name: str | None) -> int | None:
    """The number of the class to explain; None for a regression."""
    if model.task == "regression":
        return None
    if class_name is not None:
        return model.class_names.index(class_name)
    return int(model.probabilities(X)[0].argmax())


def _score(model: Model, X: NDArray[np.float32], number: int | None) -> tuple[Reals, float, float]:
    """Weights (n_mapped,), bias and score of a class, or of the number that is estimated."""
    weights: Reals = np.atleast_2d(model.head.coef_).astype(np.float64)  # type: ignore[union-attr]
    biases: Reals = model.head.intercept_.astype(np.float64)  # type: ignore[union-attr]
    scores = np.atleast_1d(model.scores(X)[0]).astype(np.float64)
    if number is None or len(weights) > 1:
        row = number or 0
        return weights[row], float(biases[row]), float(scores[row])
    sign = 1.0 if number == 1 else -1.0
    return sign * weights[0], sign * float(biases[0]), sign * float(scores[0])


def density(boxes: NDArray[np.floating], values: Reals, shape: tuple[int, int]) -> Reals:
    """Values spread evenly over boxes and added up: float64 ``shape``, (height, width).

    Args:
        boxes: (m, 4): x0, y0, x1, y1 in pixels of ``shape``. What sticks out is cut off; a box of almost no area is
            made a thousandth of a pixel wide, so that no value is lost.
        values: float64 (m,).

    The coverage of pixels along an axis is a ramp, a plateau and a ramp: differences of it are four numbers.
    They are added up for all boxes, then summed along both axes: the cost is that of boxes plus pixels.
    """
    x, wide = _differences(boxes[:, 0], boxes[:, 2], shape[1])
    y, high = _differences(boxes[:, 1], boxes[:, 3], shape[0])
    size = shape[0] + 2, shape[1] + 2
    places = y[0][:, :, None] * size[1] + x[0][:, None, :]
    amounts = y[1][:, :, None] * x[1][:, None, :] * (values / (wide * high))[:, None, None]
    steps = np.bincount(places.ravel(), amounts.ravel(), minlength=size[0] * size[1]).reshape(size)
    total: Reals = steps.cumsum(axis=0).cumsum(axis=1)[: shape[0], : shape[1]]
    return total


def _differences(
    low: NDArray[np.floating], high: NDArray[np.floating], length: int
) -> tuple[tuple[NDArray[np.intp], Reals], Reals]:
    """Of intervals on an axis of ``length`` pixels the (m, 4) places and sizes of steps of coverage; their lengths."""
    least = 1e-3
    start = np.clip(low.astype(np.float64), 0, length - least)
    stop = np.clip(high.astype(np.float64), start + least, length)
    first, last = np.floor(start), np.floor(stop)
    f, g = start - first, stop - last
    places = np.stack([first, first + 1, last, last + 1], axis=1).astype(np.intp)
    return (places, np.stack([1 - f, f, g - 1, -g], axis=1)), stop - start


def overlay(gray: Image, amounts: NDArray[np.floating]) -> Image:
    """A gray image (height, width) under red where ``amounts`` (same shape, -1 to 1) are positive, blue where not.

    Returns:
        uint8 RGB (height, width, 3). The opacity is proportional to the amount.
    """
    # Faded, so that dark and bright places show color alike.
    faded = 60.0 + 0.7 * gray.astype(np.float32)[..., None]
    opacity = OPACITY * np.abs(amounts).astype(np.float32)[..., None]
    color = np.where(amounts[..., None] > 0, np.array(FOR, np.float32), np.array(AGAINST, np.float32))
    blended: NDArray[np.float32] = np.rint(faded * (1 - opacity) + color * opacity)
    return blended.astype(np.uint8)


def _shown(pixels: Image, size: tuple[int, int]) -> Image:
    """Pixels in gray at ``size``; a small image is enlarged without blur, so that its pixels are seen."""
    gray: Any = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    if size[0] > gray.shape[0]:
        return np.asarray(cv2.resize(gray, size[::-1], interpolation=cv2.INTER_NEAREST), np.uint8)
    return resize(gray, size)


def _signed(value: float) -> str:
    """``+0.0120`` or ``−1.23``, three significant digits."""
    return f"{value:+#.3g}".rstrip(".").replace("-", "−")


def _with_legend(picture: Image, explanation: Explanation, scale: float) -> Image:
    """The picture above three lines: what is explained, its sum, and the scale of the colors."""
    height, width = picture.shape[:2]
    canvas_width = max(width, SHORTEST)
    font = int(np.clip(canvas_width / 34, 14, 26))
    line = round(1.5 * font)
    canvas = np.full((height + 3 * line + font // 2, canvas_width, 3), 255, np.uint8)
    left = (canvas_width - width) // 2
    canvas[:height, left : left + width] = picture
    name, whole = explanation.class_name, explanation.whole_image
    drawn = float(explanation.values.sum()) - whole
    what = "estimate" if name is None else "score"
    total = f"{what} {_signed(explanation.score)} = {_signed(explanation.bias)} bias"
    total += f" {_signed(whole)} whole image {_signed(drawn)} places"
    _write(canvas, height + line, "estimated number" if name is None else name, font, bold=True)
    _write(canvas, height + 2 * line, total, font)
    if scale:
        _draw_scale(canvas, height + 3 * line, scale, font)
    else:
        _write(canvas, height + 3 * line, "no feature of this model says where", font)
    return canvas


def _draw_scale(canvas: Image, baseline: int, scale: float, font: int) -> None:
    """lowers −0.1 [blue to red] +0.1 raises, per 1% of area."""
    end = _write(canvas, baseline, f"lowers {_signed(-scale)}", font)
    width = canvas.shape[1] // 6
    bar = overlay(np.full((font, width), 175, np.uint8), np.tile(np.linspace(-1, 1, width), (font, 1)))
    start = end + font // 2
    canvas[baseline - font + font // 6 : baseline + font // 6, start : start + width] = bar
    _write(canvas, baseline, f"{_signed(scale)} raises, per 1% of area", font, start + width + font // 2)


def _write(
    canvas: Image, baseline: int, text: str, font: int, left: int | None = None, bold: bool = False
) -> int:
    """Write a line of text, smaller or cut where it is too long; returns the x where it ends."""
    left = font // 2 if left is None else left
    room = canvas.shape[1] - left - font // 2
    face, weight = cv2.FontFace("sans"), 600 if bold else 400

    def width(candidate: str, size: int) -> int:
        return int(cv2.getTextSize((0, 0), candidate, (0, 0), face, size, weight)[2])

    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    size = font
    while size > 11 and width(text, size) > room:
        size -= 1
    if width(text, size) > room:
        kept = len(text)
        while kept > 1 and width(text[:kept] + "…", size) > room:
            kept -= 1
        text = text[:kept] + "…"
    cv2.putText(canvas, text, (left, baseline), (20, 20, 20), face, size, weight)
    return left + width(text, size)

"""Recipes: a TOML file becomes a frozen ``Recipe``; unknown keys and bad values are errors by file and key.

A recipe says how an image is prepared (``[image]``), which extractors see it (``[[features]]``, each with
a ``type`` and that extractor's parameters) and which head turns features into scores (``[head]``). The
files that ship with the package are the shelf; ``load_recipe("hog")`` reads one of them by name.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from classic_cv.errors import RecipeError
from classic_cv.estimator import from_plain, params_struct
from classic_cv.features import EXTRACTORS
from classic_cv.features.base import Extractor
from classic_cv.features.resize import Sides
from classic_cv.neural.settings import HybridSettings

AUTO = "auto"
"""In place of a recipe: search for the best one."""

FLOORS = ("dummy", "properties")
"""Recipes that only show what no features and mere file properties score: in every table, never a winner."""

Weighting = Literal["auto", "balanced", "none"]
Scale = Literal["columns", "groups", "none"]
Precision = Literal["float16", "float32"]
Positive = Annotated[float, Meta(gt=0)]


AUTO_SIDE = 32
"""Pixels of both sides that a recipe of automatic size is made for."""


class ImageSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How an image is prepared: ``size`` in pixels (one side, or height and width) and the color handling.

    ``size`` may be ``auto``: the recipe is made for 32 pixels, and resized to what suits the images and the time.
    The color handling ``auto`` looks at the training images and works in gray when all of them are gray. ``mirror``
    averages the features of the image and of its left-right mirror image, which then cannot be told apart; it takes
    twice the time.
    """

    size: Literal["auto"] | Sides = 128
    color: Literal["auto", "rgb", "gray"] = "auto"
    mirror: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in pixels; those that it is made for where the size is still open."""
        if isinstance(self.size, str):
            return AUTO_SIDE, AUTO_SIDE
        return (self.size, self.size) if isinstance(self.size, int) else (self.size[0], self.size[1])


class LinearSVMSettings(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="linear-svm"
):
    """A linear SVM, perhaps after an explicit kernel map. ``"auto"`` is chosen on the training part.

    ``scale``: ``columns`` brings every column to mean 0 and standard deviation 1, ``groups`` gives each
    extractor's columns one common scale, ``none`` leaves them as they are.
    ``kernel_map``: ``hellinger`` takes signed square roots, ``chi2`` maps the additive chi2 kernel, ``rbf`` maps the
    RBF kernel by Nystroem with ``n_components`` landmarks, and ``hellinger-rbf`` does so on square roots.
    ``gamma`` (of the two RBF maps) is in units of features scaled to a mean squared length of 1.
    ``class_weight``: ``balanced`` counts every class alike, ``auto`` does so where classes are unequal.
    ``precision``: the learned weights and landmarks are rounded to 16 bits (``float16``, with a power of two per row),
    which halves the model file, or left as they are. Computing is in float32 all the same.
    ``fusion``: ``early`` is one SVM over the columns of all extractors, ``late`` one for each extractor, scaled by
    itself, whose scores are added up with ``fusion_weights``, one per extractor and common to all classes. ``C`` may
    then be a list, one per extractor. Late fusion takes no RBF map, and is for classes only: a recipe's regression
    is fused early.
    """

    C: Literal["auto"] | Positive | tuple[Positive, ...] = "auto"
    scale: Scale = "columns"
    class_weight: Weighting = "auto"
    kernel_map: Literal["none", "hellinger", "chi2", "rbf", "hellinger-rbf"] = "none"
    n_components: Annotated[int, Meta(ge=1, le=20_000)] = 2000
    gamma: Literal["auto"] | Positive = "auto"
    precision: Precision = "float16"
    fusion: Literal["early", "late"] = "early"
    fusion_weights: Literal["auto"] | tuple[Annotated[float, Meta(ge=0)], ...] = "auto"


class RBFSVMSettings(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="rbf-svm"
):
    """A support vector machine with the exact RBF kernel: for some thousands of images at most.

    ``precision`` is that of the support vectors.
    """

    C: Literal["auto"] | Positive = "auto"
    gamma: Literal["auto"] | Positive = "auto"
    scale: Scale = "columns"
    class_weight: Weighting = "auto"
    kernel_map: Literal["none", "hellinger"] = "none"
    precision: Precision = "float16"


class LinearSVRSettings(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="linear-svr"
):
    """Linear support vector regression; ``epsilon`` is in standard deviations of the target."""

    C: Literal["auto"] | Positive = "auto"
    epsilon: Literal["auto"] | Annotated[float, Meta(ge=0)] = "auto"
    scale: Scale = "columns"
    kernel_map: Literal["none", "hellinger"] = "none"
    precision: Precision = "float16"


class RBFSVRSettings(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="rbf-svr"
):
    """Support vector regression with the exact RBF kernel; ``epsilon`` is in standard deviations of the target."""

    C: Literal["auto"] | Positive = "auto"
    gamma: Literal["auto"] | Positive = "auto"
    epsilon: Literal["auto"] | Annotated[float, Meta(ge=0)] = "auto"
    scale: Scale = "columns"
    kernel_map: Literal["none", "hellinger"] = "none"
    precision: Precision = "float16"


class DummySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="dummy"):
    """Always the class frequencies (or the median target) of the training part: the floor under the others."""


Regressor = LinearSVRSettings | RBFSVRSettings
Head = (
    LinearSVMSettings | RBFSVMSettings | LinearSVRSettings | RBFSVRSettings | DummySettings | HybridSettings
)


class TrainSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the model is fitted on.

    ``images``: how many training images, a stratified choice by the seed. ``mirror``: whether the left-right mirror
    image of each joins them; ``auto`` where that is better in cross-validation.
    """

    images: Literal["all"] | Annotated[int, Meta(ge=2)] = "all"
    mirror: bool | Literal["auto"] = False


LEAST_CELL, LEAST_BIN, LEAST_SIDE = 1, 2, 16
"""Pixels of a cell, of a local descriptor's bin or step, and of a side, that resizing a recipe does not go below."""


class FeatureSettings(msgspec.Struct, frozen=True):
    """One extractor of a recipe: its type and its parameters, defaults filled in.

    ``image_size``: the size of the image that it sees, where that is not the size of ``[image]``.
    """

    type: str
    params: dict[str, Any]
    image_size: Sides | None = None

    def build(self) -> Extractor:
        """A new unfitted extractor."""
        extractor = EXTRACTORS[self.type]
        return extractor(**from_plain(extractor, self.params))

    def to_table(self) -> dict[str, Any]:
        """As it stands in a recipe."""
        size = {} if self.image_size is None else {"image_size": self.image_size}
        return {"type": self.type, **size, **self.params}


PIXELS = FeatureSettings("pixels", {})
"""What a network sees."""


class Recipe(msgspec.Struct, frozen=True):
    """A validated recipe."""

    name: str
    description: str
    image: ImageSettings
    features: tuple[FeatureSettings, ...]
    head: Head
    train: TrainSettings = TrainSettings()

    @property
    def all_features(self) -> tuple[FeatureSettings, ...]:
        """The extractors whose columns the head takes: those of ``features``, and the pixels for a network."""
        return (*self.features, PIXELS) if isinstance(self.head, HybridSettings) else self.features

    def to_table(self) -> dict[str, Any]:
        """The recipe as plain tables, every default written out; ``parse_recipe`` reads it back."""
        return {
            "description": self.description,
            "image": msgspec.to_builtins(self.image),
            "features": [spec.to_table() for spec in self.features],
            "head": msgspec.to_builtins(self.head),
            "train": msgspec.to_builtins(self.train),
        }

    def to_toml(self) -> str:
        """The recipe as the text of a TOML file, which ``load_recipe`` reads back to an equal recipe."""
        table = self.to_table()
        blocks = [f"description = {_toml(table['description'])}"]
        blocks += [_block("[image]", table["image"])]
        blocks += [_block("[[features]]", spec) for spec in table["features"]]
        blocks += [_block("[head]", table["head"])]
        if self.train != TrainSettings():
            blocks += [_block("[train]", table["train"])]
        return "\n\n".join(blocks) + "\n"

    def resized(self, size: int) -> Recipe:
        """The same recipe for square images of ``size`` pixels.

        HOG cells, bins, windows and steps of local descriptors, and the ``image_size`` of an extractor that has its
        own grow with the image. So the layout of the features stays; what changes is how much detail they see. None
        becomes smaller than the extractors can use, and two that fall together become one.
        """
        factor = size / max(self.image.shape)
        if factor == 1 and self.image.size in (size, (size, size)):
            return self
        return msgspec.structs.replace(
            self,
            name=f"{self.name}-{size}",
            image=msgspec.structs.replace(self.image, size=size),
            features=tuple(_scaled(spec, factor) for spec in self.features),
        )

    def for_regression(self) -> Recipe:
        """The same recipe with the head that estimates numbers in place of the one that tells classes apart."""
        head: Head = self.head
        if isinstance(head, LinearSVMSettings):
            kernel_map: Any = "hellinger" if head.kernel_map == "hellinger" else "none"
            head = LinearSVRSettings(scale=head.scale, kernel_map=kernel_map, precision=head.precision)
        elif isinstance(head, RBFSVMSettings):
            head = RBFSVRSettings(
                scale=head.scale, gamma=head.gamma, kernel_map=head.kernel_map, precision=head.precision
            )
        return msgspec.structs.replace(self, head=head)


def fusion_problem(head: Head, n_extractors: int) -> str:
    """What is wrong with how a head takes its extractors together, the key first; empty where nothing is."""
    if not isinstance(head, LinearSVMSettings):
        return ""
    late = head.fusion == "late"
    if late and "rbf" in head.kernel_map:
        return (
            f'head.fusion: late fusion needs a linear score per extractor, and kernel_map = "{head.kernel_map}" mixes '
            'the columns of all: set kernel_map to "none", "hellinger" or "chi2", or fusion to "early"'
        )
    for name, value in (("C", head.C), ("fusion_weights", head.fusion_weights)):
        if isinstance(value, tuple) and not late:
            return f'head.{name}: a list, one value per extractor, is for fusion = "late": set that, or leave it out'
        if isinstance(value, tuple) and len(value) != n_extractors:
            return (
                f"head.{name}: {len(value)} values for {n_extractors} extractors: give one for each [[features]], in "
                'their order, or "auto"'
            )
    if isinstance(head.fusion_weights, tuple) and not 0 < sum(head.fusion_weights) < math.inf:
        weights = list(head.fusion_weights)
        return f"head.fusion_weights: {weights}, expected finite weights of which one is more than 0"
    return ""


def hybrid_problem(head: Head, image: ImageSettings) -> str:
    """What is wrong with a network's settings, the key first; empty where nothing is."""
    if not isinstance(head, HybridSettings):
        return ""
    if image.mirror:
        return (
            "image.mirror: the mean of an image and its mirror image is no image that a network could look at: set it "
            "to false, and train.mirror to true or auto"
        )
    network = head.network
    if len(network.channels) != len(network.blocks):
        return (
            f"head.network.blocks: {len(network.blocks)} stages, and head.network.channels has "
            f"{len(network.channels)}: give one number per stage in both"
        )
    least = 2 ** (len(network.channels) - 1)
    if min(image.shape) < 2 * least:
        return (
            f"image.size: {min(image.shape)} pixels are too few for {len(network.channels)} stages, each of which but "
            f"the first halves them: expected at least {2 * least}, or fewer stages"
        )
    return ""


def feature_groups(recipe: Recipe) -> list[str]:
    """A name for each extractor: its type, with a number where a type occurs more than once.

    The pixels that a network sees come last.
    """
    types = [spec.type for spec in recipe.all_features]
    return [
        kind if types.count(kind) == 1 else f"{kind} {types[: i + 1].count(kind)}"
        for i, kind in enumerate(types)
    ]


def _scaled(spec: FeatureSettings, factor: float) -> FeatureSettings:
    if factor == 1:
        return spec
    params, size = dict(spec.params), spec.image_size
    if "pixels_per_cell" in params:
        cells = params["pixels_per_cell"]
        params["pixels_per_cell"] = _sizes([cells] if isinstance(cells, int) else cells, factor, LEAST_CELL)
    if "descriptor" in params:
        params["descriptor"] = _scaled_descriptor(params["descriptor"], factor)
    if size is not None:
        size = _grown(size, factor, LEAST_SIDE) if isinstance(size, int) else _oblong(size, factor)
    return msgspec.structs.replace(spec, params=params, image_size=size)


def _scaled_descriptor(descriptor: Mapping[str, Any], factor: float) -> dict[str, Any]:
    scaled = dict(descriptor)
    if "bins" in scaled:
        scaled["bins"] = tuple(map(float, _sizes(scaled["bins"], factor, LEAST_BIN)))
    elif "window" in scaled:
        scaled["window"] = _grown(scaled["window"], factor, LEAST_BIN)
    else:
        return scaled
    scaled["step"] = _grown(scaled["step"], factor, LEAST_BIN)
    if scaled.get("halve"):  # which takes even numbers
        scaled["step"] += scaled["step"] % 2
        scaled["bins"] = tuple(sorted({size + size % 2 if size >= 8 else size for size in scaled["bins"]}))
    return scaled


def _oblong(size: tuple[int, ...], factor: float) -> tuple[int, int]:
    height, width = (_grown(side, factor, LEAST_SIDE) for side in size)
    return height, width


def _grown(size: float, factor: float, least: int) -> int:
    """A size in pixels, not below ``least`` unless it is so already; halves up, so that 3 and 5 stay two at half."""
    return max(math.floor(size * factor + 0.5), math.ceil(min(least, size)))


def _sizes(sizes: Sequence[float], factor: float, least: int) -> tuple[int, ...]:
    """Sizes in pixels, ascending. Two that fall together would be one feature twice."""
    return tuple(sorted({_grown(size, factor, least) for size in sizes}))


def _block(header: str, values: Mapping[str, Any]) -> str:
    return "\n".join([header, *(f"{key} = {_toml(value)}" for key, value in values.items())])


def _toml(value: Any) -> str:
    """A recipe's value as TOML: JSON's strings, numbers, booleans and lists are TOML's too, all but a raw DEL.

    A dict becomes an inline table.
    """
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


class _OwnSize(msgspec.Struct, frozen=True):
    """The one key that every extractor has besides its parameters."""

    image_size: Sides


class _Tables(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The top level of a recipe file."""

    head: Head
    description: str = ""
    image: ImageSettings = ImageSettings()
    features: list[dict[str, Any]] = []
    train: TrainSettings = TrainSettings()


def parse_recipe(table: Mapping[str, Any], *, name: str, source: str) -> Recipe:
    """Validate a recipe's tables; ``source`` is the file or place that errors name.

    Raises:
        RecipeError: an unknown key, a missing table or a bad value, named with ``source`` and key.
    """
    try:
        tables = msgspec.convert(dict(table), _Tables)
    except msgspec.ValidationError as error:
        raise RecipeError(f"{source}: {readable(error)}") from None
    features = tuple(_feature(entry, index, source) for index, entry in enumerate(tables.features))
    if not features and not isinstance(tables.head, DummySettings | HybridSettings):
        raise RecipeError(f"{source}: no [[features]] given; this head needs at least one")
    problem = fusion_problem(tables.head, len(features)) or hybrid_problem(tables.head, tables.image)
    if problem:
        raise RecipeError(f"{source}: {problem}")
    return Recipe(name, tables.description, tables.image, features, tables.head, tables.train)


def _feature(entry: dict[str, Any], index: int, source: str) -> FeatureSettings:
    params = dict(entry)
    kind, size = params.pop("type", None), params.pop("image_size", None)
    if not isinstance(kind, str) or kind not in EXTRACTORS:
        raise RecipeError(
            f"{source}: features[{index}].type is {kind!r}, allowed are: {', '.join(sorted(EXTRACTORS))}"
        )
    try:
        settings = msgspec.convert(params, params_struct(EXTRACTORS[kind]))
        size = None if size is None else msgspec.convert({"image_size": size}, _OwnSize).image_size
    except msgspec.ValidationError as error:
        raise RecipeError(f"{source}: {readable(error, f'features[{index}]')}") from None
    return FeatureSettings(kind, msgspec.to_builtins(settings), size)


def readable(error: msgspec.ValidationError, prefix: str = "") -> str:
    """``head.C: expected float > 0`` from msgspec's ``Expected `float` > 0 - at `$.head.C```."""
    message, _, path = str(error).partition(" - at `")
    key = f"{prefix}{path.rstrip('`').removeprefix('$')}".lstrip(".")
    message = message.replace("Object contains unknown field", "unknown key")
    message = message.replace("Object missing required field", "missing key")
    message = message[:1].lower() + message[1:]
    return f"{key}: {message}" if key else message


def shelf_directory() -> Path:
    """Where the recipes that ship with the package lie.

    In a wheel they are inside the package; in a checkout or an editable install they are in ``models/``.
    """
    package = Path(__file__).parent
    packed = package / "_shelf"
    return packed if packed.is_dir() else package.parent / "models"


def shelf() -> dict[str, Path]:
    """The recipes that ship with the package: name to file, sorted by name."""
    return {path.stem: path for path in sorted(shelf_directory().glob("*.toml"))}


def load_recipe(name_or_path: str | Path) -> Recipe:
    """Read a recipe from the shelf by name, from a ``.toml`` file, or out of a model file (``.safetensors``).

    Raises:
        RecipeError: no such recipe or file, not TOML, or not a valid recipe.
        ArtifactError: a model file that is damaged or none.
    """
    text = str(name_or_path)
    known = shelf()
    path = known.get(text) or Path(text)
    if path.suffix == ".safetensors" or (path.suffix != ".toml" and path.is_file()):
        from classic_cv.artifact import read_file

        metadata, _ = read_file(path)
        return parse_recipe(metadata.recipe, name=metadata.recipe_name, source=str(path))
    if path.suffix != ".toml":
        raise RecipeError(
            f"no recipe {text!r}: give auto, one of {', '.join(known)}, or the path of a .toml or model file"
        )
    try:
        with path.open("rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: is not valid TOML ({error})") from None
    return parse_recipe(table, name=path.stem, source=str(path))

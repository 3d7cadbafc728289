"""Recipes: a TOML file becomes a frozen ``Recipe``; unknown keys and bad values are errors by file and key.

A recipe says how an image is prepared (``[image]``), which extractors see it (``[[features]]``, each with
a ``type`` and that extractor's parameters) and which head turns features into scores (``[head]``). The
files that ship with the package are the shelf; ``load_recipe("hog")`` reads one of them by name.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from classic_cv.errors import RecipeError
from classic_cv.estimator import params_struct
from classic_cv.features import EXTRACTORS
from classic_cv.features.base import Extractor
from classic_cv.features.resize import Sides

DEFAULT_RECIPE = "hog-color-lbp"


class ImageSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How an image is prepared: ``size`` in pixels (one side, or height and width) and the color handling.

    ``auto`` looks at the training images and works in gray when all of them are gray.
    """

    size: Sides = 128
    color: Literal["auto", "rgb", "gray"] = "auto"

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return (self.size, self.size) if isinstance(self.size, int) else (self.size[0], self.size[1])


class LinearSVMSettings(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="linear-svm"
):
    """A linear SVM. ``C = "auto"`` chooses C by cross-validation on the training part.

    ``scale``: ``columns`` brings every column to mean 0 and standard deviation 1, ``groups`` gives each
    extractor's columns one common scale, ``none`` leaves them as they are.
    """

    C: Literal["auto"] | Annotated[float, Meta(gt=0)] = "auto"
    scale: Literal["columns", "groups", "none"] = "columns"
    class_weight: Literal["balanced", "none"] = "none"


class DummySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="dummy"):
    """Always answers the class frequencies of the training part: the floor under every other figure."""


Head = LinearSVMSettings | DummySettings


class FeatureSettings(msgspec.Struct, frozen=True):
    """One extractor of a recipe: its type and its parameters, defaults filled in."""

    type: str
    params: dict[str, Any]

    def build(self) -> Extractor:
        """A new unfitted extractor."""
        return EXTRACTORS[self.type](**self.params)


class Recipe(msgspec.Struct, frozen=True):
    """A validated recipe."""

    name: str
    description: str
    image: ImageSettings
    features: tuple[FeatureSettings, ...]
    head: Head

    def to_table(self) -> dict[str, Any]:
        """The recipe as plain tables, every default written out; ``parse_recipe`` reads it back."""
        return {
            "description": self.description,
            "image": msgspec.to_builtins(self.image),
            "features": [{"type": spec.type, **spec.params} for spec in self.features],
            "head": msgspec.to_builtins(self.head),
        }


class _Tables(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The top level of a recipe file."""

    head: Head
    description: str = ""
    image: ImageSettings = ImageSettings()
    features: list[dict[str, Any]] = []


def parse_recipe(table: Mapping[str, Any], *, name: str, source: str) -> Recipe:
    """Validate a recipe's tables; ``source`` is the file or place that errors name.

    Raises:
        RecipeError: an unknown key, a missing table or a bad value, named with ``source`` and key.
    """
    try:
        tables = msgspec.convert(dict(table), _Tables)
    except msgspec.ValidationError as error:
        raise RecipeError(f"{source}: {_readable(error)}") from None
    features = tuple(_feature(entry, index, source) for index, entry in enumerate(tables.features))
    if not features and not isinstance(tables.head, DummySettings):
        raise RecipeError(f"{source}: no [[features]] given; this head needs at least one")
    return Recipe(name, tables.description, tables.image, features, tables.head)


def _feature(entry: dict[str, Any], index: int, source: str) -> FeatureSettings:
    params = dict(entry)
    kind = params.pop("type", None)
    if not isinstance(kind, str) or kind not in EXTRACTORS:
        raise RecipeError(
            f"{source}: features[{index}].type is {kind!r}, allowed are: {', '.join(sorted(EXTRACTORS))}"
        )
    try:
        settings = msgspec.convert(params, params_struct(EXTRACTORS[kind]))
    except msgspec.ValidationError as error:
        raise RecipeError(f"{source}: {_readable(error, f'features[{index}]')}") from None
    return FeatureSettings(kind, msgspec.to_builtins(settings))


def _readable(error: msgspec.ValidationError, prefix: str = "") -> str:
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
    """Read a recipe from the shelf by name, or from a ``.toml`` file.

    Raises:
        RecipeError: no such recipe or file, not TOML, or not a valid recipe.
    """
    text = str(name_or_path)
    known = shelf()
    path = known.get(text) or Path(text)
    if path.suffix != ".toml":
        raise RecipeError(f"no recipe {text!r}: give one of {', '.join(known)}, or the path of a .toml file")
    try:
        with path.open("rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: is not valid TOML ({error})") from None
    return parse_recipe(table, name=path.stem, source=str(path))

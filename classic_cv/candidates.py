"""What a search may choose from: the shelf's recipes at several sizes, with several heads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from classic_cv.dataset import Dataset
from classic_cv.errors import ImageError
from classic_cv.features import EXTRACTORS
from classic_cv.images import to_picture
from classic_cv.neural.settings import HybridSettings
from classic_cv.recipe import (
    FLOORS,
    Head,
    LinearSVMSettings,
    LinearSVRSettings,
    RBFSVMSettings,
    RBFSVRSettings,
    Recipe,
    load_recipe,
    shelf,
)
from classic_cv.task import TaskKind

SIZES = (32, 64, 128, 256)
"""Image sides that a search tries."""

ENLARGE = 2.5
"""Images are enlarged at most so much: more shows nothing that is not there, and costs."""

LEARNED_ENLARGE = 1.5
"""The same for recipes with codebooks: they cost more, and their bins are in proportion to the image anyway."""

SAMPLE = 32
"""Training images whose size is looked at."""

LEARNED_SIZES = 2
"""At how many sizes recipes with codebooks are tried: small images have few descriptors."""

EXACT_ROWS = 4000
"""The exact RBF kernel is tried up to so many training images; above, Nystroem's map stands in for it."""


def typical_side(dataset: Dataset, train: Sequence[int]) -> float:
    """The median of the shorter sides of some training images, in pixels; 0 when none can be read."""
    sides = []
    for index in train[:: max(1, len(train) // SAMPLE)]:
        try:
            picture = to_picture(dataset.read(int(index)), source=dataset.names[int(index)])
        except ImageError:
            continue
        sides.append(min(picture.width, picture.height))
    return float(np.median(sides)) if sides else 0.0


def sizes_for(side: float) -> list[int]:
    """The sizes worth trying for images of this side: none that enlarges much, but two at least."""
    return [size for size in SIZES if size <= ENLARGE * side] if side >= 26 else list(SIZES[:2])


def floor_recipes(task: TaskKind) -> list[Recipe]:
    """What everything is compared with: no features, and file properties."""
    return [_for_task(load_recipe(name), task) for name in FLOORS]


def feature_recipes(task: TaskKind, sizes: Sequence[int]) -> list[Recipe]:
    """Each recipe of the shelf at each size, without repeats; the richer and smaller first.

    Recipes that differ in nothing but their size are one; one of a size that is not among ``SIZES`` is made for
    just that size. Those with more features come first because the
    features of the others are then known already.
    """
    found = [load_recipe(name) for name in shelf() if name not in FLOORS]
    originals = [_for_task(recipe, task) for recipe in found if not isinstance(recipe.head, HybridSettings)]
    plain = [recipe for recipe in originals if not learns(recipe)]
    return [*_at_sizes(plain, sizes), *_learned_at_sizes([r for r in originals if learns(r)], sizes)]


def is_worth_its_size(recipe: Recipe, side: float) -> bool:
    """Whether a recipe with codebooks does not enlarge images of this typical side much."""
    return not learns(recipe) or max(recipe.image.shape) <= max(LEARNED_ENLARGE * side, SIZES[0])


def learns(recipe: Recipe) -> bool:
    """Whether some of its extractors learn a codebook, which takes seconds."""
    return any(EXTRACTORS[spec.type].learns for spec in recipe.features)


def _learned_at_sizes(originals: Sequence[Recipe], sizes: Sequence[int]) -> list[Recipe]:
    """Recipes with codebooks at the larger sizes up to their own: each at its largest, the richest first, then on."""
    recipes = []
    for number in range(LEARNED_SIZES):
        for original in sorted(originals, key=lambda r: (-len(r.features), -max(r.image.shape))):
            own = max(original.image.shape)
            # A size of its own kind counts as the recipe's only one.
            fitting = [size for size in sizes if size <= own] if own in SIZES or own > sizes[-1] else [own]
            fitting = fitting or list(sizes[:1])
            if number < len(fitting):
                recipes.append(original.resized(fitting[-1 - number]))
    return recipes


def _at_sizes(originals: Sequence[Recipe], sizes: Sequence[int]) -> list[Recipe]:
    recipes: list[Recipe] = []
    seen: set[bytes] = set()
    for size in sizes:
        # Of two that become equal the one made for this size keeps its name and description.
        for original in sorted(originals, key=lambda r: (-len(r.features), abs(max(r.image.shape) - size))):
            own = max(original.image.shape)
            if own not in SIZES and size != sizes[0]:
                continue
            recipe = original if own not in SIZES else original.resized(size)
            key = msgspec.json.encode([recipe.image, recipe.features])
            if key not in seen:
                seen.add(key)
                recipes.append(recipe)
    return recipes


def head_variants(recipe: Recipe, n_train: int) -> list[Recipe]:
    """The same features with the other heads that the task has."""
    base = recipe.head
    if learns(recipe):
        # Encoders are made for linear heads; of rows as wide as theirs other heads would keep thousands.
        return []
    kept: dict[str, Any] = {name: getattr(base, name, None) for name in ("scale", "precision")}
    heads: list[tuple[str, Head]] = []
    if isinstance(base, LinearSVMSettings):
        for kernel_map in ("none", "hellinger", "chi2", "rbf"):
            label = "linear" if kernel_map == "none" else kernel_map
            heads.append((label, LinearSVMSettings(**kept, kernel_map=kernel_map)))
        if n_train <= EXACT_ROWS:
            heads.append(("svc", RBFSVMSettings(**kept)))
    elif isinstance(base, LinearSVRSettings):
        for power in ("none", "hellinger"):
            name = "linear" if power == "none" else power
            heads.append((name, LinearSVRSettings(**kept, kernel_map=power)))
            if n_train <= EXACT_ROWS:
                label = "svr" if power == "none" else "hellinger-svr"
                heads.append((label, RBFSVRSettings(**kept, kernel_map=power)))
    return [with_head(recipe, head, label) for label, head in heads if head != base]


def with_head(recipe: Recipe, head: Head, label: str) -> Recipe:
    """The recipe with another head, which its name tells."""
    return msgspec.structs.replace(recipe, name=f"{recipe.name}-{label}", head=head)


def averaged(recipe: Recipe) -> Recipe:
    """The recipe with features averaged over the image and its mirror image."""
    image = msgspec.structs.replace(recipe.image, mirror=True)
    train = msgspec.structs.replace(recipe.train, mirror=False)
    return msgspec.structs.replace(recipe, name=f"{recipe.name}-averaged", image=image, train=train)


def with_copies(recipe: Recipe) -> Recipe:
    """The recipe with the mirror images of the training images beside them."""
    image = msgspec.structs.replace(recipe.image, mirror=False)
    train = msgspec.structs.replace(recipe.train, mirror=True)
    return msgspec.structs.replace(recipe, name=f"{recipe.name}-mirrored", image=image, train=train)


def head_label(head: Head) -> str:
    """A head in a few words: ``linear SVM``, ``chi2 + linear SVM``, ``late fusion + linear SVM``, ``RBF SVM``."""
    names = {
        LinearSVMSettings: "linear SVM",
        HybridSettings: "hybrid network",
        RBFSVMSettings: "RBF SVM",
        LinearSVRSettings: "linear SVR",
        RBFSVRSettings: "RBF SVR",
    }
    name = names.get(type(head), "dummy")
    kernel_map = getattr(head, "kernel_map", "none")
    name = name if kernel_map == "none" else f"{kernel_map} + {name}"
    return f"late fusion + {name}" if getattr(head, "fusion", "early") == "late" else name


def _for_task(recipe: Recipe, task: TaskKind) -> Recipe:
    return recipe.for_regression() if task == "regression" else recipe

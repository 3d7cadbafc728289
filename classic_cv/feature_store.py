"""Features of a growing part of the training images: each extractor's computed once, kept on disk.

A search looks at the same images again and again, with recipes that share extractors. The store cuts the
training images, in their nested order, into chunks and keeps each extractor's features of each chunk in a
``joblib.Memory``. An image is decoded once for all extractors of a recipe that still have to see it. What an
extractor says of the mirror images is a block of its own, from which ``image.mirror`` and ``train.mirror`` are served.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import numpy as np

from classic_cv.errors import ImageError
from classic_cv.extraction import Extraction, closed_up, read_pictures
from classic_cv.features.base import Extractor, Features
from classic_cv.featurizer import Featurizer
from classic_cv.fitting import Job, sample_pictures
from classic_cv.images import Picture
from classic_cv.recipe import FeatureSettings, ImageSettings, Recipe
from classic_cv.timing import thread_limit

CHUNK = 250
"""Images of one chunk: what a thread works on at a time, and the step in which parts grow."""


class Block(NamedTuple):
    """One extractor's features of one chunk, or what kept images from being read."""

    kept: list[int]
    problems: list[tuple[str, str]]
    features: Features


def compute_block(key: str, start: int, stop: int, make: Callable[[], Block]) -> Block:
    """The block of extractor and side ``key`` for images ``start:stop`` of the order; ``joblib.Memory`` wraps it."""
    return make()


class FeatureStore:
    """Features of the first n training images, in nested order.

    Args:
        job: data, split and task.
        folder: where blocks are kept; the caller removes it.

    Attributes:
        order: the training images' dataset indices, such that every beginning is a stratified choice.
    """

    def __init__(self, job: Job, folder: str) -> None:
        from joblib import Memory

        self.job = job
        self.order = job.order()
        self._cached = Memory(folder, verbose=0).cache(compute_block, ignore=["make"])
        self._fitted: dict[str, tuple[Extractor, bool]] = {}
        self._sketches: dict[str, Featurizer] = {}
        self._samples: dict[str, list[Picture]] = {}

    def sketch(self, recipe: Recipe) -> Featurizer:
        """The featurizer of a recipe with placeholders for what is costly to learn: its widths, time and size."""
        key = json.dumps([_prepared(recipe), recipe.to_table()["features"]])
        if key not in self._sketches:
            sample = self._sample(recipe, Extractor.fit_images)
            self._sketches[key] = Featurizer.of(recipe).fit(sample, learn=False)
        return self._alike(recipe, self._sketches[key])

    def featurizer(self, recipe: Recipe) -> Featurizer:
        """The fitted featurizer of a recipe: the same that ``fit`` with this recipe would use.

        What one extractor has learned serves every recipe that has it.
        """
        featurizer = Featurizer.of(recipe)
        sample = functools.partial(self._sample, recipe, featurizer.fit_images)
        for number, spec in enumerate(recipe.all_features):
            key = self._extractor_key(recipe, spec)
            if key not in self._fitted:
                alone = Featurizer.of(msgspec.structs.replace(recipe, features=(spec,)))
                alone.fit(sample())
                self._fitted[key] = alone.extractors[0], alone.gray
            featurizer.extractors[number], featurizer.gray = self._fitted[key]
        return featurizer if recipe.all_features else featurizer.fit(sample())

    def unlearned(self, recipe: Recipe) -> int:
        """Images that extractors still have to learn from before the recipe's features can be computed."""
        return sum(
            min(extractor.fit_images, len(self.job.train))
            for extractor, spec in zip(self.sketch(recipe).extractors, recipe.all_features, strict=True)
            if extractor.learns and self._extractor_key(recipe, spec) not in self._fitted
        )

    def _alike(self, recipe: Recipe, featurizer: Featurizer) -> Featurizer:
        """With what else the recipe says of the image: whether it is mirrored."""
        sizes = [spec.image_size for spec in recipe.all_features]
        return Featurizer(recipe.image, featurizer.extractors, featurizer.gray, sizes)

    def _extractor_key(self, recipe: Recipe, spec: FeatureSettings) -> str:
        return json.dumps([_prepared(recipe), spec.to_table()], sort_keys=True)

    def _sample(self, recipe: Recipe, most: int) -> list[Picture]:
        """Training pictures prepared for the recipe; only the last sample is kept, the rest would fill the memory."""
        key = json.dumps([_prepared(recipe), most])
        if key not in self._samples:
            self._samples = {key: sample_pictures(recipe, self.job.dataset, self.job.train, most)}
        return self._samples[key]

    def missing(self, recipe: Recipe, n: int, all_features: bool = False) -> int:
        """How many of the first n images lack some of the recipe's features, in predictions' worth of work.

        An image whose mirrored copy lacks features as well counts twice, as two predictions would; with
        ``image.mirror`` a prediction looks at both, and an image that lacks only one of them counts half.

        Args:
            recipe: whose features.
            n: how many images.
            all_features: count those that lack every one of the features instead.
        """
        lacking = all if all_features else any
        sides = self._sides(self.sketch(recipe), recipe)
        images = sum(
            stop - start
            for keys in sides
            for start, stop in self._chunks(n)
            if lacking(not self._has(key, start, stop) for key in keys)
        )
        return -(-images // 2) if recipe.image.mirror else images

    def extraction(self, recipe: Recipe, n: int, final: bool = False, keep: bool = True) -> Extraction:
        """Features of the first n training images that can be read, in nested order.

        Where the recipe says ``train.mirror = true``, those of their mirrored copies follow in the same order.

        Args:
            recipe: whose features.
            n: how many images.
            final: in ascending order of the images, as a fit without a search has them.
            keep: whether what is not on disk yet is kept there, for the next time.
        """
        from joblib import Parallel, delayed

        featurizer = self.featurizer(recipe)
        sides = self._sides(featurizer, recipe)
        copies = len(sides) == 2 and not recipe.image.mirror
        wanted = np.sort(self.order[:n]) if final else self.order[:n]
        if not featurizer.extractors:  # the dummy looks at nothing
            return Extraction(np.empty(((2 if copies else 1) * n, 0), np.float32), wanted, [])
        chunks = self._chunks(n)
        row_of = np.full(len(self.job.dataset), -1)
        row_of[wanted] = np.arange(len(wanted))
        X = np.empty(((2 if copies else 1) * len(wanted), featurizer.n_features), np.float32)
        there = np.zeros(len(wanted), bool)
        problems: dict[int, ImageError] = {}
        done = 0
        with thread_limit(1):
            results = Parallel(n_jobs=self.job.jobs, prefer="threads", return_as="generator")(
                delayed(self._blocks)(featurizer, sides, start, stop, keep) for start, stop in chunks
            )
            for (start, stop), blocks in zip(chunks, results, strict=True):
                first = blocks[0][0]
                if first.kept:
                    rows = row_of[first.kept]
                    inside = rows >= 0  # the last chunk may go on
                    rows = rows[inside]
                    X[rows] = _join(blocks[0])[inside]
                    if copies:
                        X[len(wanted) + rows] = _join(blocks[1])[inside]
                    elif len(blocks) == 2:
                        X[rows] = (X[rows] + _join(blocks[1])[inside]) * np.float32(0.5)
                    there[rows] = True
                chunk = self.order[start:stop]
                lost = chunk[np.isin(chunk, first.kept, invert=True)]
                for index, problem in zip(lost.tolist(), first.problems, strict=True):
                    if row_of[index] >= 0:
                        problems[int(row_of[index])] = ImageError(*problem)
                done += stop - start
                if self.job.progress:
                    self.job.progress(f"features of {recipe.name}", done, chunks[-1][1])
        found = closed_up(X, np.flatnonzero(np.tile(there, 2 if copies else 1)))
        return Extraction(found, wanted[there], [problems[row] for row in sorted(problems)])

    def _chunks(self, n: int) -> list[tuple[int, int]]:
        last = min(-(-n // CHUNK) * CHUNK, len(self.order))
        return [(start, min(start + CHUNK, last)) for start in range(0, last, CHUNK)]

    def _sides(self, featurizer: Featurizer, recipe: Recipe) -> list[list[str]]:
        """A key per extractor for the images, and where they are needed for the mirror images."""
        image = [msgspec.to_builtins(_unmirrored(recipe.image)), featurizer.gray]
        both = recipe.image.mirror or recipe.train.mirror is True
        return [
            [json.dumps([*image, mirrored, spec.to_table()], sort_keys=True) for spec in recipe.all_features]
            for mirrored in ((False, True) if both else (False,))
        ]

    def _has(self, key: str, start: int, stop: int) -> bool:
        return bool(self._cached.check_call_in_cache(key, start, stop, None))

    def _blocks(
        self, featurizer: Featurizer, sides: list[list[str]], start: int, stop: int, keep: bool
    ) -> list[list[Block]]:
        """For each side a block per extractor; those not on disk yet are put there if they are to be kept."""

        @functools.cache
        def read() -> Any:
            return read_pictures(self.job.dataset, self.order[start:stop].tolist(), featurizer)

        def make(number: int, mirrored: bool) -> Block:
            batch, pictures = read()
            alone = featurizer.only(number, _unmirrored(featurizer.settings))
            features = alone.transform(pictures, mirrored) if pictures else np.zeros((0, 0), np.float32)
            return Block(batch.kept, [(p.source, p.reason) for p in batch.problems], features)

        def block(key: str, number: int, mirrored: bool) -> Block:
            if keep or self._has(key, start, stop):
                found: Block = self._cached(key, start, stop, functools.partial(make, number, mirrored))
                return found
            return make(number, mirrored)

        return [
            [block(key, number, mirrored) for number, key in enumerate(keys)]
            for keys, mirrored in zip(sides, (False, True), strict=False)
        ]


def _prepared(recipe: Recipe) -> dict[str, Any]:
    """How images are prepared, whatever is mirrored afterwards: extractors learn from images as they are."""
    prepared: dict[str, Any] = msgspec.to_builtins(_unmirrored(recipe.image))
    return prepared


def _unmirrored(settings: ImageSettings) -> ImageSettings:
    return msgspec.structs.replace(settings, mirror=False)


def _join(blocks: list[Block]) -> Features:
    """The extractors' features side by side."""
    return np.concatenate([block.features for block in blocks], axis=1)

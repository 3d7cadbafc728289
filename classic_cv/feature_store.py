"""Features of a growing part of the training images: each extractor's computed once, kept on disk.

A search looks at the same images again and again, with recipes that share extractors. The store cuts the
training images, in their nested order, into chunks and keeps each extractor's features of each chunk in a
``joblib.Memory``. An image is decoded once for all extractors of a recipe that still have to see it.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import numpy as np

from classic_cv.errors import ImageError
from classic_cv.extraction import Extraction, read_pictures
from classic_cv.features.base import Extractor, Features
from classic_cv.featurizer import Featurizer
from classic_cv.fitting import Job, sample_pictures
from classic_cv.images import Picture
from classic_cv.recipe import Recipe
from classic_cv.timing import thread_limit

CHUNK = 250
"""Images of one chunk: what a thread works on at a time, and the step in which parts grow."""


class Block(NamedTuple):
    """One extractor's features of one chunk, or what kept images from being read."""

    kept: list[int]
    problems: list[tuple[str, str]]
    features: Features


def compute_block(key: str, start: int, stop: int, make: Callable[[], Block]) -> Block:
    """The block of extractor ``key`` for images ``start:stop`` of the order; what ``joblib.Memory`` wraps."""
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
        self._featurizers: dict[str, Featurizer] = {}
        self._samples: dict[str, list[Picture]] = {}

    def featurizer(self, recipe: Recipe) -> Featurizer:
        """The fitted featurizer of a recipe: the same that ``fit`` with this recipe would use."""
        key = json.dumps([msgspec.to_builtins(recipe.image), msgspec.to_builtins(recipe.features)])
        if key not in self._featurizers:
            image = json.dumps(msgspec.to_builtins(recipe.image))
            if image not in self._samples:
                self._samples[image] = sample_pictures(recipe, self.job.dataset, self.job.train)
            self._featurizers[key] = Featurizer.of(recipe).fit(self._samples[image])
        return self._featurizers[key]

    def missing(self, recipe: Recipe, n: int) -> int:
        """How many of the first n images lack some of the recipe's features."""
        keys = self._keys(self.featurizer(recipe), recipe)
        return sum(
            stop - start
            for start, stop in self._chunks(n)
            if not all(self._has(key, start, stop) for key in keys)
        )

    def extraction(self, recipe: Recipe, n: int) -> Extraction:
        """Features of the first n training images that can be read, in nested order."""
        from joblib import Parallel, delayed

        featurizer = self.featurizer(recipe)
        keys = self._keys(featurizer, recipe)
        if not keys:  # the dummy looks at nothing
            return Extraction(np.empty((n, 0), np.float32), self.order[:n], [])
        chunks = self._chunks(n)
        X = np.empty((chunks[-1][1], featurizer.n_features), np.float32)
        kept: list[int] = []
        problems: list[ImageError] = []
        with thread_limit(1):
            results = Parallel(n_jobs=self.job.jobs, prefer="threads", return_as="generator")(
                delayed(self._blocks)(featurizer, keys, start, stop) for start, stop in chunks
            )
            for blocks in results:
                rows = slice(len(kept), len(kept) + len(blocks[0].kept))
                if blocks[0].kept:
                    np.concatenate([block.features for block in blocks], axis=1, out=X[rows])
                kept += blocks[0].kept
                problems += [ImageError(source, reason) for source, reason in blocks[0].problems]
                if self.job.progress:
                    self.job.progress(f"features of {recipe.name}", len(kept) + len(problems), chunks[-1][1])
        wanted = np.isin(kept, self.order[:n])
        found = X[: len(kept)]
        return Extraction(found if wanted.all() else found[wanted], np.array(kept, np.intp)[wanted], problems)

    def _chunks(self, n: int) -> list[tuple[int, int]]:
        last = min(-(-n // CHUNK) * CHUNK, len(self.order))
        return [(start, min(start + CHUNK, last)) for start in range(0, last, CHUNK)]

    def _keys(self, featurizer: Featurizer, recipe: Recipe) -> list[str]:
        image = [msgspec.to_builtins(recipe.image), featurizer.gray]
        return [json.dumps([*image, msgspec.to_builtins(spec)], sort_keys=True) for spec in recipe.features]

    def _has(self, key: str, start: int, stop: int) -> bool:
        return bool(self._cached.check_call_in_cache(key, start, stop, None))

    def _blocks(self, featurizer: Featurizer, keys: list[str], start: int, stop: int) -> list[Block]:
        @functools.cache
        def read() -> Any:
            return read_pictures(self.job.dataset, self.order[start:stop].tolist(), featurizer)

        def make(extractor: Extractor) -> Block:
            batch, pictures = read()
            alone = Featurizer(featurizer.settings, [extractor], featurizer.gray)
            features = alone.transform(pictures) if pictures else np.zeros((0, 0), np.float32)
            return Block(batch.kept, [(p.source, p.reason) for p in batch.problems], features)

        return [
            self._cached(key, start, stop, functools.partial(make, extractor))
            for key, extractor in zip(keys, featurizer.extractors, strict=True)
        ]

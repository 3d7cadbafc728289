"""Train, val and test parts: the given ones, or a test part split off; with a fingerprint."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from classic_cv.dataset._assign import choose_test, connected
from classic_cv.dataset._dataset import PARTS, Dataset, listing
from classic_cv.dataset._hashing import Problem, Progress
from classic_cv.errors import DatasetError, ParameterError


@dataclass(frozen=True, eq=False, kw_only=True)
class Split:
    """Which samples are for training, validation and test.

    Attributes:
        train, val, test: int64 positions in the data set, ascending; ``val`` and ``test`` may be empty.
        groups: int64 (len(dataset),): samples with the same number belong together, by the data's group or
            as exact copies, and cross-validation must keep them on one side; -1 for an unreadable file.
        given: whether the data has a test part; else one was split off.
        fingerprint: SHA-256 over content hash, target and part of all samples: it changes with any of them,
            and not with the order, the names or the place of the files.
        problems: files that cannot be read, which are in no part.
        notes: copies across parts, copies with different targets, classes without test images, in sentences.
    """

    train: NDArray[np.int64]
    val: NDArray[np.int64]
    test: NDArray[np.int64]
    groups: NDArray[np.int64]
    given: bool
    fingerprint: str
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()


def quantile_bins(values: ArrayLike, n_bins: int | None = None) -> NDArray[np.int64]:
    """Strata for numeric targets: int64 (n,), bins of about equal size; equal values share a bin.

    Args:
        values: finite numbers (n,).
        n_bins: at most so many; without it one per ten values, from 1 to 10.
    """
    numbers = np.asarray(values, dtype=np.float64)
    bins = n_bins if n_bins is not None else min(10, max(1, len(numbers) // 10))
    edges = np.quantile(numbers, np.linspace(0, 1, bins + 1)[1:-1]) if len(numbers) else np.zeros(0)
    return np.searchsorted(edges, numbers, side="left").astype(np.int64)


def make_split(
    dataset: Dataset,
    *,
    test_fraction: float = 0.2,
    seed: int = 0,
    stratify: NDArray[np.integer] | None = None,
    progress: Progress | None = None,
) -> Split:
    """Keep the parts that the data gives; without a test part split one off the training images.

    The split is stratified and seeded. Groups and exact copies, by content hash, stay on one side, and with a
    given val part nothing of its groups goes to test. A class with a single image or group stays in train.
    The result does not depend on the order or the names of the files.

    Args:
        dataset: every file of it is read once, to be hashed.
        test_fraction: the part of the training images to split off, from 0 to below 1.
        seed: another one gives another test part.
        stratify: integers (len(dataset),) to use instead of the classes, such as ``quantile_bins`` of
            numeric targets.
        progress: called with (images hashed, images in all).

    Raises:
        DatasetError: no file can be read.
        ParameterError: ``test_fraction`` or ``stratify`` is not as described.
    """
    if not 0 <= test_fraction < 1:
        raise ParameterError(f"make_split(test_fraction={test_fraction!r}): expected from 0 to below 1")
    hashes = dataset.content_hashes(progress)
    readable = np.array([i for i, digest in enumerate(hashes.digests) if digest is not None], dtype=np.int64)
    if len(readable) == 0:
        first = ": ".join(hashes.problems[0]) if hashes.problems else "no samples"
        raise DatasetError(f"{dataset.path}: none of its {len(dataset):,} files can be read ({first})")
    digests = [hashes.digests[i] or "" for i in readable]
    blocks = connected(_keys(dataset, readable, digests))
    part = _given_parts(dataset, readable)
    given = bool((part == 2).any())
    if not given and test_fraction > 0:
        strata = _strata(dataset, stratify)[readable]
        part[_split_off(strata, blocks, digests, part, test_fraction, seed)] = 2
    groups = np.full(len(dataset), -1, dtype=np.int64)
    groups[readable] = blocks
    train, val, test = (readable[part == code] for code in range(3))
    names = [dataset.names[i] for i in readable]
    targets = [dataset.targets[i] for i in readable]
    return Split(
        train=train,
        val=val,
        test=test,
        groups=groups,
        given=given,
        fingerprint=_fingerprint(digests, targets, part),
        problems=hashes.problems,
        notes=tuple(_notes(dataset, digests, names, targets, part, readable)),
    )


def _keys(dataset: Dataset, readable: NDArray[np.int64], digests: Sequence[str]) -> list[Iterable[Hashable]]:
    """What ties a sample to others: its content and, where it has one, its group."""
    if dataset.groups is None:
        return [(digest,) for digest in digests]
    groups = dataset.groups[readable].tolist()
    return [(digest, ("group", group)) for digest, group in zip(digests, groups, strict=True)]


def _given_parts(dataset: Dataset, readable: NDArray[np.int64]) -> NDArray[np.int64]:
    """Position in ``PARTS`` of each readable sample."""
    if dataset.parts is None:
        return np.zeros(len(readable), dtype=np.int64)
    code = {part: index for index, part in enumerate(PARTS)}
    return np.array([code[dataset.parts[i]] for i in readable], dtype=np.int64)


def _strata(dataset: Dataset, stratify: NDArray[np.integer] | None) -> NDArray[np.int64]:
    if stratify is None:
        return dataset.y
    given = np.asarray(stratify)
    if given.shape != (len(dataset),) or given.dtype.kind not in "iu":
        raise ParameterError(
            f"make_split(stratify={given.dtype} {given.shape}): expected integers of shape ({len(dataset)},)"
        )
    return np.unique(given, return_inverse=True)[1].astype(np.int64)


def _split_off(
    strata: NDArray[np.int64],
    blocks: NDArray[np.int64],
    digests: Sequence[str],
    part: NDArray[np.int64],
    fraction: float,
    seed: int,
) -> NDArray[np.int64]:
    """Positions to move from train to test. A block that reaches into val stays in train."""
    pool = np.flatnonzero(part == 0)
    if len(pool) == 0:
        return pool
    numbers, local = np.unique(blocks[pool], return_inverse=True)
    in_val = set(blocks[part == 1].tolist())
    locked = frozenset(i for i, number in enumerate(numbers.tolist()) if number in in_val)
    names = [""] * len(numbers)
    for position, block in zip(pool.tolist(), local.tolist(), strict=True):
        names[block] = min(names[block] or digests[position], digests[position])
    chosen = choose_test(
        np.unique(strata[pool], return_inverse=True)[1].astype(np.int64),
        local.astype(np.int64),
        names,
        fraction=fraction,
        seed=seed,
        locked=locked,
    )
    return pool[chosen]


def _fingerprint(digests: Sequence[str], targets: Sequence[str], part: NDArray[np.int64]) -> str:
    """SHA-256 over the sorted lines; targets are escaped, so that none can hold a line's end."""
    lines = [
        f"{digest}\t{PARTS[code]}\t".encode() + target.encode("unicode_escape") + b"\n"
        for digest, target, code in zip(digests, targets, part.tolist(), strict=True)
    ]
    return hashlib.sha256(b"".join(sorted(lines))).hexdigest()


def _notes(
    dataset: Dataset,
    digests: Sequence[str],
    names: Sequence[str],
    targets: Sequence[str],
    part: NDArray[np.int64],
    readable: NDArray[np.int64],
) -> list[str]:
    notes = _copy_notes(digests, names, targets, part)
    if dataset.groups is not None:
        parts_of: dict[str, set[int]] = {}
        for i, code in zip(readable.tolist(), part.tolist(), strict=True):
            parts_of.setdefault(str(dataset.groups[i]), set()).add(code)
        split = sorted(group for group, codes in parts_of.items() if len(codes) > 1)
        if split:
            notes.append(f"{len(split):,} groups are in more than one part: {listing(split)}")
    if dataset.numeric is None and (part == 2).any():
        tested = {targets[i] for i in np.flatnonzero(part == 2).tolist()}
        missing = [name for name in dataset.class_names if name not in tested]
        if missing:
            notes.append(f"{len(missing):,} classes have no test images: {listing(missing)}")
    elif dataset.numeric is None:
        notes.append("there is no test part, and none could be split off: every class has one image or group")
    return notes


def _copy_notes(
    digests: Sequence[str], names: Sequence[str], targets: Sequence[str], part: NDArray[np.int64]
) -> list[str]:
    """On exact copies: across parts, with different targets, and others."""
    counts = Counter(digests)
    copies: dict[str, list[int]] = {}
    for i, digest in enumerate(digests):
        if counts[digest] > 1:
            copies.setdefault(digest, []).append(i)
    sets = sorted(copies.values(), key=lambda members: min(names[i] for i in members))

    def note(what: str, chosen: list[list[int]]) -> list[str]:
        shown = listing((" = ".join(sorted(names[i] for i in members)[:3]) for members in chosen), most=3)
        return [f"{sum(map(len, chosen)):,} images {what}: {shown}"] if chosen else []

    across = [members for members in sets if len({int(part[i]) for i in members}) > 1]
    conflicting = [members for members in sets if len({targets[i] for i in members}) > 1]
    return (
        note("are exact copies of images in another part", across)
        + note("are exact copies of each other with different targets", conflicting)
        + note("are exact copies within one part", [members for members in sets if members not in across])
    )


def check_fittable(dataset: Dataset, split: Split) -> None:
    """Check that a classifier can be learned from the training part.

    Raises:
        DatasetError: no training images, a single class, or classes in val or test that train lacks.
    """
    counts = Counter(dataset.targets[i] for i in split.train)
    if not counts:
        raise DatasetError(f"{dataset.path}: there are no training images; found parts: {_part_sizes(split)}")
    for name, indices in (("val", split.val), ("test", split.test)):
        unknown = sorted({dataset.targets[i] for i in indices} - counts.keys())
        if unknown:
            raise DatasetError(
                f"{dataset.path}: the {name} part has classes that train lacks: {listing(unknown, 10)}; "
                "add training images of them, or remove them"
            )
    if len(counts) == 1:
        only, count = next(iter(counts.items()))
        hint = "; if the class folders are inside it, give its path" if dataset.layout == "folder" else ""
        raise DatasetError(
            f"{dataset.path}: only one class, {only!r} ({count:,} training images); "
            f"expected at least two to tell apart{hint}"
        )


def _part_sizes(split: Split) -> str:
    sizes = {"train": len(split.train), "val": len(split.val), "test": len(split.test)}
    return ", ".join(f"{name} {size:,}" for name, size in sizes.items() if size)

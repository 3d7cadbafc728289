"""A folder per class, alone or below ``train/``, ``val/`` and ``test/``."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from classic_cv.dataset._dataset import PARTS, Dataset, Part, class_name, listing, part_of, sorted_classes
from classic_cv.dataset._hashing import Problem
from classic_cv.dataset._sources import FileSource, os_reason, printable
from classic_cv.errors import DatasetError

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".dib", ".gif", ".avif"}
)
CLUTTER = frozenset({"thumbs.db", "desktop.ini", "__macosx", "@eadir"})


class _Folder(NamedTuple):
    """A directory to walk and what its images are."""

    path: str
    target: str
    part: Part | None


class _Found(NamedTuple):
    path: str
    target: str
    part: Part | None


class Entries(NamedTuple):
    """The visible content of one directory, by name."""

    files: list[str]
    folders: list[str]
    links: list[str]
    broken: list[str]


def visible(name: str) -> bool:
    """Neither hidden nor what an operating system leaves behind."""
    return not name.startswith(".") and name.casefold() not in CLUTTER


def suffix_of(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def list_directory(path: str | Path) -> Entries:
    """Sort the visible content of ``path`` into files, real folders, links to folders, and broken links.

    Raises:
        OSError: the directory cannot be listed.
    """
    entries = Entries([], [], [], [])
    with os.scandir(path) as scan:
        for entry in sorted(scan, key=lambda entry: entry.name):
            if not visible(entry.name):
                continue
            try:
                if entry.is_dir():
                    (entries.links if entry.is_symlink() else entries.folders).append(entry.name)
                elif entry.is_file():
                    entries.files.append(entry.name)
                elif entry.is_symlink():
                    entries.broken.append(entry.name)
            except OSError:  # a link that points at itself
                entries.broken.append(entry.name)
    return entries


@dataclass
class FolderScan:
    """What walking a tree of class folders finds. Paths are relative to ``root``."""

    root: Path
    layout: Literal["folder", "split folders"] = "folder"
    found: list[_Found] = field(default_factory=list)
    ignored: list[Problem] = field(default_factory=list)
    suffixes: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _walked: dict[tuple[int, int], str] = field(default_factory=dict)
    _links: deque[_Folder] = field(default_factory=deque)

    @property
    def targets(self) -> tuple[str, ...]:
        return sorted_classes(found.target for found in self.found)

    def _absolute(self, path: str) -> str:
        return os.path.join(self.root, path)

    def _enter(self, path: str) -> bool:
        """Whether this directory is to be walked: each real one is, once."""
        try:
            status = os.stat(self._absolute(path))
        except OSError as error:
            self.problems.append(Problem(printable(path), os_reason(error)))
            return False
        key = (status.st_dev, status.st_ino)
        if key in self._walked:
            first = self._walked[key] or "the data folder itself"
            self.notes.append(f"{printable(path)} is the same folder as {printable(first)}: read once")
            return False
        # A link to a folder that holds the data folder would read everything else in it as one class.
        if path and self.root.resolve().is_relative_to(os.path.realpath(self._absolute(path))):
            self.notes.append(f"{printable(path)} is a link to a folder around the data: not followed")
            return False
        self._walked[key] = path
        return True

    def _entries(self, path: str) -> Entries:
        try:
            entries = list_directory(self._absolute(path))
        except OSError as error:
            self.problems.append(Problem(printable(path), os_reason(error)))
            return Entries([], [], [], [])
        for name in entries.broken:
            broken = printable(os.path.join(path, name))
            if suffix_of(name) in IMAGE_SUFFIXES or not suffix_of(name):
                self.problems.append(Problem(broken, "a symbolic link that leads nowhere"))
        return entries

    def _images(self, path: str, entries: Entries) -> list[str]:
        """Paths of the image files among ``entries`` of ``path``; other files are counted."""
        images = []
        for name in entries.files:
            suffix = suffix_of(name)
            if suffix in IMAGE_SUFFIXES:
                images.append(os.path.join(path, name))
            else:
                self.suffixes[suffix or "(none)"] += 1
        return images

    def walk(self, folder: _Folder) -> None:
        """Take all images below ``folder``; links to folders wait until all real folders are walked."""
        stack = [folder.path]
        while stack:
            path = stack.pop()
            if not self._enter(path):
                continue
            entries = self._entries(path)
            self.found += [_Found(image, folder.target, folder.part) for image in self._images(path, entries)]
            stack += [os.path.join(path, name) for name in reversed(entries.folders)]
            self._links += [folder._replace(path=os.path.join(path, name)) for name in entries.links]

    def walk_links(self) -> None:
        while self._links:
            self.walk(self._links.popleft())

    def _stray(self, images: Iterable[str]) -> None:
        reason = "an image outside the class folders"
        self.ignored += [Problem(printable(image), reason) for image in images]

    def _class_folders(self, path: str, part: Part | None, entries: Entries) -> list[_Folder]:
        """The class folders in ``path``; queues those that are links."""

        def folder(name: str) -> _Folder:
            return _Folder(os.path.join(path, name), class_name(printable(name)), part)

        self._links += [folder(name) for name in entries.links]
        return [folder(name) for name in entries.folders]

    def run(self) -> FolderScan:
        """Walk the tree.

        ``train``, ``val`` and ``test`` folders (or their longer names) are parts when there is nothing but
        them, or ``train`` and another; otherwise each is a class like its neighbours.
        """
        self._enter("")
        top = self._entries("")
        self._stray(self._images("", top))
        folders = top.folders + top.links
        parts = {name: part for name in folders if (part := part_of(name))}
        if parts and (len(parts) == len(folders) or {"train"} < set(parts.values())):
            self.layout = "split folders"
            self._walk_parts(parts, [name for name in folders if name not in parts])
        else:
            for folder in self._class_folders("", None, top):
                self.walk(folder)
            self.walk_links()
            self._note_empty(folders)
        order: dict[Part | None, int] = {None: 0, **{part: index for index, part in enumerate(PARTS)}}
        self.found.sort(key=lambda found: (order[found.part], found.target, found.path))
        return self

    def _walk_parts(self, parts: dict[str, Part], others: list[str]) -> None:
        if others:
            names = listing(printable(name) for name in others)
            self.notes.append(f"folders beside the train and test parts are ignored: {names}")
        classes: list[_Folder] = []
        for name in sorted(parts, key=lambda name: (PARTS.index(parts[name]), name)):
            if self._enter(name):
                entries = self._entries(name)
                self._stray(self._images(name, entries))
                classes += self._class_folders(name, parts[name], entries)
        linked = [folder.path for folder in self._links]
        for folder in classes:
            self.walk(folder)
        self.walk_links()
        self._note_empty([folder.path for folder in classes] + linked)

    def _note_empty(self, folders: Iterable[str]) -> None:
        depth = 2 if self.layout == "split folders" else 1
        filled = {os.sep.join(found.path.split(os.sep)[:depth]) for found in self.found}
        empty = sorted(printable(path) for path in folders if path not in filled)
        if empty:
            self.notes.append(f"class folders without images are ignored: {listing(empty)}")


def find_images(folder: Path) -> list[Path]:
    """Image files in ``folder`` and below, by path, with the same rules as for a class folder.

    Raises:
        DatasetError: there is no such folder, or it cannot be listed.
    """
    try:
        list_directory(folder)
    except OSError as error:
        raise DatasetError(f"{printable(str(folder))}: {os_reason(error)}") from None
    scan = FolderScan(folder)
    scan.walk(_Folder("", "", None))
    scan.walk_links()
    return sorted(folder / found.path for found in scan.found)


def folder_dataset(scan: FolderScan) -> Dataset:
    """The data set of a scan that found images."""
    parts = tuple(found.part for found in scan.found if found.part is not None)
    return Dataset(
        path=scan.root,
        layout=scan.layout,
        source=FileSource(scan.root, [found.path for found in scan.found]),
        targets=tuple(found.target for found in scan.found),
        class_names=scan.targets,
        parts=parts or None,
        problems=tuple(scan.problems),
        ignored=tuple(scan.ignored),
        ignored_suffixes=dict(sorted(scan.suffixes.items())),
        notes=tuple(scan.notes),
    )

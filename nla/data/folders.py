"""Folders as people have them: found some levels down, whatever the case, and what lies in them.

Hidden files and folders, and what systems leave behind (``__MACOSX``, ``Thumbs.db``), do not count.
"""

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from .manifest import DataError
from .names import SPLIT_NAMES, fold
from .parsing import IMAGES

LEFT_BEHIND = ("__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin")
LISTS = (".csv", ".tsv", ".txt", ".lst", ".json", ".xlsx", ".xls", ".parquet", ".npy", ".gz")
SUFFIXES = frozenset(IMAGES)
DEPTH = 3
"""How many folders that hold nothing but one folder are gone through, as unpacking makes them."""
DEEPEST = 8
"""How many folders below one another are walked through."""
Identity = tuple[int, int]


class Layout(NamedTuple):
    """One way in which a set lies on disk: how to say it, and whether a folder holds it."""

    said: str
    here: Callable[[Path], bool]


class Inside(NamedTuple):
    """The names in a folder, sorted: its folders and its files, without the hidden ones."""

    folders: list[str]
    files: list[str]

    def names(self) -> list[str]:
        """Both together, sorted."""
        return sorted([*self.folders, *self.files])


def hidden(name: str) -> bool:
    """Whether a name is one that people do not see, or do not mean."""
    return name.startswith(".") or name.lower() in LEFT_BEHIND


def inside(folder: str | Path) -> Inside:
    """What lies in ``folder``; nothing if it is no folder or cannot be read."""
    result = Inside([], [])
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not hidden(entry.name):
                    (result.folders if is_folder(entry) else result.files).append(entry.name)
    except OSError:
        return Inside([], [])
    return Inside(sorted(result.folders), sorted(result.files))


def is_folder(entry: "os.DirEntry[str]") -> bool:
    """Whether an entry is a folder, or a link to one; a loop of links is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def is_picture(name: str) -> bool:
    """Whether a file is called like a still picture."""
    stem, dot, suffix = name.rpartition(".")
    return bool(stem) and dot + suffix.lower() in SUFFIXES


def identity(folder: str | Path) -> Identity:
    """What is the same of a folder and of the links to it."""
    state = os.stat(folder)
    return state.st_dev, state.st_ino


def walk(folder: str, above: str = "", parents: Sequence[Identity] = ()) -> Iterator[str]:
    """The files in ``folder`` and below, each name with ``above`` before it.

    Links to folders are followed, but not to one of ``parents``.
    """
    me = identity(folder)
    if me in parents or above.count("/") > DEEPEST:
        return
    content = inside(folder)
    for name in content.files:
        yield above + name
    for name in content.folders:
        yield from walk(f"{folder}/{name}", f"{above}{name}/", (*parents, me))


def files_of(folder: Path) -> Iterator[str]:
    """The files in ``folder`` and below, without those that links to a folder above it lead to."""
    return walk(str(folder), "", [identity(above) for above in folder.absolute().parents])


def matching(base: Path, *patterns: str) -> list[Path]:
    """What lies below ``base`` under one of the patterns (``*/label.csv``), in any case."""
    result: list[Path] = []
    for pattern in patterns:
        found = [base]
        *above, last = pattern.lower().split("/")
        for part in above:
            below = [folder / name for folder in found for name in inside(folder).folders]
            found = [folder for folder in below if fnmatchcase(folder.name.lower(), part)]
        for folder in found:
            names = inside(folder).names()
            result += [folder / name for name in names if fnmatchcase(name.lower(), last)]
    return result


def files(*patterns: str) -> Layout:
    """The layout that has a file (or folder) of one of these patterns."""
    return Layout(" or ".join(patterns), lambda base: bool(matching(base, *patterns)))


def prefix(folder: Path, root: Path) -> str:
    """What stands before a file's name in ``folder`` below ``root``: ``train/happy/``, or ""."""
    return "" if folder == root else f"{folder.relative_to(root).as_posix()}/"


def find(root: Path, names: Collection[str], *layouts: Layout) -> tuple[Path, int] | None:
    """The folder where the first of ``layouts`` lies, and which; None if there is none.

    Looked for in the folders called one of ``names``, down to the second level, then in ``root``;
    of each also in the folder that is all it holds, as unpacking makes it.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; give the folder that holds the set, or one above")
    for base in candidates(root, names):
        for i, layout in enumerate(layouts):
            if layout.here(base):
                return base, i
    return None


def locate(root: Path, name: str, names: Collection[str], *layouts: Layout) -> tuple[Path, int]:
    """:func:`find`, or a DataError that says what was expected, and what lies there instead."""
    found = find(root, names, *layouts)
    if found is None:
        raise not_here(root, name, names, [layout.said for layout in layouts])
    return found


def not_here(root: Path, name: str, names: Collection[str], expected: Sequence[str]) -> DataError:
    """The error that says what was ``expected`` of the set ``name``, and what there is instead."""
    there = [f"Found: {listing(root)}"]
    for base in candidates(root, names)[:3]:
        if base != root:
            there.append(f"in {base.relative_to(root).as_posix()}: {listing(base)}")
    layouts = "; ".join(expected)
    return DataError(f"{root}: no {name} here. Expected one of: {layouts}. {'; '.join(there)}")


def candidates(root: Path, names: Collection[str]) -> list[Path]:
    """The folders in which a set called one of ``names`` may lie, likeliest first."""
    first = [root / name for name in inside(root).folders]
    second = [folder / name for folder in first for name in inside(folder).folders]
    called = [folder for folder in [*first, *second] if folder.name.lower() in names]
    result = []
    for base in [*called, root]:
        result.append(base)
        for _ in range(DEPTH):
            folders = inside(base).folders
            if len(folders) != 1:
                break
            base = base / folders[0]
            result.append(base)
    return list(dict.fromkeys(result))


def listing(folder: Path, most: int = 8) -> str:
    """The first names in a folder, for a message."""
    names = inside(folder).names()
    more = f", ... ({len(names)} in all)" if len(names) > most else ""
    return (", ".join(names[:most]) or "nothing") + more


def has_pictures(folder: Path) -> bool:
    """Whether pictures lie in the folder itself; looks no further than the first."""
    try:
        with os.scandir(folder) as entries:
            names = (entry.name for entry in entries if not is_folder(entry))
            return any(is_picture(name) and not hidden(name) for name in names)
    except OSError:
        return False


def unpacked(folder: Path, top: bool = False) -> Path:
    """Down through folders that hold one folder and no picture, to the one that holds classes.

    ``top``: a split folder that is alone (``train``) is not gone into.
    """
    for _ in range(DEPTH):
        if has_pictures(folder):
            return folder
        folders = inside(folder).folders
        if len(folders) != 1:
            return folder
        below = folder / folders[0]
        if has_pictures(below) or (top and fold(below.name) in SPLIT_NAMES):
            return folder
        folder = below
    return folder


def suffix_of(name: str) -> str:
    """A file's suffix as counted in notes."""
    return os.path.splitext(name)[1].lower() or "without suffix"


def shortened(names: list[str], most: int = 5) -> str:
    """The first few names, for a note."""
    return ", ".join(names[:most]) + (" ..." if len(names) > most else "")

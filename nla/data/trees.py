"""Trees of class folders, ``<split>/<class>/<image>`` or ``<class>/<image>``: what they hold, and
what is refused, so that no picture is lost unsaid."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from .folders import (
    LISTS,
    Layout,
    files_of,
    has_pictures,
    inside,
    is_picture,
    listing,
    prefix,
    shortened,
    suffix_of,
    unpacked,
)
from .manifest import DataError
from .names import SPLIT_NAMES, expression_of, fold, splits, whole_number


class ClassFolder(NamedTuple):
    """A folder of one class's pictures; ``split`` is the name of the folder above it, or None."""

    split: str | None
    name: str
    folder: Path


def class_folders(base: Path) -> list[ClassFolder]:
    """The class folders of ``<split>/<class>/<image>`` or ``<class>/<image>`` below ``base``.

    Pictures may lie deeper in a class's folder (``fear/subject1/1.jpg``).  Beside split folders,
    others that hold the same class folders are refused: a misspelt split is no class.
    """
    base = unpacked(base, top=True)
    names = inside(base).folders
    divided = [name for name in names if is_split(name)]
    if not divided:
        found = [ClassFolder(None, name, base / name) for name in names]
        deeper = {below for one in found for below in inside(one.folder).folders}
        near = any(has_pictures(picture_folder(one.folder)) for one in found)
        expressions = bool(names) and all(map(expression_of, names))
        if near or expressions or any(map(is_split, deeper)):
            return found
    below = {}
    for name in names:
        folder = unpacked(base / name)
        below[name] = [ClassFolder(name, inner, folder / inner) for inner in inside(folder).folders]
    result = [one for name in divided for one in below[name]]
    known = {meaning(one.name) for one in result}
    for name in names:
        if name in divided:
            continue
        pictured = [one for one in below[name] if has_pictures(picture_folder(one.folder))]
        alike = any(meaning(one.name) in known or expression_of(one.name) for one in pictured)
        if alike or expression_of(name) or (pictured and not divided):
            place = pd.Index([f"{name}/{below[name][0].name}" if below[name] else name])
            splits(pd.Series([name], index=place, dtype=object), base)
    return result


def meaning(name: str) -> str:
    """What a class folder's name says: an expression, or a class of the set's own."""
    return expression_of(name) or fold(name)


def is_split(name: str) -> bool:
    """Whether a folder is called like a split."""
    return fold(name) in SPLIT_NAMES


def loose_splits(base: Path, found: list[ClassFolder]) -> list[str]:
    """The split folders below ``base`` whose pictures lie in no class's folder.

    Nor in one of the other splits' classes: ``test/images`` beside ``train/happy``.
    """
    base = unpacked(base, top=True)
    classes: dict[str, set[str]] = {}
    for one in found:
        if one.split is not None and holds(one.folder):
            its = classes.setdefault(one.split, set())
            its.add(meaning(one.name))
    result = []
    for name in filter(is_split, inside(base).folders):
        its = classes.get(name, set())
        elsewhere = [found for split, found in classes.items() if split != name]
        others = set().union(*elsewhere)
        loose = not its and has_pictures(unpacked(base / name))
        stray = len(its) == 1 and len(others) > 1 and not its & others
        result += [name] if loose or stray else []
    return result


def refuse_loose(base: Path, found: list[ClassFolder]) -> None:
    """Refuse a split folder whose pictures have no class: the split would be missing."""
    for name in loose_splits(base, found):
        folder = unpacked(base, top=True) / name
        pictures = sum(map(is_picture, files_of(folder)))
        raise DataError(
            f"{folder}: its {pictures} pictures lie in no class's folder (as {name}/happy/1.jpg "
            f"would); sort them into folders of their classes; or, if a csv labels all pictures, "
            f"read it with --data csv; or, if these have no labels, rename the folder (to "
            f"unlabelled, say)"
        )


def refuse_within(content: dict[ClassFolder, list[str]], base: Path) -> None:
    """Refuse folders inside a class's folder that are called like a split or another class."""
    classes = {meaning(one.name) for one in content}
    below = {}
    for one, names in content.items():
        below[one] = sorted({part for name in names for part in name.split("/")[:-1]})
    for one, parts in below.items():
        for part in filter(is_split, parts):
            raise DataError(
                f"{one.folder}: holds a folder of a split, {part}; the splits lie side by side "
                f"above the classes: move its pictures to {part}/{one.name}, or, if {one.name} is "
                f"no class, the folders of its splits to {base}"
            )
    for one, parts in below.items():
        for part in parts:
            other = meaning(part) != meaning(one.name)
            if other and (expression_of(part) or meaning(part) in classes):
                raise DataError(
                    f"{one.folder}: holds a folder of another class, {part}; expected pictures "
                    f"as train/happy/1.jpg or as happy/1.jpg: move it beside {one.name}, or rename "
                    f"it if all its pictures show {one.name}"
                )


def picture_folder(folder: Path) -> Path:
    """``folder``, or the only folder in it if the pictures lie there."""
    if has_pictures(folder):
        return folder
    folders = inside(folder).folders
    nested = len(folders) == 1 and has_pictures(folder / folders[0])
    return folder / folders[0] if nested else folder


def class_layout(said: str, order: Sequence[str], first: int) -> Layout:
    """The layout of class folders called by names or numbers of ``order`` (from ``first``)."""

    def known(name: str) -> bool:
        number = whole_number(name)
        if number is not None:
            return first <= number < first + len(order)
        return expression_of(name) in order or fold(name) in order

    def here(base: Path) -> bool:
        if unpacked(base, top=True) != base:  # found further down, where a csv may lie beside it
            return False
        try:
            found = class_folders(base)
        except DataError:
            return False
        return len({fold(one.name) for one in found if known(one.name)}) > 1

    return Layout(said, here)


def class_tree(root: Path, base: Path) -> tuple[pd.DataFrame, list[str]]:
    """Read class folders below ``base``: path, label (the folder's name), split if there are any.

    The index is the path, for errors.  The notes count files that are no pictures, and name lists
    (csv, txt) beside the folders, which are not used.
    """
    rows: list[tuple[str, str, str | None]] = []
    other: Counter[str] = Counter()
    deeper: Counter[str] = Counter()
    empty: list[str] = []
    found = class_folders(base)
    refuse_loose(base, found)
    content = {one: list(files_of(one.folder)) for one in found}
    refuse_within(content, base)
    for one, names in content.items():
        pictures = [name for name in names if is_picture(name)]
        other.update(suffix_of(name) for name in names if not is_picture(name))
        above = prefix(one.folder, root)
        folders = [name.rpartition("/")[0] for name in pictures]
        deeper.update(above + folder for folder in folders if folder)
        empty += [] if pictures else [above.removesuffix("/")]
        rows += [(above + name, one.name, one.split) for name in pictures]
    if not rows:
        raise DataError(
            f"{base}: no images; expected them as train/happy/1.jpg or as happy/1.jpg. "
            f"Found: {listing(base)}"
        )
    frame = pd.DataFrame(rows, columns=["path", "label", "split"])
    frame = frame.set_index("path", drop=False).rename_axis(None)
    if found[0].split is None:
        frame = frame.drop(columns="split")
    else:
        frame["split"] = splits(frame["split"], base)
    notes = unread(other, deeper, empty)
    return frame, [*notes, *lists_beside(root, base, found)]


def unread(other: Counter[str], deeper: Counter[str], empty: list[str]) -> list[str]:
    """Notes on what lies in class folders and is not read, or is read from further down."""
    notes = []
    if other:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(other.items()))
        notes.append(f"files in class folders that Pillow does not read are left out: {kinds}")
    if deeper:
        folders = shortened(list(deeper))
        notes.append(
            f"{deeper.total()} pictures lie in folders inside the class folders, and have that "
            f"class: {folders}"
        )
    if empty:
        notes.append(f"{len(empty)} class folders hold no picture: {shortened(empty)}")
    return notes


def lists_beside(root: Path, base: Path, found: list[ClassFolder]) -> list[str]:
    """Notes on lists and pictures that lie beside class folders and are not used."""
    around = {base, *(one.folder.parent for one in found)}
    top = unpacked(base, top=True)
    aside = [top / name for name in inside(top).folders] if found[0].split is not None else []
    beside = [folder for folder in aside if not is_split(folder.name)]
    without = [folder.name for folder in aside if is_split(folder.name) and not holds(folder)]
    while top != base:
        around.add(top)
        top = top.parent
    while base != root and len(inside(base.parent).folders) == 1:
        base = base.parent
        around.add(base)
    lists: list[str] = []
    loose: Counter[str] = Counter()
    for folder in sorted(around):
        names = inside(folder).files
        above = prefix(folder, root)
        lists += [above + name for name in names if suffix_of(name) in LISTS]
        loose[above or "./"] += sum(map(is_picture, names))
    for folder in beside:
        loose[prefix(folder, root)] += sum(map(is_picture, files_of(folder)))
    notes = []
    if lists:
        notes.append(f"labels are the class folders' names; not used: {shortened(lists)}")
    if loose.total():
        where = shortened([f"{folder} ({count})" for folder, count in loose.items() if count])
        notes.append(f"{loose.total()} pictures lie outside the class folders: not read: {where}")
    if without:
        notes.append(f"the folder of a split holds no picture: {shortened(without)}")
    return notes


def holds(folder: Path) -> bool:
    """Whether a picture lies in the folder or below it."""
    return any(map(is_picture, files_of(folder)))

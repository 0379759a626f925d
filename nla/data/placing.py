"""Where the pictures lie that a list or a csv names: one walk through the folders."""

import os
from collections import Counter
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from .folders import is_picture, listing, shortened, walk
from .manifest import refuse
from .names import composed, fold, split_among


def pictures_below(base: Path) -> dict[str, str]:
    """All pictures below ``base``: their paths with composed letters, and as on disk.

    Links to folders are followed, but not round in a loop.
    """
    return {composed(name): name for name in walk(str(base)) if is_picture(name)}


def folders_of(names: pd.Series) -> pd.Series:
    """The folder of each path, "" where it has none."""
    return names.str.replace(r"/?[^/]*$", "", regex=True)


def split_in(folder: str) -> str | None:
    """The split that a folder's path speaks of (``DATASET/train/1``), or None."""
    return split_among(map(fold, folder.split("/")))


def with_suffix(
    names: list[str],
    there: dict[str, str],
) -> tuple[list[str], list[str]]:
    """Names without any picture's suffix get the commonest one; and a note on it."""
    if any(map(is_picture, names)):
        return names, []
    suffixes = Counter(os.path.splitext(name)[1] for name in there)
    suffix = suffixes.most_common(1)[0][0] if suffixes else ".jpg"
    note = f"the pictures' names have no suffix, {suffix} is taken"
    return [name + suffix for name in names], [note]


def placed(
    names: pd.Series,
    split: pd.Series,
    there: dict[str, str],
    base: Path,
    path: Path,
    expected: Collection[str] = (),
) -> tuple[pd.Series, list[str]]:
    """Where each picture lies, relative to ``base``, and notes on what was not as named.

    ``names`` (as listed in ``path``, a place in it as the index) are paths below ``base``, or the
    ends of paths; ``split`` speaks for a picture that lies in a folder of that split, and against
    others.  A name that fits several pictures is refused; one that fits none stays, and is counted.
    ``expected``: folders, in small letters, where the set's layout has them, which needs no note.
    """
    wanted, notes = with_suffix([composed(name) for name in names.to_list()], there)
    fitting = by_ending(wanted, split.to_list(), there)
    notes += in_any_case(fitting, wanted, split.to_list(), there, path)
    refuse_several(fitting, names, path)
    above: Counter[str] = Counter()
    for keys, name in zip(fitting, wanted, strict=True):
        above.update(key[: len(key) - len(name)] for key in keys)
    folders = above.most_common()
    usual = folders[0][0] if folders else ""
    if not {folder.lower() for folder in above} <= {"", *expected}:
        shown = [f"{folder or './'} ({count})" for folder, count in folders]
        notes.append(f"the pictures of {path.name} were found in {shortened(shown)}")
    gone = fitting.count([])
    if gone:
        first = fitting.index([])
        place = place_of(names.index[first])
        name = wanted[first]
        looked = base / usual
        there_is = listing(looked)
        notes.append(
            f"{gone} of {len(names)} pictures that {path.name} names are not there "
            f"({place}{name}); looked for below {looked}, where there is: {there_is}"
            f"{other_suffix(name, there)}"
        )
    found = []
    for keys, name in zip(fitting, wanted, strict=True):
        found.append(there[keys[0]] if keys else usual + name)
    return pd.Series(found, names.index, dtype=object), notes


def in_any_case(
    fitting: list[list[str]],
    names: list[str],
    split: list[str | None],
    there: Collection[str],
    path: Path,
) -> list[str]:
    """Fill in ``fitting`` the pictures called like names but for capital letters; and a note."""
    lacking = [i for i, keys in enumerate(fitting) if not keys]
    if not lacking:
        return []
    small: dict[str, list[str]] = {}
    for key in there:
        small.setdefault(key.casefold(), []).append(key)
    again = by_ending([names[i].casefold() for i in lacking], [split[i] for i in lacking], small)
    for i, keys in zip(lacking, again, strict=True):
        fitting[i] = [key for folded in keys for key in small[folded]]
    found = [i for i in lacking if fitting[i]]
    if not found:
        return []
    first = f"{names[found[0]]} is {fitting[found[0]][0]}"
    return [f"{len(found)} pictures that {path.name} names differ in capital letters: {first}"]


def other_suffix(name: str, there: Collection[str]) -> str:
    """The end of a sentence, if a picture is called ``name`` but for its suffix."""
    stem = os.path.splitext(name)[0].casefold()
    alike = [key for key in there if f"/{os.path.splitext(key)[0]}".casefold().endswith(f"/{stem}")]
    return f"; only the suffix of {alike[0]} differs: write it into the list" if alike else ""


def refuse_several(
    fitting: list[list[str]],
    names: pd.Series,
    path: Path,
) -> None:
    """Refuse a name that may be several pictures, naming them."""
    counts = pd.Series(map(len, fitting), names.index, dtype=int)
    several = counts > 1
    if several.any():
        first = int(several.to_numpy().argmax())
        some = shortened(fitting[first])
        message = f"may be {some}: write the folder into the name, or remove the others"
        refuse(several, names, path, message)


def place_of(place: object) -> str:
    """``line 3: `` of an index that counts lines, else nothing."""
    line = place[-1] if isinstance(place, tuple) else place
    return f"line {line}: " if isinstance(line, int | np.integer) else ""


def by_ending(
    names: list[str],
    split: list[str | None],
    there: Collection[str],
) -> list[list[str]]:
    """For each name the pictures it may be: the one at that path, or those whose path ends in it.

    A picture in a folder of another split than the row's is none of them.
    """
    result = [[name] if name in there else [] for name in names]
    if all(result):
        return result
    called: dict[str, list[tuple[str, str]]] = {}
    for key in there:
        folder, _, last = key.rpartition("/")
        called.setdefault(last, []).append((folder, key))
    folders = {key.rpartition("/")[0] for key in there}
    spoken = {folder: split_in(folder) for folder in folders}
    for fitting, name, its in zip(result, names, split, strict=True):
        if fitting:
            continue
        last = name.rpartition("/")[2]
        for folder, key in called.get(last, ()):
            other = its is not None and spoken[folder] not in (None, its)
            if not other and f"/{key}".endswith(f"/{name}"):
                fitting.append(key)
    return result

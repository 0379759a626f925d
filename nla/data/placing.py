"""Where the pictures lie that a list or a csv names: one walk through the folders."""

import os
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from .folders import inside, is_picture, listing, shortened
from .manifest import refuse
from .names import SPLIT_NAMES, composed, fold

DEEPEST = 8


def pictures_below(base: Path) -> pd.Series:
    """All pictures below ``base``, relative to it, as on disk; the index has composed letters.

    Links to folders are followed, but not round in a loop.
    """
    found: list[str] = []
    walk(str(base), "", (), found)
    files = pd.Series(found, dtype=object)
    return files.set_axis(pd.Index(files.str.normalize("NFC")))


def walk(folder: str, above: str, parents: tuple[tuple[int, int], ...], found: list[str]) -> None:
    """Add the pictures in ``folder`` and below to ``found``, each name with ``above`` before it."""
    state = os.stat(folder)
    me = (state.st_dev, state.st_ino)
    if me in parents or len(parents) > DEEPEST:
        return
    content = inside(folder)
    found += [above + name for name in content.files if is_picture(name)]
    for name in content.folders:
        walk(f"{folder}/{name}", f"{above}{name}/", (*parents, me), found)


def folders_of(names: pd.Series) -> pd.Series:
    """The folder of each path, "" where it has none."""
    return names.str.replace(r"/?[^/]*$", "", regex=True)


def split_in(folder: str) -> str | None:
    """The split that a folder's path speaks of (``DATASET/train/1``), or None."""
    spoken = {SPLIT_NAMES[fold(part)] for part in folder.split("/") if fold(part) in SPLIT_NAMES}
    return spoken.pop() if len(spoken) == 1 else None


def with_suffix(names: pd.Series, there: pd.Series) -> tuple[pd.Series, list[str]]:
    """Names without any picture's suffix get the commonest one; and a note on it."""
    if any(map(is_picture, names)):
        return names, []
    suffixes = pd.Series([os.path.splitext(name)[1] for name in there], dtype=object)
    suffix = suffixes.mode().iloc[0] if len(suffixes) else ".jpg"
    return names + suffix, [f"the pictures' names have no suffix, {suffix} is taken"]


def placed(
    names: pd.Series,
    split: pd.Series,
    there: pd.Series,
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
    names, notes = with_suffix(names.str.normalize("NFC"), there)
    found = names.map(there.to_dict()).astype(object)
    lost = found.isna()
    if not lost.any():
        return found, notes
    ends = by_ending(names[lost], split[lost], there, path)
    found[lost] = ends.reindex(found.index[lost])
    gone = found.isna()
    above = [above_of(str(file), name) for file, name in zip(found[~gone], names[~gone])]
    folders = pd.Series(above, dtype=object).value_counts()
    if not {folder.lower() for folder in folders.index} <= {"", *expected}:
        shown = [f"{folder or './'} ({count})" for folder, count in folders.items()]
        notes.append(f"the pictures of {path.name} were found in {shortened(shown)}")
    if gone.any():
        usual = str(folders.index[0]) if len(folders) else ""
        first = int(gone.to_numpy().argmax())
        notes.append(
            f"{gone.sum()} of {len(names)} pictures that {path.name} names are not there "
            f"({place_of(names.index[first])}{names.iloc[first]}); looked for below "
            f"{base / usual}, where there is: {listing(base / usual)}"
        )
        found[gone] = usual + names[gone]
    return found, notes


def place_of(place: object) -> str:
    """``line 3: `` of an index that counts lines, else nothing."""
    line = place[-1] if isinstance(place, tuple) else place
    return f"line {line}: " if isinstance(line, int | np.integer) else ""


def above_of(file: str, name: str) -> str:
    """The folders that lie above ``name`` in ``file``, with a / at the end, or ""."""
    return composed(file).removesuffix(name)


def by_ending(names: pd.Series, split: pd.Series, there: pd.Series, path: Path) -> pd.Series:
    """The picture whose path ends in each name, where there is one; several are refused."""
    files = pd.DataFrame({"key": there.index, "file": there.to_numpy()})
    files["last"] = files["key"].str.rsplit("/", n=1).str[-1]
    folder = folders_of(files["key"])
    files["its"] = folder.map({one: split_in(one) for one in folder.unique()}).astype(object)
    wanted = pd.DataFrame({"name": names.to_numpy(), "split": split.to_numpy()}).astype(object)
    wanted["row"] = range(len(wanted))
    wanted["last"] = wanted["name"].str.rsplit("/", n=1).str[-1]
    both = wanted.merge(files, on="last")
    fits = [
        f"/{key}".endswith(f"/{name}") for key, name in zip(both["key"], both["name"], strict=True)
    ]
    known = both["its"].notna() & both["split"].notna()
    both = both[pd.Series(fits, both.index, dtype=bool) & ~(known & (both["its"] != both["split"]))]
    several = both["row"].duplicated(keep=False)
    if several.any():
        row = both[several].iloc[0]["row"]
        fitting = shortened(both.loc[both["row"] == row, "file"].to_list())
        bad = pd.Series(range(len(names)), names.index) == row
        message = f"may be {fitting}: write the folder into the name, or remove the others"
        refuse(bad, names, path, message)
    return pd.Series(both["file"].to_numpy(), names.index[both["row"]], dtype=object)

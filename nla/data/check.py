"""Is a data set whole?  Counts against the published ones, damaged and doubled images."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from .datasets import READERS
from .manifest import EXPRESSIONS, DataError
from .parsing import IMAGES, TWO_SPLITS
from .store import decoder

PUBLISHED = {  # in the canonical class order; FERPlus by rows (Microsoft's folders: rows with a face)
    "rafdb": {"train": (1290, 281, 717, 4772, 1982, 705, 2524), "test": (329, 74, 160, 1185, 478, 162, 680)},
    "fer2013": {"train": (3171, 4097, 436, 7215, 4830, 3995, 4965), "val": (415, 496, 56, 895, 653, 467, 607),
                "test": (416, 528, 55, 879, 594, 491, 626)},
    "ferplus": {"train": (28709,), "val": (3589,), "test": (3589,)},
    "ferplus folders": {"train": (28558,), "val": (3579,), "test": (3573,)},
    "affectnet": {"train": (14090, 6378, 3803, 134415, 25459, 24882, 74874, 3750), "test": (500,) * 8}}
WHOLE = {"fer2013": {"truth": False, "dedupe": False}, "ferplus": {"dedupe": False}}  # leave nothing out


class Report(NamedTuple):
    """``table``: split, class, expected, found, difference; ``problems`` fail the check, ``notes`` do not."""
    table: pd.DataFrame
    problems: list
    notes: list


def check(name, root, progress=lambda done, total: None):
    """Read the set ``name`` under ``root`` whole, decode every image, and compare with what was published.

    Problems: counts that differ, labels without image, images that cannot be decoded.  Notes: what the reader
    says, exact duplicates within and across splits, images without label.
    """
    if name not in READERS:
        raise DataError(f"no data set is called {name!r}; there are {', '.join(READERS)}")
    manifest = READERS[name](root, **WHOLE.get(name, {}))
    table, notes = counts(name, manifest), list(manifest.attrs["notes"])
    problems = [f"{split}: {part['found'].sum()} images, expected {part['expected'].sum()}; " + ", ".join(
        f"{row['class']} {row['difference']:+}" for _, row in part.iterrows() if row["difference"])
        for split, part in table.dropna().groupby("split", sort=False) if part["difference"].any()]
    names = manifest["path"] if "path" in manifest else "row " + manifest["row"].astype(str)
    if "path" in manifest:
        folders = {(Path(root) / path).parent for path in names}
        there = {file.relative_to(root).as_posix() for folder in folders if folder.is_dir()
                 for file in folder.iterdir() if file.suffix.lower() in IMAGES}
        problems += some("labels have no image", sorted(set(names) - there))
        notes += some("images have no label", sorted(there - set(names)))
        manifest = manifest[names.isin(there)]
    digests, damaged = inspect(root, manifest, progress)
    problems += some("images cannot be decoded", damaged)
    manifest = manifest.assign(digest=digests).dropna(subset="digest")
    across = manifest.groupby("digest")["split"].transform("nunique") > 1
    within = manifest.duplicated(["digest", "split"], keep=False)
    notes += some("images have an exact copy in another split", list(names[manifest.index[across]]))
    notes += some("images have an exact copy in their own split", list(names[manifest.index[within]]))
    return Report(table, problems, notes)


def counts(name, manifest):
    """Images per split and class (FERPlus: per split), with the published number where there is one."""
    key = "ferplus folders" if name == "ferplus" and "path" in manifest else name
    published = PUBLISHED.get(key, {split: (None,) * 8 for split in manifest["split"].unique()})
    split = manifest["split"]
    if TWO_SPLITS in manifest.attrs["notes"] and "val" in published:
        split = split.replace("test", "val")
    found = manifest.groupby([split, "label"]).size()
    if name == "ferplus":
        found = {(split, 0): number for split, number in manifest.attrs["rows"].items()}
    rows = [(split, "all" if name == "ferplus" else EXPRESSIONS[i], expected, found.get((split, i), 0))
            for split, numbers in published.items() for i, expected in enumerate(numbers)]
    table = pd.DataFrame(rows, columns=["split", "class", "expected", "found"]).astype({"expected": "Int64"})
    return table.assign(difference=table["found"] - table["expected"])


def some(what, names):
    """One sentence with the first few names, or none."""
    return [f"{len(names)} {what}: {'; '.join(names[:3])}{' ...' if names[3:] else ''}"] if names else []


def inspect(root, manifest, progress):
    """(a digest of each decoded image, None where damaged; what was said of the damaged ones)."""
    if not len(manifest):
        return [], []
    read, damaged, digests = decoder(root, manifest), [], []

    def look(i):
        try:
            pixels = read(i)
            return hashlib.blake2b(pixels.tobytes() + str(pixels.shape).encode(), digest_size=16).hexdigest()
        except DataError as error:
            damaged.append(str(error))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for digest in pool.map(look, range(len(manifest))):
            digests.append(digest)
            progress(len(digests), len(manifest))
    return digests, sorted(damaged)

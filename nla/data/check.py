"""Is a data set whole?  Counts against the published ones, damaged and doubled images."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from joblib import Parallel, delayed

from .datasets import reader
from .manifest import EXPRESSIONS, DataError
from .parsing import IMAGES, TWO_SPLITS
from .store import decoder

PUBLISHED = pd.read_csv(Path(__file__).with_name("published.csv"), comment="#").set_index(
    ["set", "split", "class"]
)
WHOLE = {
    "fer2013": {"truth": False, "dedupe": False},
    "ferplus": {"dedupe": False},
}  # leave nothing out


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
    manifest = reader(name)(root, **WHOLE.get(name, {}))
    table, notes = counts(name, manifest), list(manifest.attrs["notes"])
    problems = [
        f"{split}: {part['found'].sum()} images, expected {part['expected'].sum()}; "
        + ", ".join(
            f"{row['class']} {row['difference']:+}"
            for _, row in part.iterrows()
            if row["difference"]
        )
        for split, part in table.dropna().groupby("split", sort=False)
        if part["difference"].any()
    ]
    names = manifest["path"] if "path" in manifest else "row " + manifest["row"].astype(str)
    if "path" in manifest:
        folders = {(Path(root) / path).parent for path in names}
        there = {
            file.relative_to(root).as_posix()
            for folder in folders
            if folder.is_dir()
            for file in folder.iterdir()
            if file.suffix.lower() in IMAGES
        }
        problems += some("labels have no image", sorted(set(names) - there))
        notes += some("images have no label", sorted(there - set(names)))
        manifest = manifest[names.isin(there)]
    digests = inspect(root, manifest, progress)
    problems += some(
        "images cannot be decoded", sorted(said for digest, said in digests if not digest)
    )
    manifest = manifest.assign(digest=[digest for digest, _ in digests]).dropna(subset="digest")
    across = manifest.groupby("digest")["split"].transform("nunique") > 1
    within = manifest.duplicated(["digest", "split"], keep=False)
    notes += some("images have an exact copy in another split", list(names[manifest.index[across]]))
    notes += some(
        "images have an exact copy in their own split", list(names[manifest.index[within]])
    )
    return Report(table, problems, notes)


def counts(name, manifest):
    """Images per split and class (FERPlus: per split), with the published number where there is one."""
    split, label = manifest["split"], manifest["label"].map(dict(enumerate(EXPRESSIONS)))
    if name == "fer2013" and TWO_SPLITS in manifest.attrs["notes"]:
        split = split.replace("test", "val")  # as published
    found = manifest.groupby([split, label]).size()
    if name == "ferplus":
        found = pd.Series(
            {(split, "all"): number for split, number in manifest.attrs["rows"].items()}
        )
    key = "ferplus folders" if name == "ferplus" and "path" in manifest else name
    known = key in PUBLISHED.index.get_level_values("set")
    expected = PUBLISHED["count"][key] if known else pd.Series(pd.NA, found.index)
    table = pd.DataFrame(
        {"expected": expected, "found": found.reindex(expected.index, fill_value=0)}
    ).astype("Int64")
    return (
        table.assign(difference=table["found"] - table["expected"])
        .rename_axis(["split", "class"])
        .reset_index()
    )


def some(what, names):
    """One sentence with the first few names, or none."""
    return (
        [f"{len(names)} {what}: {'; '.join(names[:3])}{' ...' if names[3:] else ''}"]
        if names
        else []
    )


def inspect(root, manifest, progress):
    """For each image (a digest of its pixels, None), or (None, what was said of it) where it is damaged."""

    def look(i):
        try:
            pixels = read(i)
            return hashlib.blake2b(
                pixels.tobytes() + str(pixels.shape).encode(), digest_size=16
            ).hexdigest(), None
        except DataError as error:
            return None, str(error)

    read, looked = decoder(root, manifest) if len(manifest) else None, []
    for result in Parallel(-1, "threading", return_as="generator", batch_size=64)(
        delayed(look)(i) for i in range(len(manifest))
    ):
        looked.append(result)
        progress(len(looked), len(manifest))
    return looked

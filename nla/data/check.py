"""Is a data set whole, and can it be trained on?  Counts against the published ones, damage,
copies.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from .datasets import reader
from .decoding import ABSENT, decoder
from .ferplus import fer2013_csv
from .folders import inside, is_picture
from .gathering import Decoding, Facts, Progress, gather, silent
from .manifest import DataError, class_names, data_root
from .parsing import TWO_SPLITS
from .pixels import assumptions
from .tables import UNLISTED

PUBLISHED = pd.read_csv(Path(__file__).with_name("published.csv"), comment="#").set_index(
    ["set", "split", "class"]
)
WHOLE = {  # options that leave nothing out
    "fer2013": {"truth": False, "dedupe": False},
    "ferplus": {"dedupe": False},
}
LISTS = (".csv", ".txt", ".npy", ".gz")  # files with labels, not with images
NAME = re.compile(r"[^\s,;\"'/\\]+\.(?:jpe?g|png|bmp|webp|tiff?)\b", re.IGNORECASE)
SHOWN = 10  # names in a sentence; ``Report.files`` has all


class Report(NamedTuple):
    """What :func:`check` found.

    ``table``: split, class, expected, found, difference.  ``problems`` fail the check, ``notes`` do
    not.  ``files``: file, where (row or line), wrong; every image that is not there, cannot be
    decoded or has an exact copy.
    """

    table: pd.DataFrame
    problems: list[str]
    notes: list[str]
    files: pd.DataFrame


def check(
    name: str,
    root: str | Path | None = None,
    progress: Progress = silent,
    **options: object,
) -> Report:
    """Read the set ``name`` under ``root`` whole, decode every image, and compare with what was
    published.

    Problems: counts that differ, labels without image, images that cannot be decoded, and whatever
    training would refuse.  Notes: what the reader says, exact copies within and across splits and
    with another label, images without label, files that are not read.  ``options`` go to the
    reader; ``progress(done, total)`` counts images.
    """
    root = data_root(root)
    asked = WHOLE.get(name, {}) | options
    manifest = reader(name)(root, **asked)
    table = counts(name, manifest, options)
    facts, faults = gather(Decoding(decoder(root, manifest), len(manifest)), progress)
    listed = named(root, manifest, facts)
    there = facts["channels"] > 0
    damage = listed[~there].assign(wrong=[fault.wrong for fault in faults]).astype(object)
    absent = damage["wrong"] == ABSENT
    undecoded = damage[~absent]
    said = undecoded["name"] + ", " + undecoded["where"] + ": " + undecoded["wrong"]
    unlisted = [note for note in manifest.attrs["notes"] if note.startswith(UNLISTED)]
    problems = [
        *differences(table),
        *untrainable(name, root, manifest, options),
        *unlisted,
        *some("labels have no image", damage.loc[absent, "file"]),
        *some("images cannot be decoded", said),
    ]
    twice = copies(listed[there])
    notes = [
        *(note for note in manifest.attrs["notes"] if note not in unlisted),
        *assumptions(facts[there]),
        *copies_told(twice),
        *(strays(root, manifest["path"]) if "path" in manifest else ()),
    ]
    files = pd.concat([damage, twice], ignore_index=True)
    return Report(table, problems, notes, files[["file", "where", "wrong"]])


def named(root: str | Path, manifest: pd.DataFrame, facts: Facts) -> pd.DataFrame:
    """For each image: file, where (row or line), name in a sentence, split, label and digest."""
    names = class_names(manifest)
    listed = manifest[["split"]].assign(digest=facts["digest"])
    listed["label"] = [names[label] for label in manifest["label"]]
    if "path" in manifest:
        listed["file"] = manifest["path"]
        listed["name"] = manifest["path"]
        listed["where"] = [f"row {row}" for row in manifest.index]
    else:
        listed["file"] = str(fer2013_csv(root))
        lines = manifest["row"] + 2
        listed["where"] = [f"line {line}" for line in lines]
        listed["name"] = listed["where"]
    return listed


def differences(table: pd.DataFrame) -> list[str]:
    """A sentence for each split whose counts are not the published ones."""
    said = []
    for split, part in table.dropna().groupby("split", sort=False):
        unlike = part[part["difference"] != 0]
        if len(unlike):
            by_class = unlike["class"] + " " + unlike["difference"].map("{:+}".format)
            found = part["found"].sum()
            expected = part["expected"].sum()
            detail = ", ".join(by_class)
            said.append(f"{split}: {found} images, expected {expected}; {detail}")
    return said


def untrainable(
    name: str, root: str | Path, manifest: pd.DataFrame, options: dict[str, object]
) -> list[str]:
    """Why training would refuse the set, in sentences."""
    if name in WHOLE:  # training does not read it whole
        try:
            manifest = reader(name)(root, **options)
        except DataError as error:
            return [f"training would refuse it: {error}"]
    said = [
        f"there are no {split} images: training would refuse it"
        for split in ("train", "test")
        if split not in set(manifest["split"])
    ]
    labels = manifest.loc[manifest["split"] == "train", "label"].unique()
    if len(labels) == 1:
        only = class_names(manifest)[labels[0]]
        said.append(f"the training images are all of one class, {only}: there is nothing to learn")
    return said


def counts(name: str, manifest: pd.DataFrame, options: dict[str, object]) -> pd.DataFrame:
    """Images per split and class (FERPlus: per split), with the published number where there is
    one.
    """
    split = manifest["split"]
    label = manifest["label"].map(dict(enumerate(class_names(manifest))))
    if name == "fer2013" and TWO_SPLITS in manifest.attrs["notes"]:
        split = split.replace("test", "val")  # as published
    found = manifest.groupby([split, label]).size()
    if name == "ferplus":
        rows = pd.Series(manifest.attrs["rows"])
        found = pd.concat({"all": rows}).swaplevel()
    key = "ferplus folders" if name == "ferplus" and "path" in manifest else name
    if key in PUBLISHED.index.get_level_values("set"):
        expected = PUBLISHED["count"][key]
    else:
        expected = pd.Series(pd.NA, found.index)
    if options.get("classes") == 7:
        expected = expected.drop("contempt", level="class", errors="ignore")
    table = pd.DataFrame(
        {"expected": expected, "found": found.reindex(expected.index, fill_value=0)}
    ).astype("Int64")
    table["difference"] = table["found"] - table["expected"]
    return table.rename_axis(["split", "class"]).reset_index()


def copies(listed: pd.DataFrame) -> pd.DataFrame:
    """The images that have exact copies: whether across or within splits, unlike in label, and what
    is ``wrong``.
    """
    twice = listed[listed.duplicated("digest", keep=False)].copy()
    groups = twice.groupby("digest", sort=False)
    twice["across"] = groups["split"].transform("nunique") > 1
    twice["within"] = twice.duplicated(["digest", "split"], keep=False)
    twice["unlike"] = groups["label"].transform("nunique") > 1
    told = twice.astype(object)
    each = told["name"] + " (" + told["split"] + ", " + told["label"] + ")"
    alike = each.groupby(twice["digest"])
    twice["copies"] = alike.transform(lambda names: " = ".join(names[:SHOWN])).astype(object)
    label = np.where(twice["unlike"], "another", "the same")
    twice["wrong"] = "exact copy with " + label + " label: " + twice["copies"]
    return twice


def copies_told(twice: pd.DataFrame) -> list[str]:
    """Sentences that count the exact copies."""
    pictures = twice[twice["unlike"]].drop_duplicates("digest")["copies"]
    return [
        *some("images have an exact copy in another split", twice.loc[twice["across"], "name"]),
        *some("images have an exact copy in their own split", twice.loc[twice["within"], "name"]),
        *some("pictures have an exact copy with another label", pictures),
    ]


def strays(root: str | Path, paths: pd.Series) -> list[str]:
    """What lies among the images ``paths`` and is not read: images without a label and other files,
    in sentences.
    """
    folders = {os.path.dirname(path) for path in paths}
    top = Path(root, os.path.commonpath(list(folders)))
    below = {os.path.relpath(walked[0], root) for walked in os.walk(top)}
    images, others = set(), Counter[str]()
    for folder in {os.path.normpath(folder) for folder in folders} | below:
        for name in inside(Path(root, folder)).files:
            suffix = Path(name).suffix.lower()
            if is_picture(name):
                images.add(Path(folder, name).as_posix())
            elif suffix not in LISTS:
                others[suffix or name] += 1
    unused = sorted(images - set(paths))
    in_lists = listed_names(root) if unused else set()
    left_out = [path for path in unused if is_listed(Path(root, path), in_lists)]
    unlabelled = sorted(set(unused) - set(left_out))
    said = some("images are left out by the protocol", left_out)
    said += some("images have no label", unlabelled)
    if others:
        counted = [f"{kind} {number}" for kind, number in others.most_common(SHOWN)]
        kinds = ", ".join(counted)
        said.append(f"{others.total()} files are not read, by suffix: {kinds}")
    return said


def listed_names(root: str | Path) -> set[str]:
    """The names of images in the csv and txt files under ``root``, down to the third level."""
    names: set[str] = set()
    for pattern in ("*", "*/*", "*/*/*"):
        for file in Path(root).glob(pattern):
            if file.suffix.lower() in (".csv", ".txt"):
                with open(file, encoding="utf-8", errors="replace") as lines:
                    names.update(name for line in lines for name in NAME.findall(line))
    return names


def is_listed(image: Path, names: set[str]) -> bool:
    """Whether an image has a label, by its name in a list or by a file of its own as AffectNet has
    them.
    """
    own = image.parent.parent / "annotations" / f"{image.stem}_exp.npy"
    return image.name in names or own.exists()


def some(what: str, names: Iterable[str]) -> list[str]:
    """One sentence with the first few names, or none."""
    every = list(names)
    if not every:
        return []
    first = "; ".join(every[:SHOWN])
    unnamed = len(every) - SHOWN
    more = f"; and {unnamed} more" if unnamed > 0 else ""
    return [f"{len(every)} {what}: {first}{more}"]

"""RAF-DB's basic set (Li, Deng and Du, CVPR 2017), in the layouts that people have."""

from pathlib import Path

import pandas as pd

from .corruption import relabel
from .folders import files, find, listing, locate, matching, prefix
from .manifest import EXPRESSIONS, DataError, data_root
from .names import SPLIT_NAMES, codes, fold, order_note, splits
from .parsing import finish, label_list
from .placing import pictures_below, placed
from .tables import Listed, csv_rows
from .trees import class_folders, class_layout, class_tree, loose_splits

RAFDB = EXPRESSIONS[:7]
NAMES = ("rafdb", "raf-db", "raf_db", "raf", "basic", "raf-basic", "dataset")
LISTS = (
    *("EmoLabel/list_patition_label.txt", "list_patition_label.txt"),
    *("*/list_patition_label.txt", "EmoLabel/list_partition_label.txt"),
)
CSVS = ("*train*.csv", "*label*.csv")


def read_rafdb(root: str | Path | None = None, labels: str | Path | None = None) -> pd.DataFrame:
    """RAF-DB basic: 12,271 training and 3,068 test faces, 100 x 100, aligned, 7 classes.

    Layouts: the official ``EmoLabel/list_patition_label.txt`` with ``Image/aligned`` (or
    ``Image/original``); the ``train/1..7/*.jpg`` tree, whose csv files only repeat it; or pictures
    with ``train_labels.csv`` and ``test_labels.csv`` (image, label from 1).  ``labels``: another
    list for the training images, such as the literature's noise files
    (:func:`nla.data.corruption.relabel`).
    """
    root = data_root(root)
    base, layout = locate(
        root,
        "RAF-DB",
        NAMES,
        files(*LISTS)._replace(said="EmoLabel/list_patition_label.txt"),
        class_layout("train/1/*.jpg", RAFDB, 1),
        files(*CSVS)._replace(said="train_labels.csv"),
    )
    if layout == 0:
        manifest = rafdb_list(root, base, matching(base, *LISTS)[0])
    elif layout == 1:
        frame, notes = rafdb_tree(root, base)
        manifest = rafdb_numbers(frame, base, notes)
    else:
        listed = csv_rows(root, base)
        manifest = rafdb_numbers(listed.rows, base, listed.notes)
    if labels:
        manifest = relabel(manifest, labels).reset_index(drop=True)
    return manifest


def rafdb_list(root: Path, base: Path, path: Path) -> pd.DataFrame:
    """The official list: ``train_00001.jpg 5``, its pictures aligned, or else the original ones."""
    labels = label_list(path, RAFDB)
    names = labels.index.to_series()
    split = splits(names.str.split("_").str[0], path)
    there = pictures_below(base)
    called = {fold(key.rpartition("/")[2]) for key in there}
    aligned = names.str.replace(r"(\.[^.]*)$", r"_aligned\1", regex=True)
    if called & set(map(fold, aligned)):
        names = aligned
    elif not called & set(map(fold, names)):
        raise DataError(
            f"{base}: no images that {path.name} names; unpack them into Image/aligned or "
            f"Image/original. Found: {listing(base)}; in Image: {listing(base / 'Image')}"
        )
    usual = ("image/aligned/", "aligned/", "image/original/", "original/")
    found, notes = placed(names, split, there, base, path, usual)
    manifest = pd.DataFrame(
        {
            "path": prefix(base, root) + found.to_numpy(object),
            "label": labels.to_numpy(),
            "split": split.to_numpy(),
        }
    )
    return finish(manifest, notes)


def rafdb_tree(root: Path, base: Path) -> Listed:
    """Class folders; or, where a split's pictures lie in none, the csv files if they label all."""
    found = class_folders(base)
    loose = {SPLIT_NAMES[fold(name)] for name in loose_splits(base, found)}
    listed = find(root, NAMES, files(*CSVS)) if loose else None
    if listed:
        rows, notes = csv_rows(root, listed[0])
        given = {SPLIT_NAMES[fold(one.split)] for one in found if one.split is not None}
        if given | loose <= set(rows.get("split", ())):
            return Listed(rows, [*notes, "labels are those of the csv files"])
    return Listed(*class_tree(root, base))


def rafdb_numbers(rows: pd.DataFrame, base: Path, notes: list[str]) -> pd.DataFrame:
    """Rows whose label is a number from 1 in RAF-DB's order, or a name."""
    labels = codes(rows["label"], RAFDB, base, 1)
    said = order_note(rows["label"], labels, RAFDB, RAFDB, "RAF-DB's order")
    return finish(rows.assign(label=labels), [*notes, *said])

"""AffectNet (Mollahosseini, Hasani and Mahoor, 2019), in the layouts that people have."""

from pathlib import Path

import numpy as np
import pandas as pd

from .folders import Layout, files, inside, is_picture, locate, matching, prefix, shortened
from .manifest import EXPRESSIONS, data_root
from .names import codes, order_note, refuse_from_one, splits
from .parsing import finish, left_out, table
from .placing import pictures_below
from .tables import (
    IMAGE_COLUMNS,
    LABEL_COLUMNS,
    Listed,
    csv_rows,
    gathered,
    lists_in,
    rows_of,
)
from .trees import class_layout, class_tree

AFFECTNET = (
    "neutral",
    "happiness",
    "sadness",
    "surprise",
    "fear",
    "disgust",
    "anger",
    "contempt",
    "none",
    "uncertain",
    "no face",
)
AFFECTNET_CSV = (
    "subDirectory_filePath",
    "face_x",
    "face_y",
    "face_width",
    "face_height",
    "facial_landmarks",
    "expression",
    "valence",
    "arousal",
)
NAMES = ("affectnet", "affect-net", "affectnet-hq", "manually_annotated")
OFFICIAL = tuple(
    f"{folder}{name}.csv"
    for folder in ("", "*/", "*/Manually_Annotated_file_lists/")
    for name in ("training", "validation")
)
FOLDERS = class_layout("train/0/*.jpg or train/neutral/*.jpg", AFFECTNET, 0)


def read_affectnet(root: str | Path | None = None, classes: int = 8) -> pd.DataFrame:
    """AffectNet: 287,651 training and 4,000 validation faces in eight classes.

    Layouts: the manual ``training.csv`` and ``validation.csv`` (face boxes become ``box_*``, cut
    out when decoded); the folders ``train_set/images`` and ``train_set/annotations/*_exp.npy``; any
    csv that :func:`nla.data.read_csv` takes, numbered in AffectNet's order; or class folders
    (``train/0..7`` or by name).  A csv beside class folders is the better source and is taken.
    ``classes`` 7 leaves contempt out (283,901 and 3,500); rows marked none, uncertain or no face
    are left out.  The validation set is the test.
    """
    root = data_root(root)
    base, layout = locate(
        root,
        "AffectNet",
        NAMES,
        files("train_set/annotations", "val_set/annotations"),
        Layout(
            "Manually_Annotated_file_lists/training.csv",
            lambda base: any(map(is_official, matching(base, *OFFICIAL))),
        ),
        files("*.csv")._replace(said="a csv with columns path and label (or expression)"),
        FOLDERS,
    )
    if layout == 0:
        frame, notes = affectnet_arrays(root, base)
    elif layout == 1:
        frame, notes = affectnet_lists(root, base)
    else:
        frame, notes = csv_or_folders(root, base)
        remedy = "count them from 0, or write names in place of numbers"
        refuse_from_one(frame["label"], base, 7, remedy)
    labels = codes(frame["label"], AFFECTNET, base)
    if layout > 1:
        whose = "AffectNet's own order"
        notes = [*notes, *order_note(frame["label"], labels, AFFECTNET, EXPRESSIONS, whose)]
    manifest, gone = left_out(
        frame.assign(label=labels),
        {
            "are marked none, uncertain or no face": labels < 0,
            f"are contempt, not among the {classes} classes": labels >= classes,
        },
    )
    return finish(manifest, [*gone, *notes])


def no_expression(labels: pd.Series) -> pd.Series:
    """Which labels are none, uncertain or no face: these rows need no box."""
    return codes(labels, AFFECTNET, "") < 0


def affectnet_arrays(root: Path, base: Path) -> Listed:
    """AffectNet's folder release: one small npy file with the label for each image."""
    rows = []
    places = []
    without: list[str] = []
    for folder in matching(base, "*_set"):
        images = prefix(folder, root) + "images/"
        named = {Path(name).stem: name for name in inside(folder / "images").files}
        for file in matching(folder, "annotations/*_exp.npy"):
            stem = file.stem.removesuffix("_exp")
            name = named.get(stem, f"{stem}.jpg")
            rows.append((images + name, label_in(file), folder.name))
            places.append(str(file))
        read = {name for name, _, _ in rows}
        there = [images + name for name in inside(folder / "images").files if is_picture(name)]
        without += [name for name in there if name not in read]
    frame = pd.DataFrame(rows, places, ["path", "label", "split"], dtype=object)
    notes = []
    if without:
        notes.append(f"{len(without)} pictures have no _exp.npy: not read: {shortened(without)}")
    return Listed(frame.assign(split=splits(frame["split"], base)), notes)


def label_in(file: Path) -> str:
    """The label in a npy file, "" if it is damaged."""
    try:
        with open(file, "rb") as stream:
            text = str(np.lib.format.read_array(stream).item())
        return "".join(text)  # letter by letter: numpy takes any bytes for letters
    except Exception:  # a damaged file can make numpy, and Python's text, raise anything
        return ""


def first_line(path: Path) -> str:
    """The first line of a text in small letters; a damaged file has none."""
    with open(path, "rb") as stream:
        return stream.readline(4096).decode("utf-8-sig", "replace").strip().lower()


def is_official(path: Path) -> bool:
    """Whether a csv is one of AffectNet's lists, with its header or, as some releases, without."""
    line = first_line(path)
    return AFFECTNET_CSV[0].lower() in line or line.count(",") == len(AFFECTNET_CSV) - 1


def affectnet_lists(root: Path, base: Path) -> Listed:
    """AffectNet's manual lists: image, face box and label (some releases lack one's header)."""
    parts = {}
    for path in filter(is_official, matching(base, *OFFICIAL)):
        header = AFFECTNET_CSV[0].lower() in first_line(path)
        parts[path] = rows_of(table(path, AFFECTNET_CSV, header), path, no_expression).rows
    there = pictures_below(base)
    marked = "manually_annotated_images/"
    own = {key: name for key, name in there.items() if marked in key.lower()}
    expected = (marked, f"manually_annotated/{marked}")
    return gathered(root, base, parts, [], own or there, expected)


def csv_or_folders(root: Path, base: Path) -> Listed:
    """The labels of the csv files, which are the better ones, or else the class folders' names."""
    folders = FOLDERS.here(base)
    tables = lists_in(base)[0]
    if folders and not any(map(is_usable, tables)):
        return Listed(*class_tree(root, base))
    rows, notes = csv_rows(root, base, no_expression)
    if folders:
        notes = [*notes, "labels are those of the csv; the class folders' names are not used"]
    return Listed(rows, notes)


def is_usable(path: Path) -> bool:
    """Whether a csv has a column for the image and one for the label."""
    columns = {column.strip(' "') for column in first_line(path).split(",")}
    return bool(columns & set(IMAGE_COLUMNS)) and bool(columns & set(LABEL_COLUMNS))

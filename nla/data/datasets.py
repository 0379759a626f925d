"""Readers: from a downloaded folder, whatever its layout, to a manifest in the canonical class order.

Every reader takes ``root``, the data set's own folder or the one above it, finds out which layout lies there and
returns a manifest (:mod:`nla.data.manifest`) with the index 0..n-1.  Pixels are not decoded here: ``path`` is relative
to ``root``, ``row`` counts the rows of ``fer2013.csv``.  What a protocol left out is told in sentences, the list
``manifest.attrs["notes"]``.  Without a third split the second is the test.  Anything that cannot be read right is a
:class:`DataError` naming file, line and remedy.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from .corruption import relabel
from .ferplus import read_fer2013, read_ferplus
from .manifest import EXPRESSIONS, DataError
from .parsing import (
    class_tree,
    codes,
    finish,
    label_list,
    left_out,
    locate,
    refuse,
    safe,
    split_of,
    splits,
    table,
)

RAFDB = EXPRESSIONS[:7]
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


def read_rafdb(root, labels=None):
    """RAF-DB basic (Li et al. 2017): 12,271 training and 3,068 test faces, 100 x 100, aligned, 7 classes.

    Layouts: the official ``EmoLabel/list_patition_label.txt`` with ``Image/aligned`` (or ``Image/original``), or the
    ``train/1..7/*.jpg`` tree, whose csv files only repeat it.  ``labels``: another list for the training images, such
    as the literature's noise files (:func:`nla.data.corruption.relabel`).
    """
    base, layout = locate(
        root,
        "RAF-DB",
        ("rafdb", "raf-db", "raf_db", "basic", "raf-basic", "dataset"),
        ("EmoLabel/list_patition_label.txt",),
        ("list_patition_label.txt",),
        ("train/1/*",),
    )
    if layout == 2:
        manifest = finish(class_tree(root, base, RAFDB, first=1))
    else:
        path = base / ("EmoLabel/list_patition_label.txt", "list_patition_label.txt")[layout]
        listed = label_list(path, RAFDB)
        folder = next(
            (
                base / name
                for name in ("Image/aligned", "aligned", "Image/original", "original")
                if (base / name).is_dir()
            ),
            None,
        )
        if folder is None:
            raise DataError(f"{base}: no images; unpack them into Image/aligned or Image/original")
        split = splits(listed.index.to_series().str.split("_").str[0], path)
        file = (
            listed.index.str.replace(".jpg", "_aligned.jpg")
            if folder.name == "aligned"
            else listed.index
        )
        manifest = finish(
            pd.DataFrame(
                {
                    "path": folder.relative_to(root).as_posix() + "/" + file,
                    "label": listed.to_numpy(),
                    "split": split.to_numpy(),
                }
            )
        )
    return relabel(manifest, labels) if labels else manifest


def read_affectnet(root, classes=8):
    """AffectNet (Mollahosseini et al. 2019): 287,651 training and 4,000 validation faces in eight classes.

    Layouts: the manual ``training.csv`` and ``validation.csv`` (face boxes become ``box_*``, cut out when decoded), the
    folders ``train_set/images`` and ``train_set/annotations/*_exp.npy``, or any csv that :func:`read_csv` takes,
    numbered in AffectNet's order.  ``classes`` 7 leaves contempt out (283,901 and 3,500); rows marked none, uncertain
    or no face are left out.  The validation set is the test.
    """
    base, layout = locate(
        root,
        "AffectNet",
        ("affectnet", "manually_annotated"),
        ("train_set/annotations",),
        ("Manually_Annotated_file_lists/training.csv", "training.csv"),
        ("*.csv",),
    )
    frame = (affectnet_arrays, affectnet_lists, csv_rows)[layout](
        root, base, AFFECTNET
    ).reset_index(drop=True)
    return finish(
        *left_out(
            frame,
            {
                "are marked none, uncertain or no face": frame["label"] < 0,
                f"are contempt, not among the {classes} classes": frame["label"] >= classes,
            },
        )
    )


def affectnet_arrays(root, base, order):
    """AffectNet's folder release: one small npy file with the label for each image."""
    files, labels = sorted(base.glob("*_set/annotations/*_exp.npy")), []
    for file in files:
        try:
            with open(file, "rb") as stream:
                labels.append(str(np.lib.format.read_array(stream).item()))
        except Exception:  # a damaged header can make numpy raise anything
            labels.append("")
    labels = codes(
        pd.Series(labels, index=[str(file) for file in files], dtype=object), order, base
    )
    folders = pd.Series(
        [file.parents[1].relative_to(root).as_posix() for file in files], labels.index, dtype=object
    )
    names = [file.name.replace("_exp.npy", ".jpg") for file in files]
    return pd.DataFrame(
        {
            "path": folders + "/images/" + names,
            "label": labels,
            "split": splits(folders.str.split("/").str[-1], base),
        }
    )


def affectnet_lists(root, base, order):
    """AffectNet's manual lists: image, face box and label (some releases lack the second's header)."""
    images, parts = (
        ("Manually_Annotated_Images", "Manually_Annotated/Manually_Annotated_Images"),
        [],
    )
    folder = next((base / name for name in images if (base / name).is_dir()), base)
    for path in sorted(
        [
            *base.glob("training.csv"),
            *base.glob("validation.csv"),
            *base.glob("Manually_Annotated_file_lists/*.csv"),
        ]
    ):
        with open(path, "rb") as file:
            header = AFFECTNET_CSV[0].encode() in file.read(200)
        frame = table(path, AFFECTNET_CSV, header)
        part = pd.DataFrame(
            {"label": codes(frame["expression"], order, path), "split": split_of(path)}
        )
        part["path"] = (
            folder.relative_to(root).as_posix() + "/" + safe(frame["subDirectory_filePath"], path)
        )
        for side in ("x", "y", "width", "height"):
            given = frame["face_" + side]
            part["box_" + side] = pd.to_numeric(given, errors="coerce").fillna(-1e9).astype("int64")
            refuse(
                (part["label"] >= 0) & ~part["box_" + side].between(-(10**5), 10**5),
                given,
                path,
                f"is no face_{side} in pixels",
            )
        parts.append(part)
    return pd.concat(parts)


def csv_rows(root, base, order):
    """Rows of all csv files in ``base`` that name an image and a label: path, label, split."""
    parts = []
    for path in sorted(base.glob("*.csv")):
        frame = table(path, ()).rename(columns=str.lower)
        image, label, split = (
            next((name for name in names if name in frame), None)
            for names in (
                ("path", "image", "file", "filename", "subdirectory_filepath"),
                ("label", "expression", "emotion"),
                ("split", "usage", "phase"),
            )
        )
        if image is None or label is None:
            raise DataError(
                f"{path}, line 1: expected columns path and label (or expression), separated by "
                f"commas; found {', '.join(frame.columns)[:200]}"
            )
        paths = safe(frame[image], path).map(base.relative_to(root).joinpath).map(Path.as_posix)
        parts.append(
            pd.DataFrame(
                {
                    "path": paths,
                    "label": codes(frame[label], order, path),
                    "split": splits(frame[split], path) if split else split_of(path),
                }
            )
        )
    if not parts:
        raise DataError(
            f"{base}: no csv file here; expected one with columns path, label and perhaps split"
        )
    frame = pd.concat(parts)
    return hold_out(frame.assign(split="train")) if frame["split"].isna().all() else frame


def hold_out(frame, split="test", share=0.2, seed=0):
    """Move a share (0..1) of each label's training rows, drawn with ``seed``, to another split; a new frame."""
    moved = (frame["split"] == "train").to_numpy(
        copy=True
    )  # first all that could be, then those that are
    place = pd.Series(np.random.default_rng(seed).random(moved.sum()))
    moved[moved] = place.groupby(frame["label"].to_numpy()[moved]).rank(pct=True) <= share
    return frame.assign(split=frame["split"].mask(moved, split))


def read_folder(root):
    """Anybody's images as ``<split>/<class>/<image>`` or ``<class>/<image>``, classes by name (happy, ...).

    Without split folders a fifth of each class, drawn with a fixed seed, is the test.
    """
    frame = class_tree(root, Path(root), EXPRESSIONS)
    return finish(frame if "split" in frame else hold_out(frame.assign(split="train")))


def read_csv(root):
    """Anybody's csv files in ``root``: columns path (or image, file), label (or expression), split (or usage).

    Labels are names or integers from 0 in the canonical order; paths are relative to ``root``.  Without a split column
    the file's name decides (``train.csv``), else a fifth of each class is drawn as the test.
    """
    return finish(csv_rows(root, Path(root), EXPRESSIONS))


READERS = {
    "rafdb": read_rafdb,
    "fer2013": read_fer2013,
    "ferplus": read_ferplus,
    "affectnet": read_affectnet,
    "folder": read_folder,
    "csv": read_csv,
}


def reader(name):
    """The reader of the set ``name``; a DataError that lists the names if there is none."""
    if name not in READERS:
        raise DataError(f"no data set is called {name!r}; there are {', '.join(READERS)}")
    return READERS[name]

"""Anybody's own pictures: class folders, csv files, plain lists; expressions or own classes."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from .folders import Layout, find
from .manifest import DataError, data_root
from .names import name_classes
from .parsing import finish
from .tables import csv_rows, lists_in
from .trees import class_tree


def read_folder(root: str | Path | None = None, classes: Sequence[str] = ()) -> pd.DataFrame:
    """Images as ``<split>/<class>/<image>`` or ``<class>/<image>``, in any case, maybe nested.

    Class folders called by expressions (happy, Afraid, 3_surprise) have the canonical order; other
    names are classes of the set's own, in natural order, or as ``classes`` names them.  Without
    split folders a fifth of each class, drawn with a fixed seed, is the test.
    """
    root = data_root(root)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; give the folder that holds the class folders")
    frame, notes = class_tree(root, root)
    labels = name_classes(frame["label"], root, classes, numbered=False)
    frame["label"] = labels.values
    return finish(frame, [*notes, *labels.notes], labels.own, root)


def read_csv(root: str | Path | None = None, classes: Sequence[str] = ()) -> pd.DataFrame:
    """The csv files in ``root``: columns path (or image, file), label, perhaps split and a box.

    Without a csv: plain lists (``*.txt``) of ``path label``.  Labels are expressions by name, or
    integers from 0 in the canonical order, or names of the set's own; ``classes`` gives these in
    their order, and then integers from 0 or 1 are read in it.  Paths are relative to ``root``, or
    ends of paths below it.  Without a split column the file's name decides (``train.csv``), else
    the pictures' folders (``train/1.jpg``), else a fifth of each class is drawn as the test.
    """
    root = data_root(root)
    layout = Layout("a csv or a list of 'path label'", lambda base: bool(lists_in(base)[0]))
    found = find(root, (), layout)
    listed = csv_rows(root, found[0] if found else root)
    rows = listed.rows
    labels = name_classes(rows["label"], root, classes)
    rows["label"] = labels.values
    return finish(rows, [*listed.notes, *labels.notes], labels.own, root)

"""The manifest: one row per image, the only thing the rest of the kit knows about a data set.

Columns: ``path`` or ``row`` (where the pixels are), ``label`` and ``true_label`` (integers from 0,
in the order of :func:`class_names`), ``split`` (train / val / test) and, where known, ``kind``
(clean / ambiguous / noisy), ``votes_<class>`` (human votes), ``p_<class>`` (the planted
distribution) and ``box_x``, ``box_y``, ``box_width``, ``box_height`` (the face in the picture).
``manifest.attrs["notes"]`` says in sentences what was assumed and left out;
``manifest.attrs["classes"]`` names the classes of a set that has its own.
"""

import os
from pathlib import Path

import pandas as pd

EXPRESSIONS = (
    "surprise",
    "fear",
    "disgust",
    "happiness",
    "sadness",
    "anger",
    "neutral",
    "contempt",
)
"""The canonical class order, RAF-DB's; sets with seven classes use the first seven."""

OWN_CLASSES = ("folder", "csv")  # sets that know no classes but those of the user
SPLITS = ("train", "val", "test")
KINDS = ("clean", "ambiguous", "noisy")
VOTERS = 10  # people who said what each image of FERPlus shows
CLEAR = 0.65  # and the share of them above which it is clean: seven in ten
TRUTH = "truth"  # in the place of a list of labels: the true ones
BOX = ("box_x", "box_y", "box_width", "box_height")


class DataError(ValueError):
    """Input that cannot be read right; the message names the file, the row and the remedy."""


def data_root(root: str | Path | None = None) -> Path:
    """The folder of data: ``root``; for None, "" and "data" what NLA_DATA_ROOT says, or data."""
    if root is None or str(root) in ("", "data"):
        return Path(os.environ.get("NLA_DATA_ROOT") or "data")
    return Path(root)


def refuse(bad: pd.Series, values: pd.Series, path: object, message: str) -> None:
    """Raise a DataError naming the first place where ``bad`` holds, and what is there.

    The index of ``bad`` says where: (file, line), or a line of ``path``, or a name below ``path``.
    """
    if not bad.any():
        return
    at = int(bad.to_numpy().argmax())
    place = bad.index[at]
    if isinstance(place, tuple):
        where = f"{place[0]}, line {place[1]}"
    elif pd.api.types.is_integer_dtype(bad.index):
        where = f"{path}, line {place}"
    else:
        where = f"{path}, {place}"
    raise DataError(f"{where}: {str(values.iloc[at])[:60]!r} {message}")


def class_names(manifest: pd.DataFrame) -> tuple[str, ...]:
    """The names of the classes in the order of the labels: a set's own, or 7 or 8 expressions."""
    own = manifest.attrs.get("classes")
    if own:
        return tuple(own)
    largest = int(manifest[["label", "true_label"]].to_numpy().max(initial=0))
    return EXPRESSIONS[: max(7, 1 + largest)]


def knows_truth(manifest: pd.DataFrame) -> bool:
    """Whether more than the given labels is known: ``kind``, or a true label that differs."""
    return "kind" in manifest or bool((manifest["label"] != manifest["true_label"]).any())


def validate(manifest: pd.DataFrame) -> pd.DataFrame:
    """Return ``manifest`` unchanged, or raise :class:`DataError` naming the first offending row.

    Labels are integers from 0 up to the number of classes: eight, or as many as
    ``attrs["classes"]`` names.
    """
    if manifest.empty:
        raise DataError("the manifest is empty: there is no image to train on or to score")
    names = tuple(manifest.attrs.get("classes") or EXPRESSIONS)
    for column in ("label", "true_label", "split"):
        if column not in manifest:
            found = list(manifest.columns)
            raise DataError(f"the manifest has no column {column!r}; it has {found}")
    for column in ("label", "true_label"):
        values = manifest[column]
        bad = ~values.isin(range(len(names)))
        if not pd.api.types.is_integer_dtype(values):
            bad[:] = True
        meaning = f"0 to {len(names) - 1}, integers, for {', '.join(names)}"
        first_bad(bad, values, meaning)
    first_bad(~manifest["split"].isin(SPLITS), manifest["split"], ", ".join(SPLITS))
    if "kind" in manifest:
        first_bad(~manifest["kind"].isin(KINDS), manifest["kind"], ", ".join(KINDS))
    return manifest


def first_bad(bad: pd.Series, values: pd.Series, expected: str) -> None:
    """Raise a DataError naming the first row where ``bad`` holds."""
    if bad.any():
        at = int(bad.to_numpy().argmax())
        value = str(values.iloc[at])[:60]
        raise DataError(f"row {bad.index[at]}: {values.name} is {value!r}, expected {expected}")

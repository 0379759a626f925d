"""The manifest: one row per image, the only thing the rest of the kit knows about a data set.

Columns: ``path`` or ``row`` (where the pixels are), ``label`` and ``true_label`` (integers from 0 in
the canonical order below), ``split`` (train / val / test) and, where known, ``kind`` (clean /
ambiguous / noisy), ``votes_<class>`` (human votes) and ``p_<class>`` (the planted distribution).
"""

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

SPLITS = ("train", "val", "test")
KINDS = ("clean", "ambiguous", "noisy")
ALLOWED = {
    "label": range(len(EXPRESSIONS)),
    "true_label": range(len(EXPRESSIONS)),
    "split": SPLITS,
    "kind": KINDS,
}


class DataError(ValueError):
    """Input that cannot be read right; the message names the file, the row and the remedy."""


def class_names(manifest: pd.DataFrame) -> tuple[str, ...]:
    """The names of the classes, in the order of the labels: a set's own, or the seven or eight expressions."""
    if own := manifest.attrs.get("classes"):
        return tuple(own)
    largest = int(manifest[["label", "true_label"]].to_numpy().max(initial=0))
    return EXPRESSIONS[: max(7, 1 + largest)]


def knows_truth(manifest: pd.DataFrame) -> bool:
    """Whether anything better than the given labels is known: ``kind``, or a true label that differs."""
    return "kind" in manifest or bool((manifest["label"] != manifest["true_label"]).any())


def validate(manifest: pd.DataFrame) -> pd.DataFrame:
    """Return ``manifest`` unchanged, or raise :class:`DataError` naming the first offending row."""
    if manifest.empty:
        raise DataError("the manifest is empty: there is no image to train on or to score")
    for column, allowed in ALLOWED.items():
        if column not in manifest and column != "kind":
            raise DataError(
                f"the manifest has no column {column!r}; it has {list(manifest.columns)}"
            )
        values = manifest.get(column, pd.Series(dtype=int))
        bad = ~values.isin(allowed) | (
            column.endswith("label") and not pd.api.types.is_integer_dtype(values)
        )
        if bad.any():
            raise DataError(
                f"row {bad.idxmax()}: {column} is {values[bad.idxmax()]!r}, expected one of "
                f"{', '.join(map(str, allowed))} (labels are integers: {', '.join(EXPRESSIONS)})"
            )
    return manifest

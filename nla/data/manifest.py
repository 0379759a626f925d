"""The manifest: one row per image, the only thing the rest of the kit knows about a data set.

Columns: ``path`` or ``row`` (where the pixels are), ``label`` and ``true_label`` (integers from 0 in
the canonical order below), ``split`` (train / val / test) and, where known, ``kind`` (clean /
ambiguous / noisy), ``votes_<class>`` (human votes) and ``p_<class>`` (the planted distribution).
"""

import pandas as pd

EXPRESSIONS = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral", "contempt")
"""The canonical class order, RAF-DB's; sets with seven classes use the first seven."""

SPLITS = ("train", "val", "test")
KINDS = ("clean", "ambiguous", "noisy")


class DataError(ValueError):
    """Input that cannot be read right; the message names the file, the row and the remedy."""


def validate(manifest: pd.DataFrame) -> pd.DataFrame:
    """Return ``manifest`` unchanged, or raise :class:`DataError` naming the first offending row."""
    if not len(manifest):
        raise DataError("the manifest is empty: there is no image to train on or to score")
    for column in ("label", "true_label", "split"):
        if column not in manifest:
            raise DataError(f"the manifest has no column {column!r}; it has {list(manifest.columns)}")
    for column in ("label", "true_label"):
        values = manifest[column]
        bad = ~(pd.api.types.is_integer_dtype(values) & values.between(0, len(EXPRESSIONS) - 1))
        if bad.any():
            raise DataError(f"row {bad.idxmax()}: {column} is {values[bad.idxmax()]!r}, expected an integer "
                            f"from 0 to {len(EXPRESSIONS) - 1} in the order {', '.join(EXPRESSIONS)}")
    for column, allowed in (("split", SPLITS), ("kind", KINDS)):
        if column in manifest:
            bad = ~manifest[column].isin(allowed)
            if bad.any():
                raise DataError(f"row {bad.idxmax()}: {column} is {manifest[column][bad.idxmax()]!r}, "
                                f"expected one of {', '.join(allowed)}")
    return manifest

"""Reading other people's folders, tables and lists strictly: read right, or a DataError naming the line."""

import re
import zlib
from pathlib import Path

import pandas as pd

from .manifest import EXPRESSIONS, DataError, validate

IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
SYNONYMS = {
    "surprised": "surprise",
    "fearful": "fear",
    "disgusted": "disgust",
    "happy": "happiness",
    "sad": "sadness",
    "angry": "anger",
    "contemptuous": "contempt",
}
SPLIT_NAMES = {
    name: split
    for split, names in {
        "train": "train training train_set fer2013train",
        "val": "val valid validation val_set publictest fer2013valid",
        "test": "test testing test_set privatetest fer2013test",
    }.items()
    for name in names.split()
}
TWO_SPLITS = "there is no third split: the second (PublicTest, validation) is the test"


def locate(root, name, inside, *layouts):
    """Return (base, i): the folder where ``layouts[i]``, a tuple of alternative patterns, is found.

    Looked for in the subfolders called one of ``inside``, down to the second level, then in ``root`` itself.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(
            f"{root}: no such folder; give the folder that holds {name}, or the one above it"
        )
    named = [
        child
        for pattern in ("*", "*/*")
        for child in sorted(root.glob(pattern))
        if child.name.lower() in inside and child.is_dir()
    ]
    for base in [*named, root]:
        for i, layout in enumerate(layouts):
            if any(next(base.glob(pattern), None) for pattern in layout):
                return base, i
    found = ", ".join(sorted(child.name for child in root.iterdir())[:8]) or "nothing"
    expected = "; ".join(" or ".join(layout) for layout in layouts)
    raise DataError(f"{root}: no {name} here. Expected one of: {expected}. Found: {found}")


def refuse(bad, values, path, message):
    """Raise a DataError naming the first line (or file) where ``bad`` holds."""
    if bad.any():
        at = bad.to_numpy().argmax()
        where = (
            f"line {bad.index[at]}" if pd.api.types.is_integer_dtype(bad.index) else bad.index[at]
        )
        raise DataError(f"{path}, {where}: {str(values.iloc[at])[:60]!r} {message}")


def table(path, columns, header=True):
    """Read a csv (or csv.gz) as text, indexed by line number; a DataError unless it has ``columns``."""
    try:
        frame = pd.read_csv(
            path,
            dtype=str,
            na_filter=False,
            encoding="utf-8-sig",
            skipinitialspace=True,
            header="infer" if header else None,
        )
    except (OSError, EOFError, ValueError, OverflowError, zlib.error) as error:
        raise DataError(
            f"{path}: not readable as csv ({error}); download or unpack it again"
        ) from None
    if not header and frame.shape[1] == len(columns):
        frame.columns = columns
    frame.columns = [str(column).strip() for column in frame.columns]
    if not set(columns) <= set(frame.columns) or not isinstance(frame.index, pd.RangeIndex):
        raise DataError(
            f"{path}, line 1: expected the columns {', '.join(columns)} separated by commas; "
            f"found {', '.join(frame.columns)[:200]}"
        )
    if frame.empty:
        raise DataError(f"{path}: no rows below the header; download or unpack it again")
    return frame.set_axis(frame.index + 1 + header)


def label_list(path, order=EXPRESSIONS, first=1):
    """Read a list of ``name label`` lines: canonical labels, indexed by name without ``_aligned``."""
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: not readable as text ({error}); give lines of 'name label'"
        ) from None
    lines = pd.Series(text.split("\n"), dtype=object).str.strip()
    lines = lines.set_axis(lines.index + 1)[lines.to_numpy() != ""]
    if lines.empty:
        raise DataError(f"{path}: the list is empty; expected one 'name label' a line")
    parts = lines.str.rsplit(n=1, expand=True).reindex(columns=[0, 1])
    refuse(
        parts[1].isna() | parts[0].str.contains(r"[,;]$"),
        lines,
        path,
        "is not 'name label' separated by a blank",
    )
    names = safe(parts[0].str.strip(), path).str.replace("_aligned", "")
    refuse(names.duplicated(), names, path, "is listed twice; keep one of the lines")
    return codes(parts[1], order, path, first).set_axis(names)


def safe(names, path):
    """Return ``names`` unless one is empty or could lead out of the data folder."""
    bad = (names == "") | names.str.contains(r"(?:^|/)\.\.(?:/|$)|^/|^[A-Za-z]:|\\|[\x00-\x1f]")
    refuse(
        bad, names, path, "is no image name: use paths below the data folder, with / and without .."
    )
    return names


def codes(values, order, path, first=0):
    """Map labels, ``first``, ``first + 1``, ... or the names in ``order``, to canonical integers.

    A name in ``order`` that is no expression (AffectNet's "uncertain") becomes -1.
    """
    meaning = {name: EXPRESSIONS.index(name) if name in EXPRESSIONS else -1 for name in order}
    meaning |= {synonym: meaning[name] for synonym, name in SYNONYMS.items() if name in order}
    meaning |= {str(first + i): meaning[name] for i, name in enumerate(order) if first is not None}
    result = values.str.strip().str.lower().map(meaning)
    numbers = "" if first is None else f"{first} to {first + len(order) - 1}, or "
    refuse(result.isna(), values, path, f"is no label; expected {numbers}{', '.join(order)}")
    return result.astype("int64")


def splits(values, path):
    """Map names of splits (Training, PublicTest, val_set, ...) to train, val and test."""
    result = values.str.strip().str.lower().map(SPLIT_NAMES)
    refuse(
        result.isna(),
        values,
        path,
        "is no split; expected train, val, test, Training, PublicTest, ...",
    )
    return result


def split_of(path):
    """The split that a file's name speaks of (``affectnet_train.csv``), or None."""
    return next(
        (
            SPLIT_NAMES[word]
            for word in re.split("[^a-z]+", path.stem.lower())
            if word in SPLIT_NAMES
        ),
        None,
    )


def class_tree(root, base, order, first=None):
    """Read ``<split>/<class>/<image>`` or ``<class>/<image>`` below ``base``: path, label, split if there."""
    for depth in (3, 2):
        files = [
            file
            for file in sorted(base.glob("/".join("*" * depth)))
            if file.suffix.lower() in IMAGES
        ]
        if files:
            break
    else:
        raise DataError(f"{base}: no images; expected them as train/happy/1.jpg or as happy/1.jpg")
    paths = pd.Series([file.relative_to(root).as_posix() for file in files])
    parts = pd.DataFrame([file.parts[-3:-1] for file in files], index=paths)
    frame = pd.DataFrame({"path": paths, "label": codes(parts[1], order, base, first).to_numpy()})
    return frame.assign(split=splits(parts[0], base).to_numpy()) if depth == 3 else frame


def left_out(manifest, reasons, notes=()):
    """Drop the rows that each of ``reasons`` (sentence: mask) names.  Returns (manifest, notes)."""
    gone = pd.Series(False, index=manifest.index)
    for reason, rows in reasons.items():
        count = (rows & ~gone).sum()
        notes = [*notes, f"{count} rows {reason}: left out"] if count else notes
        gone |= rows
    return manifest[~gone], notes


def finish(manifest, notes=()):
    """Number the rows, drop evaluation rows whose ``key`` an earlier split has too, validate, add notes."""
    if "key" in manifest:
        rank = manifest["split"].map({"train": 0, "val": 1, "test": 2})
        copies = rank > rank.groupby(manifest["key"]).transform("min")
        manifest, notes = left_out(
            manifest.drop(columns="key"),
            {"of val and test are exact copies of images in an earlier split": copies},
            notes,
        )
    manifest = manifest.reset_index(drop=True)
    if "path" in manifest:
        refuse(
            manifest["path"].duplicated(),
            manifest["path"],
            "images",
            "occurs twice; keep one of them",
        )
    if "test" not in set(manifest["split"]):
        manifest["split"], notes = manifest["split"].replace("val", "test"), [*notes, TWO_SPLITS]
    if "true_label" not in manifest:
        manifest["true_label"] = manifest["label"]
    manifest.attrs["notes"] = list(notes)
    return validate(manifest)

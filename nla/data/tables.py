"""Csv files and lists that name an image and a label: which columns, boxes and pictures."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from .folders import inside, is_picture, prefix, shortened
from .manifest import BOX, DataError, refuse
from .names import SPLIT_NAMES, expression_of, fold, split_of, splits, whole_number
from .parsing import lines_of, pairs, safe, table
from .placing import folders_of, pictures_below, placed, split_in

IMAGE_COLUMNS = (
    *("path", "image", "file", "filename", "subdirectory_filepath", "pth", "filepath"),
    *("file_name", "file_path", "image_path", "img_path", "image_name", "image name", "img"),
    "number",
)
LABEL_COLUMNS = ("label", "expression", "emotion", "exp")
SPLIT_COLUMNS = ("split", "usage", "phase")
PERHAPS_SPLIT = ("partition", "subset", "set", "fold", "dataset")
"""Columns that are the split if all their values are names of splits."""
SIZED_BOXES = (
    ("face_x", "face_y", "face_width", "face_height"),
    BOX,
    ("box_x", "box_y", "box_w", "box_h"),
    ("x", "y", "w", "h"),
    ("x", "y", "width", "height"),
)
CORNER_BOXES = (
    ("left", "top", "right", "bottom"),
    ("face_box_left", "face_box_top", "face_box_right", "face_box_bottom"),
    ("xmin", "ymin", "xmax", "ymax"),
    ("x1", "y1", "x2", "y2"),
)
UNLISTED = "pictures lie in the folder of a split of which the lists name none:"
FURTHEST = 10**5
"""No pixel lies further from a picture's corner."""


class Listed(NamedTuple):
    """``rows``: path, label (text), perhaps split and box; indexed by (file, line)."""

    rows: pd.DataFrame
    notes: list[str]


class Columns(NamedTuple):
    """The names of the columns that are taken, "" or () where there is none, and notes."""

    image: str
    label: str
    split: str
    box: tuple[str, ...]
    notes: list[str]


def nothing(labels: pd.Series) -> pd.Series:
    """No row is left out for its label."""
    return pd.Series(False, index=labels.index)


def among(names: Sequence[str], frame: pd.DataFrame) -> list[str]:
    """Those of ``names`` that are columns of ``frame``, in the order given."""
    return [name for name in names if name in frame]


def columns_of(frame: pd.DataFrame, path: Path) -> Columns:
    """Which columns are the image, the label, the split and the face box; refused if open."""
    images = among(IMAGE_COLUMNS, frame)
    labels = among(LABEL_COLUMNS, frame)
    divided = among(SPLIT_COLUMNS, frame)
    if not images or not labels:
        raise DataError(
            f"{path}, line 1: expected columns path and label (or expression), separated by "
            f"commas; found {', '.join(frame.columns)[:200]}"
        )
    image = images[0]
    label = one_label(frame, labels, path)
    boxes = [box for box in (*SIZED_BOXES, *CORNER_BOXES) if set(box) <= set(frame)]
    box = boxes[0] if boxes else ()
    perhaps = [name for name in among(PERHAPS_SPLIT, frame) if are_splits(frame[name])]
    split = [*divided, *perhaps, ""][0]
    taken = [image, label, *box, *([split] if split else [])]
    others = frame.columns.drop(taken)
    unused = [name for name in others if not name.startswith("unnamed:")]
    notes = []
    if unused or (image, label) != ("path", "label"):
        said = f"{path.name}: the image from column {image}, the label from {label}"
        notes.append(said + (f"; not used: {shortened(unused, 12)}" if unused else ""))
    if split in perhaps:
        notes.append(f"{path.name}: the split is taken from column {split}")
    if box:
        notes.append(f"{path.name}: the face is cut out at the columns {', '.join(box)}")
    return Columns(image, label, split, box, notes)


def are_splits(values: pd.Series) -> bool:
    """Whether all values are names of splits."""
    return all(fold(value) in SPLIT_NAMES for value in values.unique())


def one_label(
    frame: pd.DataFrame,
    labels: list[str],
    path: Path,
) -> str:
    """The label's column: of several that agree the one with names, else a DataError."""
    for other in labels[1:]:
        together = len(frame[[labels[0], other]].drop_duplicates())
        if not together == frame[labels[0]].nunique() == frame[other].nunique():
            raise DataError(
                f"{path}, line 1: the columns {labels[0]} and {other} could both be the label, and "
                f"they differ; rename the one that is not (to old_{other}, say)"
            )
    named = [name for name in labels if all(map(expression_of, frame[name].unique()))]
    return (named or labels)[0]


def rows_of(
    frame: pd.DataFrame,
    path: Path,
    unneeded: Callable[[pd.Series], pd.Series] = nothing,
) -> Listed:
    """The rows of one table: path as listed, label as text, split or None, box in pixels.

    ``unneeded`` says of labels which rows are left out later, and so need no box.
    """
    names = frame.columns.str.lower()
    if names.has_duplicates:
        raise DataError(f"{path}, line 1: two columns have one name: {', '.join(names)[:200]}")
    frame = frame.set_axis(names, axis=1)
    taken = columns_of(frame, path)
    part = pd.DataFrame({"path": safe(frame[taken.image], path), "label": frame[taken.label]})
    part["split"] = splits(frame[taken.split], path) if taken.split else split_of(path)
    part["split"] = part["split"].astype(object)
    if taken.image == "number":
        number = frame["number"].map(whole_number)
        refuse(number.isna(), frame["number"], path, "is no number of an image")
        part["path"] = number.astype("int64").astype(str)
    if taken.box:
        part = part.join(box_of(frame, taken.box, path, unneeded(frame[taken.label])))
    twice = part.duplicated(["path", *(side for side in BOX if side in part)])
    refuse(twice, part["path"], path, "occurs twice; keep one of the lines")
    return Listed(part, taken.notes)


def box_of(
    frame: pd.DataFrame,
    columns: tuple[str, ...],
    path: Path,
    unneeded: pd.Series,
) -> pd.DataFrame:
    """The face boxes as x, y, width, height in whole pixels; far outside where not needed."""
    sides = []
    for column in columns:
        number = pd.to_numeric(frame[column], errors="coerce")
        bad = ~number.between(-FURTHEST, FURTHEST) | (number % 1 != 0)
        message = f"is no {column} in pixels (whole numbers from the upper left corner)"
        refuse(bad & ~unneeded, frame[column], path, message)
        sides.append(number.mask(bad, -1e9).astype("int64"))
    if columns in CORNER_BOXES:
        left, top, right, bottom = sides
        sides = [left, top, right - left, bottom - top]
        flat = (right <= left) | (bottom <= top)
        message = f"is not before {columns[2]}, or {columns[1]} not before {columns[3]}"
        refuse(flat & ~unneeded, frame[columns[0]], path, message)
    return pd.DataFrame(dict(zip(BOX, sides, strict=True)))


def listed_pairs(path: Path) -> Listed:
    """The rows of a plain list of ``path label``."""
    part = pairs(path).rename(columns={"name": "path"})
    other = ~part["path"].map(is_picture).astype(bool)
    refuse(other, part["path"], path, "is no picture's name, as other lines have; take it out")
    part["split"] = pd.Series(split_of(path), index=part.index, dtype=object)
    refuse(part["path"].duplicated(), part["path"], path, "occurs twice; keep one of the lines")
    return Listed(part, [])


def is_list(path: Path) -> bool:
    """Whether most of a text's first lines are an image's name and a label."""
    try:
        first = lines_of(path).head(100)
    except DataError:
        return False
    named = [is_picture(line.rsplit(maxsplit=1)[0]) for line in first]
    return 2 * sum(named) > len(named)


def is_csv(path: Path) -> bool:
    """Whether a file is called like a csv, packed or not."""
    return path.name.lower().endswith((".csv", ".csv.gz"))


def lists_in(base: Path) -> tuple[list[Path], list[str]]:
    """The csv files in ``base``, or else the plain lists, and a note on what is not read."""
    paths = [base / name for name in inside(base).files]
    tables = [path for path in paths if is_csv(path)]
    texts = [path for path in paths if path.suffix.lower() in (".txt", ".lst", ".list")]
    lists = [] if tables else [path for path in texts if is_list(path)]
    unread = [path.name for path in texts if path not in lists]
    return [*tables, *lists], [f"not read: {shortened(unread)}"] if unread else []


def csv_rows(
    root: Path,
    base: Path,
    unneeded: Callable[[pd.Series], pd.Series] = nothing,
) -> Listed:
    """Rows of all csv files (or else plain lists) in ``base``, their pictures found below it."""
    paths, notes = lists_in(base)
    if not paths:
        raise DataError(
            f"{base}: no csv file here, and no list; expected one with columns path, label and "
            f"perhaps split"
        )
    parts = {}
    for path in paths:
        if is_csv(path):
            part = rows_of(table(path, ()), path, unneeded)
        else:
            part = listed_pairs(path)
        parts[path] = part.rows
        notes += part.notes
    return gathered(root, base, parts, notes, pictures_below(base))


def gathered(
    root: Path,
    base: Path,
    parts: dict[Path, pd.DataFrame],
    notes: list[str],
    there: dict[str, str],
    expected: Collection[str] = (),
) -> Listed:
    """The rows of several files in one, each picture where it lies, nothing twice.

    ``there``: the pictures below ``base``; ``expected``: see :func:`nla.data.placing.placed`.
    """
    for path, part in parts.items():
        part["path"], said = placed(part["path"], part["split"], there, base, path, expected)
        notes = [*notes, *said]
    named = {str(path): part for path, part in parts.items()}
    rows = pd.concat(named)
    unlisted = set(there.values()) - set(rows["path"])
    if unlisted:
        notes.append(f"{len(unlisted)} pictures below {base} are in none of the lists: not read")
    face = ["path", *(side for side in BOX if side in rows)]
    boxed = [part for part in parts.values() if BOX[0] in part]
    if boxed and len(boxed) < len(parts):
        raise DataError(f"{base}: some of its csv files have face boxes, others none; give all")
    message = "occurs twice in these files; keep one of the lines"
    refuse(rows.duplicated(face), rows["path"], base, message)
    rows, said = divided(rows)
    spoken = {split_in(folder) for folder in {name.rpartition("/")[0] for name in unlisted}}
    lost = {split for split in spoken if split is not None} - set(rows.get("split", ()))
    said += [f"{UNLISTED} {split}" for split in sorted(lost)]
    rows["path"] = prefix(base, root) + rows["path"]
    return Listed(rows, [*notes, *said])


def divided(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The rows with their split, from the csv, the file's name or the folders; or none at all."""
    lacking = rows["split"].isna()
    if not lacking.any():
        return rows, []
    if not lacking.all():
        message = "has no split: name the file train, val or test, or give a column split"
        refuse(lacking, rows["path"], "", message)
    folders = folders_of(rows["path"])
    spoken = folders.map({one: split_in(one) for one in folders.unique()}).astype(object)
    if spoken.isna().any():
        some = sorted(set(folders[spoken.notna()]))
        message = (
            f"lies in no folder of a split, others do ({shortened(some)}); give a column split"
        )
        if some:
            refuse(spoken.isna(), rows["path"], "", message)
        return rows.drop(columns="split"), []
    names = ", ".join(sorted(set(spoken)))
    return rows.assign(split=spoken), [f"the split ({names}) is taken from the pictures' folders"]

"""Tables and lists read strictly: right, or a DataError naming the line; and how a reader ends."""

import gzip
import hashlib
import itertools
import os
import re
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from .manifest import BOX, EXPRESSIONS, DataError, refuse, validate
from .names import codes, whole_number

NO_PICTURE = (  # formats that Pillow names but that hold films, icons, pages or measurements
    *("MPEG", "FLI", "ICO", "CUR", "ICNS", "EPS", "WMF", "PSD"),
    *("BUFR", "GRIB", "HDF5", "FITS", "IPTC", "GBR"),
)


def picture_suffixes() -> tuple[str, ...]:
    """The file suffixes, in small letters, of the still pictures that this Pillow reads."""
    known = Image.registered_extensions()
    read = {kind for kind in Image.OPEN if kind not in NO_PICTURE}
    return tuple(sorted(suffix for suffix, kind in known.items() if kind in read))


IMAGES = picture_suffixes()
TWO_SPLITS = "there is no third split: the second (PublicTest, validation) is the test"
ONE_SPLIT = "there is no test and no validation: a fifth of each class, drawn with a fixed seed, "
TAIL = 4096  # bytes of a picture by which it is known


def table(path: str | Path, columns: Sequence[str], header: bool = True) -> pd.DataFrame:
    """Read a csv (or csv.gz) as text, indexed by line number; refused unless it has ``columns``.

    Columns are found in any case, and then called as in ``columns``.
    """
    try:
        above = blank_lines(path)
        frame = pd.read_csv(
            path,
            dtype=str,
            na_filter=False,
            encoding="utf-8-sig",
            skipinitialspace=True,
            skip_blank_lines=False,  # they count
            skiprows=above,
            header="infer" if header else None,
        )
    except (OSError, EOFError, ValueError, OverflowError, zlib.error) as error:
        raise DataError(f"{path}{unreadable(error)}") from None
    if not header and frame.shape[1] == len(columns):
        frame.columns = pd.Index(columns)
    found = [str(column).strip() for column in frame.columns]
    wanted = {column.lower(): column for column in columns if column not in found}
    frame.columns = pd.Index([wanted.get(column.lower(), column) for column in found])
    lacking = set(columns) - set(frame.columns)
    counted = isinstance(frame.index, pd.RangeIndex)
    if lacking or not counted or frame.columns.has_duplicates:
        expected = f"the columns {', '.join(columns)}" if columns else "columns, each name once,"
        raise DataError(
            f"{path}, line 1: expected {expected} separated by commas; "
            f"found {', '.join(found)[:200]}"
            + ("" if counted else "; the lines below have more fields: put commas into quotes")
        )
    if frame.empty:
        raise DataError(f"{path}: no rows below the header; download or unpack it again")
    frame = frame.set_axis(frame.index + 1 + header + above)
    for column in frame:
        several = frame[column].str.contains("\n", regex=False)
        message = "goes on in the next line: a quote is not closed, or text holds a line break"
        refuse(several, frame[column], path, message)
    return frame[(frame != "").any(axis=1)]


def blank_lines(path: str | Path) -> int:
    """How many blank lines stand above the first line of a csv."""
    opened = gzip.open if str(path).lower().endswith(".gz") else open
    with opened(path, "rb") as stream:
        blank = itertools.takewhile(lambda line: not line.strip(b"\xef\xbb\xbf \t\r\n"), stream)
        return sum(1 for _ in blank)


def unreadable(error: Exception) -> str:
    """Why a csv cannot be read, and what to do, to stand behind its path."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return ": no such file"
    if isinstance(error, UnicodeDecodeError):
        return f": not readable as csv ({error}); save it as UTF-8, or unpack it again"
    fields = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error))
    if fields:
        expected, line, found = fields.groups()
        return (
            f", line {line}: {found} fields, but {expected} in the lines above; put text with "
            f"commas into quotes"
        )
    opened = re.search(r"EOF inside string starting at row (\d+)", str(error))
    if opened:
        return f", line {int(opened[1]) + 1} or above: a quote is opened and never closed"
    return f": not readable as csv ({error}); download or unpack it again"


def lines_of(path: str | Path) -> pd.Series:
    """The lines of a text that are not blank, stripped, indexed by line number."""
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: not readable as text ({error}); give lines of 'name label' in UTF-8"
        ) from None
    lines = pd.Series(text.split("\n"), dtype=object).str.strip()
    lines.index += 1
    kept: pd.Series = lines[lines != ""]
    if kept.empty:
        raise DataError(f"{path}: the list is empty; expected one 'name label' a line")
    return kept


def pairs(path: str | Path) -> pd.DataFrame:
    """Read a list of ``name label`` lines: name, label, by line.

    The last tab separates them, or, in a line without one, the last blank.
    """
    lines = lines_of(path)
    halves = lines.map(lambda line: line.rsplit("\t" if "\t" in line else None, 1))
    first = halves.str[0].str.strip()
    lacking = (halves.str.len() < 2) | first.str.contains(r"[,;]$")
    refuse(lacking, lines, path, "is not 'name label' separated by a blank")
    return pd.DataFrame({"name": safe(first, path), "label": halves.str[1].str.strip()})


def label_list(path: str | Path, order: Sequence[str] = EXPRESSIONS, gap: str = "") -> pd.Series:
    """Read a list of ``name label`` lines: places in ``order``, by name without ``_aligned``.

    A label is a name, or a number from 1; in quotes (:func:`quoted`) it is a name whatever it
    looks like. -1 where the label is ``gap``.
    """
    listed = pairs(path)
    names = listed["name"].str.replace("_aligned", "")
    refuse(names.duplicated(), names, path, "is listed twice; keep one of the lines")
    labels = listed["label"]
    is_name = labels.str.fullmatch('".+"') & ~labels.isin(order)
    named = codes(labels[is_name].str[1:-1], order, path, None, classes=order)
    others = codes(labels[~is_name & (labels != gap)], order, path, 1, classes=order)
    given: pd.Series = pd.concat([named, others])
    return given.reindex(labels.index, fill_value=-1).set_axis(pd.Index(names))


def quoted(name: str) -> str:
    """A class's name as a list has it: in quotes if it is a number, which would be read as one."""
    return name if whole_number(name) is None else f'"{name}"'


def safe(names: pd.Series, path: object) -> pd.Series:
    """``names`` without blanks around them, with ``/`` for ``\\``.

    Refused if one is empty or could lead out of the folder.
    """
    slashed = names.str.strip().str.replace("\\", "/", regex=False)
    single = slashed.str.replace(r"/(?:\.?/)+", "/", regex=True)
    short = single.str.replace(r"^\./", "", regex=True)
    outside = short.str.contains(r"(?:^|/)\.\.(?:/|$)|^/|^[A-Za-z]:|[\x00-\x1f]")
    message = "is no image name: use paths below the data folder, with / and without .."
    refuse((short == "") | outside, names, path, message)
    return short


def left_out(
    manifest: pd.DataFrame, reasons: Mapping[str, pd.Series], notes: Sequence[str] = ()
) -> tuple[pd.DataFrame, list[str]]:
    """Drop the rows that each of ``reasons`` (sentence: mask) names.  Returns (manifest, notes)."""
    gone = pd.Series(False, index=manifest.index)
    said = list(notes)
    for reason, rows in reasons.items():
        count = (rows & ~gone).sum()
        if count:
            said.append(f"{count} rows {reason}: left out")
        gone |= rows
    return manifest[~gone], said


def hold_out(
    frame: pd.DataFrame,
    split: str = "test",
    share: float = 0.2,
    seed: int = 0,
    copies: npt.ArrayLike | None = None,
    lots: npt.ArrayLike | None = None,
) -> pd.DataFrame:
    """Move a share (0..1) of each label's training rows to another split, drawn with ``seed``.

    ``copies`` (n,): alike for rows that show the same picture. They stay together, and go where the
    first of them is drawn to go, whatever their labels. ``lots`` (n,): those with the lowest go,
    in place of drawing.
    """
    could = (frame["split"] == "train").to_numpy()
    draw = np.random.default_rng(seed)
    place = pd.Series(draw.random(could.sum()) if lots is None else np.asarray(lots)[could])
    label = frame["label"].to_numpy()[could]
    chosen = place.groupby(label).rank(method="first", pct=True) <= share
    if copies is not None:
        chosen = chosen.groupby(np.asarray(copies)[could]).transform("first")
    moved = could.copy()
    moved[could] = chosen
    return frame.assign(split=frame["split"].mask(moved, split))


def without_copies(manifest: pd.DataFrame, notes: list[str]) -> tuple[pd.DataFrame, list[str]]:
    """Drop evaluation rows whose ``key`` an earlier split has too; say how many copies disagree."""
    labels = manifest.groupby("key")["label"].transform("nunique")
    differing = int((labels > 1).sum())
    if differing:
        notes = [*notes, f"{differing} rows are exact copies of an image with another label"]
    rank = manifest["split"].map({"train": 0, "val": 1, "test": 2})
    copies = rank > rank.groupby(manifest["key"]).transform("min")
    reason = "of val and test are exact copies of images in an earlier split"
    return left_out(manifest.drop(columns="key"), {reason: copies}, notes)


def pictures(root: Path, manifest: pd.DataFrame) -> pd.Series:
    """Alike for rows that show the same picture, or the same place in it: copies of one file.

    Files of a size of their own are not opened; one that is not there is like no other.
    """
    files = [root / path for path in manifest["path"]]
    sizes = pd.Series([file.stat().st_size if file.is_file() else -1 for file in files])
    alone = ~sizes.duplicated(keep=False) | (sizes < 0)
    content = list(manifest["path"])
    for row in np.flatnonzero(~alone):
        content[row] = hashlib.blake2b(files[row].read_bytes()).hexdigest()
    boxes = manifest[[side for side in BOX if side in manifest]].reset_index(drop=True)
    return boxes.assign(content=content).groupby([*boxes, "content"], dropna=False).ngroup()


def lots_of(root: Path, manifest: pd.DataFrame) -> npt.NDArray[np.float64]:
    """A number from 0 to 1 for each row that its picture fixes, whatever stands beside it.

    By the size and the last bytes of the file and the place in it, so that a test drawn by it stays
    when other pictures come, go, or get another label, and when folders or files are renamed.
    """
    ends: dict[str, str] = {}
    for path in manifest["path"].unique():
        ends[path] = end_of(root / path)
    marks = manifest["path"].map(ends)
    for side in BOX:
        if side in manifest:
            marks = marks + " " + manifest[side].astype(str)
    lots = [hashlib.blake2b(mark.encode(), digest_size=8).digest() for mark in marks]
    return np.array([int.from_bytes(lot, "big") / 2**64 for lot in lots])


def end_of(file: Path) -> str:
    """The size and the last bytes of a file, as text; its name if it is not there."""
    try:
        with open(file, "rb") as content:
            size = content.seek(0, os.SEEK_END)
            content.seek(max(0, size - TAIL))
            return f"{size} {content.read().hex()}"
    except OSError:
        return file.name


def with_test(
    manifest: pd.DataFrame, notes: list[str], root: Path | None = None
) -> tuple[pd.DataFrame, list[str]]:
    """A manifest that has a test: the second of two splits, or a fifth of the only one.

    Exact copies of a picture below ``root`` stay on one side.
    """
    if "split" not in manifest:
        manifest = manifest.assign(split="train")
    found = set(manifest["split"])
    if "test" in found:
        return manifest, notes
    if "val" in found:
        manifest = manifest.assign(split=manifest["split"].replace("val", "test"))
        return manifest, [*notes, TWO_SPLITS]
    if root is None:
        manifest = hold_out(manifest)
    else:
        lots = lots_of(root, manifest)
        manifest = hold_out(manifest, copies=pictures(root, manifest), lots=lots)
    held = int((manifest["split"] == "test").sum())
    if held:
        return manifest, [*notes, f"{ONE_SPLIT}is the test: {held} of {len(manifest)} images"]
    few = "cannot be the test: every class has fewer than five images"
    return manifest, [*notes, f"{ONE_SPLIT}{few}"]


def untaught(manifest: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """A note on the classes that are shown by held-out images alone."""
    split = manifest.get("split", pd.Series("train", manifest.index))
    train = split == "train"
    taught = set(manifest.loc[train, "label"])
    truth = manifest.get("true_label", manifest["label"])
    lacking = [names[label] for label in sorted(set(truth[~train]) - taught)]
    if not taught or not lacking:
        return []
    return [f"no training image is of the class {', '.join(lacking)}, held-out images are"]


def finish(
    manifest: pd.DataFrame,
    notes: Sequence[str] = (),
    own: Sequence[str] = (),
    root: Path | None = None,
) -> pd.DataFrame:
    """Number the rows, drop copies (``key``), see to a test, set attrs, validate.

    ``own``: the set's own class names in label order, () for the expressions; ``root``: the folder
    that the paths are relative to.
    """
    said = list(notes)
    if "key" in manifest:
        manifest, said = without_copies(manifest, said)
    manifest = manifest.reset_index(drop=True)
    if "path" in manifest:
        face = ["path", *(side for side in BOX if side in manifest)]
        twice = manifest.duplicated(face)
        refuse(twice, manifest["path"], "images", "occurs twice; keep one of them")
    said += untaught(manifest, own or EXPRESSIONS)
    manifest, said = with_test(manifest, said, root)
    if "true_label" not in manifest:
        manifest["true_label"] = manifest["label"]
    manifest.attrs["notes"] = said
    if own:
        manifest.attrs["classes"] = list(own)
    return validate(manifest)

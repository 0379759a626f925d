"""Labels that were looked at: from decisions to a corrected training list.

Decisions are a csv, as the page of ``nla audit RUN --html`` saves it: ``data`` (the set's name),
``split``, ``image`` (path or row), ``digest`` (hex, of the pixels that were looked at) and
``shape`` (of these pixels, channels x size), ``label`` (the name that was judged), ``decision``
(:data:`DECISIONS`) and ``to`` (the new name, for relabel). Whatever does not fit the set as it
stands is refused by name: nobody's judgement is applied to another image, or to another label, than
it was made of.
"""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from .corruption import (
    NO_FACE,
    Integers,
    noted,
    relabel,
    relabelled,
    write_list,
)
from .manifest import DataError, class_names, data_root, knows_truth, refuse
from .names import composed, expression_of, fold, splits
from .parsing import pairs, table
from .pixels import digests, read_pixels

KEEP, RELABEL, TWO, NONE = DECISIONS = ("keep", "relabel", "two expressions", "no face")
COLUMNS = ("data", "split", "image", "label", "decision", "to")
IMAGE = ["split", "image"]
HANDFUL = 5  # labels that may all be wrong


def read_decisions(
    path: str | Path, name: str, classes: Sequence[str], root: str | Path | None = None
) -> pd.DataFrame:
    """The decisions in a file, as text, by line; ``to`` and ``label`` are of ``classes``.

    Names are found in any case, images with ``\\`` for ``/`` or by their whole path below ``root``.
    DataError, naming the line, if they are of another data set than ``name``, if a class or a
    decision is unknown, if a decision that changes no label names a new one, or if an image was
    judged twice and differently.
    """
    found = saved(path)
    data = spelled(found["data"], [name])
    label = spelled(found["label"], classes)
    decision = spelled(found["decision"], DECISIONS)
    to = spelled(found["to"], classes)
    no_class = f"is no class of {name}: {', '.join(classes)}"
    refuse(data != name, data, path, f"is the set that was judged, not {name}: name that one")
    refuse(~label.isin(classes), label, path, no_class)
    refuse(~decision.isin(DECISIONS), decision, path, f"is none of {', '.join(DECISIONS)}")
    moved = decision == RELABEL
    refuse(moved & ~to.isin(classes), to, path, no_class)
    confirmed = (decision == KEEP) & (to == label)
    message = (
        f"stands in the column to, and only {RELABEL} gives another label: "
        f"write {RELABEL} as the decision, or leave to empty"
    )
    refuse(~moved & ~confirmed & (to != ""), to, path, message)
    found = found.assign(
        split=splits(found["split"], path),
        image=tidied(found["image"], root),
        label=label,
        decision=decision,
        to=to.where(moved, ""),
    )
    if "digest" in found:
        found["digest"] = hexadecimal(found["digest"], path)
    found = found.drop_duplicates([*IMAGE, "label", "decision", "to"])
    twice = found.duplicated(IMAGE)
    refuse(twice, found["image"], path, "was judged twice, and differently; keep one of the lines")
    return found


def saved(path: str | Path) -> pd.DataFrame:
    """The table in a file of decisions; DataError, with the way out, if that holds none."""
    again = "save the decisions from the page again"
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    except OSError as error:
        said = f"not readable ({error.strerror or error}); name the csv saved from the page"
        raise DataError(f"{path}: {said}") from None
    if "\0" in text:
        raise DataError(f"{path}: not UTF-8; {again}, or as csv in UTF-8 from the spreadsheet")
    if len(text.strip().splitlines()) < 2:
        raise DataError(f"{path}: holds no decision; {again}")
    return table(path, COLUMNS)


def spelled(given: pd.Series, names: Sequence[str]) -> pd.Series:
    """What was written as one of ``names``, in any case or in another word for an expression."""
    known = {fold(name): name for name in names}
    meant = {text: known.get(fold(text)) for text in given.unique()}
    for text, name in meant.items():
        expression = expression_of(text)
        if name is None:
            meant[text] = expression if expression in names else text
    return given.map(meant)


def tidied(images: pd.Series, root: str | Path | None = None) -> pd.Series:
    """Paths with ``/`` and composed letters, and without the ``root`` before them."""
    paths = images.str.replace("\\", "/", regex=False).str.normalize("NFC")
    if root is not None:
        for folder in (Path(root).absolute(), Path(root).resolve()):
            paths = paths.str.removeprefix(composed(folder.as_posix()) + "/")
    return paths.str.removeprefix("./")


def hexadecimal(digest: pd.Series, path: object) -> pd.Series:
    """Digests in small letters, or none; DataError for what a spreadsheet made of one."""
    small = digest.str.lower()
    strange = (small != "") & ~small.str.fullmatch("[0-9a-f]{16}")
    message = (
        "is no digest, which has 16 digits from 0 to f: a spreadsheet changed it; save the "
        "decisions from the page again, and open them with the column digest as text"
    )
    refuse(strange, digest, path, message)
    return small


def keys(manifest: pd.DataFrame) -> pd.Series:
    """What the column ``image`` calls each image: its path, or its row, or its place."""
    row = manifest.get("row", manifest.index.to_series())
    return manifest.get("path", row).astype(str)


def placed(decisions: pd.DataFrame, manifest: pd.DataFrame, path: object) -> Integers:
    """The position in ``manifest`` of each decision's image.

    An image is known by its path or row, and by its split where that is there more than once.
    DataError, naming the first, if there is no such image, or if its label has changed since.
    """
    key = tidied(keys(manifest))
    wanted = decisions["image"]
    if key.duplicated().any():
        key = manifest["split"] + " " + key
        wanted = decisions["split"] + " " + wanted
    again = key.duplicated()
    several = wanted.isin(key[again])
    refuse(several, wanted, path, "shows several faces, which a list of names cannot tell apart")
    refuse(~wanted.isin(key), wanted, path, "is no image of this data set")
    place = pd.Series(np.arange(len(key)), index=key)
    place = place[~again.to_numpy()]
    positions: Integers = place.loc[wanted].to_numpy(np.int64)
    check_labels(decisions, manifest.iloc[positions], path)
    return positions


def check_labels(decisions: pd.DataFrame, manifest: pd.DataFrame, path: object) -> None:
    """DataError, naming the first, if an image's label is not the one that was judged."""
    names = class_names(manifest)
    now = [names[label] for label in manifest["label"]]
    changed = decisions.assign(now=now)[decisions["label"] != now]
    if changed.empty:
        return
    line = changed.index[0]
    image, judged, label = changed[["image", "label", "now"]].iloc[0]
    raise DataError(
        f"{path}, line {line}: {image!r} was judged as {judged}, and is now labelled "
        f"{label}: audit a run of the labels as they stand (or name its --labels list), and "
        "judge it anew"
    )


def check_pixels(
    decisions: pd.DataFrame, manifest: pd.DataFrame, root: str | Path | None, path: object
) -> list[str]:
    """DataError, naming the first, if an image's pixels are not those that were looked at.

    They are compared with the manifest's own digests, as a run has them, or with the files under
    ``root``. Returns a note if the decisions do not say which pixels these were.
    """
    told = {"digest", "shape"} <= set(decisions)
    if not told or "" in decisions["digest"].to_numpy():
        return [f"{path} does not say of all images which pixels were judged: not compared"]
    if "digest" in manifest:
        now = manifest["digest"].to_numpy()
    else:
        channels, size = one_shape(decisions["shape"], path)
        now = digests(read_pixels(root, manifest, size, channels))
    texts = [f"{digest:016x}" for digest in now]
    differs = decisions["digest"] != texts
    message = "shows other pixels now than when it was judged: is it the same set, unchanged?"
    refuse(differs, decisions["image"], path, message)
    return []


def one_shape(shape: pd.Series, path: object) -> tuple[int, int]:
    """Channels and size of the pixels that were judged, from texts such as 3x48."""
    refuse(~shape.str.fullmatch("[13]x[0-9]+"), shape, path, "is no shape such as 3x48")
    refuse(shape != shape.iloc[0], shape, path, "is another shape than the first line's")
    channels, size = map(int, shape.iloc[0].split("x"))
    return channels, size


def mend(
    manifest: pd.DataFrame, path: str | Path, name: str, root: str | Path | None = None
) -> pd.DataFrame:
    """The manifest of the set ``name`` with the decisions of a file applied, see ``corrected``.

    Every decision has to fit: class names, image, label, and, where the file says which they were,
    pixels, of the files under ``root`` or by the manifest's own ``digest``.
    """
    decisions = read_decisions(path, name, class_names(manifest), data_root(root))
    positions = placed(decisions, manifest, path)
    said = check_pixels(decisions, manifest.iloc[positions], root, path)
    return noted(corrected(manifest, decisions, positions), *said)


def corrected(manifest: pd.DataFrame, decisions: pd.DataFrame, positions: Integers) -> pd.DataFrame:
    """The manifest with the decisions applied to its training rows; a column ``no_face`` (bool).

    ``positions``: where the image of each decision stands.
    ``keep`` and ``two expressions`` leave the label as it is. Evaluation is never relabelled: the
    notes count the decisions on other splits, and what was changed. An image counts as the split
    that it was judged in too: a run may have drawn its validation from the set's training images.
    """
    trained_on = (decisions["split"] == "train").to_numpy()
    train = trained_on & (manifest["split"] == "train").to_numpy()[positions]
    applied = decisions[train]
    rows = positions[train]
    moved = (applied["decision"] == RELABEL).to_numpy()
    names = class_names(manifest)
    to = applied["to"][moved].map(names.index).to_numpy(np.int64)
    result = relabelled(manifest, rows[moved], to)
    none = np.zeros(len(manifest), dtype=bool)
    without = rows[applied["decision"] == NONE]
    none[without] = True
    differ = int((result["label"] != manifest["label"]).sum())
    notes = [counted(applied["decision"], differ)]
    others = len(decisions) - len(applied)
    if others:
        notes.append(
            f"{others} decisions are about validation or test images: not applied, evaluation is "
            "never relabelled"
        )
    return noted(result.assign(no_face=none), *notes)


def counted(decision: pd.Series, differ: int) -> str:
    """What was decided, in numbers; ``differ``: labels that changed."""
    count = decision.value_counts().reindex(DECISIONS, fill_value=0)
    return (
        f"{differ} labels changed; {count[NONE]} images without a face are marked {NO_FACE}; "
        f"{count[KEEP]} labels confirmed; {count[TWO]} show two expressions and keep their label"
    )


def faceless(path: str | Path) -> list[str]:
    """The names of the images that a list says to show no face."""
    listed = pairs(path)
    return listed["name"][listed["label"] == NO_FACE].tolist()


def write_corrected(
    before: pd.DataFrame,
    after: pd.DataFrame,
    out: str | Path,
    gone: Sequence[str] = (),
    named: bool | None = None,
) -> Path:
    """Write the corrected training list, and beside it the old one, whose path is returned.

    ``gone``: names of images without a face that are in neither manifest any more; ``named``: see
    :func:`nla.data.corruption.write_list`.

    Both are lists as the literature has them, ``name label``; the label of an image without a face
    is ``no-face``. DataError if two images have one name, or if a class does.
    """
    out = Path(out)
    old = out.with_name(f"{out.stem}_before{out.suffix or '.txt'}")
    if after["no_face"].any() and NO_FACE in class_names(after):
        raise DataError(f"a class is called {NO_FACE!r}, as images without a face are: rename it")
    write_list(before, old, gone, named)
    write_list(after, out, gone, named)
    return old


def mended(
    manifest: pd.DataFrame, path: str | Path, elsewhere: Collection[str] | None = ()
) -> pd.DataFrame:
    """The manifest with the training labels of a list that knows better than the set.

    As :func:`nla.data.corruption.relabel`, but where the set knows no more than its labels, those
    of the list are not taken for wrong: the true label is then as unknown as it was.
    """
    result = relabel(manifest, path, elsewhere)
    before = manifest["label"].loc[result.index]
    differ = int((result["label"] != before).sum())
    note = f"{differ} labels of the list differ from those before"
    trained = int((result["split"] == "train").sum())
    if differ > max(HANDFUL, trained / 2):
        result = noted(result, unlikely(differ, trained, class_names(manifest)))
    if knows_truth(manifest):
        return noted(result, note)
    result = noted(result, f"{note}, and are taken as the better ones").drop(columns="kind")
    return result.assign(true_label=result["label"])


def unlikely(differ: int, count: int, classes: Sequence[str]) -> str:
    """A warning that so many labels of a list are rather read in another order than mended."""
    return (
        f"WARNING: {differ} of {count} labels of the list are others than before, which no mending "
        "explains: was it written with the classes in another order (--classes, or a class "
        f"folder renamed since)? Numbers in it count from 1 in the order {', '.join(classes)}; "
        "if it is a list of noise, say --list-is noisy"
    )

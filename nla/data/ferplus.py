"""FER2013's labels and FERPlus's ten votes per image: real label noise with human truth."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from .folders import files, find, inside, is_picture, locate, matching, not_here, prefix
from .manifest import CLEAR, EXPRESSIONS, DataError, data_root, refuse
from .names import SPLIT_NAMES, codes, composed, order_note, refuse_from_one, splits
from .parsing import finish, left_out, pictures, safe, table
from .trees import class_layout, class_tree

FER2013 = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
FERPLUS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
VOTES = (*FERPLUS, "unknown", "NF")
FER_CSV = ("fer2013.csv", "fer2013.csv.gz", "icml_face_data.csv", "icml_face_data.csv.gz")
FER_FOLDERS = ("fer2013", "fer-2013", "ferplus", "fer+", "data", "images")
VOTES_CSV = "fer2013new.csv"
TREE = class_layout("train/angry/*.jpg", FER2013, 0)
SHARED = ("happiness", "surprise", "neutral")
"""FER2013's labels that the votes share: in 89 % of rows, in 27 % where the rows were shuffled."""
STRETCH = 1000
FEWEST = 50
"""So many rows of these labels are looked at together, and so many at least."""
PARTS = ("FER2013Train", "FER2013Valid", "FER2013Test")
LABEL_CSVS = tuple(f"{part}/label.csv" for part in PARTS)
FERPLUS_LABELS = files(*LABEL_CSVS)
FERPLUS_PICTURES = files(*(f"{part}/*.png" for part in PARTS))


def read_fer2013(
    root: str | Path | None = None, truth: bool = True, dedupe: bool = True
) -> pd.DataFrame:
    """FER2013 (Goodfellow et al. 2013): 35,887 grey 48 x 48 faces; its own labels.

    Layouts: ``fer2013.csv``, ``icml_face_data.csv`` (or .gz), or the ``train/angry/*.jpg`` tree.
    With ``truth`` and FERPlus's ``fer2013new.csv`` beside the csv it is scored on human truth:
    ``true_label`` is the plurality of ten people's votes and ``kind`` is set (:func:`with_votes`);
    rows whose truth is none of the seven are left out.  Training = train, PublicTest = val,
    PrivateTest = test.  ``dedupe`` leaves out evaluation images that an earlier split also holds.
    """
    root = data_root(root)
    base, tree = locate(root, "FER2013", FER_FOLDERS, files(*FER_CSV), TREE)
    if tree:
        manifest, notes = fer_tree(root, base)
    else:
        manifest, notes = fer_rows(root), []
        listed = matching(base, VOTES_CSV) if truth else []
        if listed:
            votes = votes_of_rows(root, listed[0], manifest)
            manifest, notes = with_votes(manifest, votes, "plurality", 7)
    return finish(keyed(root, manifest, dedupe), notes)


def read_ferplus(
    root: str | Path | None = None,
    protocol: str = "plurality",
    classes: int = 8,
    dedupe: bool = True,
) -> pd.DataFrame:
    """FERPlus (Barsoum et al. 2016): FER2013's images with the label that ten people chose by vote.

    Layouts: ``fer2013new.csv`` with FER2013's csv; ``FER2013Train/label.csv`` with its png files;
    or ``fer2013new.csv`` with these png files, the votes matched by the files' names.
    ``protocol``: see :func:`plurality`.  ``classes`` 7 leaves out the rows that contempt wins.
    Rows without face or winner are left out, ties stay in train only; splits and ``dedupe`` as in
    :func:`read_fer2013`.
    """
    root = data_root(root)
    listed = find(root, FER_FOLDERS, files(VOTES_CSV))
    pixels = find(root, FER_FOLDERS, files(*FER_CSV))
    labelled = find(root, FER_FOLDERS, FERPLUS_LABELS)
    named = find(root, FER_FOLDERS, FERPLUS_PICTURES)
    if listed and pixels:
        rows = fer_rows(root)
        votes = votes_of_rows(root, matching(listed[0], VOTES_CSV)[0], rows)
        rows = rows.drop(columns="label")
        notes = ["FER2013Train/label.csv is not used, but fer2013new.csv"] if labelled else []
    elif labelled:
        votes, rows = votes_of_folders(root, labelled[0])
        notes = ["fer2013new.csv is not used, but the label.csv of the folders"] if listed else []
    elif listed and named:
        votes, rows, notes = votes_by_name(root, matching(listed[0], VOTES_CSV)[0], named[0])
    else:
        expected = f"{VOTES_CSV} beside fer2013.csv, or beside FER2013Train/*.png"
        raise not_here(root, "FERPlus", FER_FOLDERS, [expected, FERPLUS_LABELS.said])
    manifest, said = with_votes(rows, votes, protocol, classes)
    manifest = finish(keyed(root, manifest, dedupe), [*said, *notes])
    manifest.attrs["rows"] = rows["split"].value_counts().to_dict()
    return manifest


def fer2013_csv(root: str | Path) -> Path:
    """The pixel csv of FER2013 under ``root``."""
    base, _ = locate(data_root(root), "FER2013", FER_FOLDERS, files(*FER_CSV))
    return matching(base, *FER_CSV)[0]


def fer_rows(root: Path) -> pd.DataFrame:
    """FER2013's csv as a frame: row, label, split, key (the pixels as text)."""
    path = fer2013_csv(root)
    frame = table(path, ("emotion", "pixels", "Usage"))
    return pd.DataFrame(
        {
            "row": np.arange(len(frame)),
            "label": codes(frame["emotion"], FER2013, path),
            "split": splits(frame["Usage"], path),
            "key": frame["pixels"],
        }
    )


def fer_tree(root: Path, base: Path) -> tuple[pd.DataFrame, list[str]]:
    """FER2013 as class folders, by name or by FER2013's own numbers from 0."""
    frame, notes = class_tree(root, base)
    remedy = "name the folders by their expressions"
    refuse_from_one(frame["label"], base, 6, remedy)
    labels = codes(frame["label"], FER2013, base)
    order = order_note(frame["label"], labels, FER2013, EXPRESSIONS, "FER2013's own order")
    return frame.assign(label=labels), [*notes, *order]


def keyed(root: Path, manifest: pd.DataFrame, dedupe: bool) -> pd.DataFrame:
    """With ``dedupe`` the column ``key``, alike for exact copies, of pixels or of files."""
    if not dedupe:
        return manifest.drop(columns="key", errors="ignore")
    if "key" in manifest:
        return manifest
    return manifest.assign(key=pictures(root, manifest).to_numpy())


def votes_of_folders(root: Path, base: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The votes in each folder's ``label.csv``, and the rows: path and split."""
    parts = []
    for path in matching(base, *LABEL_CSVS):
        part = votes_in(path, ("Image name", "box"), header=False)
        paths = prefix(path.parent, root) + safe(part["Image name"], path)
        parts.append(part.assign(split=path.parent.name, path=paths))
    votes = pd.concat(parts, ignore_index=True)
    return votes, votes[["path"]].assign(split=splits(votes["split"], base))


def votes_by_name(
    root: Path, path: Path, base: Path
) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """The votes of ``fer2013new.csv`` for the pictures in ``FER2013Train`` and its siblings.

    The names in the csv are the files' names; rows without a name show no face.
    """
    votes = votes_in(path)
    split = splits(votes["Usage"], path)
    above: dict[str, str] = {}
    there: dict[str, str] = {}
    for folder in matching(base, *PARTS):
        its = SPLIT_NAMES[folder.name.lower()]
        above[its] = prefix(folder, root)
        pictures = filter(is_picture, inside(folder).files)
        there |= {above[its] + composed(name): above[its] + name for name in pictures}
    named = votes["Image name"].str.strip() != ""
    names = safe(votes["Image name"].where(named, "no name"), path).map(composed)
    paths = split.map(above).astype(object) + names
    reasons = {
        "show no face (their name is blank)": ~named,
        f"of {path.name} belong to a folder that is not there": ~split.isin(set(above)),
    }
    notes = [f"the votes of {path.name} are matched to the pictures by their names"]
    votes, notes = left_out(votes, reasons, notes)
    rows = pd.DataFrame({"path": paths, "split": split}).loc[votes.index]
    unlisted = len(set(there) - set(rows["path"]))
    if unlisted:
        notes.append(f"{unlisted} pictures have no votes: not read")
    rows["path"] = rows["path"].map(lambda name: there.get(name, name))
    return votes.reset_index(drop=True), rows.reset_index(drop=True), notes


def votes_of_rows(root: Path, path: Path, rows: pd.DataFrame) -> pd.DataFrame:
    """:func:`read_votes`, refused where FER2013's ``rows`` lie in another order than the votes.

    Told by the labels that people share (:data:`SHARED`), a stretch of rows at a time.
    """
    votes = read_votes(path, rows)
    agree = agreement(rows, votes)
    split = rows["split"][agree.index]
    stretch = split.groupby(split).cumcount() // STRETCH
    for (its, _), part in agree.groupby([split, stretch], sort=False):
        share = part.mean()
        if len(part) < FEWEST or share >= 0.5:
            continue
        raise DataError(
            f"{path}: its votes are not those of the same lines of {fer2013_csv(root)}: of "
            f"{len(part)} rows of {its} (lines {part.index[0]} to {part.index[-1]}) that FER2013 "
            f"calls {', '.join(SHARED)}, {share:.0%} are won by that expression, where nine in ten "
            f"should be; the rows were put in another order: unpack both files again, in their "
            f"original order"
        )
    return votes


def agreement(rows: pd.DataFrame, votes: pd.DataFrame) -> pd.Series:
    """Whether FER2013's label won, of rows with a label in :data:`SHARED` and one winner."""
    winner, tied = plurality(votes)
    labels = [EXPRESSIONS.index(name) for name in SHARED]
    decided = (winner >= 0) & ~tied
    telling = decided & rows["label"].isin(labels)
    agree: pd.Series = rows["label"] == winner
    return agree[telling]


def read_votes(path: Path, rows: pd.DataFrame) -> pd.DataFrame:
    """The votes of ``fer2013new.csv``, which have to fit FER2013's ``rows``, by their lines."""
    frame = votes_in(path)
    if len(frame) != len(rows):
        raise DataError(
            f"{path}: {len(frame)} rows, but FER2013's csv has {len(rows)}; both must be whole"
        )
    differs = splits(frame["Usage"], path) != rows["split"].to_numpy()
    refuse(differs, frame["Usage"], path, "is not the same row's Usage in FER2013's csv")
    return frame.set_axis(rows.index)  # either csv may have blank lines of its own


def votes_in(
    path: Path, first: Sequence[str] = ("Usage", "Image name"), header: bool = True
) -> pd.DataFrame:
    """The ``first`` columns of a csv and its votes, integers from 0 to 10, at least one a row."""
    frame = table(path, (*first, *VOTES), header)
    for column in VOTES:
        number = pd.to_numeric(frame[column], errors="coerce")
        message = f"is no number of {column} votes (0 to 10)"
        refuse(~number.isin(range(11)), frame[column], path, message)
        frame[column] = number.astype("int64")
    refuse(frame[list(VOTES)].sum(axis=1) == 0, frame["Image name"], path, "has no votes at all")
    return frame


def plurality(votes: pd.DataFrame, protocol: str = "plurality") -> tuple[pd.Series, pd.Series]:
    """Each row's winning expression, -1 where there is none, and whether others have as many votes.

    ``plurality``: most votes; no winner if ``unknown`` or ``NF`` has more.  ``majority``: over half
    of all votes.  Among tied expressions the first in the file's order is named.
    """
    if protocol not in ("plurality", "majority"):
        raise DataError(f"no protocol is called {protocol!r}; there are plurality, majority")
    faces = votes[list(FERPLUS)]
    others = votes[["unknown", "NF"]]
    top = faces.max(axis=1)
    none = (others.max(axis=1) > top) | (top == 0)
    if protocol == "majority":
        none |= top * 2 <= faces.sum(axis=1) + others.sum(axis=1)
    winner = faces.idxmax(axis=1).map(EXPRESSIONS.index).astype("int64")
    return winner.mask(none, -1), faces.eq(top, axis=0).sum(axis=1) > 1


def with_votes(
    manifest: pd.DataFrame, votes: pd.DataFrame, protocol: str, classes: int
) -> tuple[pd.DataFrame, list[str]]:
    """Add truth, kind and votes, leave out the rows without a truth.  Returns (manifest, notes).

    ``kind``: *noisy* if ``label`` did not win and has at most one vote in ten (FERPlus's authors
    treat single votes as slips), *clean* if at least seven in ten are for it, else *ambiguous*.
    Ties leave evaluation but stay in train, where FER2013's own label is taken as true if it is
    among the tied.
    """
    winner, tied = plurality(votes, protocol)
    ballots = votes[list(EXPRESSIONS)].to_numpy()
    at = np.arange(len(votes))
    if "label" in manifest:
        own = ballots[at, manifest["label"]] == ballots.max(axis=1)
        winner = winner.mask(tied & own & (winner >= 0), manifest["label"])
    manifest = manifest.assign(**{"label": winner, **manifest, "true_label": winner})
    total = votes[list(VOTES)].sum(axis=1)
    share = ballots[at, manifest["label"]] / total
    wrong = (share < 0.15) & (manifest["label"] != winner)
    manifest["kind"] = np.select([wrong, share > CLEAR], ["noisy", "clean"], "ambiguous")
    odd = int((total != 10).sum())
    return left_out(
        manifest.join(votes[list(EXPRESSIONS)].add_prefix("votes_")),
        {
            "show no face (their name is blank)": votes["Image name"].str.strip() == "",
            f"have no winner by {protocol}": winner < 0,
            f"are won by contempt, not among the {classes} classes": winner >= classes,
            "of val and test have a tie for the most votes": tied & (manifest["split"] != "train"),
        },
        [f"{odd} rows have votes that do not sum to 10: kept"] if odd else [],
    )

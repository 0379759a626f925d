"""FER2013's labels and FERPlus's ten votes per image: real label noise with human truth, same pixels."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

from .manifest import EXPRESSIONS, DataError
from .parsing import class_tree, codes, finish, left_out, locate, refuse, safe, splits, table

FER2013 = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
FERPLUS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
VOTES = (*FERPLUS, "unknown", "NF")
FER_CSV = ("fer2013.csv", "fer2013.csv.gz", "icml_face_data.csv", "icml_face_data.csv.gz")
FER_FOLDERS = ("fer2013", "fer-2013", "ferplus", "fer+", "data", "images")


def read_fer2013(root, truth=True, dedupe=True):
    """FER2013 (Goodfellow et al. 2013): 35,887 grey 48 x 48 faces; its own labels, scored on human truth.

    Layouts: ``fer2013.csv``, ``icml_face_data.csv`` (or .gz), or the ``train/angry/*.jpg`` tree.  With ``truth`` and
    FERPlus's ``fer2013new.csv`` beside the csv, ``true_label`` is the plurality of ten people's votes and ``kind`` is
    set (:func:`with_votes`); rows whose truth is none of the seven are left out.  Training = train, PublicTest = val,
    PrivateTest = test.  ``dedupe`` leaves out evaluation images that an earlier split also holds.
    """
    base, tree = locate(root, "FER2013", FER_FOLDERS, FER_CSV, ("train/angry/*", "train/anger/*"))
    votes, notes = base / "fer2013new.csv", []
    manifest = class_tree(root, base, FER2013) if tree else fer_rows(root)
    if truth and not tree and votes.exists():
        manifest, notes = with_votes(manifest, read_votes(votes, manifest), "plurality", 7)
    return finish(keyed(root, manifest, dedupe), notes)


def read_ferplus(root, protocol="plurality", classes=8, dedupe=True):
    """FERPlus (Barsoum et al. 2016): FER2013's images with the label that ten people chose by vote.

    Layouts: ``fer2013new.csv`` beside FER2013's csv, or ``FER2013Train/label.csv`` with its png files.  ``protocol``:
    see :func:`plurality`.  ``classes`` 7 leaves out the rows that contempt wins.  Rows without face or winner are
    left out, ties stay in train only; splits and ``dedupe`` as in :func:`read_fer2013`.
    """
    base, folders = locate(
        root, "FERPlus", FER_FOLDERS, ("fer2013new.csv",), ("FER2013Train/label.csv",)
    )
    if folders:
        parts = [
            (path.parent, read_votes(path)) for path in sorted(base.glob("FER2013*/label.csv"))
        ]
        votes = pd.concat(
            [
                part.assign(
                    split=folder.name,
                    path=folder.relative_to(root).as_posix()
                    + "/"
                    + safe(part["Image name"], folder / "label.csv"),
                )
                for folder, part in parts
            ],
            ignore_index=True,
        )
        rows = votes[["path"]].assign(split=splits(votes["split"], base))
    else:
        rows = fer_rows(root).drop(columns="label")
        votes = read_votes(base / "fer2013new.csv", rows)
    manifest, notes = with_votes(rows, votes, protocol, classes)
    manifest = finish(keyed(root, manifest, dedupe), notes)
    manifest.attrs["rows"] = rows["split"].value_counts().to_dict()
    return manifest


def fer2013_csv(root):
    """The pixel csv of FER2013 under ``root``."""
    base, _ = locate(root, "FER2013", FER_FOLDERS, FER_CSV)
    return next(base / name for name in FER_CSV if (base / name).exists())


def fer_rows(root):
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


def keyed(root, manifest, dedupe):
    """With ``dedupe`` the column ``key``, alike for exact copies: the pixels, or a digest of each file's bytes."""
    if not dedupe:
        return manifest.drop(columns="key", errors="ignore")
    try:
        return (
            manifest
            if "key" in manifest
            else manifest.assign(
                key=[
                    hashlib.blake2b((Path(root) / path).read_bytes(), digest_size=16).digest()
                    for path in manifest["path"]
                ]
            )
        )
    except OSError as error:
        raise DataError(
            f"{error.filename}: listed but not there ({error.strerror}); unpack it again"
        ) from None


def read_votes(path, rows=None):
    """Votes as integers: ``fer2013new.csv``, which must fit FER2013's ``rows``, or else a ``label.csv``."""
    frame = table(
        path, ("Image name", "box" if rows is None else "Usage", *VOTES), header=rows is not None
    )
    for column in VOTES:
        number = pd.to_numeric(frame[column], errors="coerce")
        refuse(
            ~number.isin(range(11)),
            frame[column],
            path,
            f"is no number of {column} votes (0 to 10)",
        )
        frame[column] = number.astype("int64")
    refuse(frame[list(VOTES)].sum(axis=1) == 0, frame["Image name"], path, "has no votes at all")
    if rows is not None:
        if len(frame) != len(rows):
            raise DataError(
                f"{path}: {len(frame)} rows, but FER2013's csv has {len(rows)}; both must be whole"
            )
        differs = splits(frame["Usage"], path) != rows["split"]
        refuse(differs, frame["Usage"], path, "is not the same line's Usage in FER2013's csv")
    return frame


def plurality(votes, protocol="plurality"):
    """Each row's winning expression, -1 where there is none, and whether others have as many votes.

    ``plurality``: most votes; no winner if ``unknown`` or ``NF`` has more.  ``majority``: over half of all votes.
    Among tied expressions the first in the file's order is named.
    """
    if protocol not in ("plurality", "majority"):
        raise DataError(f"no protocol is called {protocol!r}; there are plurality, majority")
    faces, others = votes[list(FERPLUS)], votes[["unknown", "NF"]]
    top = faces.max(axis=1)
    none = (others.max(axis=1) > top) | (top == 0)
    if protocol == "majority":
        none |= top * 2 <= faces.sum(axis=1) + others.sum(axis=1)
    winner = faces.idxmax(axis=1).map(EXPRESSIONS.index).astype("int64")
    return winner.mask(none, -1), faces.eq(top, axis=0).sum(axis=1) > 1


def with_votes(manifest, votes, protocol, classes):
    """Add truth, kind and votes, and leave out the rows without a truth.  Returns (manifest, notes).

    ``kind``: *noisy* if ``label`` did not win and has at most one vote in ten (FERPlus's authors treat single
    votes as slips), *clean* if at least seven in ten are for it, else *ambiguous*.  Ties leave evaluation but
    stay in train, where FER2013's own label is taken as true if it is among the tied.
    """
    winner, tied = plurality(votes, protocol)
    ballots, at = votes[list(EXPRESSIONS)].to_numpy(), np.arange(len(votes))
    if "label" in manifest:
        own = ballots[at, manifest["label"]] == ballots.max(axis=1)
        winner = winner.mask(tied & own & (winner >= 0), manifest["label"])
    manifest = manifest.assign(**{"label": winner, **manifest, "true_label": winner})
    total = votes[list(VOTES)].sum(axis=1)
    share, odd = ballots[at, manifest["label"]] / total, (total != 10).sum()
    wrong = (share < 0.15) & (manifest["label"] != winner)
    manifest["kind"] = np.select([wrong, share > 0.65], ["noisy", "clean"], "ambiguous")
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

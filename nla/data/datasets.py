"""Readers: from a downloaded folder, whatever its layout, to a manifest in the canonical class order.

Every reader takes ``root``, the data set's own folder or the one above it, finds out which layout lies there
and returns a manifest (:mod:`nla.data.manifest`) with the index 0..n-1.  Pixels are not decoded here: ``path``
is relative to ``root``, ``row`` counts the rows of ``fer2013.csv``.  What a protocol left out stands in
``manifest.attrs["notes"]``, a list of sentences.  A set's second split is its test where there is no third.
Anything that cannot be read right is a :class:`DataError` naming file, line and remedy.
"""

import hashlib
import re
from pathlib import Path

import numpy as np
import pandas as pd

from .manifest import EXPRESSIONS, DataError, validate
from .tables import SPLIT_NAMES, class_tree, codes, label_list, locate, refuse, safe, splits, table

RAFDB = EXPRESSIONS[:7]
FER2013 = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
FERPLUS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
AFFECTNET = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt",
             "none", "uncertain", "no face")
AFFECTNET_CSV = ("subDirectory_filePath", "face_x", "face_y", "face_width", "face_height", "facial_landmarks",
                 "expression", "valence", "arousal")
VOTES = (*FERPLUS, "unknown", "NF")
PROTOCOLS = ("plurality", "majority", "microsoft")
FER_CSV = ("fer2013.csv", "fer2013.csv.gz", "icml_face_data.csv", "icml_face_data.csv.gz")
FER_FOLDERS = ("fer2013", "ferplus", "fer+", "fer-2013", "data", "images")


def finish(manifest, notes=()):
    """Number the rows afresh, let the last split be the test, fill in the truth, attach the notes."""
    manifest = manifest.reset_index(drop=True)
    if "path" in manifest:
        refuse(manifest["path"].duplicated(), manifest["path"], "the image list", "occurs twice; keep one of them")
    if "test" not in set(manifest["split"]):
        manifest["split"] = manifest["split"].replace("val", "test")
    if "true_label" not in manifest:
        manifest["true_label"] = manifest["label"]
    manifest.attrs["notes"] = list(notes)
    return validate(manifest)


def relabel(manifest, path):
    """Replace the training labels by those of a list in the literature's format; ``true_label`` stays.

    The list has ``name label`` lines, labels from 1 in the canonical order, for every training image (rows of
    fer2013.csv go by their number).  Lines for other splits are ignored: evaluation is never relabelled.
    """
    listed = label_list(path)
    name = manifest["path"].str.rsplit("/", n=1).str[-1].str.replace("_aligned", "") \
        if "path" in manifest else manifest["row"].astype(str)
    unknown = pd.Series(~listed.index.isin(name), index=listed.index)
    refuse(unknown, listed.index.to_series(), path, "is no image of this data set; is it the list of another?")
    train, label = manifest["split"] == "train", name.map(listed)
    if (train & label.isna()).any():
        raise DataError(f"{path}: no label for {name[(train & label.isna()).idxmax()]} and "
                        f"{(train & label.isna()).sum() - 1} more; it must list every training image")
    result = manifest.assign(label=manifest["label"].where(~train, label).astype("int64"))
    result.attrs["notes"] = [*manifest.attrs.get("notes", ()), f"training labels taken from {path}"]
    return validate(result)


def read_rafdb(root, labels=None):
    """RAF-DB basic (Li et al. 2017): 12,271 training and 3,068 test faces, 100 x 100, aligned, seven classes.

    Layouts: the official ``EmoLabel/list_patition_label.txt`` with ``Image/aligned`` (or ``Image/original``),
    or the ``train/1..7/*.jpg`` tree, whose ``*_labels.csv``, if there, must agree with it.  ``labels``: another
    list for the training images, such as the literature's noise files (:func:`relabel`).
    """
    inside = ("rafdb", "raf-db", "raf_db", "basic", "raf-basic", "dataset")
    lists = ("EmoLabel/list_patition_label.txt", "list_patition_label.txt")
    base, tree = locate(root, "RAF-DB", inside, lists, ("train/1/*",))
    if tree:
        manifest = class_tree(root, base, RAFDB, first=1)
        file = manifest["path"].str.rsplit("/", n=1).str[-1]
        label = pd.Series(manifest["label"].to_numpy(), index=file)
        for path in sorted(base.glob("*_labels.csv")):
            listed = table(path, ("image", "label"))
            differs = listed["image"].map(label[~label.index.duplicated()]) != codes(listed["label"], RAFDB, path, 1)
            refuse(differs, listed["image"], path, "lies in another class's folder, or nowhere")
    else:
        path = next(base / name for name in lists if (base / name).exists())
        listed = label_list(path, RAFDB)
        split = splits(listed.index.to_series().str.split("_").str[0], path)
        folder = next((name for name in ("Image/aligned", "aligned", "Image/original", "original")
                       if (base / name).is_dir()), None)
        if folder is None:
            raise DataError(f"{base}: expected the images in Image/aligned or Image/original; unpack aligned.zip there")
        file = listed.index.str.replace(".jpg", "_aligned.jpg") if "aligned" in folder else listed.index
        prefix = (base / folder).relative_to(root).as_posix() + "/"
        manifest = pd.DataFrame({"path": prefix + file, "label": listed.to_numpy(), "split": split.to_numpy()})
    return relabel(finish(manifest), labels) if labels else finish(manifest)


def fer2013_csv(root):
    """The pixel csv of FER2013 under ``root``."""
    base, _ = locate(root, "FER2013", FER_FOLDERS, FER_CSV)
    return next(base / name for name in FER_CSV if (base / name).exists())


def fer_rows(root):
    """FER2013's csv as a frame: row, label, split, key (the pixels as text)."""
    path = fer2013_csv(root)
    frame = table(path, ("emotion", "pixels", "Usage"))
    return pd.DataFrame({"row": np.arange(len(frame)), "label": codes(frame["emotion"], FER2013, path),
                         "split": splits(frame["Usage"], path), "key": frame["pixels"]})


def read_votes(path, header=True):
    """FERPlus's votes in ``fer2013new.csv`` or, without header, Microsoft's ``label.csv``, as integers."""
    frame = table(path, ("Usage", "Image name", *VOTES) if header else ("Image name", "box", *VOTES), header)
    for column in VOTES:
        number = pd.to_numeric(frame[column], errors="coerce")
        refuse(~number.isin(range(11)), frame[column], path, f"is no number of {column} votes (0 to 10)")
        frame[column] = number.astype("int64")
    refuse(frame[list(VOTES)].sum(axis=1) == 0, frame["Image name"], path, "has no votes at all")
    return frame


def plurality(votes, protocol="plurality"):
    """Each row's winning expression, -1 where there is none, and whether others have as many votes.

    ``plurality``: most votes; no winner if ``unknown`` or ``NF`` has more.  ``majority``: over half of all
    votes.  ``microsoft``: over half of what is left after single votes are set to zero, as in the released
    FERPlus training code.  Among tied expressions the first in the file's order is named.
    """
    if protocol not in PROTOCOLS:
        raise DataError(f"no protocol is called {protocol!r}; there are {', '.join(PROTOCOLS)}")
    votes = votes[list(VOTES)]
    if protocol == "microsoft":
        votes = votes.where(votes > 1, 0)
    faces = votes[list(FERPLUS)]
    top = faces.max(axis=1)
    winner = faces.idxmax(axis=1).map(EXPRESSIONS.index).astype("int64")
    none = (votes[["unknown", "NF"]].max(axis=1) > top) | (top == 0)
    if protocol != "plurality":
        none |= top * 2 <= votes.sum(axis=1)
    return winner.mask(none, -1), faces.eq(top, axis=0).sum(axis=1) > 1


def with_votes(manifest, votes, protocol, classes):
    """Add truth, kind and votes, and leave out the rows without a truth.  Returns (manifest, notes).

    ``kind``: *noisy* if at most one vote in ten is for ``label`` (FERPlus's authors treat single votes as
    slips), *clean* if at least seven are, else *ambiguous*.  Ties leave evaluation but stay in train, where
    FER2013's own label is taken as true if it is among the tied.
    """
    winner, tied = plurality(votes, protocol)
    ballots, total = votes[list(EXPRESSIONS)].to_numpy(), votes[list(VOTES)].sum(axis=1)
    at = np.arange(len(votes))
    if "label" in manifest:
        own = ballots[at, manifest["label"]] == ballots.max(axis=1)
        winner = winner.mask(tied & own & (winner >= 0), manifest["label"])
    manifest = manifest.assign(**{"label": winner, **manifest, "true_label": winner})
    share = ballots[at, manifest["label"]] / total
    manifest["kind"] = np.select([share <= .101, share >= .699], ["noisy", "clean"], "ambiguous")
    manifest = manifest.join(votes[list(EXPRESSIONS)].add_prefix("votes_"))
    keep, notes = pd.Series(True, index=manifest.index), []
    for reason, rows in {
            "show no face (their name is blank)": votes["Image name"].str.strip() == "",
            f"have no winner by {protocol}": winner < 0,
            f"are won by contempt, not among the {classes} classes": winner >= classes,
            "of val and test have a tie for the most votes": tied & (manifest["split"] != "train")}.items():
        notes += [f"{(rows & keep).sum()} rows {reason}: left out"] if (rows & keep).any() else []
        keep &= ~rows
    odd = (total != 10).sum()
    return manifest[keep], notes + ([f"{odd} rows have votes that do not sum to 10: kept"] if odd else [])


def without_copies(manifest, notes):
    """Drop evaluation rows whose ``key`` (what the image is) also occurs in an earlier split."""
    rank = manifest["split"].map({"train": 0, "val": 1, "test": 2})
    copies = rank > rank.groupby(manifest["key"]).transform("min")
    note = f"{copies.sum()} rows of val and test are exact copies of images in an earlier split: left out"
    return manifest[~copies], [*notes, note] if copies.any() else notes


def digests(root, paths):
    """A digest of each file's bytes."""
    try:
        return [hashlib.blake2b((Path(root) / path).read_bytes(), digest_size=16).digest() for path in paths]
    except OSError as error:
        raise DataError(f"{error.filename}: listed but not readable ({error.strerror}); unpack the images again") \
            from None


def read_fer2013(root, truth=True, dedupe=True):
    """FER2013 (Goodfellow et al. 2013): 35,887 grey faces, 48 x 48, with its own labels, scored on human truth.

    Layouts: ``fer2013.csv``, ``icml_face_data.csv`` (or .gz), or the ``train/angry/*.jpg`` tree.  With
    ``truth`` and FERPlus's ``fer2013new.csv`` beside the csv, ``true_label`` is the plurality of ten people's
    votes and ``kind`` is set (:func:`with_votes`); rows whose truth is none of the seven classes are left out.
    Training = train, PublicTest = val, PrivateTest = test; PublicTest is the test where there is no
    PrivateTest.  ``dedupe`` leaves out evaluation images that an earlier split also holds.
    """
    base, tree = locate(root, "FER2013", FER_FOLDERS, FER_CSV, ("train/angry/*", "train/anger/*"))
    manifest, notes = class_tree(root, base, FER2013) if tree else fer_rows(root), []
    votes = base / "fer2013new.csv"
    if truth and not tree and votes.exists():
        manifest, notes = with_votes(manifest, aligned(read_votes(votes), manifest, votes), "plurality", 7)
    if dedupe:
        manifest["key"] = digests(root, manifest["path"]) if tree else manifest["key"]
        manifest, notes = without_copies(manifest, notes)
    return finish(manifest.drop(columns="key", errors="ignore"), notes)


def aligned(votes, rows, path):
    """Return ``votes`` if they belong, row by row, to FER2013's ``rows``."""
    if len(votes) != len(rows):
        raise DataError(f"{path}: {len(votes)} rows, but FER2013's csv has {len(rows)}; they belong together row by row")
    refuse(splits(votes["Usage"], path) != rows["split"], votes["Usage"], path, "is not this row's Usage in FER2013's csv")
    return votes


def read_ferplus(root, protocol="plurality", classes=8, dedupe=True):
    """FERPlus (Barsoum et al. 2016): FER2013's images with the label that ten people chose by vote.

    Layouts: ``fer2013new.csv`` beside FER2013's csv, or ``FER2013Train/label.csv`` with its png files.
    ``protocol``: see :func:`plurality`.  ``classes`` 7 leaves out the rows that contempt wins.  Rows without
    face or winner are left out, ties stay in train only; splits and ``dedupe`` as in :func:`read_fer2013`.
    """
    base, folders = locate(root, "FERPlus", FER_FOLDERS, ("fer2013new.csv",), ("FER2013Train/label.csv",))
    if folders:
        parts = {path.parent: read_votes(path, header=False) for path in sorted(base.glob("FER2013*/label.csv"))}
        for folder, part in parts.items():
            safe(part["Image name"], folder / "label.csv")
        votes = pd.concat([part.assign(folder=folder.relative_to(root).as_posix()) for folder, part in parts.items()],
                          ignore_index=True)
        manifest = pd.DataFrame({"path": votes["folder"] + "/" + votes["Image name"],
                                 "split": splits(votes["folder"].str.split("/").str[-1], base)})
        manifest["key"] = digests(root, manifest["path"]) if dedupe else ""
    else:
        manifest, path = fer_rows(root).drop(columns="label"), base / "fer2013new.csv"
        votes = aligned(read_votes(path), manifest, path)
    manifest, notes = with_votes(manifest, votes, protocol, classes)
    if dedupe:
        manifest, notes = without_copies(manifest, notes)
    return finish(manifest.drop(columns="key"), notes)


def read_affectnet(root, classes=8):
    """AffectNet (Mollahosseini et al. 2019): 287,651 training and 4,000 validation faces in eight classes.

    Layouts: the manual ``training.csv`` and ``validation.csv`` (face boxes become ``box_*``, cut out when
    decoded), the folders ``train_set/images`` and ``train_set/annotations/*_exp.npy``, or any csv that
    :func:`read_csv` takes, numbered in AffectNet's order.  ``classes`` 7 leaves contempt out (283,901 and
    3,500); rows marked none, uncertain or no face are left out.  The validation set is the test.
    """
    base, layout = locate(root, "AffectNet", ("affectnet", "manually_annotated"), ("train_set/annotations",),
                          ("Manually_Annotated_file_lists/training.csv", "training.csv"), ("*.csv",))
    frame = (affectnet_arrays, affectnet_lists, csv_rows)[layout](root, base)
    reasons = {"are marked none, uncertain or no face": frame["label"] < 0,
               f"are contempt, not among the {classes} classes": frame["label"] >= classes}
    notes = [f"{rows.sum()} rows {reason}: left out" for reason, rows in reasons.items() if rows.any()]
    return finish(frame[frame["label"].between(0, classes - 1)], notes)


def affectnet_arrays(root, base):
    """AffectNet's folder release: one small npy file with the label for each image."""
    files = [file for name in ("train_set", "val_set") for file in sorted((base / name).glob("annotations/*_exp.npy"))]
    texts = pd.Series([small_array(file) for file in files], index=[str(file) for file in files], dtype=object)
    paths = [file.relative_to(root) for file in files]
    return pd.DataFrame({"path": [(path.parents[1] / "images" / path.name.replace("_exp.npy", ".jpg")).as_posix()
                                  for path in paths],
                         "label": codes(texts, AFFECTNET, base).to_numpy(),
                         "split": splits(pd.Series([path.parts[-3] for path in paths], dtype=object), base)})


def small_array(path):
    """The single value in a npy file, as text."""
    try:
        if path.stat().st_size < 4096:
            return str(np.load(path, allow_pickle=False).item())
    except Exception:  # whatever a damaged header makes numpy raise
        pass
    raise DataError(f"{path}: not a npy file with one label; unpack the annotations again")


def affectnet_lists(root, base):
    """AffectNet's manual lists: image, face box and label (some releases lack the second list's header)."""
    images = next((base / name for name in ("Manually_Annotated_Images", "Manually_Annotated/Manually_Annotated_Images")
                   if (base / name).is_dir()), base)
    parts = []
    for path in sorted([*base.glob("training.csv"), *base.glob("validation.csv"),
                        *base.glob("Manually_Annotated_file_lists/*.csv")]):
        with open(path, "rb") as file:
            header = AFFECTNET_CSV[0].encode() in file.read(200)
        frame = table(path, AFFECTNET_CSV, header)
        part = pd.DataFrame({"path": safe(frame["subDirectory_filePath"], path),
                             "label": codes(frame["expression"], AFFECTNET, path),
                             "split": splits(pd.Series(path.stem, index=frame.index), path)})
        part["path"] = images.relative_to(root).as_posix() + "/" + part["path"]
        for column in ("x", "y", "width", "height"):
            box = pd.to_numeric(frame["face_" + column], errors="coerce")
            refuse((part["label"] >= 0) & ~box.between(0, 1e6), frame["face_" + column], path,
                   f"is no face_{column} in pixels")
            part["box_" + column] = box.fillna(0).astype("int64")
        parts.append(part)
    return pd.concat(parts)


def csv_rows(root, base, order=AFFECTNET):
    """Rows of all csv files in ``base`` that name an image and a label: path, label, split."""
    parts = []
    for path in sorted(base.glob("*.csv")):
        frame = table(path, ()).rename(columns=str.lower)
        image, label, split = (next((column for column in names if column in frame), None) for names in (
            ("path", "image", "file", "filename", "subdirectory_filepath"), ("label", "expression", "emotion"),
            ("split", "usage", "phase")))
        if image is None or label is None:
            raise DataError(f"{path}, line 1: expected columns path and label (or expression), separated by "
                            f"commas; found {', '.join(frame.columns)[:200]}")
        prefix = "" if base == Path(root) else base.relative_to(root).as_posix() + "/"
        parts.append(pd.DataFrame({"path": prefix + safe(frame[image], path),
                                   "label": codes(frame[label], order, path),
                                   "split": splits(frame[split], path) if split else split_of(path)}))
    if not parts:
        raise DataError(f"{base}: no csv file here; expected one with the columns path, label and, if split, split")
    frame = pd.concat(parts)
    return hold_out(frame) if frame["split"].isna().all() else frame


def split_of(path):
    """The split that a file's name speaks of, or None."""
    words = set(re.split("[^a-z]+", path.stem.lower()))
    return next((split for split, names in SPLIT_NAMES.items() if words & set(names)), None)


def hold_out(frame, share=0.2, seed=0):
    """Make a fifth of each class, drawn with ``seed``, the test split of a set that came without one."""
    place = pd.Series(np.random.default_rng(seed).random(len(frame)), index=frame.index)
    place = place.groupby(frame["label"].to_numpy()).rank(pct=True)
    return frame.assign(split=np.where(place <= share, "test", "train"))


def read_folder(root):
    """Anybody's images as ``<split>/<class>/<image>`` or ``<class>/<image>``, classes by name (happy, anger, ...).

    Without split folders a fifth of each class, drawn with a fixed seed, is the test.
    """
    frame = class_tree(root, Path(root), EXPRESSIONS)
    if "split" in frame:
        return finish(frame)
    return finish(hold_out(frame), ["no split folders: a fifth of each class was drawn as the test"])


def read_csv(root):
    """Anybody's csv files in ``root``: columns path (or image, file), label (or expression), split (or usage).

    Labels are names or integers from 0 in the canonical order; paths are relative to ``root``.  Without a split
    column the file's name decides (``train.csv``), else a fifth of each class is drawn as the test.
    """
    return finish(csv_rows(root, Path(root), EXPRESSIONS))

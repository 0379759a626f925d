"""Seeded label noise and class imbalance.  Each function returns a new manifest; the truth stays.

Only training rows change.  A seed is an integer or a ``numpy.random.Generator``; nothing but
uniform doubles is drawn from it, so that a seed gives the same labels on every platform.  Labels
move among the classes that occur, by label or true label of some training row: nobody gets a class
that the set does not have.
"""

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from nla.files import write

from .manifest import CLEAR, EXPRESSIONS, VOTERS, DataError, class_names, refuse, validate
from .parsing import label_list, pairs, quoted

Integers = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float64]
Seed = int | np.random.Generator
NO_FACE = "no-face"  # in a list, in place of a label: the image is left out of training


class Training(NamedTuple):
    """The training rows of a manifest."""

    rows: Integers  # their positions in the manifest
    label: Integers
    truth: Integers
    occurring: Integers  # the classes that some row has, by label or true label, in order
    names: tuple[str, ...]  # of all classes


def training(manifest: pd.DataFrame) -> Training:
    """The training rows of ``manifest``; DataError if there are none."""
    rows = np.flatnonzero(manifest["split"] == "train")
    if not len(rows):
        raise DataError("the manifest has no training rows, so there are no labels to change")
    label = manifest["label"].to_numpy(dtype=np.int64)[rows]
    truth = manifest["true_label"].to_numpy(dtype=np.int64)[rows]
    occurring = np.union1d(label, truth)
    names = class_names(manifest)
    return Training(rows, label, truth, occurring, names)


def relabelled(manifest: pd.DataFrame, rows: Integers, labels: Integers) -> pd.DataFrame:
    """A copy with ``labels`` at the positions ``rows``.

    ``kind`` of a row whose label changes is noisy if the new one is not the true label, else what
    the image is, clean or ambiguous; what is known of the others stays.
    """
    label = manifest["label"].copy()
    truth = manifest["true_label"]
    label.iloc[rows] = labels
    of_image = ambiguous_images(manifest).map({True: "ambiguous", False: "clean"})
    by_rule = of_image.where(label == truth, "noisy")
    known = manifest.get("kind", by_rule)
    stays = label == manifest["label"]
    kind = known.where(stays, by_rule)
    return manifest.assign(label=label, kind=kind.astype(object))


def ambiguous_images(manifest: pd.DataFrame) -> pd.Series:
    """Whether an image itself is ambiguous, whatever its label: people's votes say so, or its kind.

    By the votes as in :func:`nla.data.ferplus.with_votes`: under seven in ten for the true label.
    """
    votes = [f"votes_{name}" for name in EXPRESSIONS]
    if not set(votes) <= set(manifest):
        kinds = manifest.get("kind", pd.Series("", manifest.index))
        return kinds == "ambiguous"
    ballots = manifest[votes].to_numpy(dtype=float)
    voters = np.maximum(ballots.sum(axis=1), VOTERS)  # some say unknown, or no face
    for_truth = ballots[np.arange(len(ballots)), manifest["true_label"]]
    return pd.Series(for_truth / voters <= CLEAR, manifest.index)


def check_ratio(ratio: float, train: Training) -> None:
    """DataError unless ``ratio`` is a probability, and 0 if there is no other class to move to."""
    if not 0 <= ratio <= 1:
        raise DataError(f"a flip ratio of {ratio} is no probability; give a number from 0 to 1")
    if ratio > 0 and len(train.occurring) == 1:
        only = train.names[train.occurring[0]]
        raise DataError(f"all training labels are {only}: there is no other class to move to")


def flip_labels(manifest: pd.DataFrame, ratio: float, seed: Seed) -> pd.DataFrame:
    """Symmetric noise: each training label moves with probability ``ratio`` to another class.

    To each of the others that occur alike.
    """
    draw = np.random.default_rng(seed)
    train = training(manifest)
    check_ratio(ratio, train)
    classes = len(train.occurring)
    flip, far = draw.random((2, len(train.rows)))
    steps = 1 + np.floor(far * (classes - 1))
    steps[flip >= ratio] = 0
    place = np.searchsorted(train.occurring, train.label)
    place += steps.astype(np.int64)
    labels = train.occurring[place % classes]
    return relabelled(manifest, train.rows, labels)


def flip_pairs(manifest: pd.DataFrame, ratio: float, seed: Seed) -> pd.DataFrame:
    """Pair noise: each training label moves with probability ``ratio`` to the next class.

    That is the next that occurs, and after the last the first.  Han et al. 2018.
    """
    train = training(manifest)
    check_ratio(ratio, train)
    matrix = pair_matrix(ratio, len(train.names), train.occurring)
    return confuse_labels(manifest, matrix, seed)


def pair_matrix(
    ratio: float,
    classes: int = 7,
    occurring: npt.ArrayLike | None = None,
) -> Numbers:
    """Pair noise as a confusion matrix: class k becomes the next with probability ``ratio``.

    Han et al. 2018.  ``occurring``: the numbers of the classes that there are, if not all.
    """
    there = np.arange(classes) if occurring is None else np.asarray(occurring)
    following = np.roll(there, -1)
    matrix = np.eye(classes)
    matrix[there, there] = 1 - ratio
    matrix[there, following] += ratio
    return matrix


def draw_rows(draw: np.random.Generator, shares: Numbers) -> Integers:
    """One class for each row of ``shares`` (B, K), drawn in proportion to them."""
    reach = shares.cumsum(axis=1)
    total = reach[:, -1:]
    drawn = draw.random((len(shares), 1))
    passed = reach[:, :-1] <= drawn * total
    place: Integers = passed.sum(axis=1)
    return place


def confuse_labels(manifest: pd.DataFrame, matrix: npt.ArrayLike, seed: Seed) -> pd.DataFrame:
    """Asymmetric noise: a training label i becomes j with probability ``matrix[i, j]`` (K, K).

    DataError if that gives a training image a class that none has.
    """
    draw = np.random.default_rng(seed)
    train = training(manifest)
    matrix = np.asarray(matrix, dtype=float)
    check_matrix(matrix, train)
    labels = draw_rows(draw, matrix[train.label])
    return relabelled(manifest, train.rows, labels)


def check_matrix(matrix: Numbers, train: Training) -> None:
    """DataError unless ``matrix`` (K, K) holds probabilities of classes that occur."""
    sizes = numbers_of_classes(train)
    sums = matrix.sum(axis=-1)
    size = sizes[-1]
    square = matrix.shape in [(k, k) for k in sizes]
    none_below = (matrix >= 0).all()
    if not (square and none_below and np.allclose(sums, 1)):
        raise DataError(
            f"the confusion matrix must hold {size} x {size} probabilities, rows summing to 1; "
            f"it is {matrix.shape} with row sums {sums.round(3)}"
        )
    for i in train.occurring:
        strange = np.setdiff1d(np.flatnonzero(matrix[i]), train.occurring)
        if len(strange):
            j = strange[0]
            raise DataError(
                f"the confusion matrix turns {train.names[i]} (row {i}) into {train.names[j]} "
                f"(column {j}), which no training image has; give 0 there"
            )


def numbers_of_classes(train: Training) -> range:
    """How many columns what is said of each class may have: at least up to the last that occurs."""
    fewest = int(train.occurring[-1]) + 1
    return range(fewest, len(train.names) + 1)


def draw_labels(manifest: pd.DataFrame, seed: Seed) -> pd.DataFrame:
    """Ambiguity: each training label is drawn from its image's distribution.

    As one annotator would give it: from the planted ``p_<class>`` (built-in faces) or the
    ``votes_<class>`` (FERPlus) of the row.
    """
    draw = np.random.default_rng(seed)
    train = training(manifest)
    for prefix in ("p_", "votes_"):
        columns = [prefix + name for name in train.names]
        if set(columns) <= set(manifest):
            break
    else:
        raise DataError(
            "there is no distribution to draw from: neither p_<class> nor votes_<class> columns"
        )
    shares = manifest[columns].to_numpy(dtype=float)[train.rows]
    some = shares.sum(axis=1) > 0
    valid = some & (shares >= 0).all(axis=1)
    if not valid.all():
        row = manifest.index[train.rows[valid.argmin()]]
        raise DataError(
            f"row {row}: the {prefix}<class> columns are no distribution: they must be at least 0, "
            "one of them more; leave such rows out"
        )
    return relabelled(manifest, train.rows, draw_rows(draw, shares))


def flip_by_prediction(
    manifest: pd.DataFrame,
    probabilities: npt.ArrayLike,
    ratio: float,
    seed: Seed,
) -> pd.DataFrame:
    """Instance-dependent noise: labels that a model finds doubtful move to their nearest negative.

    ``probabilities`` (training rows, K) come from a run.  A share ``ratio`` of the rows is drawn
    without replacement, with weight p_NN, the largest probability of another class that occurs
    (weighted sampling by keys, Efraimidis and Spirakis 2006), and gets that class as its label
    (after Chen et al., AAAI 2021).
    """
    draw = np.random.default_rng(seed)
    train = training(manifest)
    others = np.array(probabilities, dtype=float)
    label = train.label.copy()
    count = len(label)
    sizes = numbers_of_classes(train)
    fits = others.shape in [(count, size) for size in sizes]
    finite = np.isfinite(others).all()
    check_ratio(ratio, train)
    if not (fits and finite):
        raise DataError(
            "expected finite probabilities, one row per training image: "
            f"{(count, sizes[-1])}; they are {others.shape}"
        )
    absent = np.setdiff1d(np.arange(others.shape[1]), train.occurring)
    others[:, absent] = -1
    others[np.arange(count), label] = -1
    nearest = others.argmax(axis=1)
    p_nn = others.max(axis=1).clip(min=1e-12)
    drawn = draw.random(count)
    drawn += 1e-300
    key = np.log(drawn) / p_nn
    order = np.argsort(-key, kind="stable")
    chosen = order[: round(ratio * count)]
    label[chosen] = nearest[chosen]
    return relabelled(manifest, train.rows, label)


def imbalance(
    manifest: pd.DataFrame,
    factor: float,
    seed: Seed,
    profile: str = "exponential",
) -> pd.DataFrame:
    """Thin the training classes until the largest is ``factor`` times the smallest.

    Classes are those of the true labels, in their natural order of frequency, so that wrong labels
    are left out as often as right ones.  ``exponential``: class i of K keeps
    n factor^(-i / (K - 1)) samples; ``step``: the rarer half keeps n / factor each, the others n; n
    is the largest number that every class can supply, and every class keeps one sample.  A note
    says where whole samples miss the factor by more than a twentieth.  The index of the result says
    which rows, hence images, stay.
    """
    if not 1 <= factor < np.inf or profile not in ("exponential", "step"):
        raise DataError(
            f"imbalance by factor {factor}, profile {profile!r}: expected a factor of at least 1 "
            f"and exponential or step"
        )
    draw = np.random.default_rng(seed)
    train = training(manifest)
    classes, counts = np.unique(train.truth, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    classes = classes[order]  # from the most frequent to the rarest
    keep = sizes_of(counts[order], factor, profile)
    place = draw.random(len(train.rows))
    mixed = np.argsort(place, kind="stable")
    kept = [np.flatnonzero(manifest["split"] != "train")]
    for name, size in zip(classes, keep, strict=True):
        members = mixed[train.truth[mixed] == name]
        chosen = members[:size]
        kept.append(train.rows[chosen])
    rows = np.sort(np.concatenate(kept))
    thin = manifest.iloc[rows]
    largest, smallest = keep[0], keep[-1]
    reached = largest / smallest
    if len(keep) == 1 or 0.95 <= reached / factor <= 1.05:
        return thin
    missed = "not reached" if reached < factor else "exceeded"
    note = (
        f"imbalance by factor {factor:g} is {missed}: the largest class keeps {largest} and "
        f"the smallest {smallest} of its training images"
    )
    return noted(thin, note)


def sizes_of(counts: Integers, factor: float, profile: str) -> Integers:
    """How many samples each class keeps, from ``counts`` (K,) that fall."""
    last = max(1, len(counts) - 1)
    place = np.arange(len(counts)) / last
    if profile == "step":
        place = np.floor(place + 0.5)
    share = float(factor) ** -place
    supplied = counts / share  # how many the largest may keep, for each class
    largest = supplied.min()
    sizes: Numbers = np.round(largest * share)
    return sizes.clip(min=1).astype(np.int64)


def image_names(manifest: pd.DataFrame) -> pd.Series:
    """What a list calls each image: its file's name without ``_aligned``, or its path, or row."""
    if "path" not in manifest:
        return manifest["row"].astype(str)
    names = manifest["path"].str.replace(".*/|_aligned", "", regex=True)
    return names if names.is_unique else manifest["path"]


def called(manifest: pd.DataFrame) -> list[pd.Series]:
    """What a list may call the images: names, or paths where there are any; both composed."""
    ways = [image_names(manifest)]
    if "path" in manifest:
        ways.append(manifest["path"].str.replace("_aligned", ""))
    return [names.str.normalize("NFC") for names in ways]


def all_names(manifest: pd.DataFrame) -> set[str]:
    """Every name by which a list may call an image of the manifest, composed."""
    names: set[str] = set()
    return names.union(*called(manifest))


def write_list(
    manifest: pd.DataFrame,
    path: str | Path,
    faceless: Collection[str] = (),
    named: bool | None = None,
) -> None:
    """Write the training labels as the literature does, ``name label`` with labels from 1.

    ``named``: the classes' names behind a tab in place of numbers, which mean nothing once the
    classes have another order; by default for a set that has classes of its own.
    The label is ``no-face`` where a column ``no_face`` says so, and for the names ``faceless`` of
    images that are not in the manifest. DataError if two images have one name. The file is whole
    or absent.
    """
    train = manifest[manifest["split"] == "train"]
    names = image_names(manifest)[train.index]
    twice = names[names.duplicated()]
    if len(twice):
        raise DataError(
            f"{twice.iloc[0]} shows several faces, which a list of names "
            "cannot tell apart: cut them out into files of their own first"
        )
    if named is None:
        named = "classes" in manifest.attrs
    written = dict(enumerate(map(quoted, class_names(manifest))))
    labels = train["label"].map(written) if named else (train["label"] + 1).astype(str)
    if "no_face" in manifest:
        labels[train["no_face"]] = NO_FACE
    between = "\t" if named else " "
    gone = [f"{name}{between}{NO_FACE}" for name in faceless]
    lines = [*(names + between + labels), *gone]
    write(path, "\n".join(lines) + "\n")


def relabel(
    manifest: pd.DataFrame,
    path: str | Path,
    elsewhere: Collection[str] | None = (),
) -> pd.DataFrame:
    """Replace the training labels by those of such a list; ``true_label`` stays, ``kind`` follows.

    The list names every training image (rows of fer2013.csv go by their number), by its name alone
    or by its path; labels are names of the set's classes, or numbers from 1 in their order, or
    ``no-face``: such rows are left out, and a note counts them.
    Lines for other splits are ignored: evaluation is never relabelled. So are those for images
    ``elsewhere``, names of images of the set that are not in the manifest; with None all lines for
    images that are not there are ignored, and a note counts them.
    """
    classes = class_names(manifest)
    listed = label_list(path, classes, gap="" if NO_FACE in classes else NO_FACE)
    listed.index = listed.index.str.normalize("NFC")
    names = names_as_listed(manifest, listed.index)
    if elsewhere is not None:
        check_known(listed.index, {*names, *elsewhere}, path)
    strange = listed.index[~listed.index.isin(names)]
    train = manifest["split"] == "train"
    missing = names[train & ~names.isin(listed.index)]
    if len(missing):
        raise DataError(
            f"{path}: no label for {missing.iloc[0]} and {len(missing) - 1} more; it must list all"
        )
    labels = names[train].map(listed).to_numpy(dtype=np.int64)
    rows = np.flatnonzero(train)
    shown = labels >= 0
    faceless = rows[~shown]
    result = relabelled(manifest, rows[shown], labels[shown])
    notes = [f"training labels taken from {path}"]
    if elsewhere is None and len(strange):
        notes.append(
            f"{len(strange)} lines of {path} are about images that are not there, as {strange[0]}"
        )
    if len(faceless):
        notes.append(f"{len(faceless)} images that show no face by {path}: left out")
        result = result.drop(result.index[faceless])
    return validate(noted(result, *notes))


def check_known(listed: pd.Index, known: set[str], path: str | Path) -> None:
    """DataError, naming the line, if a name in the list is none of the ``known`` ones."""
    strange = ~listed.isin(list(known))
    if strange.any():
        lines = pairs(path).index
        message = "is no image of this data set; is it the list of another?"
        refuse(pd.Series(strange, lines), pd.Series(listed, lines), path, message)


def names_as_listed(manifest: pd.DataFrame, listed: pd.Index) -> pd.Series:
    """The images' names, or their paths if those are what the list speaks of; both composed."""
    names, *paths = called(manifest)
    if not paths or listed.isin(names).all():
        return names
    return paths[0] if listed.isin(paths[0]).any() else names


def noted(manifest: pd.DataFrame, *notes: str) -> pd.DataFrame:
    """``manifest`` with more notes in its ``attrs``."""
    result = manifest.copy()
    before = manifest.attrs.get("notes", ())
    result.attrs["notes"] = [*before, *notes]
    return result

"""Seeded label noise and class imbalance.  Each function returns a new manifest and keeps ``true_label``.

Only training rows change.  A seed is an integer or a ``numpy.random.Generator``; nothing but uniform doubles is drawn
from it, so that a seed gives the same labels on every platform.
"""

import numpy as np
import pandas as pd

from nla.files import write

from .manifest import EXPRESSIONS, DataError, validate
from .parsing import label_list, refuse


def training(manifest):
    """(positions, labels, number of classes) of the training rows."""
    rows = np.flatnonzero(manifest["split"] == "train")
    if not len(rows):
        raise DataError("the manifest has no training rows, so there are no labels to change")
    classes = 1 + int(manifest[["label", "true_label"]].to_numpy().max())
    return rows, manifest["label"].to_numpy()[rows], classes


def relabelled(manifest, rows, labels):
    """A copy with ``labels`` at the positions ``rows``; ``kind`` is noisy where a changed label is wrong."""
    label, truth = manifest["label"].copy(), manifest["true_label"]
    label.iloc[rows] = labels
    said = pd.Series(np.where(label == truth, "clean", "noisy"), manifest.index, dtype=object)
    kept = manifest.get("kind", said).where(label == manifest["label"], said)
    return manifest.assign(label=label, kind=kept.astype(object))


def flip_labels(manifest, ratio, seed):
    """Symmetric noise: each training label moves with probability ``ratio`` to another class, uniformly."""
    if not 0 <= ratio <= 1:
        raise DataError(f"a flip ratio of {ratio} is no probability; give a number from 0 to 1")
    draw, (rows, label, classes) = np.random.default_rng(seed), training(manifest)
    flip = draw.random(len(rows)) < ratio
    step = 1 + np.floor(draw.random(len(rows)) * (classes - 1)).astype(int)
    return relabelled(manifest, rows, np.where(flip, (label + step) % classes, label))


def pair_matrix(ratio, classes=7):
    """Pair noise as a confusion matrix: class k becomes k + 1 with probability ``ratio`` (Han et al. 2018)."""
    return (1 - ratio) * np.eye(classes) + ratio * np.roll(np.eye(classes), 1, axis=1)


def draw_rows(draw, shares):
    """One class for each row of ``shares`` (B, K), drawn in proportion to them."""
    reach = shares.cumsum(axis=1)
    return (reach[:, :-1] <= draw.random(len(shares))[:, None] * reach[:, -1:]).sum(axis=1)


def confuse_labels(manifest, matrix, seed):
    """Asymmetric noise: a training label i becomes j with probability ``matrix[i, j]`` (K, K)."""
    draw, (rows, label, classes) = np.random.default_rng(seed), training(manifest)
    matrix = np.asarray(matrix, dtype=float)
    if (
        matrix.shape != (classes, classes)
        or (matrix < 0).any()
        or not np.allclose(matrix.sum(axis=1), 1)
    ):
        raise DataError(
            f"the confusion matrix must hold {classes} x {classes} probabilities, rows summing to 1; "
            f"it is {matrix.shape} with row sums {matrix.sum(axis=-1).round(3)}"
        )
    return relabelled(manifest, rows, draw_rows(draw, matrix[label]))


def draw_labels(manifest, seed):
    """Ambiguity: each training label is drawn from its image's distribution, as one annotator would give it.

    That is the planted ``p_<class>`` (built-in faces) or the ``votes_<class>`` (FERPlus) of the row.
    """
    draw, (rows, _, classes) = np.random.default_rng(seed), training(manifest)
    for prefix in ("p_", "votes_"):
        columns = [prefix + name for name in EXPRESSIONS[:classes]]
        if set(columns) <= set(manifest):
            return relabelled(
                manifest, rows, draw_rows(draw, manifest[columns].to_numpy(dtype=float)[rows])
            )
    raise DataError(
        "there is no distribution to draw from: neither p_<class> nor votes_<class> columns"
    )


def flip_by_prediction(manifest, probabilities, ratio, seed):
    """Instance-dependent noise: labels that a model itself finds doubtful move to their nearest negative.

    ``probabilities`` (training rows, K) come from a run.  A share ``ratio`` of the rows is drawn without
    replacement, with weight p_NN, the largest probability of another class (weighted sampling by keys,
    Efraimidis and Spirakis 2006), and gets that class as its label (after Chen et al., AAAI 2021).
    """
    draw, (rows, label, classes) = np.random.default_rng(seed), training(manifest)
    others, label = np.array(probabilities, dtype=float), label.copy()
    if others.shape != (len(rows), classes) or not np.isfinite(others).all() or not 0 <= ratio <= 1:
        raise DataError(
            f"expected a ratio from 0 to 1 (it is {ratio}) and finite probabilities, one row per "
            f"training image: {(len(rows), classes)}; they are {others.shape}"
        )
    others[np.arange(len(rows)), label] = -1
    key = np.log(draw.random(len(rows)) + 1e-300) / np.maximum(others.max(axis=1), 1e-12)
    chosen = np.argsort(-key, kind="stable")[: round(ratio * len(rows))]
    label[chosen] = others.argmax(axis=1)[chosen]
    return relabelled(manifest, rows, label)


def imbalance(manifest, factor, seed, profile="exponential"):
    """Thin the training classes until the largest is ``factor`` times the smallest.

    Classes keep their natural order of frequency (by ``label``).  ``exponential``: class i of K keeps
    n factor^(-i / (K - 1)) samples; ``step``: the rarer half keeps n / factor each, the others n; n is the
    largest number that every class can supply.  The index of the result says which rows, hence images, stay.
    """
    if not 1 <= factor < np.inf or profile not in ("exponential", "step"):
        raise DataError(
            f"imbalance by factor {factor}, profile {profile!r}: expected a factor of at least 1 "
            f"and exponential or step"
        )
    draw, (rows, label, _) = np.random.default_rng(seed), training(manifest)
    names, counts = np.unique(label, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    place = np.arange(len(names)) / max(1, len(names) - 1)
    share = float(factor) ** -(place if profile == "exponential" else np.floor(place + 0.5))
    keep = np.maximum(1, np.round((counts[order] / share).min() * share)).astype(int)
    mixed = np.argsort(draw.random(len(rows)), kind="stable")
    kept = [
        rows[mixed[label[mixed] == name][:n]] for name, n in zip(names[order], keep, strict=True)
    ]
    return manifest.iloc[
        np.sort(np.concatenate([*kept, np.flatnonzero(manifest["split"] != "train")]))
    ]


def image_names(manifest):
    """What a list calls each image: the file's name without ``_aligned``, or the path, or the row."""
    if "path" not in manifest:
        return manifest["row"].astype(str)
    names = manifest["path"].str.rsplit("/", n=1).str[-1].str.replace("_aligned", "")
    return names if names.is_unique else manifest["path"]


def write_list(manifest, path):
    """Write the training labels as the literature does, ``name label`` with labels from 1, whole or not at all."""
    train = manifest[manifest["split"] == "train"]
    lines = image_names(manifest)[train.index] + " " + (train["label"] + 1).astype(str)
    write(path, "\n".join(lines) + "\n")


def relabel(manifest, path):
    """Replace the training labels by those of such a list; ``true_label`` stays.

    The list names every training image (rows of fer2013.csv go by their number), labels from 1 in the canonical order.
    Lines for other splits are ignored: evaluation is never relabelled.
    """
    listed, names, train = label_list(path), image_names(manifest), manifest["split"] == "train"
    named = listed.index.to_series()
    refuse(
        ~named.isin(names), named, path, "is no image of this data set; is it the list of another?"
    )
    missing = names[train & ~names.isin(listed.index)]
    if len(missing):
        raise DataError(
            f"{path}: no label for {missing.iloc[0]} and {len(missing) - 1} more; it must list all"
        )
    result = manifest.assign(
        label=names.map(listed).where(train, manifest["label"]).astype("int64")
    )
    result.attrs["notes"] = [*manifest.attrs.get("notes", ()), f"training labels taken from {path}"]
    return validate(result)

"""Seeded label noise and class imbalance.  Each function returns a new manifest and keeps ``true_label``.

Only training rows change.  A seed is an integer or a ``numpy.random.Generator``; nothing but uniform doubles
is drawn from it, so that a seed gives the same labels on every platform.
"""

import numpy as np

from .manifest import DataError


def relabelled(manifest, rows, labels):
    """A copy of ``manifest`` with ``labels`` at the positions ``rows``; ``kind`` follows where a label changed."""
    result = manifest.copy()
    label, truth = result["label"].to_numpy(copy=True), result["true_label"].to_numpy()
    kind = (result["kind"] if "kind" in result else np.where(label == truth, "clean", "noisy"))
    kind = np.array(kind, dtype=object)
    changed = rows[labels != label[rows]]
    label[rows] = labels
    kind[changed] = np.where(label[changed] == truth[changed], "clean", "noisy")
    return result.assign(label=label, kind=kind)


def training_rows(manifest):
    """Positions of the training rows."""
    rows = np.flatnonzero(manifest["split"] == "train")
    if not len(rows):
        raise DataError("the manifest has no training rows, so there are no labels to corrupt")
    return rows


def class_count(manifest):
    """The number of classes: one more than the largest label."""
    return 1 + int(manifest[["label", "true_label"]].to_numpy().max())


def flip_labels(manifest, ratio, seed):
    """Symmetric noise: each training label moves with probability ``ratio`` to one of the other classes, uniformly."""
    if not 0 <= ratio <= 1:
        raise DataError(f"a flip ratio of {ratio} is not a probability; give a number from 0 to 1")
    draw, rows, classes = np.random.default_rng(seed), training_rows(manifest), class_count(manifest)
    flip = draw.random(len(rows)) < ratio
    step = 1 + np.floor(draw.random(len(rows)) * (classes - 1)).astype(int)
    label = manifest["label"].to_numpy()[rows]
    return relabelled(manifest, rows, np.where(flip, (label + step) % classes, label))


def imbalance(manifest, factor, seed, profile="exponential"):
    """Thin the training classes until the largest is ``factor`` times the smallest.

    Classes keep their natural order of frequency (by ``label``).  Profile ``exponential``: class i of K keeps
    n factor^(-i / (K - 1)) samples; ``step``: the rarer half keeps n / factor each, the others n; n is the largest
    number that every class can supply.  The index of the result says which rows, hence which images, stay.
    """
    if factor < 1 or profile not in ("exponential", "step"):
        raise DataError(f"imbalance factor {factor}, profile {profile!r}: expected a factor of at least 1 and "
                        f"'exponential' or 'step'")
    draw, rows = np.random.default_rng(seed), training_rows(manifest)
    counts = manifest["label"].iloc[rows].value_counts().sort_index().sort_values(ascending=False, kind="stable")
    place = np.arange(len(counts)) / max(1, len(counts) - 1)
    share = float(factor) ** -(place if profile == "exponential" else (place >= .5).astype(float))
    keep = np.maximum(1, np.round((counts / share).min() * share).astype(int))
    order = rows[np.argsort(draw.random(len(rows)), kind="stable")]
    label = manifest["label"].to_numpy()
    kept = [order[label[order] == name][:number] for name, number in zip(counts.index, keep, strict=True)]
    others = np.flatnonzero(manifest["split"] != "train")
    return manifest.iloc[np.sort(np.concatenate([*kept, others]))]

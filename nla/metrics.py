"""Accuracy in the field's terms: overall, mean over the classes, per class; F1, calibration."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd


def confusion(
    labels: npt.ArrayLike,
    predictions: npt.ArrayLike,
    classes: Sequence[str],
    normalize: str | None = None,
) -> pd.DataFrame:
    """Counts, or rates (normalize="true"), (K, K): true classes in rows.

    ``labels`` and ``predictions`` are integers (N,) in 0..K-1, N > 0, else ValueError. Rates of a
    class that does not occur are NaN.
    """
    if normalize not in (None, "true"):
        raise ValueError(f"normalize is {normalize!r}, expected None or 'true'")
    labels = class_numbers(labels, "label", classes)
    predictions = class_numbers(predictions, "prediction", classes)
    if len(labels) != len(predictions):
        raise ValueError(f"{len(labels)} labels, but {len(predictions)} predictions")
    count = len(classes)
    pairs = np.bincount(labels * count + predictions, minlength=count**2)
    table = pairs.reshape(count, count)
    if normalize == "true":
        with np.errstate(invalid="ignore"):
            table = table / table.sum(axis=1, keepdims=True)
    return pd.DataFrame(table, pd.Index(classes, name="true"), pd.Index(classes, name="predicted"))


def class_numbers(
    values: npt.ArrayLike, name: str, classes: Sequence[str]
) -> npt.NDArray[np.int64]:
    """``values`` as integers (N,), or ValueError if there are none or one is no class number."""
    numbers = np.asarray(values)
    if numbers.size == 0:
        raise ValueError("no sample to score")
    outside = ~np.isin(numbers, range(len(classes)))
    if outside.any():
        row = int(outside.argmax())
        raise ValueError(
            f"{name} {numbers[row]} in row {row} is outside 0..{len(classes) - 1}, "
            f"the numbers of the classes {', '.join(classes)}"
        )
    return numbers.astype(np.int64)


def accuracies(
    labels: npt.ArrayLike, predictions: npt.ArrayLike, classes: Sequence[str]
) -> dict[str, float]:
    """Percentages: ``overall``, ``mean`` over the classes that occur, and one a class (else NaN).

    Overall accuracy follows the majority; the mean counts every class alike, so a model that
    neglects rare expressions shows. ``labels`` and ``predictions`` as :func:`confusion`.
    """
    counts = confusion(labels, predictions, classes).to_numpy()
    right, of_class = counts.diagonal(), counts.sum(axis=1)
    with np.errstate(invalid="ignore"):
        per_class = 100 * right / of_class
    return {
        "overall": float(100 * right.sum() / counts.sum()),
        "mean": float(np.nanmean(per_class)),
        **dict(zip(classes, per_class.tolist(), strict=True)),
    }


def quality(
    labels: npt.ArrayLike, probabilities: npt.NDArray[np.floating], classes: Sequence[str]
) -> dict[str, float]:
    """Percentages of probabilities (N, K): overall, mean, ``worst`` class, ``macro_f1``, ``ece``.

    Worst and macro F1 are of the classes that occur. ValueError as :func:`confusion`, and where a
    probability is not finite.
    """
    finite = np.isfinite(probabilities).all(axis=1)
    if not finite.all():
        raise ValueError(f"the probabilities of row {int(finite.argmin())} are not finite")
    from sklearn.metrics import f1_score  # here, since it takes a second to load

    predictions = probabilities.argmax(1)
    overall, mean, *per_class = accuracies(labels, predictions, classes).values()
    f1 = f1_score(labels, predictions, labels=np.unique(labels), average="macro", zero_division=0)
    right = predictions == np.asarray(labels)
    return {
        "overall": overall,
        "mean": mean,
        "worst": float(np.nanmin(per_class)),
        "macro_f1": 100 * float(f1),
        "ece": 100 * calibration_error(right, probabilities.max(1)),
    }


def adjusted(
    probabilities: npt.NDArray[np.floating], counts: npt.ArrayLike
) -> npt.NDArray[np.float64]:
    """Probabilities (N, K) as if all classes were equally common: p_k / pi_k, scaled to sum to 1.

    ``counts`` as in :func:`prior_of`. Logit adjustment after training, Menon et al., "Long-tail
    learning via logit adjustment", ICLR 2021, section 4.1, with tau = 1.
    """
    even = probabilities / prior_of(counts)
    scaled: npt.NDArray[np.float64] = even / even.sum(axis=1, keepdims=True)
    return scaled


def with_prior(
    probabilities: npt.NDArray[np.floating], counts: npt.ArrayLike, tau: float = 1.0
) -> npt.NDArray[np.float64]:
    """Probabilities (N, K) for classes as common as in training: p_k pi_k^tau, scaled to sum to 1.

    The way back from :func:`adjusted`, for a loss that takes ``tau`` log pi out of the logits while
    it trains; ``counts`` as in :func:`prior_of`.
    """
    uneven = probabilities * prior_of(counts) ** tau
    scaled: npt.NDArray[np.float64] = uneven / uneven.sum(axis=1, keepdims=True)
    return scaled


def prior_of(counts: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """pi (K,): the share of each class in ``counts`` (K,), how many training labels it had.

    A class without any counts as the rarest that has some. ValueError if none has one.
    """
    counts = np.asarray(counts, dtype=float)
    if not (counts > 0).any():
        raise ValueError("no class has a training label")
    rarest = counts[counts > 0].min()
    prior: npt.NDArray[np.float64] = np.where(counts > 0, counts, rarest) / counts.sum()
    return prior


def other_prior(
    labels: npt.ArrayLike,
    probabilities: npt.NDArray[np.floating],
    counts: npt.ArrayLike,
    classes: Sequence[str],
    taken_out: float,
) -> dict[str, float]:
    """Overall and mean accuracy (%) under the assumption on classes that the loss did not make.

    A loss that has ``taken_out`` log pi times that from the logits (with 1 it answers as if all
    classes were equally common) is scored :func:`with_prior`; any other, 0, answers as if they were
    as common as in training, and is scored :func:`adjusted`. ``labels`` (N,) in 0..K-1,
    ``probabilities`` (N, K), ``counts`` (K,) as in :func:`prior_of`; keys are "with prior: overall"
    and the like. ValueError as in :func:`accuracies` and :func:`prior_of`.
    """
    if taken_out:
        name, changed = "with prior", with_prior(probabilities, counts, taken_out)
    else:
        name, changed = "adjusted", adjusted(probabilities, counts)
    after = accuracies(labels, changed.argmax(axis=1), classes)
    return {f"{name}: {average}": after[average] for average in ("overall", "mean")}


def calibration_error(correct: npt.ArrayLike, confidence: npt.ArrayLike, bins: int = 15) -> float:
    """Expected calibration error: |accuracy - mean confidence| n_bin / N, summed over equal bins.

    ``correct`` (N,) bool, ``confidence`` (N,) in 0..1; ValueError without a sample. Guo et al.,
    ICML 2017, equation 3.
    """
    confidence = np.asarray(confidence)
    if confidence.size == 0:
        raise ValueError("no sample to score")
    bin_of = np.ceil(confidence * bins).clip(1, bins).astype(int)
    excess = np.bincount(bin_of, np.asarray(correct, float) - confidence)
    return float(np.abs(excess).sum() / len(bin_of))

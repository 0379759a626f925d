"""Accuracy in the field's terms: overall, mean over the classes (balanced), per class; F1, calibration, confusion."""

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix, f1_score


def confusion(
    labels, predictions, classes: tuple[str, ...], normalize: str | None = None
) -> pd.DataFrame:
    """Counts, or rates (normalize="true"), (K, K): true classes in rows; integers (N,) in 0..K-1 are counted."""
    table = confusion_matrix(labels, predictions, labels=range(len(classes)), normalize=normalize)
    return pd.DataFrame(table, pd.Index(classes, name="true"), pd.Index(classes, name="predicted"))


def accuracies(labels, predictions, classes: tuple[str, ...]) -> dict[str, float]:
    """Percentages: ``overall``, ``mean`` over the classes that occur, and one entry a class (else NaN).

    Overall accuracy follows the majority; the mean counts every class alike, so a model that neglects
    rare expressions shows. ``labels`` and ``predictions`` are integers (N,).
    """
    if len(labels) == 0:
        raise ValueError("no sample to score")
    counts = confusion(labels, predictions, classes).to_numpy()
    with np.errstate(invalid="ignore"):
        per_class = 100 * counts.diagonal() / counts.sum(axis=1)
    overall = 100 * counts.diagonal().sum() / counts.sum()
    return {
        "overall": float(overall),
        "mean": float(np.nanmean(per_class)),
        **dict(zip(classes, per_class.tolist(), strict=True)),
    }


def quality(labels, probabilities: np.ndarray, classes: tuple[str, ...]) -> dict[str, float]:
    """Percentages of probabilities (N, K): overall, mean, ``worst`` class that occurs, ``macro_f1``, ``ece``."""
    predictions = probabilities.argmax(1)
    overall, mean, *per_class = accuracies(labels, predictions, classes).values()
    f1 = f1_score(labels, predictions, labels=np.unique(labels), average="macro", zero_division=0)
    return {
        "overall": overall,
        "mean": mean,
        "worst": float(np.nanmin(per_class)),
        "macro_f1": 100 * float(f1),
        "ece": 100 * calibration_error(predictions == np.asarray(labels), probabilities.max(1)),
    }


def calibration_error(correct, confidence, bins: int = 15) -> float:
    """Expected calibration error: sum over equal bins of confidence of |accuracy - mean confidence| n_bin / N.

    ``correct`` (N,) bool, ``confidence`` (N,) in 0..1. Guo et al., ICML 2017, equation 3.
    """
    place = np.ceil(np.asarray(confidence) * bins).clip(1, bins).astype(int)
    return float(
        np.abs(np.bincount(place, np.asarray(correct, float) - confidence)).sum() / len(place)
    )

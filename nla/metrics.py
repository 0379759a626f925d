"""Accuracy in the field's terms: overall, mean over the classes (balanced), per class; confusion."""

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix


def confusion(labels, predictions, classes: tuple[str, ...], normalize: str | None = None) -> pd.DataFrame:
    """Confusion matrix (K, K), true classes in rows, predicted in columns: counts, or rates (normalize="true").

    ``labels`` and ``predictions`` are integers (N,) in 0..K-1.
    """
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
    return {"overall": float(overall), "mean": float(np.nanmean(per_class)),
            **dict(zip(classes, per_class.tolist(), strict=True))}

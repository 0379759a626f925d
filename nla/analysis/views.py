"""Views of a run, each derived from its raw records in a few lines of pandas.

A view is a tidy table, one row per epoch (and group); figures and explorers draw these and nothing else.
"""

import numpy as np
import pandas as pd

from nla.data.manifest import KINDS
from nla.dynamics import Run


def kinds(table: pd.DataFrame) -> pd.Series:
    """The kind of each row, an ordered category of those that occur.

    Where nobody knows it, a label that differs from the true one is noisy and every other is clean.
    """
    kind = table["kind"] if "kind" in table else np.where(table["label"] == table["true_label"], "clean", "noisy")
    kind = pd.Series(pd.Categorical(kind, KINDS, ordered=True), table.index, name="kind")
    return kind.cat.remove_unused_categories()


def groups(run: Run, table: pd.DataFrame, by: str) -> pd.Series:
    """The group of each row: its ``kind``, or the name of its ``class`` (the label it is trained on)."""
    if by == "kind":
        return kinds(table)
    if by == "class":
        return pd.Series(pd.Categorical.from_codes(table["label"], run.classes), table.index, name="class")
    raise ValueError(f"by must be 'class' or 'kind', got {by!r}")


def over_epochs(run: Run, by: str = "class", column: str = "weight") -> pd.DataFrame:
    """Mean of a per-sample ``column`` by class or kind, with its 95 % interval: epoch, <by>, mean, low, high, n."""
    table = run.all_samples.reset_index(drop=True)
    grouped = table.groupby(["epoch", groups(run, table, by)], observed=True)[column]
    table = grouped.agg(mean="mean", half="sem", n="count").reset_index()
    half = 1.96 * table.pop("half").fillna(0)
    return table.assign(low=table["mean"] - half, high=table["mean"] + half)


def memorisation(run: Run) -> pd.Series:
    """Share (0..1) of the noisy training samples that are predicted as their wrong label, by epoch.

    Empty if no label of the run is known to be wrong.
    """
    samples = run.all_samples
    return samples[samples["label"] != samples["true_label"]].groupby("epoch")["correct"].mean()


def weight_share(run: Run) -> pd.DataFrame:
    """Each class's share (0..1) of the samples, of w* and of the loss weight 1 + w*, by epoch.

    Long: epoch, class, samples, weight, loss_weight, and excess = weight / samples (above 1: the class
    gets more of w* than its number of samples).
    """
    table = run.all_samples.reset_index(drop=True)
    table = table.assign(samples=1.0, loss_weight=1 + table["weight"])[["epoch", "samples", "weight", "loss_weight"]]
    sums = table.groupby(["epoch", groups(run, run.all_samples.reset_index(drop=True), "class")], observed=True).sum()
    shares = sums / sums.groupby("epoch").transform("sum")
    return shares.assign(excess=shares["weight"] / shares["samples"]).reset_index()

"""Views of a run, each derived from its raw records in a few lines of pandas.

A view is a tidy table by epoch (and group); figures and explorers draw these and nothing else.
"""

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score

from nla.consistency import js_divergence
from nla.data.manifest import KINDS
from nla.dynamics import Run
from nla.naw import NAW, Scores


def kinds(table: pd.DataFrame) -> pd.Series:
    """The kind of each row, an ordered category of those that occur.

    Where nobody knows it, a label that differs from the true one is noisy and every other is clean.
    """
    kind = table["kind"] if "kind" in table else np.where(table["label"] == table["true_label"], "clean", "noisy")
    kind = pd.Series(pd.Categorical(kind, KINDS, ordered=True), table.index, name="kind")
    return kind.cat.remove_unused_categories()


def regions(table: pd.DataFrame, margin: float = 0.2) -> pd.Series:
    """What each row looks like on the plane: clean where p_GT - p_NN > margin, noisy where it is < -margin."""
    gap = table["p_gt"] - table["p_nn"]
    return pd.Series(pd.Categorical(np.select([gap > margin, gap < -margin], ["clean", "noisy"], "ambiguous"), KINDS),
                     table.index, name="region")


def groups(run: Run, table: pd.DataFrame, by: str) -> pd.Series:
    """The group of each row: its ``kind``, or the name of its ``class`` (the label it is trained on)."""
    if by not in ("kind", "class"):
        raise ValueError(f"by must be 'class' or 'kind', got {by!r}")
    classes = pd.Categorical.from_codes(table["label"], run.classes)
    return kinds(table) if by == "kind" else pd.Series(classes, table.index, name="class")


def over_epochs(run: Run, by: str = "class", column: str = "weight") -> pd.DataFrame:
    """Mean of a per-sample ``column`` by class or kind, with its 95 % interval: epoch, <by>, mean, low, high, n."""
    table = run.all_samples.reset_index(drop=True)
    grouped = table.groupby(["epoch", groups(run, table, by)], observed=True)[column]
    table = grouped.agg(mean="mean", half="sem", n="count").reset_index()
    half = 1.96 * table.pop("half").fillna(0)
    return table.assign(low=table["mean"] - half, high=table["mean"] + half)


def weight_share(run: Run) -> pd.DataFrame:
    """Each class's share (0..1) of the samples, of w* and of the loss weight 1 + w*, by epoch.

    Long: epoch, class, samples, weight, loss_weight, and excess = weight / samples (above 1: the class
    gets more of w* than its number of samples).
    """
    table = run.all_samples.reset_index(drop=True)
    amounts = pd.DataFrame({"samples": 1.0, "weight": table["weight"], "loss_weight": 1 + table["weight"]})
    sums = amounts.groupby([table["epoch"], groups(run, table, "class")], observed=True).sum()
    shares = sums / sums.groupby("epoch").transform("sum")
    return shares.assign(excess=shares["weight"] / shares["samples"]).reset_index()


def memorisation(run: Run) -> pd.Series:
    """Share (0..1) of the noisy training samples that are predicted as their wrong label, by epoch.

    Empty if no training sample is known to be noisy.
    """
    samples = run.all_samples.reset_index(drop=True)
    return samples[kinds(samples) == "noisy"].groupby("epoch")["correct"].mean()


def separation(run: Run, positive: str = "ambiguous", negative: str = "noisy") -> pd.Series:
    """AUROC of w* by epoch: the chance that an ambiguous sample outweighs a noisy one. Empty without both."""
    samples = run.all_samples.reset_index(drop=True)
    samples = samples.assign(kind=kinds(samples).astype(str))
    samples = samples[samples["kind"].isin([positive, negative])]
    if samples["kind"].nunique() < 2:
        return pd.Series(dtype=float, index=pd.Index([], name="epoch"), name="separation")
    return samples.groupby("epoch")[["kind", "weight"]].apply(
        lambda part: roc_auc_score(part["kind"] == positive, part["weight"])).rename("separation")


def reweighted(samples: pd.DataFrame, naw: NAW, progress: float, lam: float) -> pd.DataFrame:
    """By kind: n, w* as recorded, w* under other parameters, and the share (0..1) of the loss under these.

    The divergence of a run that recorded none counts as 0.
    """
    scores = Scores(*(torch.tensor(samples[name].to_numpy()) for name in ("p_gt", "p_nn", "correct")))
    weight = naw.weights(scores, progress).numpy()
    loss = lam * (1 + weight) * samples["cross_entropy"] + (1 - lam) * samples["divergence"].fillna(0)
    table = samples.assign(n=1, now=weight, loss=loss).groupby(kinds(samples), observed=True).agg(
        {"n": "sum", "weight": "mean", "now": "mean", "loss": "sum"})
    return table.assign(loss=table["loss"] / table["loss"].sum()).rename(
        columns={"weight": "w* recorded", "now": "w* now", "loss": "share of the loss"})


def flow(run: Run, start: int, end: int, margin: float = 0.2) -> pd.DataFrame:
    """How many samples went from one region of the plane (rows, at ``start``) to another (columns, at ``end``)."""
    before, after = (regions(run.samples(epoch), margin) for epoch in (start, end))
    return pd.crosstab(before.rename(f"epoch {start}"), after.rename(f"epoch {end}"), dropna=False)


def learning(run: Run) -> pd.DataFrame:
    """A row a training sample: index, learned (first epoch predicted as labelled, NaN: never), and forgotten: how
    often it turned from predicted as labelled to not (Toneva et al. 2019)."""
    correct = run.all_samples.pivot(index="index", columns="epoch", values="correct")
    forgotten = (np.diff(correct.to_numpy(dtype=np.int8)) < 0).sum(1)
    learned = correct.idxmax(axis=1).where(correct.any(axis=1))
    return pd.DataFrame({"learned": learned, "forgotten": forgotten}, correct.index).reset_index()


def agreement(run: Run) -> pd.DataFrame:
    """How alike a face and its mirror image are to the model, by snapshot: epoch, divergence, cosine.

    Means over the probe set of the Jensen-Shannon divergence (nats) of the predictions and of the cosine
    of the latents.
    """
    rows = []
    for epoch, arrays in run.latents.items():
        parts = {name: torch.tensor(array).double() for name, array in arrays.items() if name != "index"}
        rows.append({"epoch": epoch,
                     "divergence": float(js_divergence(parts["logits"], parts["flipped_logits"]).mean()),
                     "cosine": float(torch.cosine_similarity(parts["latent"], parts["flipped_latent"]).mean())})
    return pd.DataFrame(rows, columns=["epoch", "divergence", "cosine"])

"""Views of a run, each derived from its raw records in a few lines of pandas.

A view is a tidy table by epoch (and group); figures and explorers draw these and nothing else. Epochs are read one
after another, so that a run of any length fits in memory.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score

from nla.consistency import js_divergence
from nla.data.manifest import KINDS
from nla.naw import NAW, Scores
from nla.training.record import Run


def kinds(table: pd.DataFrame) -> pd.Series:
    """The kind of each row, an ordered category of those that occur.

    Where nobody knows it, a label that differs from the true one is noisy and every other is clean.
    """
    kind = (
        table["kind"]
        if "kind" in table
        else np.where(table["label"] == table["true_label"], "clean", "noisy")
    )
    kind = pd.Series(pd.Categorical(kind, KINDS, ordered=True), table.index, name="kind")
    return kind.cat.remove_unused_categories()


def regions(table: pd.DataFrame, margin: float = 0.2) -> pd.Series:
    """What each row looks like on the plane: clean where p_GT - p_NN > margin, noisy where it is < -margin."""
    gap = table["p_gt"] - table["p_nn"]
    return pd.Series(
        pd.Categorical(
            np.select([gap > margin, gap < -margin], ["clean", "noisy"], "ambiguous"), KINDS
        ),
        table.index,
        name="region",
    )


def groups(run: Run, table: pd.DataFrame, by: str) -> pd.Series:
    """The group of each row: its ``kind``, or the name of its ``class`` (the label it is trained on)."""
    if by not in ("kind", "class"):
        raise ValueError(f"by must be 'class' or 'kind', got {by!r}")
    classes = pd.Categorical.from_codes(table["label"], run.classes)
    return kinds(table) if by == "kind" else pd.Series(classes, table.index, name="class")


def by_epoch(
    run: Run, view: Callable[[pd.DataFrame], pd.DataFrame | pd.Series]
) -> pd.DataFrame | pd.Series:
    """What ``view`` makes of each epoch's samples, one below the other, with the epoch as outer index."""
    return pd.concat(
        {int(epoch): view(run.samples(epoch)) for epoch in run.epochs["epoch"]}, names=["epoch"]
    )


def over_epochs(run: Run, by: str = "class", column: str = "weight") -> pd.DataFrame:
    """Mean of a per-sample ``column`` by class or kind, with its 95 % interval: epoch, <by>, mean, low, high, n."""
    table = by_epoch(
        run,
        lambda samples: samples.groupby(groups(run, samples, by), observed=True)[column].agg(
            mean="mean", half="sem", n="count"
        ),
    ).reset_index()
    half = 1.96 * table.pop("half").fillna(0)
    return table.assign(low=table["mean"] - half, high=table["mean"] + half)


def weight_share(run: Run) -> pd.DataFrame:
    """Each class's share (0..1) of the samples, of w* and of the loss weight 1 + w*, by epoch.

    Long: epoch, class, samples, weight, loss_weight, and excess = weight / samples (above 1: the class
    gets more of w* than its number of samples).
    """
    table = over_epochs(run)
    parts = {"samples": 1, "weight": table["mean"], "loss_weight": 1 + table["mean"]}
    sums = pd.DataFrame({name: table["n"] * part for name, part in parts.items()})
    shares = sums / sums.groupby(table["epoch"]).transform("sum")
    return (
        table[["epoch", "class"]].join(shares).assign(excess=shares["weight"] / shares["samples"])
    )


def memorisation(run: Run) -> pd.Series:
    """Share (0..1) of the noisy training samples that are predicted as their wrong label, by epoch.

    Empty if no training sample is known to be noisy.
    """
    table = over_epochs(run, "kind", "correct").set_index("epoch")
    return table.loc[table["kind"] == "noisy", "mean"].rename("correct")


def separation(run: Run, positive: str = "ambiguous", negative: str = "noisy") -> pd.Series:
    """AUROC of w* by epoch: the chance that an ambiguous sample outweighs a noisy one. Empty without both."""

    def auroc(samples):
        kind = kinds(samples)
        part = kind.isin([positive, negative])
        both = kind[part].nunique() == 2
        return pd.Series(
            [roc_auc_score(kind[part] == positive, samples["weight"][part])] if both else [],
            dtype=float,
        )

    return by_epoch(run, auroc).droplevel(1).rename("separation")


def reweighted(samples: pd.DataFrame, naw: NAW, progress: float, lam: float) -> pd.DataFrame:
    """By kind: n, w* as recorded, w* under other parameters, and the share (0..1) of the loss under these.

    The divergence of a run that recorded none counts as 0.
    """
    scores = Scores(
        *(torch.tensor(samples[name].to_numpy()) for name in ("p_gt", "p_nn", "correct"))
    )
    weight = naw.weights(scores, progress).numpy()
    loss = lam * (1 + weight) * samples["cross_entropy"] + (1 - lam) * samples["divergence"].fillna(
        0
    )
    table = (
        samples.assign(n=1, now=weight, loss=loss)
        .groupby(kinds(samples), observed=True)
        .agg({"n": "sum", "weight": "mean", "now": "mean", "loss": "sum"})
    )
    return table.assign(loss=table["loss"] / table["loss"].sum()).rename(
        columns={"weight": "w* recorded", "now": "w* now", "loss": "share of the loss"}
    )


def flow(run: Run, start: int, end: int, margin: float = 0.2) -> pd.DataFrame:
    """How many samples went from one region of the plane (rows, at ``start``) to another (columns, at ``end``)."""
    before, after = (regions(run.samples(epoch), margin) for epoch in (start, end))
    return pd.crosstab(before.rename(f"epoch {start}"), after.rename(f"epoch {end}"), dropna=False)


def learning(run: Run) -> pd.DataFrame:
    """A row a training sample: index, learned (first epoch predicted as labelled, NaN: never), and forgotten: how
    often it turned from predicted as labelled to not (Toneva et al. 2019)."""
    epochs = run.epochs["epoch"].to_numpy()
    correct = np.stack([run.samples(epoch)["correct"] for epoch in epochs])  # (E, n), a byte a cell
    learned = np.where(correct.any(0), epochs[correct.argmax(0)], np.nan)
    forgotten = (correct[:-1] & ~correct[1:]).sum(0)
    return pd.DataFrame(
        {"index": run.samples()["index"], "learned": learned, "forgotten": forgotten}
    )


def agreement(run: Run) -> pd.DataFrame:
    """How alike a face and its mirror image are to the model, by snapshot: epoch, divergence, cosine, same answer.

    Means over the probe set: Jensen-Shannon divergence (nats) of the predictions, cosine of the latents, and the
    share (0..1) for which both views name the same class.
    """
    rows = []
    for epoch, arrays in run.latents.items():
        parts = {
            name: torch.tensor(array).double() for name, array in arrays.items() if name != "index"
        }
        first, second = parts["logits"], parts["flipped_logits"]
        cosine = torch.cosine_similarity(parts["latent"], parts["flipped_latent"])
        rows.append(
            [
                epoch,
                *(
                    float(part.double().mean())
                    for part in (
                        js_divergence(first, second),
                        cosine,
                        first.argmax(1) == second.argmax(1),
                    )
                ),
            ]
        )
    return pd.DataFrame(rows, columns=["epoch", "divergence", "cosine", "same answer"])

"""Views of a run, each derived from its raw records in a few lines of pandas.

A view is a tidy table by epoch (and group); figures and explorers draw these and nothing else.
Epochs are read one after another, so that a run of any length fits in memory.
"""

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score

from nla.consistency import js_divergence
from nla.data.manifest import KINDS
from nla.naw import NAW, Scores
from nla.training.record import Run, RunError


def epochs(run: Run) -> list[int]:
    """The epochs of a run, from 0."""
    return [int(epoch) for epoch in run.epochs["epoch"]]


def kinds(table: pd.DataFrame, known: bool = False) -> pd.Series:
    """The kind of each row, an ordered category of those that occur.

    Without a column ``kind``, a label that differs from the true one is noisy and every other is
    clean. Where no label differs, that is said only if ``known``: of rows of a set whose truth is
    known (``run.knows_truth``). Else nobody can tell right labels from wrong ones: RunError.
    """
    if "kind" in table:
        kind = table["kind"]
    else:
        wrong = table["label"] != table["true_label"]
        if not known and not wrong.any():
            raise RunError(
                "nobody knows which labels of this run are wrong: its manifest has no column kind, "
                "and no true_label that differs from the label; group by class instead"
            )
        kind = wrong.map({False: "clean", True: "noisy"})
    categories = pd.Categorical(kind, KINDS, ordered=True)
    return pd.Series(categories, table.index, name="kind").cat.remove_unused_categories()


def groups(run: Run, table: pd.DataFrame, by: str) -> pd.Series:
    """The group of each row: its ``kind``, or the name of its ``class`` (the label it is given).

    RunError by kind where nobody knows it.
    """
    if by not in ("kind", "class"):
        raise ValueError(f"by must be 'class' or 'kind', got {by!r}")
    if by == "kind":
        return kinds(table, run.knows_truth)
    classes = pd.Categorical.from_codes(table["label"].to_numpy(int), pd.Index(run.classes))
    return pd.Series(classes, table.index, name="class")


def over_epochs(
    run: Run, by: str = "class", column: str = "weight", only_right: bool = False
) -> pd.DataFrame:
    """Mean of a per-sample ``column`` by class or kind: epoch, <by>, mean, low, high, n.

    ``low`` and ``high`` are the 95 % interval of the mean, both the mean itself where n is 1.
    ``only_right``: of samples whose label is right. RunError where nobody knows what is asked for.
    """
    if only_right and not run.knows_truth:
        raise RunError("nobody knows which labels of this run are right: count all of them")
    tables = {}
    for epoch in epochs(run):
        samples = run.samples(epoch)
        if only_right:
            samples = samples[samples["label"] == samples["true_label"]]
        values = samples.groupby(groups(run, samples, by), observed=True)[column]
        tables[epoch] = values.agg(mean="mean", half="sem", n="count")
    table: pd.DataFrame = pd.concat(tables, names=["epoch"]).reset_index()
    half = 1.96 * table.pop("half").fillna(0)
    return table.assign(low=table["mean"] - half, high=table["mean"] + half)


def weight_share(run: Run, only_right: bool = False) -> pd.DataFrame:
    """Each class's share (0..1) of the samples, of w* and of the loss weight 1 + w*, by epoch.

    Long: epoch, class, samples, weight, loss_weight, and excess = weight / samples (above 1: the
    class gets more of w* than its number of samples). ``only_right``: of the samples whose label is
    right alone, so that a class does not lose weight for the wrong labels it is given; RunError
    where nobody knows them.
    """
    table = over_epochs(run, only_right=only_right)
    count, mean = table["n"], table["mean"]
    sums = pd.DataFrame(
        {
            "samples": count,
            "weight": count * mean,
            "loss_weight": count * (1 + mean),
        }
    )
    shares = sums / sums.groupby(table["epoch"]).transform("sum")
    excess = shares["weight"] / shares["samples"]
    return table[["epoch", "class"]].join(shares).assign(excess=excess)


def memorisation(run: Run) -> pd.Series:
    """Share (0..1) of the noisy training samples that are predicted as their wrong label, by epoch.

    Empty if no training sample is known to be noisy.
    """
    if not run.knows_truth:
        return by_epoch({}, "correct")
    table = over_epochs(run, "kind", "correct").set_index("epoch")
    noisy = table["kind"] == "noisy"
    return table.loc[noisy, "mean"].rename("correct")


def chance_of_agreement(run: Run) -> pd.Series:
    """Share (0..1) of the noisy samples that *unseen* ones are predicted as, by epoch.

    The part of :func:`memorisation` that is no memory: of held-out samples of each noisy sample's
    true class (the clean ones, where kinds are known), the share that is predicted as its wrong
    label, averaged over the noisy samples. Empty if no training sample is known to be noisy.
    """
    train = run.manifest[run.manifest["split"] == "train"]
    noisy = train.iloc[:0]
    if run.knows_truth:
        noisy = train[kinds(train, known=True) == "noisy"]
    values: dict[int, float] = {}
    for epoch in epochs(run) if len(noisy) else ():
        unseen = run.predictions(epoch)
        if "kind" in unseen:
            unseen = unseen[unseen["kind"] == "clean"]
        said = pd.crosstab(unseen["true_label"], unseen["prediction"], normalize="index")
        share = said.reindex(columns=range(len(run.classes)), fill_value=0).stack()
        pairs = pd.MultiIndex.from_frame(noisy[["true_label", "label"]])
        values[epoch] = float(np.nanmean(share.reindex(pairs)))
    return by_epoch(values, "chance")


def separation(run: Run, positive: str = "ambiguous", negative: str = "noisy") -> pd.Series:
    """AUROC of w* by epoch: the chance that an ambiguous sample outweighs a noisy one.

    Empty without both, or where nobody knows the kinds.
    """
    values: dict[int, float] = {}
    for epoch in epochs(run) if run.knows_truth else ():
        samples = run.samples(epoch)
        kind = kinds(samples, known=True)
        part = kind.isin([positive, negative])
        kind, weight = kind[part], samples["weight"][part]
        if kind.nunique() == 2:
            values[epoch] = roc_auc_score(kind == positive, weight)
    return by_epoch(values, "separation")


def by_epoch(values: dict[int, float], name: str) -> pd.Series:
    """A number an epoch; of no epoch too."""
    index = pd.Index(list(values), dtype=int, name="epoch")
    return pd.Series(list(values.values()), index, dtype=float, name=name)


def reweighted(
    samples: pd.DataFrame, naw: NAW, progress: float, lam: float, by: pd.Series | None = None
) -> pd.DataFrame:
    """What other parameters weigh: n, w* recorded, w* now, share of the loss (0..1), by group.

    ``by`` (:func:`groups`) is the group of each sample, by default its kind. The divergence of a
    run that recorded none counts as 0. RunError without ``by`` where nobody knows the kinds.
    """
    p_gt, p_nn, correct = (
        torch.tensor(samples[name].to_numpy()) for name in ("p_gt", "p_nn", "correct")
    )
    weight = naw.weights(Scores(p_gt, p_nn, correct), progress).numpy()
    divergence = samples["divergence"].fillna(0)
    loss = lam * (1 + weight) * samples["cross_entropy"] + (1 - lam) * divergence
    table = pd.DataFrame(
        {
            "n": 1,
            "w* recorded": samples["weight"],
            "w* now": weight,
            "share of the loss": loss,
        }
    )
    grouped = table.groupby(kinds(samples) if by is None else by, observed=True)
    weighed = grouped.agg(
        {
            "n": "sum",
            "w* recorded": "mean",
            "w* now": "mean",
            "share of the loss": "sum",
        }
    )
    weighed["share of the loss"] /= weighed["share of the loss"].sum()
    return weighed


def learning(run: Run) -> pd.DataFrame:
    """A row a training sample: index, learned (first epoch predicted as labelled, NaN: never), and
    forgotten: how often it turned from predicted as labelled to not (Toneva et al. 2019)."""
    steps = np.array(epochs(run))
    correct = np.stack([run.samples(epoch)["correct"] for epoch in steps])  # (E, n), a byte a cell
    learned = np.where(correct.any(0), steps[correct.argmax(0)], np.nan)
    forgotten = (correct[:-1] & ~correct[1:]).sum(0)
    return pd.DataFrame(
        {
            "index": run.samples()["index"],
            "learned": learned,
            "forgotten": forgotten,
        }
    )


def agreement(run: Run) -> pd.DataFrame:
    """How alike a face and its mirror image are to the model, by snapshot.

    epoch, and means over the probe set: divergence (Jensen-Shannon, nats) of the predictions,
    cosine of the latents, and same answer: the share (0..1) for which both views name one class.
    RunError without snapshots.
    """
    rows = []
    for epoch, arrays in run.latents.items():
        first, second, latent, flipped = (
            torch.tensor(arrays[name]).double()
            for name in ("logits", "flipped_logits", "latent", "flipped_latent")
        )
        same = first.argmax(1) == second.argmax(1)
        means = {
            "divergence": js_divergence(first, second).mean(),
            "cosine": torch.cosine_similarity(latent, flipped).mean(),
            "same answer": same.double().mean(),
        }
        rows.append({"epoch": epoch} | {name: float(mean) for name, mean in means.items()})
    return pd.DataFrame(rows)

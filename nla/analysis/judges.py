"""Judges of labels: each looks at what a run recorded and says which labels to look at first.

A judge takes the :class:`Evidence` on n training samples and gives n numbers, the larger the more
suspect. Their scales differ; only the order counts. How well each ranks wrong labels, and which
combination ranks best, is measured in ``nla study judges``.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from sklearn.metrics import average_precision_score
from sklearn.neighbors import NearestNeighbors

from nla.analysis import views
from nla.naw import scores_of
from nla.training.inference import forward
from nla.training.loading import Images
from nla.training.opening import restore
from nla.training.record import Run, RunError

Numbers = npt.NDArray[np.float64]
Recorded = npt.NDArray[np.float32]
LEAST = 1e-6  # probability below which a logarithm is not taken
NEIGHBOURS = 10  # whose labels are asked


@dataclass(frozen=True)
class Evidence:
    """What is known of n training samples: E epochs on record, and what was computed since."""

    index: npt.NDArray[np.int64]  # (n,) rows of the manifest
    label: npt.NDArray[np.int64]  # (n,)
    p_gt: Recorded  # (E, n) as seen in training
    p_nn: Recorded  # (E, n)
    weight: Recorded  # (E, n) w*
    votes: Numbers  # (n, K) p_nn summed by the class it belongs to; zeros where not recorded
    factor: Recorded | None = None  # (E, n) of the cross-entropy, where it is not 1 + w*
    latents: Recorded | None = None  # (n, D) of the finished model, see with_latents
    outside: Numbers | None = None  # (n, K) probabilities by models that did not see the sample
    outside_margin: Numbers | None = None  # (n,) their p_GT - p_NN, mean over the epochs


def evidence(run: Run) -> Evidence:
    """What ``run`` recorded of its training samples. RunError if it recorded none."""
    epochs = views.epochs(run)
    first = run.samples(epochs[0])
    numbers = first.columns.intersection(["p_gt", "p_nn", "weight", "factor"])
    seen = {name: np.empty((len(epochs), len(first)), np.float32) for name in numbers}
    votes = np.zeros((len(first), len(run.classes)))
    for step, epoch in enumerate(epochs):
        samples = run.samples(epoch)
        for name, values in seen.items():
            values[step] = samples[name]
        if "nearest" in samples:
            votes[np.arange(len(first)), samples["nearest"]] += samples["p_nn"]
    index = first["index"].to_numpy(np.int64)
    label = first["label"].to_numpy(np.int64)
    return Evidence(
        index, label, seen["p_gt"], seen["p_nn"], seen["weight"], votes, seen.get("factor")
    )


def with_latents(found: Evidence, run: Run, images: Images) -> Evidence:
    """The same, with the latents that the finished model gives the samples' images."""
    model, config = restore(run)
    _, latents = forward(model, images, found.index, config)
    return replace(found, latents=latents.numpy())


def with_folds(found: Evidence, folds: pd.DataFrame, classes: Sequence[str]) -> Evidence:
    """The same, with out-of-fold predictions (:func:`nla.training.folds.out_of_fold`)."""
    table = folds.set_index("index").loc[found.index]
    outside = table[[f"p_{name}" for name in classes]].to_numpy(float)
    return replace(found, outside=outside, outside_margin=table["margin"].to_numpy(float))


# Judges of error


def margin(found: Evidence) -> Numbers:
    """The mean of p_GT - p_NN over the epochs, low first, as a number from 0 to 1.

    The area under the margin of Pleiss et al. (NeurIPS 2020), of probabilities in place of logits.
    """
    difference = found.p_gt.mean(axis=0, dtype=float) - found.p_nn.mean(axis=0, dtype=float)
    score: Numbers = (1 - difference) / 2
    return score


def logit_margin(found: Evidence) -> Numbers:
    """The mean over the epochs of z_y - max z_k, low first. Area under the margin, Pleiss 2020.

    The difference of two logits is the logarithm of the quotient of their probabilities.
    """
    own = np.log(found.p_gt.clip(LEAST))
    other = np.log(found.p_nn.clip(LEAST))
    score: Numbers = -(own - other).mean(axis=0, dtype=float)
    return score


def confidence(found: Evidence) -> Numbers:
    """1 - the mean of p_GT over the epochs: hard to learn. Swayamdipta et al. (EMNLP 2020)."""
    score: Numbers = 1 - found.p_gt.mean(axis=0, dtype=float)
    return score


def contradicted(found: Evidence) -> Numbers:
    """The share of the epochs that the sample was in the branch of wrong predictions of NAW."""
    score: Numbers = (found.p_gt < found.p_nn).mean(axis=0)
    return score


def forgotten(found: Evidence) -> Numbers:
    """How often it turned from predicted as labelled to not. Toneva et al. (ICLR 2019)."""
    correct = found.p_gt >= found.p_nn
    score: Numbers = (correct[:-1] & ~correct[1:]).sum(axis=0).astype(float)
    return score


def weight(found: Evidence) -> Numbers:
    """w* of NAW, mean over the epochs, low first. Lee et al. (AAAI 2025)."""
    score: Numbers = -found.weight.mean(axis=0, dtype=float)
    return score


def trust(found: Evidence) -> Numbers:
    """What the method multiplied the sample's loss by, mean over the epochs, low first.

    On record for losses whose factor is not 1 + w*, as ReMa's. RunError for others.
    """
    if found.factor is None:
        raise RunError("this run's loss has no factor of its own on record: rank by weight, w*")
    score: Numbers = -found.factor.mean(axis=0, dtype=float)
    return score


def neighbours(found: Evidence) -> Numbers:
    """The share of its ten nearest latents, by angle, that have another label.

    As in deep k-nearest neighbours (Bahri et al., ICML 2020). RunError without latents.
    """
    if found.latents is None:
        raise RunError("the judge neighbours needs the images: they are compared in latent space")
    count = min(NEIGHBOURS, len(found.index) - 1)
    search = NearestNeighbors(n_neighbors=count, metric="cosine").fit(found.latents)
    near = search.kneighbors(return_distance=False)
    differs = found.label[near] != found.label[:, None]
    score: Numbers = differs.mean(axis=1)
    return score


def self_confidence(found: Evidence) -> Numbers:
    """1 - out-of-fold probability of the label. Northcutt et al. (JAIR 2021), cleanlab."""
    own, _ = on_the_plane(outside(found), found.label)
    return 1 - own


def normalized_margin(found: Evidence) -> Numbers:
    """Out-of-fold p_GT - p_NN, low first, as a number from 0 to 1. Northcutt et al., cleanlab."""
    own, other = on_the_plane(outside(found), found.label)
    return (1 - own + other) / 2


def outside_margin(found: Evidence) -> Numbers:
    """The margin of the out-of-fold models, averaged over their epochs, low first."""
    outside(found)
    assert found.outside_margin is not None
    return (1 - found.outside_margin) / 2


def outside(found: Evidence) -> Numbers:
    """The out-of-fold probabilities (n, K). RunError if there are none."""
    if found.outside is None:
        raise RunError("this judge needs out-of-fold predictions: nla audit RUN --folds 4")
    return found.outside


def on_the_plane(probabilities: Numbers, label: npt.NDArray[np.int64]) -> tuple[Numbers, Numbers]:
    """p_GT and p_NN (n,) of labels (n,) by probabilities (n, K)."""
    scores = scores_of(torch.tensor(probabilities), torch.tensor(label))
    return scores.p_gt.numpy(), scores.p_nn.numpy()


JUDGES: dict[str, Callable[[Evidence], Numbers]] = {
    "margin": margin,
    "logit_margin": logit_margin,
    "confidence": confidence,
    "contradicted": contradicted,
    "forgotten": forgotten,
    "weight": weight,
    "trust": trust,
    "neighbours": neighbours,
    "self_confidence": self_confidence,
    "normalized_margin": normalized_margin,
    "outside_margin": outside_margin,
}
COMBINED = ("margin", "neighbours", "outside_margin")  # by default, see figures/judges.csv


# Judges of doubt


def undecided(found: Evidence) -> Numbers:
    """1 - |mean margin|: the network never decided. The middle of a data map (cartography)."""
    return 1 - np.abs(1 - 2 * margin(found))


def spread(found: Evidence) -> Numbers:
    """The standard deviation of p_GT over the epochs: ambiguous in Swayamdipta et al. 2020."""
    score: Numbers = found.p_gt.std(axis=0, dtype=float)
    return score


def late_weight(found: Evidence) -> Numbers:
    """w* in the last third of the epochs, high first: where NAW tells doubt from error."""
    late = found.weight[-max(1, len(found.weight) // 3) :]
    score: Numbers = late.mean(axis=0, dtype=float)
    return score


def outside_doubt(found: Evidence) -> Numbers:
    """The entropy of the out-of-fold probabilities, in nats."""
    p = outside(found)
    score: Numbers = -(p * np.log(p.clip(LEAST))).sum(axis=1)
    return score


DOUBTS: dict[str, Callable[[Evidence], Numbers]] = {
    "undecided": undecided,
    "spread": spread,
    "late_weight": late_weight,
    "forgotten": forgotten,
    "outside_doubt": outside_doubt,
}


# Several judges together


def verdicts(
    found: Evidence, judges: dict[str, Callable[[Evidence], Numbers]] = JUDGES
) -> pd.DataFrame:
    """A column (n,) for each of the ``judges`` for whom the evidence is there."""
    columns = {}
    for name, judge in judges.items():
        with contextlib.suppress(RunError):
            columns[name] = judge(found)
    return pd.DataFrame(columns)


def combined(scores: pd.DataFrame, names: Sequence[str]) -> Numbers:
    """The mean of the judges' ranks (0..1), so that no scale counts more than another."""
    ranks = scores[list(names)].rank(pct=True)
    return ranks.mean(axis=1).to_numpy(float)


def chosen(scores: pd.DataFrame, wrong: npt.NDArray[np.bool_]) -> list[str]:
    """The judges whose combination ranks ``wrong`` (n,) best, by average precision.

    One is added after the other as long as that helps (Caruana et al., ICML 2004). What is chosen
    on some samples has to be reported on others.
    """
    names: list[str] = []
    best = -1.0
    while len(names) < scores.shape[1]:
        trials = {}
        for name in scores.columns.difference(names, sort=False):
            ranks = combined(scores, [*names, name])
            trials[name] = average_precision_score(wrong, ranks)
        name = max(trials, key=lambda key: trials[key])
        if trials[name] <= best:
            break
        best = trials[name]
        names.append(name)
    return names


# The same face twice


def copies(run: Run) -> pd.DataFrame:
    """Images of equal pixels with different labels: index, group (from 0) and ``labels`` (text).

    Equal by the digest on record; empty where the run recorded none.
    """
    empty = pd.DataFrame({"index": [], "group": [], "labels": []}).astype({"index": int})
    manifest = run.manifest
    if "digest" not in manifest:
        return empty
    different = manifest.groupby("digest")["label"].transform("nunique") > 1
    if not different.any():
        return empty
    found = manifest[different]
    return grouped(found["digest"].factorize()[0], found["label"], run.classes)


def near_copies(found: Evidence, run: Run, least: float = 0.995) -> pd.DataFrame:
    """As :func:`copies`, of training images whose latents have a cosine of at least ``least``.

    Each is grouped with its nearest neighbour alone. RunError without latents.
    """
    if found.latents is None:
        raise RunError("near duplicates need the images: they are compared in latent space")
    search = NearestNeighbors(n_neighbors=1, metric="cosine").fit(found.latents)
    distance, near = search.kneighbors()
    partner = near[:, 0]
    close = distance[:, 0] <= 1 - least
    pairs = np.flatnonzero(close & (found.label != found.label[partner]))
    members = np.stack([pairs, partner[pairs]], axis=1)
    _, first = np.unique(np.sort(members, axis=1), axis=0, return_index=True)
    rows = members[np.sort(first)].ravel()
    group = np.repeat(np.arange(len(first)), 2)
    labels = pd.Series(found.label[rows], index=found.index[rows])
    return grouped(group, labels, run.classes).drop_duplicates("index")


def copies_within(run: Run, images: Images, least: float) -> pd.DataFrame:
    """:func:`copies`, and behind them the :func:`near_copies` among the training images."""
    same = copies(run)
    near = near_copies(with_latents(evidence(run), run, images), run, least)
    new = near[~near["index"].isin(same["index"])]
    more = new.assign(group=new["group"] + 1 + same["group"].max() if len(same) else new["group"])
    return pd.concat([same, more], ignore_index=True)


def grouped(group: npt.NDArray[np.int64], label: pd.Series, classes: Sequence[str]) -> pd.DataFrame:
    """The table of :func:`copies`; ``label`` (numbers) is indexed by row of the manifest."""
    names = label.map(dict(enumerate(classes)))
    together = names.groupby(group).agg(", ".join)
    return pd.DataFrame(
        {"index": label.index, "group": group, "labels": together.loc[group.tolist()].to_numpy()}
    )

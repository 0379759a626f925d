"""What a study keeps of a run: the columns of its table (``data/README.md`` lists them)."""

import numpy as np
import pandas as pd

from nla.analysis.latents import cka
from nla.analysis.views import (
    agreement,
    chance_of_agreement,
    memorisation,
    separation,
    weight_share,
)
from nla.metrics import quality
from nla.training.record import Run


def measures(run: Run) -> dict[str, float]:
    """Scores of the last epoch and, ``best_``, of that with the best validation; what NAW did."""
    by_both = ["val_overall", "val_mean"]
    val = run.epochs[by_both].mean(axis=1)
    last = len(val) - 1
    best = int(val.argmax())
    row = {}
    row["val"] = val.iloc[last]
    row["best_val"] = val.iloc[best]
    row["best_epoch"] = best
    row["tested"] = int((run.manifest["split"] == "test").sum())
    row |= scores(run, last)
    for name, value in scores(run, best).items():
        row[f"best_{name}"] = value
    for name, series in weighing(run).items() if run.weighs else ():
        row[f"{name}_first"] = series.get(0, np.nan)
        row[f"{name}_best"] = series.get(best, np.nan)
        row[f"{name}_last"] = series.get(last, np.nan)
    divergences = agreement(run)["divergence"]
    row["divergence"] = divergences.iloc[-1]
    row["change"] = change(run)
    return row


def scores(run: Run, epoch: int) -> dict[str, float]:
    """Of the test images after an epoch: quality, and accuracy on the clean and the ambiguous.

    ``adjusted_``: after logit adjustment; ``with_prior_``: of a loss that adjusts itself, with the
    prior put back. And of the training images with a wrong label, in %: the share that is predicted
    as that label, and the share that would be if they had never been seen.
    """
    table = run.predictions(epoch).query("split == 'test'")
    truth = table["true_label"]
    probabilities = [f"p_{name}" for name in run.classes]
    p = table[probabilities].to_numpy()
    found: dict[str, float] = quality(truth, p, run.classes)
    for name, value in run.other_prior(epoch).items():
        found[name.replace(": ", "_").replace(" ", "_")] = value
    right = 100 * (table["prediction"] == truth)
    for kind in ("clean", "ambiguous"):
        of_kind = table["kind"] == kind
        found[f"on_{kind}"] = right[of_kind].mean()
    memorised = memorisation(run)
    found["memorised"] = 100 * memorised.get(epoch, np.nan)
    found["chance"] = 100 * chance_of_agreement(run).get(epoch, np.nan)
    return found


def weighing(run: Run) -> dict[str, pd.Series]:
    """By epoch: does NAW tell ambiguous samples from others, how does it favour small classes.

    Small classes are counted by the labels given, and, ``minority_right``, with the samples alone
    whose label is right.
    """
    classes = len(run.classes)
    found = {
        "auroc_noisy": separation(run, "ambiguous", "noisy"),
        "auroc_clean": separation(run, "ambiguous", "clean"),
        "minority": excess_of_small(weight_share(run), classes),
    }
    if run.knows_truth:
        found["minority_right"] = excess_of_small(weight_share(run, only_right=True), classes)
    return found


def excess_of_small(shares: pd.DataFrame, classes: int) -> pd.Series:
    """Of the classes smaller than the mean: their share of w* over their share of samples."""
    small = shares["samples"] < 1 / classes
    minor = shares[small].groupby("epoch")[["weight", "samples"]].sum()
    return minor["weight"] / minor["samples"]


def change(run: Run) -> float:
    """How much the trained network's latents change from one snapshot to the next, as 1 - CKA."""
    latents = []
    for epoch, arrays in run.latents.items():
        if epoch > 0:
            latents.append(arrays["latent"])
    changes = [1 - cka(before, after) for before, after in zip(latents, latents[1:])]
    return float(np.mean(changes))

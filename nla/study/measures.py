"""What a study keeps of a run: the columns of its table (``data/README.md`` lists them)."""

import numpy as np
import pandas as pd

from nla.analysis.latents import cka
from nla.analysis.views import agreement, memorisation, separation, weight_share
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
    row |= scores(run, last)
    for name, value in scores(run, best).items():
        row[f"best_{name}"] = value
    for name, series in weighing(run).items():
        row[f"{name}_first"] = series.get(0, np.nan)
        row[f"{name}_best"] = series.get(best, np.nan)
        row[f"{name}_last"] = series.get(last, np.nan)
    divergences = agreement(run)["divergence"]
    row["divergence"] = divergences.iloc[-1]
    row["change"] = change(run)
    return row


def scores(run: Run, epoch: int) -> dict[str, float]:
    """Of the test images after an epoch: quality, and accuracy on the clean and the ambiguous.

    And of the training images with a wrong label: the share whose label is learned by heart, in %.
    """
    table = run.predictions(epoch).query("split == 'test'")
    truth = table["true_label"]
    probabilities = [f"p_{name}" for name in run.classes]
    p = table[probabilities].to_numpy()
    found: dict[str, float] = quality(truth, p, run.classes)
    right = 100 * (table["prediction"] == truth)
    for kind in ("clean", "ambiguous"):
        of_kind = table["kind"] == kind
        found[f"on_{kind}"] = right[of_kind].mean()
    memorised = memorisation(run)
    found["memorised"] = 100 * memorised.get(epoch, np.nan)
    return found


def weighing(run: Run) -> dict[str, pd.Series]:
    """By epoch: does NAW tell ambiguous samples from others, how does it favour small classes."""
    shares = weight_share(run)
    small = shares["samples"] < 1 / len(run.classes)
    by_epoch = shares[small].groupby("epoch")
    minor = by_epoch[["weight", "samples"]].sum()
    return {
        "auroc_noisy": separation(run, "ambiguous", "noisy"),
        "auroc_clean": separation(run, "ambiguous", "clean"),
        "minority": minor["weight"] / minor["samples"],
    }


def change(run: Run) -> float:
    """How much the trained network's latents change from one snapshot to the next, as 1 - CKA."""
    latents = []
    for epoch, arrays in run.latents.items():
        if epoch > 0:
            latents.append(arrays["latent"])
    changes = [1 - cka(before, after) for before, after in zip(latents, latents[1:])]
    return float(np.mean(changes))

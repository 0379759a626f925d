"""How far a result moves with the images that all seeds of a study share.

Seeds share the test images, and on photographs the training images too. With others all seeds would
move together, of which the spread over seeds says nothing. (What of an image moves each seed in its
own way is part of that spread.) ``shared_images.csv`` holds the standard deviation of the common
movement, as ``tests/benchmarks/bench_shared_images.py`` measures it: with the test images of a
difference between two methods in accuracy (points), with the training images of what w* tells apart
(AUROC) and of how it favours small classes (share of w* over share of samples). For data that it
does not name nothing is allowed for, nor where each seed draws its own, as of drawn faces.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from nla.training.record import Run

Floats = npt.NDArray[np.float64]

TABLE = Path(__file__).with_name("shared_images.csv")
ACCURACIES = ("overall", "mean")
OF_WEIGHTS = ("auroc_noisy", "auroc_clean", "minority")
MEASURED = (
    re.compile(r"(best_)?(adjusted_|with_prior_)?(?P<column>overall|mean)"),
    re.compile(r"(?P<column>auroc_noisy|auroc_clean)_(first|best|last) - 0\.5"),
    re.compile(r"(?P<column>minority)(_right)?_last - minority(_right)?_first"),
)
"""What the ledger compares, of whichever epoch and read with whichever prior: the table's column.
"""


def movement(runs: Mapping[str, Sequence[Run]], resamples: int = 2000) -> pd.DataFrame:
    """Of each two methods, whose ``runs``, a seed each, were tested on the same faces: method,
    against, and the variance (points squared) that is common to all seeds, of their difference in
    ``overall`` and ``mean`` accuracy, where the test faces are drawn anew.

    That is the covariance of two seeds' differences over resamples of the faces (bootstrap), the
    mean over all pairs of seeds. It may come out below 0, as an estimate of little or nothing.
    """
    first = next(iter(runs.values()))[0]
    truth = answers(first)["true_label"].to_numpy()
    right = {}
    for method, of_seeds in runs.items():
        said = np.array([answers(run)["prediction"] for run in of_seeds])
        right[method] = 100.0 * (said == truth)
    faces = len(truth)
    alike = np.full(faces, 1 / faces)
    draw = np.random.default_rng(0)
    times = draw.multinomial(faces, alike, resamples)
    rows = []
    for method, against in combinations(right, 2):
        gains = right[method] - right[against]
        moved = np.stack([resampled(gain, truth, times) for gain in gains])
        row: dict[str, str | float] = {"method": method, "against": against}
        for k, accuracy in enumerate(ACCURACIES):
            row[accuracy] = common_variance(moved[..., k])
        rows.append(row)
    return pd.DataFrame(rows)


def movement_of_weights(runs: Sequence[Run], resamples: int = 200) -> dict[str, float]:
    """The variance, common to all seeds of one method, of what its w* does, where the training
    images are drawn anew: by measure (:data:`OF_WEIGHTS`), of AUROCs the mean over two epochs.

    ``runs``: a seed each, of one data set. The first epoch and the last one are looked at.
    """
    images = len(runs[0].manifest)
    alike = np.full(images, 1 / images)
    times = np.random.default_rng(0).multinomial(images, alike, resamples)
    first = by_seed(runs, 0, times)
    last = by_seed(runs, len(runs[0].epochs) - 1, times)
    found = {}
    for name in ("auroc_noisy", "auroc_clean"):
        variances = [common_variance(epoch[name]) for epoch in (first, last)]
        found[name] = sum(variances) / 2
    found["minority"] = common_variance(last["minority"] - first["minority"])
    return found


def by_seed(runs: Sequence[Run], epoch: int, times: npt.NDArray[np.int64]) -> dict[str, Floats]:
    """By measure: the values (S, R) of an epoch, a row a run."""
    of_runs = [resampled_weights(run, epoch, times) for run in runs]
    found = {}
    for name in OF_WEIGHTS:
        found[name] = np.stack([measures[name] for measures in of_runs])
    return found


def common_variance(of_seeds: Floats) -> float:
    """The mean covariance of two seeds' values (S, R), each over R resamples."""
    covariances = np.cov(of_seeds)
    of_pairs = covariances[~np.eye(len(covariances), dtype=bool)]
    return float(of_pairs.mean())


def answers(run: Run) -> pd.DataFrame:
    return run.predictions().query("split == 'test'")


def resampled(gain: Floats, truth: npt.NDArray[np.int64], times: npt.NDArray[np.int64]) -> Floats:
    """Overall and mean ``gain`` (R, 2) of n faces, each taken as often as ``times`` (R, n) says."""
    overall = times @ gain / times.sum(axis=1)
    by_class = []
    for label in np.unique(truth):
        of_class = truth == label
        count = times[:, of_class].sum(axis=1)
        with np.errstate(invalid="ignore"):  # none of the class is drawn: left out of the mean
            by_class.append(times[:, of_class] @ gain[of_class] / count)
    return np.stack([overall, np.nanmean(by_class, axis=0)], axis=1)


def resampled_weights(run: Run, epoch: int, times: npt.NDArray[np.int64]) -> dict[str, Floats]:
    """By measure: its values (R,) of an epoch, each image taken as often as ``times`` (R, n) says.

    Small are the classes that are smaller than the mean, by the labels given.
    """
    samples = run.samples(epoch)
    weight = samples["weight"].to_numpy()
    taken = times[:, samples["index"]].astype(float)
    sizes = samples["label"].value_counts(normalize=True)
    classes = sizes.index[sizes < 1 / len(run.classes)]
    small = samples["label"].isin(classes).to_numpy()
    of_weight = taken[:, small] @ weight[small] / (taken @ weight)
    of_samples = taken[:, small].sum(axis=1) / taken.sum(axis=1)
    found: dict[str, Floats] = {"minority": of_weight / of_samples}
    ambiguous = (samples["kind"] == "ambiguous").to_numpy()
    for kind in ("noisy", "clean"):
        other = (samples["kind"] == kind).to_numpy()
        found[f"auroc_{kind}"] = resampled_auroc(
            weight[ambiguous], taken[:, ambiguous], weight[other], taken[:, other]
        )
    return found


def resampled_auroc(
    positive: Floats, positive_times: Floats, negative: Floats, negative_times: Floats
) -> Floats:
    """How often one of the scores (P,) is above one of (N,), a tie being half (R,); NaN of none.

    Each is taken as often as its column of times, (R, P) and (R, N), says.
    """
    above = positive[:, None] > negative
    equal = positive[:, None] == negative
    outweighed = positive_times @ (above + equal / 2)  # (R, N)
    won = outweighed * negative_times
    pairs = positive_times.sum(axis=1) * negative_times.sum(axis=1)
    with np.errstate(invalid="ignore"):
        share: Floats = won.sum(axis=1) / pairs
    return share


def spread_of_shared_images(data: str, measure: str, tested: float = np.nan) -> float:
    """The standard deviation to allow for on a ``data`` set, in what the ``measure`` is in; 0 for
    one that shared images are not known to move.

    ``tested``: on how many test images, by default on as many as it was measured on. That of an
    accuracy falls with their root.
    """
    matches = (pattern.fullmatch(measure) for pattern in MEASURED)
    column = next((match["column"] for match in matches if match), "")
    images = data.split(",")[0]  # whatever the labels
    table = table_in(TABLE)
    if column not in table or images not in table.index:
        return 0.0
    spread = float(table[column].fillna(0.0)[images])
    if column not in ACCURACIES or np.isnan(tested):
        return spread
    measured_on = float(table["images"][images])
    return float(spread * np.sqrt(measured_on / tested))


@lru_cache
def table_in(file: Path) -> pd.DataFrame:
    """The table in a file, a row for each data set; read once."""
    return pd.read_csv(file).set_index("data")

"""How far a difference between two methods moves with the test set that it is measured on.

Seeds of a study share one test set, and with another all of them would move together, of which the
spread over seeds says nothing. (What of a test set moves each seed in its own way is part of that
spread.) ``test_sets.csv`` holds the standard deviation of the common movement, in points, as
``tests/benchmarks/bench_test_sets.py`` measures it; for data that it does not name nothing is
allowed for.
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

TABLE = Path(__file__).with_name("test_sets.csv")
ACCURACIES = ("overall", "mean")
MEASURED = re.compile(r"(best_)?(adjusted_|with_prior_)?(?P<accuracy>overall|mean)")
"""A column of accuracies: of which epoch, and read with which prior."""


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


def common_variance(of_seeds: npt.NDArray[np.float64]) -> float:
    """The mean covariance of two seeds' values (S, R), each over R resamples."""
    covariances = np.cov(of_seeds)
    of_pairs = covariances[~np.eye(len(covariances), dtype=bool)]
    return float(of_pairs.mean())


def answers(run: Run) -> pd.DataFrame:
    return run.predictions().query("split == 'test'")


def resampled(
    gain: npt.NDArray[np.float64], truth: npt.NDArray[np.int64], times: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Overall and mean ``gain`` (R, 2) of n faces, each taken as often as ``times`` (R, n) says."""
    overall = times @ gain / times.sum(axis=1)
    by_class = []
    for label in np.unique(truth):
        of_class = truth == label
        count = times[:, of_class].sum(axis=1)
        with np.errstate(invalid="ignore"):  # none of the class is drawn: left out of the mean
            by_class.append(times[:, of_class] @ gain[of_class] / count)
    return np.stack([overall, np.nanmean(by_class, axis=0)], axis=1)


def spread_of_test_set(data: str, measure: str, tested: float = np.nan) -> float:
    """The standard deviation (points) to allow for on a ``data`` set; 0 if it is no accuracy.

    ``tested``: on how many test images, by default on as many as it was measured on. It falls with
    their root.
    """
    column = MEASURED.fullmatch(measure)
    if column is None:
        return 0.0
    accuracy = column["accuracy"]
    images = data.split(",")[0]  # whatever the labels
    table = table_in(TABLE)
    spread = float(table[accuracy].get(images, 0.0))
    if spread == 0 or np.isnan(tested):
        return spread
    measured_on = float(table["images"][images])
    return float(spread * np.sqrt(measured_on / tested))


@lru_cache
def table_in(file: Path) -> pd.DataFrame:
    """The table in a file, a row for each data set; read once."""
    return pd.read_csv(file).set_index("data")

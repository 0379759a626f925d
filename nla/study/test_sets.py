"""How far a difference between two methods moves with the test set that it is measured on.

Seeds of a study share one test set, so the spread over seeds says nothing of other faces: with
another test set all seeds move together. ``test_sets.csv`` holds the standard deviation of that
movement, in points, as ``tests/benchmarks/bench_test_sets.py`` measures it; for data that it does
not name nothing is allowed for.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from nla.training.record import Run

TABLE = Path(__file__).with_name("test_sets.csv")
ACCURACIES = ("overall", "mean")


def movement(runs: Mapping[str, Sequence[Run]], resamples: int = 2000) -> pd.DataFrame:
    """Of each two methods, whose ``runs`` were tested on the same faces: method, against, and the
    standard deviation (points) of their difference in ``overall`` and ``mean`` accuracy, averaged
    over seeds, where the test faces are drawn anew: by resampling them (bootstrap)."""
    first = next(iter(runs.values()))[0]
    truth = answers(first)["true_label"].to_numpy()
    right = {}
    for method, of_seeds in runs.items():
        said = np.array([answers(run)["prediction"] for run in of_seeds])
        right[method] = (said == truth).mean(axis=0)
    faces = len(truth)
    alike = np.full(faces, 1 / faces)
    draw = np.random.default_rng(0)
    times = draw.multinomial(faces, alike, resamples)
    rows = []
    for method, against in combinations(right, 2):
        gain = 100 * (right[method] - right[against])
        drawn_anew = resampled(gain, truth, times)
        spread = drawn_anew.std(axis=0, ddof=1)
        row = {"method": method, "against": against}
        row |= zip(ACCURACIES, spread)
        rows.append(row)
    return pd.DataFrame(rows)


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


def spread_of_test_set(data: str, measure: str) -> float:
    """The standard deviation (points) to allow for on a ``data`` set; 0 if it is no accuracy."""
    accuracy = measure.removeprefix("best_")
    if accuracy not in ACCURACIES:
        return 0.0
    images = data.split(",")[0]  # whatever the labels
    return float(pd.read_csv(TABLE).set_index("data")[accuracy].get(images, 0.0))

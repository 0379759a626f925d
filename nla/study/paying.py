"""Does it pay to look at labels? A table and a figure, ``nla study mending``.

Of the labels that rank first a share is put right, as somebody would who looks at them; or they
are dropped; or as many are looked at at random. Then the network is trained anew, and scored on
what people say of the test images.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from nla.analysis import judges
from nla.analysis.paying import pays
from nla.analysis.style import save
from nla.data import corruption
from nla.metrics import accuracies
from nla.study.judging import FACES as JUDGED
from nla.study.judging import PHOTOGRAPHS, SCRATCH, Cell, Flags, measure
from nla.study.rows import Row
from nla.study.runs import origin
from nla.training import fit
from nla.training.loading import Images
from nla.training.record import Run

Integers = npt.NDArray[np.int64]
FACES = replace(JUDGED, test_faces=2000)
SHARES = (0.02, 0.05, 0.1, 0.2, 0.3)  # of the training labels that somebody looks at


def paid(cell: Cell) -> list[Row]:
    """Accuracy on human truth after looking at some labels, a row for each way and share."""
    images, manifest = cell.loaded()
    rows = []
    for way, share, order in ways(cell, images, manifest):
        changed, kept = treated(manifest, way, order, share)
        loaded = (images[kept] if not kept.all() else images, changed)
        folder = SCRATCH / cell.key / f"{way}-{share:g}"
        run = fit(cell.config, folder, progress=False, loaded=loaded)
        looked = round(share * len(order))
        row = {"way": way, "share": share, "faces": looked} | accuracy(run)
        rows.append(cell.facts | row | origin(run))
    return rows


def ways(
    cell: Cell, images: Images, manifest: pd.DataFrame
) -> Iterator[tuple[str, float, Integers]]:
    """What is done, to which share of the training labels, and in which order they are taken."""
    folder = SCRATCH / cell.key / "nothing-0"  # where it is found again
    run = fit(cell.config, folder, progress=False, loaded=(images, manifest))
    found = judges.evidence(run)
    suspects = found.index[np.argsort(-judges.margin(found), kind="stable")]
    by_chance = np.random.default_rng([cell.config.seed, 2]).permutation(found.index)
    yield "nothing", 0.0, suspects
    for share in SHARES:
        yield "mended", share, suspects
        yield "dropped", share, suspects
        yield "mended at random", share, by_chance
    yield "all mended", 1.0, suspects


def treated(
    manifest: pd.DataFrame, way: str, order: Integers, share: float
) -> tuple[pd.DataFrame, Flags]:
    """The manifest after that, numbered anew, and which of its rows are left."""
    rows = order[: round(share * len(order))]
    kept = np.ones(len(manifest), dtype=bool)
    if way == "dropped":
        kept[rows] = False
    else:
        truth = manifest["true_label"].to_numpy(np.int64)[rows]
        manifest = corruption.relabelled(manifest, rows, truth)
    result = manifest[kept].reset_index(drop=True)
    result.attrs = dict(manifest.attrs)
    return result, kept


def accuracy(run: Run) -> Row:
    """Overall and mean accuracy (%) on the true labels of the test images, after the last epoch."""
    table = run.predictions().query("split == 'test'")
    scores = accuracies(table["true_label"], table["prediction"], run.classes)
    return {"overall": scores["overall"], "mean": scores["mean"]}


def price(table: pd.DataFrame, points: float = 1.0, metric: str = "mean") -> pd.Series:
    """How many faces to look at for so many points of accuracy, by data and way.

    ``metric``: mean or overall accuracy. By straight lines between the means over the seeds; NaN
    where that is not reached.
    """
    found = {}
    for (data, way), part in table.groupby(["data", "way"]):
        start = table[(table["data"] == data) & (table["way"] == "nothing")]
        means = part.groupby("faces")[metric].mean() - start[metric].mean()
        gains = np.concatenate([[0.0], means.to_numpy()])
        faces = np.concatenate([[0], means.index.to_numpy()])
        over = np.flatnonzero(gains >= points)
        found[data, way] = np.nan
        if len(over):
            k = int(over[0])
            found[data, way] = np.interp(points, gains[k - 1 : k + 1], faces[k - 1 : k + 1])
    return pd.Series(found, name="faces").rename_axis(["data", "way"])


def study_mending(
    seeds: int, folder: str | Path, resume: bool, jobs: int | None = None
) -> pd.DataFrame:
    """Carry the study out, into ``folder``/mending.csv and its figure; returns the prices."""
    todo = []
    for config in (FACES, PHOTOGRAPHS):
        kind = "symmetric" if config.data == "faces" else "real"
        todo += [Cell(replace(config, seed=seed), kind, 0.3) for seed in range(seeds)]
    file = Path(folder) / "mending.csv"
    table = measure(todo, file, paid, resume, jobs)
    save(pays(table), file.with_suffix(""))
    prices = {metric: price(table, metric=metric) for metric in ("overall", "mean")}
    return pd.DataFrame(prices).add_prefix("faces for a point: ").reset_index()

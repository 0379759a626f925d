"""Out-of-fold predictions: what models say of training images that they did not see.

The training rows are dealt into K folds, exact copies of a picture into one; for each a model is
trained on the others, by the same config. This is what confident learning (Northcutt et al., JAIR
2021) looks at.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from nla.files import write
from nla.training.config import Config
from nla.training.identity import data_key, marked
from nla.training.loading import Images, some_of
from nla.training.loop import TrainingError, fit
from nla.training.record import Run, read_table


def out_of_fold(
    config: Config,
    loaded: tuple[Images, pd.DataFrame],
    folder: str | Path,
    folds: int = 4,
    progress: bool = True,
) -> pd.DataFrame:
    """A row for each training image: index, ``p_<class>`` and margin.

    ``p_<class>``: after the last epoch, of the model that did not see it; ``margin``: p_GT - p_NN
    (-1..1), the mean over that model's epochs. ``loaded``: what ``load_data(config)`` gives. The
    runs stand below ``folder``, in which the table is kept as well: what has finished is not
    repeated. TrainingError for fewer than two folds, or more than there are different training
    images.
    """
    images, manifest = loaded
    manifest = marked(images, manifest)
    train = np.flatnonzero(manifest["split"] == "train")
    alone = ~manifest["digest"].iloc[train].duplicated().to_numpy()
    if not 2 <= folds <= alone.sum():
        most = alone.sum()
        raise TrainingError(f"{folds} folds of {most} training images: choose from 2 to {most}")
    options = replace(config, snapshots=1, record=False)
    place = Path(folder) / f"{folds}-{data_key(manifest)}-{options.key}"
    file = place / "out_of_fold.parquet"
    if file.is_file():
        return read_table(file)
    inside = some_of(images, train)
    part = manifest.iloc[train].reset_index(drop=True)
    dealt_to = dealt(part["label"].to_numpy()[alone], folds, config.seed)
    fold_of = pd.Series(dealt_to, part["digest"][alone])[part["digest"]].to_numpy()
    tables = []
    for fold in range(folds):
        split = np.where(fold_of == fold, "test", "train")
        dealt_out = part.assign(split=split.astype(object))
        run = fit(options, place / f"fold_{fold}", progress, (inside, dealt_out))
        tables.append(seen_from_outside(run, np.flatnonzero(fold_of == fold)))
    table = pd.concat(tables).sort_values("index", ignore_index=True)
    table["index"] = train[table["index"].to_numpy()]
    write(file, table)
    return table


def dealt(labels: npt.NDArray[np.int64], folds: int, seed: int) -> npt.NDArray[np.int64]:
    """The fold (n,) of each sample: each label's samples as evenly as they can be dealt."""
    draw = np.random.default_rng([seed, 3])  # apart from the noise of the same seed
    mixed = np.argsort(draw.random(len(labels)), kind="stable")
    in_order = mixed[np.argsort(labels[mixed], kind="stable")]
    fold = np.empty(len(labels), dtype=np.int64)
    fold[in_order] = np.arange(len(labels)) % folds
    return fold


def seen_from_outside(run: Run, rows: npt.NDArray[np.int64]) -> pd.DataFrame:
    """The columns of :func:`out_of_fold` for some of a run's held-out rows."""
    columns = [f"p_{name}" for name in run.classes]
    label = run.manifest["label"].to_numpy()[rows]
    margins = []
    for epoch in run.epochs["epoch"]:
        table = run.predictions(epoch).set_index("index")[columns].loc[rows]
        others = table.to_numpy(float, copy=True)
        place = np.arange(len(rows)), label
        own = others[place]
        others[place] = 0
        margins.append(own - others.max(axis=1))
    return table.assign(margin=np.mean(margins, axis=0)).reset_index()

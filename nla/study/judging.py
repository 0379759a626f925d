"""How well do judges of labels rank, and does mending pay? Two tables, ``nla study judges`` and
``nla study mending``.

Judges: wrong labels are planted in drawn faces (symmetric, pair, instance-dependent), ambiguous
faces are drawn, and FER2013's own labels are held against the votes of FERPlus. Each number is the
mean over two halves of the training labels; a combination is chosen on one half and reported on
the other. cleanlab, where it is installed, is given the same out-of-fold predictions as ours.

Mending: of the labels that rank first a share is put right (as somebody would who looks at them),
or dropped, or as many are looked at at random; then the network is trained anew.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import entropy, spearmanr
from sklearn.metrics import average_precision_score, roc_auc_score
from tqdm import tqdm

from nla.analysis import judges
from nla.data import corruption
from nla.files import write
from nla.metrics import accuracies
from nla.study.rows import StudyError
from nla.training import fit, load_data
from nla.training.config import Config
from nla.training.folds import out_of_fold
from nla.training.loading import Images
from nla.training.record import Run

Flags = npt.NDArray[np.bool_]
Row = dict[str, Any]

SCRATCH = Path("data/runs/judges")  # run folders; they may be deleted once their rows are written
RATIOS = (0.05, 0.1, 0.2, 0.3, 0.4)
NOISE = ("symmetric", "pair", "instance")
SHARES = (0.02, 0.05, 0.1, 0.2, 0.3)  # of the training labels that somebody looks at
FOLDS = 4
FACES = Config(
    name="judged",
    loss="cross_entropy",
    train_faces=2000,
    test_faces=1000,
    epochs=10,
    snapshots=1,
    probe=64,
)
PHOTOGRAPHS = replace(FACES, data="fer2013", epochs=5)


@dataclass(frozen=True)
class Cell:
    """One setting and seed: what is trained and what is planted."""

    config: Config
    kind: str  # of NOISE, or ambiguous, or real
    ratio: float

    @property
    def key(self) -> str:
        return f"{self.config.key}-{self.kind}-{self.ratio:g}"

    @property
    def facts(self) -> Row:
        """The columns that a row of a table begins with."""
        where = {"key": self.key, "data": self.config.data, "kind": self.kind, "ratio": self.ratio}
        return where | {"seed": self.config.seed}

    def loaded(self) -> tuple[Images, pd.DataFrame]:
        """The images, and the manifest with what is planted."""
        images, manifest = load_data(self.config)
        if self.kind == "symmetric":
            manifest = corruption.flip_labels(manifest, self.ratio, self.config.seed)
        elif self.kind == "pair":
            manifest = corruption.flip_pairs(manifest, self.ratio, self.config.seed)
        elif self.kind == "instance":
            shares = planted_shares(manifest)
            manifest = corruption.flip_by_prediction(manifest, shares, self.ratio, self.config.seed)
        return images, manifest


def planted_shares(manifest: pd.DataFrame) -> npt.NDArray[np.float64]:
    """What each drawn training face shows, (n, K), a little blurred: its own ambiguity."""
    train = manifest[manifest["split"] == "train"]
    columns = [f"p_{name}" for name in corruption.class_names(manifest)]
    shares = train[columns].to_numpy(float) + 0.02
    return shares / shares.sum(axis=1, keepdims=True)


def cells(seeds: int, faces: Config = FACES, photographs: Config = PHOTOGRAPHS) -> list[Cell]:
    """Every setting with every seed; those on photographs come last."""
    found = []
    for seed in range(seeds):
        config = replace(faces, seed=seed)
        found += [Cell(config, kind, ratio) for kind in NOISE for ratio in RATIOS]
        found.append(Cell(replace(config, ambiguous=0.4), "ambiguous", 0.4))
    found += [Cell(replace(photographs, seed=seed), "real", np.nan) for seed in range(seeds)]
    return found


def measure(
    todo: list[Cell], file: Path, rows_of: Callable[[Cell], list[Row]], resume: bool
) -> pd.DataFrame:
    """The rows of all cells: those in ``file``, and those measured now and added as they end.

    StudyError if the table is there and not to be resumed.
    """
    if file.exists() and not resume:
        raise StudyError(f"{file} is there: --resume adds what is missing, or move it away")
    table = pd.read_csv(file, dtype={"key": str}) if file.exists() else pd.DataFrame({"key": []})
    for cell in tqdm(todo, desc=file.stem, unit="cell"):
        if cell.key in set(table["key"]):
            continue
        table = pd.concat([table, pd.DataFrame(rows_of(cell))], ignore_index=True)
        write(file, table)
    return table[table["key"].isin([cell.key for cell in todo])]


# How well judges rank


def judged(cell: Cell) -> list[Row]:
    """A row for each judge and target of one cell."""
    images, manifest = cell.loaded()
    run = fit(cell.config, SCRATCH / cell.key, progress=False, loaded=(images, manifest))
    outside = out_of_fold(
        cell.config, (images, manifest), run.folder / "folds", FOLDS, progress=False
    )
    found = judges.with_folds(judges.evidence(run), outside, run.classes)
    found = judges.with_latents(found, run, images)
    train = run.manifest.loc[found.index]
    errors = judges.verdicts(found).join(cleanlabs(found))
    doubts = judges.verdicts(found, judges.DOUBTS)
    half = np.random.default_rng(cell.config.seed).random(len(train)) < 0.5
    wrong, unsure, certainty = targets(cell, train)
    rows = []
    if wrong.any():
        rows += ranked(errors, wrong, half, "wrong")
    if unsure.any():
        rows += ranked(doubts, unsure, half, "ambiguous", certainty)
    return [cell.facts | row for row in rows]


def targets(cell: Cell, train: pd.DataFrame) -> tuple[Flags, Flags, npt.NDArray[np.float64] | None]:
    """What is wrong and what is ambiguous (n,), and the entropy of the votes where there are."""
    kind = train["kind"].to_numpy()
    if cell.kind != "real":
        return kind == "noisy", (kind == "ambiguous") & (cell.kind == "ambiguous"), None
    votes = train.filter(like="votes_").to_numpy(float)
    wrong = (train["label"] != train["true_label"]).to_numpy()
    return wrong, kind == "ambiguous", entropy(votes, axis=1)


def ranked(
    scores: pd.DataFrame,
    target: Flags,
    half: Flags,
    name: str,
    certainty: npt.NDArray[np.float64] | None = None,
) -> list[Row]:
    """A row for each judge, and for the combinations, the mean of what it does on two halves.

    cleanlab's columns take no part in the choice of a combination.
    """
    ours = scores[[column for column in scores if not column.startswith("cleanlab")]]
    results: dict[str, list[Row]] = {}
    chosen = []
    for rows in (half, ~half):
        columns = dict(scores[rows].items())
        picked = judges.chosen(ours[~rows], target[~rows])
        chosen.append("+".join(picked))
        columns["combined (chosen)"] = judges.combined(ours[rows], picked)
        if set(judges.COMBINED) <= set(ours):
            columns["combined"] = judges.combined(ours[rows], judges.COMBINED)
        for judge, values in columns.items():
            row = quality(np.asarray(values), target[rows])
            if certainty is not None:
                row["rank_correlation"] = spearmanr(values, certainty[rows]).statistic
            results.setdefault(judge, []).append(row)
    found = []
    for judge, both in results.items():
        means = pd.DataFrame(both).mean().to_dict()
        note = " | ".join(chosen) if judge == "combined (chosen)" else ""
        found.append({"target": name, "judge": judge, **means, "chosen": note})
    return found


def quality(score: npt.NDArray[np.float64], target: Flags) -> Row:
    """How well a score ranks ``target`` (n,): shares and areas, from 0 to 1."""
    order = np.argsort(-score, kind="stable")
    hits = target[order]
    return {
        "n": len(target),
        "share": target.mean(),
        "auroc": roc_auc_score(target, score),
        "average_precision": average_precision_score(target, score),
        "first_100": hits[:100].mean(),
        "first_1_percent": hits[: max(1, len(hits) // 100)].mean(),
    }


def cleanlabs(found: judges.Evidence) -> pd.DataFrame:
    """What cleanlab makes of the same predictions; no column where it is not installed."""
    try:
        from cleanlab.filter import find_label_issues
        from cleanlab.rank import get_label_quality_scores
    except ImportError:
        return pd.DataFrame(index=range(len(found.index)))
    assert found.outside is not None
    p = found.outside / found.outside.sum(axis=1, keepdims=True)
    columns = {}
    for method in ("self_confidence", "normalized_margin", "confidence_weighted_entropy"):
        columns[f"cleanlab {method}"] = -get_label_quality_scores(found.label, p, method=method)
    for method in ("self_confidence", "normalized_margin"):
        scores = get_label_quality_scores(found.label, p, method=method, adjust_pred_probs=True)
        columns[f"cleanlab {method}, adjusted"] = -scores
    flagged = find_label_issues(found.label, p, n_jobs=1)
    columns["cleanlab issues first"] = columns["cleanlab self_confidence"] + 10 * flagged
    return pd.DataFrame(columns)


# Does it pay?


def payed(cell: Cell) -> list[Row]:
    """Accuracy on human truth after looking at some labels, a row for each way and share."""
    images, manifest = cell.loaded()
    rows = []
    for way, share, order in ways(cell, images, manifest):
        changed, kept = treated(manifest, way, order, share)
        loaded = (images[kept] if not kept.all() else images, changed)
        folder = SCRATCH / cell.key / f"{way}-{share:g}"
        run = fit(cell.config, folder, progress=False, loaded=loaded)
        looked = round(share * len(order))
        rows.append(cell.facts | {"way": way, "share": share, "faces": looked} | accuracy(run))
    return rows


def ways(
    cell: Cell, images: Images, manifest: pd.DataFrame
) -> Iterator[tuple[str, float, npt.NDArray[np.int64]]]:
    """What is done, to which share of the training labels, and in which order they are taken."""
    run = fit(cell.config, SCRATCH / cell.key, progress=False, loaded=(images, manifest))
    found = judges.evidence(run)
    suspects = found.index[np.argsort(-judges.margin(found), kind="stable")]
    by_chance = np.random.default_rng(cell.config.seed).permutation(found.index)
    yield "nothing", 0.0, suspects
    for share in SHARES:
        yield "mended", share, suspects
        yield "dropped", share, suspects
        yield "mended at random", share, by_chance
    yield "all mended", 1.0, suspects


def treated(
    manifest: pd.DataFrame, way: str, order: npt.NDArray[np.int64], share: float
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


def price(table: pd.DataFrame, points: float = 1.0) -> pd.Series:
    """How many faces to look at for so many points of mean accuracy, by data and way.

    By straight lines between the means over the seeds; NaN where that is not reached.
    """
    found = {}
    for (data, way), part in table.groupby(["data", "way"]):
        start = table[(table["data"] == data) & (table["way"] == "nothing")]
        means = part.groupby("faces")["mean"].mean() - start["mean"].mean()
        gains = np.concatenate([[0.0], means.to_numpy()])
        faces = np.concatenate([[0], means.index.to_numpy()])
        over = np.flatnonzero(gains >= points)
        found[data, way] = np.nan
        if len(over):
            k = int(over[0])
            found[data, way] = np.interp(points, gains[k - 1 : k + 1], faces[k - 1 : k + 1])
    return pd.Series(found, name="faces").rename_axis(["data", "way"])


def run_judging(name: str, seeds: int | None, folder: str | Path, resume: bool) -> pd.DataFrame:
    """Carry out ``judges`` or ``mending``: the table, also in ``folder``/<name>.csv."""
    file = Path(folder) / f"{name}.csv"
    if name == "judges":
        return measure(cells(seeds or 5), file, judged, resume)
    configs = [replace(c, seed=seed) for c in (FACES, PHOTOGRAPHS) for seed in range(seeds or 5)]
    todo = [
        Cell(config, "symmetric" if config.data == "faces" else "real", 0.3) for config in configs
    ]
    return measure(todo, file, payed, resume)

"""How well do judges of labels rank? A table, ``nla study judges``.

Wrong labels are planted in drawn faces (symmetric, pair, instance-dependent), ambiguous
faces are drawn, and FER2013's own labels are held against the votes of FERPlus. Each number is the
mean over two halves of the training labels; a combination is chosen on one half and reported on
the other. cleanlab, where it is installed, is given the same out-of-fold predictions as ours.
"""

import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import entropy, spearmanr
from sklearn.metrics import average_precision_score, roc_auc_score
from tqdm import tqdm

from nla import dlib_format, face_resnet
from nla.analysis import judges
from nla.analysis.methods import mean_interval
from nla.data import corruption
from nla.data.manifest import class_names
from nla.study.rows import Row, StudyError, add_rows, read_table
from nla.study.runs import origin, tidy
from nla.study.workers import how_to_go_on, in_processes
from nla.training import fit, load_data
from nla.training.config import Config
from nla.training.folds import out_of_fold
from nla.training.loading import Images

Flags = npt.NDArray[np.bool_]

SCRATCH = Path("data/runs/judges")  # run folders; they may be deleted once their rows are written
RATIOS = (0.05, 0.1, 0.2, 0.3, 0.4)
NOISE = ("symmetric", "pair", "instance")
FOLDS = 4
FACES = Config(
    name="judged",
    loss="cross_entropy",
    train_faces=2000,
    test_faces=100,  # no judge looks at them
    epochs=10,
    snapshots=1,
    probe=64,
)
PHOTOGRAPHS = replace(FACES, data="fer2013", epochs=5)
PRETRAINED = replace(  # as in the study of photographs, fewer of them
    PHOTOGRAPHS,
    model="face_resnet",
    weights="dlib",
    size=face_resnet.SIZE,
    lr=1e-4,
    epochs=3,
    train_images=3000,
)


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
        where = {"key": self.key, "data": self.config.data, "network": self.config.model}
        return where | {"kind": self.kind, "ratio": self.ratio, "seed": self.config.seed}

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
    columns = [f"p_{name}" for name in class_names(manifest)]
    shares: npt.NDArray[np.float64] = train[columns].to_numpy(float) + 0.02
    shares /= shares.sum(axis=1, keepdims=True)
    return shares


def cells(seeds: int, faces: Config = FACES, photographs: Config = PHOTOGRAPHS) -> list[Cell]:
    """Every setting with every seed; those on photographs come last.

    The network that knows faces takes part where its package is installed.
    """
    found = []
    for seed in range(seeds):
        config = replace(faces, seed=seed)
        found += [Cell(config, kind, ratio) for kind in NOISE for ratio in RATIOS]
        found.append(Cell(replace(config, ambiguous=0.4), "ambiguous", 0.4))
    for config in (photographs, *([PRETRAINED] if dlib_format.installed() else [])):
        found += [Cell(replace(config, seed=seed), "real", np.nan) for seed in range(seeds)]
    return found


def measure(
    todo: list[Cell],
    file: Path,
    rows_of: Callable[[Cell], list[Row]],
    resume: bool,
    jobs: int | None = None,
) -> pd.DataFrame:
    """The rows of all cells: those in ``file``, and those measured now and added as they end.

    ``jobs``: cells at a time, one thread each (default: the number of processors). StudyError if
    the table is there and not to be resumed, and, at the end, if cells failed.
    """
    if file.exists() and not resume:
        raise StudyError(f"{file} is there: --resume adds what is missing, or move it away")
    known = set(read_table(file)["key"]) if file.exists() else set()
    waiting = {cell.key: cell for cell in todo if cell.key not in known}
    begun = len(todo) - len(waiting)
    failures = []
    with (
        tqdm(total=len(todo), initial=begun, desc=file.stem, unit="cell") as bar,
        how_to_go_on(file, "cells"),
        closing(in_processes(waiting, rows_of, jobs or os.cpu_count() or 1)) as ended,
    ):
        for cell, result in ended:
            try:
                add_rows(file, result.result())
                tidy(SCRATCH / cell.key)
            except Exception as error:  # of a cell, or its process died: the others go on
                failures.append(f"{type(error).__name__}: {error} in {cell}")
                bar.write(f"failed: {failures[-1]}")
            bar.update()
    if failures:
        raise StudyError(
            f"{len(failures)} of {len(todo)} cells failed; --resume repeats them. "
            f"Last: {failures[-1]}"
        )
    table = read_table(file)
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
    half = halves(len(train), cell.config.seed)
    wrong, unsure, certainty = targets(cell, train)
    rows = []
    if wrong.any():
        rows += ranked(errors, wrong, half, "wrong")
    if unsure.any():
        rows += ranked(doubts, unsure, half, "ambiguous", certainty)
    return [cell.facts | row | origin(run) for row in rows]


def halves(count: int, seed: int) -> Flags:
    """Which of the samples are in the first half, drawn apart from the noise of the same seed."""
    draw = np.random.default_rng([seed, 1])
    return draw.random(count) < 0.5


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
    ours = scores.loc[:, ~scores.columns.str.startswith("cleanlab")]
    results: dict[str, list[Row]] = {}
    chosen = []
    for rows in (half, ~half):
        columns = {str(judge): column.to_numpy() for judge, column in scores[rows].items()}
        picked = judges.chosen(ours[~rows], target[~rows])
        chosen.append("+".join(picked))
        columns["combined (chosen)"] = judges.combined(ours[rows], picked)
        if set(judges.COMBINED) <= set(ours):
            columns["combined"] = judges.combined(ours[rows], judges.COMBINED)
        for judge, values in columns.items():
            row = quality(values, target[rows])
            if certainty is not None:
                row["rank_correlation"] = spearmanr(values, certainty[rows]).statistic
            results.setdefault(judge, []).append(row)
    found = []
    for judge, both in results.items():
        row = {"target": name, "judge": judge} | pd.DataFrame(both).mean().to_dict()
        row["chosen"] = " | ".join(chosen) if judge == "combined (chosen)" else ""
        found.append(row)
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


def compared(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each setting: average precision (0..1, mean over seeds) of our best, of the
    combinations and of cleanlab's best, and how far the chosen combination is ahead of that.

    A judge alone and a method of cleanlab are each the best of several in hindsight; a combination
    is not, so it is the one that is compared: ``gain`` with its 95 % interval (t, paired by seed).
    """
    setting = ["data", "network", "kind", "ratio", "target"]
    groups = table.groupby(setting, dropna=False, sort=False)
    rows = [dict(zip(setting, place, strict=True)) | row_of_setting(part) for place, part in groups]
    return pd.DataFrame(rows).sort_values(["target", "data", "kind", "ratio"], ignore_index=True)


def row_of_setting(part: pd.DataFrame) -> Row:
    """What :func:`compared` says of one setting; without cleanlab's rows there is no gain."""
    by_seed = part.pivot(index="seed", columns="judge", values="average_precision")
    means = by_seed.mean()
    of_cleanlab = means.index.str.startswith("cleanlab")
    combinations = means.index.str.startswith("combined")
    theirs, alone = means[of_cleanlab], means[~of_cleanlab & ~combinations]
    row: Row = {"seeds": len(by_seed), "share": part["share"].mean()}
    row |= {"alone": alone.idxmax(), "best alone": alone.max()}
    row |= means[combinations].to_dict()
    if len(theirs):
        best = str(theirs.idxmax())
        gains = by_seed["combined (chosen)"] - by_seed[best]
        low, high = mean_interval(gains)
        row |= {"cleanlab": best.removeprefix("cleanlab "), "its best": theirs.max()}
        row |= {"gain": gains.mean(), "low": low, "high": high}
    return row


def study_judges(
    seeds: int, folder: str | Path, resume: bool, jobs: int | None = None
) -> pd.DataFrame:
    """Carry the study out, into ``folder``/judges.csv; returns its comparison."""
    if not dlib_format.installed():
        print(f"without the network that knows faces: {dlib_format.INSTALL}")
    return compared(measure(cells(seeds), Path(folder) / "judges.csv", judged, resume, jobs))

"""What a run records, and how it is read back. The format is documented in ``data/README.md``.

A run folder holds raw facts only; everything shown is derived from them later, without the GPU
and the images.
"""

import contextlib
import json
import operator
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nla.data.manifest import EXPRESSIONS, KINDS, knows_truth
from nla.metrics import accuracies, confusion, other_prior

FORMAT = 2  # of the run folder, in card.json; raised whenever a file's meaning changes
WEIGHING = ("nla", "naw", "attached", "epsilon_0", "epsilon_1")  # losses that contain w*
ADJUSTING = ("logit_adjusted", "malt")  # losses that adjust for how common classes are
NEEDED = ("name", "data", "loss", "epochs", "seed")  # fields that every config.json has
READABLE = (1, FORMAT)  # in format 1 the weight of ReMa's runs was another number: the factor - 1


class RunError(ValueError):
    """A run folder that is missing, unfinished, or of another format."""


def snapshot_epochs(epochs: int, count: int = 8) -> list[int]:
    """When to take latent snapshots: before epoch 0, after the last, and early in between.

    At the start of epoch e, e from 0 (untrained) to ``epochs`` (finished). Gaps grow geometrically,
    since epsilon is at 95 % of its way by e / E = 0.2.
    """
    inner = np.geomspace(1, epochs, max(count - 1, 1))
    return sorted({0, epochs, *(int(round(e)) for e in inner)})


@dataclass(frozen=True)
class Run:
    """A finished run, or what there is of an unfinished one.

    Tables are read when first asked for.
    """

    folder: Path

    @cached_property
    def config(self) -> dict[str, Any]:
        file = self.folder / "config.json"
        content = read_json(file)
        if lacking := [name for name in NEEDED if name not in content]:
            raise damaged(file, f"it has no {lacking[0]}")
        return content

    @cached_property
    def card(self) -> dict[str, Any]:
        return read_json(self.folder / "card.json")

    @cached_property
    def manifest(self) -> pd.DataFrame:
        """One row per image, as trained on; every ``index`` column below refers to its rows."""
        return read_table(self.folder / "manifest.parquet")

    @cached_property
    def epochs(self) -> pd.DataFrame:
        """One row per epoch: loss and its parts, accuracies, learning rate, epsilon, seconds.

        RunError unless they are all that the run has gone through.
        """
        file = self.folder / "epochs.csv"
        with reading(file):
            table = pd.read_csv(file)
        if "epoch" not in table:
            raise damaged(file, "it has no column epoch")
        count = self.config["epochs"]
        if not (self.folder / "card.json").is_file():  # the last may not be in the table yet
            files = len(list((self.folder / "predictions").glob("epoch_*.parquet")))
            count = min(files, max(len(table), files - 1))
        if table["epoch"].tolist() != list(range(count)):
            lost = sorted({*range(count)} - {*table["epoch"]})
            raise damaged(file, f"it has no epoch {lost[0]}" if lost else "it has too many epochs")
        return table

    @property
    def name(self) -> str:
        return str(self.config["name"] or self.config["loss"])

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the labels."""
        return tuple(self.card.get("class_names", EXPRESSIONS[: self.card["classes"]]))

    @property
    def notes(self) -> list[str]:
        """Sentences: what was assumed, left out or held out when the data was read, and so on."""
        return list(self.card.get("notes", self.manifest.attrs.get("notes", ())))

    @property
    def weighs(self) -> bool:
        """Whether w* is part of the loss; else the weights on record are what NAW would weigh."""
        return self.config["loss"] in WEIGHING

    @cached_property
    def knows_truth(self) -> bool:
        """Whether anything better than the labels it was trained on is known."""
        return knows_truth(self.manifest)

    @property
    def label_counts(self) -> npt.NDArray[np.int64]:
        """How many training labels each class has, (K,)."""
        labels = self.manifest.loc[self.manifest["split"] == "train", "label"]
        counts: npt.NDArray[np.int64] = np.bincount(labels, minlength=len(self.classes))
        return counts

    @property
    def taken_out(self) -> float:
        """tau of the tau log pi that the loss takes out of the logits, 0 of one that does not."""
        loss = str(self.config["loss"])
        if not loss.startswith(ADJUSTING) or loss == "malt_no_adjustment":
            return 0.0
        return float(self.config.get("strength") or 1.0)

    def other_prior(self, epoch: int = -1, split: str = "test") -> dict[str, float]:
        """:func:`nla.metrics.other_prior` (%) of the predictions after that epoch."""
        rows = self.predictions(epoch).query("split == @split")
        probabilities = rows[[f"p_{name}" for name in self.classes]].to_numpy()
        counts, truth = self.label_counts, rows["true_label"]
        return other_prior(truth, probabilities, counts, self.classes, self.taken_out)

    def samples(self, epoch: int = -1) -> pd.DataFrame:
        """One row per training sample as seen in that epoch's training pass (-1: the last epoch).

        index, label, p_gt, p_nn, correct, weight, cross_entropy, divergence, and factor where the
        loss multiplies the cross-entropy by something else than 1 + w*; true_label and, where
        known, kind are joined from the manifest.
        """
        return self._table("dynamics", epoch, ["true_label", "kind"])

    def predictions(self, epoch: int = -1) -> pd.DataFrame:
        """One row per held-out sample after that epoch.

        index, prediction, p_<class>; true_label, split and, where known, kind are joined.
        """
        return self._table("predictions", epoch, ["true_label", "split", "kind"])

    @cached_property
    def all_samples(self) -> pd.DataFrame:
        """:meth:`samples` of all epochs, one below the other, with a column ``epoch``."""
        tables = {epoch: self.samples(epoch) for epoch in self.epochs["epoch"]}
        table: pd.DataFrame = pd.concat(tables, names=["epoch"]).reset_index("epoch")
        return table

    @cached_property
    def latents(self) -> dict[int, dict[str, npt.NDArray[Any]]]:
        """Snapshots by the epoch at whose start they were taken (the last: after training).

        Each: index (P,), latent and flipped_latent (P, D), logits and flipped_logits (P, K) of the
        fixed probe set and of its mirror images, in evaluation mode without augmentation. RunError
        if there are none.
        """
        files = sorted((self.folder / "latents").glob("epoch_*.npz"))
        if not files:
            raise RunError(f"{self.folder} has no latent snapshots; train it anew to have them")
        snapshots = {}
        for file in files:
            with reading(file):
                snapshots[int(file.stem[6:])] = dict(np.load(file, allow_pickle=False))
        return snapshots

    def confusion(
        self, epoch: int = -1, split: str = "test", normalize: str | None = None
    ) -> pd.DataFrame:
        """Confusion matrix (K, K) on a split, true classes in rows."""
        predictions = self.predictions(epoch)
        rows = predictions.query("split == @split")
        if rows.empty:
            scored, every = predictions["split"].unique(), self.manifest["split"].unique()
            there = "it scored those of" if len(scored) else "its splits are"
            names = ", ".join(scored if len(scored) else every)
            raise RunError(f"{self.folder} has no {split} samples to score; {there} {names}")
        return confusion(rows["true_label"], rows["prediction"], self.classes, normalize)

    @property
    def best_epoch(self) -> int | None:
        """The epoch with the best mean accuracy on the validation split, the first of equals."""
        if "val_mean" not in self.epochs:
            return None
        return int(self.epochs["val_mean"].to_numpy().argmax())

    def summary(self) -> dict[str, float | str]:
        """Test accuracies (%) after the last epoch and the best on validation; mean w* by kind.

        A class without test images has the accuracy NaN. "Adjusted" are those after logit
        adjustment; of a loss that adjusts itself, "with prior" are those with the classes' prior
        put back. Of a loss without w* its factor is shown, if it has one.
        """
        rows = self.predictions().query("split == 'test'")
        scores = accuracies(rows["true_label"], rows["prediction"], self.classes)
        table: dict[str, float | str] = {"method": self.name, **scores}
        both = ("overall", "mean")
        if self.best_epoch is not None:
            then = self.epochs.iloc[self.best_epoch]
            table |= {f"best val: {name}": float(then[f"test_{name}"]) for name in both}
        table |= self.other_prior()
        if "kind" in rows and rows["kind"].notna().all():
            right = rows["true_label"] == rows["prediction"]
            for kind, share in right.groupby(rows["kind"], observed=True).mean().items():
                table[f"on {kind}"] = 100 * float(share)
        if (self.folder / "dynamics").is_dir() and "kind" in self.manifest:
            samples = self.samples()
            column, symbol = ("weight", "w*") if self.weighs else ("factor", "factor")
            if column in samples:
                means = samples.groupby("kind", observed=True)[column].mean()
                there = [kind for kind in KINDS if kind in means]
                table |= {f"{symbol} {kind}": float(means[kind]) for kind in there}
        return table

    def _table(self, part: str, epoch: int, facts: list[str]) -> pd.DataFrame:
        try:
            epoch = operator.index(epoch)
        except TypeError:
            raise RunError(
                f"an epoch is a whole number from 0, or -1 for the last, got {epoch!r}"
            ) from None
        count = len(self.epochs)
        place = epoch + count if epoch < 0 else epoch
        if not 0 <= place < count:
            raise RunError(f"{self.folder} has no {part} of epoch {epoch}; it has {count} epochs")
        file = self.folder / part / f"epoch_{place:03d}.parquet"
        if not file.is_file():
            raise RunError(
                f"{self.folder} has no {part} of epoch {place}: they were not recorded, or the "
                "file is gone; put it back, or train the run anew"
            )
        return read_table(file).join(self.manifest.filter(facts), on="index")


def damaged(file: Path, why: str) -> RunError:
    """The error of a file that is not as the kit has written it, with the way out."""
    return RunError(
        f"{file} is damaged ({why}): put a whole one back, or delete the run's folder to train it "
        "anew"
    )


@contextlib.contextmanager
def reading(file: Path) -> Iterator[None]:
    """RunError, with the way out, where a file of a run is missing or cannot be read."""
    if not file.is_file():
        raise RunError(f"{file} is missing: put it back, or train the run anew")
    try:
        yield
    except (PermissionError, MemoryError):
        raise
    except Exception as error:  # damage can make a reader raise anything
        raise damaged(file, f"no whole {file.suffix[1:]} file") from error


def read_table(file: Path) -> pd.DataFrame:
    """The table in a parquet file of a run; RunError if it is missing or damaged."""
    with reading(file):
        table: pd.DataFrame = pd.read_parquet(file)
    return table


def read_json(path: Path) -> dict[str, Any]:
    """The object that a json file of a run holds; RunError if it is missing or holds none."""
    with reading(path):
        content = dict(json.loads(path.read_text(encoding="utf-8")).items())
    return content


def check_run(run: object) -> None:
    """TypeError for what is no run, such as the folder of one."""
    if not isinstance(run, Run):
        raise TypeError(f"a run is wanted here, as read_run(folder) gives it, got {run!r}")


def read_run(folder: str | Path) -> Run:
    """Open a run folder. RunError if it is not one, is unfinished, or has another format."""
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise RunError(f"{folder} is not a run folder: it has no config.json")
    if not (folder / "card.json").is_file():
        raise RunError(
            f"the run in {folder} has not finished; nla train with the same options continues it"
        )
    run = Run(folder)
    found = run.card.get("format")
    readable = (FORMAT,) if "rema" in str(run.config.get("loss")) else READABLE
    if found not in readable:
        raise RunError(
            f"{folder} has run format {found}, this version reads {FORMAT}; "
            "train it anew, or read it with the version of the kit named in its card.json"
        )
    return run

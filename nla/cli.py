"""The command line. Each command is a function and each option a parameter of it; errors are one line."""

import argparse
import functools
import json
import sys
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
import tyro
from tqdm import tqdm

from nla.data import check, corruption, store
from nla.data.datasets import READERS
from nla.data.manifest import DataError
from nla.files import write
from nla.models import model_from
from nla.training import fit, inference
from nla.training.config import DEMO, DEMO_BASELINE, PAPER, Config
from nla.training.export import export
from nla.training.loading import load_data
from nla.training.record import Run, read_run

PRESETS = {"none": Config(), "demo": DEMO, "demo-baseline": DEMO_BASELINE, "paper": PAPER}
Folders = Annotated[tuple[Path, ...], tyro.conf.Positional]
Repeated = tyro.conf.UseAppendAction[tuple[Path, ...]]
Set = Annotated[Literal[tuple(READERS)], tyro.conf.arg(name="data")]


def train(
    config: Annotated[Config, tyro.conf.arg(name="")],
    preset: Literal[tuple(PRESETS)] = "none",
    settings: Path | None = None,
    out: Path | None = None,
) -> None:
    """Train one model, or go on with it, and print the table of its last epoch.

    Args:
        preset: start from these options.
        settings: a json file of options, such as a run's config.json, that replaces the preset's.
        out: run folder; by default data/runs/<data>-<name>-<key>.
    """
    run = fit(config, out)
    print_table([run])
    print(f"recorded in {run.folder}")


def starting_point(arguments: list[str]) -> Config:
    """What the options of ``nla train`` change: the preset's values, replaced by those of the settings file."""
    peek = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    peek.add_argument("--preset", default="none")
    peek.add_argument("--settings")
    known, _ = peek.parse_known_args(arguments)
    base = PRESETS.get(known.preset, Config())
    if not known.settings:
        return base
    try:
        return Config.parse(json.loads(Path(known.settings).read_text()), base)
    except (OSError, TypeError, ValueError) as error:
        raise ValueError(f"{known.settings} holds no settings: {error}") from None


def show(folders: Folders = ()) -> None:
    """Print the table of finished runs side by side; of the demo's two if none is named."""
    print_table(runs_of(folders))


def runs_of(folders: tuple[Path, ...]) -> list[Run]:
    return [read_run(folder) for folder in folders or (DEMO_BASELINE.folder, DEMO.folder)]


def print_table(runs: list[Run]) -> None:
    """One column a run: test accuracies in percent, and the mean w* of each kind of training sample."""
    table = pd.DataFrame([run.summary() for run in runs]).set_index("method").T
    print(table.to_string(float_format="{:.2f}".format, na_rep=""))


def figures(
    run: Repeated = (), out: Path = Path("figures"), results: Path | None = None, html: bool = False
) -> None:
    """Draw every figure and table from run folders alone; the last run given is the one looked into.

    Args:
        run: a run folder; repeat it to compare runs. By default the demo's two.
        out: folder for the pdf and png files.
        results: csv of a study, for accuracy against noise and imbalance, and the ablation.
        html: also write the NAW explorer as one page that needs no network.
    """
    from nla.analysis.gallery import draw_all  # here, so that training needs no plotting library

    runs = runs_of(run)
    config = Config.parse(runs[-1].config)
    images = (
        load_data(config)[0] if config.data == "faces" else None
    )  # real faces stay where they are
    print("figures:", *draw_all(runs, out, results, html, images), sep="\n  ")


def audit(
    run: Annotated[Path, tyro.conf.Positional], out: Path = Path("figures/audit.csv"), top: int = 10
) -> None:
    """Rank the training labels of a run, the most suspect first, and write the list.

    Args:
        out: the list, a csv.
        top: rows to print.
    """
    from nla.analysis.audit import audit as ranked

    table = ranked(read_run(run))
    write(out, table)
    print(table.head(top).to_string(index=False, float_format="{:.3f}".format))
    print(f"wrote {out}: {len(table)} labels, the most suspect first")


def evaluate(
    weights: Path,
    data: Literal[("faces", *READERS)] = "faces",
    root: Path = Path("data"),
    size: int = 48,
    split: Literal["train", "val", "test"] = "test",
    classes: Literal[7, 8] = 7,
) -> None:
    """Score a model file, the kit's or another's, on a data set.

    Args:
        weights: safetensors or checkpoint with a classifier; a run's model.safetensors, for example.
        size: pixels, height and width, that the model was trained with.
        classes: of the data set; 8 with contempt.
    """
    model, report = model_from(weights)
    config = Config(data=data, root=str(root), size=size, device="cpu")
    images, manifest = load_data(config)
    scores = inference.evaluate(
        model, images, manifest[manifest["true_label"] < classes], config, split
    )
    print(
        f"{weights}: {report.matched:.0%} of the backbone matched; {', '.join(report.adapted) or 'nothing adapted'}"
    )
    print(pd.Series(scores).to_string(float_format="{:.2f}".format))


def export_model(run: Annotated[Path, tyro.conf.Positional], out: Path, best: bool = False) -> None:
    """Export a run's model for use elsewhere: uint8 images in, logits and latents out; compared with the original.

    Args:
        out: name that ends in .onnx, .pt2 (torch.export) or .safetensors (weights alone).
        best: the model that validation would choose, not the last.
    """
    model, config = inference.restore(read_run(run), best)
    difference = export(model, out, config.size, config.augmentation)
    print(f"wrote {out}: its outputs differ from the model's by at most {difference:.2g}")


def study(
    name: Annotated[str, tyro.conf.Positional],
    seeds: int | None = None,
    resume: bool = False,
    jobs: int | None = None,
    out: Path = Path("figures"),
    methods: tuple[str, ...] = (),
) -> None:
    """Carry out a study: demo, noise, imbalance, ablation or real; and bring the claims ledger up to date.

    Args:
        seeds: runs of each cell; by default the study's own number.
        resume: go on with a study whose table is there.
        jobs: runs at a time, one thread each; by default the number of processors.
        out: folder for the tables.
        methods: names of some of its methods; by default all.
    """
    from nla.study import run_study, write_ledger

    table = run_study(name, seeds, out, jobs, resume, methods)
    print(
        table.groupby(["method", "data", "noise", "imbalance"])[["overall", "mean"]].agg(
            ["mean", "std", "count"]
        )
    )
    print(write_ledger(out)["verdict"].value_counts().to_string())


class Bar(tqdm):  # told how many images are done, of how many
    def at(self, done: int, total: int) -> None:
        self.total = total
        self.update(done - self.n)


def check_data(name: Set, root: Path) -> None:
    """Compare a data set with the published counts, find damage and duplicates; exit status 1 if it differs."""
    with Bar(desc="decoding", unit="image", leave=False) as bar:
        report = check.check(name, root, bar.at)
    print(report.table.to_string(index=False, na_rep="?"))
    for mark, lines in (("note", report.notes), ("problem", report.problems)):
        for line in lines:
            print(f"{mark}: {line}")
    sys.exit(bool(report.problems))


def sheet(
    name: Set,
    root: Path,
    out: Path = Path("figures/sheet"),
    split: str = "train",
    per_class: int = 12,
    seed: int = 0,
) -> None:
    """Draw a contact sheet, one row for each label; where a label is not the true one, that stands below.

    Args:
        out: without the ending .png.
    """
    from nla.analysis import figures as draw

    manifest = READERS[name](root).query("split == @split")
    if manifest.empty:
        raise DataError(f"there are no images in the split {split!r} of {name} in {root}")
    manifest = (
        manifest.sample(frac=1, random_state=seed)
        .groupby("label")
        .head(per_class)
        .reset_index(drop=True)
    )
    figure = draw.face_sheet(
        store.read_pixels(root, manifest, size=96), manifest, "label", per_class
    )
    print(f"wrote {draw.save(figure, out, formats=['png'])[0]}")


def pack(name: Set, root: Path, into: Path = Path("data/cache"), size: int | None = None) -> None:
    """Decode every image once into a packed store that training maps into memory.

    Args:
        size: pixels, height and width; by default as stored.
    """
    manifest = READERS[name](root)
    with Bar(desc="packing", unit="image", leave=False) as bar:
        images = store.pack(root, manifest, into, size, progress=bar.at)
    print(f"{len(images)} images of {tuple(images.shape[1:])} in {into}")


def corrupt(
    name: Set,
    root: Path,
    out: Path,
    kind: Literal["symmetric", "pair", "matrix", "prediction"] = "symmetric",
    ratio: float = 0.3,
    matrix: Path | None = None,
    run: Path | None = None,
    seed: int = 0,
) -> None:
    """Write a list of corrupted training labels in the literature's format, one 'name label' a line.

    Args:
        ratio: share of the training labels that change.
        matrix: for kind matrix, a csv of K x K probabilities without a header.
        run: for kind prediction, a finished run on the same data.
    """
    manifest = READERS[name](root)
    if kind == "matrix" and not matrix:
        raise DataError(
            "kind matrix needs --matrix FILE, a csv of K x K probabilities without a header"
        )
    if kind == "prediction" and not run:
        raise DataError("kind prediction needs --run FOLDER, a finished run on the same data")
    if kind == "symmetric":
        manifest = corruption.flip_labels(manifest, ratio, seed)
    elif kind == "prediction":
        train, (model, config) = (
            manifest[manifest["split"] == "train"],
            inference.restore(read_run(run)),
        )
        images = store.read_pixels(root, train, config.size, model.in_channels)
        probabilities = inference.forward(model, images, range(len(train)), config)[0].softmax(1)
        manifest = corruption.flip_by_prediction(manifest, probabilities, ratio, seed)
    else:
        classes = 1 + manifest[["label", "true_label"]].to_numpy().max()
        given = (
            pd.read_csv(matrix, header=None)
            if kind == "matrix"
            else corruption.pair_matrix(ratio, classes)
        )
        manifest = corruption.confuse_labels(manifest, given, seed)
    corruption.write_list(manifest, out)
    changed = (manifest["label"] != manifest["true_label"]) & (manifest["split"] == "train")
    print(
        f"wrote {out}: {changed.sum()} of {(manifest['split'] == 'train').sum()} labels are not the true ones"
    )


def data_help() -> None:
    """Check, look at, pack and corrupt a data set on disk: nla data --help."""


COMMANDS = {
    "train": train,
    "show": show,
    "evaluate": evaluate,
    "figures": figures,
    "audit": audit,
    "study": study,
    "export": export_model,
    "data": data_help,
}
DATA = {"check": check_data, "sheet": sheet, "pack": pack, "corrupt": corrupt}


def run_command(arguments: list[str]) -> None:
    """Find the command and its options in ``arguments``, and run it."""
    if arguments[:1] == ["data"]:
        tyro.extras.subcommand_cli_from_dict(
            DATA,
            prog="nla data",
            args=arguments[1:],
            description="Check, look at, pack and corrupt a data set on disk.",
        )
        return
    start = {"train": functools.partial(train, config=starting_point(arguments))}
    tyro.extras.subcommand_cli_from_dict(
        COMMANDS | start,
        prog="nla",
        args=arguments,
        description="NLA research kit: prepare data, train, look, compare.",
    )


def main() -> None:
    try:
        run_command(sys.argv[1:])
    except KeyboardInterrupt as stop:
        sys.exit(f"nla: {stop or 'stopped'}")
    except (ValueError, OSError) as error:
        sys.exit(f"nla: {error}")


if __name__ == "__main__":
    main()

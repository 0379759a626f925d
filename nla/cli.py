"""The command line. Each command is a function and each option a parameter of it; errors are one line."""

import argparse
import contextlib
import functools
import json
import sys
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
import tyro
from tqdm import tqdm

from nla.config import DEMO, DEMO_BASELINE, PAPER, Config
from nla.data import check, corruption, store
from nla.data.datasets import READERS
from nla.data.manifest import DataError
from nla.dynamics import Run, read_run
from nla.inference import forward, restore
from nla.loading import load_data
from nla.training import fit

PRESETS = {"none": Config(), "demo": DEMO, "demo-baseline": DEMO_BASELINE, "paper": PAPER}
Folders = Annotated[tuple[Path, ...], tyro.conf.Positional]
Repeated = tyro.conf.UseAppendAction[tuple[Path, ...]]
Set = Annotated[Literal[tuple(READERS)], tyro.conf.arg(name="data")]


def train(config: Annotated[Config, tyro.conf.arg(name="")], preset: Literal[tuple(PRESETS)] = "none",
          settings: Path | None = None, out: Path | None = None) -> None:
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


def figures(run: Repeated = (), out: Path = Path("figures")) -> None:
    """Draw every figure from run folders alone; the last run given is the one looked into.

    Args:
        run: a run folder; repeat it to compare runs. By default the demo's two.
        out: folder for the pdf and png files.
    """
    from nla.analysis import figures as draw  # here, so that training needs no plotting library
    from nla.analysis import latents
    runs, out = runs_of(run), Path(out)
    run = runs[-1]
    drawings = {
        "weight_surfaces": lambda: draw.weight_surfaces(draw.naw_of(run)),
        "plane": lambda: draw.plane(run), "planes": lambda: draw.planes(run),
        "weights_by_class": lambda: draw.weights_over_epochs(run, "class"),
        "weights_by_kind": lambda: draw.weights_over_epochs(run, "kind"),
        "training_curves": lambda: draw.training_curves(runs),
        "per_class_accuracy": lambda: draw.per_class_accuracy(runs),
        "confusion": lambda: draw.confusion_matrices(runs[-2:]),
        "latents": lambda: draw.latent_steps(embedding := latents.joint_umap(run),
                                             quality=latents.quality(run, embedding)),
    }
    if run.config["data"] == "faces":  # real faces stay where they are
        drawings["faces"] = lambda: draw.face_sheet(*load_data(Config.parse(run.config)))
    files = []
    for name in (shown := tqdm(drawings, unit="figure", leave=False)):
        shown.set_postfix_str(name)
        files += draw.save(drawings[name](), out / name, runs)
    print("figures:", *files, sep="\n  ")


@contextlib.contextmanager
def bar(description: str):
    """A progress bar as a function of (done, total)."""
    with tqdm(desc=description, unit="image", leave=False) as shown:
        def progress(done, total):
            shown.total = total
            shown.update(done - shown.n)
        yield progress


def check_data(name: Set, root: Path) -> None:
    """Compare a data set with the published counts, find damage and duplicates; exit status 1 if it differs."""
    with bar("decoding") as progress:
        report = check.check(name, root, progress)
    print(report.table.to_string(index=False, na_rep="?"))
    for mark, lines in (("note", report.notes), ("problem", report.problems)):
        for line in lines:
            print(f"{mark}: {line}")
    sys.exit(bool(report.problems))


def sheet(name: Set, root: Path, out: Path = Path("figures/sheet"), split: str = "train", per_class: int = 12,
          seed: int = 0) -> None:
    """Draw a contact sheet, one row for each label; where a label is not the true one, that stands below.

    Args:
        out: without the ending .png.
    """
    from nla.analysis import figures as draw
    manifest = READERS[name](root).query("split == @split")
    if manifest.empty:
        raise DataError(f"there are no images in the split {split!r} of {name} in {root}")
    manifest = manifest.sample(frac=1, random_state=seed).groupby("label").head(per_class).reset_index(drop=True)
    figure = draw.face_sheet(store.read_pixels(root, manifest, size=96), manifest, "label", per_class)
    print(f"wrote {draw.save(figure, out, formats=['png'])[0]}")


def pack(name: Set, root: Path, into: Path = Path("data/cache"), size: int | None = None) -> None:
    """Decode every image once into a packed store that training maps into memory.

    Args:
        size: pixels, height and width; by default as stored.
    """
    manifest = READERS[name](root)
    with bar("packing") as progress:
        images = store.pack(root, manifest, into, size, progress=progress)
    print(f"{len(images)} images of {tuple(images.shape[1:])} in {into}")


def corrupt(name: Set, root: Path, out: Path, kind: Literal["symmetric", "pair", "matrix", "prediction"] = "symmetric",
            ratio: float = 0.3, matrix: Path | None = None, run: Path | None = None, seed: int = 0) -> None:
    """Write a list of corrupted training labels in the literature's format, one 'name label' a line.

    Args:
        ratio: share of the training labels that change.
        matrix: for kind matrix, a csv of K x K probabilities without a header.
        run: for kind prediction, a finished run on the same data.
    """
    manifest = READERS[name](root)
    if kind == "symmetric":
        manifest = corruption.flip_labels(manifest, ratio, seed)
    elif kind == "pair":
        classes = 1 + manifest[["label", "true_label"]].to_numpy().max()
        manifest = corruption.confuse_labels(manifest, corruption.pair_matrix(ratio, classes), seed)
    elif kind == "matrix":
        if not matrix:
            raise DataError("kind matrix needs --matrix FILE, a csv of K x K probabilities without a header")
        manifest = corruption.confuse_labels(manifest, pd.read_csv(matrix, header=None), seed)
    else:
        if not run:
            raise DataError("kind prediction needs --run FOLDER, a finished run on the same data")
        train = manifest[manifest["split"] == "train"]
        model, config = restore(read_run(run))
        images = store.read_pixels(root, train, config.size, model.in_channels)
        probabilities = forward(model, images, range(len(train)), config)[0].softmax(1)
        manifest = corruption.flip_by_prediction(manifest, probabilities, ratio, seed)
    corruption.write_list(manifest, out)
    changed = (manifest["label"] != manifest["true_label"]) & (manifest["split"] == "train")
    print(f"wrote {out}: {changed.sum()} of {(manifest['split'] == 'train').sum()} labels are not the true ones")


def data() -> None:
    """Check, look at, pack and corrupt a data set on disk: nla data --help."""


COMMANDS = {"train": train, "show": show, "figures": figures, "data": data}
DATA = {"check": check_data, "sheet": sheet, "pack": pack, "corrupt": corrupt}


def run_command(arguments: list[str]) -> None:
    """Find the command and its options in ``arguments``, and run it."""
    if arguments[:1] == ["data"]:
        tyro.extras.subcommand_cli_from_dict(DATA, prog="nla data", args=arguments[1:],
                                             description="Check, look at, pack and corrupt a data set on disk.")
        return
    start = {"train": functools.partial(train, config=starting_point(arguments))}
    tyro.extras.subcommand_cli_from_dict(COMMANDS | start, prog="nla", args=arguments,
                                         description="NLA research kit: prepare data, train, look, compare.")


def main() -> None:
    try:
        run_command(sys.argv[1:])
    except KeyboardInterrupt as stop:
        sys.exit(f"nla: {stop or 'stopped'}")
    except (ValueError, OSError) as error:
        sys.exit(f"nla: {error}")


if __name__ == "__main__":
    main()

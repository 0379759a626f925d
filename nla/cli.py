"""The command line. Every option of ``nla train`` is a field of Config; errors are one line."""

import contextlib
import dataclasses
import sys
from pathlib import Path

import click
import pandas as pd
from tqdm import tqdm

from nla.config import DEMO, DEMO_BASELINE, PAPER, Config
from nla.data import check, corruption, store
from nla.data.datasets import READERS
from nla.data.manifest import DataError
from nla.dynamics import read_run
from nla.training import fit, forward, load_data, restore

PRESETS = {"none": Config(), "demo": DEMO, "demo-baseline": DEMO_BASELINE, "paper": PAPER}


@click.group(context_settings={"show_default": True})
def commands():
    """NLA research kit: prepare data, train, look, compare."""


def options_of_config(command):
    """One option for each plain field of Config."""
    for item in reversed(dataclasses.fields(Config)):
        if item.type in (str, int, float):
            option = click.option(f"--{item.name.replace('_', '-')}", type=item.type, show_default=repr(item.default))
            command = option(command)
    return command


@commands.command()
@click.option("--preset", type=click.Choice(list(PRESETS)), default="none", help="Start from these options.")
@click.option("--out", type=click.Path(), show_default="data/runs/<data>-<name>-<key>", help="Run folder.")
@options_of_config
def train(preset, out, **options):
    """Train one model, or continue it, and print the table of its last epoch."""
    config = dataclasses.replace(PRESETS[preset], **{k: v for k, v in options.items() if v is not None})
    run = fit(config, out)
    print_table([run])
    click.echo(f"recorded in {run.folder}")


@commands.command()
@click.argument("folders", nargs=-1, type=click.Path(exists=True))
def show(folders):
    """Print the table of finished runs side by side; without FOLDERS, of the demo's two."""
    print_table([read_run(folder) for folder in folders or (DEMO_BASELINE.folder, DEMO.folder)])


def print_table(runs) -> None:
    """One column a run: test accuracies in percent, and the mean w* of each kind of training sample."""
    table = pd.DataFrame([run.summary() for run in runs]).set_index("method").T
    click.echo(table.to_string(float_format="{:.2f}".format))


@commands.command()
@click.option("--run", "folders", type=click.Path(exists=True), multiple=True, help="Repeat it to compare runs.",
              show_default="the demo's two")
@click.option("--out", type=click.Path(), default="figures", help="Folder for the pdf and png files.")
def figures(folders, out):
    """Draw every figure from run folders alone; the last run given is the one looked into."""
    from nla.analysis import figures as draw  # here, so that training needs no plotting library
    from nla.analysis import latents
    runs = [read_run(folder) for folder in folders or (DEMO_BASELINE.folder, DEMO.folder)]
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
        files += draw.save(drawings[name](), Path(out) / name, runs)
    click.echo("\n".join(["figures:", *(f"  {file}" for file in files)]))


@commands.group()
def data():
    """Check, look at, pack and corrupt a data set on disk."""


def options_of_data(command):
    command = click.option("--root", type=click.Path(exists=True), required=True, help="Its folder.")(command)
    return click.option("--data", "name", type=click.Choice(list(READERS)), required=True)(command)


@contextlib.contextmanager
def bar(description):
    """A progress bar as a function of (done, total)."""
    with tqdm(desc=description, unit="image", leave=False) as shown:
        def progress(done, total):
            shown.total = total
            shown.update(done - shown.n)
        yield progress


@data.command("check")
@options_of_data
def check_command(name, root):
    """Compare a data set with the published counts, find damage and duplicates; exit status 1 if it differs."""
    with bar("decoding") as progress:
        report = check.check(name, root, progress)
    click.echo(report.table.to_string(index=False, na_rep="?"))
    for mark, lines in (("note", report.notes), ("problem", report.problems)):
        for line in lines:
            click.echo(f"{mark}: {line}")
    sys.exit(bool(report.problems))


@data.command("sheet")
@options_of_data
@click.option("--out", type=click.Path(), default="figures/sheet", help="Without the ending .png.")
@click.option("--split", default="train")
@click.option("--per-class", default=12)
@click.option("--seed", default=0)
def sheet_command(name, root, out, split, per_class, seed):
    """Draw a contact sheet, one row for each label; where a label is not the true one, that stands below."""
    from nla.analysis import figures as draw
    manifest = READERS[name](root).query("split == @split")
    if manifest.empty:
        raise DataError(f"there are no images in the split {split!r} of {name} in {root}")
    manifest = manifest.sample(frac=1, random_state=seed).groupby("label").head(per_class).reset_index(drop=True)
    figure = draw.face_sheet(store.read_pixels(root, manifest, size=96), manifest, "label", per_class)
    click.echo(f"wrote {draw.save(figure, out, formats=['png'])[0]}")


@data.command("pack")
@options_of_data
@click.option("--into", type=click.Path(), default="data/cache")
@click.option("--size", type=int, help="Pixels, height and width.", show_default="as stored")
def pack_command(name, root, into, size):
    """Decode every image once into a packed store that training maps into memory."""
    manifest = READERS[name](root)
    with bar("packing") as progress:
        images = store.pack(root, manifest, into, size, progress=progress)
    click.echo(f"{len(images)} images of {tuple(images.shape[1:])} in {into}")


@data.command("corrupt")
@options_of_data
@click.option("--kind", type=click.Choice(["symmetric", "pair", "matrix", "prediction"]), default="symmetric")
@click.option("--ratio", type=float, default=0.3, help="Share of the training labels that change.")
@click.option("--matrix", type=click.Path(exists=True), help="kind=matrix: csv of K x K probabilities, no header.")
@click.option("--run", type=click.Path(exists=True), help="kind=prediction: a finished run on the same data.")
@click.option("--seed", default=0)
@click.option("--out", type=click.Path(), required=True, help="The list to write, one 'name label' a line.")
def corrupt_command(name, root, kind, ratio, matrix, run, seed, out):
    """Write a list of corrupted training labels in the literature's format."""
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
    click.echo(f"wrote {out}: {changed.sum()} of {(manifest['split'] == 'train').sum()} labels are not the true ones")


def main() -> None:
    try:
        commands()
    except (ValueError, OSError) as error:
        sys.exit(f"nla: {error}")


if __name__ == "__main__":
    main()

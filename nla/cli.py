"""The command line: each command is a function, each option a parameter of it, each error one line.

``nla --help`` and ``python -m nla --help`` list the commands, ``nla COMMAND --help`` its options.
A command imports what it needs itself, since torch takes seconds to load and few need it.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pandas as pd
import tyro
from tqdm import tqdm

from nla.analysis.comparing import display_names, other_tests
from nla.data.manifest import OWN_CLASSES, TRUTH, DataError, class_names
from nla.files import check_table, write
from nla.training.record import Run, read_run

if TYPE_CHECKING:
    from nla.training import Config
    from nla.training.loading import Images

PIPE_CLOSED = 141  # exit status, 128 + SIGPIPE, as of other programs whose reader has gone
NOTEBOOKS = Path(__file__).parent.parent / "notebooks"

DataSet = Literal["rafdb", "fer2013", "ferplus", "affectnet", "folder", "csv"]
OnDisk = Annotated[DataSet, tyro.conf.arg(name="data")]
Split = Literal["train", "val", "test", "all"]
Missing = Literal["refuse", "skip"]
OUTSIDE = ("self_confidence", "normalized_margin", "outside_margin")  # judges that ask folds
Judge = Literal[
    "margin",
    "logit_margin",
    "confidence",
    "contradicted",
    "forgotten",
    "weight",
    "trust",
    "neighbours",
    "self_confidence",
    "normalized_margin",
    "outside_margin",
    "combined",
]
NEAREST = 0.1  # cosine under which no pictures are alike
Classes = tuple[str, ...]
Repeated = tyro.conf.UseAppendAction[tuple[Path, ...]]
Triple = tuple[float, float, float]


# What a run says


def train(*arguments: str) -> None:
    """Train one model, or go on with it, and print the table of its last epoch."""
    from nla.cli_train import train_with

    train_with(list(arguments))


def show(folders: tyro.conf.Positional[tuple[Path, ...]] = ()) -> None:
    """Print the table of finished runs side by side; of the demo's two if none is named."""
    print_table(runs_of(folders))


def runs_of(folders: tuple[Path, ...]) -> list[Run]:
    """The finished runs in some folders, by default the demo's two."""
    if not folders:
        from nla.training import DEMO, DEMO_BASELINE

        folders = (DEMO_BASELINE.folder, DEMO.folder)
    return [read_run(folder) for folder in folders]


def print_table(runs: list[Run]) -> None:
    """One column a run: test accuracies in percent, and the mean w* of each kind of sample."""
    named = zip(runs, display_names(runs), strict=True)
    columns = [run.summary() | {"method": name} for run, name in named]
    table = pd.DataFrame(columns).set_index("method").T
    print(table.to_string(float_format="{:.2f}".format, na_rep=""))
    print_notes(other_tests(runs))


def print_notes(notes: Iterable[str]) -> None:
    """What was assumed, left out or held out, a line each."""
    for note in notes:
        print(f"note: {note}")


def figures(
    run: Repeated = (),
    out: Path = Path("figures"),
    results: Path | None = None,
    html: bool = False,
    faces: bool = False,
) -> None:
    """Draw every figure and table from run folders alone; the last run is the one looked into.

    Args:
        run: a run folder; repeat it to compare runs. By default the demo's two.
        out: folder for the pdf and png files.
        results: csv of a study, for accuracy against noise and imbalance, and the ablation; by
            default the kit's own studies.
        html: also write the NAW explorer as one page that needs no network.
        faces: show the photographs of a run of real data too, on a sheet and in the page.
    """
    from nla.analysis.gallery import draw_all

    runs = runs_of(run)
    images = images_of(runs[-1], faces)
    print_notes(other_tests(runs))
    print("figures:", *draw_all(runs, out, results, html, images), sep="\n  ")


def images_of(run: Run, photographs: bool) -> "Images | None":
    """The images of a run, row by row of its manifest; of real data only with ``photographs``.

    Real faces stay where they are unless they are asked for.
    """
    from nla.training import Config
    from nla.training.identity import images_as_trained

    config = Config.parse(run.config)
    if config.data != "faces" and not photographs:
        return None
    return images_as_trained(run, config)[0]


def audit(
    run: tyro.conf.Positional[Path],
    out: Path = Path("figures/audit.csv"),
    top: int = 10,
    by: Judge = "margin",
    folds: int = 0,
    html: bool = False,
    faces: int = 2000,
    near: float = 1.0,
    root: Path | None = None,
) -> None:
    """Rank a run's labels, of all splits, the most suspect first, and write the list.

    Args:
        out: the list, a csv (or parquet).
        top: rows to print.
        by: the judge; all but margin rank training labels only.
        folds: train so many models, each without its share of the training images, for the judges
            that need an opinion from outside; kept in the run's folder.
        html: also write a page to decide face by face, beside the list; it holds the faces.
        faces: labels that the page shows.
        near: pictures whose latents have at least this cosine count as one (0.99, say); the page
            shows those with different labels together. At 1 only equal pixels do.
        root: folder of the data set, where it was moved.
    """
    from nla.analysis.audit import audit as ranked
    from nla.training.config import Config, check_limits

    check_table(out)
    check_limits("top", top, 1, None)
    check_limits("faces", faces, 1, None)
    check_limits("near", near, NEAREST, 1)
    trained = read_run(run)
    config = Config.parse(trained.config)
    if root is not None:
        config = replace(config, root=str(root))
    loaded = None
    if html or folds or by in ("neighbours", "combined"):
        loaded = pictures_of(trained, config)
    table = None
    if folds and loaded is not None:
        from nla.training.folds import out_of_fold

        table = out_of_fold(config, loaded, run / "folds", folds)
        if by not in OUTSIDE and by != "combined":
            print_notes([f"the judge {by} does not ask the folds: --by combined, or one of them"])
    images = loaded[0] if loaded is not None else None
    found = ranked(trained, by, images, table)
    write(out, found)
    page = page_of(trained, found, out.with_suffix(".html"), images, faces, near) if html else None
    print(found.head(top).to_string(index=False, float_format="{:.3f}".format))
    print_notes(found.attrs["notes"])
    groups = found["seen"].value_counts()
    shares = ", ".join(f"{count} {seen}" for seen, count in groups.items())
    print(f"wrote {out}: {len(found)} labels ({shares}), the most suspect first")
    if page is not None:
        print(f"wrote {page}: open it in a browser; decisions are saved from there")


def page_of(
    run: Run, found: pd.DataFrame, out: Path, images: "Images | None", faces: int, near: float
) -> Path:
    """Write the page of what an audit found; pictures at least so ``near`` count as one."""
    from nla.analysis.audit_page import write_page
    from nla.analysis.judges import copies_within

    twins = copies_within(run, images, near) if near < 1 and images is not None else None
    return write_page(run, found, out, images, faces, twins)


def pictures_of(run: Run, config: "Config") -> "tuple[Images, pd.DataFrame] | None":
    """The images that a run was trained on, and their manifest; None, and why, without them."""
    from nla.training.identity import images_as_trained

    try:
        return images_as_trained(run, config)
    except (ValueError, OSError) as error:
        way_out = "" if config.data == "faces" else "; where it was moved, --root names its folder"
        print_notes([f"without the faces: {error}{way_out}"])
        return None


def study(
    name: tyro.conf.Positional[str],
    seeds: int | None = None,
    resume: bool = False,
    jobs: int | None = None,
    out: Path = Path("figures"),
    methods: tuple[str, ...] = (),
) -> None:
    """Carry out a study, and bring the ledger up to date.

    There are demo, noise, imbalance, ablation, real, both, apart, mechanism, photographs.

    Two more stand beside the ledger: judges (how well labels are ranked, beside cleanlab where it
    is installed) and mending (does it pay?). They have no methods to choose among.

    Args:
        seeds: runs of each cell; by default the study's own number.
        resume: go on with a study whose table is there.
        jobs: runs at a time, one thread each; by default the number of processors.
        out: folder for the tables.
        methods: names of some of its methods; by default all.
    """
    from nla.study import run_study, write_ledger
    from nla.study.judging import study_judges
    from nla.study.paying import study_mending

    beside = {"judges": study_judges, "mending": study_mending}
    if name in beside:
        print(beside[name](seeds or 5, out, resume, jobs).to_string(index=False))
        return
    table = run_study(name, seeds, out, jobs, resume, methods)
    cells = table.groupby(["method", "data", "noise", "imbalance"])
    print(cells[["overall", "mean"]].agg(["mean", "std", "count"]))
    print(write_ledger(out)["verdict"].value_counts().to_string())


def reproduce(quick: bool = False) -> None:
    """Train the demo's two runs, execute every notebook, draw figures/, and print the table.

    Args:
        quick: notebooks on a smaller demo.
    """
    if not NOTEBOOKS.is_dir():
        raise ValueError(
            f"there are no notebooks at {NOTEBOOKS}: call this in a checkout of the kit that is "
            "installed with pip install -e ."
        )
    from nla.training import DEMO, DEMO_BASELINE, fit

    for config in (DEMO_BASELINE, DEMO):
        fit(config)
    notebooks = sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))
    script = [sys.executable, str(NOTEBOOKS / "execute.py"), *map(str, notebooks)]
    at_a_time = str(min(4, os.cpu_count() or 1))  # a kernel takes a gigabyte and more
    options = ["--into", "data/executed", "--jobs", at_a_time, *(["--quick"] if quick else [])]
    if subprocess.run([*script, *options]).returncode:
        raise ValueError("a notebook failed: its cell and error stand above")
    figures()
    show()


# A model, the kit's or another's, on pictures


def evaluate(
    weights: Path,
    data: Literal["faces"] | DataSet | None = None,
    root: Path | None = None,
    split: Split = "test",
    size: int | None = None,
    order: str = "",
    mean: Triple | None = None,
    std: Triple | None = None,
    classes: Classes = (),
    missing: Missing | None = None,
) -> None:
    """Score a model file, the kit's or another's, on a data set, and say what was assumed of it.

    Args:
        weights: safetensors or checkpoint with a classifier. Beside a run's config.json it is
            that run's model: size, normalisation and classes are the run's.
        data: by default what that run was trained on, else the built-in faces.
        root: folder of the data set.
        split: what is scored; all: every image, also of a set whose test was drawn for want of one.
        size: pixels, height and width, that the model was trained with.
        order: of the model's outputs: rafdb, affectnet, ferplus, fer2013, alphabetical, or the
            names themselves with commas between them.
        mean: of the model's normalisation, three numbers from 0 to 1.
        std: of the model's normalisation.
        classes: the data set's own class names in the order of its labels (folder, csv).
        missing: skip images that are not there or cannot be decoded, or refuse them; by default as
            the run did.
    """
    from nla.training import Config, inference, load_data, opening
    from nla.training.loading import read_whole

    opened = opening.open_model(weights, size, names_in(order), mean, std)
    config = replace(opened.config, labels="")  # a list of training labels is not needed
    if missing is not None:
        config = replace(config, missing=missing)
    if data is not None:
        changed = replace(config, data=data, classes=classes, noise=0.0, imbalance=1.0)
        config = replace(changed, root=Config.root, validation=0.0, train_images=0)
    if root is not None:
        config = replace(config, root=str(root))
    foreign = data not in (None, "faces")  # needs no training images
    images, manifest = read_whole(config) if foreign else load_data(config)
    print_notes([*opened.notes, *manifest.attrs.get("notes", ())])
    if images.shape[1] > opened.model.in_channels:
        print_notes(["the images are in colour, the model is for grey ones: they are made grey"])
    elif images.shape[1] < opened.model.in_channels:
        print_notes(["the images are grey, the model is for colour: in all three channels"])
    of_its_run = data is None and opened.label_counts is not None
    if of_its_run and split in ("train", "all"):
        print_notes(["the model was trained on images that are scored here: it may know them"])
    manifest = known_to(manifest, opened.classes, split)
    known = opened.classes, opened.label_counts, opened.taken_out
    scores = inference.evaluate(opened.model, images, manifest, config, split, *known)
    print(pd.Series(scores).to_string(float_format="{:.2f}".format, na_rep=""))


def known_to(manifest: pd.DataFrame, classes: Classes, split: str) -> pd.DataFrame:
    """The rows whose true class is one of ``classes``; how many others there are is printed.

    DataError if there are others alone.
    """
    from nla.training.inference import rows_in

    names = pd.Series(class_names(manifest))
    strange = manifest["true_label"].isin(names.index[~names.isin(classes)])
    scored = rows_in(manifest, split)
    left_out = scored[strange[scored.index]]
    if 0 < len(scored) == len(left_out):
        shown = ", ".join(names[sorted(scored["true_label"].unique())])
        raise DataError(
            f"the model knows no class of the {len(scored)} images: they show {shown}, it knows "
            f"{', '.join(classes)}; name the set's classes (--classes) or the model's (--order) "
            "alike"
        )
    for label, part in left_out.groupby("true_label"):
        print_notes([f"{len(part)} images of {names[label]}, unknown to the model, are left out"])
    return manifest[~strange]


def predict(
    images: tyro.conf.Positional[tuple[str, ...]],
    weights: Path,
    out: Path | None = None,
    size: int | None = None,
    order: str = "",
    mean: Triple | None = None,
    std: Triple | None = None,
) -> None:
    """What does a model say of these pictures? The class and the probability of each, as a table.

    Args:
        images: picture files, folders of them, or - for a list on standard input, one a line.
        weights: a run's model.safetensors or another's checkpoint, as in nla evaluate.
        out: also write the table as csv.
        size: pixels, height and width, that the model was trained with.
        order: of the model's outputs: rafdb, affectnet, ferplus, fer2013, alphabetical, or the
            names themselves with commas between them.
        mean: of the model's normalisation, three numbers from 0 to 1.
        std: of the model's normalisation.
    """
    from nla.training import inference, opening

    if out is not None:
        check_table(out)
    opened = opening.open_model(weights, size, names_in(order), mean, std)
    table = inference.predict_files(opened, listed(images))
    if out is not None:
        write(out, table)
    print_notes(table.attrs["notes"])
    with pd.option_context("display.max_colwidth", 60):
        print(table.to_string(index=False, float_format="{:.3f}".format, na_rep=""))
    if out is not None:
        print(f"wrote {out}: {len(table)} pictures")


def names_in(order: str) -> str | tuple[str, ...]:
    """``affectnet`` is an order's name as it is; ``calm,tense`` becomes two names."""
    if "," not in order:
        return order
    return tuple(name.strip() for name in order.split(",") if name.strip())


def listed(names: Iterable[str]) -> list[str]:
    """The names as given, and in place of ``-`` the lines of standard input."""
    found: list[str] = []
    for name in names:
        found += [line.strip() for line in sys.stdin if line.strip()] if name == "-" else [name]
    return found


def export_model(run: tyro.conf.Positional[Path], out: Path, best: bool = False) -> None:
    """Export a run's model for use elsewhere: uint8 images in, logits and latents out.

    What is written is read again and compared with the original.

    Args:
        out: name that ends in .onnx, .pt2 (torch.export) or .safetensors (weights alone).
        best: the model that validation would choose, not the last.
    """
    from nla.training.export import export
    from nla.training.opening import restore

    trained = read_run(run)
    model, config = restore(trained, best)
    difference = export(model, out, config.size, config.augmentation, classes=trained.classes)
    print(f"wrote {out}: its outputs differ from the model's by at most {difference:.2g}")


# Data sets on disk


class Bar(tqdm):  # type: ignore[type-arg]  # not generic at run time
    """Told how many images are done, of how many."""

    def at(self, done: int, total: int) -> None:
        self.total = total
        self.update(done - self.n)


def manifest_of(name: str, root: Path | None, classes: Classes) -> pd.DataFrame:
    """A data set's manifest, its notes printed."""
    from nla.data.datasets import reader

    options = {"classes": classes} if classes else {}
    manifest = reader(name)(root, **options)
    print_notes(manifest.attrs.get("notes", ()))
    return manifest


def check_data(
    name: OnDisk, root: Path | None = None, out: Path | None = None, classes: Classes = ()
) -> None:
    """Compare a data set with the published counts, find damage, duplicates, contradictions.

    The exit status is 1 if anything stands in the way of training, or differs from the counts.

    Args:
        root: its folder; by default found in data/ or where NLA_DATA_ROOT points.
        out: also write every bad file and what is wrong with it, a csv.
        classes: your own class names in the order of the labels (folder, csv).
    """
    from nla.data import check

    if out is not None:
        check_table(out)
    options: dict[str, Any] = {"classes": classes} if classes else {}
    with Bar(desc="decoding", unit="image", leave=False) as bar:
        report = check.check(name, root, bar.at, **options)
    if out is not None:
        write(out, report.files)
    print(report.table.to_string(index=False, na_rep="?"))
    for mark, lines in (("note", report.notes), ("problem", report.problems)):
        for line in lines:
            print(f"{mark}: {line}")
    if out is not None:
        print(f"wrote {out}: {len(report.files)} bad files")
    sys.exit(bool(report.problems))


def sheet(
    name: OnDisk,
    root: Path | None = None,
    out: Path = Path("figures/sheet"),
    split: str = "train",
    per_class: int = 12,
    seed: int = 0,
    classes: Classes = (),
) -> None:
    """Draw a contact sheet, one row a label; where a label is not the true one, that stands below.

    Args:
        root: its folder; by default found in data/ or where NLA_DATA_ROOT points.
        out: without the ending .png.
        classes: your own class names in the order of the labels (folder, csv).
    """
    from nla.analysis import figures as draw
    from nla.data import store

    if per_class < 1:
        raise DataError(f"per_class must be at least 1, got {per_class}")
    manifest = manifest_of(name, root, classes)
    part = manifest[manifest["split"] == split]
    if part.empty:
        raise DataError(f"there are no images in the split {split!r} of {name} in {root}")
    mixed = part.sample(frac=1, random_state=seed)
    shown = mixed.groupby("label").head(per_class).reset_index(drop=True)
    shown.attrs = manifest.attrs
    images = store.read_pixels(root, shown, size=96)
    figure = draw.face_sheet(images, shown, "label", per_class, class_names(manifest))
    print(f"wrote {draw.save(figure, out, formats=['png'])[0]}")


def pack(
    name: OnDisk,
    root: Path | None = None,
    into: Path = Path("data/cache"),
    size: int | None = None,
    classes: Classes = (),
    missing: Missing = "refuse",
) -> None:
    """Decode every image once into a packed store that training maps into memory.

    Args:
        root: its folder; by default found in data/ or where NLA_DATA_ROOT points.
        size: pixels, height and width; by default as stored.
        classes: your own class names in the order of the labels (folder, csv).
        missing: leave out images that are not there or cannot be decoded, or refuse them.
    """
    from nla.data import store

    manifest = manifest_of(name, root, classes)
    with Bar(desc="packing", unit="image", leave=False) as bar:
        images = store.pack(root, manifest, into, size, progress=bar.at, missing=missing)
    print(f"{len(images)} images of {tuple(images.shape[1:])} in {into}")


def corrupt(
    name: OnDisk,
    out: Path,
    root: Path | None = None,
    kind: Literal["symmetric", "pair", "matrix", "prediction"] = "symmetric",
    ratio: float = 0.3,
    matrix: Path | None = None,
    run: Path | None = None,
    seed: int = 0,
    classes: Classes = (),
) -> None:
    """Write corrupted training labels as the literature's lists are, one 'name label' a line.

    The labels of a folder or csv of your own are names, of the other sets numbers from 1.

    Args:
        root: its folder; by default found in data/ or where NLA_DATA_ROOT points.
        ratio: probability with which each training label changes; for kind prediction the share
            that do; not for kind matrix.
        matrix: for kind matrix, a csv of K x K probabilities without a header.
        run: for kind prediction, a finished run on the same data.
        classes: your own class names in the order of the labels (folder, csv).
    """
    from nla.data import corruption

    if kind == "matrix" and matrix is None:
        raise DataError("kind matrix needs --matrix FILE, a csv of K x K probabilities, no header")
    if kind == "prediction" and run is None:
        raise DataError("kind prediction needs --run FOLDER, a finished run on the same data")
    manifest = manifest_of(name, root, classes)
    if kind == "symmetric":
        changed = corruption.flip_labels(manifest, ratio, seed)
    elif kind == "pair":
        changed = corruption.flip_pairs(manifest, ratio, seed)
    elif matrix is not None:
        given = pd.read_csv(matrix, header=None)
        changed = corruption.confuse_labels(manifest, given, seed)
    else:
        changed = confused_by_model(manifest, root, run, ratio, seed)
    corruption.write_list(changed, out, named=name in OWN_CLASSES)
    train = changed[changed["split"] == "train"]
    wrong = (train["label"] != train["true_label"]).sum()
    print(f"wrote {out}: {wrong} of {len(train)} labels are not the true ones")


def confused_by_model(
    manifest: pd.DataFrame, root: Path | None, folder: Path | None, ratio: float, seed: int
) -> pd.DataFrame:
    """The labels that a run's model finds doubtful, moved to what it takes them for."""
    from nla.data import corruption, store
    from nla.training import inference, opening

    model, config = opening.restore(read_run(folder or ""))
    train = manifest[manifest["split"] == "train"]
    images = store.read_pixels(root, train, config.size, model.in_channels)
    logits, _ = inference.forward(model, images, range(len(train)), config)
    return corruption.flip_by_prediction(manifest, logits.softmax(1), ratio, seed)


def correct(
    decisions: Path,
    out: Path,
    data: DataSet | None = None,
    root: Path | None = None,
    run: Path | None = None,
    labels: Path | None = None,
    classes: Classes = (),
) -> None:
    """Write a corrected list of training labels for nla train --labels, and the old one beside it.

    Args:
        decisions: what was saved from the page of nla audit RUN --html.
        out: the list, one 'name label' a line.
        data: the set that was judged; or name --run.
        root: its folder; by default found in data/ or where NLA_DATA_ROOT points.
        run: the run that was audited, in place of data and root: its labels, noise included, are
            corrected. For built-in faces too.
        labels: with data, the list that the audited run was trained with, to correct that.
        classes: your own class names in the order of the labels (folder, csv).
    """
    from nla.data import correction

    if (data is None) == (run is None) or (run is not None and labels is not None):
        raise DataError("name the data set (--data NAME --root DIR), or the audited run (--run)")
    gone: list[str] = []
    if run is not None:
        trained = read_run(run)
        listed_labels = trained.config.get("labels", "")
        if listed_labels not in ("", TRUTH):
            gone = correction.faceless(listed_labels)
        root = root or Path(trained.config["root"])
        name, manifest = str(trained.config["data"]), trained.manifest
        manifest.attrs.setdefault("classes", trained.classes)
    else:
        name, manifest = str(data), manifest_of(str(data), root, classes)
    if labels is not None:
        manifest = correction.mended(manifest, labels)
        gone = correction.faceless(labels)
    after = correction.mend(manifest, decisions, name, root)
    print_notes(after.attrs["notes"])
    old = correction.write_corrected(manifest, after, out, gone, name in OWN_CLASSES)
    print(f"wrote {out}: {(after['split'] == 'train').sum()} labels; the old ones are in {old}")


def data_help() -> None:
    """Check, look at, pack, corrupt and correct a data set on disk."""


COMMANDS: dict[str, Callable[..., None]] = {
    "train": train,
    "show": show,
    "predict": predict,
    "evaluate": evaluate,
    "figures": figures,
    "audit": audit,
    "study": study,
    "export": export_model,
    "reproduce": reproduce,
    "data": data_help,
}
DATA: dict[str, Callable[..., None]] = {
    "check": check_data,
    "sheet": sheet,
    "pack": pack,
    "corrupt": corrupt,
    "correct": correct,
}


def listing() -> str:
    """What ``nla --help`` prints."""
    lines = ["usage: nla COMMAND [OPTION ...]", ""]
    lines += ["NLA research kit: prepare data, train, look, compare.", ""]
    for name, command in COMMANDS.items():
        sentence = (command.__doc__ or "").splitlines()[0]
        lines.append(f"  {name:10s} {sentence}")
    return "\n".join([*lines, "", "nla COMMAND --help lists a command's options."])


def run_command(arguments: list[str]) -> None:
    """Find the command and its options in ``arguments``, and run it."""
    name, *options = arguments or ["--help"]
    if name in ("-h", "--help"):
        print(listing())
    elif name not in COMMANDS:
        raise ValueError(f"there is no command {name!r}: nla --help lists them")
    elif name == "train":
        train(*options)
    elif name == "data":
        tyro.extras.subcommand_cli_from_dict(
            DATA, prog="nla data", args=options, description=data_help.__doc__
        )
    else:
        tyro.cli(COMMANDS[name], prog=f"nla {name}", args=options)


def main() -> None:
    """What ``nla`` runs. A console that cannot show a letter shows a question mark in its place."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        try:
            run_command(sys.argv[1:])
        finally:
            sys.stdout.flush()  # else a pipe that was closed is noticed only at the very end
    except BrokenPipeError:  # by head, say, which has seen enough
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())  # for what is flushed at the very end
        sys.exit(PIPE_CLOSED)
    except KeyboardInterrupt as stop:
        sys.exit(f"nla: {stop or 'stopped'}")
    except (ValueError, OSError) as error:
        sys.exit(f"nla: {error}")


if __name__ == "__main__":
    main()

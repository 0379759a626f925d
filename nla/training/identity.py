"""Whose run a folder holds: a run is of its config and of its data, the pixels included.

A folder with a run of another config or of other data is refused, never reused and never trained
into: what the new run does not overwrite would stay, and the folder would hold a mixture.
"""

import dataclasses
import hashlib
import inspect
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from nla.data.manifest import class_names
from nla.data.store import digests
from nla.dlib_format import installed
from nla.methods import LOSSES, SHIPPED
from nla.training.config import PLACES, Config
from nla.training.loading import Images, load_data
from nla.training.record import Run, RunError, read_json, snapshot_epochs

RECORDED = (  # what a run leaves once it has recorded anything that a new run might not overwrite
    "checkpoint.pt",
    "card.json",
    "epochs.csv",
    "model.safetensors",
    "best.safetensors",
    "dynamics/epoch_*",
    "predictions/epoch_*",
    "latents/epoch_*[1-9]*",
    "tensorboard/*",
)
UNKNOWN = "unknown"  # in place of the digest of a source
COMPARED = ("label", "true_label", "split", "digest")
WAY_OUT = "choose another folder (--out), or delete it to train anew"


def marked(images: Images, manifest: pd.DataFrame) -> pd.DataFrame:
    """The manifest with a column ``digest``: uint64, equal for equal pixels."""
    return manifest.assign(digest=digests(images))


def images_as_trained(run: Run, config: Config) -> tuple[Images, pd.DataFrame]:
    """The images of a run, row by row of its manifest, and that, from where ``config`` says.

    RunError if the data is not what the run was trained on: its faces would stand beside other
    faces' numbers.
    """
    images, manifest = load_data(config)
    manifest = marked(images, manifest)
    changes = data_changes(run.manifest, manifest)
    if changes:
        raise RunError(
            f"{run.folder}: {config.data} in {config.root} is not what the run was trained on "
            f"({changes}): bring that data back, or do without the faces"
        )
    return images, manifest


def data_key(manifest: pd.DataFrame) -> str:
    """Eight hex digits of what a marked manifest says: class names, labels, splits and pixels.

    Names of files do not enter, so that a data set may be moved.
    """
    text = f"{class_names(manifest)}\n{manifest[list(COMPARED)].to_csv(index=False)}"
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def default_folder(config: Config, manifest: pd.DataFrame) -> Path:
    """Where a run goes unless told: ``config.folder`` for built-in faces, which the config fixes.

    A run of real data, or of a list of labels, has a folder of its own for each state of the data,
    so that corrected labels train anew. A run that stands in ``config.folder`` since before that
    was so is still found.
    """
    plain = config.folder
    if config.data == "faces" and not config.labels:
        return plain
    try:
        known = bool(recorded(plain))
        finished(plain, config, manifest)
    except RunError:
        known = False
    return plain if known else plain.with_name(f"{plain.name}-{data_key(manifest)}")


def recorded(folder: Path) -> list[str]:
    """Names of what a run has left in the folder, beyond its beginning."""
    found = []
    for pattern in RECORDED:
        found += sorted(path.relative_to(folder).as_posix() for path in folder.glob(pattern))
    return found


def finished(folder: Path, config: Config, manifest: pd.DataFrame) -> bool:
    """Whether the folder holds the finished run of this config on this data (marked).

    False for an unfinished one, and for none. RunError if what it holds is another run's, or if
    files of it are gone: the message says what differs, in numbers, and the way out.
    """
    check_config(folder, config)
    if not recorded(folder):
        return False
    run = Run(folder)
    if not (folder / "manifest.parquet").is_file():
        raise RunError(
            f"{folder} holds a run without its manifest.parquet, so that its data is not known: "
            f"{WAY_OUT}"
        )
    changes = data_changes(run.manifest, manifest)
    if changes:
        raise RunError(f"{folder} holds a run of other data ({changes}); {WAY_OUT}")
    if not (folder / "card.json").is_file():
        return False
    check_weights(run, config)
    check_source(folder, run.card.get("loss_digest"), config.loss)
    validated = "val_mean" in run.epochs and run.epochs["val_mean"].notna().any()
    last = [f"latents/epoch_{config.epochs:03d}.npz", "model.safetensors"]
    check_parts(folder, [*parts_of(config, config.epochs, bool(validated)), *last])
    return True


def parts_of(config: Config, epochs: int, validated: bool) -> list[str]:
    """Names of the files that so many epochs of a run have left; with validation, the best model.

    The checkpoint is not among them: who does not want to go on may delete it.
    """
    names = ["manifest.parquet", "epochs.csv"]
    for epoch in range(epochs):
        names += [f"predictions/epoch_{epoch:03d}.parquet"]
        names += [f"dynamics/epoch_{epoch:03d}.parquet"] * config.record
    snapshots = snapshot_epochs(config.epochs, config.snapshots)
    names += [f"latents/epoch_{epoch:03d}.npz" for epoch in snapshots if epoch < epochs]
    return [*names, *["best.safetensors"] * validated]


def check_parts(folder: Path, names: list[str]) -> None:
    """RunError, naming those that are missing, unless a run's folder has all of these files."""
    missing = [name for name in names if not (folder / name).is_file()]
    if not missing:
        return
    more = f" and {counted(len(missing) - 3, 'more file')}" * (len(missing) > 3)
    raise RunError(
        f"{folder} is incomplete: its run has written {', '.join(missing[:3])}{more}, and they are "
        f"gone; put them back, {WAY_OUT}"
    )


def check_config(folder: Path, config: Config) -> None:
    """RunError if the folder holds another config's run, or what is no run's or nobody's."""
    held, file = recorded(folder), folder / "config.json"
    if not file.is_file():
        if held:
            raise RunError(
                f"{folder} holds {held[0]} of a run, but no config.json that says of which: "
                f"{WAY_OUT}"
            )
        return
    if not held:  # the beginning of a run that recorded nothing may be replaced, but nothing else
        try:
            Config.parse(read_json(file))
        except (TypeError, ValueError):
            raise RunError(
                f"{file} is none of this version's runs, and would be overwritten: choose another "
                "folder (--out)"
            ) from None
        return
    changes = config_changes(Run(folder).config, config)
    if changes:
        raise RunError(f"{folder} holds a run of another config ({', '.join(changes)}); {WAY_OUT}")


def config_changes(found: dict[str, Any], config: Config) -> list[str]:
    """What differs between a config.json and a config, ``name: found -> wanted``.

    Fields that the file does not have yet count as their defaults, and where the data lies does
    not count: the data itself is compared.
    """
    wanted = json.loads(json.dumps(dataclasses.asdict(config)))
    default = json.loads(json.dumps(dataclasses.asdict(Config())))
    changes = []
    for name in wanted | found:
        was, now = found.get(name, default.get(name)), wanted.get(name)
        if was != now and name not in PLACES:
            changes.append(f"{name}: {was} -> {now}")
    return changes


def data_changes(found: pd.DataFrame, wanted: pd.DataFrame) -> str:
    """How the data differs, in numbers and with a first example; empty if it does not.

    Rows are matched by path (or row) and face box, else by position. ``found`` may lack digests,
    as runs of earlier versions do: then the pixels are not compared.
    """
    columns = [name for name in COMPARED if name in found and name in wanted]
    names, wanted_names = class_names(found), class_names(wanted)
    if names != wanted_names:
        return f"its classes are {', '.join(names)}, now {', '.join(wanted_names)}"
    if "digest" in columns and same(found, wanted, columns):
        return ""  # the same pixels in the same order: what their files are called does not matter
    shared = [str(name) for name in found.columns if name in wanted]
    keys = [name for name in shared if name in ("path", "row") or name.startswith("box_")]
    if same(found, wanted, [*keys, *columns]):
        return ""
    was, now = keyed(found, keys), keyed(wanted, keys)
    if was.index.isin(now.index).any():
        return described(was, now, columns, names)
    return described(keyed(found, []), keyed(wanted, []), columns, names)


def same(found: pd.DataFrame, wanted: pd.DataFrame, columns: Sequence[str]) -> bool:
    """Whether the columns hold the same, row by row."""
    if len(found) != len(wanted):
        return False
    return all((found[name].to_numpy() == wanted[name].to_numpy()).all() for name in columns)


def keyed(manifest: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """The manifest by the name of each image, and its count where a name comes again."""
    if keys:
        names = manifest[keys].astype(str).agg(" ".join, axis=1)
    else:
        names = pd.Series([f"image {i}" for i in range(len(manifest))], manifest.index)
    again = names.groupby(names).cumcount()
    return manifest.set_index(names.where(again == 0, names + " (" + again.astype(str) + ")"))


def described(
    was: pd.DataFrame, now: pd.DataFrame, columns: list[str], classes: tuple[str, ...]
) -> str:
    """The differences between two keyed manifests in words."""
    parts, examples = [], []
    for verb, here, there in (("added", now, was), ("removed", was, now)):
        more = here.index.difference(there.index)
        if len(more):
            parts.append(f"{counted(len(more), 'image')} {verb}")
            examples.append(f"{more[0]} {verb}")
    common = was.index.intersection(now.index)
    before, after = was.loc[common], now.loc[common]
    moved = before["label"].to_numpy() != after["label"].to_numpy()
    differ = []
    for column in columns:
        different = before[column].to_numpy() != after[column].to_numpy()
        if column == "true_label":
            different &= ~moved  # where the label was mended, the true one is no news
        if different.any():
            word = {"digest": "image", "true_label": "true label"}.get(column, column)
            differ.append(counted(int(different.sum()), word))
            first = int(different.argmax())
            examples.append(
                example(column, before.iloc[first], after.iloc[first], classes, str(common[first]))
            )
    if differ:
        parts.append(f"{' and '.join(differ)} changed")
    if not parts:
        return "the same images come in another order"
    return f"{', '.join(parts)}; the first: {examples[0]}"


def example(
    column: str, was: "pd.Series[Any]", now: "pd.Series[Any]", classes: tuple[str, ...], key: str
) -> str:
    """One image's difference in a column, in words."""
    if column == "digest":
        return f"the pixels of {key}"
    before, after = was[column], now[column]
    if column != "split":
        before, after = classes[before], classes[after]
    return f"{key}, {before} -> {after}"


def counted(count: int, what: str) -> str:
    """``3 labels``, ``1 image``."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def check_weights(run: Run, config: Config) -> None:
    """RunError if the file of weights from which a run started has another content now.

    A file that is no longer there, or a run that did not write its digest down, is let pass.
    """
    began, now = run.card.get("weights_digest"), weights_digest(config)
    if began and now and began != now:
        raise RunError(
            f"{run.folder} holds a run that began from other weights: the content of "
            f"{config.weights} has changed; {WAY_OUT}"
        )


def check_source(folder: Path, began: str | None, loss: str) -> None:
    """RunError if a run began with a loss of the same name that was made otherwise.

    A loss without a source, or a run that did not write it down (None), is let pass.
    """
    now = source_digest(loss)
    if began is None or UNKNOWN in (began, now) or began == now:
        return
    raise RunError(
        f"{folder} holds a run of another loss {loss!r}: the file it is written in has changed "
        f"since; {WAY_OUT}"
    )


def source_digest(loss: str) -> str:
    """Sixteen hex digits of the file, or the notebook's cell, that a loss is written in.

    Empty for a loss that the kit comes with; ``UNKNOWN`` where Python has no source. What the file
    imports does not enter.
    """
    method: Any = LOSSES[loss]
    if method is SHIPPED.get(loss):
        return ""
    options = ""
    if isinstance(method, partial):
        method, options = method.func, repr(method.keywords)
    if method.__module__.startswith("nla."):
        return digest_of(method.__qualname__ + options)
    # a class in a notebook has no file, but its functions have
    functions = [part for part in (method, *vars(method).values()) if inspect.isfunction(part)]
    try:
        lines, _ = inspect.findsource(functions[0])
    except (IndexError, OSError, TypeError):
        return UNKNOWN
    return digest_of("".join(lines) + options)


def digest_of(text: str) -> str:
    """Sixteen hex digits of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def weights_digest(config: Config) -> str:
    """Sixteen hex digits of the file of weights to start from; empty if there is none."""
    path = installed() if config.weights == "dlib" else Path(config.weights)
    if not config.weights or path is None or not path.is_file():
        return ""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]

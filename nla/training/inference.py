"""A model looks at images in evaluation mode, without augmentation."""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from nla import models
from nla.baselines import build
from nla.data.images import Augmentation, mirror, normalize
from nla.data.manifest import EXPRESSIONS, DataError, class_names
from nla.data.store import open_image
from nla.metrics import accuracies, quality
from nla.training.config import Config
from nla.training.loading import Images
from nla.training.record import Run, RunError, read_run
from nla.weights import WeightsError, load_weights

Rows = npt.NDArray[np.int64]
Values = tuple[float, float, float]  # one for each colour

BATCH = 256
RUN_FILES = ("model.safetensors", "best.safetensors")  # of a run folder
SIZES = {"small_resnet": 48}  # pixels that a network is taken to know; the others the paper's
PAPER_SIZE = 224
ORDERS = {
    "rafdb": EXPRESSIONS,
    "affectnet": (
        "neutral",
        "happiness",
        "sadness",
        "surprise",
        "fear",
        "disgust",
        "anger",
        "contempt",
    ),
    "ferplus": (
        "neutral",
        "happiness",
        "surprise",
        "sadness",
        "anger",
        "disgust",
        "fear",
        "contempt",
    ),
    "fer2013": ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"),
}
"""The orders in which data sets number the expressions; a model of seven has the first seven.

``alphabetical``, as folders are listed, is one more (:func:`named_order`).
"""


class Opened(NamedTuple):
    """A model that is ready to look, and what was assumed to open it, in sentences."""

    model: models.Classifier  # in evaluation mode, on the CPU
    config: Config  # its size and normalisation
    classes: tuple[str, ...]  # the names of its outputs
    notes: list[str]


@torch.inference_mode()
def forward(
    model: models.Classifier,
    images: Images,
    rows: Iterable[int] | Rows,
    config: Config,
    flip: bool = False,
    batch_size: int = BATCH,
) -> tuple[Tensor, Tensor]:
    """Logits (N, K) and latents (N, D), float32 on the CPU, of ``rows`` of ``images``.

    ``images``: uint8 (., C, H, W); ``flip``: of their mirror images.
    """
    model.eval()
    device, logits, latents = next(model.parameters()).device, [], []
    for batch in torch.split(torch.as_tensor(np.array(rows)), batch_size):
        x = normalize(images[batch].to(device), config.augmentation)
        x = x.expand(-1, model.in_channels, -1, -1)  # grey images for a model that knows colour
        with autocast(config, device):
            output = model(in_layout(mirror(x) if flip else x, config))
        logits.append(output.logits)
        latents.append(output.latent)
    return torch.cat(logits).float().cpu(), torch.cat(latents).float().cpu()


def predict(
    model: models.Classifier, images: Images, rows: Rows, config: Config, classes: Sequence[str]
) -> pd.DataFrame:
    """Prediction and probabilities of held-out rows, as a run records them."""
    probabilities = forward(model, images, rows, config)[0].softmax(1).numpy()
    columns = {f"p_{name}": probabilities[:, k] for k, name in enumerate(classes)}
    return pd.DataFrame({"index": rows, "prediction": probabilities.argmax(1), **columns})


def embed(
    model: models.Classifier, images: Images, rows: Rows, config: Config
) -> dict[str, npt.NDArray[Any]]:
    """A latent snapshot: logits and latents of the probe set and of its mirror images."""
    logits, latent = forward(model, images, rows, config)
    flipped_logits, flipped_latent = forward(model, images, rows, config, flip=True)
    return {
        "index": rows,
        "logits": logits.numpy(),
        "latent": latent.numpy(),
        "flipped_logits": flipped_logits.numpy(),
        "flipped_latent": flipped_latent.numpy(),
    }


def restore(run: Run, best: bool = False) -> tuple[models.Classifier, Config]:
    """The model of a finished run, on the CPU, and its config.

    Its last, or its ``best`` on validation.
    """
    config = dataclasses.replace(Config.parse(run.config), weights="", device="cpu")
    model = getattr(models, config.model)(len(run.classes), run.card["channels"])
    train = run.manifest["split"] == "train"
    labels = torch.tensor(run.manifest["label"].to_numpy()[train.to_numpy()])
    build(config.loss).attach(model, labels)  # some methods change how the classifier computes
    file = run.folder / RUN_FILES[best]
    if not file.is_file():
        reason = "it had no validation split" if best and run.best_epoch is None else "removed"
        raise RunError(f"{run.folder} has no {file.name} ({reason}): train the run anew to have it")
    load_weights(model, file)
    return model.eval(), config


def open_model(
    weights: str | Path,
    size: int | None = None,
    order: str | Sequence[str] = (),
    mean: Values | None = None,
    std: Values | None = None,
) -> Opened:
    """The model of a weights file, its normalisation and the names of its outputs.

    A file of a run folder (or the folder) is opened as that run, method's head included; options
    that contradict it are refused. Of another's model ``size`` is the height and width of its
    images in pixels, ``mean`` and ``std`` normalise them (on the scale 0..1), and ``order`` names
    its outputs: a key of ``ORDERS``, ``alphabetical``, or the names themselves. Outputs that are
    the kit's classes in another order are put into the kit's. What is not given is assumed, and
    said in ``notes``. WeightsError if the file cannot be read or the order does not fit it;
    RunError for a run that has not finished, or is contradicted.
    """
    path = Path(weights)
    if (path / "config.json").is_file():
        path = path / RUN_FILES[0]
    given = {"size": size, "order": order or None, "mean": mean, "std": std}
    if path.name in RUN_FILES and (path.parent / "config.json").is_file():
        return open_run(path, given)
    return open_foreign(path, given)


def open_run(path: Path, given: dict[str, Any]) -> Opened:
    """The model of a run folder's file; RunError if an option is at odds with the run."""
    run = read_run(path.parent)
    model, config = restore(run, best=path.name == RUN_FILES[1])
    facts = {
        "size": config.size,
        "order": run.classes,
        "mean": config.augmentation.mean,
        "std": config.augmentation.std,
    }
    for name, value in given.items():
        if value is None:
            continue
        if name == "order":
            value = named_order(value, len(run.classes), path)
        elif name != "size":
            value = tuple(value)
        if value != facts[name]:
            raise RunError(
                f"{path} is of a run with {name} {facts[name]}, and {name} {value} contradicts "
                "it: leave that option out"
            )
    note = f"{path} is opened as the run beside it: {run.name}, {config.size} pixels"
    return Opened(model, config, run.classes, [note])


def open_foreign(path: Path, given: dict[str, Any]) -> Opened:
    """A model of which nothing but its tensors is known, and notes of what is assumed of it."""
    model, report = models.model_from(path)
    notes = [f"{path}: {text}" for text in report.adapted]
    count, kind = model.fc.out_features, kind_of(model)
    order = given["order"]
    if order is None and count not in (7, 8):
        raise WeightsError(
            f"{path} has {count} outputs, and nothing says what they are: name them with order"
        )
    if order is None:
        order = "rafdb"
        notes.append(
            "the order of the outputs is not known; assumed is the kit's (rafdb): "
            f"{', '.join(EXPRESSIONS[:count])}"
        )
    classes = named_order(order, count, path)
    canonical = EXPRESSIONS[:count]
    if set(classes) == set(canonical) and classes != canonical:
        reorder(model, [classes.index(name) for name in canonical])
        classes = canonical
        notes.append(f"the outputs were put into the kit's order: {', '.join(canonical)}")
    size = given["size"]
    if size is None:
        size = SIZES.get(kind, PAPER_SIZE)
        notes.append(f"the size of its images is not known; assumed are {size} pixels ({kind})")
    values = {}
    for name in ("mean", "std"):
        values[name] = three(given[name] or getattr(Augmentation, name), name)
        if given[name] is None:
            said = ", ".join(map(str, values[name]))
            notes.append(f"the {name} of its images is not known; assumed is the paper's, {said}")
    augmentation = Augmentation(mean=values["mean"], std=values["std"])
    config = Config(model=kind, size=size, augmentation=augmentation, device="cpu")
    return Opened(model, config, classes, notes)


def named_order(order: str | Sequence[str], count: int, path: Path) -> tuple[str, ...]:
    """The names of ``count`` outputs in a known order, or as given; WeightsError if not so many."""
    if order == "alphabetical":
        return tuple(sorted(EXPRESSIONS[:count]))
    if isinstance(order, str):
        if order not in ORDERS:
            raise WeightsError(
                f"no order is called {order!r}; there are {', '.join(ORDERS)} and alphabetical, "
                "or give the names of the outputs"
            )
        known = ORDERS[order]
        names = known[:count]
        if count not in (7, len(known)):
            raise WeightsError(
                f"{path} has {count} outputs, and {order} numbers {len(known)} expressions (or the "
                "first 7): give the names of the outputs"
            )
        return names
    names = tuple(order)
    if len(names) != count or len(set(names)) != count:
        raise WeightsError(
            f"{path} has {count} outputs, and {len(set(names))} different names are given: "
            f"{', '.join(names)}"
        )
    return names


def kind_of(model: models.Classifier) -> Literal["small_resnet", "resnet18", "resnet50"]:
    """Which of the three networks a model is."""
    if model.fc.in_features in (512, 2048) and hasattr(model.backbone, "layer1"):
        return "resnet50" if model.fc.in_features == 2048 else "resnet18"
    return "small_resnet"


def reorder(model: models.Classifier, places: list[int]) -> None:
    """Let output i be the one that was at ``places[i]``."""
    with torch.no_grad():
        model.fc.weight.copy_(model.fc.weight[places].clone())
        model.fc.bias.copy_(model.fc.bias[places].clone())


def three(values: Sequence[float], name: str) -> Values:
    """Three finite numbers, for std above 0; WeightsError for anything else."""
    numbers = tuple(float(value) for value in values)
    allowed = np.isfinite(numbers).all() and (name == "mean" or min(numbers, default=0) > 0)
    if len(numbers) != 3 or not allowed:
        raise WeightsError(f"{name} must be three numbers for red, green and blue, got {values}")
    return numbers


def predict_files(
    weights: Opened | str | Path, paths: Iterable[str | Path], **how: Any
) -> pd.DataFrame:
    """What a model says of pictures: a row for each file.

    Columns: ``file``, ``prediction`` (a class's name), ``probability`` (its own, 0..1),
    ``p_<class>``, and ``error``, empty or why the picture could not be read; then the others are
    empty. ``weights``: an opened model, or what :func:`open_model` opens with the options ``how``.
    ``paths``: files, and folders, in which all pictures count. Pictures are scaled to the model's
    size, and made grey or coloured as it needs. ``attrs["notes"]``: what was assumed, left out.
    DataError if there is no file at all.
    """
    opened = weights if isinstance(weights, Opened) else open_model(weights, **how)
    files, notes = pictures(paths)
    tables = []
    for start in range(0, len(files), BATCH):
        tables.append(predict_batch(opened, files[start : start + BATCH]))
    table = pd.concat(tables, ignore_index=True)
    table.attrs["notes"] = [*opened.notes, *notes]
    return table


def predict_batch(opened: Opened, files: list[Path]) -> pd.DataFrame:
    """The rows of some files, as :func:`predict_files` gives them."""
    model, config, classes, _ = opened
    images, errors = [], []
    for file in files:
        try:
            images.append(pixels_of(file, config.size, model.in_channels))
            errors.append("")
        except DataError as error:
            errors.append(str(error))
    read = np.array([not error for error in errors])
    probabilities = np.full((len(files), len(classes)), np.nan)
    if images:
        stacked = torch.stack(images)
        logits, _ = forward(model, stacked, range(len(stacked)), config)
        probabilities[read] = logits.double().softmax(1).numpy()
    table = pd.DataFrame({"file": [str(file) for file in files]})
    best = probabilities[read].argmax(axis=1)
    table["prediction"] = pd.Series(None, index=table.index, dtype=object)
    table.loc[read, "prediction"] = np.array(classes, dtype=object)[best]
    table["probability"] = probabilities.max(axis=1)
    for k, name in enumerate(classes):
        table[f"p_{name}"] = probabilities[:, k]
    table["error"] = errors
    return table


def pixels_of(file: Path, size: int, channels: int) -> Tensor:
    """One picture as uint8 (C, size, size); DataError, naming it, if it cannot be read."""
    if not file.is_file():
        raise DataError(f"{file} is not there")
    try:
        image = open_image(file).convert("L" if channels == 1 else "RGB")
        if image.size != (size, size):
            image = image.resize((size, size), Image.Resampling.BILINEAR)
        pixels = np.array(image)
    except Exception as error:  # a damaged file can make a decoder raise anything
        raise DataError(f"{file} is no whole picture ({type(error).__name__}: {error})") from None
    return torch.from_numpy(np.atleast_3d(pixels)).permute(2, 0, 1)


def pictures(paths: Iterable[str | Path]) -> tuple[list[Path], list[str]]:
    """The files named, and all pictures in the folders named, hidden ones left out; and notes."""
    suffixes = {suffix.lower() for suffix in Image.registered_extensions()}
    files, notes = [], []
    for path in map(Path, [paths] if isinstance(paths, str | Path) else paths):
        if not path.is_dir():
            files.append(path)
            continue
        inside = []
        for file in sorted(path.rglob("*")):
            hidden = any(part.startswith(".") for part in file.relative_to(path).parts)
            if file.is_file() and not hidden:
                inside.append(file)
        found = [file for file in inside if file.suffix.lower() in suffixes]
        if len(found) < len(inside):
            notes.append(f"{path}: {len(inside) - len(found)} files are no pictures by their name")
        files += found
    if not files:
        raise DataError("no picture is named, and none lies in the folders named")
    return files, notes


def evaluate(
    model: models.Classifier,
    images: Images,
    manifest: pd.DataFrame,
    config: Config,
    split: str = "test",
    classes: Sequence[str] = (),
) -> dict[str, float]:
    """Percentages on a split's true labels: n, :func:`nla.metrics.quality`, each class's accuracy.

    ``classes`` names the model's outputs, by default the kit's expressions; labels are matched by
    name. The index of ``manifest`` says which of ``images`` a row is. Grey images are given to a
    model for colour in all three channels. DataError if the split is empty or has classes that the
    model does not know.
    """
    part = manifest[manifest["split"] == split]
    if part.empty:
        there = ", ".join(manifest["split"].unique())
        raise DataError(f"there are no {split} images; there are {there}")
    if images.shape[1] > model.in_channels:
        raise DataError("the images are in colour, and the model is for grey ones")
    names = tuple(classes) or EXPRESSIONS[: model.fc.out_features]
    labels = matched(part, class_names(manifest), names)
    p = forward(model, images, part.index.to_numpy(), config)[0].softmax(1).numpy()
    scores = quality(labels, p, names)
    return {"n": len(part)} | scores | accuracies(labels, p.argmax(1), names)


def matched(part: pd.DataFrame, theirs: tuple[str, ...], names: tuple[str, ...]) -> Rows:
    """The true labels of rows, (N,), numbered as the model's outputs are; DataError if it lacks
    one."""
    labels = part["true_label"].to_numpy()
    unknown = [theirs[label] for label in np.unique(labels) if theirs[label] not in names]
    if unknown:
        way_out = "choose 7 classes" if unknown == ["contempt"] else "leave those images out"
        raise DataError(
            f"the images show {', '.join(unknown)}, which the model of {len(names)} classes does "
            f"not know (it knows {', '.join(names)}): {way_out}"
        )
    places = [names.index(name) if name in names else -1 for name in theirs]
    numbered: Rows = np.array(places, dtype=np.int64)[labels]
    return numbered


def autocast(config: Config, device: torch.device) -> torch.autocast:
    """Forward passes in bf16 where asked for, or by default on a GPU.

    The loss is always float32.
    """
    enabled = config.precision == "bf16" or (config.precision == "auto" and device.type != "cpu")
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def in_layout(images: Tensor, config: Config) -> Tensor:
    """Images in the memory layout that the config asks for."""
    layout = torch.channels_last if config.channels_last else torch.contiguous_format
    return images.contiguous(memory_format=layout)

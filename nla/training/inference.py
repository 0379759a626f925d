"""A model looks at images in evaluation mode, without augmentation."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from nla import models
from nla.data.folders import walk
from nla.data.images import mirror, normalize
from nla.data.manifest import EXPRESSIONS, DataError, class_names
from nla.data.store import open_image
from nla.metrics import accuracies, other_prior, quality
from nla.training.config import Config
from nla.training.loading import Images
from nla.training.opening import Opened, open_model
from nla.training.processes import fast_in_bf16

Rows = npt.NDArray[np.int64]

BATCH = 256


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
        pixels = images[batch].to(device)
        if pixels.shape[1] > model.in_channels:
            pixels = grey(pixels)
        x = normalize(pixels, config.augmentation)
        x = x.expand(-1, model.in_channels, -1, -1)  # grey images for a model that knows colour
        with autocast(config, device):
            output = model(in_layout(mirror(x) if flip else x, config))
        logits.append(output.logits)
        latents.append(output.latent)
    return torch.cat(logits).float().cpu(), torch.cat(latents).float().cpu()


def grey(images: Tensor) -> Tensor:
    """Colour images (B, 3, H, W) in grey (B, 1, H, W), both uint8, as Pillow makes them."""
    red, green, blue = images.int().unbind(1)
    shade: Tensor = (19595 * red + 38470 * green + 7471 * blue + 2**15) // 2**16
    return shade.to(torch.uint8)[:, None]


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
    model, config, classes = opened.model, opened.config, opened.classes
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
    """The files named, and all pictures in the folders named, hidden ones left out; and notes.

    Links to folders are followed, as the readers do, but not round in a loop.
    """
    suffixes = {suffix.lower() for suffix in Image.registered_extensions()}
    files, notes = [], []
    for path in map(Path, [paths] if isinstance(paths, str | Path) else paths):
        if not path.is_dir():
            files.append(path)
            continue
        below = sorted(path / name for name in walk(str(path)))
        inside = [file for file in below if file.is_file()]
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
    label_counts: Sequence[int] | None = None,
    taken_out: float = 0.0,
) -> dict[str, float]:
    """Percentages on a split's true labels: n, :func:`nla.metrics.quality`, each class's accuracy.

    ``classes`` names the model's outputs, by default the kit's expressions; labels are matched by
    name. With ``label_counts``, how many training labels each of them had, also
    :func:`nla.metrics.other_prior`, for a loss that has ``taken_out`` so much. The index of
    ``manifest`` says which of ``images`` a row is. Grey images are given to a model for colour in
    all three channels, and colour images in grey to one for grey. ``split``: "all" for every row.
    DataError if the split is empty or has classes that the model does not know.
    """
    part = rows_in(manifest, split)
    if part.empty:
        there = ", ".join(manifest["split"].unique()) or "none at all"
        raise DataError(f"there are no {split} images; there are {there}")
    names = tuple(classes) or EXPRESSIONS[: model.fc.out_features]
    labels = matched(part, class_names(manifest), names)
    p = forward(model, images, part.index.to_numpy(), config)[0].softmax(1).numpy()
    scores = {"n": len(part), **quality(labels, p, names)}
    if label_counts is not None:
        scores |= other_prior(labels, p, label_counts, names, taken_out)
    return scores | accuracies(labels, p.argmax(1), names)


def rows_in(manifest: pd.DataFrame, split: str) -> pd.DataFrame:
    """The rows of a split, or of "all"."""
    return manifest if split == "all" else manifest[manifest["split"] == split]


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
    """Forward passes in bf16 where asked for, or by default on a GPU that computes in it.

    The loss is always float32. On a device that is slow in bf16 all is float32: training is
    refused there before it begins, and a model of another machine is looked through exactly.
    """
    wanted = config.precision == "bf16" or (config.precision == "auto" and device.type != "cpu")
    enabled = wanted and fast_in_bf16(device)
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def in_layout(images: Tensor, config: Config) -> Tensor:
    """Images in the memory layout that the config asks for."""
    layout = torch.channels_last if config.channels_last else torch.contiguous_format
    return images.contiguous(memory_format=layout)

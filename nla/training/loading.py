"""From a Config to pixels and manifest, and from these to batches on the device."""

import itertools
import math
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from nla import data
from nla.data.correction import mended
from nla.data.corruption import all_names, noted, relabelled
from nla.data.datasets import hold_out
from nla.data.kept import kept_faces
from nla.data.manifest import TRUTH, class_names, knows_truth
from nla.data.store import Packed, digests
from nla.training.config import Config

Images = Tensor | Packed  # (N, C, H, W) uint8, in memory or in a store on the disk
TEST_SEED = 1_000_003  # the built-in test faces are the same for every run
AHEAD = 4  # batches that are read before they are needed
LEAST = 2  # images a process has to see at once: batch normalisation needs two values
COLUMNS_OF_TABLES = ("method", "overall", "mean")  # so no class can be called so


def load_data(config: Config, progress: bool = False) -> tuple[Images, pd.DataFrame]:
    """Images (N, C, H, W) uint8 and their manifest, with validation, imbalance and noise.

    Real data is decoded once into ``config.cache`` and read from there, batch by batch; drawn faces
    are kept there (:mod:`nla.data.kept`). The training set is cut and thinned first, and then
    labels are flipped, so that the shares and factors are those asked for. ``manifest.attrs`` keeps
    the reader's notes and class names. DataError if the set cannot be read, lacks a training or a
    test split, or trains on fewer than two classes.
    """
    drawn = config.data == "faces"
    images, manifest = draw_faces(config, progress) if drawn else read_set(config)
    if drawn and (config.validation or config.train_images):
        note = "validation and train_images are of real data: drawn faces have a split of their own"
        manifest = noted(manifest, f"{note}, and train_faces")
    whole = manifest
    if config.labels == TRUTH:
        manifest = with_true_labels(manifest, config)
    if config.train_images and not drawn:
        manifest = fewer(manifest, config)
    if config.imbalance != 1:
        manifest = thinned(manifest, config)
    if config.noise and not drawn:
        manifest = data.flip_labels(manifest, config.noise, config.seed)
    elif config.noise and config.imbalance != 1:
        manifest = mislabelled(manifest, config.noise, config.seed)
    if config.labels not in ("", TRUTH):
        manifest = listed(manifest, config, whole)
    check_classes(manifest, config)
    if len(manifest) < len(images):
        images = some_of(images, np.array(manifest.index))
    return images, manifest.reset_index(drop=True)


def some_of(images: Images, rows: npt.NDArray[np.int64]) -> Images:
    """The images of these rows; those in a store stay there."""
    return images.subset(rows) if isinstance(images, Packed) else images[rows]


def with_true_labels(manifest: pd.DataFrame, config: Config) -> pd.DataFrame:
    """The manifest with the true labels for training; DataError where nobody knows better ones."""
    if not knows_truth(manifest):
        raise data.DataError(
            f"nobody knows truer labels of {config.data} than its own: leave out --labels truth"
        )
    train = np.flatnonzero(manifest["split"] == "train")
    truth = manifest["true_label"].to_numpy()[train]
    changed = int((manifest["label"].to_numpy()[train] != truth).sum())
    note = f"trained with the true labels: {changed} of {len(train)} differ from those given"
    return noted(relabelled(manifest, train, truth), note)


def listed(manifest: pd.DataFrame, config: Config, whole: pd.DataFrame) -> pd.DataFrame:
    """The manifest with the training labels of ``config.labels``.

    Images that the list says to show no face are left out. ``whole``: the manifest with what was
    thinned out, of which the list may speak too; of images that were skipped as well.
    """
    read = mended if config.list_is == "mended" else data.relabel
    skipping = config.missing == "skip"
    result = read(manifest, config.labels, None if skipping else all_names(whole))
    if config.noise:
        note = (
            "labels were flipped before the list was read: where it names an image, no flip is left"
        )
        result = noted(result, note)
    return result


def read_set(config: Config) -> tuple[Images, pd.DataFrame]:
    """The images and the manifest of a real data set, with a validation split if asked for."""
    images, manifest = read_whole(config)
    there = set(manifest["split"])
    for split in ("train", "test"):
        if split not in there:
            raise data.DataError(
                f"{config.data} in {config.root} has no {split} images, only "
                f"{', '.join(sorted(there))}: add a folder (or a split) {split} to it"
            )
    if config.validation and "val" not in there:
        manifest = validated(images, manifest, config)
    return images, manifest


def read_whole(config: Config) -> tuple[Images, pd.DataFrame]:
    """The images and the manifest of a real data set as its reader gives them, whatever splits."""
    options: dict[str, Any] = {"classes": config.classes} if config.classes else {}
    return data.load(
        config.data,
        config.root,
        size=config.size,
        cache=config.cache or None,
        missing=config.missing,
        **options,
    )


def validated(images: Images, manifest: pd.DataFrame, config: Config) -> pd.DataFrame:
    """The manifest with a share of each training class as its validation split, and a note.

    Exact copies of a picture stay on one side, so that none is both trained on and validated by.
    """
    held = hold_out(manifest, "val", config.validation, config.seed, digests(images))
    count = int((held["split"] == "val").sum())
    return noted(held, f"{count} training images, drawn from each class, are the validation split")


def fewer(manifest: pd.DataFrame, config: Config) -> pd.DataFrame:
    """The manifest with as many training rows as asked for, in their order, and a note."""
    train = np.flatnonzero(manifest["split"] == "train")
    if len(train) <= config.train_images:
        return manifest
    draw = np.random.default_rng(config.seed)
    dropped = draw.permutation(train)[config.train_images :]
    note = f"{config.train_images} of {len(train)} training images, drawn at random, are used"
    kept = manifest.drop(index=manifest.index[dropped])
    before, after = (set(part["label"][part["split"] == "train"]) for part in (manifest, kept))
    names = [class_names(manifest)[label] for label in sorted(before - after)]
    if names:
        note += f"; none of them is of {', '.join(names)}"
    return noted(kept, note)


def draw_faces(config: Config, progress: bool) -> tuple[Tensor, pd.DataFrame]:
    """The built-in faces of all splits; only the training labels get noise.

    Where the training faces are to be thinned, they get it afterwards (:func:`mislabelled`).
    DataError for the two seeds that the validation and the test faces are drawn with.
    """
    if config.seed in (TEST_SEED, TEST_SEED + 1):
        raise data.DataError(
            f"the seed {config.seed} is one that faces to be scored are drawn with: take another"
        )
    sizes = {"train": config.train_faces, "val": config.test_faces // 2, "test": config.test_faces}
    noise = config.noise if config.imbalance == 1 else 0.0
    parts = [
        kept_faces(
            config.cache,
            progress,
            n=n,
            seed=config.seed if split == "train" else TEST_SEED + (split == "test"),
            size=config.size,
            ambiguous=config.ambiguous,
            split=split,
            noisy=noise if split == "train" else 0.0,
        )
        for split, n in sizes.items()
        if n
    ]
    images, manifests = zip(*parts, strict=True)
    return torch.cat(images), pd.concat(manifests, ignore_index=True)


def thinned(manifest: pd.DataFrame, config: Config) -> pd.DataFrame:
    """The manifest with the imbalance asked for among its training rows.

    Classes are counted by label; where labels are to be flipped as well, by true label.
    """
    counted = manifest if config.noise else manifest.assign(true_label=manifest["label"])
    kept = data.imbalance(counted, config.imbalance, config.seed)
    return kept.assign(true_label=manifest["true_label"])


def mislabelled(manifest: pd.DataFrame, share: float, seed: int) -> pd.DataFrame:
    """A ``share`` of the training faces, drawn among the clean ones, gets another class as label.

    As in :func:`nla.data.make_faces`, the other class is uniform and their kind is noisy. Nothing
    but uniform doubles is drawn, so that a seed gives the same labels on every platform.
    """
    draw = np.random.default_rng(seed)
    train = (manifest["split"] == "train").to_numpy()
    clean = np.flatnonzero(train & (manifest["kind"] == "clean").to_numpy())
    order = np.argsort(draw.random(len(clean)), kind="stable")
    wanted = round(share * int(train.sum()))
    chosen = clean[order[:wanted]]
    others = len(class_names(manifest)) - 1
    step = 1 + np.floor(draw.random(len(chosen)) * others).astype(np.int64)
    label = manifest["label"].to_numpy(copy=True)
    label[chosen] = (label[chosen] + step) % (others + 1)
    noisy = np.zeros(len(manifest), dtype=bool)
    noisy[chosen] = True
    result = manifest.assign(label=label, kind=manifest["kind"].mask(noisy, "noisy"))
    if len(chosen) < wanted:
        note = f"{len(chosen)} labels are noisy, not {wanted}: there are no more clean faces"
        result = noted(result, note)
    return result


def check_classes(manifest: pd.DataFrame, config: Config) -> None:
    """DataError if there is one class to train on, or one whose name the tables need."""
    names = class_names(manifest)
    for name in names:
        if name in COLUMNS_OF_TABLES:
            raise data.DataError(
                f"a class is called {name!r}, as a row of the tables is: give it another name"
            )
    labels = manifest.loc[manifest["split"] == "train", "label"]
    if labels.nunique() < 2:
        raise data.DataError(
            f"all {len(labels)} training images of {config.data} show {names[labels.iloc[0]]}: "
            "add images of another class"
        )


def placed(images: Images, device: torch.device, resident: bool) -> Images:
    """The images on the device if asked for and if they take at most half of its free memory."""
    if not resident or device.type == "cpu":
        return images
    memory = getattr(torch.get_device_module(device), "mem_get_info", None)
    if memory is not None and math.prod(images.shape) > memory(device)[0] / 2:
        return images
    result = torch.empty(images.shape, dtype=torch.uint8, device=device)
    for rows in torch.split(torch.arange(len(images)), 4096):
        result[rows[0] : rows[-1] + 1] = images[rows]
    return result


def batch_sizes(count: int, batch_size: int, processes: int = 1) -> list[int]:
    """How many of ``count`` images each step of an epoch takes, over all processes.

    The last batch is what is left over. Where that is fewer than two images a process, it joins
    the batch before it: batch normalisation has no variance of a single value.
    """
    sizes = [batch_size] * (count // batch_size)
    left = count % batch_size
    if left and sizes and left < LEAST * processes:
        sizes[-1] += left
    elif left:
        sizes.append(left)
    return sizes


def feed(
    images: Images, rows: Tensor, sizes: int | list[int], device: torch.device
) -> Iterator[Tensor]:
    """The pixels (B, C, H, W), on the device, of ``rows`` (N,), batch by batch.

    ``sizes``: of the batches, or of each. Where the images live on the device, they are indexed in
    place; else one thread reads a few batches ahead.
    """
    if not len(rows):  # a run that goes on from an epoch's last step
        return
    if isinstance(images, Tensor) and images.device.type == device.type:
        for batch in torch.split(rows.to(device), sizes):
            yield images[batch]
        return

    def read(batch: Tensor) -> Tensor:
        pixels: Tensor = images[batch]
        if device.type == "cpu":
            return pixels
        return pixels.pin_memory().to(device, non_blocking=True)

    with ThreadPoolExecutor(1) as pool:
        batches = iter(torch.split(rows, sizes))
        waiting = deque(pool.submit(read, batch) for batch in itertools.islice(batches, AHEAD))
        while waiting:
            pixels = waiting.popleft().result()
            waiting.extend(pool.submit(read, batch) for batch in itertools.islice(batches, 1))
            yield pixels


def probe_rows(manifest: pd.DataFrame, count: int) -> npt.NDArray[np.int64]:
    """The fixed probe set: half training, half test rows, the classes as even as they allow."""
    chosen = []
    for split, rows in manifest.reset_index().groupby("split"):
        if split != "val":
            rank = rows.groupby("true_label").cumcount()
            first = rank.sort_values(kind="stable").index[: count // 2]
            chosen.append(rows["index"].loc[first].to_numpy())
    return np.sort(np.concatenate(chosen))

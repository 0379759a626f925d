"""From a Config to pixels and manifest, and from these to batches on the device."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from nla import data
from nla.config import Config

TEST_SEED = 1_000_003  # the built-in test faces are the same for every run
AHEAD = 4  # batches that are read before they are needed


def load_data(config: Config, progress: bool = False) -> tuple[Tensor, pd.DataFrame]:
    """Images (N, C, H, W) uint8 and their manifest, with the configured validation, noise and imbalance.

    Real data is decoded once into ``config.cache`` and mapped into memory from there. DataError if it cannot be
    read or lacks a training or a test split.
    """
    if config.data == "faces":
        images, manifest = draw_faces(config, progress)
    else:
        images, manifest = data.load(config.data, config.root, size=config.size, cache=config.cache or None)
        missing = {"train", "test"} - set(manifest["split"])
        if missing:
            raise data.DataError(f"{config.data} in {config.root} has no {' and no '.join(sorted(missing))} images")
        if config.validation and "val" not in set(manifest["split"]):
            manifest = hold_out(manifest, config.validation, config.seed)
        if config.noise:
            manifest = data.flip_labels(manifest, config.noise, config.seed)
    if config.imbalance != 1:
        manifest = data.imbalance(manifest, config.imbalance, config.seed)
        images = images[torch.tensor(manifest.index.to_numpy())]
    return images, manifest.reset_index(drop=True)


def draw_faces(config: Config, progress: bool) -> tuple[Tensor, pd.DataFrame]:
    """The built-in faces of all splits; only the training labels get noise."""
    sizes = {"train": config.train_faces, "val": config.test_faces // 2, "test": config.test_faces}
    parts = [data.make_faces(n, seed=config.seed if split == "train" else TEST_SEED + (split == "test"),
                             size=config.size, ambiguous=config.ambiguous, split=split,
                             noisy=config.noise if split == "train" else 0.0, progress=progress)
             for split, n in sizes.items() if n]
    return torch.cat([part[0] for part in parts]), pd.concat([part[1] for part in parts], ignore_index=True)


def hold_out(manifest: pd.DataFrame, share: float, seed: int) -> pd.DataFrame:
    """Move a share of each class's training rows, drawn with ``seed``, to the validation split."""
    train = manifest[manifest["split"] == "train"]
    chosen = train.groupby("label").sample(frac=share, random_state=seed).index
    return manifest.assign(split=manifest["split"].mask(manifest.index.isin(chosen), "val"))


def placed(images: Tensor, device: torch.device, resident: bool) -> Tensor:
    """The images on the device if asked for and if they take no more than half of its free memory, else as they are."""
    if not resident or device.type == "cpu":
        return images
    memory = getattr(torch.get_device_module(device), "mem_get_info", None)
    return images.to(device) if memory is None or images.nbytes <= memory(device)[0] / 2 else images


def feed(images: Tensor, batches: Sequence[Tensor], device: torch.device) -> Iterator[Tensor]:
    """The pixels (B, C, H, W) of each batch of rows, on the device.

    Where the images live there, they are indexed in place; else one thread reads a few batches ahead.
    """
    if images.device == device and device.type != "cpu":
        yield from (images[rows] for rows in batches)
        return

    def read(rows: Tensor) -> Tensor:
        pixels = images[rows]
        return pixels if device.type == "cpu" else pixels.pin_memory().to(device, non_blocking=True)

    with ThreadPoolExecutor(1) as pool:
        waiting = [pool.submit(read, rows) for rows in batches[:AHEAD]]
        for k in range(len(batches)):
            waiting += [pool.submit(read, rows) for rows in batches[k + AHEAD:k + AHEAD + 1]]
            yield waiting.pop(0).result()


def probe_rows(manifest: pd.DataFrame, count: int) -> np.ndarray:
    """The fixed probe set: half training, half test rows, the classes as even as they allow."""
    chosen = []
    for split, rows in manifest.reset_index().groupby("split"):
        if split != "val":
            rank = rows.groupby("true_label").cumcount()
            chosen.append(rows["index"].loc[rank.sort_values(kind="stable").index[:count // 2]])
    return np.sort(np.concatenate(chosen))

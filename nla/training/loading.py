"""From a Config to pixels and manifest, and from these to batches on the device."""

import itertools
import math
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from nla import data
from nla.data.datasets import hold_out
from nla.data.store import Packed
from nla.training.config import Config

TEST_SEED = 1_000_003  # the built-in test faces are the same for every run
AHEAD = 4  # batches that are read before they are needed


def load_data(config: Config, progress: bool = False) -> tuple[Tensor | Packed, pd.DataFrame]:
    """Images (N, C, H, W) uint8 and their manifest, with the configured validation, noise and imbalance.

    Real data is decoded once into ``config.cache`` and read from there, batch by batch. DataError if it cannot be
    read or lacks a training or a test split.
    """
    if config.data == "faces":
        images, manifest = draw_faces(config, progress)
    else:
        images, manifest = data.load(
            config.data, config.root, size=config.size, cache=config.cache or None
        )
        missing = {"train", "test"} - set(manifest["split"])
        if missing:
            raise data.DataError(
                f"{config.data} in {config.root} has no {' and no '.join(sorted(missing))} images"
            )
        if config.validation and "val" not in set(manifest["split"]):
            manifest = hold_out(manifest, "val", config.validation, config.seed)
        if config.noise:
            manifest = data.flip_labels(manifest, config.noise, config.seed)
    if config.imbalance != 1:
        manifest = data.imbalance(manifest, config.imbalance, config.seed)
        kept = np.array(manifest.index)
        images = images.subset(kept) if isinstance(images, Packed) else images[kept]
    return images, manifest.reset_index(drop=True)


def draw_faces(config: Config, progress: bool) -> tuple[Tensor, pd.DataFrame]:
    """The built-in faces of all splits; only the training labels get noise."""
    sizes = {"train": config.train_faces, "val": config.test_faces // 2, "test": config.test_faces}
    parts = [
        data.make_faces(
            n,
            seed=config.seed if split == "train" else TEST_SEED + (split == "test"),
            size=config.size,
            ambiguous=config.ambiguous,
            split=split,
            noisy=config.noise if split == "train" else 0.0,
            progress=progress,
        )
        for split, n in sizes.items()
        if n
    ]
    return torch.cat([part[0] for part in parts]), pd.concat(
        [part[1] for part in parts], ignore_index=True
    )


def placed(images: Tensor | Packed, device: torch.device, resident: bool) -> Tensor | Packed:
    """The images on the device if asked for and if they take no more than half of its free memory, else as they are."""
    if not resident or device.type == "cpu":
        return images
    memory = getattr(torch.get_device_module(device), "mem_get_info", None)
    if memory is not None and math.prod(images.shape) > memory(device)[0] / 2:
        return images
    result = torch.empty(images.shape, dtype=torch.uint8, device=device)
    for rows in torch.arange(len(images)).split(4096):
        result[rows[0] : rows[-1] + 1] = images[rows]
    return result


def feed(
    images: Tensor | Packed, rows: Tensor, batch_size: int, device: torch.device
) -> Iterator[Tensor]:
    """The pixels (B, C, H, W), on the device, of ``rows`` (N,), batch by batch.

    Where the images live there, they are indexed in place; else one thread reads a few batches ahead.
    """
    if not len(rows):  # a run that goes on from an epoch's last step
        return
    if isinstance(images, Tensor) and images.device.type == device.type:
        yield from (images[batch] for batch in rows.to(device).split(batch_size))
        return

    def read(batch: Tensor) -> Tensor:
        pixels = images[batch]
        return pixels if device.type == "cpu" else pixels.pin_memory().to(device, non_blocking=True)

    with ThreadPoolExecutor(1) as pool:
        batches, waiting = iter(rows.split(batch_size)), deque()
        waiting.extend(pool.submit(read, batch) for batch in itertools.islice(batches, AHEAD))
        while waiting:
            pixels = waiting.popleft().result()
            waiting.extend(pool.submit(read, batch) for batch in itertools.islice(batches, 1))
            yield pixels


def probe_rows(manifest: pd.DataFrame, count: int) -> np.ndarray:
    """The fixed probe set: half training, half test rows, the classes as even as they allow."""
    chosen = []
    for split, rows in manifest.reset_index().groupby("split"):
        if split != "val":
            rank = rows.groupby("true_label").cumcount()
            chosen.append(rows["index"].loc[rank.sort_values(kind="stable").index[: count // 2]])
    return np.sort(np.concatenate(chosen))

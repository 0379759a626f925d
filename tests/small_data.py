"""Sets of a few random pictures, in memory or in folders, for tests of runs."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from nla import Config
from nla.data import EXPRESSIONS

QUICK = Config(size=24, epochs=1, batch_size=8, probe=8, snapshots=2, device="cpu", data="folder")


def pictures(
    train: int = 16, test: int = 4, classes: int = 7, names: tuple[str, ...] = (), seed: int = 0
) -> tuple[Tensor, pd.DataFrame]:
    """Random images (n, 3, 24, 24) and their manifest; ``names``: the set's own classes."""
    count = train + test
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (count, 3, 24, 24), dtype=torch.uint8, generator=generator)
    labels = np.arange(count) % classes
    manifest = pd.DataFrame(
        {
            "path": [f"a/{i}.png" for i in range(count)],
            "label": labels,
            "true_label": labels,
            "split": ["train"] * train + ["test"] * test,
        }
    )
    if names:
        manifest.attrs["classes"] = list(names)
    manifest.attrs["notes"] = ["random pictures"]
    return images, manifest


def tree(root: Path, per_class: int = 3, classes: tuple[str, ...] = EXPRESSIONS[:7]) -> Path:
    """``root/<split>/<class>/<n>.png``, random pictures of 24 x 24."""
    draw = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in classes:
            (root / split / name).mkdir(parents=True, exist_ok=True)
            for n in range(per_class):
                pixels = draw.integers(0, 256, (24, 24, 3), np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{n}.png")
    return root

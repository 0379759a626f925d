"""One of the processes of a run, started by torchrun. Called by test_engine.py:

    torchrun --nproc-per-node 2 distributed_worker.py FOLDER [fail]

The network has no batch normalisation, whose statistics would be those of each process's own
images.
"""

import os
import sys

import torch
from torch import nn

from nla import Config, fit, models
from nla.training import loop as training

torch.set_num_threads(1)
CONFIG = Config(
    train_faces=97,
    test_faces=30,
    size=24,
    noise=0.3,
    epochs=2,
    batch_size=16,
    probe=20,
    snapshots=3,
    device="cpu",
)


def plain(num_classes: int, in_channels: int) -> models.Classifier:
    body = nn.Sequential(
        nn.Conv2d(in_channels, 8, 5, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten()
    )
    return models.Classifier(body, 128, num_classes)


if __name__ == "__main__":
    models.small_resnet = plain
    if sys.argv[2:] == ["fail"] and os.environ.get("RANK") == "1":
        training.check_finite = None  # an error in one process, after the first epoch
    fit(CONFIG, sys.argv[1], progress=False)

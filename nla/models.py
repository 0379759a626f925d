"""The networks: ResNet-18 and -50 for real faces, a small ResNet for CPUs.

Every model maps images (B, C, H, W) to ``Output(logits (B, K), latent (B, D))``; the latent is the
pooled feature vector that the classifier sees.
"""

import collections
import functools
from pathlib import Path
from typing import NamedTuple

import torch
import torchvision
from torch import Tensor, nn

from nla.weights import Report, WeightsError, load_weights, read


class Output(NamedTuple):
    logits: Tensor
    latent: Tensor


class Classifier(nn.Module):
    """A backbone that maps images to latents (B, D), and a linear classifier."""

    def __init__(self, backbone: nn.Module, latent_dim: int, num_classes: int):
        super().__init__()
        self.backbone, self.fc = backbone, nn.Linear(latent_dim, num_classes)
        self.in_channels = next(
            module.in_channels for module in backbone.modules() if isinstance(module, nn.Conv2d)
        )

    def forward(self, images: Tensor) -> Output:
        latent = self.backbone(images)
        return Output(self.fc(latent), latent)


def resnet18(num_classes: int = 7, in_channels: int = 3) -> Classifier:
    """ResNet-18 (He et al., CVPR 2016), the paper's backbone; latent of 512 numbers."""
    return _torchvision(torchvision.models.resnet18, num_classes, in_channels)


def resnet50(num_classes: int = 7, in_channels: int = 3) -> Classifier:
    """ResNet-50 (He et al., CVPR 2016); latent of 2,048 numbers."""
    return _torchvision(torchvision.models.resnet50, num_classes, in_channels)


def small_resnet(num_classes: int = 7, in_channels: int = 3, width: int = 24) -> Classifier:
    """A ResNet of three blocks for 48 x 48 images on a CPU; latent of 4 * width numbers."""
    stem = [
        nn.Conv2d(in_channels, 16, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
    ]
    stages = [Block(16, width, 2), Block(width, 2 * width, 2), Block(2 * width, 4 * width, 2)]
    pool = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return _initialized(Classifier(nn.Sequential(*stem, *stages, *pool), 4 * width, num_classes))


class Block(nn.Module):
    """relu(x + conv(relu(conv(x)))), with a 1 x 1 projection of x where the shape changes."""

    def __init__(self, channels_in: int, channels: int, stride: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.project = nn.Identity()
        if stride != 1 or channels_in != channels:
            self.project = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.project(x) + self.body(x))


def model_from(path: str | Path, num_classes: int | None = None) -> tuple[Classifier, Report]:
    """The model of a weights file, in evaluation mode: its architecture, channels and classes are its tensors'.

    WeightsError if it holds none of the three architectures, no classifier, or not one of ``num_classes``.
    """
    shapes = collections.defaultdict(
        lambda: (0, 0), {n: (*t.shape, 0, 0) for n, t in read(path)[0].items()}
    )
    classes, latent_dim = shapes["fc.weight"][:2]
    if not classes or num_classes not in (None, classes):
        raise WeightsError(
            f"{path} has a classifier of {classes} classes (0: none), and one of "
            f"{num_classes or 'some'} is needed; train first, with these weights as the start"
        )
    if shapes["backbone.5.body.3.weight"][:4] == (
        latent_dim,
        latent_dim,
        3,
        3,
    ):  # so no larger than the file
        first, build = "backbone.0.weight", functools.partial(small_resnet, width=latent_dim // 4)
    else:
        first, build = "backbone.conv1.weight", resnet50 if latent_dim == 2048 else resnet18
    channels = shapes[first][1]
    if channels not in (1, 3):
        raise WeightsError(
            f"{path} holds no small_resnet, resnet18 or resnet50 for grey or colour images"
        )
    model = build(classes, channels)
    report = load_weights(model, path)
    if missing := [name for name in report.new if not name.endswith("num_batches_tracked")]:
        raise WeightsError(
            f"{path} does not hold the whole model: it lacks {', '.join(missing[:3])}"
        )
    return model.eval(), report


def _torchvision(build, num_classes: int, in_channels: int) -> Classifier:
    backbone = build(weights=None)
    latent_dim, backbone.fc = backbone.fc.in_features, nn.Identity()
    if in_channels != 3:
        backbone.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
    return _initialized(Classifier(backbone, latent_dim, num_classes))


def _initialized(model: Classifier) -> Classifier:
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return model

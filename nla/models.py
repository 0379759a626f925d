"""The networks: ResNet-18 and -50 for real faces, a small ResNet for CPUs, one that knows faces.

Every model maps images (B, C, H, W) to ``Output(logits (B, K), latent (B, D))``; the latent is the
pooled feature vector that the classifier sees.
"""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nla.face_resnet import LATENT, STEM, FaceResNet
from nla.weights import Report, WeightsError, load_weights, place, read

__all__ = [
    "Classifier",
    "Output",
    "WeightsError",
    "face_resnet",
    "load_weights",
    "model_from",
    "resnet18",
    "resnet50",
    "small_resnet",
]


class Output(NamedTuple):
    logits: Tensor
    latent: Tensor


class Classifier(nn.Module):
    """A backbone that maps images to latents (B, D), and a linear classifier."""

    kind = ""  # the name of the architecture, if it is one of the kit's

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
    return _torchvision("resnet18", num_classes, in_channels)


def resnet50(num_classes: int = 7, in_channels: int = 3) -> Classifier:
    """ResNet-50 (He et al., CVPR 2016); latent of 2,048 numbers."""
    return _torchvision("resnet50", num_classes, in_channels)


def small_resnet(num_classes: int = 7, in_channels: int = 3, width: int = 24) -> Classifier:
    """A ResNet of three blocks for 48 x 48 images on a CPU; latent of 4 * width numbers."""
    stem = [
        nn.Conv2d(in_channels, 16, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
    ]
    stages = [Block(16, width, 2), Block(width, 2 * width, 2), Block(2 * width, 4 * width, 2)]
    pool = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    backbone = nn.Sequential(*stem, *stages, *pool)
    return _initialized(Classifier(backbone, 4 * width, num_classes), "small_resnet")


def face_resnet(num_classes: int = 7, in_channels: int = 3) -> Classifier:
    """dlib's face recognition network (:mod:`nla.face_resnet`); latent of 256 numbers.

    ``load_weights(model, "dlib")`` gives it what the original learned from three million faces.
    """
    return _initialized(Classifier(FaceResNet(in_channels), LATENT, num_classes), "face_resnet")


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
        self.project: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels:
            self.project = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.project(x) + self.body(x))


def model_from(path: str | Path) -> tuple[Classifier, Report]:
    """The model of a weights file, in evaluation mode: all that it is, its tensors say.

    WeightsError if it holds none of the four architectures, or no classifier of two classes or
    more.
    """
    weights = read(path)
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.tensors.items()}
    head = shapes.get("fc.weight", ())
    start = "train one first, with this file as the start (nla train --weights FILE)"
    if len(head) != 2 or head[0] < 2:
        raise WeightsError(
            f"{path} has no classifier, fc.weight (classes, latent), of 2 classes or more: {start}"
        )
    classes, latent_dim = head
    model = _empty(shapes, classes, latent_dim)
    if model is None:
        raise WeightsError(
            f"{path} holds no small_resnet, resnet18, resnet50 or face_resnet for grey or colour "
            f"images, but {', '.join(list(shapes)[:3])} and latents of {latent_dim} numbers: name "
            "another file"
        )
    report = place(model, weights)
    missing = [name for name in report.new if not name.endswith("num_batches_tracked")]
    if missing:
        raise WeightsError(
            f"{path} does not hold the whole model: it lacks {', '.join(missing[:3])}; {start}"
        )
    return model.eval(), report


def _empty(shapes: dict[str, tuple[int, ...]], classes: int, latent_dim: int) -> Classifier | None:
    """A model of the architecture that has tensors of these shapes, if it is one of the kit's."""
    last = (latent_dim, latent_dim, 3, 3)  # convolution; its size is in the file, so there is room
    first = ("backbone.0.weight", "backbone.conv1.weight", "backbone.stem.0.weight")
    stem = next((shapes[name] for name in first if name in shapes), ())
    channels = stem[1] if len(stem) == 4 else 0
    if channels not in (1, 3):
        return None
    if shapes.get("backbone.5.body.3.weight") == last:
        return small_resnet(classes, channels, latent_dim // 4)
    if latent_dim == LATENT and stem[0] == STEM and "backbone.stem.0.weight" in shapes:
        return face_resnet(classes, channels)
    if latent_dim == 512:
        return resnet18(classes, channels)
    return resnet50(classes, channels) if latent_dim == 2048 else None


def _torchvision(name: str, num_classes: int, in_channels: int) -> Classifier:
    from torchvision.models import get_model  # here, since it takes two seconds to load

    backbone = get_model(name, weights=None)
    latent_dim, backbone.fc = backbone.fc.in_features, nn.Identity()
    if in_channels != 3:
        backbone.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
    return _initialized(Classifier(backbone, latent_dim, num_classes), name)


def _initialized(model: Classifier, kind: str) -> Classifier:
    model.kind = kind
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return model

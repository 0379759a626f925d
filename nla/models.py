"""The networks: ResNet-18 and -50 for real faces, a small ResNet for CPUs; safe loading of weights.

Every model maps images (B, C, H, W) to ``Output(logits (B, K), latent (B, D))``; the latent is the
pooled feature vector that the classifier sees.
"""

from pathlib import Path
from typing import NamedTuple

import torch
import torchvision
from safetensors.torch import load_file
from torch import Tensor, nn


class Output(NamedTuple):
    logits: Tensor
    latent: Tensor


class Classifier(nn.Module):
    """A backbone that maps images to latents (B, D), and a linear classifier."""

    def __init__(self, backbone: nn.Module, latent_dim: int, num_classes: int):
        super().__init__()
        self.backbone, self.fc = backbone, nn.Linear(latent_dim, num_classes)

    @property
    def in_channels(self) -> int:
        return next(module.in_channels for module in self.modules() if isinstance(module, nn.Conv2d))

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
    stem = [nn.Conv2d(in_channels, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    stages = [Block(16, width, 2), Block(width, 2 * width, 2), Block(2 * width, 4 * width, 2)]
    pool = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return _initialized(Classifier(nn.Sequential(*stem, *stages, *pool), 4 * width, num_classes))


class Block(nn.Module):
    """relu(x + conv(relu(conv(x)))), with a 1 x 1 projection of x where the shape changes."""

    def __init__(self, channels_in: int, channels: int, stride: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(),
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels))
        self.project = nn.Identity()
        if stride != 1 or channels_in != channels:
            self.project = nn.Sequential(nn.Conv2d(channels_in, channels, 1, stride, bias=False),
                                         nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.project(x) + self.body(x))


class WeightsError(ValueError):
    """A weights file that cannot be read safely, or does not fit the model."""


class Report(NamedTuple):
    """What :func:`load_weights` did: names of tensors, and the matched share of the backbone's tensors."""

    loaded: list[str]
    skipped: list[str]  # in the file, not used
    new: list[str]  # in the model, left as initialised
    matched: float


def load_weights(model: Classifier, path: str | Path) -> Report:
    """Load a backbone (and a classifier, if it fits) from a ``.safetensors`` file or a PyTorch checkpoint.

    Understood: the kit's own files, torchvision's names with or without ``module.`` before them and
    with or without an enclosing ``state_dict``, and the released NLA code's ``features.<child>``. A
    checkpoint is read with ``weights_only=True``: it cannot run code. A tensor is used when its name and
    shape fit. WeightsError if the file cannot be read so, holds NaN, or fits under 90 % of the backbone.
    """
    tensors = {_canonical_name(name): tensor for name, tensor in _read_tensors(Path(path)).items()}
    own = model.state_dict()
    fitting = {name: tensor for name, tensor in tensors.items()
               if name in own and own[name].shape == tensor.shape}
    broken = next((n for n, t in fitting.items() if t.is_floating_point() and not t.isfinite().all()), None)
    if broken:
        raise WeightsError(f"{path}: tensor {broken!r} holds NaN or infinite values")
    backbone = [n for n in own if n.startswith("backbone.") and not n.endswith("num_batches_tracked")]
    matched = sum(name in fitting for name in backbone) / len(backbone)
    if matched < 0.9:
        raise WeightsError(f"{path}: only {matched:.0%} of the backbone's {len(backbone)} tensors are in the "
                           f"file with the right name and shape; is it for another architecture? It holds, "
                           f"for example, {', '.join(list(tensors)[:3])}")
    model.load_state_dict(fitting, strict=False)
    skipped, new = set(tensors) - set(fitting), set(own) - set(fitting)
    return Report(sorted(fitting), sorted(skipped), sorted(new), matched)


def _read_tensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise WeightsError(f"no weights file at {path}")
    try:
        content = load_file(path) if path.suffix == ".safetensors" else torch.load(
            path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise WeightsError(f"{path} cannot be read as safetensors or as plain tensors: it is damaged, or it "
                           f"holds objects whose loading could run code, which is refused "
                           f"({type(error).__name__})") from error
    while isinstance(content, dict) and (key := next((k for k in ("state_dict", "model_state_dict", "model")
                                                      if isinstance(content.get(k), dict)), None)):
        content = content[key]
    tensors = {k: v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, dict) else {}
    if not tensors:
        raise WeightsError(f"{path} holds no named tensors")
    return tensors


def _canonical_name(name: str) -> str:
    """A name as :class:`Classifier` has it, whatever wrapper or layout it comes from."""
    name = name.removeprefix("module.").removeprefix("model.").removeprefix("backbone.")
    children = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
    head, _, rest = name.partition(".")
    if head == "features" and (index := rest.partition("."))[0].isdigit() and int(index[0]) < len(children):
        name = f"{children[int(index[0])]}.{index[2]}"
    return name if name.startswith("fc.") else f"backbone.{name}"


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

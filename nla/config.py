"""What a run depends on, in one frozen dataclass, and its named presets."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from nla.baselines import LOSSES
from nla.data.images import Augmentation
from nla.losses import VARIANTS
from nla.naw import NAW

CHOICES = {"loss": tuple(LOSSES), "variant": VARIANTS, "precision": ("auto", "float32", "bf16"),
           "model": ("small_resnet", "resnet18", "resnet50")}


@dataclass(frozen=True)
class Config:
    """Everything a run depends on. Equal configs give equal numbers on the same machine."""

    name: str = ""  # shown in tables; by default the loss
    # data
    data: str = "faces"  # faces, rafdb, fer2013, ferplus, affectnet
    root: str = "data"  # folder that holds the data set
    size: int = 48  # pixels, height and width
    train_faces: int = 2000  # built-in faces only
    test_faces: int = 1000
    ambiguous: float = 0.2  # share of ambiguous built-in faces
    noise: float = 0.0  # share of training labels replaced by another class
    validation: float = 0.0  # share of the training images held out, if no split is
    imbalance: float = 1.0  # n_max / n_min imposed on the training set; 1 leaves it alone
    # method
    loss: str = "nla"  # nla, cross_entropy
    variant: str = "paper"  # paper, released, released_v1
    lam: float = 0.5  # weight of NAW against consistency
    naw: NAW = field(default_factory=NAW)
    # model and optimisation
    model: str = "small_resnet"  # small_resnet, resnet18, resnet50
    weights: str = ""  # file of outside weights to start from
    epochs: int = 14
    batch_size: int = 32
    lr: float = 3e-3
    weight_decay: float = 1e-4
    lr_decay: float = 0.9  # learning rate factor per epoch
    augmentation: Augmentation = field(default_factory=Augmentation)
    precision: str = "auto"  # float32, bf16; auto: bf16 on a GPU
    # record
    probe: int = 600  # images in the fixed probe set
    snapshots: int = 8  # about so many latent snapshots
    seed: int = 0
    device: str = "auto"  # cpu, cuda, mps; auto: the best there is

    def __post_init__(self):
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"unknown {name} {getattr(self, name)!r}; expected one of {', '.join(choices)}")
        for name in ("epochs", "batch_size", "size", "train_faces", "test_faces", "probe"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    @classmethod
    def parse(cls, content: dict) -> "Config":
        """A config from the content of a run's ``config.json``."""
        nested = {name: kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in content[name].items()})
                  for name, kind in (("naw", NAW), ("augmentation", Augmentation))}
        return cls(**content | nested)

    @property
    def key(self) -> str:
        """Eight hex digits of everything above; names the run folder."""
        return hashlib.sha256(json.dumps(dataclasses.asdict(self), sort_keys=True).encode()).hexdigest()[:8]

    @property
    def folder(self) -> Path:
        return Path("data/runs") / f"{self.data}-{(self.name or self.loss).lower()}-{self.key}"


PAPER = Config(data="rafdb", size=224, model="resnet18", weights="data/weights/resnet18_msceleb.pth",
               epochs=60, batch_size=32, lr=1e-4)
"""The recipe of the paper; the MS-Celeb-1M weights have to be brought along."""

DEMO = Config(name="NLA", noise=0.3)
"""The built-in faces with 30 % label noise: under a minute on a laptop."""

DEMO_BASELINE = dataclasses.replace(DEMO, name="cross-entropy", loss="cross_entropy")
"""The same with plain cross-entropy, the other half of every comparison in the notebooks."""

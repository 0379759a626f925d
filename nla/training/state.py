"""What a run is made of: the task, which stays, and the state, which a checkpoint holds."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from torch import Generator, Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from nla import models
from nla.data.images import normalize
from nla.data.manifest import class_names
from nla.files import atomic
from nla.long_tail import REWEIGHTED
from nla.losses import Method
from nla.methods import build
from nla.settling import settle
from nla.training.config import VALUES, Config
from nla.training.identity import UNKNOWN, check_source, source_digest, weights_digest
from nla.training.loading import Images
from nla.training.processes import World
from nla.training.record import RunError, reading
from nla.weights import load_weights

NETWORKS = 64  # compiled ones that are kept: one for each size of images and of batch, in each run
SETTLING = 320  # training images by which the batch norms of a folded network are set
PARTS = ("model", "method", "optimizer", "schedule")  # of the state, with states of their own
PLACE = ("history", "step", "seconds", "parts")  # of the state, how far the run has come


@dataclass(frozen=True)
class Task:
    """What does not change during a run."""

    config: Config
    folder: Path
    world: World
    images: Images  # (N, C, H, W) uint8
    manifest: pd.DataFrame

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the labels."""
        return class_names(self.manifest)

    @cached_property
    def train(self) -> Tensor:
        """The rows of the training samples, in the order of the manifest."""
        return torch.tensor(np.flatnonzero(self.manifest["split"] == "train"))

    @cached_property
    def labels(self) -> Tensor:
        """The labels of the training samples, on the device."""
        return torch.tensor(self.manifest["label"].to_numpy()[self.train], device=self.world.device)


@dataclass
class State:
    """What changes during a run, and so what a checkpoint holds."""

    model: models.Classifier
    method: Method
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    generator: Generator  # of the augmentation
    history: list[dict[str, Any]] = field(default_factory=list)  # the rows of epochs.csv so far
    step: int = 0  # steps taken in the epoch that has begun
    seen: int = 0  # images that they took
    seconds: float = 0.0  # spent on them
    record: list[dict[str, Tensor]] = field(default_factory=list)  # of the samples they have seen
    parts: list[dict[str, Any]] = field(default_factory=list)  # of the run, by surroundings
    notes: list[str] = field(default_factory=list)  # sentences for the card
    averaged: AveragedModel | None = None  # the model with the running average of its weights
    weights: str = ""  # digest of the file of weights that the run began from
    source: str = ""  # digest of a loss that is not the kit's own

    @property
    def scored(self) -> models.Classifier:
        """The model that is scored and kept."""
        if self.averaged is None:
            return self.model
        return cast(models.Classifier, self.averaged.module)

    def save(self, path: Path) -> None:
        """Write the checkpoint, whole or not at all."""
        content = {name: getattr(self, name).state_dict() for name in PARTS}
        content |= {name: getattr(self, name) for name in PLACE}
        content["generator"] = self.generator.get_state()
        content["weights"], content["source"] = self.weights, self.source
        content["record"] = {name: values.cpu() for name, values in joined(self.record).items()}
        if self.averaged is not None:
            content["averaged"] = self.averaged.state_dict()
        with atomic(path) as temporary, open(temporary, "wb") as file:
            torch.save(content, file)

    def load(self, path: Path, loss: str) -> None:
        """Go back to a checkpoint; RunError if it is of a run of other weights or another loss."""
        with reading(path):
            content = torch.load(path, map_location="cpu", weights_only=True)
            content.setdefault("parts", [])  # once there were none
            for name in (*PARTS, *PLACE, "generator", "record"):
                content[name]
        if content.get("weights", self.weights) != self.weights:  # older ones do not say
            raise RunError(
                f"{path} is of a run that began from other weights: their file has changed since. "
                "Put the old one back, choose another folder (--out), or delete it to train anew"
            )
        check_source(path.parent, content.get("source"), loss)
        for name in PARTS:
            getattr(self, name).load_state_dict(content[name])
        if self.averaged is not None:
            self.averaged.load_state_dict(content["averaged"])
        self.generator.set_state(content["generator"])
        for name in PLACE:
            setattr(self, name, content[name])
        device = next(self.model.parameters()).device
        record = {name: values.to(device) for name, values in content["record"].items()}
        self.record = [record] if record else []
        self.seen = len(record["position"]) if record else 0


def joined(record: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The records of several steps as one."""
    if not record:
        return {}
    return {name: torch.cat([part[name] for part in record]) for name in record[0]}


def prepare(task: Task) -> State:
    """Model, method, optimiser and schedule at their start, initialised from the config's seed."""
    config, device, notes = task.config, task.world.device, []
    layout = torch.channels_last if config.channels_last else torch.contiguous_format
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        model = getattr(models, config.model)(len(task.classes), task.images.shape[1])
        if config.weights:
            report = load_weights(model, config.weights)
            notes = [f"{config.weights}: {report.sentence}"]
            if report.folded:
                notes += settled(model, task)
        model = model.to(device, memory_format=layout)
        method = build(
            config.loss,
            checked=False,
            naw=config.naw,
            lam=config.lam,
            variant=config.variant,
            strength=config.strength or None,
            compile=config.compile != "no",
        )
        method.attach(model, task.labels)
        if method.remark:
            notes.append(method.remark)
        if method.deferred and (config.epochs - 1) / config.epochs < REWEIGHTED:
            notes.append(
                f"classes are re-weighted once {REWEIGHTED:.0%} of training is over, which is in "
                f"none of {config.epochs} epochs"
            )
    parameters = [*model.parameters(), *method.parameters()]
    optimizer = torch.optim.Adam(
        parameters, lr=config.lr, weight_decay=config.weight_decay, fused=config.fused
    )
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, config.lr_decay)
    state = State(model, method, optimizer, schedule, Generator(device), notes=notes)
    state.weights, state.source = weights_digest(config), source_digest(config.loss)
    if state.source == UNKNOWN:
        notes.append(
            f"the source of the loss {config.loss!r} is not to be had, so that a later change of "
            "it would not be noticed: define it in a file"
        )
    if config.ema:
        average = get_ema_multi_avg_fn(config.ema)  # type: ignore[no-untyped-call]  # torch's
        state.averaged = AveragedModel(model, multi_avg_fn=average, use_buffers=True)
        notes.append(f"scored and kept is the running average of the weights, decay {config.ema}")
    if config.lr == 0:
        notes.append("the learning rate is 0: no weight has changed in training")
    if config.start_size:
        sizes = sorted({config.size_at(epoch) for epoch in range(config.epochs)} - {config.size})
        notes.append(
            f"trained, and recorded, at {', '.join(map(str, sizes))} and {config.size} pixels, one "
            f"after the other; scored at {config.size}"
        )
    return state


def settled(model: models.Classifier, task: Task) -> list[str]:
    """Set the batch norms of a folded network by training images; what was done, in sentences.

    The images are spread evenly over the training set, since some sets are sorted by class.
    """
    config = task.config
    step = max(1, len(task.train) // SETTLING)
    rows = task.train[::step][:SETTLING]
    batches = (
        normalize(task.images[part].cpu(), config.augmentation) for part in torch.split(rows, 64)
    )
    settle(model, batches)
    notes = [f"the batch norms were set by {len(rows)} training images"]
    own = VALUES.get(config.model)
    if own not in (None, (config.augmentation.mean, config.augmentation.std)):
        notes.append("the images are normalised by other numbers than the network has learned with")
    return notes


Network = Callable[[Tensor], models.Output]  # a model, as it is called in training


def shared(model: nn.Module, task: Task) -> Network:
    """The model as it is called in training.

    On several processes their gradients are joined, and on GPUs their batch statistics as well.
    """
    config, world = task.config, task.world
    if world.size > 1:
        if config.loss not in ("nla", "cross_entropy") or config.variant != "paper":
            raise ValueError(
                f"{config.loss} ({config.variant}) couples samples: train it on one process"
            )
        if world.device.type != "cpu":
            nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        model = DistributedDataParallel(model)
    if config.compile == "no":
        return model
    keep_networks()
    # An epoch's last batch is smaller: without this all batches after it would run in a network
    # for batches of any size.
    return torch.compile(model, mode=config.compile, dynamic=False)


def keep_networks() -> None:
    """Let PyTorch keep :data:`NETWORKS` compiled networks.

    By default it keeps eight, those of a process's earlier runs among them, and without a word
    calls uncompiled what comes after.
    """
    from torch._dynamo import config  # here, since it takes a second to load

    name = "recompile_limit" if hasattr(config, "recompile_limit") else "cache_size_limit"
    setattr(config, name, max(getattr(config, name), NETWORKS))

"""Training: from a Config to a run folder.

One forward pass serves both views; pixels are augmented on the device; the per-sample record stays there until
the epoch ends, so that nothing waits inside it. All randomness comes from generators that are seeded by
(seed, epoch, purpose) and kept in the checkpoint: a run goes on after any interruption with the same numbers.
"""

import dataclasses
import importlib.metadata
import json
import platform
import shutil
import subprocess
import time
import zlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Event

import numpy as np
import pandas as pd
import torch
from torch import Generator, Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from nla import data, models
from nla.baselines import build
from nla.data.images import augment, two_views
from nla.data.store import Packed
from nla.files import atomic, write
from nla.losses import Method
from nla.metrics import accuracies
from nla.training.config import Config
from nla.training.inference import autocast, embed, in_layout, predict
from nla.training.loading import feed, load_data, placed, probe_rows
from nla.training.processes import World, claimed, join_world, stoppable
from nla.training.record import FORMAT, Run, RunError, read_run, snapshot_epochs


class TrainingError(ValueError):
    """Training that cannot go on: the loss is no longer a number."""


@dataclass(frozen=True)
class Task:
    """What does not change during a run."""

    config: Config
    folder: Path
    world: World
    images: Tensor | Packed  # (N, C, H, W) uint8
    manifest: pd.DataFrame

    @cached_property
    def classes(self) -> tuple[str, ...]:
        return data.EXPRESSIONS[
            : max(7, 1 + int(self.manifest[["label", "true_label"]].to_numpy().max()))
        ]

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

    model: nn.Module
    method: Method
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    generator: Generator  # of the augmentation
    history: list[dict] = field(default_factory=list)  # the rows of epochs.csv so far
    step: int = 0  # steps taken in the epoch that has begun
    seconds: float = 0.0  # spent on them
    record: list[dict[str, Tensor]] = field(default_factory=list)  # of the samples they have seen

    def save(self, path: Path) -> None:
        parts = {
            name: getattr(self, name).state_dict()
            for name in ("model", "method", "optimizer", "schedule")
        }
        record = {name: values.cpu() for name, values in joined(self.record).items()}
        with atomic(path) as temporary, open(temporary, "wb") as file:
            torch.save(
                parts
                | {
                    "generator": self.generator.get_state(),
                    "history": self.history,
                    "step": self.step,
                    "seconds": self.seconds,
                    "record": record,
                },
                file,
            )

    def load(self, path: Path) -> None:
        content = torch.load(path, map_location="cpu", weights_only=True)
        for name in ("model", "method", "optimizer", "schedule"):
            getattr(self, name).load_state_dict(content[name])
        self.generator.set_state(content["generator"])
        self.history, self.step, self.seconds = (
            content["history"],
            content["step"],
            content["seconds"],
        )
        device = next(self.model.parameters()).device
        self.record = (
            [{k: v.to(device) for k, v in content["record"].items()}] if content["record"] else []
        )


def fit(
    config: Config,
    folder: str | Path | None = None,
    progress: bool = True,
    loaded: tuple[Tensor, pd.DataFrame] | None = None,
) -> Run:
    """Train, recording into ``folder`` (default: ``config.folder``), and return the run.

    A finished run with the same config is read, not repeated; an unfinished one goes on from its last checkpoint
    to the same numbers. Started by ``torchrun``, the processes share each batch. ``loaded``: what ``load_data(config)``
    gives, for a caller that has it already. ValueError if the folder holds a run of another config, RunError if it is
    in use, WriteError if it cannot be written, TrainingError if the loss is no longer a number. KeyboardInterrupt
    (Ctrl-C, the stop button of a notebook) comes after a checkpoint.
    """
    folder = Path(folder) if folder else config.folder
    if finished(folder, config):
        return read_run(folder)
    world = join_world(config.device)
    images, manifest = loaded or load_data(config, progress and world.rank == 0)
    task = Task(config, folder, world, placed(images, world.device, config.resident), manifest)
    state = prepare(task)
    with claimed(folder, world), stoppable() as stop:
        if world.rank == 0:
            write(folder / "config.json", dataclasses.asdict(config))
            write(folder / "manifest.parquet", manifest)
        if (folder / "checkpoint.pt").is_file():
            state.load(folder / "checkpoint.pt")
        network, steps = shared(state.model, task), -(-len(task.train) // config.batch_size)
        with tqdm(
            total=config.epochs * steps,
            initial=len(state.history) * steps + state.step,
            unit="step",
            desc=config.name or config.loss,
            disable=not progress or world.rank > 0,
            leave=False,
        ) as bar:
            while len(state.history) < config.epochs:
                if state.step == 0:
                    state.generator.manual_seed(
                        seed_of(config.seed, len(state.history), "augmentation")
                    )
                    snapshot(task, state)
                samples = train_epoch(task, state, network, bar, stop)
                close_epoch(task, state, samples)
                bar.set_postfix_str(f"test {state.history[-1].get('test_overall', np.nan):.1f} %")
        snapshot(task, state)
        if world.rank == 0:
            write(folder / "model.safetensors", state.model.state_dict())
            write(folder / "card.json", card(task, state))
        world.gather(None)  # every process waits for the files
    return read_run(folder)


def train_epoch(
    task: Task, state: State, network: nn.Module, bar: tqdm, stop: Event
) -> pd.DataFrame:
    """Go once through the training samples, or through those that are left; returns their record, one row each."""
    config, world, epoch = task.config, task.world, len(state.history)
    order = torch.randperm(
        len(task.train), generator=Generator().manual_seed(seed_of(config.seed, epoch, "order"))
    )
    batches = order.to(world.device).split(config.batch_size)[state.step :]
    rows = task.train[order][state.step * config.batch_size :]
    began = saved = time.monotonic()
    state.model.train()
    for batch, pixels in zip(
        batches, feed(task.images, rows, config.batch_size, world.device), strict=True
    ):
        views, positions = (
            augment(pixels, config.augmentation, state.generator)[world.share],
            batch[world.share],
        )
        share = (
            len(positions) * world.size / len(batch)
        )  # of the mean over the batch that this process's mean is
        if (
            not share
        ):  # the last batch may be smaller than the number of processes, but all have to take part
            views, positions = views.new_zeros(1, *pixels.shape[1:]), batch[:1]
        first, second = outputs(network, views, state.method.views, config)
        targets = task.labels[positions]
        terms = state.method.on_outputs(first, second, targets, epoch / config.epochs, positions)
        state.optimizer.zero_grad(set_to_none=True)
        (terms.total * share).backward()
        state.optimizer.step()
        if share:
            facts = terms.record(first.logits, targets) if config.record else {}
            state.record.append(
                {
                    "position": positions,
                    "loss": terms.total.detach().expand(len(positions)),
                    **facts,
                }
            )
        state.step += 1
        bar.update()
        now = time.monotonic()
        if world.size == 1 and (stop.is_set() or now - saved > 60 * config.checkpoint_minutes):
            state.seconds, began, saved = state.seconds + now - began, now, now
            check_finite(task, state, order)
            state.save(task.folder / "checkpoint.pt")
        if stop.is_set():
            raise KeyboardInterrupt(
                f"stopped in epoch {epoch + 1} after step {state.step}; the same call goes on"
            )
    check_finite(task, state, order)
    state.seconds += time.monotonic() - began
    parts = world.gather(
        {name: values.cpu().numpy() for name, values in joined(state.record).items()}
    )
    table = pd.concat(map(pd.DataFrame, parts)).sort_values("position", ignore_index=True)
    facts = {"index": task.train.numpy(), "label": task.labels.cpu().numpy()}
    return pd.DataFrame(facts).join(table.drop(columns=["position", "loss"]))


def outputs(network: nn.Module, views: Tensor, count: int, config: Config) -> tuple:
    """The network's Output for images (B, C, H, W) and, if ``count`` is 2, for their mirror images, in one pass."""
    with autocast(config, views.device):
        output = network(in_layout(two_views(views) if count == 2 else views, config))
    if count == 1:
        return output, None
    return tuple(models.Output(*part) for part in zip(*(both.chunk(2) for both in output)))


def check_finite(task: Task, state: State, order: Tensor) -> None:
    """TrainingError if a loss in this epoch is not finite; the batch where it began is saved to non_finite.json."""
    record = joined(state.record)
    lost = task.world.gather(
        record["position"][~record["loss"].isfinite()].tolist() if record else []
    )
    lost = torch.tensor(sum(lost, []), dtype=torch.long)
    if not len(lost):
        return
    step = int(torch.isin(order, lost).nonzero()[0]) // task.config.batch_size
    rows, file = (
        task.train[order.split(task.config.batch_size)[step]].tolist(),
        task.folder / "non_finite.json",
    )
    epoch = len(state.history)
    if task.world.rank == 0:
        write(file, {"epoch": epoch, "step": step, "index": rows})
    raise TrainingError(
        f"the loss is not finite in epoch {epoch + 1}, step {step + 1}: training has diverged; lower "
        f"the learning rate, or look at the {len(rows)} images of that batch, listed in {file}"
    )


def close_epoch(task: Task, state: State, samples: pd.DataFrame) -> None:
    """Score the held-out samples, write what the epoch leaves behind, and the checkpoint last of all."""
    config, folder, epoch = task.config, task.folder, len(state.history)
    row = {"epoch": epoch, "seconds": state.seconds}
    if task.world.rank == 0:
        held_out = np.flatnonzero(task.manifest["split"] != "train")
        predictions = predict(state.model, task.images, held_out, config, task.classes)
        if config.record:
            write(folder / f"dynamics/epoch_{epoch:03d}.parquet", samples)
        write(folder / f"predictions/epoch_{epoch:03d}.parquet", predictions)
        row = epoch_row(task, state, samples, predictions)
    state.history.append(row)
    state.schedule.step()
    state.step, state.seconds, state.record = 0, 0.0, []
    if task.world.rank == 0:
        write(folder / "epochs.csv", pd.DataFrame(state.history))
        if "val_mean" in row and row["val_mean"] > max(
            (r["val_mean"] for r in state.history[:-1]), default=-1
        ):
            write(folder / "best.safetensors", state.model.state_dict())
        if config.tensorboard:
            log(folder / "tensorboard", row)
        state.save(folder / "checkpoint.pt")


def epoch_row(task: Task, state: State, samples: pd.DataFrame, predictions: pd.DataFrame) -> dict:
    """One row of epochs.csv: means over the training pass, accuracies (%) on the true labels after it, seconds."""
    config, epoch = task.config, len(state.history)
    row = {
        "epoch": epoch,
        "epsilon": config.naw.epsilon(epoch / config.epochs),
        "learning_rate": state.schedule.get_last_lr()[0],
    }
    if config.record:
        row |= {
            name: float(samples[name].mean()) for name in ("weight", "cross_entropy", "divergence")
        }
        row["train_accuracy"] = 100 * float(samples["correct"].mean())
    held_out = task.manifest.loc[predictions["index"], ["split", "true_label"]]
    for split in ("val", "test"):
        mask = (held_out["split"] == split).to_numpy()
        if mask.any():
            scores = accuracies(
                held_out["true_label"][mask], predictions["prediction"][mask], task.classes
            )
            row |= {f"{split}_overall": scores["overall"], f"{split}_mean": scores["mean"]}
    return row | {"seconds": state.seconds}


def snapshot(task: Task, state: State) -> None:
    """Write the latents of the probe set, if this epoch's start is one of the times for it."""
    config, epoch = task.config, len(state.history)
    if task.world.rank == 0 and epoch in snapshot_epochs(config.epochs, config.snapshots):
        probe = probe_rows(task.manifest, config.probe)
        write(
            task.folder / f"latents/epoch_{epoch:03d}.npz",
            embed(state.model, task.images, probe, config),
        )


def prepare(task: Task) -> State:
    """Model, method, optimiser and schedule at their start, initialised from the config's seed."""
    config, device = task.config, task.world.device
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        model = getattr(models, config.model)(len(task.classes), task.images.shape[1])
        if config.weights:
            models.load_weights(model, config.weights)
        model = model.to(
            device,
            memory_format=torch.channels_last if config.channels_last else torch.contiguous_format,
        )
        method = build(
            config.loss,
            checked=False,
            naw=config.naw,
            lam=config.lam,
            variant=config.variant,
            compile=config.compile != "no",
        )
        method.attach(model, task.labels)
    parameters = [*model.parameters(), *method.parameters()]
    optimizer = torch.optim.Adam(
        parameters, lr=config.lr, weight_decay=config.weight_decay, fused=config.fused
    )
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, config.lr_decay)
    return State(model, method, optimizer, schedule, Generator(device))


def shared(model: nn.Module, task: Task) -> nn.Module:
    """The model as it is called in training: on several processes with their gradients and batch statistics joined."""
    config, world = task.config, task.world
    if world.size > 1:
        if config.loss not in ("nla", "cross_entropy") or config.variant != "paper":
            raise ValueError(
                f"{config.loss} ({config.variant}) couples samples: train it on one process"
            )
        if world.device.type != "cpu":
            nn.SyncBatchNorm.convert_sync_batchnorm(model)
        model = DistributedDataParallel(model)
    return model if config.compile == "no" else torch.compile(model, mode=config.compile)


def joined(record: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return (
        {name: torch.cat([part[name] for part in record]) for name in record[0]} if record else {}
    )


def log(folder: Path, row: dict) -> None:
    """The epoch's numbers for TensorBoard."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise RunError(
            "TensorBoard is not installed: pip install 'nla-research-kit[tensorboard]'"
        ) from None
    with SummaryWriter(folder) as writer:
        for name, value in row.items():
            writer.add_scalar(name, value, row["epoch"])


def seed_of(seed: int, epoch: int, purpose: str) -> int:
    """A seed of its own for each purpose in each epoch."""
    return zlib.crc32(f"{purpose} {epoch}".encode()) + (seed << 32)


def finished(folder: Path, config: Config) -> bool:
    """Whether ``folder`` holds the finished run of this config. ValueError if it holds another config's run."""
    if not (folder / "checkpoint.pt").is_file():
        return False
    wanted, found = json.loads(json.dumps(dataclasses.asdict(config))), Run(folder).config
    different = [name for name in wanted | found if wanted.get(name) != found.get(name)]
    if different:
        changes = ", ".join(
            f"{name}: {found.get(name)} -> {wanted.get(name)}" for name in different
        )
        raise ValueError(
            f"{folder} holds a run of another config ({changes}); choose another folder"
        )
    return (folder / "card.json").is_file()


def card(task: Task, state: State) -> dict:
    """Where the numbers come from: versions, commit, machine, seed, time."""
    device = task.world.device
    module = torch.get_device_module(device)
    name = (
        module.get_device_name(device) if hasattr(module, "get_device_name") else platform.machine()
    )
    versions = {
        p: importlib.metadata.version(p) for p in ("torch", "torchvision", "numpy", "pandas")
    }
    return {
        "format": FORMAT,
        "key": task.config.key,
        "seed": task.config.seed,
        "device": str(device),
        "device_name": name,
        "threads": torch.get_num_threads(),
        "processes": task.world.size,
        "commit": git_commit(),
        "python": platform.python_version(),
        **versions,
        "classes": len(task.classes),
        "channels": task.images.shape[1],
        "seconds": sum(row["seconds"] for row in state.history),
    }


def git_commit() -> str:
    """The commit of the kit's own checkout, empty where it is not one."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    return (
        subprocess.run(command, capture_output=True, text=True).stdout.strip()
        if shutil.which(command[0])
        else ""
    )

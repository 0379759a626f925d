"""Training: from a Config to a run folder.

One forward pass serves both views; pixels are augmented on the device; the per-sample record stays
there until the epoch ends, so that nothing waits inside it. All randomness comes from generators
that are seeded by (seed, epoch, purpose) and kept in the checkpoint: a run goes on after any
interruption with the same numbers.
"""

import copy
import dataclasses
import sys
import time
import zlib
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Generator, Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from tqdm import tqdm

from nla import models
from nla.data.images import augment, shrunk, two_views
from nla.data.manifest import DataError
from nla.files import remove_leftovers, write
from nla.losses import LossTerms, Method
from nla.metrics import accuracies
from nla.training.config import Config
from nla.training.identity import (
    check_config,
    check_parts,
    data_key,
    default_folder,
    finished,
    marked,
    parts_of,
)
from nla.training.inference import autocast, embed, in_layout, predict
from nla.training.loading import (
    LEAST,
    Images,
    batch_sizes,
    feed,
    load_data,
    placed,
    probe_rows,
)
from nla.training.processes import (
    claimed,
    devices,
    fast_in_bf16,
    is_there,
    join_world,
    stoppable,
)
from nla.training.provenance import surroundings, with_part
from nla.training.record import FORMAT, Run, RunError, read_run, snapshot_epochs
from nla.training.state import Network, State, Task, joined, prepare, shared


class TrainingError(ValueError):
    """Training that cannot begin, or not go on: batches too small, or numbers no longer finite."""


def fit(
    config: Config,
    folder: str | Path | None = None,
    progress: bool = True,
    loaded: tuple[Images, pd.DataFrame] | None = None,
) -> Run:
    """Train, recording into ``folder``, and return the run.

    The default folder is ``config.folder``, for real data with eight digits of the data's own
    (:func:`nla.training.identity.default_folder`). A finished run of the same config and data is
    read, not repeated; an unfinished one goes on from its last checkpoint to the same numbers.
    Started by ``torchrun``, the processes share each batch. ``loaded``: what ``load_data(config)``
    gives, for a caller that has it already.

    RunError if the folder holds a run of another config or of other data, or is in use; WriteError
    if it cannot be written; TrainingError if batches are too small, bf16 is not for this device, or
    weights or losses are no longer finite. KeyboardInterrupt (Ctrl-C, the stop button of a
    notebook) comes after a checkpoint.
    """
    if not isinstance(config, Config):
        raise TypeError(f"fit takes a Config, as in fit(Config(loss='nla')), got {config!r}")
    if folder is not None:
        check_config(Path(folder), config)  # before the data is read
    world = join_world(config.device)
    images, manifest = loaded or data_for(config, folder, progress and world.rank == 0)
    manifest = marked(images, manifest)
    folder = Path(folder) if folder is not None else default_folder(config, manifest)
    if finished(folder, config, manifest):
        return read_again(folder, progress and world.rank == 0)
    if not is_there(world.device):
        raise TrainingError(f"there is no device {world.device} here: use auto, or {devices()}")
    check_precision(config, world.device)
    task = Task(config, folder, world, placed(images, world.device, config.resident), manifest)
    state = prepare(task)
    check_batches(task, state)
    with claimed(folder, world), stoppable() as stop:
        # another process may have come first
        if any(world.gather(world.rank == 0 and finished(folder, config, manifest))):
            return read_again(folder, progress and world.rank == 0)
        begin(task, state)
        train(task, state, stop, progress and world.rank == 0)
        if world.rank == 0:
            write(folder / "model.safetensors", state.scored.state_dict())
            write(folder / "card.json", card(task, state))
        world.gather(None)  # every process waits for the files
        if stop.is_set():
            raise KeyboardInterrupt(f"stopped; the run in {folder} has finished all the same")
    return read_run(folder)


def read_again(folder: Path, progress: bool) -> Run:
    """The finished run in the folder; with ``progress`` it is said that nothing was trained."""
    if progress:
        tqdm.write(f"{folder} was trained before: read, not trained again", file=sys.stderr)
    return read_run(folder)


def data_for(
    config: Config, folder: str | Path | None, progress: bool
) -> tuple[Images, pd.DataFrame]:
    """``load_data(config)``; its DataError says so where a run has finished and can be read."""
    try:
        return load_data(config, progress)
    except DataError as error:
        if folder is None or not (Path(folder) / "card.json").is_file():
            raise
        raise DataError(
            f"{error}. Without it, that the finished run in {folder} is of this data cannot be "
            "known; nla show and read_run read it as it is"
        ) from None


def check_precision(config: Config, device: torch.device) -> None:
    """TrainingError where bf16 is asked for and would be slower than float32, never faster."""
    if config.precision == "bf16" and not fast_in_bf16(device):
        raise TrainingError(
            "precision bf16: this device has no arithmetic in bf16, emulates it and gains nothing "
            "(a processor with neither avx512_bf16 nor amx_bf16, or a GPU of compute capability "
            "under 8.0): use --precision float32"
        )


def check_batches(task: Task, state: State) -> None:
    """TrainingError, naming the number to change, if a process would see too few images at once."""
    config, count, processes = task.config, len(task.train), task.world.size
    least = LEAST * processes
    if count < least:
        images = "image" if count == 1 else "images"
        number = "train_faces" if config.data == "faces" else "the images of the split train"
        raise TrainingError(
            f"there are {count} training {images}, and {processes} process(es) need at least "
            f"{least}: raise {number}"
        )
    if config.batch_size >= least:
        return
    channels, size = task.images.shape[1:3]
    if config.start_size:
        size = config.size_at(0)
    alone = torch.zeros(1, channels, size, size, device=task.world.device)
    trial = copy.deepcopy(state.model).train()
    try:
        if config.batch_size < processes:
            raise ValueError
        with torch.no_grad():
            trial(alone)
    except ValueError:
        raise TrainingError(
            f"batch_size {config.batch_size} gives {processes} process(es) of {config.model} too "
            f"few images of {size} pixels at once: batch_size must be at least {least}"
        ) from None


def begin(task: Task, state: State) -> None:
    """Write what the run is of, and go back to its last checkpoint, if there is one."""
    folder, world = task.folder, task.world
    if world.rank == 0:
        remove_leftovers(folder)  # of a process that was killed while it wrote
        write(folder / "config.json", dataclasses.asdict(task.config))
        write(folder / "manifest.parquet", task.manifest)
        (folder / "non_finite.json").unlink(missing_ok=True)  # of a beginning that led nowhere
    if (folder / "checkpoint.pt").is_file():
        state.load(folder / "checkpoint.pt", task.config.loss)
        validated = any(row.get("val_mean", -1) >= 0 for row in state.history)
        if state.history:
            check_parts(folder, parts_of(task.config, len(state.history), validated))
        if world.rank > 0:
            state.record = []  # the first process has it
    apart = any(isinstance(part, _BatchNorm) for part in state.model.modules())
    if world.size > 1 and world.device.type == "cpu" and apart:
        state.notes.append(
            "batch normalisation saw each process's share of a batch by itself, and the model "
            "keeps the statistics of the first process"
        )
    state.parts = with_part(state.parts, surroundings(world), len(state.history), state.step)


def train(task: Task, state: State, stop: Event, progress: bool) -> None:
    """Go through the epochs that are left, and take the last snapshot."""
    config = task.config
    network = shared(state.model, task)
    steps = len(batch_sizes(len(task.train), config.batch_size, task.world.size))
    with tqdm(
        total=config.epochs * steps,
        initial=len(state.history) * steps + state.step,
        unit="step",
        desc=config.name or config.loss,
        disable=not progress,
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


def train_epoch(
    task: Task, state: State, network: Network, bar: "tqdm[Any]", stop: Event
) -> pd.DataFrame:
    """Go once through the training samples, or through those that are left.

    Returns their record, one row each.
    """
    config, world = task.config, task.world
    order = order_of(task, len(state.history))
    left = order[state.seen :]
    sizes = batch_sizes(len(left), config.batch_size, world.size)
    if sizes and sizes[-1] < LEAST * world.size <= config.batch_size:
        raise TrainingError(
            f"the epoch was begun by fewer processes, and {sizes[-1]} images are left of it, too "
            f"few for {world.size}: let fewer go on"
        )
    batches = torch.split(left.to(world.device), sizes)
    began = saved = time.monotonic()
    state.model.train()
    pixels_ahead = feed(task.images, task.train[left], sizes, world.device)
    for batch, pixels in zip(batches, pixels_ahead, strict=True):
        take_step(task, state, network, batch, pixels)
        bar.update()
        now = time.monotonic()
        if world.size == 1 and (stop.is_set() or now - saved > 60 * config.checkpoint_minutes):
            state.seconds += now - began
            began = saved = now
            check_finite(task, state, order)
            state.save(task.folder / "checkpoint.pt")
        if stop.is_set():
            raise KeyboardInterrupt(stopped_at(task, state))
    check_finite(task, state, order)
    state.seconds += time.monotonic() - began
    own = {name: values.cpu().numpy() for name, values in joined(state.record).items()}
    parts = [pd.DataFrame(part) for part in world.gather(own)]
    table = pd.concat(parts).sort_values("position", ignore_index=True)
    facts = {"index": task.train.numpy(), "label": task.labels.cpu().numpy()}
    return pd.DataFrame(facts).join(table.drop(columns=["position", "loss"]))


def take_step(task: Task, state: State, network: Network, batch: Tensor, pixels: Tensor) -> None:
    """One step of the optimiser on a batch: positions (B,) among the training samples, pixels."""
    config, world = task.config, task.world
    if config.start_size:
        pixels = shrunk(pixels, config.size_at(len(state.history)))
    images = augment(pixels, config.augmentation, state.generator)[world.share]
    views = state.method.mix(images, state.generator)
    positions = batch[world.share]
    # of the mean over the batch that this process's mean is
    share = len(positions) * world.size / len(batch)
    first, second = outputs(network, views, state.method.views, config)
    targets = task.labels[positions]
    progress = len(state.history) / config.epochs
    terms = state.method.on_outputs(first, second, targets, progress, positions)
    check_terms(terms, state.method, len(positions))
    state.optimizer.zero_grad(set_to_none=True)
    (terms.total * share).backward()  # type: ignore[no-untyped-call]  # torch's
    state.optimizer.step()
    if state.averaged is not None:
        state.averaged.update_parameters(state.model)
    facts = terms.record(first.logits, targets) if config.record else {}
    loss = terms.total.detach().expand(len(positions))
    state.record.append({"position": positions, "loss": loss, **facts})
    state.step += 1
    state.seen += len(batch)


def check_terms(terms: object, method: Method, count: int) -> None:
    """ValueError unless a method gave what the loop and the record need of ``count`` samples."""
    name = type(method).__name__
    if not isinstance(terms, LossTerms):
        raise TrainingError(
            f"{name} gives a {type(terms).__name__}, not the nla.losses.LossTerms that forward and "
            "on_outputs have to: begin with terms = self.observe(logits, flipped_logits, targets, "
            "progress), and return terms._replace(total=...)"
        )
    terms.verify(count, name)


def order_of(task: Task, epoch: int) -> Tensor:
    """The positions (n,) of the training samples in the order in which the epoch takes them."""
    generator = Generator().manual_seed(seed_of(task.config.seed, epoch, "order"))
    return torch.randperm(len(task.train), generator=generator)


def stopped_at(task: Task, state: State) -> str:
    """Where a run was stopped, and where it goes on."""
    epoch = len(state.history) + 1
    if task.world.size > 1:
        return f"stopped in epoch {epoch}; the same call begins that epoch anew"
    return f"stopped in epoch {epoch} after step {state.step}; the same call goes on"


def outputs(
    network: Network, views: Tensor, count: int, config: Config
) -> tuple[models.Output, models.Output | None]:
    """The network's Output for images (B, C, H, W) and, if ``count`` is 2, their mirror images.

    In one pass.
    """
    with autocast(config, views.device):
        output = network(in_layout(two_views(views) if count == 2 else views, config))
    if count == 1:
        return output, None
    first, second = zip(*(both.chunk(2) for both in output))
    return models.Output(*first), models.Output(*second)


def check_finite(task: Task, state: State, order: Tensor) -> None:
    """TrainingError if a loss in this epoch, or a weight after it, is not finite.

    The batch where it began is saved to non_finite.json.
    """
    record = joined(state.record)
    own = record["position"][~record["loss"].isfinite()].tolist() if record else []
    lost = torch.tensor(sum(task.world.gather(own), []), dtype=torch.long)
    sizes = batch_sizes(len(order), task.config.batch_size, task.world.size)
    if len(lost):
        what, first = "the loss is", int(torch.isin(order, lost).nonzero()[0])
    elif not finite(state.model):
        what, first = "the loss is finite, but the weights are", state.seen - 1
    else:
        return
    step = int(np.searchsorted(np.cumsum(sizes), first, side="right"))
    rows = task.train[torch.split(order, sizes)[step]].tolist()
    epoch, file = len(state.history), task.folder / "non_finite.json"
    if task.world.rank == 0:
        write(file, {"epoch": epoch, "step": step, "index": rows})
    raise TrainingError(
        f"{what} not finite in epoch {epoch + 1}, step {step + 1}: training has diverged; lower "
        f"the learning rate, or look at the {len(rows)} images of that batch, listed in {file}"
    )


def finite(model: models.Classifier) -> bool:
    """Whether all weights and statistics of a model are numbers."""
    each = [value.isfinite().all() for value in model.state_dict().values()]
    return bool(torch.stack(each).all())


def close_epoch(task: Task, state: State, samples: pd.DataFrame) -> None:
    """Score the held-out samples, write what the epoch leaves, and the checkpoint last of all."""
    config, folder, epoch = task.config, task.folder, len(state.history)
    row: dict[str, Any] = {"epoch": epoch, "seconds": state.seconds}
    if task.world.rank == 0:
        held_out = np.flatnonzero(task.manifest["split"] != "train")
        predictions = predict(state.scored, task.images, held_out, config, task.classes)
        check_predictions(predictions, epoch)
        if config.record:
            write(folder / f"dynamics/epoch_{epoch:03d}.parquet", samples)
        write(folder / f"predictions/epoch_{epoch:03d}.parquet", predictions)
        row = epoch_row(task, state, samples, predictions)
    before = max((r["val_mean"] for r in state.history if "val_mean" in r), default=-1)
    state.history.append(row)
    state.schedule.step()
    state.step, state.seen, state.seconds, state.record = 0, 0, 0.0, []
    if task.world.rank == 0:
        write(folder / "epochs.csv", pd.DataFrame(state.history))
        if row.get("val_mean", -1) > before:
            write(folder / "best.safetensors", state.scored.state_dict())
        if config.tensorboard:
            log(folder / "tensorboard", row)
        state.save(folder / "checkpoint.pt")


def check_predictions(predictions: pd.DataFrame, epoch: int) -> None:
    """TrainingError if a probability is no number: the largest of such would be the first class."""
    probabilities = predictions.drop(columns=["index", "prediction"]).to_numpy()
    bad = int((~np.isfinite(probabilities).all(axis=1)).sum())
    if bad:
        raise TrainingError(
            f"after epoch {epoch + 1} the probabilities of {bad} of {len(predictions)} held-out "
            "images are not finite: training has diverged; lower the learning rate"
        )


def epoch_row(
    task: Task, state: State, samples: pd.DataFrame, predictions: pd.DataFrame
) -> dict[str, Any]:
    """One row of epochs.csv.

    Means over the training pass, accuracies (%) on the true labels after it, seconds.
    """
    config, epoch = task.config, len(state.history)
    held, progress = state.method.held, epoch / config.epochs
    row: dict[str, Any] = {
        "epoch": epoch,
        "epsilon": config.naw.epsilon(progress if held is None else held),
        "learning_rate": state.schedule.get_last_lr()[0],
    }
    if config.record:
        for name in ("weight", "cross_entropy", "divergence"):
            row[name] = float(samples[name].mean())
        row["train_accuracy"] = 100 * float(samples["correct"].mean())
    held_out = task.manifest.loc[predictions["index"], ["split", "true_label"]]
    for split in ("val", "test"):
        mask = (held_out["split"] == split).to_numpy()
        if mask.any():
            truth, said = held_out["true_label"][mask], predictions["prediction"][mask]
            scores = accuracies(truth, said, task.classes)
            row |= {f"{split}_overall": scores["overall"], f"{split}_mean": scores["mean"]}
    return row | {"seconds": state.seconds}


def snapshot(task: Task, state: State) -> None:
    """Write the latents of the probe set, if this epoch's start is one of the times for it."""
    config, epoch = task.config, len(state.history)
    if task.world.rank == 0 and epoch in snapshot_epochs(config.epochs, config.snapshots):
        probe = probe_rows(task.manifest, config.probe)
        latents = embed(state.scored, task.images, probe, config)
        write(task.folder / f"latents/epoch_{epoch:03d}.npz", latents)


def log(folder: Path, row: dict[str, Any]) -> None:
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


def card(task: Task, state: State) -> dict[str, Any]:
    """Where the numbers come from; its device, commit, versions are those of the last part."""
    notes = [*task.manifest.attrs.get("notes", ()), *state.notes]
    last = {name: value for name, value in state.parts[-1].items() if not name.startswith("from_")}
    return {
        "format": FORMAT,
        "key": task.config.key,
        "seed": task.config.seed,
        **last,
        "classes": len(task.classes),
        "class_names": list(task.classes),
        "channels": task.images.shape[1],
        "data": data_key(task.manifest),
        "weights_digest": state.weights,
        "loss_digest": state.source,
        "seconds": sum(row["seconds"] for row in state.history),
        "parts": state.parts,
        "notes": notes,
    }

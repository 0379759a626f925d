"""How fast a recipe runs on this machine, and in how much memory, before one starts it."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from threading import Event

import pandas as pd
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from tqdm import tqdm

from nla.training.config import Config
from nla.training.loading import Images, placed
from nla.training.loop import check_batches, check_precision, train_epoch
from nla.training.processes import join_world
from nla.training.state import Network, State, Task, prepare, shared


@dataclass(frozen=True)
class Trial:
    """What a few steps of training took."""

    seconds: float  # per image, the median of the rounds
    fastest: float  # seconds per image of the fastest round
    slowest: float  # and of the slowest
    kept: int  # bytes that the last step kept for its backward pass
    peak: int | None  # bytes in use on the device at most; None where the device does not count

    def recipe(self, images: int, epochs: int) -> float:
        """Seconds of so many epochs over so many images; scoring between epochs comes on top."""
        return self.seconds * images * epochs


def trial(
    config: Config, images: Images, manifest: pd.DataFrame, steps: int = 10, rounds: int = 3
) -> Trial:
    """Train for ``rounds`` times ``steps`` steps as :func:`nla.training.fit` does, keeping nothing.

    ``images`` and ``manifest`` are those of ``load_data``; at most one epoch's steps are taken. A
    round before the first, in which memory is asked for and code compiled, is not counted. All of
    a step is in the time: reading, augmentation, network, loss, optimiser, record.

    With a ``start_size``, steps are taken at ``size``: the epochs before the last take less.
    """
    config = replace(config, start_size=0)
    world = join_world(config.device)
    check_precision(config, world.device)
    pixels = placed(images, world.device, config.resident)
    some = first_rows(manifest, steps * config.batch_size)
    with TemporaryDirectory() as folder:
        task = Task(config, Path(folder), world, pixels, some)
        state = prepare(task)
        check_batches(task, state)
        network = shared(state.model, task)
        memory = torch.get_device_module(world.device)
        counts = hasattr(memory, "max_memory_allocated")
        if counts:
            memory.reset_peak_memory_stats(world.device)
        times = [one_round(task, state, network) for _ in range(rounds + 1)][1:]
        peak = memory.max_memory_allocated(world.device) if counts else None
        kept = kept_by(task, state, network)
    each = [seconds / len(task.train) for seconds in times]
    return Trial(median(each), min(each), max(each), kept, peak)


def first_rows(manifest: pd.DataFrame, count: int) -> pd.DataFrame:
    """The manifest with its first ``count`` training rows alone in the split train."""
    train = (manifest["split"] == "train").to_numpy()
    beyond = train & (train.cumsum() > count)
    return manifest.assign(split=manifest["split"].mask(beyond, "left out"))


def one_round(task: Task, state: State, network: Network) -> float:
    """Train on all of the task's samples once, and forget the record: seconds."""
    with tqdm(disable=True) as bar:
        began = time.perf_counter()
        train_epoch(task, state, network, bar, Event())
        seconds = time.perf_counter() - began
    state.step, state.seen, state.record = 0, 0, []
    return seconds


def kept_by(task: Task, state: State, network: Network) -> int:
    """Bytes that a step on a full batch keeps for its backward pass, each storage counted once."""
    sizes: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    rows = first_rows(task.manifest, task.config.batch_size)
    single = Task(task.config, task.folder, task.world, task.images, rows)
    state.method.attach(state.model, single.labels)
    with saved_tensors_hooks(note, lambda tensor: tensor):
        one_round(single, state, network)
    return sum(sizes.values())

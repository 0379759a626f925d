"""The process that trains: alone or one of several, the only one in its folder.

Ctrl-C stops it in good order.
"""

import atexit
import contextlib
import functools
import os
import platform
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import NamedTuple, TypeVar

import filelock
import torch
from torch import distributed

from nla.training.record import RunError

T = TypeVar("T")


class World(NamedTuple):
    """This process among those that share a run."""

    rank: int
    size: int
    device: torch.device

    @property
    def share(self) -> slice:
        """This process's part of a global batch."""
        return slice(self.rank, None, self.size)

    def gather(self, value: T) -> list[T]:
        """The ``value`` of every process, in the order of their ranks."""
        if self.size == 1:
            return [value]
        values = [value] * self.size
        distributed.all_gather_object(values, value)
        return values


def join_world(device: str) -> World:
    """One process; or one of those that ``torchrun`` or ``accelerate launch`` has started.

    The environment tells which. ValueError for a device of no kind that there is.
    """
    chosen = best_device() if device == "auto" else named_device(device)
    size = int(os.environ.get("WORLD_SIZE", 1))
    if size == 1:
        return World(0, 1, chosen)
    if chosen.type != "cpu":
        chosen = torch.device(chosen.type, int(os.environ["LOCAL_RANK"]))
        torch.accelerator.set_device_index(chosen.index)
    if not distributed.is_initialized():
        distributed.init_process_group()
        # left to the interpreter's end, it can abort the process
        atexit.register(distributed.destroy_process_group)
    return World(distributed.get_rank(), distributed.get_world_size(), chosen)


def named_device(name: str) -> torch.device:
    """The device of that name, there or not; ValueError where PyTorch knows none of its kind."""
    try:
        return torch.device(name)
    except RuntimeError:
        raise ValueError(f"unknown device {name!r}: use auto, or one of {devices()}") from None


def devices() -> str:
    """The devices of this machine in words."""
    if best_device().type == "cpu":
        return "cpu (there is no accelerator here)"
    kind, count = best_device().type, torch.accelerator.device_count()
    return ", ".join(["cpu", kind, *(f"{kind}:{index}" for index in range(count))])


def is_there(device: torch.device) -> bool:
    """Whether this machine has the device."""
    if device.type == "cpu":
        return True
    here = device.type == best_device().type
    return here and (device.index or 0) < torch.accelerator.device_count()


def best_device() -> torch.device:
    """The accelerator that is there, else the CPU."""
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return found or torch.device("cpu")


@functools.cache
def fast_in_bf16(device: torch.device) -> bool:
    """Whether convolutions in bf16 are worth their while.

    On an x86 CPU avx512_bf16 or amx_bf16 is needed: without these PyTorch emulates them, or leaves
    oneDNN, several times slower than float32 (pytorch issue 183815). Of Nvidia's GPUs those before
    compute capability 8.0 (T4, V100) have no such arithmetic either.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return True
    if platform.machine().lower() in ("x86_64", "amd64"):
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


@contextlib.contextmanager
def claimed(folder: Path, world: World) -> Iterator[None]:
    """Hold the folder for this run. RunError while another process does.

    A process that dies lets go of it.
    """
    with contextlib.ExitStack() as held:
        try:
            if world.rank == 0:
                folder.mkdir(parents=True, exist_ok=True)
                held.enter_context(filelock.FileLock(folder / ".lock", timeout=0))
        except filelock.Timeout:
            raise RunError(
                f"{folder} is in use by another run: wait, stop it, or choose another folder"
            ) from None
        except OSError as error:
            raise RunError(
                f"{folder} cannot be written ({error.strerror}); choose another folder"
            ) from None
        yield


@contextlib.contextmanager
def stoppable() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets, for the loop to stop where it can resume.

    A second one stops at once.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked  # signals reach the main thread only
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)

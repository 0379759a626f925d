"""Where a run's numbers come from: versions, commit, machine, processes."""

import functools
import importlib.metadata
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

import torch

from nla import __version__
from nla.training.processes import World

PACKAGE = Path(__file__).resolve().parents[1]
PACKAGES = ("torch", "torchvision", "numpy", "pandas")


def surroundings(world: World) -> dict[str, Any]:
    """By what code and on what machine a part of a run is computed."""
    return {
        "device": str(world.device),
        "device_name": machine(world.device),
        "threads": torch.get_num_threads(),
        "processes": world.size,
        **checkout(),
        "python": platform.python_version(),
        **{package: importlib.metadata.version(package) for package in PACKAGES},
    }


def machine(device: torch.device) -> str:
    """The name of a GPU, or the kind of a CPU: what the last digits of a run depend on."""
    module = torch.get_device_module(device)
    if hasattr(module, "get_device_name"):
        return str(module.get_device_name(device))
    processor = processor_name()
    instructions = torch.backends.cpu.get_cpu_capability()
    return " ".join(filter(None, [platform.machine(), processor, instructions]))


def processor_name() -> str:
    """What the processor calls itself; nothing where this PyTorch cannot say.

    Held to the same instructions, those of two makers still differ in the last digits.
    """
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return str(capabilities.get("cpu_name", ""))


def code() -> dict[str, str]:
    """By what a row of a study is computed: versions, and the commit ("+": with changes)."""
    here = checkout()
    commit = here["commit"][:12] + "+" * bool(here["dirty"])
    return {
        "version": __version__,
        "torch": importlib.metadata.version("torch"),
        "commit": commit,
    }


def with_part(
    parts: list[dict[str, Any]], here: dict[str, Any], epoch: int, step: int
) -> list[dict[str, Any]]:
    """The parts of a run, with one more if it goes on, from there, in other surroundings."""
    if parts and here.items() <= parts[-1].items():
        return parts
    return [*parts, {"from_epoch": epoch, "from_step": step, **here}]


@functools.cache
def checkout() -> dict[str, Any]:
    """``commit`` of the kit's own checkout, and ``dirty``, whether its code differs from that.

    Both empty (None) where the kit is installed: another repository around it says nothing of it.
    """
    nothing = {"commit": "", "dirty": None}
    top = git("rev-parse", "--show-toplevel")
    if not top or Path(top).resolve() != PACKAGE.parent:
        return nothing
    if not git("ls-files", "--", "nla/__init__.py", folder=PACKAGE.parent):
        return nothing
    changed = git("status", "--porcelain", "--", "nla", folder=PACKAGE.parent)
    return {"commit": git("rev-parse", "HEAD"), "dirty": bool(changed)}


def git(*arguments: str, folder: Path = PACKAGE) -> str:
    """What git says of a folder, or nothing: without git, and outside of a repository."""
    command = shutil.which("git")
    if command is None:
        return ""
    done = subprocess.run(
        [command, "-C", str(folder), *arguments], capture_output=True, text=True, encoding="utf-8"
    )
    return done.stdout.strip() if done.returncode == 0 else ""

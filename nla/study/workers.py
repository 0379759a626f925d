"""Tasks in several processes, one thread each, held to the same instructions on every machine."""

import contextlib
import os
import platform
import signal
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import TypeVar

import torch

Task = TypeVar("Task")
Result = TypeVar("Result")

COMMON = {  # names in the environment, of PyTorch, oneDNN and MKL
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_CBWR": "AVX2",
}
"""Instructions that x86 processors of the last ten years share.

All of a study's runs are held to them, so that a processor's wider instructions change nothing:
with others, rows differ in their last digits, and after some epochs by points. Processors of two
makers (AMD and Intel were compared) do so all the same, so the methods of a setting are compared
on one machine.
"""


def in_processes(
    waiting: dict[str, Task], work: Callable[[Task], Result], jobs: int
) -> Generator[tuple[Task, Future[Result]], None, None]:
    """Each task with what became of it, as they end; ``jobs`` at a time, in the order they wait.

    A task is taken out of ``waiting`` when it begins; what the caller takes out meanwhile does not
    begin. To be closed (``contextlib.closing``): whatever runs then is ended at once.
    """
    running: dict[Future[Result], tuple[Task, Executor]] = {}
    idle: list[Executor] = []
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                task = waiting.pop(next(iter(waiting)))
                process = idle.pop() if idle else worker()
                with common_instructions():
                    running[process.submit(work, task)] = task, process
            for result in wait(running, return_when=FIRST_COMPLETED).done:
                task, process = running.pop(result)
                if result.exception():  # the process may be dead or in disorder
                    process.shutdown(wait=False)
                else:
                    idle.append(process)
                yield task, result
    finally:
        for _, process in running.values():
            kill(process)
        for process in idle:
            process.shutdown()


@contextlib.contextmanager
def how_to_go_on(file: Path, holds: str) -> Iterator[None]:
    """Say at a KeyboardInterrupt what ``file`` holds by now, and how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped; {file} holds the {holds} that have ended, --resume goes on"
        ) from None


def worker() -> Executor:
    """One process, so that its death takes no other task along; it ends when this one does."""
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=settle)


@contextlib.contextmanager
def common_instructions() -> Iterator[None]:
    """Processes that start within it compute by ``COMMON``, unless the user chose otherwise."""
    if platform.machine() not in ("x86_64", "AMD64"):
        yield
        return
    new = {name: value for name, value in COMMON.items() if name not in os.environ}
    os.environ.update(new)
    try:
        yield
    finally:
        for name in new:
            del os.environ[name]


def kill(process: Executor) -> None:
    """End a worker at once; its run goes on from its last checkpoint when it is asked for again."""
    children = getattr(process, "_processes", None) or {}  # kill_workers from Python 3.14 on
    for child in list(children.values()):
        child.kill()
    process.shutdown(wait=False, cancel_futures=True)


def settle() -> None:
    """In a worker: one thread; Ctrl-C is for the study to deal with, which ends its workers."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()


def end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)

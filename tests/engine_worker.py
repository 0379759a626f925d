"""Runs of a tiny config in processes that die: forked, so that torch is loaded once.

Called by test_engine.py:

    python engine_worker.py FOLDER KILLS SEED

trains once undisturbed, then again and again in FOLDER/killed, killed at random moments, until it
is whole. Prints one line of json: how often it was killed, and where.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from nla import Config, files, fit

torch.set_num_threads(1)
CONFIG = Config(
    train_faces=96,
    test_faces=30,
    size=24,
    noise=0.3,
    epochs=4,
    batch_size=16,
    probe=20,
    snapshots=3,
    checkpoint_minutes=0,
)  # a checkpoint after every step


def train(folder: Path, die_at: int | None = None, half: bool = False) -> None:
    """Train; with ``die_at``, die before that many-th file is renamed.

    All of it is written by then, or (``half``) half.
    """
    if die_at is not None:
        count, replace = 0, os.replace

        def killed(source: str, target: str) -> None:
            nonlocal count
            count += 1
            if count == die_at:
                if half:
                    os.truncate(source, os.path.getsize(source) // 2)
                os.kill(os.getpid(), signal.SIGKILL)
            replace(source, target)

        files.os.replace = killed
    fit(CONFIG, folder, progress=False)


def forked(*arguments, seconds: float | None = None) -> bool:
    """Train in a child; True if it ended by itself, False if it was killed.

    That is after ``seconds``, if given.
    """
    child = os.fork()
    if child == 0:
        try:
            train(*arguments)
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
    if seconds is not None:
        time.sleep(seconds)
        if os.waitpid(child, os.WNOHANG) == (0, 0):
            os.kill(child, signal.SIGKILL)
        else:
            return True
    status = os.waitpid(child, 0)[1]
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        sys.exit("the run failed")
    return os.WIFEXITED(status)


def main(folder: Path, kills: int, seed: int) -> None:
    draw, began = random.Random(seed), time.perf_counter()
    assert forked(folder / "whole")
    whole, timed, writing, finished = time.perf_counter() - began, 0, 0, False
    while timed + writing < kills:
        if (timed + writing) % 2:
            finished = forked(folder / "killed", draw.randrange(1, 8), draw.random() < 0.5)
            writing += not finished
        else:
            finished = forked(folder / "killed", seconds=draw.uniform(0.1, 0.4) * whole)
            timed += not finished
        if finished:  # start over, in the same place
            os.rename(folder / "killed", folder / f"killed{timed + writing}")
    if not (folder / "killed/card.json").exists():
        assert forked(folder / "killed")
    print(json.dumps({"timed": timed, "writing": writing, "seconds_whole": whole}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))

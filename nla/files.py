"""Files that are whole or absent: written under a temporary name, then renamed."""

import contextlib
import glob
import json
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

LATER = {"later": True}  # metadata of a config's field: it came after keys had been written down
TABLES = (".csv", ".parquet")  # suffixes of the files that hold one
STALE = 3600  # seconds without a byte after which a temporary file is a killed writer's


class WriteError(ValueError):
    """A file that cannot be written; what was there before is still there."""


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary name beside ``path``, which replaces it once the block has ended without error.

    Else WriteError. Of several writers of one file each has a name of its own; the last to end
    stays. What writers that were killed have left is removed after an hour.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_stale(path)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise WriteError(
            f"{path} cannot be written ({error.strerror or error}): {remedy(path, error)}; "
            "nothing that was there before is lost, and a run goes on from its last checkpoint"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def remedy(path: Path, error: OSError) -> str:
    """What may help against an error in writing."""
    if isinstance(error, PermissionError) and path.is_file():
        return "close it where another program has it open, or make it and its folder writable"
    return "free space or choose another folder"


def remove_stale(path: Path) -> None:
    """Remove temporary files of ``path`` that nobody has written to for an hour."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*tmp"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > STALE:
                left.unlink()


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files below a folder in which nobody else writes, whatever their age."""
    for left in folder.rglob(".*.tmp"):
        with contextlib.suppress(OSError):
            left.unlink()


def write(path: str | Path, content: Any) -> None:
    """By the name's suffix: a table as .csv or .parquet, a dict as .json, of arrays as .npz.

    One of tensors as .safetensors; text as it is, in utf-8. WriteError if the disk or the folder
    does not let it, or for a table with another suffix.
    """
    if isinstance(content, pd.DataFrame):
        check_table(path)
    with atomic(path) as temporary:
        match Path(path).suffix.lower():
            case _ if isinstance(content, str):
                write_text(temporary, content)
            case ".csv":
                content.to_csv(temporary, index=False, encoding="utf-8", lineterminator="\n")
            case ".parquet":
                content.to_parquet(temporary, index=False)
            case ".json":
                write_text(temporary, json.dumps(content, indent=2) + "\n")
            case ".npz":
                with open(temporary, "wb") as file:
                    np.savez(file, **content)
            case ".safetensors":
                from safetensors.torch import save  # here, since it loads torch

                tensors = {name: tensor.contiguous().cpu() for name, tensor in content.items()}
                temporary.write_bytes(save(tensors))


def check_table(path: str | Path) -> None:
    """WriteError unless the name says how a table is to be written."""
    if Path(path).suffix.lower() not in TABLES:
        raise WriteError(f"{path}: a table is written as {' or '.join(TABLES)}: name it so")


def write_text(path: Path, text: str) -> None:
    """The same bytes on every system."""
    path.write_text(text, encoding="utf-8", newline="\n")

"""Drawn faces that are kept: to draw the demo's takes seconds, to have them again a tenth of one.

The last few parts (a split of a set) stay in memory, and those that take a while to draw on the
disk as well, as ``faces-<hash>.npz`` in the folder for caches. The hash is of what was asked for
and of what decides how a face looks: the code and tables that draw it, PyTorch and the processor's
instructions. So a file is never stale. One that cannot be read whole is drawn anew.
"""

import contextlib
import functools
import hashlib
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from nla import data
from nla.files import WriteError, write

Part = tuple[Tensor, pd.DataFrame]
KEPT: dict[tuple[str, str], Part] = {}
"""Faces that were drawn or read last, by the folder for caches and their name there."""

PARTS = 6  # how many are kept in memory
FILES = 12  # how many on the disk
SMALL = 32 * 2**20  # of how many bytes at most each
LARGE = 2**20  # and of how many at least on the disk: 150 faces of 48 pixels, .2 seconds
PIXELS = "pixels"  # the array in a file that is no column of the manifest


def kept_faces(cache: str, progress: bool = False, **options: Any) -> Part:
    """``make_faces(**options)``: uint8 (n, 3, size, size), and their manifest of n rows.

    ``cache``: the folder in which they are kept, if any. What is given out may be given out again,
    so it is not to be changed.
    """
    name = name_of(options)
    part = KEPT.pop((cache, name), None) or from_disk(cache, name, progress, options)
    if part[0].numel() <= SMALL:
        KEPT[cache, name] = part
    for oldest in list(KEPT)[:-PARTS]:
        KEPT.pop(oldest, None)
    return part


def name_of(options: dict[str, Any]) -> str:
    """What the file of these faces is called."""
    text = f"{sorted(options.items())} {drawing()}"
    return f"faces-{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}.npz"


@functools.cache
def drawing() -> str:
    """What decides how a face looks, but for the options: a digest of code and tables, and more."""
    here = Path(__file__).parent
    sources = sorted([*here.glob("face*.py"), *here.glob("*.csv")])
    digest = hashlib.blake2b(b"".join(source.read_bytes() for source in sources))
    return f"{digest.hexdigest()} {torch.__version__} {torch.backends.cpu.get_cpu_capability()}"


def from_disk(cache: str, name: str, progress: bool, options: dict[str, Any]) -> Part:
    """Faces read from the folder ``cache``, or drawn, and kept there if that is worth it."""
    file = Path(cache, name)
    found = read_faces(file) if cache else None
    if found is not None:
        return found
    images, manifest = data.make_faces(**options, progress=progress)
    if cache and LARGE <= images.numel() <= SMALL:
        keep(file, images, manifest)
    return images, manifest


def read_faces(file: Path) -> Part | None:
    """The faces in a file, None if it is not there or not whole."""
    try:
        with np.load(file) as stored:
            arrays = dict(stored)  # the archive holds a checksum of each
        images = torch.from_numpy(arrays.pop(PIXELS))
        manifest = pd.DataFrame(arrays)
        os.utime(file)  # the one unused for longest is the first to be removed
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return images, manifest


def keep(file: Path, images: Tensor, manifest: pd.DataFrame) -> None:
    """Write faces to a file and remove what was unused for longest; a full disk is no error."""
    columns = {str(name): plain(column) for name, column in manifest.items()}
    with contextlib.suppress(WriteError):
        write(file, {PIXELS: images.numpy(), **columns})
    with contextlib.suppress(OSError):  # another process may be at it too
        kept = sorted(file.parent.glob("faces-*.npz"), key=os.path.getmtime)
        for oldest in kept[:-FILES]:
            oldest.unlink()


def plain(column: "pd.Series[Any]") -> npt.NDArray[Any]:
    """A column as an array that no pickle is needed for."""
    values = column.to_numpy()
    return values.astype(str) if values.dtype == object else values

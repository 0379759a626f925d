"""The packed store: all images of a manifest as one array in a file, read batch by batch; and
``load``.

``<what>-<state>-<home>.npy`` holds three arrays one after the other, as ``np.save`` writes them:
the pixels (N, C, H, W), :data:`nla.data.gathering.FACTS` for each image, and a digest of these.
*what* hashes the relative names, face boxes, size and channels asked for, *state* the files' sizes
and times, *home* the folder that they were packed from. So the store of a set whose folder was
renamed is found again, and one whose files changed, or were written again, is stale. The file is
written under a temporary name and renamed: it is whole or absent. Opening it verifies every digest;
a damaged one is packed anew.
"""

import contextlib
import hashlib
import math
import mmap
import os
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import PIL
import torch
from filelock import FileLock
from torch import Tensor

from nla.files import WriteError, atomic

from .datasets import reader
from .decoding import Pixels, open_image
from .ferplus import fer2013_csv
from .gathering import FACTS, Facts, Progress, Put, Shape, digest, silent
from .manifest import BOX, DataError, data_root
from .pixels import Sink, decode_all, digests, hashed, in_memory, leave_out, read_pixels

__all__ = ["Packed", "digests", "load", "open_image", "pack", "read_pixels"]

VERSION = 3
Missing = Literal["refuse", "skip"]
Rows = int | slice | Sequence[int] | npt.NDArray[np.generic] | Tensor


def load(
    name: str,
    root: str | Path | None = None,
    size: int | None = None,
    channels: int | None = None,
    cache: str | Path | None = None,
    missing: Missing = "refuse",
    **options: object,
) -> tuple["Tensor | Packed", pd.DataFrame]:
    """Read the set ``name``: (images uint8 (N, C, H, W), manifest), row i for image i.

    ``root``: see :func:`nla.data.manifest.data_root`.  ``cache``, a folder, keeps the pixels packed
    there and out of memory (:func:`pack`).  Images that are not there or cannot be decoded are
    counted in a DataError, or with ``missing`` "skip" left out and counted in the manifest's notes.
    ``options`` go to the reader ``read_<name>``.
    """
    if missing not in ("refuse", "skip"):
        raise DataError(f"missing is {missing!r}, expected refuse or skip")
    root = data_root(root)
    manifest = reader(name)(root, **options)
    if cache:
        packed = pack(root, manifest, cache, size, channels, missing=missing)
        facts = read_facts(packed.file.number)
        assert facts is not None, "pack has verified them"
        return packed, leave_out(manifest, facts)
    images, facts = in_memory(root, manifest, size, channels, missing)
    return images, leave_out(manifest, facts)


class Held:
    """A file that is held open for reading, by its ``number``, until nobody needs this any more."""

    def __init__(self, path: str | Path) -> None:
        self.number = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        weakref.finalize(self, os.close, self.number)


class Packed:
    """Pixels in a packed store: ``packed[rows]`` reads uint8 (b, C, H, W), rows being what indexes
    a tensor.

    A selection keeps its axis whatever its length; a whole number alone gives one image (C, H, W).
    The file is mapped anew for each batch, so that nothing that was read stays in this process's
    memory, and held open between them: where another process removes it, since the images have
    changed, whoever has it reads on. A process that it is sent to (pickled) opens it again.
    """

    def __init__(
        self, path: str | Path, rows: Rows = slice(None), file: Held | None = None
    ) -> None:
        self.path, self.file = Path(path), file or Held(path)
        stored = mapped(self.file.number).shape
        self.rows = np.atleast_1d(np.arange(stored[0])[selection(rows)])
        self.shape = (len(self.rows), *stored[1:])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: Rows) -> Tensor:
        chosen = self.rows[selection(rows)]
        return torch.from_numpy(np.array(mapped(self.file.number)[chosen]))

    def __reduce__(self) -> tuple[type["Packed"], tuple[Path, npt.NDArray[np.int64]]]:
        return Packed, (self.path, self.rows)

    def subset(self, rows: Rows) -> "Packed":
        """The same store, seen through some of its rows."""
        return Packed(self.path, self.rows[selection(rows)], self.file)

    def facts(self) -> Facts | None:
        """The facts of these rows, None for a file that has none."""
        every = read_facts(self.file.number)
        return None if every is None else every[self.rows]


def mapped(number: int) -> Pixels:
    """The pixels (N, C, H, W) of a store that is open under that number, mapped."""
    return behind(number)[0]


def behind(number: int) -> tuple[Pixels, mmap.mmap]:
    """The pixels of an open store, and the whole file, mapped, placed at what stands behind them.

    ValueError for a file that does not hold such pixels.
    """
    file = mmap.mmap(number, 0, access=mmap.ACCESS_READ)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("the store is not of the format that it is written in")
    shape, by_column, kind = np.lib.format.read_array_header_1_0(file)
    if by_column or kind != np.uint8:
        raise ValueError("the store holds no pixels")
    begin, count = file.tell(), math.prod(shape)
    pixels = np.frombuffer(file, np.uint8, count, begin).reshape(shape)
    file.seek(begin + count)
    return pixels, file


def selection(rows: Rows) -> Any:
    """``rows`` as what indexes a numpy array: a tensor or list stays an array at any length."""
    if isinstance(rows, slice | int):
        return rows
    values = rows.cpu().numpy() if isinstance(rows, Tensor) else np.asarray(rows)
    return values if values.size else values.astype(np.int64)


def read_facts(number: int) -> Facts | None:
    """The facts of all images that stand behind their pixels in an open store, None if there are
    none or they are damaged.
    """
    pixels, file = behind(number)
    try:
        facts, own = np.load(file), np.load(file)  # type: ignore[arg-type]  # it reads and seeks
    except Exception:  # a damaged header can make numpy raise anything
        return None
    alike = facts.dtype == FACTS and facts.shape == (len(pixels),)
    return facts if alike and own == digest_of(facts) else None


def digest_of(facts: Facts) -> np.uint64:
    """A digest of the facts themselves."""
    return np.uint64(digest(np.frombuffer(facts.tobytes(), np.uint8)))


class Name(NamedTuple):
    """What a store is called by: three hashes."""

    what: str
    state: str
    home: str


def store_name(
    root: str | Path, manifest: pd.DataFrame, size: int | None, channels: int | None
) -> Name:
    """The name of the store of these images as their files are now."""
    if "row" in manifest:
        files, columns = [str(fer2013_csv(root))], ["row"]
    else:
        files = [os.path.join(root, path) for path in manifest["path"]]
        columns = ["path", *(BOX if "box_x" in manifest else ())]
    what = f"{VERSION} {size} {channels}\n{manifest[columns].to_csv(index=False)}"
    state = f"{PIL.__version__} {[size_and_times(file) for file in files]}"
    return Name(*(short_hash(text) for text in (what, state, str(Path(root).resolve()))))


def size_and_times(file: str) -> tuple[int, int, int] | None:
    """A file's size in bytes and two times in ns, None where it is not there.

    That of its content, which whoever unpacks an archive may set, also alike for all, and that at
    which it came to lie where it is (on Windows, was created).
    """
    try:
        status = os.stat(file)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def short_hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def pack(
    root: str | Path | None,
    manifest: pd.DataFrame,
    folder: str | Path,
    size: int | None = None,
    channels: int | None = None,
    progress: Progress = silent,
    missing: Missing = "refuse",
) -> Packed:
    """Decode once into ``folder``; return the store's pixels, :class:`Packed`, of shape (N, C, H,
    W).

    A second call finds the store and only verifies it.  Another process that packs the same images
    is waited for.  A store of the same folder's images as they were before is removed.  With
    ``missing`` "skip" the images that are not there or cannot be decoded are left out, and ``rows``
    of the result are those that remain.  ``progress(done, total)`` counts images.
    """
    if manifest.empty:
        raise DataError("the manifest is empty: there is no image to pack")
    root = data_root(root)
    folder, name, count = Path(folder), store_name(root, manifest, size, channels), len(manifest)
    found = whole_store(folder, name, count, missing)
    if found is not None:
        return found

    def fill(sink: Sink) -> Facts:
        return decode_all(sink, root, manifest, size, channels, missing, progress)

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"{name.what}.lock"):
            found = whole_store(folder, name, count, missing)  # another may have been at it
            if found is None:
                remove_stale(folder, name)
                found = write_store(folder / f"{'-'.join(name)}.npy", fill, count)
    except (OSError, WriteError) as error:
        cause = error.__cause__ if isinstance(error, WriteError) else error
        said = getattr(cause, "strerror", None) or "not everything was written"
        raise DataError(
            f"{folder}: cannot keep the packed pixels there ({said}); free space or choose another "
            f"folder"
        ) from None
    return found


def whole_store(folder: Path, name: Name, count: int, missing: Missing) -> Packed | None:
    """The store of that name, packed from whichever folder, if it is whole and has every image that
    it must have.
    """
    for path in sorted(folder.glob(f"{name.what}-{name.state}-*.npy")):
        try:
            file = Held(path)
        except FileNotFoundError:  # another process has just removed it
            continue
        facts = verified(file.number, count)
        if facts is not None:
            there = facts["channels"] > 0
            if there.all() or missing == "skip":
                return Packed(path, np.flatnonzero(there), file)
    return None


def verified(number: int, count: int) -> Facts | None:
    """The facts of the ``count`` images in an open store if each has the digest it was written
    with, else None.
    """
    try:
        facts = read_facts(number)
        if facts is None or len(facts) != count:
            return None
        same = hashed(lambda rows: mapped(number)[rows], count) == facts["digest"]
    except Exception:  # a damaged header can make numpy raise anything
        return None
    return facts if same.all() else None


def remove_stale(folder: Path, name: Name) -> None:
    """Remove the stores of the same folder's images in an earlier state, and what a killed process
    left.
    """
    stores = set(folder.glob(f"{name.what}-*-{name.home}.npy"))
    current = set(folder.glob(f"{name.what}-{name.state}-*.npy"))
    for path in (stores - current) | set(folder.glob(f".{name.what}-*.tmp")):
        with contextlib.suppress(OSError):  # on Windows, while another process reads it
            path.unlink()


def write_store(path: Path, fill: Callable[[Sink], Facts], count: int) -> Packed:
    """Write the store whole, or leave what was there: ``fill`` puts the pixels into a sink and
    gives the facts.
    """
    with atomic(path) as temporary:

        def sink(shape: Shape) -> Put:
            header = {"descr": "|u1", "fortran_order": False, "shape": (count, *shape)}
            with open(temporary, "wb") as file:
                np.lib.format.write_array_header_1_0(file, header)
                begin = file.tell()

            def put(first: int, pixels: Sequence[Pixels]) -> None:
                with open(temporary, "r+b") as file:
                    file.seek(begin + first * math.prod(shape))
                    file.write(b"".join(one.data for one in pixels))

            return put

        facts = fill(sink)
        with open(temporary, "ab") as file:
            np.save(file, facts)
            np.save(file, digest_of(facts))
    return Packed(path, np.flatnonzero(facts["channels"]))

"""Many images, decoded part by part; on Linux by several processes.

To read a small picture is mostly Python, which threads would do in turns. So the parts of a large
set are shared out among processes, which put the pixels where they belong themselves, and send back
only what is known of each image.
"""

import hashlib
import math
import mmap
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from multiprocessing import current_process
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from joblib import cpu_count
from torch.utils.data import DataLoader, Dataset

from .decoding import NotAnImage, Picture, Pixels
from .manifest import DataError

PART = 16  # images that are decoded before they are kept
MANY, PROCESSES = 1000, 8  # so many images are shared out, among at most so many processes
FACTS = np.dtype([("digest", "<u8"), ("channels", "u1"), ("bits", "u1")])
"""What is kept of an image beside its pixels: their digest, the file's own channels (0: there is no
image) and bits.
"""

Facts = npt.NDArray[np.void]
Read = Callable[[int], Picture]
Progress = Callable[[int, int], None]
Shape = tuple[int, ...]
Put = Callable[[int, Sequence[Pixels]], object]


class Colour(Exception):
    """A colour image in a set that was taken for grey."""


class Known(NamedTuple):
    """The facts of images one after the other, and what is wrong with those not to be had."""

    facts: Facts
    faults: list[NotAnImage]


def silent(done: int, total: int) -> None:
    """No progress is shown."""


def nowhere(first: int, pixels: Sequence[Pixels]) -> None:
    """The pixels are not kept."""


@dataclass(frozen=True)
class Decoding(Dataset["Known | Exception"]):
    """The images 0..``count`` that ``read`` gives, part by part.

    ``shape``: what all are to have (:func:`fitted`), by default whatever each has. ``put(first,
    pixels)`` keeps those from ``first`` on; it may be called in another process, and in any order.
    """

    read: Read
    count: int
    shape: Shape | None = None
    put: Put = nowhere
    ended: Pixels = field(default_factory=lambda: shared(1))  # not 0: nothing more is decoded

    def __len__(self) -> int:
        return math.ceil(self.count / PART)

    def __getitem__(self, number: int) -> Known | Exception:
        """A part's facts, its pixels put away; or what ends the decoding.

        Returned, since no process can raise it in another.
        """
        if self.ended[0]:
            return Known(np.zeros(0, FACTS), [])
        first = number * PART
        facts = np.zeros(min(PART, self.count - first), FACTS)
        faults: list[NotAnImage] = []
        part = []
        try:
            for place in range(len(facts)):
                try:
                    pixels, own, bits = self.decoded(first + place)
                except NotAnImage as error:
                    faults.append(error)
                    pixels, own, bits = np.zeros(self.shape or 0, np.uint8), 0, 0
                facts[place] = digest(pixels), own, bits
                part.append(pixels)
            self.put(first, part)
        except (DataError, Colour, OSError) as error:
            return error
        return Known(facts, faults)

    def decoded(self, row: int) -> tuple[Pixels, int, int]:
        """An image's pixels, and its file's own channels and bits."""
        pixels, bits = self.read(row)
        own = len(pixels)
        return (pixels if self.shape is None else fitted(pixels, self.shape, row)), own, bits

    def parts(self) -> Iterable[Known | Exception]:
        """All parts in order."""
        may_fork = sys.platform == "linux" and not current_process().daemon
        if self.count < MANY or not may_fork:
            return map(self.__getitem__, range(len(self)))
        loader = DataLoader(
            self,
            batch_size=None,
            collate_fn=unchanged,
            num_workers=min(cpu_count(), PROCESSES),
            multiprocessing_context="fork",
            generator=torch.Generator(),  # it draws a seed, and leaves everybody else's alone
        )
        try:
            return iter(loader)
        except OSError:  # the system lets no further process begin
            return map(self.__getitem__, range(len(self)))


def unchanged(part: Any) -> Any:
    return part


def gather(decoding: Decoding, progress: Progress = silent) -> Known:
    """Decode and keep every image, zeros where there is none; raise what ends the decoding.

    DataError, too, if one of the processes was ended from outside.
    """
    try:
        return all_parts(decoding, progress)
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise DataError(
            "a process that decoded images was ended by the system or by somebody, perhaps for "
            "lack of memory: try again with less else running"
        ) from None


def all_parts(decoding: Decoding, progress: Progress) -> Known:
    """The parts of a decoding as one; what ends it is raised once all processes have ended."""
    facts = np.zeros(decoding.count, FACTS)
    faults: list[NotAnImage] = []
    done = 0
    ended: Exception | None = None
    for part in decoding.parts():
        if ended is not None:
            continue  # the processes end as they would have, one empty part after the other
        if isinstance(part, Exception):
            ended = part
            decoding.ended[0] = 1
            continue
        facts[done : done + len(part.facts)] = part.facts
        faults += part.faults
        done += len(part.facts)
        progress(done, decoding.count)
    if ended is not None:
        raise ended
    return Known(facts, faults)


def shared(*shape: int) -> Pixels:
    """Zeros in memory that processes which this one forks write to as well."""
    return np.frombuffer(mmap.mmap(-1, math.prod(shape)), np.uint8).reshape(shape)


def fitted(pixels: Pixels, shape: Shape, row: int) -> Pixels:
    """The pixels in the ``shape`` (C, H, W) of all; a grey image's one channel is repeated."""
    channels = shape[0]
    if len(pixels) > channels:
        raise Colour
    if len(pixels) < channels:
        pixels = np.repeat(pixels, channels, axis=0)
    if pixels.shape != shape:
        raise DataError(
            f"row {row}: the image is {pixels.shape} (channels, height, width), others are "
            f"{shape}; give a size to make them alike (--size)"
        )
    return pixels


def digest(pixels: Pixels) -> int:
    """64 bits that tell one image's pixels and shape from another's."""
    raw = hashlib.sha256(pixels.data)
    raw.update(str(pixels.shape).encode())
    return int.from_bytes(raw.digest()[:8], "little")

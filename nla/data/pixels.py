"""All images of a manifest: decoded in order, in bounded memory, alike in size and channels.

A set is RGB if any of its images has colour, else grey; the grey ones of an RGB set have their one
channel repeated. The first image that can be decoded says which it is taken for; a colour one among
grey ones makes it start anew as RGB.
"""

import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from joblib import cpu_count
from torch import Tensor

from .decoding import NotAnImage, Picture, Pixels, decoder
from .gathering import (
    PART,
    Colour,
    Decoding,
    Facts,
    Known,
    Progress,
    Put,
    Read,
    Shape,
    digest,
    gather,
    shared,
    silent,
)
from .manifest import DataError, class_names, data_root

if TYPE_CHECKING:
    from .store import Packed

Sink = Callable[[Shape], Put]


def digests(images: "Tensor | Packed") -> npt.NDArray[np.uint64]:
    """A digest of each image's pixels and shape, uint64 (N,): equal images have equal digests.

    Those of a packed store come from its file and cost nothing.
    """
    if not isinstance(images, Tensor):
        facts = images.facts()
        if facts is not None:
            return facts["digest"].astype(np.uint64)
    return hashed(lambda rows: images[rows].cpu().numpy(), len(images))


def hashed(fetch: Callable[[slice], Pixels], count: int) -> npt.NDArray[np.uint64]:
    """The digests of ``count`` images, computed in threads; ``fetch`` gives a slice of them, (b, C,
    H, W).
    """

    def part(start: int) -> list[int]:
        pixels = np.ascontiguousarray(fetch(slice(start, start + PART)))
        return [digest(one) for one in pixels]

    with ThreadPoolExecutor(cpu_count()) as threads:
        parts = threads.map(part, range(0, count, PART))
        return np.fromiter(chain.from_iterable(parts), np.uint64, count)


def collect(read: Read, count: int, channels: int | None, sink: Sink, progress: Progress) -> Known:
    """:func:`gather` into ``sink(shape)``, ``shape`` being that of all images; a DataError if they
    differ.

    ``sink`` is called again if the set turns out to have colours, and not at all if no image can be
    had.
    """
    first = first_picture(read, count)
    if first is None:
        return gather(Decoding(read, count), progress)
    own, height, width = first.pixels.shape
    shape = (channels or own, height, width)
    with contextlib.suppress(Colour):
        return gather(Decoding(read, count, shape, sink(shape)), progress)
    shape = (3, height, width)
    return gather(Decoding(read, count, shape, sink(shape)), progress)


def first_picture(read: Read, count: int) -> Picture | None:
    """The first image that can be had."""
    for row in range(count):
        with contextlib.suppress(NotAnImage):
            return read(row)
    return None


def decode_all(
    sink: Sink,
    root: str | Path,
    manifest: pd.DataFrame,
    size: int | None,
    channels: int | None,
    missing: str,
    progress: Progress = silent,
) -> Facts:
    """Put the images into ``sink``, give the facts of all; a DataError if ``missing`` is "refuse"
    and there are some.
    """
    read = decoder(root, manifest, size, channels)
    return judged(collect(read, len(manifest), channels, sink, progress), missing)


def in_memory(
    root: str | Path, manifest: pd.DataFrame, size: int | None, channels: int | None, missing: str
) -> tuple[Tensor, Facts]:
    """The images that can be had as one tensor, and the facts of all; a DataError if ``missing`` is
    "refuse".
    """
    count, images = len(manifest), np.empty((0, channels or 1, size or 0, size or 0), np.uint8)

    def sink(shape: Shape) -> Put:
        nonlocal images
        whole = images = shared(count, *shape)

        def put(first: int, pixels: Sequence[Pixels]) -> None:
            for row, one in enumerate(pixels, first):
                whole[row] = one

        return put

    facts = decode_all(sink, root, manifest, size, channels, missing)
    there = facts["channels"] > 0
    return torch.from_numpy(images if there.all() else images[there]), facts


def read_pixels(
    root: str | Path | None,
    manifest: pd.DataFrame,
    size: int | None = None,
    channels: int | None = None,
) -> Tensor:
    """Decode all images of ``manifest`` under ``root`` into memory: a uint8 tensor (N, C, H, W).

    ``channels`` is 1 or 3, by default 3 if any of them has colour.  A DataError counts those that
    cannot be had.
    """
    return in_memory(data_root(root), manifest, size, channels, "refuse")[0]


def judged(known: Known, missing: str) -> Facts:
    """The facts, or a DataError that counts the faults, unless they may be ``missing`` and other
    images remain.
    """
    facts, faults = known
    bad, count = len(faults), len(facts)
    if not bad or (missing == "skip" and bad < count):
        return facts
    others = f", and {bad - 1} more" if bad > 1 else ""
    remedy = "`nla data check --out FILE` lists all of them"
    if bad < count:
        remedy += ", `nla train --missing skip` leaves them out (evaluate and data pack too)"
    first = faults[0]
    raise DataError(
        f"{bad} of {count} images cannot be had: {first.file}, {first.where}: {first.wrong}"
        f"{others}; {remedy}"
    )


def leave_out(manifest: pd.DataFrame, facts: Facts) -> pd.DataFrame:
    """The rows whose images could be had, numbered anew, with notes of what was left out and what
    was assumed.

    A DataError if a split, or a class of the training images, would be gone.
    """
    there = facts["channels"] > 0
    kept = manifest[there].reset_index(drop=True)
    notes = list(manifest.attrs.get("notes", ()))
    gone = int((~there).sum())
    if gone:
        refuse_gaps(manifest, kept)
        notes.append(
            f"{gone} of {len(manifest)} images are not there or cannot be decoded: left out "
            f"(`nla data check --out FILE` lists them)"
        )
    kept.attrs["notes"] = notes + assumptions(facts[there])
    return kept


def refuse_gaps(before: pd.DataFrame, after: pd.DataFrame) -> None:
    """Raise a DataError if ``after`` lacks a split, or a class among its training images, that was
    there ``before``.
    """
    names = class_names(before)
    lost = [f"the split {name}" for name in sorted(set(before["split"]) - set(after["split"]))]
    labels = [set(part.loc[part["split"] == "train", "label"]) for part in (before, after)]
    lost += [f"the training images of {names[label]}" for label in sorted(labels[0] - labels[1])]
    if lost:
        raise DataError(
            f"without the images that are not there or cannot be decoded, {', '.join(lost)} would "
            f"be gone; copy them again, `nla data check --out FILE` lists them"
        )


def assumptions(facts: Facts) -> list[str]:
    """What was assumed of the files, in sentences."""
    notes, count = [], len(facts)
    grey = int((facts["channels"] == 1).sum())
    if 0 < grey < count:
        notes.append(f"{grey} of {count} images are grey among colour ones: taken as RGB")
    bits, numbers = np.unique(facts["bits"][facts["bits"] > 0], return_counts=True)
    if len(bits):
        taken = ", ".join(f"{number} as {bit}-bit" for bit, number in zip(bits, numbers))
        notes.append(
            f"{numbers.sum()} images have 16 bits a value, made 8 by each one's largest: {taken}"
        )
    return notes

"""From one file, or one row of a csv, to one image of 8-bit pixels, upright, grey or RGB.

What cannot be turned into such pixels without guessing is refused: :class:`NotAnImage` says which
file, where, and why.
"""

import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image, ImageOps, UnidentifiedImageError

from .ferplus import fer2013_csv
from .manifest import BOX, DataError
from .parsing import table

Pixels = npt.NDArray[np.uint8]
Box = Sequence[int] | npt.NDArray[np.int64]

LARGEST = 64_000_000  # pixels
GREY = ("1", "L", "LA")  # Pillow's modes
USUAL = ("JPEG", "PNG")  # its formats
NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
ABSENT = "there is no such file"
MACHINE = (errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ETIMEDOUT)


class NotAnImage(DataError):
    """A file that is not there or that holds no whole image: ``file``, ``where`` in it, and what is
    ``wrong``.
    """

    def __init__(self, file: str | Path, wrong: str, where: str = "") -> None:
        self.file, self.wrong, self.where = str(file), wrong, where
        place = f"{file}, {where}" if where else str(file)
        super().__init__(f"{place}: {wrong}; copy it again or leave it out")

    def __reduce__(self) -> tuple[type["NotAnImage"], tuple[str, str, str]]:
        return NotAnImage, (self.file, self.wrong, self.where)  # from one process to another


class Picture(NamedTuple):
    """Pixels (C, H, W), and as how many bits their values were taken.

    ``bits`` is 8, 12 or 16 for a file of 16 bits a value, 0 for an ordinary one of 8.
    """

    pixels: Pixels
    bits: int


def open_image(path: str | Path) -> Image.Image:
    """A PIL image of mode L or RGB from a file of any mode; a :class:`NotAnImage` if it cannot be
    had.

    Palette, CMYK and alpha become RGB, values of 16 bits 8 (:func:`eight_bits`), and rotated
    photographs are set upright.
    """
    return read_image(path)[0]


def read_image(
    path: str | Path, box: Box | None = None, where: str = ""
) -> tuple[Image.Image, int]:
    """:func:`open_image`'s image, and as how many bits its values were taken (:class:`Picture`).

    ``box`` (x, y, width, height), if given, is cut out.
    """
    try:
        with opened(path) as image:
            stored = image.size
            upright, bits = plain(image)
        return (upright if box is None else cut(upright, box, stored)), bits
    except OSError as error:
        if error.errno in MACHINE:
            raise DataError(
                f"{path}: cannot be read now ({os.strerror(error.errno or 0)}); see to "
                f"that and try again"
            ) from None
        raise NotAnImage(path, reason(path, error), where) from None
    except Exception as error:  # a damaged file can make a decoder raise anything
        raise NotAnImage(path, reason(path, error), where) from None


def opened(path: str | Path) -> Image.Image:
    """Pillow's image of a file: the two usual formats are tried before its forty others."""
    try:
        return Image.open(path, formats=USUAL)
    except UnidentifiedImageError:
        return Image.open(path)


class Refused(ValueError):
    """Pixels that cannot be taken for 8-bit ones; the message is a part of a sentence."""


def reason(path: str | Path, error: Exception) -> str:
    """What is wrong with a file, in this kit's words."""
    if isinstance(error, Refused):
        said = str(error)
    elif isinstance(error, OSError) and error.errno in NOT_THERE:
        return ABSENT
    elif isinstance(error, IsADirectoryError):
        said = "it is a folder"
    elif isinstance(error, Image.DecompressionBombError):
        said = "it is too large; shrink it first"
    elif isinstance(error, UnidentifiedImageError):
        said = "of no known format" if os.path.getsize(path) else "the file is empty"
    else:
        said = "cut off or damaged"
    return f"not a whole image ({said})"


def plain(image: Image.Image) -> tuple[Image.Image, int]:
    """The opened ``image`` upright, of mode L or RGB, and as how many bits it was taken."""
    if image.width * image.height > LARGEST:
        raise Refused(f"{image.width} x {image.height} pixels is too large; shrink it first")
    if image.mode == "F":
        raise Refused("its pixels are fractions of unknown range; save it as 8-bit")
    deep = any("16" in str(tile[3]) for tile in getattr(image, "tile", ()))
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith("I"):
        return eight_bits(image)
    image.load()
    mode = "L" if image.mode in GREY else "RGB"
    if image.mode != mode:
        image = image.convert(mode)
    if deep and np.asarray(image).max() < 16:
        raise Refused("its 16-bit colours use under a sixteenth of their range; save it as 8-bit")
    return image, 16 if deep else 0


def eight_bits(image: Image.Image) -> tuple[Image.Image, int]:
    """A grey image of mode L from one of integers, and as how many bits these were taken: 8, 12 or
    16.

    The largest value decides: up to 255 they are taken as 8-bit ones, up to 4095 as 12-bit, up to
    65535 as 16-bit, and the upper eight bits are kept.  Negative and larger ones are refused.
    """
    values = np.asarray(image)
    low = int(values.min())
    high = int(values.max())
    if low < 0 or high > 65535:
        raise Refused(f"its pixels, from {low} to {high}, are of unknown range; save it as 8-bit")
    bits = next(bits for bits in (8, 12, 16) if high < 2**bits)
    upper = values.astype(np.uint16) >> (bits - 8)
    return Image.fromarray(upper.astype(np.uint8)), bits


def cut(image: Image.Image, box: Box, stored: tuple[int, int]) -> Image.Image:
    """The part of ``image`` inside the face box (x, y, width, height).

    A box may reach over the border. Refused if less than half of it is inside, or if it only fits
    the picture as ``stored`` (width, height), before it was set upright.
    """
    x, y, width, height = (int(side) for side in box)
    left, top = max(x, 0), max(y, 0)
    right = min(x + width, image.width)
    bottom = min(y + height, image.height)
    said = f"the face box {[x, y, width, height]}"
    if left >= right or top >= bottom:
        raise Refused(f"{said} lies outside the image")
    inside = (right - left) * (bottom - top)
    if 2 * inside < width * height:
        raise Refused(
            f"{said} lies largely outside the image of {image.width} x {image.height}; if the "
            f"pictures are faces that were cut out already, leave the columns of the box out of "
            f"the csv"
        )
    fits = left == x and top == y and x + width <= stored[0] and y + height <= stored[1]
    if inside < width * height and fits:
        raise Refused(
            f"{said} fits the image as stored, {stored[0]} x {stored[1]}, but not upright as its "
            f"EXIF orientation turns it; save it upright, or give the box of the upright image"
        )
    return image.crop((left, top, right, bottom))


def parse_pixels(text: str) -> Image.Image:
    """A PIL image from one row of FER2013's ``pixels`` column."""
    if not (text.isascii() and text.replace(" ", "").isdigit()):
        raise Refused("the pixels are not numbers separated by blanks")
    values = np.fromstring(text, dtype=np.int64, sep=" ")
    if values.size != 48 * 48 or values.max() > 255:
        raise Refused(
            f"{values.size} pixels up to {values.max()}, expected 48 x 48 = 2304 from 0 to 255"
        )
    return Image.fromarray(values.astype(np.uint8).reshape(48, 48))


def decoder(
    root: str | Path,
    manifest: pd.DataFrame,
    size: int | None = None,
    channels: int | None = None,
) -> Callable[[int], Picture]:
    """Return ``read(i)``, the i-th row's image; a :class:`NotAnImage` names file and row if it is
    damaged.

    ``size`` resizes to size x size; ``channels`` is 1 or 3, by default what the file has.
    """
    source = csv_source(root, manifest) if "row" in manifest else file_source(root, manifest)

    def read(i: int) -> Picture:
        image, bits = source(i)
        if channels:
            image = image.convert("L" if channels == 1 else "RGB")
        if size and image.size != (size, size):
            image = image.resize((size, size), Image.Resampling.BILINEAR)
        values = np.atleast_3d(np.asarray(image))
        return Picture(np.ascontiguousarray(values.transpose(2, 0, 1)), bits)

    return read


def csv_source(
    root: str | Path, manifest: pd.DataFrame
) -> Callable[[int], tuple[Image.Image, int]]:
    """The images of FER2013's csv, in the order of ``manifest``."""
    path = fer2013_csv(root)
    rows = manifest["row"].to_numpy()
    column = table(path, ("pixels",))["pixels"]
    texts = column.reset_index(drop=True).reindex(rows, fill_value="").to_numpy(object)
    places = pd.Series(column.index).reindex(rows, fill_value=-1).to_numpy()
    lines = np.where(places < 0, rows + 2, places)  # of a row that is not there: where it would be

    def read(i: int) -> tuple[Image.Image, int]:
        try:
            return parse_pixels(texts[i]), 0
        except Refused as error:
            where = f"line {lines[i]}"
            raise NotAnImage(path, f"not a whole image ({error})", where) from None

    return read


def file_source(
    root: str | Path, manifest: pd.DataFrame
) -> Callable[[int], tuple[Image.Image, int]]:
    """The images of files, in the order of ``manifest``, cut to their face boxes if it has any."""
    paths, rows = manifest["path"].to_list(), manifest.index.to_list()
    boxes = manifest[list(BOX)].to_numpy() if "box_x" in manifest else [None] * len(paths)

    def read(i: int) -> tuple[Image.Image, int]:
        path = os.path.join(root, paths[i])
        return read_image(path, boxes[i], f"row {rows[i]}")

    return read

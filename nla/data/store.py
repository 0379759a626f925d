"""Pixels: decoding a manifest's images, and the packed store that keeps them as one array on disk.

A store is ``<what>-<state>.npy`` (N, C, H, W) and ``.sums.npy``, a checksum per block.  *what* hashes root, names,
boxes and the size asked for, *state* the sources' sizes and times: a stale store is told by its name, damaged or
missing blocks by their checksums, and only they are decoded again.  Memory stays bounded: a block is decoded, written
and forgotten, and a batch is read when it is asked for.
"""

import hashlib
import os
import zlib
from pathlib import Path

import numpy as np
import PIL
import torch
from filelock import FileLock
from joblib import Parallel, delayed
from PIL import Image, ImageOps

from .datasets import reader
from .ferplus import fer2013_csv
from .manifest import DataError
from .parsing import table

VERSION, BLOCK, LARGEST = 2, 512, 64_000_000


def load(name, root=None, size=None, channels=None, cache=None, **options):
    """Read the set ``name`` under ``root``: (images uint8 (N, C, H, W), manifest), row i for image i.

    ``root`` defaults to the environment variable ``NLA_DATA_ROOT``, else ``data``.  ``cache``, a folder, keeps the
    pixels packed there and out of memory (:func:`pack`); ``options`` go to the reader ``read_<name>``.
    """
    root = root or os.environ.get("NLA_DATA_ROOT", "data")
    manifest = reader(name)(root, **options)
    images = (
        pack(root, manifest, cache, size, channels)
        if cache
        else read_pixels(root, manifest, size, channels)
    )
    return images, manifest


def open_image(path, box=None):
    """A PIL image of mode L or RGB from a file of any mode.

    16-bit grey keeps its upper eight bits, CMYK, palette and alpha become RGB, rotated photographs are set upright,
    and ``box`` (x, y, width, height), if given, is cut out.
    """
    with Image.open(path) as image:
        if image.width * image.height > LARGEST:
            raise ValueError(f"{image.width} x {image.height} pixels is too large; shrink it first")
        ImageOps.exif_transpose(image, in_place=True)
        if image.mode.startswith("I"):
            image = Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
        if image.mode == "F":
            raise ValueError("its pixels are fractions of unknown range; save it as 8-bit")
        image.load()
        mode = "L" if image.mode in ("1", "L", "LA") else "RGB"
        image = image if image.mode == mode else image.convert(mode)
    if box is not None:
        edges = np.clip([box[0], box[1], box[0] + box[2], box[1] + box[3]], 0, image.size * 2)
        if (edges[:2] >= edges[2:]).any():
            raise ValueError(f"the face box {box.tolist()} lies outside the image")
        image = image.crop(edges.tolist())
    return image


def parse_pixels(text):
    """A PIL image from one row of FER2013's ``pixels`` column."""
    if not (text.isascii() and text.replace(" ", "").isdigit()):
        raise ValueError("the pixels are not numbers separated by blanks")
    values = np.fromstring(text, dtype=np.int64, sep=" ")
    if values.size != 48 * 48 or values.max() > 255:
        raise ValueError(
            f"{values.size} pixels up to {values.max()}, expected 48 x 48 = 2304 from 0 to 255"
        )
    return Image.fromarray(values.astype(np.uint8).reshape(48, 48))


def decoder(root, manifest, size=None, channels=None):
    """Return ``read(i)``, the i-th image as uint8 (C, H, W); a DataError names file and row if it is damaged.

    ``size`` resizes to size x size; ``channels`` is 1 or 3, by default what the file has.
    """
    if "row" in manifest:
        path = fer2013_csv(root)
        texts = (
            table(path, ("pixels",))["pixels"]
            .reindex(manifest["row"] + 2, fill_value="")
            .to_numpy(object)
        )
        sources = [(path, f"line {row + 2}") for row in manifest["row"]]
    else:
        sources = [
            (os.path.join(root, path), f"row {row}") for row, path in manifest["path"].items()
        ]
        boxes = (
            manifest.filter(like="box_").to_numpy()
            if "box_x" in manifest
            else [None] * len(sources)
        )

    def read(i):
        path, where = sources[i]
        try:
            image = parse_pixels(texts[i]) if "row" in manifest else open_image(path, boxes[i])
            if channels:
                image = image.convert("L" if channels == 1 else "RGB")
            if size and image.size != (size, size):
                image = image.resize((size, size), Image.Resampling.BILINEAR)
        except Exception as error:  # a damaged file can make a decoder raise anything
            raise DataError(
                f"{path}, {where}: not a whole image ({error}); copy it again or leave it out"
            ) from None
        pixels = np.asarray(image)
        return np.atleast_3d(pixels).transpose(2, 0, 1)

    return read


def blocks(root, manifest, size, channels, starts):
    """Decode, with threads where files are large enough; yield (start, images uint8 (b, C, H, W)) for each block."""
    read, shape = decoder(root, manifest, size, channels), None

    def place(images, i, row):
        pixels = read(row)
        if pixels.shape != shape:
            raise DataError(
                f"row {row}: the image is {pixels.shape} (channels, height, width), the first is {shape}; "
                f"give a size and channels to make them alike"
            )
        images[i] = pixels

    for start in starts:
        if shape is None:  # reading comes first: it says which file is missing
            shape = read(0).shape
            large = (
                "path" in manifest
                and os.path.getsize(os.path.join(root, manifest["path"].iloc[0])) > 2**13
            )
        images = np.empty((min(BLOCK, len(manifest) - start), *shape), np.uint8)
        jobs = (delayed(place)(images, i, start + i) for i in range(len(images)))
        Parallel(-1 if large else 1, "threading", batch_size=64)(jobs)
        yield start, images


def read_pixels(root, manifest, size=None, channels=None):
    """Decode all images of ``manifest`` under ``root`` into memory: a uint8 tensor (N, C, H, W)."""
    starts = range(0, len(manifest), BLOCK)
    return torch.from_numpy(
        np.concatenate([part for _, part in blocks(root, manifest, size, channels, starts)])
    )


def store_name(root, manifest, size, channels):
    """(what, state), two hashes that name the store; a DataError names the first source that is missing."""
    sources = (
        [fer2013_csv(root)]
        if "row" in manifest
        else [os.path.join(root, path) for path in manifest["path"]]
    )
    columns = manifest[
        [name for name in manifest if name in ("row", "path") or name.startswith("box_")]
    ]
    what = f"{Path(root).resolve()} {size} {channels}\n{columns.to_csv(index=False)}"
    try:
        state = f"{VERSION} {BLOCK} {PIL.__version__} {[(s.st_size, s.st_mtime_ns) for s in map(os.stat, sources)]}"
    except OSError as error:
        raise DataError(
            f"{error.filename}: listed but not there ({error.strerror}); see `nla data check`"
        ) from None
    return [hashlib.blake2b(text.encode(), digest_size=8).hexdigest() for text in (what, state)]


def digests(images: "torch.Tensor | Packed") -> np.ndarray:
    """A digest of each image's pixels and shape, uint64 (N,): equal images have equal digests."""
    result = np.empty(len(images), np.uint64)
    for rows in np.array_split(np.arange(len(images)), max(1, len(images) // BLOCK)):
        for row, pixels in zip(rows, np.ascontiguousarray(images[rows]), strict=True):
            raw = hashlib.blake2b(pixels, digest_size=8, person=str(pixels.shape).encode()[:16])
            result[row] = int.from_bytes(raw.digest(), "little")
    return result


class Packed:
    """Pixels in a packed store: ``packed[rows]`` reads uint8 (b, C, H, W), rows being what indexes a numpy array.

    The file is mapped anew for each batch, so that nothing that was read stays in this process's memory.
    """

    def __init__(self, path, rows=slice(None)):
        stored = np.load(path, mmap_mode="r").shape
        self.path, self.rows = path, np.arange(stored[0])[rows]
        self.shape = (len(self.rows), *stored[1:])

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, rows):
        return torch.from_numpy(np.array(np.load(self.path, mmap_mode="r")[self.rows[rows]]))

    def subset(self, rows):
        """The same store, seen through some of its rows."""
        return Packed(self.path, self.rows[rows])


def pack(root, manifest, folder, size=None, channels=None, progress=lambda done, total: None):
    """Decode once into ``folder``; return the store's pixels, :class:`Packed`, of shape (N, C, H, W).

    Blocks that are there and whole are kept, so that a second call only checks and an interrupted one goes on; stale
    stores of the same images are removed.  Another process that packs the same images is waited for.
    ``progress(done, total)`` counts images.
    """
    folder, count = Path(folder), len(manifest)
    what, state = store_name(root, manifest, size, channels)
    store, log = folder / f"{what}-{state}.npy", folder / f"{what}-{state}.sums.npy"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"{what}.lock"):
            for stale in set(folder.glob(f"{what}-*")) - {store, log}:
                stale.unlink()
            whole = whole_blocks(store, log, count)
            for start, images in blocks(
                root, manifest, size, channels, np.flatnonzero(~whole) * BLOCK
            ):
                if not whole.any():
                    np.lib.format.open_memmap(store, "w+", np.uint8, (count, *images.shape[1:]))
                    np.lib.format.open_memmap(log, "w+", np.uint32, whole.shape)
                write(store, start, images)
                write(log, start // BLOCK, np.array([zlib.crc32(images)], np.uint32))
                whole[start // BLOCK] = True
                progress(min(start + BLOCK, count), count)
    except OSError as error:
        raise DataError(
            f"{folder}: cannot keep the packed pixels there ({error}); free space or choose another "
            f"folder"
        ) from None
    return Packed(store)


def write(path, at, values):
    """Write ``values`` into the npy file, from its row ``at`` on, without mapping it."""
    with open(path, "r+b") as file:
        file.seek(np.load(path, mmap_mode="r").offset + at * values[0].nbytes)
        file.write(values)


def whole_blocks(store, log, count):
    """Which blocks of the store still have their checksums, a bool for each; none where a file is damaged."""
    starts = range(0, count, BLOCK)
    try:
        sums = [
            zlib.crc32(np.load(store, mmap_mode="r")[start : start + BLOCK]) for start in starts
        ]
        return np.array(sums, np.uint32) == np.load(log).reshape(len(starts))
    except Exception:  # a damaged header can make numpy raise anything
        return np.zeros(len(starts), bool)

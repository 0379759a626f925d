"""Pixels: decoding a manifest's images, and the packed store that keeps them as one uint8 array on disk.

A store is ``<what>-<state>.npy`` (N, C, H, W) and a ``.json`` with a checksum per block.  *what* hashes root,
names, boxes and the size asked for, *state* the sources' sizes and times: a stale store is told by its name, a
damaged or unfinished one by its checksums, and either is mended.  Memory stays bounded: a block is decoded,
written and forgotten, and the array comes back memory-mapped.
"""

import hashlib
import json
import os
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL
import torch
from PIL import Image, ImageOps

from . import datasets
from .manifest import DataError
from .tables import table

VERSION, BLOCK, LARGEST = 1, 2048, 64_000_000
READERS = {"rafdb": datasets.read_rafdb, "fer2013": datasets.read_fer2013, "ferplus": datasets.read_ferplus,
           "affectnet": datasets.read_affectnet, "folder": datasets.read_folder, "csv": datasets.read_csv}


def load(name, root=None, size=None, channels=None, cache=None, **options):
    """Read the set ``name`` under ``root``: (images uint8 (N, C, H, W), manifest), row i for image i.

    ``root`` defaults to the environment variable ``NLA_DATA_ROOT``, else ``data``.  ``cache``, a folder, keeps
    the pixels packed there (:func:`pack`); ``options`` go to the reader ``read_<name>``.
    """
    if name not in READERS:
        raise DataError(f"no data set is called {name!r}; there are {', '.join(READERS)}")
    root = root or os.environ.get("NLA_DATA_ROOT", "data")
    manifest = READERS[name](root, **options)
    if cache:
        return pack(root, manifest, cache, size, channels), manifest
    return read_pixels(root, manifest, size, channels), manifest


def decode(path, size=None, channels=None, box=None):
    """One image file of any mode as uint8 (C, H, W); C is 1 or 3 as asked, or as the file has it.

    16-bit grey keeps its upper eight bits, CMYK, palette and alpha become RGB, rotated photographs are set
    upright; ``box`` (x, y, width, height) is cut out, then resized to ``size`` x ``size``.
    """
    with Image.open(path) as image:
        if image.width * image.height > LARGEST:
            raise ValueError(f"{image.width} x {image.height} pixels is too large; shrink it first")
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I"):
            image = Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
        grey = channels == 1 if channels else image.mode in ("1", "L", "LA")
        image = image.convert("L" if grey else "RGB")
        if box is not None:
            x, y, right, low = max(box[0], 0), max(box[1], 0), box[0] + box[2], box[1] + box[3]
            if x >= min(right, image.width) or y >= min(low, image.height):
                raise ValueError(f"the face box {[int(edge) for edge in box]} lies outside the image")
            image = image.crop((x, y, min(right, image.width), min(low, image.height)))
    return resized(image, size)


def resized(image, size):
    """A PIL image as uint8 (C, H, W), resized to ``size`` x ``size`` if that is given."""
    if size is not None and image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def parse_pixels(text, size=None, channels=None):
    """One row of FER2013's ``pixels`` column as uint8 (C, 48, 48)."""
    if not (text.isascii() and text.replace(" ", "").isdigit()):
        raise ValueError("the pixels are not numbers separated by blanks")
    values = np.fromstring(text, dtype=np.int64, sep=" ")
    if values.size != 48 * 48 or values.max() > 255:
        raise ValueError(f"{values.size} pixels up to {values.max()}, expected 48 x 48 = 2304 from 0 to 255")
    image = Image.fromarray(values.astype(np.uint8).reshape(48, 48))
    return np.repeat(resized(image, size), channels or 1, axis=0)


def decoder(root, manifest, size=None, channels=None):
    """Return ``read(i)``, the i-th image as uint8 (C, H, W); a DataError names file and row if it is damaged."""
    if "row" in manifest:
        path, rows = datasets.fer2013_csv(root), manifest["row"].to_numpy()
        texts = table(path, ("pixels",))["pixels"].to_numpy(object)
        if rows.max() >= len(texts):
            raise DataError(f"{path}: {len(texts)} rows, but the manifest speaks of row {rows.max()}; read it again")
        files, places = [path] * len(rows), [f"line {row + 2}" for row in rows]
    else:
        files = [Path(root) / path for path in manifest["path"]]
        places = [f"row {row}" for row in manifest.index]
        boxes = manifest.filter(like="box_").to_numpy() if "box_x" in manifest else [None] * len(manifest)

    def read(i):
        try:
            if "row" in manifest:
                return parse_pixels(texts[rows[i]], size, channels)
            return decode(files[i], size, channels, boxes[i])
        except Exception as error:  # a damaged file can make a decoder raise anything
            raise DataError(f"{files[i]}, {places[i]}: not a whole image ({error}); copy it again or leave it out") \
                from None

    return read


def blocks(root, manifest, size, channels, wanted=lambda start: True):
    """Decode in parallel; yield (start, images uint8 (b, C, H, W)) for each block that is ``wanted``."""
    read = decoder(root, manifest, size, channels)
    first = read(0)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in filter(wanted, range(0, len(manifest), BLOCK)):
            images = list(pool.map(read, range(start, min(start + BLOCK, len(manifest)))))
            odd = next((i for i, image in enumerate(images) if image.shape != first.shape), None)
            if odd is not None:
                raise DataError(f"row {start + odd}: the image is {images[odd].shape} (channels, height, width), the "
                                f"first one is {first.shape}; give a size (and channels) so that all become alike")
            yield start, np.stack(images)


def read_pixels(root, manifest, size=None, channels=None):
    """Decode all images of ``manifest`` under ``root`` into memory: a uint8 tensor (N, C, H, W).

    ``size`` resizes to size x size; without it all images must have one size.  ``channels`` is 1, 3 or, if not
    given, what the files have.
    """
    return torch.from_numpy(np.concatenate([images for _, images in blocks(root, manifest, size, channels)]))


def store_name(root, manifest, size, channels):
    """(what, state), two hashes that name the store; a DataError names the first source that is missing."""
    sources = [datasets.fer2013_csv(root)] if "row" in manifest else [Path(root) / path for path in manifest["path"]]
    columns = [name for name in manifest if name in ("row", "path") or name.startswith("box_")]
    what = f"{Path(root).resolve()} {size} {channels}\n{manifest[columns].to_csv(index=False)}"
    state = [f"{VERSION} {PIL.__version__}"]
    for i, path in enumerate(sources):
        try:
            stat = os.stat(path)
        except OSError as error:
            raise DataError(f"{path}, row {i}: listed but not there ({error.strerror}); `nla data check` lists all "
                            f"that is missing") from None
        state.append(f"{stat.st_size} {stat.st_mtime_ns}")
    return [hashlib.blake2b(text.encode(), digest_size=8).hexdigest() for text in (what, "\n".join(state))]


def pack(root, manifest, folder, size=None, channels=None, progress=lambda done, total: None):
    """Decode once into ``folder``; return the memory-mapped uint8 tensor (N, C, H, W).

    Blocks that are there and whole are kept, so that a second call only checks and an interrupted one goes on;
    stale stores of the same images are removed.  ``progress(done, total)`` counts images.
    """
    what, state = store_name(root, manifest, size, channels)
    whole, part, log = (Path(folder) / f"{what}-{state}{end}" for end in (".npy", ".npy.part", ".json"))
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        for stale in set(Path(folder).glob(f"{what}-*")) - {whole, part, log}:
            stale.unlink()
        ...
    except OSError as error:
        raise DataError(f"{folder}: cannot keep the packed pixels there ({error}); free space or choose another") \
            from None
    return torch.from_numpy(np.load(whole, mmap_mode="c"))

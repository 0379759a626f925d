"""Pixels: decoding a manifest's images, and the packed store that keeps them as one array on disk.

A store is ``<what>-<state>.npy`` (N, C, H, W) and a ``.json`` with a checksum per block.  *what* hashes root,
names, boxes and the size asked for, *state* the sources' sizes and times: a stale store is told by its name,
a damaged or unfinished one by its checksums, and either is mended.  Memory stays bounded: a block is decoded,
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

from .datasets import READERS
from .ferplus import fer2013_csv
from .manifest import DataError
from .parsing import table

VERSION, BLOCK, LARGEST = 1, 512, 64_000_000


def load(name, root=None, size=None, channels=None, cache=None, **options):
    """Read the set ``name`` under ``root``: (images uint8 (N, C, H, W), manifest), row i for image i.

    ``root`` defaults to the environment variable ``NLA_DATA_ROOT``, else ``data``.  ``cache``, a folder,
    keeps the pixels packed there (:func:`pack`); ``options`` go to the reader ``read_<name>``.
    """
    if name not in READERS:
        raise DataError(f"no data set is called {name!r}; there are {', '.join(READERS)}")
    root = root or os.environ.get("NLA_DATA_ROOT", "data")
    manifest = READERS[name](root, **options)
    if cache:
        return pack(root, manifest, cache, size, channels), manifest
    return read_pixels(root, manifest, size, channels), manifest


def open_image(path, box):
    """A PIL image of mode L or RGB from a file of any mode.

    16-bit grey keeps its upper eight bits, CMYK, palette and alpha become RGB, rotated photographs are set
    upright, and ``box`` (x, y, width, height), if given, is cut out.
    """
    with Image.open(path) as image:
        if image.width * image.height > LARGEST:
            raise ValueError(f"{image.width} x {image.height} pixels is too large; shrink it first")
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I"):
            image = Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
        if image.mode == "F":
            raise ValueError("its pixels are fractions of unknown range; save it as 8-bit")
        image = image.convert("L" if image.mode in ("1", "L", "LA") else "RGB")
    if box is not None:
        x, y, right, low = max(box[0], 0), max(box[1], 0), box[0] + box[2], box[1] + box[3]
        right, low = min(right, image.width), min(low, image.height)
        if x >= right or y >= low:
            raise ValueError(f"the face box {[int(edge) for edge in box]} lies outside the image")
        image = image.crop((x, y, right, low))
    return image


def parse_pixels(text):
    """A PIL image from one row of FER2013's ``pixels`` column."""
    if not (text.isascii() and text.replace(" ", "").isdigit()):
        raise ValueError("the pixels are not numbers separated by blanks")
    values = np.fromstring(text, dtype=np.int64, sep=" ")
    if values.size != 48 * 48 or values.max() > 255:
        raise ValueError(f"{values.size} pixels up to {values.max()}, expected 48 x 48 = 2304 from 0 to 255")
    return Image.fromarray(values.astype(np.uint8).reshape(48, 48))


def decoder(root, manifest, size=None, channels=None):
    """Return ``read(i)``, the i-th image as uint8 (C, H, W); a DataError names file and row if it is damaged.

    ``size`` resizes to size x size; ``channels`` is 1 or 3, by default what the file has.
    """
    if "row" in manifest:
        path, rows = fer2013_csv(root), manifest["row"].to_numpy()
        texts = table(path, ("pixels",))["pixels"].to_numpy(object)
        if rows.max() >= len(texts):
            raise DataError(f"{path}: {len(texts)} rows, but the manifest has row {rows.max()}; read it again")
        sources = [(path, f"line {row + 2}") for row in rows]
    else:
        sources = [(os.path.join(root, path), f"row {row}") for row, path in manifest["path"].items()]
        boxes = manifest.filter(like="box_").to_numpy() if "box_x" in manifest else [None] * len(sources)

    def read(i):
        path, where = sources[i]
        try:
            image = parse_pixels(texts[rows[i]]) if "row" in manifest else open_image(path, boxes[i])
            if channels:
                image = image.convert("L" if channels == 1 else "RGB")
            if size and image.size != (size, size):
                image = image.resize((size, size), Image.Resampling.BILINEAR)
        except Exception as error:  # a damaged file can make a decoder raise anything
            raise DataError(f"{path}, {where}: not a whole image ({error}); copy it again or leave it out") \
                from None
        pixels = np.asarray(image)
        return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))

    return read


def blocks(root, manifest, size, channels, wanted=lambda start: True):
    """Decode in parallel; yield (start, images uint8 (b, C, H, W)) for each block that is ``wanted``."""
    read, count = decoder(root, manifest, size, channels), len(manifest)
    first = read(0)

    def several(at, end):  # enough for a thread to be worth its while
        return [read(i) for i in range(at, min(at + 64, end))]

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in filter(wanted, range(0, count, BLOCK)):
            end = min(start + BLOCK, count)
            images = [image for part in pool.map(several, range(start, end, 64), [end] * BLOCK) for image in part]
            for i, image in enumerate(images):
                if image.shape != first.shape:
                    raise DataError(f"row {start + i}: the image is {image.shape} (channels, height, width), "
                                    f"the first is {first.shape}; give a size and channels to make them alike")
            yield start, np.stack(images)


def read_pixels(root, manifest, size=None, channels=None):
    """Decode all images of ``manifest`` under ``root`` into memory: a uint8 tensor (N, C, H, W)."""
    result = torch.empty(0)
    for start, images in blocks(root, manifest, size, channels):
        if start == 0:
            result = torch.empty((len(manifest), *images.shape[1:]), dtype=torch.uint8)
        result[start:start + BLOCK] = torch.from_numpy(images)
    return result


def store_name(root, manifest, size, channels):
    """(what, state), two hashes that name the store; a DataError names the first source that is missing."""
    sources = [fer2013_csv(root)] if "row" in manifest else [os.path.join(root, path) for path in manifest["path"]]
    columns = manifest[[name for name in manifest if name in ("row", "path") or name.startswith("box_")]]
    what = f"{Path(root).resolve()} {size} {channels}\n{columns.to_csv(index=False)}"
    state = f"{VERSION} {BLOCK} {PIL.__version__}"
    try:
        stats = [(stat.st_size, stat.st_mtime_ns) for stat in map(os.stat, sources)]
    except OSError as error:
        raise DataError(f"{error.filename}: listed but not there ({error.strerror}); `nla data check` lists all "
                        f"that is missing") from None
    return [hashlib.blake2b(text.encode(), digest_size=8).hexdigest() for text in (what, f"{state} {stats}")]


def pack(root, manifest, folder, size=None, channels=None, progress=lambda done, total: None):
    """Decode once into ``folder``; return the memory-mapped uint8 tensor (N, C, H, W).

    Blocks that are there and whole are kept, so that a second call only checks and an interrupted one goes
    on; stale stores of the same images are removed.  ``progress(done, total)`` counts images.
    """
    folder, count = Path(folder), len(manifest)
    what, state = store_name(root, manifest, size, channels)
    whole, part, log = (folder / f"{what}-{state}{end}" for end in (".npy", ".npy.part", ".json"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for stale in set(folder.glob(f"{what}-*")) - {whole, part, log}:
            stale.unlink()
        target = whole if whole.exists() else part
        sums = whole_blocks(target, log)
        if len(sums) < -(-count // BLOCK):
            for start, images in blocks(root, manifest, size, channels, lambda start: str(start) not in sums):
                if not sums:
                    np.lib.format.open_memmap(target, "w+", np.uint8, (count, *images.shape[1:]))
                with open(target, "r+b") as file:
                    file.seek(np.load(target, mmap_mode="r").offset + start * images[0].nbytes)
                    file.write(images)
                sums[str(start)] = zlib.crc32(images)
                log.with_suffix(".tmp").write_text(json.dumps(sums))
                os.replace(log.with_suffix(".tmp"), log)
                progress(min(start + BLOCK, count), count)
        os.replace(target, whole)
    except OSError as error:
        raise DataError(f"{folder}: cannot keep the packed pixels there ({error}); free space or choose another "
                        f"folder") from None
    return torch.from_numpy(np.load(whole, mmap_mode="c"))


def whole_blocks(target, log):
    """The checksums in ``log`` of those blocks of ``target`` that still have them, by first row."""
    try:
        return {start: crc for start, crc in json.loads(log.read_text()).items() if crc == zlib.crc32(
            np.load(target, mmap_mode="r")[int(start):int(start) + BLOCK])}
    except (OSError, EOFError, ValueError, AttributeError):
        return {}

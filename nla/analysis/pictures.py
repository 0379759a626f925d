"""Pictures for the browser, as data URLs: faces, the weight surface, the squares of a matrix."""

import base64
import io
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from nla.analysis.plane import SURFACE, WEIGHT_TOP, weight_grid
from nla.analysis.sheets import thumbnail
from nla.naw import NAW


class Pictures(Protocol):
    """Images by row of the manifest: a tensor, an array or a packed store."""

    def __getitem__(self, row: int, /) -> Any: ...


def image_url(image: npt.NDArray[np.uint8] | Image.Image, kind: str = "png") -> str:
    """An image, uint8 (H, W) or (H, W, 3), as a data URL."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, kind)
    return f"data:image/{kind};base64,{as_text(buffer.getvalue())}"


def figure_png(draw: Callable[[], Figure], dpi: int = 130) -> str:
    """A figure as a notebook keeps it: a PNG file in base64."""
    buffer = io.BytesIO()
    draw().savefig(buffer, format="png", dpi=dpi)
    return as_text(buffer.getvalue())


def as_text(raw: bytes) -> str:
    """Bytes in base64."""
    return base64.b64encode(raw).decode()


def sheet(
    images: Pictures,
    index: npt.NDArray[np.int64],
    columns: int,
    size: int,
    resample: Image.Resampling = Image.Resampling.BICUBIC,
) -> Image.Image:
    """All faces in one picture, in rows of ``columns``, each ``size`` pixels a side."""
    rows = -(-len(index) // columns)
    whole = Image.new("RGB", (columns * size, rows * size))
    for k, row in enumerate(index):
        face = Image.fromarray(thumbnail(images[int(row)]))
        down, across = divmod(k, columns)
        whole.paste(face.resize((size, size), resample), (across * size, down * size))
    return whole


def surface_url(naw: NAW, progress: float) -> str:
    """The weight surface as an image of the unit square, white where p_GT + p_NN > 1."""
    grid = weight_grid(naw, progress, 181)
    colours = SURFACE(grid / WEIGHT_TOP, bytes=True)[..., :3]
    place = np.arange(len(grid))
    outside = np.add.outer(place, place) >= len(grid)
    colours[outside] = 255
    return image_url(colours[::-1])


def surface_scale() -> dict[str, Any]:
    """What the shades of :func:`surface_url` stand for: name, colours from 0 to the top, top."""
    shades = [to_hex(SURFACE(share)) for share in np.linspace(0, 1, 9)]
    return {"name": "weight w*", "colours": shades, "top": WEIGHT_TOP}


def chequered_url(count: int) -> str:
    """The squares of a confusion matrix, (count, count), the diagonal darker."""
    place = np.arange(count)
    odd = np.add.outer(place, place) % 2 == 1
    squares = np.where(odd, 255, 244).astype(np.uint8)
    np.fill_diagonal(squares, 222)
    side = 60 * count
    picture = Image.fromarray(squares).resize((side, side), Image.Resampling.NEAREST)
    return image_url(picture)

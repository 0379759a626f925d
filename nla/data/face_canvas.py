"""The canvas that built-in faces are drawn on: where its pixels lie on a face, and shapes that cover them.

All lengths are in face units: the picture spans -1..1 both ways, y up. Colours are in 0..1.
"""

from types import SimpleNamespace as Face

import torch
from torch import Tensor

Colour = Tensor | float | tuple[float, float, float]


def bell(*offsets: Tensor) -> Tensor:
    """About exp(-q) of the sum q of the squared offsets, but zero from q = 4 on, and cheap."""
    q, *others = [offset**2 for offset in offsets]
    for other in others:
        q = q + other
    return (1 - 0.25 * q).clamp_(min=0).square_().square_()


def length(x: Tensor, y: Tensor) -> Tensor:
    """The distance from (0, 0)."""
    return (x**2 + y**2).sqrt()


class Canvas:
    """n pictures, ``rgb`` (n, 3, size, size), and where their pixels lie, (n, size, size).

    ``a, b`` are across and up on the picture; ``x, y`` on the face, as it is turned; ``u`` is abs(x),
    for what is alike on both sides, ``side`` its sign; ``r`` is 1 on the rim of the face, less within.
    ``face`` and ``hair`` are the shares of each pixel that they cover; ``px`` is the side of a pixel.
    """

    def __init__(self, f: Face, size: int) -> None:
        """Set up for the n faces ``f``, in front of their walls."""
        edge = (torch.arange(size, device=f.chin.device) + 0.5) * 2 / size - 1
        column, row = edge - f.pan, -edge[:, None] - f.lift
        cos, sin = torch.cos(f.roll), torch.sin(f.roll)
        self.px = 2 / size / f.zoom
        self.a = (column * cos + row * sin) / f.zoom
        self.b = (row * cos - column * sin) / f.zoom
        self._turn(f)
        light = 1 + 0.25 * self.b - 0.25 * (self.a**2 + self.b**2)
        self.rgb: Tensor = f.wall * light[:, None]

    def _turn(self, f: Face) -> None:
        """Lay the face, an egg with a jaw that is as deep as a dome with a nose, on the picture."""
        up = self.b - 0.05
        v = up / torch.where(self.b > 0.05, 0.9 * f.face_h, 0.05 - f.chin)
        width = f.face_w * (1 - f.jaw * v.clamp(max=0) ** 2)
        q = (self.a / width) ** 2 + v**2 * v.abs().sqrt()
        nose = bell(self.a / 0.13, (self.b + 0.12) / 0.2)
        depth = (1 - q).clamp(min=0) + 0.25 * nose
        self.x, self.y = self.a - f.yaw * depth, self.b - f.pitch * depth
        self.u, self.side, self.r = self.x.abs(), self.x.sign(), q.sqrt()
        self.face = self.inside((self.r - 1) * f.face_w)
        above = (self.b - 0.08).clamp(min=0)
        outline = length(self.a / (f.face_w + 0.09), above) - 1
        self.hair = self.inside(outline * 0.7) * (1 - f.bald)

    def bump(self, u: Tensor | float, y: Tensor, wide: Tensor | float, high: float) -> Tensor:
        """A soft spot about (u, y) and its mirror image: 1 in the middle, 0 twice so far off."""
        return bell((self.u - u) / wide, (self.y - y) / high)

    def band(self, low: Tensor, high: Tensor) -> Tensor:
        """The share of each pixel between two curves, heights over the pixels' columns."""
        below_high = ((high - self.y) / self.px).clamp(-0.5, 0.5)
        below_low = ((low - self.y) / self.px).clamp(-0.5, 0.5)
        return below_high.sub_(below_low).clamp_(min=0)

    def inside(self, distance: Tensor) -> Tensor:
        """The share of each pixel in a shape whose outline is so far off, less than 0 within."""
        return (0.5 - distance / self.px).clamp_(0, 1)

    def paint(self, cover: Tensor, *colour: Colour) -> None:
        """Lay a colour, the product of triples, numbers and maps, over that share of each pixel."""
        mixed = self.rgb.new_ones(1, 3, 1, 1)
        for part in colour:
            if isinstance(part, tuple):
                part = self.rgb.new_tensor(part)[:, None, None]
            elif isinstance(part, Tensor) and part.ndim == 3:
                part = part[:, None]
            mixed = mixed * part
        self.rgb.lerp_(mixed.expand(len(cover), 3, *mixed.shape[-2:]), cover[:, None])

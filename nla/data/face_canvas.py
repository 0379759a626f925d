"""The canvas of the built-in faces: pixels that know where they lie, and shapes that cover them.

All lengths are in face units: the picture spans -1..1 both ways, y up. Colours are in 0..1.
"""

from types import SimpleNamespace

import torch
from torch import Tensor

Colour = Tensor | float | tuple[float, float, float]


def bell(*offsets: Tensor) -> Tensor:
    """About exp(-q) of the sum q of the squared offsets, but zero from q = 4 on, and cheap."""
    q = offsets[0] ** 2
    for offset in offsets[1:]:
        q = q + offset**2
    return (1 - 0.25 * q).clamp_(min=0).square_().square_()


def length(x: Tensor, y: Tensor) -> Tensor:
    """The distance from (0, 0)."""
    return (x**2 + y**2).sqrt()


class Face(SimpleNamespace):
    """n faces: traits and action units (n, 1, 1), colours (n, 3, 1, 1), what is made of them."""

    def __getattr__(self, name: str) -> Tensor:
        raise AttributeError(f"these faces have no {name!r}, only {', '.join(vars(self))}")


class Canvas:
    """n pictures and where their pixels lie, each (n, size, size)."""

    rgb: Tensor  # (n, 3, size, size)
    px: Tensor  # the side of a pixel, (n, 1, 1)
    a: Tensor  # across the picture
    b: Tensor  # up the picture
    x: Tensor  # across the face, as it is turned
    y: Tensor  # up the face
    u: Tensor  # abs(x), for what is alike on both sides
    side: Tensor  # -1 or 1, the sign of x
    r: Tensor  # 1 on the rim of the face, less within
    face: Tensor  # the share of each pixel that the face covers
    hair: Tensor  # the share that is head and hair

    def __init__(self, f: Face, size: int) -> None:
        """Set up the pixels for the n faces ``f``; ``r`` and what follows it is for them to say."""
        edge = (torch.arange(size, device=f.wall.device) + 0.5) * 2 / size - 1
        column = edge - f.pan
        row = -edge[:, None] - f.lift
        cos = torch.cos(f.roll)
        sin = torch.sin(f.roll)
        self.px = 2 / size / f.zoom
        self.a = (column * cos + row * sin) / f.zoom
        self.b = (row * cos - column * sin) / f.zoom

    def turn(self, yaw: Tensor, pitch: Tensor, depth: Tensor) -> None:
        """Turn what stands out of the picture by ``depth``: sets x, y, u and side."""
        self.x = self.a - yaw * depth
        self.y = self.b - pitch * depth
        self.u = self.x.abs()
        self.side = self.x.sign()

    def bump(
        self,
        u: Tensor | float,
        y: Tensor | float,
        wide: Tensor | float,
        high: Tensor | float,
    ) -> Tensor:
        """A soft spot at (u, y) and its mirror image: 1 in the middle, 0 from twice ``wide`` on."""
        return bell((self.u - u) / wide, (self.y - y) / high)

    def band(self, low: Tensor, high: Tensor) -> Tensor:
        """The share of each pixel between two curves, given by their heights."""
        below = ((low - self.y) / self.px).clamp(-0.5, 0.5)
        share = ((high - self.y) / self.px).clamp(-0.5, 0.5)
        return share.sub_(below).clamp_(min=0)

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
        self.rgb.lerp_(mixed.expand_as(self.rgb), cover[:, None])

"""The parts of a built-in face, each drawn by a function of its own.

A part takes the canvas ``c`` (where the pixels lie, ``paint``) and the faces ``f``: traits and what
``move`` made of them as tensors (n, 1, 1), colours (n, 3, 1, 1), and action units ``f.a`` by FACS number.

**To add a part**, a monocle, say: write ``monocle(c, f)`` beside ``glasses`` below; ``c.inside`` of a
signed distance, ``c.band`` between two curves and ``c.bump`` about a point say what it covers,
``c.paint`` lays its colour there, times ``f.monocle``, 0 or 1. Name it in ``PARTS``, which goes from
the back to the front. ``draw_traits`` says how ``f.monocle`` comes about without changing every face.
"""

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from nla.data.face_canvas import Canvas, Face, bell, length
from nla.data.face_traits import UNITS

SHADOW, BLUSH = (0.55, 0.43, 0.41), (1.02, 0.7, 0.67)  # times the skin's colour
MOUTH, TONGUE, TEETH = (0.24, 0.07, 0.08), (0.7, 0.32, 0.33), (0.95, 0.93, 0.88)
EYEBALL, PUPIL, GLINT = (0.94, 0.93, 0.91), (0.03, 0.03, 0.03), (1, 1, 1)
LID_SHADOW, LENS = (0.1, 0.07, 0.06), (0.08, 0.08, 0.1)
FINGER, FINGERS_APART = 0.062, 0.13  # half the width of one, and from one to the next


def move(f: Face) -> None:
    """Let the action units ``f.a`` move nose, cheeks, jaw, eyes, brows and mouth of the faces."""
    a = f.a
    f.nose_y = f.nose_y + 0.055 * a[9] + 0.015 * a[10]
    f.smile = a[12].maximum(0.7 * a[6])
    f.chin = -0.95 - 0.07 * a[26]
    _move_eyes(f, a)
    _move_mouth(f, a)


def _move_eyes(f: Face, a: dict[int, Tensor]) -> None:
    """Lids above and below the eye's line; brows at the inner end, in the middle, at the outer end."""
    up = 1 + 0.7 * a[5] - 0.28 * a[7] - 0.22 * a[6] - 0.3 * a[9] - 0.5 * a[43]
    low = 0.62 + 0.15 * a[5] - 0.42 * a[7] - 0.65 * a[6] - 0.3 * a[9] - 0.25 * a[12]
    f.eye_up = f.eye_h * up.clamp(min=0.2)
    f.eye_low = f.eye_h * low
    f.brow_in = 0.13 * a[1] + 0.03 * a[2] - 0.13 * a[4] * (1 - 0.75 * a[1]) - 0.04 * a[9]
    f.brow_mid = 4 * f.arch + 0.1 * a[1] + 0.2 * a[2] - 0.14 * a[4]
    f.brow_out = 0.12 * a[2] - a[4] * (0.03 + 0.05 * a[1])


def _move_mouth(f: Face, a: dict[int, Tensor]) -> None:
    """Middle and half width, how much higher its corners are, how square it is; lips and gap."""
    f.mouth_y = f.mouth_y + 0.03 * a[17] + 0.025 * a[12] + 0.045 * a[10] + 0.025 * a[9]
    jaw = 0.3 * a[26] * (1 - a[12])
    f.mouth_w = f.mouth_w * (1 + 0.3 * a[12] + 0.28 * a[20] - 0.1 * a[24] - jaw + 0.05 * a[15])
    up, down = 0.01 + 0.15 * a[12], 0.11 * a[15]
    f.corner = up - down - 0.04 * a[17] - 0.04 * a[20] - 0.06 * a[10]
    f.square = 0.8 * a[20] + 1.2 * a[10]
    lips = f.lips * (1 - 0.75 * a[24]) * (1 - 0.25 * a[12]) * (1 - 0.25 * a[20])
    f.lip_up = 0.06 * lips
    f.lip_low = 0.1 * lips * (1 + 0.15 * a[17])
    part = a[25] * (1 - 0.8 * a[24])
    drop = 0.25 * a[26] * part.clamp(min=0.3)
    f.open_up = part * (0.02 + 0.075 * a[12] + 0.09 * a[10] + 0.05 * a[26])
    f.open_low = part * (0.055 + 0.05 * a[12] + 0.03 * a[20]) + drop


def hair_behind(c: Canvas, f: Face) -> None:
    """The hair at the back: to the shoulders where it is long, else to the ears."""
    above_ears = (c.b * 8 + 1).clamp(0, 1)
    c.paint(c.hair * torch.maximum(f.long, above_ears), f.hair, 0.6)


def neck(c: Canvas, f: Face) -> None:
    """The neck, in the shadow of the jaw."""
    jaw = bell((c.r - 1) / 0.16)
    c.paint(c.inside(c.a.abs() - 0.42) * (c.b < 0), f.skin, 0.72 - 0.3 * jaw)


def ears(c: Canvas, f: Face) -> None:
    """The ears, unless long hair is over them: ovals, darker in the middle."""
    across = c.a.abs() - f.face_w - 0.02 + c.a.sign() * f.yaw * 0.3
    ear = length(across / 0.075, (c.b + 0.02) / 0.16)
    c.paint(c.inside((ear - 1) * 0.08) * (1 - f.long), f.skin, 0.5 + 0.35 * ear.clamp(0, 1))


def skin(c: Canvas, f: Face) -> None:
    """The face, the blush of its cheeks, and what its relief and its folds darken."""
    shade = _shade(c, f)
    lit = 0.3 * shade / (1 + 0.6 * shade.abs())
    level = (0.64 + lit - 0.4 * _folds(c, f)).clamp(0, 1)
    c.paint(c.face, f.skin, 1.2)
    c.paint(c.face * 0.2 * c.bump(0.4, -0.16, 0.2, 0.15), f.skin, BLUSH)
    c.paint(c.face * (1 - level), f.skin, SHADOW)


def _shade(c: Canvas, f: Face) -> Tensor:
    """How much light falls on each pixel: on a dome with hills, by the slope towards the light."""
    side = f.light * c.side
    shade = 1.1 * f.light * c.a + 0.9 * f.light_y * (c.b + 0.05) - 0.7 * c.r**4
    for u, y, wide, high, height in _hills(f):
        du, dy = (c.u - u) / wide, (c.y - y) / high
        slope = side / wide * du + f.light_y / high * dy
        shade += 2.4 * height * bell(du, dy) * slope
    return shade


def _hills(f: Face) -> list[tuple[Tensor | float, ...]]:
    """The relief of a face: (u, y) of each hill or hollow, how wide and high it is, its height."""
    a = f.a
    wing = 0.115 * f.nose_w + 0.015 * a[9]
    tip = 0.12 + 0.03 * a[9]
    brow = 0.05 + 0.05 * a[4]
    cheek, apple = 0.4 + 0.03 * f.smile, -0.14 + 0.07 * f.smile
    lip = f.mouth_y - f.open_low - 0.3 * f.lip_low
    corner = f.mouth_y + f.corner
    return [
        (0, f.nose_y + 0.2, 0.075, 0.26, 0.11),  # bridge of the nose
        (0, f.nose_y + 0.05, 0.085 * f.nose_w, 0.08, tip),  # tip of the nose
        (wing, f.nose_y + 0.01, 0.055, 0.055, 0.06),  # wings of the nose
        (0, 0.52, 0.4, 0.2, 0.06),  # forehead
        (f.eye_x - 0.03, f.eye_y + 0.03, 0.17, 0.13, -0.1),  # sockets of the eyes
        (0.28, f.eye_y + 0.2, 0.25, 0.09, brow),  # bone under the brows
        (cheek, apple, 0.19, 0.14, 0.06 + 0.1 * f.smile),  # cheeks
        (0, lip - 0.1, 0.16, 0.055, -0.07),  # below the lower lip
        (f.mouth_w + 0.04, corner, 0.07, 0.08, -0.04 - 0.04 * a[15]),  # corners of the mouth
        (0, f.chin + 0.16, 0.17, 0.12, 0.12),  # chin
    ]


def _folds(c: Canvas, f: Face) -> Tensor:
    """Darkness of the lines that action units fold into the skin, and of its hollows."""
    dark = _smile_lines(c, f)
    dark += _brow_lines(c, f)
    dark += _nose_lines(c, f)
    dark += _eye_bags(c, f)
    dark = dark + 0.16 * c.bump(0.11, f.nose_y + 0.22, 0.05, 0.2)
    return dark + 0.12 * c.bump(f.eye_x - 0.1, f.eye_y + 0.07, 0.12, 0.07)


def _smile_lines(c: Canvas, f: Face) -> Tensor:
    """The fold from the wing of the nose to the corner of the mouth."""
    a, top = f.a, f.nose_y + 0.03
    way = ((top - c.y) / (top - f.mouth_y - 0.5 * f.corner)).clamp(0, 1.15)  # 1 at the corner
    fold = c.u - 0.16 - (f.mouth_w - 0.07) * way - 0.2 * a[12] * way * (1 - way)
    deepest = torch.maximum(torch.maximum(0.9 * a[12], a[10]), 0.8 * a[9])
    deep = deepest + 0.15 * f.age
    return 0.5 * deep * bell(fold / 0.028) * (way * (5.75 - 5 * way)).clamp(0, 1)


def _brow_lines(c: Canvas, f: Face) -> Tensor:
    """The waves of a forehead over raised brows, and the frown between lowered ones."""
    a, old = f.a, 0.25 + 0.5 * f.age
    up = c.y - f.eye_y - f.brow_y - 0.06 * a[1] - 0.25
    where = bell(up / 0.13, c.u / (0.16 + 0.3 * a[2]))
    wave = torch.cos(62 * up + 3.1).clamp(min=0) * where
    frown = c.bump(0.06, f.eye_y + 0.18, 0.022, 0.09)
    return 0.75 * old * torch.maximum(a[1], a[2]) * wave + 0.65 * a[4] * frown


def _nose_lines(c: Canvas, f: Face) -> Tensor:
    """The wrinkles across the root of the nose."""
    stripes = torch.cos(60 * (c.y - f.eye_y) - 54 * c.u).clamp(min=0)
    return 0.8 * f.a[9] * stripes * c.bump(0.03, f.eye_y - 0.06, 0.08, 0.09)


def _eye_bags(c: Canvas, f: Face) -> Tensor:
    """The bags below the eyes, and the shadow below the nose."""
    out = c.u - f.eye_x
    below = c.y - f.eye_y + f.eye_low + 0.05 + 0.35 * out**2
    bag = bell(below / 0.022, out / 0.13)
    deep = 0.12 * f.age + 0.3 * f.a[6] + 0.25 * f.a[7]
    return deep * bag + 0.35 * c.bump(0, f.nose_y - 0.05, 0.12 * f.nose_w, 0.035)


def nostrils(c: Canvas, f: Face) -> None:
    """Two dark spots, as far apart as the nose is wide."""
    hole = c.bump(0.062 * f.nose_w, f.nose_y - 0.028, 0.04 * f.nose_w, 0.02)
    c.paint((3 * hole).clamp(max=0.85), f.skin, 0.28)


def beard(c: Canvas, f: Face) -> None:
    """The beard along the jaw, and the moustache."""
    jaw = (5 * c.r - 3.3) * (-4 * c.y - 0.5).clamp(0, 1)
    cover = torch.maximum(jaw, c.bump(0, f.mouth_y + 0.115, 0.2, 0.04)).clamp(0, 1)
    c.paint(cover * c.face * (1.2 * f.beard).clamp(max=0.85), f.hair, 0.8)


def mouth(c: Canvas, f: Face) -> None:
    """The lips, what shows between them, and the line where they meet."""
    s = (c.u / f.mouth_w).clamp(max=1) ** 2  # 0 in the middle, 1 from the corners on
    full = (1 - s) * (1 + f.square * s)
    middle = f.mouth_y + f.corner * s
    top, bottom = middle + f.open_up * full, middle - f.open_low * full
    _lips(c, f, full, top, bottom)
    _between_lips(c, f, s, top, bottom)
    line = (0.012 + 0.008 * f.a[24]) * (1 - 0.7 * s) * (c.u < f.mouth_w + 0.01)
    closed = (0.9 - 16 * (f.open_up + f.open_low)).clamp(min=0)
    c.paint(c.band(middle - line, middle + line) * closed, f.lip, 0.32)


def _lips(c: Canvas, f: Face, full: Tensor, top: Tensor, bottom: Tensor) -> None:
    """The upper lip with its bow above ``top``, the lower one with its shine, up to ``bottom``."""
    bow = 1 - 0.3 * bell(c.u / 0.05)
    upper = c.band(top, top + (f.lip_up * bow + 0.004) * full)
    lower = c.band(bottom - f.lip_low * full, bottom)
    c.paint(upper, f.lip, 0.8)
    c.paint(lower, f.lip, 1 + 0.3 * c.bump(0, bottom - 0.03, 0.13, 0.03))


def _between_lips(c: Canvas, f: Face, s: Tensor, top: Tensor, bottom: Tensor) -> None:
    """The dark of the mouth, the tongue where the jaw drops, the upper teeth."""
    gap = c.band(bottom, top)
    c.paint(gap, MOUTH)
    c.paint(gap * f.a[26] * c.bump(0, bottom, 0.16, 0.09), TONGUE)
    hidden = 0.6 * f.a[26] * (1 - f.a[12])
    teeth = (0.85 * (top - bottom)).clamp(max=0.075) * (1 - hidden)
    c.paint(c.band(top - teeth, top) * (0.95 - 0.5 * s), TEETH)


def eyes(c: Canvas, f: Face) -> None:
    """Both eyes: what shows between the lids, and the lids."""
    s = (c.u - f.eye_x) / f.eye_w  # -1 at the inner corner, 1 at the outer
    q = (1 - s**2).clamp(min=0)
    line = f.eye_y + 0.01 * s - 0.012 * f.a[4] * f.a[7] * (1 - s)
    top, low = line + f.eye_up * q, line - f.eye_low * q
    _eyeballs(c, f, top, low)
    _lids(c, f, s, top, low)


def _eyeballs(c: Canvas, f: Face, top: Tensor, low: Tensor) -> None:
    """White, iris and pupil, the shadow of the upper lid, and the light's reflection."""
    x, y = c.u - f.eye_x - f.gaze * c.side, c.y - f.eye_y - 0.014
    ball, far = c.band(low, top), length(x, y)
    c.paint(ball, EYEBALL)
    c.paint(ball * c.inside(far - 0.08), f.iris, (0.5 + 8 * far).clamp(max=1.15))
    c.paint(ball * c.inside(far - 0.038), PUPIL)
    c.paint(0.5 * ball * (1 - 20 * (top - c.y)).clamp(0, 1), LID_SHADOW)
    glint = length(x * c.side - 0.028 * f.light.sign(), y - 0.03)
    c.paint(0.9 * ball * c.inside(glint - 0.018), GLINT)


def _lids(c: Canvas, f: Face, s: Tensor, top: Tensor, low: Tensor) -> None:
    """The crease of the upper lid, its lashes, longer at the outer end, and the lower lid's rim."""
    q, lid = (1 - s**2).clamp(min=0), (1.18 - s**2).clamp(min=0)
    over = c.y - top - 0.03 - 0.02 * q + 0.02 * f.a[4]
    c.paint(bell(over / 0.016) * lid * (0.6 - 0.3 * f.a[4]), f.skin, 0.5)
    rim = top - 0.06 * (s.abs() - 1).clamp(min=0)
    lash = (0.018 + 0.01 * f.makeup) * lid.sqrt() * (1 + 0.5 * s)
    upper = c.band(rim - 0.006 * lid, rim + lash) * (s.abs() < 1.1)
    lower = c.band(low - 0.01 * lid, low) * (s.abs() < 1)
    c.paint(0.95 * upper, f.skin, 0.12)
    c.paint(0.6 * lower, f.skin, 0.42)


def brows(c: Canvas, f: Face) -> None:
    """The brows, a curve through their inner end, middle and outer end, thinner and thinner."""
    s = 1 - (0.3 + f.eye_x - c.u) / (0.19 + f.eye_x + 0.045 * f.a[4])
    e = s.clamp(0, 1)  # 0 at the inner end, 1 at the outer
    level = f.eye_y + f.brow_y - 0.03 * e
    brow = level + f.brow_in * (1 - e) ** 2 + f.brow_out * e**2 + e * (1 - e) * f.brow_mid
    begins, ends = (9 * s + 0.6).clamp(0, 1), (7.2 - 7 * s).clamp(0, 1)
    thick = 0.5 * f.brow_t * (1 - 0.7 * e**2) * begins * ends
    c.paint(0.88 * c.band(brow - thick, brow + thick), f.hair, 0.55)


def hair_in_front(c: Canvas, f: Face) -> None:
    """The hair down to the hairline, parted and swept, or to the end of the fringe; it shines."""
    x, part = c.x, (c.x - f.part).abs()
    fringe = 0.37 + 0.03 * torch.sin(13 * x + 9 * f.part) + 0.02 * torch.sin(31 * x)
    hairline = f.hairline + 0.07 - 1.1 * c.u**3 - f.sweep * (part - 0.15)
    edge = torch.lerp(hairline, fringe - 0.2 * c.u**2, f.fringe)
    strand = 0.82 + 0.05 * torch.sin(23 * x + 15 * x * c.y + 9 * f.part)
    strand = strand + 0.04 * torch.sin(41 * x + 9 * c.y)
    shine = bell((c.r - 0.88 - 0.1 * f.light * c.a) / 0.13)
    c.paint(c.hair * c.inside(edge - c.y), f.hair, strand + 0.3 * shine)


def glasses(c: Canvas, f: Face) -> None:
    """Lenses, clear or dark, and a frame with its bridge and the beginning of its arms."""
    out, up = (c.u - f.eye_x) / 0.235, (c.y - f.eye_y + 0.02) / 0.175
    ring = 0.2 * ((out**4 + up**4).sqrt().sqrt() - 1)
    bridge = (c.y - f.eye_y - 0.02).abs()
    arm = (c.y - f.eye_y - 0.03).abs() + ((c.u - 0.62).abs() > 0.09)
    across = torch.where(c.u < 0.1, bridge, arm)
    frame = c.inside(torch.minimum(ring.abs(), across) - 0.014)
    c.paint(c.inside(ring) * torch.maximum(0.06 * f.glasses, 0.92 * f.shades), LENS)
    c.paint(torch.maximum(f.glasses, f.shades) * frame, f.frame)


def hand(c: Canvas, f: Face) -> None:
    """A hand that comes up from below: its back, and four fingers, each a rounded bar."""
    y = c.b - f.hand_y
    x = c.a - f.hand_x + 1.2 * f.hand_x * y
    k = (x / FINGERS_APART - 0.5).round().clamp(-2, 1) + 0.5  # the nearest finger: -1.5 to 1.5
    over_tip = (y - 0.3 + 0.05 * k**2).clamp(min=0)
    finger = length(x - FINGERS_APART * k, over_tip) - FINGER
    back = torch.maximum(x.abs() - 0.25, y - 0.1)
    gap = (1 + finger / FINGER).clamp(0, 1) ** 2
    shade = 0.98 - 0.4 * gap * (8 * y).clamp(0, 1)
    c.paint(f.hand * c.inside(torch.where(y > 0.05, finger, back)), f.skin, shade)


PARTS = (
    hair_behind,
    neck,
    ears,
    skin,
    nostrils,
    beard,
    mouth,
    eyes,
    brows,
    hair_in_front,
    glasses,
    hand,
)


def render(
    units: Tensor, traits: dict[str, Tensor], size: int = 48, grain: Tensor | None = None
) -> Tensor:
    """Draw uint8 (n, 3, size, size) from action units and traits.

    ``units``: (n, 16), in 0..1 and the order of ``UNITS``; ``traits``: as of ``draw_traits``;
    ``grain``: of the film, (n, 3, h, w). Fade one row of units into another under equal traits, and
    one person changes expression.
    """
    f = Face(**{name: value.float()[(..., None, None)] for name, value in traits.items()})
    f.a = {unit: units[:, column, None, None] for column, unit in enumerate(UNITS)}
    move(f)
    c = Canvas(f, size)
    for part in PARTS:
        part(c, f)
    lens = _blur(f.blur, size)
    rgb: Tensor = lens @ (c.rgb * f.gain[:, None]) @ lens.mT
    if grain is not None:
        rgb += interpolate(grain, size=(size, size), mode="bilinear") * f.grain[:, None]
    return (rgb.clamp(0, 1) * 255).round().to(torch.uint8)


def _blur(width: Tensor, size: int) -> Tensor:
    """What a lens out of focus by ``width`` makes of a row of pixels: (n, 1, size, size)."""
    step = torch.arange(size, device=width.device) / size
    offset = (step[:, None] - step) / (2 * width + 0.25 / size)
    return torch.softmax(-(offset**2), -1)[:, None]

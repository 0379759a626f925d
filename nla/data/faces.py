"""Parametric faces with planted truth: we know which expressions an image shows, how much of each.

A face is drawn part by part, from the back to the front: ``PARTS``. A part takes the canvas ``c``,
which knows where the pixels lie and paints, and the faces ``f``: traits as tensors (n, 1, 1),
colours (n, 3, 1, 1), action units ``f.au12`` by FACS number, and what ``move`` made of them.

**To add a part**, a monocle, say: write ``monocle(c, f)`` beside ``glasses``. ``c.inside`` of a
signed distance, ``c.band`` between two curves and ``c.bump`` about a point tell what it covers;
``c.paint`` lays a colour there, times ``f.monocle``, 0 or 1. Then name it in ``PARTS``. How
``f.monocle`` can come about without changing every other face, ``draw_traits`` says.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import interpolate
from tqdm import tqdm

from nla.data.face_canvas import Canvas, Face, bell, length
from nla.data.face_traits import EXPRESSION_UNITS, FACTS, UNITS, draw_traits
from nla.data.face_truth import plant
from nla.data.manifest import KINDS, SPLITS, DataError

__all__ = [
    "EXPRESSION_UNITS",
    "FACTS",
    "PARTS",
    "RAFDB_PROPORTIONS",
    "UNITS",
    "draw_traits",
    "make_faces",
    "render",
]
RAFDB_PROPORTIONS = (1290, 281, 717, 4772, 1982, 705, 2524)
"""Training images per class in RAF-DB basic."""

GRAIN = 48  # pixels of the film, height and width, whatever the size of the picture
SHADOW = (0.55, 0.43, 0.41)  # times the skin's colour
BLUSH = (1.02, 0.7, 0.67)  # times the skin's colour
MOUTH = (0.24, 0.07, 0.08)
TONGUE = (0.7, 0.32, 0.33)
TEETH = (0.95, 0.93, 0.88)
EYEBALL = (0.94, 0.93, 0.91)
LID_SHADOW = (0.1, 0.07, 0.06)
PUPIL = (0.03, 0.03, 0.03)
GLINT = (1, 1, 1)
LENS = (0.08, 0.08, 0.1)
FINGER = 0.062  # half the width of one
FINGERS_APART = 0.13

MOVEMENTS = pd.read_csv(Path(__file__).with_name("movements.csv"), comment="#")
TERMS = {part: rows[["unit", "amount"]].to_numpy() for part, rows in MOVEMENTS.groupby("part")}
"""part: (unit, how far it moves the part) in order"""


def make_faces(
    n: int,
    seed: int,
    size: int = 48,
    ambiguous: float = 0.2,
    noisy: float = 0.0,
    proportions: Sequence[float] = RAFDB_PROPORTIONS,
    split: str = "train",
    nuisance: float = 1.0,
    chunk: int = 32,
    progress: bool = False,
) -> tuple[Tensor, pd.DataFrame]:
    """Draw ``n`` faces: images, uint8 (n, 3, size, size), and the manifest, a row for each.

    Columns: ``row``, ``label``, ``true_label``, ``split``, ``kind``, the true distribution
    ``p_<class>``, the units ``au_<name>`` in 0..1, ``intensity`` and ``FACTS``. Kinds:

    - *clean*: one expression, ``label`` = ``true_label``;
    - *ambiguous* (that fraction of all): the units of two expressions mixed by weights in .35 to
      .65, the true distribution: ``label`` is drawn from it, ``true_label`` is its argmax;
    - *noisy* (that fraction): a clean face with another class for a label.

    ``true_label`` follows ``proportions``, rounded; ``noisy`` changes no pixel, ``chunk`` (faces
    drawn at once) nothing; ``nuisance`` scales pose, light, blur, grain, occlusion. DataError for
    bad input.
    """
    limits = (("n", n, 1), ("size", size, 16), ("nuisance", nuisance, 0), ("chunk", chunk, 1))
    for name, value, least in limits:
        if value < least:
            raise DataError(f"{name} of drawn faces must be at least {least}, got {value}")
    if split not in SPLITS:
        raise DataError(f"split is {split!r}: use one of {', '.join(SPLITS)}")
    generator = torch.Generator().manual_seed(seed)
    columns, units = plant(n, ambiguous, noisy, proportions, generator)
    traits = draw_traits(n, generator, nuisance)
    images = torch.empty(n, 3, size, size, dtype=torch.uint8)
    with tqdm(total=n, desc="drawing faces", unit="face", leave=False, disable=not progress) as bar:
        for rows in torch.split(torch.arange(n), chunk):
            grain = torch.rand(len(rows), 3, GRAIN, GRAIN, generator=generator) - 0.5
            some = {name: values[rows] for name, values in traits.items()}
            images[rows] = render(units[rows], some, size, grain)
            bar.update(len(rows))
    columns |= {f"au_{name}": units[:, i] for i, name in enumerate(UNITS.values())}
    columns |= {name: traits[name] for name in FACTS}
    manifest = pd.DataFrame({name: values.numpy() for name, values in columns.items()})
    manifest.insert(0, "row", range(n))
    return images, manifest.assign(split=split, kind=[KINDS[k] for k in manifest["kind"]])


def render(
    units: Tensor,
    traits: dict[str, Tensor],
    size: int = 48,
    grain: Tensor | None = None,
) -> Tensor:
    """Draw uint8 (n, 3, size, size) from action units and traits.

    ``units``: (n, 16), in 0..1 and the order of ``UNITS``; ``traits``: as of ``draw_traits``;
    ``grain``: of the film, (n, 3, h, w). Fade one row of units into another under equal traits, and
    one person changes expression.
    """
    f = Face(rest=1.0)
    for name, values in traits.items():
        setattr(f, name, values.float()[..., None, None])
    for unit, values in zip(UNITS, units.T):
        setattr(f, f"au{unit}", values[:, None, None])
    move(f)
    c = Canvas(f, size)
    for part in PARTS:
        part(c, f)
    lens = _lens(f.blur, size)
    rgb: Tensor = lens @ (c.rgb * f.gain[:, None]) @ lens.mT
    if grain is not None:
        film = interpolate(grain, size=(size, size), mode="bilinear")
        rgb += film * f.grain[:, None]
    return (rgb.clamp(0, 1) * 255).round().to(torch.uint8)


def _lens(blur: Tensor, size: int) -> Tensor:
    """What a lens out of focus by ``blur`` makes of a row of pixels, (n, 1, size, size)."""
    step = torch.arange(size, device=blur.device) / size
    offset = step[:, None] - step
    wide = 2 * blur + 0.25 / size
    return torch.softmax(-((offset / wide) ** 2), -1)[:, None]


def move(f: Face) -> None:
    """Let the action units move the parts of the faces."""
    f.nose_y = moved(f, "nose", f.nose_y)
    f.chin = moved(f, "chin")
    f.smile = f.au12.maximum(0.7 * f.au6)
    f.eye_up = f.eye_h * moved(f, "eye_up").clamp(min=0.2)
    f.eye_low = f.eye_h * moved(f, "eye_low")
    _move_brows(f)
    _move_mouth(f)


def moved(f: Face, part: str, start: Tensor | float = 0.0) -> Tensor:
    """Where a part comes to from ``start`` by the terms of ``movements.csv``."""
    place = torch.as_tensor(start)
    for unit, amount in TERMS[part]:
        place = place + amount * getattr(f, unit)
    return place


def _move_brows(f: Face) -> None:
    """How much higher the brow is at its inner end, in its middle, at its outer end."""
    drawn = 0.13 * f.au4 * (1 - 0.75 * f.au1)
    f.brow_in = 0.13 * f.au1 + 0.03 * f.au2 - drawn - 0.04 * f.au9
    f.brow_mid = moved(f, "brow_mid", 4 * f.arch)
    f.brow_out = 0.12 * f.au2 - f.au4 * (0.03 + 0.05 * f.au1)


def _move_mouth(f: Face) -> None:
    """Where the mouth is, its half width, how much higher its corners are; lips and gap."""
    jaw = 0.3 * f.au26 * (1 - f.au12)
    f.mouth_y = moved(f, "mouth", f.mouth_y)
    f.mouth_w = f.mouth_w * (moved(f, "mouth_wider") - jaw + 0.05 * f.au15)
    f.corner = moved(f, "corner")
    f.square = moved(f, "square")
    pressed = 1 - 0.75 * f.au24
    smiling = 1 - 0.25 * f.au12
    stretched = 1 - 0.25 * f.au20
    lips = f.lips * pressed * smiling * stretched
    f.lip_up = 0.06 * lips
    f.lip_low = 0.1 * lips * (1 + 0.15 * f.au17)
    part = f.au25 * (1 - 0.8 * f.au24)
    drop = 0.25 * f.au26 * part.clamp(min=0.3)
    f.open_up = part * moved(f, "open_up")
    f.open_low = part * moved(f, "open_low") + drop


def head(c: Canvas, f: Face) -> None:
    """Lay the head before the wall: an egg with a jaw, as deep as a dome with a nose; its hair."""
    up = c.b - 0.05
    high = torch.where(c.b > 0.05, 0.9 * f.face_h, 0.05 - f.chin)
    v = up / high
    wide = f.face_w * (1 - f.jaw * v.clamp(max=0) ** 2)
    egg = v**2 * v.abs().sqrt()
    q = (c.a / wide) ** 2 + egg
    nose = bell(c.a / 0.13, (c.b + 0.12) / 0.2)
    depth = (1 - q).clamp(min=0) + 0.25 * nose
    c.turn(f.yaw, f.pitch, depth)
    c.r = q.sqrt()
    c.face = c.inside((c.r - 1) * f.face_w)
    above = (c.b - 0.08).clamp(min=0)
    outline = length(c.a / (f.face_w + 0.09), above)
    c.hair = c.inside((outline - 1) * 0.7) * (1 - f.bald)
    off_middle = c.a**2 + c.b**2
    light = 1 + 0.25 * c.b - 0.25 * off_middle
    c.rgb = f.wall * light[:, None]


def hair_behind(c: Canvas, f: Face) -> None:
    """The hair at the back: to the shoulders where it is long, else to the ears."""
    above_ears = (c.b * 8 + 1).clamp(0, 1)
    cover = c.hair * torch.maximum(f.long, above_ears)
    c.paint(cover, f.hair, 0.6)


def neck(c: Canvas, f: Face) -> None:
    """The neck, in the shadow of the jaw."""
    cover = c.inside(c.a.abs() - 0.42) * (c.b < 0)
    jaw = bell((c.r - 1) / 0.16)
    c.paint(cover, f.skin, 0.72 - 0.3 * jaw)


def ears(c: Canvas, f: Face) -> None:
    """The ears, unless long hair is over them: ovals, darker in the middle."""
    turn = c.a.sign() * f.yaw * 0.3
    across = c.a.abs() - f.face_w - 0.02 + turn
    ear = length(across / 0.075, (c.b + 0.02) / 0.16)
    cover = c.inside((ear - 1) * 0.08) * (1 - f.long)
    c.paint(cover, f.skin, 0.5 + 0.35 * ear.clamp(0, 1))


def skin(c: Canvas, f: Face) -> None:
    """The face, the blush of its cheeks, and what its relief and its folds darken."""
    shade = _shade(c, f)
    lit = 0.3 * shade / (1 + 0.6 * shade.abs())
    level = (0.64 + lit - 0.4 * _folds(c, f)).clamp(0, 1)
    blush = c.bump(u=0.4, y=-0.16, wide=0.2, high=0.15)
    c.paint(c.face, f.skin, 1.2)
    c.paint(c.face * 0.2 * blush, f.skin, BLUSH)
    c.paint(c.face * (1 - level), f.skin, SHADOW)


def _shade(c: Canvas, f: Face) -> Tensor:
    """How much light falls on each pixel: on a dome with hills, by the slope towards the light."""
    sideways = 1.1 * f.light * c.a
    upwards = 0.9 * f.light_y * (c.b + 0.05)
    shade: Tensor = sideways + upwards - 0.7 * c.r**4
    side = f.light * c.side
    for u, y, wide, high, height in _hills(f):
        du = (c.u - u) / wide
        dy = (c.y - y) / high
        slope = side / wide * du + f.light_y / high * dy
        shade += 2.4 * height * bell(du, dy) * slope
    return shade


def _hills(f: Face) -> list[tuple[Tensor | float, ...]]:
    """The relief of a face: (u, y) of each hill or hollow, how wide and high it is, its height."""
    tip = 0.12 + 0.03 * f.au9
    wing = 0.115 * f.nose_w + 0.015 * f.au9
    brow = 0.05 + 0.05 * f.au4
    cheek = 0.4 + 0.03 * f.smile
    cheek_y = -0.14 + 0.07 * f.smile
    apple = 0.06 + 0.1 * f.smile
    below_lip = f.mouth_y - f.open_low - 0.3 * f.lip_low - 0.1
    corner = f.mouth_w + 0.04
    corner_y = f.mouth_y + f.corner
    dimple = -0.04 - 0.04 * f.au15
    return [
        (0, f.nose_y + 0.2, 0.075, 0.26, 0.11),  # bridge of the nose
        (0, f.nose_y + 0.05, 0.085 * f.nose_w, 0.08, tip),
        (wing, f.nose_y + 0.01, 0.055, 0.055, 0.06),
        (0, 0.52, 0.4, 0.2, 0.06),  # forehead
        (f.eye_x - 0.03, f.eye_y + 0.03, 0.17, 0.13, -0.1),  # sockets
        (0.28, f.eye_y + 0.2, 0.25, 0.09, brow),
        (cheek, cheek_y, 0.19, 0.14, apple),
        (0, below_lip, 0.16, 0.055, -0.07),
        (corner, corner_y, 0.07, 0.08, dimple),
        (0, f.chin + 0.16, 0.17, 0.12, 0.12),
    ]


def _folds(c: Canvas, f: Face) -> Tensor:
    """Darkness of the lines that action units fold into the skin, and of its hollows."""
    beside_nose = c.bump(u=0.11, y=f.nose_y + 0.22, wide=0.05, high=0.2)
    above_eye = c.bump(u=f.eye_x - 0.1, y=f.eye_y + 0.07, wide=0.12, high=0.07)
    dark = _smile_lines(c, f)
    dark += _brow_lines(c, f)
    dark += _nose_lines(c, f)
    dark += _shadows_below(c, f)
    dark = dark + 0.16 * beside_nose
    return dark + 0.12 * above_eye


def _smile_lines(c: Canvas, f: Face) -> Tensor:
    """The fold from the wing of the nose to the corner of the mouth."""
    top = f.nose_y + 0.03
    height = top - f.mouth_y - 0.5 * f.corner
    way = ((top - c.y) / height).clamp(0, 1.15)  # 0 at the nose, 1 at the corner
    bend = 0.2 * f.au12 * way * (1 - way)
    fold = c.u - 0.16 - (f.mouth_w - 0.07) * way - bend
    smile_or_sneer = torch.maximum(0.9 * f.au12, f.au10)
    deep = torch.maximum(smile_or_sneer, 0.8 * f.au9) + 0.15 * f.age
    fades = (way * (5.75 - 5 * way)).clamp(0, 1)
    dark: Tensor = 0.5 * deep * bell(fold / 0.028) * fades
    return dark


def _brow_lines(c: Canvas, f: Face) -> Tensor:
    """The waves of a forehead over raised brows, and the frown between lowered ones."""
    old = 0.25 + 0.5 * f.age
    up = c.y - f.eye_y - f.brow_y - 0.06 * f.au1 - 0.25
    wide = 0.16 + 0.3 * f.au2
    wave = torch.cos(62 * up + 3.1).clamp(min=0)
    waves = wave * bell(up / 0.13, c.u / wide)
    raised = torch.maximum(f.au1, f.au2)
    frown = c.bump(u=0.06, y=f.eye_y + 0.18, wide=0.022, high=0.09)
    dark: Tensor = 0.75 * old * raised * waves + 0.65 * f.au4 * frown
    return dark


def _nose_lines(c: Canvas, f: Face) -> Tensor:
    """The wrinkles across the root of the nose."""
    slope = 60 * (c.y - f.eye_y) - 54 * c.u
    stripes = torch.cos(slope).clamp(min=0)
    root = c.bump(u=0.03, y=f.eye_y - 0.06, wide=0.08, high=0.09)
    dark: Tensor = 0.8 * f.au9 * stripes * root
    return dark


def _shadows_below(c: Canvas, f: Face) -> Tensor:
    """The bags below the eyes, and the shadow below the nose."""
    out = c.u - f.eye_x
    down = c.y - f.eye_y + f.eye_low + 0.05 + 0.35 * out**2
    bag = bell(down / 0.022, out / 0.13)
    deep = 0.12 * f.age + 0.3 * f.au6 + 0.25 * f.au7
    nose = c.bump(u=0, y=f.nose_y - 0.05, wide=0.12 * f.nose_w, high=0.035)
    dark: Tensor = deep * bag
    return dark + 0.35 * nose


def nostrils(c: Canvas, f: Face) -> None:
    """Two dark spots, as far apart as the nose is wide."""
    wide = f.nose_w
    hole = c.bump(u=0.062 * wide, y=f.nose_y - 0.028, wide=0.04 * wide, high=0.02)
    cover = (3 * hole).clamp(max=0.85)
    c.paint(cover, f.skin, 0.28)


def beard(c: Canvas, f: Face) -> None:
    """The beard along the jaw, and the moustache."""
    below = (-4 * c.y - 0.5).clamp(0, 1)
    jaw = (5 * c.r - 3.3) * below
    moustache = c.bump(u=0, y=f.mouth_y + 0.115, wide=0.2, high=0.04)
    where = torch.maximum(jaw, moustache).clamp(0, 1)
    thick = (1.2 * f.beard).clamp(max=0.85)
    c.paint(where * c.face * thick, f.hair, 0.8)


def mouth(c: Canvas, f: Face) -> None:
    """The lips, what shows between them, and the line where they meet."""
    s = (c.u / f.mouth_w).clamp(max=1) ** 2  # 0 in the middle, 1 from the corners on
    full = (1 - s) * (1 + f.square * s)
    middle = f.mouth_y + f.corner * s
    top = middle + f.open_up * full
    bottom = middle - f.open_low * full
    _lips(c, f, full, top, bottom)
    _between_lips(c, f, s, top, bottom)
    _lip_line(c, f, s, middle)


def _lips(c: Canvas, f: Face, full: Tensor, top: Tensor, bottom: Tensor) -> None:
    """The upper lip with its bow, above ``top``; the lower one with its shine, up to ``bottom``."""
    bow = 1 - 0.3 * bell(c.u / 0.05)
    upper = top + (f.lip_up * bow + 0.004) * full
    lower = bottom - f.lip_low * full
    shine = c.bump(u=0, y=bottom - 0.03, wide=0.13, high=0.03)
    c.paint(c.band(top, upper), f.lip, 0.8)
    c.paint(c.band(lower, bottom), f.lip, 1 + 0.3 * shine)


def _between_lips(c: Canvas, f: Face, s: Tensor, top: Tensor, bottom: Tensor) -> None:
    """The dark of the mouth, the tongue where the jaw drops, the upper teeth."""
    gap = c.band(bottom, top)
    tongue = c.bump(u=0, y=bottom, wide=0.16, high=0.09)
    hidden = 0.6 * f.au26 * (1 - f.au12)
    teeth = (0.85 * (top - bottom)).clamp(max=0.075) * (1 - hidden)
    white = c.band(top - teeth, top) * (0.95 - 0.5 * s)
    c.paint(gap, MOUTH)
    c.paint(gap * f.au26 * tongue, TONGUE)
    c.paint(white, TEETH)


def _lip_line(c: Canvas, f: Face, s: Tensor, middle: Tensor) -> None:
    """The line between closed lips, thinner towards the corners."""
    thick = (0.012 + 0.008 * f.au24) * (1 - 0.7 * s)
    line = thick * (c.u < f.mouth_w + 0.01)
    closed = 0.9 - 16 * (f.open_up + f.open_low)
    cover = c.band(middle - line, middle + line) * closed.clamp(min=0)
    c.paint(cover, f.lip, 0.32)


def eyes(c: Canvas, f: Face) -> None:
    """Both eyes: what shows between the lids, and the lids."""
    s = (c.u - f.eye_x) / f.eye_w  # -1 at the inner corner, 1 at the outer
    slant = 0.012 * f.au4 * f.au7 * (1 - s)
    line = f.eye_y + 0.01 * s - slant
    open_ = (1 - s**2).clamp(min=0)
    top = line + f.eye_up * open_
    low = line - f.eye_low * open_
    _eyeballs(c, f, top, low)
    _lids(c, f, s, top, low)


def _eyeballs(c: Canvas, f: Face, top: Tensor, low: Tensor) -> None:
    """White, iris and pupil, the shadow of the upper lid, and the light's reflection."""
    ball = c.band(low, top)
    x = c.u - f.eye_x - f.gaze * c.side
    y = c.y - f.eye_y - 0.014
    far = length(x, y)
    lid = (1 - 20 * (top - c.y)).clamp(0, 1)
    glint = length(x * c.side - 0.028 * f.light.sign(), y - 0.03)
    lighter = (0.5 + 8 * far).clamp(max=1.15)
    c.paint(ball, EYEBALL)
    c.paint(ball * c.inside(far - 0.08), f.iris, lighter)
    c.paint(ball * c.inside(far - 0.038), PUPIL)
    c.paint(0.5 * ball * lid, LID_SHADOW)
    c.paint(0.9 * ball * c.inside(glint - 0.018), GLINT)


def _lids(c: Canvas, f: Face, s: Tensor, top: Tensor, low: Tensor) -> None:
    """The crease of the upper lid, its lashes, longer at the outer end, and the lower lid's rim."""
    wide = s.abs()
    lid = (1.18 - s**2).clamp(min=0)
    fold = 0.02 * (1 - s**2).clamp(min=0)
    over = c.y - top - 0.03 - fold + 0.02 * f.au4
    crease = bell(over / 0.016) * lid * (0.6 - 0.3 * f.au4)
    rim = top - 0.06 * (wide - 1).clamp(min=0)
    thick = 0.018 + 0.01 * f.makeup
    lash = rim + thick * lid.sqrt() * (1 + 0.5 * s)
    upper = c.band(rim - 0.006 * lid, lash) * (wide < 1.1)
    lower = c.band(low - 0.01 * lid, low) * (wide < 1)
    c.paint(crease, f.skin, 0.5)
    c.paint(0.95 * upper, f.skin, 0.12)
    c.paint(0.6 * lower, f.skin, 0.42)


def brows(c: Canvas, f: Face) -> None:
    """The brows: curves through inner end, middle and outer end, thinner and thinner."""
    outer = 0.3 + f.eye_x - c.u
    s = 1 - outer / (0.19 + f.eye_x + 0.045 * f.au4)
    e = s.clamp(0, 1)  # 0 at the inner end, 1 at the outer
    level = f.eye_y + f.brow_y - 0.03 * e
    inner = level + f.brow_in * (1 - e) ** 2
    ends = inner + f.brow_out * e**2
    brow = ends + e * (1 - e) * f.brow_mid
    begins = (9 * s + 0.6).clamp(0, 1)
    stops = (7.2 - 7 * s).clamp(0, 1)
    thick = 0.5 * f.brow_t * (1 - 0.7 * e**2) * begins * stops
    cover = 0.88 * c.band(brow - thick, brow + thick)
    c.paint(cover, f.hair, 0.55)


def hair_in_front(c: Canvas, f: Face) -> None:
    """The hair down to the hairline, parted and swept, or to the end of the fringe; it shines."""
    x, shift = c.x, 9 * f.part
    ragged = 0.03 * torch.sin(13 * x + shift)
    fine = 0.02 * torch.sin(31 * x)
    fringe = 0.37 + ragged + fine - 0.2 * c.u**2
    swept = f.sweep * ((x - f.part).abs() - 0.15)
    hairline = f.hairline + 0.07 - 1.1 * c.u**3 - swept
    edge = torch.lerp(hairline, fringe, f.fringe)
    coarse = torch.sin(23 * x + 15 * x * c.y + shift)
    single = torch.sin(41 * x + 9 * c.y)
    strands = 0.82 + 0.05 * coarse + 0.04 * single
    shine = bell((c.r - 0.88 - 0.1 * f.light * c.a) / 0.13)
    cover = c.hair * c.inside(edge - c.y)
    c.paint(cover, f.hair, strands + 0.3 * shine)


def glasses(c: Canvas, f: Face) -> None:
    """Lenses, clear or dark, and a frame with its bridge and the beginning of its arms."""
    out = (c.u - f.eye_x) / 0.235
    up = (c.y - f.eye_y + 0.02) / 0.175
    ring = 0.2 * ((out**4 + up**4).sqrt().sqrt() - 1)
    bridge = (c.y - f.eye_y - 0.02).abs()
    off_arm = (c.u - 0.62).abs() > 0.09
    arm = (c.y - f.eye_y - 0.03).abs() + off_arm
    across = torch.where(c.u < 0.1, bridge, arm)
    frame = torch.minimum(ring.abs(), across) - 0.014
    dark = torch.maximum(0.06 * f.glasses, 0.92 * f.shades)
    worn = torch.maximum(f.glasses, f.shades)
    c.paint(c.inside(ring) * dark, LENS)
    c.paint(worn * c.inside(frame), f.frame)


def hand(c: Canvas, f: Face) -> None:
    """A hand that comes up from below: its back, and four fingers, each a rounded bar."""
    y = c.b - f.hand_y
    x = c.a - f.hand_x + 1.2 * f.hand_x * y
    nearest = (x / FINGERS_APART - 0.5).round().clamp(-2, 1)
    k = nearest + 0.5  # of the four: -1.5 to 1.5
    over_tip = (y - 0.3 + 0.05 * k**2).clamp(min=0)
    finger = length(x - FINGERS_APART * k, over_tip) - FINGER
    back = torch.maximum(x.abs() - 0.25, y - 0.1)
    shape = torch.where(y > 0.05, finger, back)
    between = (1 + finger / FINGER).clamp(0, 1) ** 2
    shade = 0.98 - 0.4 * between * (8 * y).clamp(0, 1)
    c.paint(f.hand * c.inside(shape), f.skin, shade)


PARTS = (
    head,
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
"""From the back to the front."""

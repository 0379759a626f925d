"""Parametric faces with planted truth: we know which expressions an image shows, and how much of each.

A face is drawn from facial action units, the muscle movements of the Facial Action Coding System (Ekman & Friesen
1978). Which units make an expression, and how many people use each, is in ``action_units.csv`` with its sources, among
them Du, Tao & Martinez (2014); everything else, in ``traits.csv``, varies independently of the expression.
Parts are bands between two curves over a relief lit from one side, in face units (the image spans -1..1, y up)."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from nla.data.manifest import EXPRESSIONS, KINDS, SPLITS

RAFDB_PROPORTIONS = (
    1290,
    281,
    717,
    4772,
    1982,
    705,
    2524,
)  # training images per class in RAF-DB basic
# Action units by FACS number; 24 stands for 23 and 24, 26 for 26 and 27.
UNITS = {
    1: "inner_brow_raise",
    2: "outer_brow_raise",
    4: "brow_lower",
    5: "lid_raise",
    6: "cheek_raise",
    7: "lid_tighten",
    9: "nose_wrinkle",
    10: "upper_lip_raise",
    12: "lip_corner_up",
    15: "lip_corner_down",
    17: "chin_raise",
    20: "lip_stretch",
    24: "lip_press",
    25: "lips_part",
    26: "jaw_drop",
    43: "lid_droop",
}
USE = pd.read_csv(
    Path(__file__).with_name("action_units.csv"), comment="#", index_col=["expression", "unit"]
)
EXPRESSION_UNITS = (
    {"neutral": {}}
    | {  # expression: {unit: (strength, share of people who use it)}
        name: USE[["strength", "share"]].loc[name].T.to_dict("list") for name in EXPRESSIONS[:6]
    }
)
TRAITS = pd.read_csv(
    Path(__file__).with_name("traits.csv"), comment="#", index_col=["group", "name"]
)
IDENTITY, CAMERA, CHANCE = (
    TRAITS.loc[group].T.to_dict("list") for group in ("identity", "camera", "chance")
)
SKIN = torch.tensor(
    [
        [0.35, 0.22, 0.17],
        [0.5, 0.33, 0.24],
        [0.66, 0.47, 0.36],
        [0.8, 0.6, 0.48],
        [0.9, 0.72, 0.6],
        [0.95, 0.82, 0.73],
    ]
)
HAIR = torch.tensor(
    [
        [0.1, 0.08, 0.08],
        [0.18, 0.13, 0.1],
        [0.33, 0.22, 0.15],
        [0.53, 0.34, 0.2],
        [0.78, 0.63, 0.4],
        [0.67, 0.66, 0.66],
    ]
)
IRIS = torch.tensor(
    [[0.22, 0.14, 0.09], [0.36, 0.24, 0.13], [0.36, 0.42, 0.26], [0.33, 0.49, 0.61]]
)
FACTS = (
    "yaw",
    "pitch",
    "roll",
    "light",
    "blur",
    "grain",
    "beard",
    "fringe",
    "glasses",
    "shades",
    "hand",
)


def make_faces(
    n,
    seed,
    size=48,
    ambiguous=0.2,
    noisy=0.0,
    proportions=RAFDB_PROPORTIONS,
    split="train",
    nuisance=1.0,
    chunk=32,
    progress=False,
) -> tuple[Tensor, pd.DataFrame]:
    """Draw ``n`` faces: images, uint8 (n, 3, size, size), and the manifest, a row for each.

    Columns: ``row``, ``label``, ``true_label``, ``split``, ``kind``, the true distribution ``p_<class>``, the units
    ``au_<name>`` in 0..1, ``intensity`` and ``FACTS``. Kinds: *clean*, one expression, ``label`` = ``true_label``;
    *ambiguous* (that fraction of all), the units of two expressions mixed by weights in .35 to .65, the true
    distribution: ``label`` is drawn from it, ``true_label`` is its argmax; *noisy* (that fraction), a clean face with
    another class for a label. ``true_label`` follows ``proportions``, rounded; ``noisy`` changes no pixel, ``chunk``
    (faces drawn at once) nothing; ``nuisance`` scales pose, light, blur, grain, occlusion. Bad input: ValueError."""
    if n < 1 or size < 16 or nuisance < 0:
        raise ValueError(
            f"n is {n}, size {size}, nuisance {nuisance}: they have to be at least 1, 16 and 0"
        )
    if not (ambiguous >= 0 and noisy >= 0 and ambiguous + noisy <= 1):
        raise ValueError(
            f"ambiguous is {ambiguous}, noisy {noisy}: fractions of all, at least 0 and together up to 1"
        )
    if len(proportions) != 7 or not min(proportions) >= 0 or not sum(proportions) > 0:
        raise ValueError(
            f"proportions is {proportions}: give seven numbers, one per class, none below 0, not all 0"
        )
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}: use one of {', '.join(SPLITS)}")
    generator = torch.Generator().manual_seed(seed)
    columns, units = _plant(n, ambiguous, noisy, proportions, generator)
    traits, images = (
        draw_traits(n, generator, nuisance),
        torch.empty(n, 3, size, size, dtype=torch.uint8),
    )
    for rows in tqdm(
        torch.arange(n).split(chunk),
        "drawing faces",
        unit_scale=chunk,
        unit="face",
        leave=False,
        disable=not progress,
    ):
        grain = torch.rand(len(rows), 3, 48, 48, generator=generator) - 0.5
        images[rows] = render(units[rows], {k: v[rows] for k, v in traits.items()}, size, grain)
    columns |= {f"au_{name}": units[:, i] for i, name in enumerate(UNITS.values())} | {
        k: traits[k] for k in FACTS
    }
    manifest = pd.DataFrame({"row": range(n)} | {k: v.numpy() for k, v in columns.items()})
    return images, manifest.assign(split=split, kind=[KINDS[k] for k in manifest["kind"]])


def _plant(n, ambiguous, noisy, proportions, generator):
    """Labels, kinds and true distributions (a dict of columns), and the action units (n, 16) that show them."""
    rand = partial(torch.rand, generator=generator)
    share = torch.tensor(proportions, dtype=torch.float64) * n / sum(proportions)
    counts = share.long()
    counts[(share - counts).argsort(descending=True, stable=True)[: n - int(counts.sum())]] += 1
    true = torch.arange(7).repeat_interleave(counts)[torch.randperm(n, generator=generator)]
    other, wrong = (true + torch.randint(1, 7, (2, n), generator=generator)) % 7
    place, mixed = torch.randperm(n, generator=generator), round(ambiguous * n)
    kind = (place < mixed).long() + 2 * (place >= mixed) * (place < mixed + round(noisy * n))
    weight = torch.where(kind == 1, 0.65 - 0.15 * rand(n), 1.0)[:, None]
    p = torch.eye(7)[true] * weight + torch.eye(7)[other] * (1 - weight)
    label = torch.where(kind == 2, wrong, torch.where(rand(n) < weight[:, 0], true, other))
    intensity = 1 - torch.where(kind == 1, 0.2, 0.3) * rand(n)
    table = torch.tensor(
        [[EXPRESSION_UNITS[e].get(k, (0, 0)) for k in UNITS] for e in EXPRESSIONS[:7]]
    )
    shown = (p[:, None] @ (table[..., 0] * (rand(n, 7, len(UNITS)) < table[..., 1])))[
        :, 0
    ] * intensity[:, None]
    jitter, stray = torch.randn(2, n, len(UNITS), generator=generator)
    units = (shown * (1 + 0.15 * jitter) + 0.05 * stray.abs()).clamp(0, 1)
    columns = {"label": label, "true_label": true, "kind": kind, "intensity": intensity}
    return columns | {f"p_{e}": p[:, i] for i, e in enumerate(EXPRESSIONS[:7])}, units


def draw_traits(n, generator, nuisance=1.0) -> dict[str, Tensor]:
    """Everything about ``n`` faces but their expression: tensors (n,), colours (n, 3)."""
    rand = partial(torch.rand, generator=generator)
    t = {
        k: mean
        + spread
        * (nuisance if k in CAMERA else 1)
        * torch.randn(n, generator=generator).clamp(-2.2, 2.2)
        for k, (mean, spread) in (IDENTITY | CAMERA).items()
    }
    t |= {k: rand(n) < p * (nuisance if k in FACTS else 1) for k, (p, _) in CHANCE.items()}
    t |= {k: t[k].clamp(min=0) for k in ("age", "makeup", "beard", "blur", "grain")}
    t["makeup"], t["beard"] = t["makeup"] * (t["beard"] == 0), t["beard"] * ~t["long"]
    dice, tone, dark = rand(n, 12), 4.999 * rand(n), rand(n)
    skin = torch.lerp(SKIN[tone.long()], SKIN[tone.long() + 1], tone.frac()[:, None])
    lip = torch.lerp(
        skin * torch.tensor([0.88, 0.6, 0.57]),
        torch.tensor([0.72, 0.14, 0.2]),
        0.7 * t["makeup"][:, None],
    )
    return t | {
        "skin": skin * (0.96 + 0.08 * dice[:, 0:3]),
        "lip": lip,
        "iris": IRIS[(dark * (1 + 0.6 * tone)).long()],
        "hair": HAIR[(dark * (1.5 + tone).clamp(max=6)).long()] * (0.85 + 0.3 * dice[:, 10:11]),
        "wall": (0.2 + 0.65 * dice[:, 6:7]) * (0.75 + 0.4 * dice[:, 7:10]),
        "frame": 0.03 + 0.2 * dice[:, 3:6],
        "hand_x": dice[:, 11] - 0.5,
        "hand_y": -1.05 + 0.45 * dice[:, 10],
    }


def render(
    units: Tensor, traits: dict[str, Tensor], size: int = 48, grain: Tensor | None = None
) -> Tensor:
    """Draw uint8 (n, 3, size, size) from ``units`` (n, 16), in 0..1 and the order of ``UNITS``, ``draw_traits`` and
    film grain (n, 3, h, w). Fade one row of units into another under equal traits: one person changes expression."""
    t = SimpleNamespace(**{k: v.float()[(...,) + (None,) * 2] for k, v in traits.items()})
    f = _landmarks({k: units[:, i, None, None] for i, k in enumerate(UNITS)}, t)
    c = _Canvas(f, t, size)
    for part in (_backdrop, _skin, _mouth, _eyes, _front):
        part(c, f, t)
    step = torch.arange(size, device=units.device) / size
    lens = torch.softmax(-(((step[:, None] - step) / (2 * t.blur + 0.25 / size)) ** 2), -1)[:, None]
    rgb = lens @ (c.rgb * t.gain[:, None]) @ lens.mT
    if grain is not None:
        rgb += (
            torch.nn.functional.interpolate(grain, size=(size, size), mode="bilinear")
            * t.grain[:, None]
        )
    return (rgb.clamp(0, 1) * 255).round().to(torch.uint8)


def _landmarks(a, t):
    """Where action units ``a`` move the parts of a face: a namespace of (n, 1, 1) tensors."""
    part, lips = (
        a[25] * (1 - 0.8 * a[24]),
        t.lips * (1 - 0.75 * a[24]) * (1 - 0.25 * a[12]) * (1 - 0.25 * a[20]),
    )
    return SimpleNamespace(
        a=a,
        chin=-0.95 - 0.07 * a[26],
        nose_y=t.nose_y + 0.055 * a[9] + 0.015 * a[10],
        smile=a[12].maximum(0.7 * a[6]),
        eye_up=t.eye_h
        * (1 + 0.7 * a[5] - 0.28 * a[7] - 0.22 * a[6] - 0.3 * a[9] - 0.5 * a[43]).clamp(min=0.2),
        eye_low=t.eye_h
        * (0.62 + 0.15 * a[5] - 0.42 * a[7] - 0.65 * a[6] - 0.3 * a[9] - 0.25 * a[12]),
        brow_in=0.13 * a[1] + 0.03 * a[2] - 0.13 * a[4] * (1 - 0.75 * a[1]) - 0.04 * a[9],
        brow_mid=4 * t.arch + 0.1 * a[1] + 0.2 * a[2] - 0.14 * a[4],
        brow_out=0.12 * a[2] - a[4] * (0.03 + 0.05 * a[1]),
        mouth_y=t.mouth_y + 0.03 * a[17] + 0.025 * a[12] + 0.045 * a[10] + 0.025 * a[9],
        mouth_w=t.mouth_w
        * (1 + 0.3 * a[12] + 0.28 * a[20] - 0.1 * a[24] - 0.3 * a[26] * (1 - a[12]) + 0.05 * a[15]),
        corner=0.01 + 0.15 * a[12] - 0.11 * a[15] - 0.04 * a[17] - 0.04 * a[20] - 0.06 * a[10],
        square=0.8 * a[20] + 1.2 * a[10],
        lip_up=0.06 * lips,
        lip_low=0.1 * lips * (1 + 0.15 * a[17]),
        open_up=part * (0.02 + 0.075 * a[12] + 0.09 * a[10] + 0.05 * a[26]),
        open_low=part * (0.055 + 0.05 * a[12] + 0.03 * a[20]) + 0.25 * a[26] * part.clamp(min=0.3),
    )


def _bell(*offsets):
    """About exp(-q) of the sum q of the squared offsets, but zero from q = 4 on, and cheap."""
    return (1 - 0.25 * sum(d**2 for d in offsets)).clamp_(min=0).square_().square_()


class _Canvas:
    """Pixels in face units: ``a, b`` on the picture; ``x, y`` on the turned face, ``u`` = abs(x), ``r`` = 1 on its rim.
    ``bump``, ``band``, ``inside`` give the share of each pixel that a shape covers; ``rgb`` is (n, 3, size, size)."""

    def __init__(self, f, t, size):
        edge = (torch.arange(size, device=f.chin.device) + 0.5) * 2 / size - 1
        col, row, self.px = edge - t.pan, -edge[:, None] - t.lift, 2 / size / t.zoom
        self.a = a = (col * torch.cos(t.roll) + row * torch.sin(t.roll)) / t.zoom
        self.b = b = (row * torch.cos(t.roll) - col * torch.sin(t.roll)) / t.zoom
        v = (b - 0.05) / torch.where(b > 0.05, 0.9 * t.face_h, 0.05 - f.chin)
        q = (a / (t.face_w * (1 - t.jaw * v.clamp(max=0) ** 2))) ** 2 + v**2 * v.abs().sqrt()
        depth = (1 - q).clamp(min=0) + 0.25 * _bell(a / 0.13, (b + 0.12) / 0.2)
        self.x, self.y, self.r = a - t.yaw * depth, b - t.pitch * depth, q.sqrt()
        self.u, self.side, self.face = (
            self.x.abs(),
            self.x.sign(),
            self.inside((self.r - 1) * t.face_w),
        )
        self.rgb = t.wall * (1 + 0.25 * b - 0.25 * (a**2 + b**2))[:, None]

    def bump(self, u, y, wide, high):
        return _bell((self.u - u) / wide, (self.y - y) / high)

    def band(self, low, high):
        return (
            ((high - self.y) / self.px)
            .clamp(-0.5, 0.5)
            .sub_(((low - self.y) / self.px).clamp(-0.5, 0.5))
            .clamp_(min=0)
        )

    def inside(self, distance):
        return (0.5 - distance / self.px).clamp_(
            0, 1
        )  # of a shape whose outline is at a signed distance

    def paint(self, cover, *colour):
        """Lay a colour, the product of triples, numbers and maps, over that share of each pixel."""
        mixed = self.rgb.new_ones(1, 3, 1, 1)
        for part in colour:
            part = (
                self.rgb.new_tensor(part)[None, :, None, None] if isinstance(part, tuple) else part
            )
            mixed = mixed * (part[:, None] if getattr(part, "ndim", 0) == 3 else part)
        self.rgb.lerp_(mixed.expand(len(cover), 3, *mixed.shape[-2:]), cover[:, None])


def _backdrop(c, f, t):
    c.hair = c.inside(
        (((c.a / (t.face_w + 0.09)) ** 2 + (c.b - 0.08).clamp(min=0) ** 2).sqrt() - 1) * 0.7
    ) * (1 - t.bald)
    c.paint(c.hair * torch.maximum(t.long, (c.b * 8 + 1).clamp(0, 1)), t.hair, 0.6)
    c.paint(c.inside(c.a.abs() - 0.42) * (c.b < 0), t.skin, 0.72 - 0.3 * _bell((c.r - 1) / 0.16))
    ear = (
        ((c.a.abs() - t.face_w - 0.02 + c.a.sign() * t.yaw * 0.3) / 0.075) ** 2
        + ((c.b + 0.02) / 0.16) ** 2
    ).sqrt()
    c.paint(c.inside((ear - 1) * 0.08) * (1 - t.long), t.skin, 0.5 + 0.35 * ear.clamp(0, 1))


def _folds(c, f, t):
    """Darkness of the lines that action units fold into the skin, and of its hollows."""
    a, up, old = f.a, c.y - t.eye_y, 0.25 + 0.5 * t.age
    way = ((f.nose_y + 0.03 - c.y) / (f.nose_y + 0.03 - f.mouth_y - 0.5 * f.corner)).clamp(0, 1.15)
    fold = (
        c.u - 0.16 - (f.mouth_w - 0.07) * way - 0.2 * a[12] * way * (1 - way)
    )  # from the nose to the mouth's corner
    deep = torch.maximum(torch.maximum(0.9 * a[12], a[10]), 0.8 * a[9]) + 0.15 * t.age
    dark = 0.5 * deep * _bell(fold / 0.028) * (way * (5.75 - 5 * way)).clamp(0, 1)
    brow = up - t.brow_y - 0.06 * a[1] - 0.25
    wave = torch.cos(62 * brow + 3.1).clamp(min=0) * _bell(brow / 0.13, c.u / (0.16 + 0.3 * a[2]))
    dark += 0.75 * old * torch.maximum(a[1], a[2]) * wave + 0.65 * a[4] * c.bump(
        0.06, t.eye_y + 0.18, 0.022, 0.09
    )
    dark += (
        0.8
        * a[9]
        * torch.cos(60 * up - 54 * c.u).clamp(min=0)
        * c.bump(0.03, t.eye_y - 0.06, 0.08, 0.09)
    )
    bag = _bell(
        (up + f.eye_low + 0.05 + 0.35 * (c.u - t.eye_x) ** 2) / 0.022, (c.u - t.eye_x) / 0.13
    )
    dark += (0.12 * t.age + 0.3 * a[6] + 0.25 * a[7]) * bag + 0.35 * c.bump(
        0, f.nose_y - 0.05, 0.12 * t.nose_w, 0.035
    )
    return (
        dark
        + 0.16 * c.bump(0.11, f.nose_y + 0.22, 0.05, 0.2)
        + 0.12 * c.bump(t.eye_x - 0.1, t.eye_y + 0.07, 0.12, 0.07)
    )


def _skin(c, f, t):
    a, side, low = f.a, t.light * c.side, f.mouth_y - f.open_low - 0.3 * f.lip_low
    shade = 1.1 * t.light * c.a + 0.9 * t.light_y * (c.b + 0.05) - 0.7 * c.r**4
    for (
        u,
        y,
        wide,
        high,
        height,
    ) in (  # the relief: nose, its tip and wings, brow, eyes, forehead, cheeks, mouth, chin
        (0, f.nose_y + 0.2, 0.075, 0.26, 0.11),
        (0, f.nose_y + 0.05, 0.085 * t.nose_w, 0.08, 0.12 + 0.03 * a[9]),
        (0.115 * t.nose_w + 0.015 * a[9], f.nose_y + 0.01, 0.055, 0.055, 0.06),
        (0, 0.52, 0.4, 0.2, 0.06),
        (t.eye_x - 0.03, t.eye_y + 0.03, 0.17, 0.13, -0.1),
        (0.28, t.eye_y + 0.2, 0.25, 0.09, 0.05 + 0.05 * a[4]),
        (0.4 + 0.03 * f.smile, -0.14 + 0.07 * f.smile, 0.19, 0.14, 0.06 + 0.1 * f.smile),
        (0, low - 0.1, 0.16, 0.055, -0.07),
        (f.mouth_w + 0.04, f.mouth_y + f.corner, 0.07, 0.08, -0.04 - 0.04 * a[15]),
        (0, f.chin + 0.16, 0.17, 0.12, 0.12),
    ):
        du, dy = (c.u - u) / wide, (c.y - y) / high
        shade += 2.4 * height * _bell(du, dy) * (side / wide * du + t.light_y / high * dy)
    level = (0.64 + 0.3 * shade / (1 + 0.6 * shade.abs()) - 0.4 * _folds(c, f, t)).clamp(0, 1)
    c.paint(c.face, t.skin, 1.2)
    c.paint(c.face * 0.2 * c.bump(0.4, -0.16, 0.2, 0.15), t.skin, (1.02, 0.7, 0.67))
    c.paint(c.face * (1 - level), t.skin, (0.55, 0.43, 0.41))
    c.paint(
        (3 * c.bump(0.062 * t.nose_w, f.nose_y - 0.028, 0.04 * t.nose_w, 0.02)).clamp(max=0.85),
        t.skin,
        0.28,
    )  # nostrils
    beard = torch.maximum(
        (5 * c.r - 3.3) * (-4 * c.y - 0.5).clamp(0, 1), c.bump(0, f.mouth_y + 0.115, 0.2, 0.04)
    )
    c.paint(beard.clamp(0, 1) * c.face * (1.2 * t.beard).clamp(max=0.85), t.hair, 0.8)


def _mouth(c, f, t):
    s = (c.u / f.mouth_w).clamp(max=1) ** 2
    full, middle = (1 - s) * (1 + f.square * s), f.mouth_y + f.corner * s
    top, bottom = middle + f.open_up * full, middle - f.open_low * full
    c.paint(
        c.band(top, top + (f.lip_up * (1 - 0.3 * _bell(c.u / 0.05)) + 0.004) * full), t.lip, 0.8
    )
    c.paint(
        c.band(bottom - f.lip_low * full, bottom),
        t.lip,
        1 + 0.3 * c.bump(0, bottom - 0.03, 0.13, 0.03),
    )
    c.paint(c.band(bottom, top), (0.24, 0.07, 0.08))
    c.paint(
        c.band(bottom, top) * f.a[26] * c.bump(0, bottom, 0.16, 0.09), (0.7, 0.32, 0.33)
    )  # tongue
    teeth = (0.85 * (top - bottom)).clamp(max=0.075) * (1 - 0.6 * f.a[26] * (1 - f.a[12]))
    c.paint(c.band(top - teeth, top) * (0.95 - 0.5 * s), (0.95, 0.93, 0.88))
    seam = (0.012 + 0.008 * f.a[24]) * (1 - 0.7 * s) * (c.u < f.mouth_w + 0.01)
    c.paint(
        c.band(middle - seam, middle + seam) * (0.9 - 16 * (f.open_up + f.open_low)).clamp(min=0),
        t.lip,
        0.32,
    )


def _eyes(c, f, t):
    s = (c.u - t.eye_x) / t.eye_w
    q, lid = (1 - s**2).clamp(min=0), (1.18 - s**2).clamp(min=0)
    line = t.eye_y + 0.01 * s - 0.012 * f.a[4] * f.a[7] * (1 - s)
    top, low = line + f.eye_up * q, line - f.eye_low * q
    x, y, ball = c.u - t.eye_x - t.gaze * c.side, c.y - t.eye_y - 0.014, c.band(low, top)
    far, glint = (
        (x**2 + y**2).sqrt(),
        ((x * c.side - 0.028 * t.light.sign()) ** 2 + (y - 0.03) ** 2).sqrt(),
    )
    c.paint(ball, (0.94, 0.93, 0.91))
    c.paint(ball * c.inside(far - 0.08), t.iris, (0.5 + 8 * far).clamp(max=1.15))
    c.paint(ball * c.inside(far - 0.038), (0.03, 0.03, 0.03))
    c.paint(0.5 * ball * (1 - 20 * (top - c.y)).clamp(0, 1), (0.1, 0.07, 0.06))  # shadow of the lid
    c.paint(0.9 * ball * c.inside(glint - 0.018), (1, 1, 1))
    c.paint(
        _bell((c.y - top - 0.03 - 0.02 * q + 0.02 * f.a[4]) / 0.016) * lid * (0.6 - 0.3 * f.a[4]),
        t.skin,
        0.5,
    )  # crease
    rim, lash = (
        top - 0.06 * (s.abs() - 1).clamp(min=0),
        (0.018 + 0.01 * t.makeup) * lid.sqrt() * (1 + 0.5 * s),
    )
    c.paint(0.95 * c.band(rim - 0.006 * lid, rim + lash) * (s.abs() < 1.1), t.skin, 0.12)
    c.paint(0.6 * c.band(low - 0.01 * lid, low) * (s.abs() < 1), t.skin, 0.42)
    s = 1 - (0.3 + t.eye_x - c.u) / (
        0.19 + t.eye_x + 0.045 * f.a[4]
    )  # along the brow, from 0 at its inner end to 1
    e = s.clamp(0, 1)
    brow = (
        t.eye_y
        + t.brow_y
        - 0.03 * e
        + f.brow_in * (1 - e) ** 2
        + f.brow_out * e**2
        + e * (1 - e) * f.brow_mid
    )
    thick = (
        0.5 * t.brow_t * (1 - 0.7 * e**2) * (9 * s + 0.6).clamp(0, 1) * (7.2 - 7 * s).clamp(0, 1)
    )
    c.paint(0.88 * c.band(brow - thick, brow + thick), t.hair, 0.55)


def _front(c, f, t):  # hair, glasses, a hand that comes up from below
    bangs = (
        0.37 + 0.03 * torch.sin(13 * c.x + 9 * t.part) + 0.02 * torch.sin(31 * c.x) - 0.2 * c.u**2
    )
    edge = torch.lerp(
        t.hairline + 0.07 - 1.1 * c.u**3 - t.sweep * ((c.x - t.part).abs() - 0.15), bangs, t.fringe
    )
    strand = (
        0.82
        + 0.05 * torch.sin(23 * c.x + 15 * c.x * c.y + 9 * t.part)
        + 0.04 * torch.sin(41 * c.x + 9 * c.y)
    )
    c.paint(
        c.hair * c.inside(edge - c.y),
        t.hair,
        strand + 0.3 * _bell((c.r - 0.88 - 0.1 * t.light * c.a) / 0.13),
    )
    ring = 0.2 * (
        (((c.u - t.eye_x) / 0.235) ** 4 + ((c.y - t.eye_y + 0.02) / 0.175) ** 4).sqrt().sqrt() - 1
    )
    across = torch.where(
        c.u < 0.1,
        (c.y - t.eye_y - 0.02).abs(),
        (c.y - t.eye_y - 0.03).abs() + ((c.u - 0.62).abs() > 0.09),
    )
    c.paint(c.inside(ring) * torch.maximum(0.06 * t.glasses, 0.92 * t.shades), (0.08, 0.08, 0.1))
    c.paint(
        torch.maximum(t.glasses, t.shades) * c.inside(torch.minimum(ring.abs(), across) - 0.014),
        t.frame,
    )
    x, y = c.a - t.hand_x + 1.2 * t.hand_x * (c.b - t.hand_y), c.b - t.hand_y
    k = (x / 0.13 - 0.5).round().clamp(-2, 1) + 0.5
    finger = ((x - 0.13 * k) ** 2 + (y - 0.3 + 0.05 * k**2).clamp(min=0) ** 2).sqrt() - 0.062
    curve = 0.98 - 0.4 * (1 + finger / 0.062).clamp(0, 1) ** 2 * (8 * y).clamp(0, 1)
    c.paint(
        t.hand * c.inside(torch.where(y > 0.05, finger, torch.maximum(x.abs() - 0.25, y - 0.1))),
        t.skin,
        curve,
    )

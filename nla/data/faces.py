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

RAFDB_PROPORTIONS = (1290, 281, 717, 4772, 1982, 705, 2524)  # training images per class in RAF-DB basic
# Action units by FACS number; 24 stands for 23 and 24, 26 for 26 and 27.
UNITS = {1: "inner_brow_raise", 2: "outer_brow_raise", 4: "brow_lower", 5: "lid_raise", 6: "cheek_raise",
         7: "lid_tighten", 9: "nose_wrinkle", 10: "upper_lip_raise", 12: "lip_corner_up", 15: "lip_corner_down",
         17: "chin_raise", 20: "lip_stretch", 24: "lip_press", 25: "lips_part", 26: "jaw_drop", 43: "lid_droop"}
USE = pd.read_csv(Path(__file__).with_name("action_units.csv"), comment="#", index_col=["expression", "unit"])
EXPRESSION_UNITS = {"neutral": {}} | {  # expression: {unit: (strength, share of people who use it)}
    name: USE[["strength", "share"]].loc[name].T.to_dict("list") for name in EXPRESSIONS[:6]}
TRAITS = pd.read_csv(Path(__file__).with_name("traits.csv"), comment="#", index_col=["group", "name"])
IDENTITY, CAMERA, CHANCE = (TRAITS.loc[group].T.to_dict("list") for group in ("identity", "camera", "chance"))
SKIN = torch.tensor([[.35, .22, .17], [.5, .33, .24], [.66, .47, .36], [.8, .6, .48], [.9, .72, .6], [.95, .82, .73]])
HAIR = torch.tensor([[.1, .08, .08], [.18, .13, .1], [.33, .22, .15], [.53, .34, .2], [.78, .63, .4], [.67, .66, .66]])
IRIS = torch.tensor([[.22, .14, .09], [.36, .24, .13], [.36, .42, .26], [.33, .49, .61]])
FACTS = ("yaw", "pitch", "roll", "light", "blur", "grain", "beard", "fringe", "glasses", "shades", "hand")


def make_faces(n, seed, size=48, ambiguous=0.2, noisy=0.0, proportions=RAFDB_PROPORTIONS, split="train",
               nuisance=1.0, chunk=32, progress=False) -> tuple[Tensor, pd.DataFrame]:
    """Draw ``n`` faces: images, uint8 (n, 3, size, size), and the manifest, a row for each.

    Columns: ``row``, ``label``, ``true_label``, ``split``, ``kind``, the true distribution ``p_<class>``, the units
    ``au_<name>`` in 0..1, ``intensity`` and ``FACTS``. Kinds: *clean*, one expression, ``label`` = ``true_label``;
    *ambiguous* (that fraction of all), the units of two expressions mixed by weights in .35 to .65, the true
    distribution: ``label`` is drawn from it, ``true_label`` is its argmax; *noisy* (that fraction), a clean face with
    another class for a label. ``true_label`` follows ``proportions``, rounded; ``noisy`` changes no pixel, ``chunk``
    (faces drawn at once) nothing; ``nuisance`` scales pose, light, blur, grain, occlusion. Bad input: ValueError."""
    if n < 1 or size < 16 or nuisance < 0:
        raise ValueError(f"n is {n}, size {size}, nuisance {nuisance}: they have to be at least 1, 16 and 0")
    if not (ambiguous >= 0 and noisy >= 0 and ambiguous + noisy <= 1):
        raise ValueError(f"ambiguous is {ambiguous}, noisy {noisy}: fractions of all, at least 0 and together up to 1")
    if len(proportions) != 7 or not min(proportions) >= 0 or not sum(proportions) > 0:
        raise ValueError(f"proportions is {proportions}: give seven numbers, one per class, none below 0, not all 0")
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}: use one of {', '.join(SPLITS)}")
    generator = torch.Generator().manual_seed(seed)
    columns, units = _plant(n, ambiguous, noisy, proportions, generator)
    traits, images = draw_traits(n, generator, nuisance), torch.empty(n, 3, size, size, dtype=torch.uint8)
    for rows in tqdm(torch.arange(n).split(chunk), "drawing faces", unit_scale=chunk, unit="face", leave=False,
                     disable=not progress):
        grain = torch.rand(len(rows), 3, 48, 48, generator=generator) - .5
        images[rows] = render(units[rows], {k: v[rows] for k, v in traits.items()}, size, grain)
    columns |= {f"au_{name}": units[:, i] for i, name in enumerate(UNITS.values())} | {k: traits[k] for k in FACTS}
    manifest = pd.DataFrame({"row": range(n)} | {k: v.numpy() for k, v in columns.items()})
    return images, manifest.assign(split=split, kind=[KINDS[k] for k in manifest["kind"]])


def _plant(n, ambiguous, noisy, proportions, generator):
    """Labels, kinds and true distributions (a dict of columns), and the action units (n, 16) that show them."""
    rand = partial(torch.rand, generator=generator)
    share = torch.tensor(proportions, dtype=torch.float64) * n / sum(proportions)
    counts = share.long()
    counts[(share - counts).argsort(descending=True, stable=True)[:n - int(counts.sum())]] += 1
    true = torch.arange(7).repeat_interleave(counts)[torch.randperm(n, generator=generator)]
    other, wrong = (true + torch.randint(1, 7, (2, n), generator=generator)) % 7
    place, mixed = torch.randperm(n, generator=generator), round(ambiguous * n)
    kind = (place < mixed).long() + 2 * (place >= mixed) * (place < mixed + round(noisy * n))
    weight = torch.where(kind == 1, .65 - .15 * rand(n), 1.)[:, None]
    p = torch.eye(7)[true] * weight + torch.eye(7)[other] * (1 - weight)
    label = torch.where(kind == 2, wrong, torch.where(rand(n) < weight[:, 0], true, other))
    intensity = 1 - torch.where(kind == 1, .2, .3) * rand(n)
    table = torch.tensor([[EXPRESSION_UNITS[e].get(k, (0, 0)) for k in UNITS] for e in EXPRESSIONS[:7]])
    shown = (p[:, None] @ (table[..., 0] * (rand(n, 7, len(UNITS)) < table[..., 1])))[:, 0] * intensity[:, None]
    jitter, stray = torch.randn(2, n, len(UNITS), generator=generator)
    units = (shown * (1 + .15 * jitter) + .05 * stray.abs()).clamp(0, 1)
    columns = {"label": label, "true_label": true, "kind": kind, "intensity": intensity}
    return columns | {f"p_{e}": p[:, i] for i, e in enumerate(EXPRESSIONS[:7])}, units


def draw_traits(n, generator, nuisance=1.0) -> dict[str, Tensor]:
    """Everything about ``n`` faces but their expression: tensors (n,), colours (n, 3)."""
    rand = partial(torch.rand, generator=generator)
    t = {k: mean + spread * (nuisance if k in CAMERA else 1) * torch.randn(n, generator=generator).clamp(-2.2, 2.2)
         for k, (mean, spread) in (IDENTITY | CAMERA).items()}
    t |= {k: rand(n) < p * (nuisance if k in FACTS else 1) for k, (p, _) in CHANCE.items()}
    t |= {k: t[k].clamp(min=0) for k in ("age", "makeup", "beard", "blur", "grain")}
    t["makeup"], t["beard"] = t["makeup"] * (t["beard"] == 0), t["beard"] * ~t["long"]
    dice, tone, dark = rand(n, 12), 4.999 * rand(n), rand(n)
    skin = torch.lerp(SKIN[tone.long()], SKIN[tone.long() + 1], tone.frac()[:, None])
    lip = torch.lerp(skin * torch.tensor([.88, .6, .57]), torch.tensor([.72, .14, .2]), .7 * t["makeup"][:, None])
    return t | {"skin": skin * (.96 + .08 * dice[:, 0:3]), "lip": lip, "iris": IRIS[(dark * (1 + .6 * tone)).long()],
                "hair": HAIR[(dark * (1.5 + tone).clamp(max=6)).long()] * (.85 + .3 * dice[:, 10:11]),
                "wall": (.2 + .65 * dice[:, 6:7]) * (.75 + .4 * dice[:, 7:10]), "frame": .03 + .2 * dice[:, 3:6],
                "hand_x": dice[:, 11] - .5, "hand_y": -1.05 + .45 * dice[:, 10]}


def render(units: Tensor, traits: dict[str, Tensor], size: int = 48, grain: Tensor | None = None) -> Tensor:
    """Draw uint8 (n, 3, size, size) from ``units`` (n, 16), in 0..1 and the order of ``UNITS``, ``draw_traits`` and
    film grain (n, 3, h, w). Fade one row of units into another under equal traits: one person changes expression."""
    t = SimpleNamespace(**{k: v.float()[(...,) + (None,) * 2] for k, v in traits.items()})
    f = _landmarks({k: units[:, i, None, None] for i, k in enumerate(UNITS)}, t)
    c = _Canvas(f, t, size)
    for part in (_backdrop, _skin, _mouth, _eyes, _front):
        part(c, f, t)
    step = torch.arange(size, device=units.device) / size
    lens = torch.softmax(-((step[:, None] - step) / (2 * t.blur + .25 / size)) ** 2, -1)[:, None]
    rgb = lens @ (c.rgb * t.gain[:, None]) @ lens.mT
    if grain is not None:
        rgb += torch.nn.functional.interpolate(grain, size=(size, size), mode="bilinear") * t.grain[:, None]
    return (rgb.clamp(0, 1) * 255).round().to(torch.uint8)


def _landmarks(a, t):
    """Where action units ``a`` move the parts of a face: a namespace of (n, 1, 1) tensors."""
    part, lips = a[25] * (1 - .8 * a[24]), t.lips * (1 - .75 * a[24]) * (1 - .25 * a[12]) * (1 - .25 * a[20])
    return SimpleNamespace(
        a=a, chin=-.95 - .07 * a[26], nose_y=t.nose_y + .055 * a[9] + .015 * a[10], smile=a[12].maximum(.7 * a[6]),
        eye_up=t.eye_h * (1 + .7 * a[5] - .28 * a[7] - .22 * a[6] - .3 * a[9] - .5 * a[43]).clamp(min=.2),
        eye_low=t.eye_h * (.62 + .15 * a[5] - .42 * a[7] - .65 * a[6] - .3 * a[9] - .25 * a[12]),
        brow_in=.13 * a[1] + .03 * a[2] - .13 * a[4] * (1 - .75 * a[1]) - .04 * a[9],
        brow_mid=4 * t.arch + .1 * a[1] + .2 * a[2] - .14 * a[4], brow_out=.12 * a[2] - a[4] * (.03 + .05 * a[1]),
        mouth_y=t.mouth_y + .03 * a[17] + .025 * a[12] + .045 * a[10] + .025 * a[9],
        mouth_w=t.mouth_w * (1 + .3 * a[12] + .28 * a[20] - .1 * a[24] - .3 * a[26] * (1 - a[12]) + .05 * a[15]),
        corner=.01 + .15 * a[12] - .11 * a[15] - .04 * a[17] - .04 * a[20] - .06 * a[10],
        square=.8 * a[20] + 1.2 * a[10], lip_up=.06 * lips, lip_low=.1 * lips * (1 + .15 * a[17]),
        open_up=part * (.02 + .075 * a[12] + .09 * a[10] + .05 * a[26]),
        open_low=part * (.055 + .05 * a[12] + .03 * a[20]) + .25 * a[26] * part.clamp(min=.3))


def _bell(*offsets):
    """About exp(-q) of the sum q of the squared offsets, but zero from q = 4 on, and cheap."""
    return (1 - .25 * sum(d ** 2 for d in offsets)).clamp_(min=0).square_().square_()


class _Canvas:
    """Pixels in face units: ``a, b`` on the picture; ``x, y`` on the turned face, ``u`` = abs(x), ``r`` = 1 on its rim.
    ``bump``, ``band``, ``inside`` give the share of each pixel that a shape covers; ``rgb`` is (n, 3, size, size)."""

    def __init__(self, f, t, size):
        edge = (torch.arange(size, device=f.chin.device) + .5) * 2 / size - 1
        col, row, self.px = edge - t.pan, -edge[:, None] - t.lift, 2 / size / t.zoom
        self.a = a = (col * torch.cos(t.roll) + row * torch.sin(t.roll)) / t.zoom
        self.b = b = (row * torch.cos(t.roll) - col * torch.sin(t.roll)) / t.zoom
        v = (b - .05) / torch.where(b > .05, .9 * t.face_h, .05 - f.chin)
        q = (a / (t.face_w * (1 - t.jaw * v.clamp(max=0) ** 2))) ** 2 + v ** 2 * v.abs().sqrt()
        depth = (1 - q).clamp(min=0) + .25 * _bell(a / .13, (b + .12) / .2)
        self.x, self.y, self.r = a - t.yaw * depth, b - t.pitch * depth, q.sqrt()
        self.u, self.side, self.face = self.x.abs(), self.x.sign(), self.inside((self.r - 1) * t.face_w)
        self.rgb = t.wall * (1 + .25 * b - .25 * (a ** 2 + b ** 2))[:, None]

    def bump(self, u, y, wide, high):
        return _bell((self.u - u) / wide, (self.y - y) / high)

    def band(self, low, high):
        return ((high - self.y) / self.px).clamp(-.5, .5).sub_(((low - self.y) / self.px).clamp(-.5, .5)).clamp_(min=0)

    def inside(self, distance):
        return (.5 - distance / self.px).clamp_(0, 1)  # of a shape whose outline is at a signed distance

    def paint(self, cover, *colour):
        """Lay a colour, the product of triples, numbers and maps, over that share of each pixel."""
        mixed = self.rgb.new_ones(1, 3, 1, 1)
        for part in colour:
            part = self.rgb.new_tensor(part)[None, :, None, None] if isinstance(part, tuple) else part
            mixed = mixed * (part[:, None] if getattr(part, "ndim", 0) == 3 else part)
        self.rgb.lerp_(mixed.expand(len(cover), 3, *mixed.shape[-2:]), cover[:, None])


def _backdrop(c, f, t):
    c.hair = c.inside((((c.a / (t.face_w + .09)) ** 2 + (c.b - .08).clamp(min=0) ** 2).sqrt() - 1) * .7) * (1 - t.bald)
    c.paint(c.hair * torch.maximum(t.long, (c.b * 8 + 1).clamp(0, 1)), t.hair, .6)
    c.paint(c.inside(c.a.abs() - .42) * (c.b < 0), t.skin, .72 - .3 * _bell((c.r - 1) / .16))
    ear = (((c.a.abs() - t.face_w - .02 + c.a.sign() * t.yaw * .3) / .075) ** 2 + ((c.b + .02) / .16) ** 2).sqrt()
    c.paint(c.inside((ear - 1) * .08) * (1 - t.long), t.skin, .5 + .35 * ear.clamp(0, 1))


def _folds(c, f, t):
    """Darkness of the lines that action units fold into the skin, and of its hollows."""
    a, up, old = f.a, c.y - t.eye_y, .25 + .5 * t.age
    way = ((f.nose_y + .03 - c.y) / (f.nose_y + .03 - f.mouth_y - .5 * f.corner)).clamp(0, 1.15)
    fold = c.u - .16 - (f.mouth_w - .07) * way - .2 * a[12] * way * (1 - way)  # from the nose to the mouth's corner
    deep = torch.maximum(torch.maximum(.9 * a[12], a[10]), .8 * a[9]) + .15 * t.age
    dark = .5 * deep * _bell(fold / .028) * (way * (5.75 - 5 * way)).clamp(0, 1)
    brow = up - t.brow_y - .06 * a[1] - .25
    wave = torch.cos(62 * brow + 3.1).clamp(min=0) * _bell(brow / .13, c.u / (.16 + .3 * a[2]))
    dark += .75 * old * torch.maximum(a[1], a[2]) * wave + .65 * a[4] * c.bump(.06, t.eye_y + .18, .022, .09)
    dark += .8 * a[9] * torch.cos(60 * up - 54 * c.u).clamp(min=0) * c.bump(.03, t.eye_y - .06, .08, .09)
    bag = _bell((up + f.eye_low + .05 + .35 * (c.u - t.eye_x) ** 2) / .022, (c.u - t.eye_x) / .13)
    dark += (.12 * t.age + .3 * a[6] + .25 * a[7]) * bag + .35 * c.bump(0, f.nose_y - .05, .12 * t.nose_w, .035)
    return dark + .16 * c.bump(.11, f.nose_y + .22, .05, .2) + .12 * c.bump(t.eye_x - .1, t.eye_y + .07, .12, .07)


def _skin(c, f, t):
    a, side, low = f.a, t.light * c.side, f.mouth_y - f.open_low - .3 * f.lip_low
    shade = 1.1 * t.light * c.a + .9 * t.light_y * (c.b + .05) - .7 * c.r ** 4
    for u, y, wide, high, height in (  # the relief: nose, its tip and wings, brow, eyes, forehead, cheeks, mouth, chin
            (0, f.nose_y + .2, .075, .26, .11), (0, f.nose_y + .05, .085 * t.nose_w, .08, .12 + .03 * a[9]),
            (.115 * t.nose_w + .015 * a[9], f.nose_y + .01, .055, .055, .06), (0, .52, .4, .2, .06),
            (t.eye_x - .03, t.eye_y + .03, .17, .13, -.1), (.28, t.eye_y + .2, .25, .09, .05 + .05 * a[4]),
            (.4 + .03 * f.smile, -.14 + .07 * f.smile, .19, .14, .06 + .1 * f.smile), (0, low - .1, .16, .055, -.07),
            (f.mouth_w + .04, f.mouth_y + f.corner, .07, .08, -.04 - .04 * a[15]), (0, f.chin + .16, .17, .12, .12)):
        du, dy = (c.u - u) / wide, (c.y - y) / high
        shade += 2.4 * height * _bell(du, dy) * (side / wide * du + t.light_y / high * dy)
    level = (.64 + .3 * shade / (1 + .6 * shade.abs()) - .4 * _folds(c, f, t)).clamp(0, 1)
    c.paint(c.face, t.skin, 1.2)
    c.paint(c.face * .2 * c.bump(.4, -.16, .2, .15), t.skin, (1.02, .7, .67))
    c.paint(c.face * (1 - level), t.skin, (.55, .43, .41))
    c.paint((3 * c.bump(.062 * t.nose_w, f.nose_y - .028, .04 * t.nose_w, .02)).clamp(max=.85), t.skin, .28)  # nostrils
    beard = torch.maximum((5 * c.r - 3.3) * (-4 * c.y - .5).clamp(0, 1), c.bump(0, f.mouth_y + .115, .2, .04))
    c.paint(beard.clamp(0, 1) * c.face * (1.2 * t.beard).clamp(max=.85), t.hair, .8)


def _mouth(c, f, t):
    s = (c.u / f.mouth_w).clamp(max=1) ** 2
    full, middle = (1 - s) * (1 + f.square * s), f.mouth_y + f.corner * s
    top, bottom = middle + f.open_up * full, middle - f.open_low * full
    c.paint(c.band(top, top + (f.lip_up * (1 - .3 * _bell(c.u / .05)) + .004) * full), t.lip, .8)
    c.paint(c.band(bottom - f.lip_low * full, bottom), t.lip, 1 + .3 * c.bump(0, bottom - .03, .13, .03))
    c.paint(c.band(bottom, top), (.24, .07, .08))
    c.paint(c.band(bottom, top) * f.a[26] * c.bump(0, bottom, .16, .09), (.7, .32, .33))  # tongue
    teeth = (.85 * (top - bottom)).clamp(max=.075) * (1 - .6 * f.a[26] * (1 - f.a[12]))
    c.paint(c.band(top - teeth, top) * (.95 - .5 * s), (.95, .93, .88))
    seam = (.012 + .008 * f.a[24]) * (1 - .7 * s) * (c.u < f.mouth_w + .01)
    c.paint(c.band(middle - seam, middle + seam) * (.9 - 16 * (f.open_up + f.open_low)).clamp(min=0), t.lip, .32)


def _eyes(c, f, t):
    s = (c.u - t.eye_x) / t.eye_w
    q, lid = (1 - s ** 2).clamp(min=0), (1.18 - s ** 2).clamp(min=0)
    line = t.eye_y + .01 * s - .012 * f.a[4] * f.a[7] * (1 - s)
    top, low = line + f.eye_up * q, line - f.eye_low * q
    x, y, ball = c.u - t.eye_x - t.gaze * c.side, c.y - t.eye_y - .014, c.band(low, top)
    far, glint = (x ** 2 + y ** 2).sqrt(), ((x * c.side - .028 * t.light.sign()) ** 2 + (y - .03) ** 2).sqrt()
    c.paint(ball, (.94, .93, .91))
    c.paint(ball * c.inside(far - .08), t.iris, (.5 + 8 * far).clamp(max=1.15))
    c.paint(ball * c.inside(far - .038), (.03, .03, .03))
    c.paint(.5 * ball * (1 - 20 * (top - c.y)).clamp(0, 1), (.1, .07, .06))  # shadow of the lid
    c.paint(.9 * ball * c.inside(glint - .018), (1, 1, 1))
    c.paint(_bell((c.y - top - .03 - .02 * q + .02 * f.a[4]) / .016) * lid * (.6 - .3 * f.a[4]), t.skin, .5)  # crease
    rim, lash = top - .06 * (s.abs() - 1).clamp(min=0), (.018 + .01 * t.makeup) * lid.sqrt() * (1 + .5 * s)
    c.paint(.95 * c.band(rim - .006 * lid, rim + lash) * (s.abs() < 1.1), t.skin, .12)
    c.paint(.6 * c.band(low - .01 * lid, low) * (s.abs() < 1), t.skin, .42)
    s = 1 - (.3 + t.eye_x - c.u) / (.19 + t.eye_x + .045 * f.a[4])  # along the brow, from 0 at its inner end to 1
    e = s.clamp(0, 1)
    brow = t.eye_y + t.brow_y - .03 * e + f.brow_in * (1 - e) ** 2 + f.brow_out * e ** 2 + e * (1 - e) * f.brow_mid
    thick = .5 * t.brow_t * (1 - .7 * e ** 2) * (9 * s + .6).clamp(0, 1) * (7.2 - 7 * s).clamp(0, 1)
    c.paint(.88 * c.band(brow - thick, brow + thick), t.hair, .55)


def _front(c, f, t):  # hair, glasses, a hand that comes up from below
    bangs = .37 + .03 * torch.sin(13 * c.x + 9 * t.part) + .02 * torch.sin(31 * c.x) - .2 * c.u ** 2
    edge = torch.lerp(t.hairline + .07 - 1.1 * c.u ** 3 - t.sweep * ((c.x - t.part).abs() - .15), bangs, t.fringe)
    strand = .82 + .05 * torch.sin(23 * c.x + 15 * c.x * c.y + 9 * t.part) + .04 * torch.sin(41 * c.x + 9 * c.y)
    c.paint(c.hair * c.inside(edge - c.y), t.hair, strand + .3 * _bell((c.r - .88 - .1 * t.light * c.a) / .13))
    ring = .2 * ((((c.u - t.eye_x) / .235) ** 4 + ((c.y - t.eye_y + .02) / .175) ** 4).sqrt().sqrt() - 1)
    across = torch.where(c.u < .1, (c.y - t.eye_y - .02).abs(), (c.y - t.eye_y - .03).abs() + ((c.u - .62).abs() > .09))
    c.paint(c.inside(ring) * torch.maximum(.06 * t.glasses, .92 * t.shades), (.08, .08, .1))
    c.paint(torch.maximum(t.glasses, t.shades) * c.inside(torch.minimum(ring.abs(), across) - .014), t.frame)
    x, y = c.a - t.hand_x + 1.2 * t.hand_x * (c.b - t.hand_y), c.b - t.hand_y
    k = (x / .13 - .5).round().clamp(-2, 1) + .5
    finger = ((x - .13 * k) ** 2 + (y - .3 + .05 * k ** 2).clamp(min=0) ** 2).sqrt() - .062
    curve = .98 - .4 * (1 + finger / .062).clamp(0, 1) ** 2 * (8 * y).clamp(0, 1)
    c.paint(t.hand * c.inside(torch.where(y > .05, finger, torch.maximum(x.abs() - .25, y - .1))), t.skin, curve)

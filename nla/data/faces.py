"""Parametric faces with planted truth: of every image we know which expressions it shows, and how much of each.

A face is drawn, not recorded. An expression is a vector of facial action units (AUs), the muscle movements of
the Facial Action Coding System (Ekman & Friesen 1978). Which units make an expression, and the share of people
who use each, follow Du, Tao & Martinez (2014, Compound facial expressions of emotion, PNAS 111:E1454, table 1);
lids and mouths of fear, disgust, sadness and anger also follow EMFACS (Friesen & Ekman 1983); shares are rounded
up where a small drawing would be unreadable without the unit. Identity, pose, light, occlusion and camera vary
independently of the expression. Every part is a band between two curves, filled with the share of the pixel it
covers, on a relief of smooth bumps lit from one side, in face units (the image spans -1..1, y up): size-free.
"""

from types import SimpleNamespace

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from nla.data.manifest import EXPRESSIONS, KINDS, SPLITS

RAFDB_PROPORTIONS = (1290, 281, 717, 4772, 1982, 705, 2524)  # training images per class in RAF-DB basic
UNITS = {1: "inner_brow_raise", 2: "outer_brow_raise", 4: "brow_lower", 5: "lid_raise", 6: "cheek_raise",
         7: "lid_tighten", 9: "nose_wrinkle", 10: "upper_lip_raise", 12: "lip_corner_up", 15: "lip_corner_down",
         17: "chin_raise", 20: "lip_stretch", 24: "lip_press", 25: "lips_part", 26: "jaw_drop", 43: "lid_droop"}
"""The action units a face is made of, by FACS number; 24 stands for 23 + 24, 26 for 26 + 27."""
EXPRESSION_UNITS = {  # expression: {unit: (strength, share of people who use it)}
    "surprise": {1: (.9, 1), 2: (1, 1), 5: (.9, .8), 25: (.8, 1), 26: (.9, 1)},
    "fear": {1: (1, 1), 2: (.5, .6), 4: (.7, 1), 5: (1, .8), 20: (1, 1), 25: (.7, 1), 26: (.3, .33)},
    "disgust": {9: (1, 1), 10: (1, 1), 17: (.3, .7), 4: (.6, .5), 7: (.7, .7), 25: (.6, .6)},
    "happiness": {12: (1, 1), 6: (.9, .7), 25: (.8, .8), 26: (.3, .2)},
    "sadness": {1: (.9, .9), 4: (.5, 1), 15: (1, 1), 17: (.5, .67), 43: (.6, .7)},
    "anger": {4: (1, 1), 7: (.8, 1), 24: (1, .75), 5: (.5, .5), 17: (.4, .5), 10: (.4, .26), 25: (.5, .2)},
    "neutral": {}}
SKIN = torch.tensor([[88, 56, 42], [122, 80, 58], [162, 114, 86], [200, 150, 118], [228, 182, 150], [244, 210, 186]])
HAIR = torch.tensor([[24, 20, 20], [46, 32, 26], [84, 56, 38], [134, 86, 50], [198, 160, 102], [172, 170, 168]])
IRIS = torch.tensor([[56, 36, 22], [92, 60, 34], [92, 108, 66], [84, 124, 156]])
IDENTITY = {  # mean and standard deviation (cut off at 2.2 of them), in face units or as a factor
    "face_w": (.69, .03), "face_h": (1, .03), "jaw": (.13, .05), "eye_x": (.315, .014), "eye_y": (.12, .015),
    "eye_w": (.17, .012), "eye_h": (.085, .008), "tilt": (.01, .012), "brow_y": (.205, .016), "brow_t": (.055, .01),
    "arch": (.035, .014), "nose_w": (1, .1), "nose_y": (-.21, .02), "mouth_y": (-.5, .018), "mouth_w": (.25, .016),
    "lips": (1, .18), "hairline": (.68, .05), "part": (0, .3), "sweep": (.2, .15), "volume": (.09, .03),
    "skew": (0, .02), "age": (.5, .25), "blush": (.2, .1), "makeup": (0, .5), "beard": (-.7, .7), "phase": (3, 2)}
CAMERA = {  # likewise, the deviations scaled by ``nuisance``
    "yaw": (0, .04), "pitch": (0, .025), "roll": (0, .025), "zoom": (.98, .02), "shift_x": (0, .015),
    "shift_y": (0, .015), "light": (0, .35), "light_y": (.5, .15), "contrast": (1, .15), "exposure": (1, .06),
    "warmth": (0, .04), "gaze_x": (0, .015), "gaze_y": (0, .008), "blur": (0, .003), "grain": (.01, .02)}
STYLE, OCCLUSION = {"long": .5, "bald": .08}, {"fringe": .12, "glasses": .13, "shades": .015, "hand": .05}  # chances
FACTS = ("yaw", "pitch", "roll", "light", "blur", "grain", "beard", *OCCLUSION)  # traits that the manifest records


def make_faces(n, seed, size=48, ambiguous=0.2, noisy=0.0, proportions=RAFDB_PROPORTIONS, split="train",
               nuisance=1.0, chunk=32):
    """Draw ``n`` faces; return ``(images, manifest)``: uint8 (n, 3, size, size) and a row per image.

    The manifest holds ``row``, ``label``, ``true_label``, ``split``, ``kind``, the true distribution ``p_<class>``,
    the units ``au_<name>`` in 0..1, ``intensity`` and ``FACTS``. The ``kind`` is
    *clean*: one expression, ``label`` = ``true_label``; *ambiguous* (that fraction of all): the units of two
    expressions mixed with a weight in .35 to .65, which is the true distribution, ``label`` drawn from it and
    ``true_label`` its argmax; or *noisy* (that fraction): a clean face with another class drawn as ``label``.

    ``true_label`` follows ``proportions`` up to rounding. Equal arguments give equal bytes whatever ``chunk``, the
    number drawn at once, is; ``noisy`` changes labels, never pixels. ``nuisance`` scales pose, light, blur, grain and
    occlusion (0: a studio). Raises ValueError naming the argument that is out of range.
    """
    for name, value, low, high in (("n", n, 1, 1e9), ("size", size, 16, 4096), ("ambiguous", ambiguous, 0, 1),
                                   ("noisy", noisy, 0, 1), ("nuisance", nuisance, 0, 5), ("chunk", chunk, 1, 1e9),
                                   ("ambiguous + noisy", ambiguous + noisy, 0, 1)):
        if not low <= value <= high:
            raise ValueError(f"{name} is {value}: it has to be from {low:g} to {high:g}")
    if len(proportions) != 7 or min(proportions) < 0 or not 0 < sum(proportions) < float("inf"):
        raise ValueError(f"proportions is {proportions}: give seven numbers >= 0, one per expression, not all 0")
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}: use one of {', '.join(SPLITS)}")
    generator = torch.Generator().manual_seed(seed)
    columns, units = _plant(n, ambiguous, noisy, proportions, generator)
    traits = draw_traits(n, generator, nuisance)
    images = torch.empty(n, 3, size, size, dtype=torch.uint8)
    for rows in torch.arange(n).split(chunk):
        grain = torch.rand(len(rows), 3, 48, 48, generator=generator) - .5
        images[rows] = render(units[rows], {k: v[rows] for k, v in traits.items()}, size, grain)
    columns |= {f"au_{name}": units[:, i] for i, name in enumerate(UNITS.values())} | {k: traits[k] for k in FACTS}
    manifest = pd.DataFrame({"row": range(n)} | {k: v.numpy() for k, v in columns.items()})
    manifest["kind"] = [KINDS[k] for k in manifest["kind"]]
    manifest.insert(3, "split", split)
    return images, manifest


def _plant(n, ambiguous, noisy, proportions, generator):
    """Labels, kinds and true distributions (a dict of columns), and the action units (n, 16) that show them."""
    share = torch.tensor(proportions, dtype=torch.float64) * n / sum(proportions)
    counts = share.long()
    counts[(share - counts).argsort(descending=True, stable=True)[:n - int(counts.sum())]] += 1
    true = torch.arange(7).repeat_interleave(counts)[torch.randperm(n, generator=generator)]
    other, wrong = (true + torch.randint(1, 7, (2, n), generator=generator)) % 7
    place, mixed = torch.randperm(n, generator=generator), round(ambiguous * n)
    kind = (place < mixed).long() + 2 * (place >= mixed) * (place < mixed + round(noisy * n))
    chance = torch.rand(3, n, generator=generator)
    weight = torch.where(kind == 1, .5 + .15 * chance[0], 1.)
    p = F.one_hot(true, 7) * weight[:, None] + F.one_hot(other, 7) * (1 - weight)[:, None]
    label = torch.where(kind == 2, wrong, torch.where(chance[1] < weight, true, other))
    intensity = torch.where(kind == 1, .8 + .2 * chance[2], .7 + .3 * chance[2])
    table = torch.tensor([[EXPRESSION_UNITS[e].get(k, (0, 0)) for k in UNITS] for e in EXPRESSIONS[:7]])
    shown = table[..., 0] * (torch.rand(n, 7, len(UNITS), generator=generator) < table[..., 1])
    jitter, stray = torch.randn(2, n, len(UNITS), generator=generator)
    units = (p[:, None] @ shown)[:, 0] * intensity[:, None] * (1 + .15 * jitter) + .05 * stray.abs()
    columns = {"label": label, "true_label": true, "kind": kind, "intensity": intensity}
    return columns | {f"p_{e}": p[:, i] for i, e in enumerate(EXPRESSIONS[:7])}, units.clamp(0, 1)


def draw_traits(n, generator, nuisance=1.0):
    """Everything about ``n`` faces but their expression: a dict of tensors, (n,) or for colours (n, 3)."""
    normal = IDENTITY | {k: (mean, spread * nuisance) for k, (mean, spread) in CAMERA.items()}
    t = {k: mean + spread * torch.randn(n, generator=generator).clamp(-2.2, 2.2) for k, (mean, spread) in normal.items()}
    chances = STYLE | {k: p * nuisance for k, p in OCCLUSION.items()}
    t |= {k: torch.rand(n, generator=generator) < p for k, p in chances.items()}
    t |= {k: t[k].clamp(min=0) for k in ("age", "makeup", "beard", "blur", "grain", "blush")}
    t["makeup"], t["beard"] = t["makeup"] * (t["beard"] == 0), t["beard"] * ~t["long"]
    dice = torch.rand(n, 14, generator=generator)
    tone, dark, shade = 4.999 * dice[:, 0], dice[:, 1], .96 + .08 * dice[:, 2:5]
    t["skin"] = torch.lerp(SKIN[tone.long()] / 255, SKIN[tone.long() + 1] / 255, tone.frac()[:, None]) * shade
    t["hair"] = HAIR[(dark * (1.5 + tone).clamp(max=6)).long()] / 255 * (.85 + .3 * dice[:, 5:6])
    t["iris"], t["cloth"] = IRIS[(dark * (1 + tone * .6)).long()] / 255, .1 + .6 * dice[:, 6:9]
    t["wall"] = (.2 + .65 * dice[:, 9:10]) * (.75 + .4 * dice[:, 10:13])
    t["hand_x"], t["hand_y"] = dice[:, 13] - .5, -1.05 + .45 * dice[:, 5]
    return t


def render(units: Tensor, traits: dict[str, Tensor], size: int = 48, grain: Tensor | None = None) -> Tensor:
    """Draw faces as uint8 (n, 3, size, size): ``units`` (n, 16) in 0..1 in the order of ``UNITS``, ``traits`` as from
    ``draw_traits``, film grain (n, 3, h, w) in -.5..5 if any. Fade one row of units into another under the same
    traits, and the same person changes expression.
    """
    t = SimpleNamespace(**{k: v.float()[(...,) + (None,) * 2] for k, v in traits.items()})
    f = _landmarks({k: units[:, i, None, None] for i, k in enumerate(UNITS)}, t)
    g = _grid(f, t, size)
    rgb = _background(g, t)
    for part in (_skin, _mouth, _eyes, _hair, _occluders):
        part(rgb, g, f, t)
    return _photograph(rgb, t, grain)


def _landmarks(a, t):
    """Where action units ``a`` move the parts of a face: a namespace of (n, 1, 1) tensors."""
    part, smile = a[25] * (1 - .8 * a[24]), torch.maximum(a[12], .7 * a[6])
    return SimpleNamespace(
        a=a, smile=smile, chin=-.95 - .07 * a[26],
        eye_up=t.eye_h * (1 + .7 * a[5] - .28 * a[7] - .22 * a[6] - .3 * a[9] - .5 * a[43]).clamp(min=.2),
        eye_low=t.eye_h * (.62 + .15 * a[5] - .42 * a[7] - .65 * a[6] - .3 * a[9] - .25 * a[12]),
        brow_in=.13 * a[1] + .03 * a[2] - .13 * a[4] * (1 - .75 * a[1]) - .04 * a[9],
        brow_mid=.05 * a[1] + .1 * a[2] - .07 * a[4] - .03 * a[9],
        brow_out=.12 * a[2] - .05 * a[1] * a[4] - .03 * a[4], brow_x=.11 - .045 * a[4],
        nose_y=t.nose_y + .055 * a[9] + .015 * a[10],
        mouth_y=t.mouth_y + .03 * a[17] + .025 * a[12] + .045 * a[10] + .025 * a[9],
        mouth_w=t.mouth_w * (1 + .3 * a[12] + .28 * a[20] - .1 * a[24] - .3 * a[26] * (1 - a[12]) + .05 * a[15]),
        corner=.01 + .15 * a[12] - .11 * a[15] - .04 * a[17] - .04 * a[20] - .06 * a[10],
        open_up=part * (.02 + .075 * a[12] + .09 * a[10] + .05 * a[26]),
        open_low=part * (.055 + .05 * a[12] + .03 * a[20]) + .25 * a[26] * part.clamp(min=.3),
        square=.8 * a[20] + 1.2 * a[10],
        lip_up=.06 * t.lips * (1 - .75 * a[24]) * (1 - .3 * a[12]) * (1 - .25 * a[20]),
        lip_low=.082 * t.lips * (1 - .7 * a[24]) * (1 - .2 * a[12]) * (1 - .25 * a[20]) * (1 + .15 * a[17]))


def _grid(f, t, size):
    """Pixels in face units: ``a, b`` on the picture, ``x, y`` on the turned face, ``u`` = |x|, outline ``r`` = 1."""
    edge = (torch.arange(size, device=f.chin.device) + .5) * 2 / size - 1
    col, row = edge - t.shift_x, -edge[:, None] - t.shift_y
    a = (col * torch.cos(t.roll) + row * torch.sin(t.roll)) / t.zoom
    b = (row * torch.cos(t.roll) - col * torch.sin(t.roll)) / t.zoom
    v = (b - .05) / torch.where(b > .05, .9 * t.face_h, .05 - f.chin)
    q = (a / (t.face_w * (1 - t.jaw * v.clamp(max=0).square()))).square() + v.square() * v.abs().sqrt()
    depth = (1 - q).clamp(min=0) + .25 * _bell((a / .13).square() + ((b + .12) / .2).square())
    x, y = a - t.yaw * depth, b - t.pitch * depth + t.skew * a
    return SimpleNamespace(a=a, b=b, r=q.sqrt(), x=x, y=y, u=x.abs(), side=torch.where(x < 0, -1., 1.), px=2 / size / t.zoom)


def _bell(q):
    """About exp(-q), but zero from q = 4 on, and cheap."""
    return (1 - .25 * q).clamp_(min=0).square_().square_()


def _bump(g, u, y, wide, high):
    return _bell(((g.u - u) / wide).square() + ((g.y - y) / high).square())


def _band(y, low, high, px):
    """The share of a pixel ``px`` tall at ``y`` that lies between two curves."""
    return ((high - y).clamp(-px / 2, px / 2) - (low - y).clamp(-px / 2, px / 2)).clamp_(min=0) / px


def _inside(distance, px):
    """The share of a pixel inside a shape, from the signed distance to its outline."""
    return (.5 - distance / px).clamp_(0, 1)


def _paint(rgb, colour, cover):
    colour = rgb.new_tensor(colour)[:, None, None] if isinstance(colour, tuple) else colour
    rgb.lerp_(colour.expand(len(rgb), 3, *colour.shape[-2:]), cover[:, None])


def _background(g, t):
    rgb = t.wall * (1 + .25 * g.b - .25 * (g.a.square() + g.b.square()))[:, None]
    top = ((g.b - .08) / (.9 * t.face_h + t.volume)).clamp(min=0).square()
    wave = g.a + .02 * torch.sin(7 * g.b + t.phase) * t.long
    g.hair = _inside(((wave / (t.face_w + t.volume)).square() + top).sqrt() * .7 - .7, g.px) * (1 - t.bald)
    _paint(rgb, t.hair * .6, g.hair * torch.maximum(t.long, (g.b * 8 + 1).clamp(0, 1)))
    neck = _inside(g.a.abs() - .42 + .3 * (-.85 - g.b).clamp(max=0), g.px) * (g.b < 0)
    _paint(rgb, t.skin * (.72 - .3 * _bell(((g.r - 1) / .16).square()))[:, None], neck)
    _paint(rgb, t.cloth, _inside(g.b + 1.13 - .1 * g.a.abs(), g.px) * (g.b < -.5))
    ear = (g.a.abs() - t.face_w - .02 + g.a.sign() * t.yaw * .3) / .075
    ear = (ear.square() + ((g.b + .02) / .16).square()).sqrt()
    _paint(rgb, t.skin * (.5 + .35 * ear.clamp(0, 1))[:, None], _inside((ear - 1) * .08, g.px) * (1 - t.long))
    return rgb


def _folds(g, f, t):
    """Darkness of the lines that action units fold into the skin, and of its hollows."""
    a, y, old = f.a, g.y, .25 + .5 * t.age
    way = ((f.nose_y + .03 - y) / (f.nose_y + .03 - f.mouth_y - .5 * f.corner)).clamp(0, 1.15)  # nose to mouth corner
    bow = .16 + (f.mouth_w - .07) * way + .2 * a[12] * way * (1 - way)
    deep = torch.maximum(torch.maximum(.9 * a[12], a[10]), .8 * a[9]) + .15 * t.age
    dark = deep * .5 * _bell(((g.u - bow) / .028).square()) * (way * (5.75 - 5 * way)).clamp(0, 1)
    dark += a[4] * .65 * _bump(g, .06, t.eye_y + .18, .022, .09)  # between the brows
    up = y - t.eye_y - t.brow_y - .06 * a[1] - .25
    across = _bell((up / .13).square() + (g.u / (.16 + .3 * a[2])).square())
    dark += .75 * old * torch.maximum(a[1], a[2]) * torch.cos(62 * up + 3.1).clamp(min=0) * across  # forehead
    dark += .8 * a[9] * torch.cos(75 * (y - t.eye_y - .9 * g.u)).clamp(min=0) * _bump(g, .03, t.eye_y - .06, .08, .09)
    crow = torch.cos(90 * (y - t.eye_y) / (.5 + 2 * (g.u - .3).clamp(min=0))).clamp(min=0)
    dark += .5 * old * a[6] * crow * _bump(g, t.eye_x + .23, t.eye_y - .02, .05, .08)
    bag = y - t.eye_y + f.eye_low + .05 + .35 * (g.u - t.eye_x).square()
    bag = _bell((bag / .022).square() + ((g.u - t.eye_x) / .13).square())
    dark += (.12 * t.age + .3 * a[6] + .25 * a[7]) * bag + .35 * _bump(g, 0, f.nose_y - .05, .12 * t.nose_w, .035)
    return dark + .16 * _bump(g, .11, f.nose_y + .22, .05, .2) + .12 * _bump(g, t.eye_x - .1, t.eye_y + .07, .12, .07)


def _skin(rgb, g, f, t):
    a, low, side = f.a, f.mouth_y - f.open_low - .3 * f.lip_low, t.light * g.side
    shade = 1.1 * (t.light * g.a + .8 * t.light_y * (g.b + .05)) - .7 * g.r.square().square()
    for u, y, wide, high, height in (  # the relief
            (0, f.nose_y + .2, .075, .26, .11), (0, f.nose_y + .05, .085 * t.nose_w, .08, .12 + .03 * a[9]),
            (.115 * t.nose_w + .015 * a[9], f.nose_y + .01, .055, .055, .06), (0, .52, .4, .2, .06),
            (t.eye_x - .03, t.eye_y + .03, .17, .13, -.1), (.28, t.eye_y + .2, .25, .09, .05 + .05 * a[4]),
            (.4 + .03 * f.smile, -.14 + .07 * f.smile, .19, .14, .06 + .1 * f.smile), (.5, -.5, .2, .25, -.05),
            (f.mouth_w + .04, f.mouth_y + f.corner, .07, .08, -.04 - .04 * a[15]), (0, f.mouth_y + .13, .05, .07, -.03),
            (0, low - .1, .16, .055, -.06 - .03 * a[17]), (0, f.chin + .16, .17, .12, .1 + .05 * a[17])):
        du, dy = (g.u - u) / wide, (g.y - y) / high
        shade += 2.4 * height * _bell(du.square() + dy.square()) * (side / wide * du + t.light_y / high * dy)
    shade = .6 * t.contrast * shade
    level = (.64 + .5 * shade / (1 + shade.abs()) - .4 * _folds(g, f, t)).clamp(0, 1)[:, None]
    warm, deep = (t.skin.new_tensor(c)[:, None, None] for c in ((.85, .58, .56), (.46, .36, .34)))
    lit = 1.2 * t.skin * torch.lerp(torch.ones_like(warm), warm, (t.blush * _bump(g, .4, -.16, .2, .15))[:, None])
    g.face = _inside((g.r - 1) * t.face_w, g.px)
    _paint(rgb, lit * torch.lerp(deep, torch.ones_like(deep), level), g.face)
    hole = ((g.u / t.nose_w - .062) / .042).square() + ((g.y - f.nose_y + .028 - .2 * (g.u - .06)) / .022).square()
    _paint(rgb, t.skin * .28, .85 * _inside((hole.sqrt() - 1) * .03, 1.2 * g.px))
    rim = (5 * (g.r - .66)).clamp(0, 1) * (-4 * (g.y + .12)).clamp(0, 1)
    bush = torch.maximum(_bump(g, 0, f.mouth_y + .115, .2, .04), _bump(g, 0, f.chin + .15, .2, .13))
    _paint(rgb, t.hair * .8, torch.maximum(rim, bush) * g.face * (1.2 * t.beard).clamp(max=.85))


def _mouth(rgb, g, f, t):
    s = (g.u / f.mouth_w).clamp(max=1).square()
    q = 1 - s
    full, middle = q * (1 + f.square * s), f.mouth_y + f.corner * s
    top, bottom = middle + f.open_up * full, middle - f.open_low * full
    bow = 1 - .3 * _bell((g.u / .05).square()) + .12 * _bell(((g.u - .07) / .05).square())
    pale, red = (t.skin.new_tensor(c)[:, None, None] for c in ((.88, .6, .57), (.72, .14, .2)))
    pink = torch.lerp(t.skin * pale, red, .7 * t.makeup[:, None])
    _paint(rgb, pink * .8, _band(g.y, top, top + f.lip_up * bow * full + .004 * q, g.px))
    shine = 1 + .3 * _bell(((g.y - bottom + .4 * f.lip_low) / .03).square() + (g.u / .13).square())
    _paint(rgb, pink * shine[:, None], _band(g.y, bottom - f.lip_low * full * (1 + .3 * q), bottom, g.px))
    mouth, tongue = _band(g.y, bottom, top, g.px), _bell(((g.y - bottom) / .09).square() + (g.u / .16).square())
    _paint(rgb, (.24, .07, .08), mouth)
    _paint(rgb, (.7, .32, .33), mouth * f.a[26] * tongue)
    drop = (.85 * (top - bottom)).clamp(max=.075) * (1 - .6 * f.a[26] * (1 - f.a[12]))
    _paint(rgb, (.95, .93, .88), _band(g.y, top - drop, top, g.px) * (.95 - .5 * s))  # teeth
    seam = (.012 + .008 * f.a[24]) * (.3 + .7 * q)
    closed = (1 - 18 * (f.open_up + f.open_low)).clamp(min=0) * _inside(g.u - f.mouth_w - .015, g.px)
    _paint(rgb, pink * .32, .9 * closed * _band(g.y, middle - seam, middle + seam, g.px))


def _eyes(rgb, g, f, t):
    s = (g.u - t.eye_x) / t.eye_w
    q, lid = (1 - s.square()).clamp(min=0), (1.18 - s.square()).clamp(min=0)
    line = t.eye_y + t.tilt * s - .012 * f.a[4] * f.a[7] * (1 - s)
    top, low = line + f.eye_up * q, line - f.eye_low * q
    ball = _band(g.y, low, top, g.px)
    ix, iy = g.u - t.eye_x - t.gaze_x * g.side, g.y - t.eye_y - .014 - t.gaze_y
    far = (ix.square() + iy.square()).sqrt()
    glint = ((ix * g.side - .028 * t.light.sign()).square() + (iy - .03).square()).sqrt()
    _paint(rgb, (.94, .93, .91), ball)
    _paint(rgb, t.iris * (.5 + 8 * far[:, None]).clamp(max=1.15), ball * _inside(far - .08, g.px))
    _paint(rgb, (.03, .03, .03), ball * _inside(far - .038, g.px))
    _paint(rgb, (.1, .07, .06), .5 * ball * (1 - 20 * (top - g.y)).clamp(0, 1))  # shadow of the lid
    _paint(rgb, (1, 1, 1), .9 * ball * _inside(glint - .018, g.px))
    rim, lash = top - .06 * (s.abs() - 1).clamp(min=0), (.018 + .01 * t.makeup) * lid.sqrt() * (1 + .5 * s)
    crease = _bell(((g.y - top - .03 - .02 * q + .02 * f.a[4] + .012 * f.a[43]) / .016).square()) * lid
    _paint(rgb, t.skin * .5, crease * (.6 - .3 * f.a[4]))
    _paint(rgb, t.skin * .12, .95 * _band(g.y, rim - .006 * lid, rim + lash, g.px) * (s.abs() < 1.1))
    _paint(rgb, t.skin * .42, .6 * _band(g.y, low - .01 * lid, low, g.px) * (s.abs() < 1))
    s = (g.u - f.brow_x) / (.3 + t.eye_x - f.brow_x)  # along the brow, 0 inside to 1 outside
    e = s.clamp(0, 1)
    brow = t.eye_y + t.brow_y + f.brow_in * (1 - e).square() + f.brow_out * e.square() - .03 * e
    brow = brow + (2 * f.brow_mid + 4 * t.arch) * e * (1 - e)
    thick = .5 * t.brow_t * (1 - .7 * e.square()) * (9 * s + .6).clamp(0, 1) * (7.2 - 7 * s).clamp(0, 1)
    _paint(rgb, t.hair * .55, .88 * _band(g.y, brow - thick, brow + thick, g.px))


def _hair(rgb, g, f, t):
    edge = t.hairline + .1 * t.sweep - 1.1 * g.u.square() * g.u - t.sweep * (g.x - t.part).abs()
    bangs = .37 + .03 * torch.sin(13 * g.x + t.phase) + .02 * torch.sin(31 * g.x) - .2 * g.u.square()
    edge = torch.lerp(edge, bangs, t.fringe)
    strand = .82 + .05 * torch.sin(23 * g.x + 15 * g.x * g.y + t.phase) + .04 * torch.sin(41 * g.x + 9 * g.y)
    strand = strand + .3 * _bell(((g.r - .88 - .1 * t.light * g.a) / .13).square())
    shadow = _bell(((edge - g.y) / .05).square()) * (g.y < edge) * g.face * (1 - t.bald)
    _paint(rgb, t.skin * .4, .4 * shadow)
    _paint(rgb, t.hair * strand[:, None], g.hair * _inside(edge - g.y, g.px))


def _occluders(rgb, g, f, t):
    """Glasses, sunglasses, and a hand that comes up from below in front of the mouth or the chin."""
    ring = ((g.u - t.eye_x) / .235).square().square() + ((g.y - t.eye_y + .02) / .175).square().square()
    ring = (ring.sqrt().sqrt() - 1) * .2
    bridge = torch.maximum((g.y - t.eye_y - .02).abs() - .012, g.u - .1)
    arm = torch.maximum((g.y - t.eye_y - .03).abs() - .014, .53 - g.u)
    worn, lens, stripe = torch.maximum(t.glasses, t.shades), _inside(ring, g.px), .7 * g.x + g.y
    _paint(rgb, (.08, .08, .1), lens * torch.maximum(.06 * t.glasses, .92 * t.shades))
    glare = torch.maximum(_bell(((stripe - .3) / .05).square()), _bell(((stripe + .1) / .03).square()))
    _paint(rgb, (1, 1, 1), .25 * worn * lens * glare)
    frame = torch.minimum(torch.minimum(ring.abs() - .014, bridge), arm)
    _paint(rgb, t.cloth * .35, worn * _inside(frame, g.px) * (g.r < 1.02))
    x, y = g.a - t.hand_x + 1.2 * t.hand_x * (g.b - t.hand_y), g.b - t.hand_y
    k = (x / .13 - .5).round().clamp(-2, 1) + .5
    finger = ((x - .13 * k).square() + (y - .3 + .05 * k.square()).clamp(min=0).square()).sqrt() - .062
    round_ = .98 - .4 * (1 + finger / .062).clamp(0, 1).square() * (8 * y).clamp(0, 1)
    shape = torch.where(y > .05, finger, torch.maximum(x.abs() - .25, y - .1))
    _paint(rgb, t.skin * round_[:, None], t.hand * _inside(shape, g.px))


def _photograph(rgb, t, grain):
    """Exposure, colour of the light, lens blur and film grain; to uint8."""
    rgb *= (t.exposure[:, None] * (1 + t.warmth[:, None] * rgb.new_tensor((1, 0, -1))[:, None, None])).clamp(min=.3)
    size = rgb.shape[-1]
    step = torch.arange(size, device=rgb.device) / size
    lens = torch.softmax(-((step[:, None] - step) / (2 * t.blur + .25 / size)).square(), -1)[:, None]
    rgb = lens @ rgb @ lens.mT
    if grain is not None:
        rgb += F.interpolate(grain, size=(size, size), mode="bilinear") * t.grain[:, None]
    return (rgb.clamp(0, 1) * 255).round().to(torch.uint8)

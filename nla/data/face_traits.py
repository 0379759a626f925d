"""What makes a built-in face: action units that show an expression, traits that depend on none.

Action units are the muscle movements of the Facial Action Coding System (Ekman & Friesen 1978).
Which of them make an expression, and how many people use each, is in ``action_units.csv`` with its
sources, among them Du, Tao & Martinez (2014). Traits are in ``traits.csv``, colours in
``colours.csv``.
"""

from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from nla.data.manifest import EXPRESSIONS

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
LIPSTICK = (0.72, 0.14, 0.2)
LIP_OF_SKIN = (0.88, 0.6, 0.57)  # the share of each colour of the skin that a lip has


def _read(name: str, *index: str) -> pd.DataFrame:
    return pd.read_csv(Path(__file__).with_name(name), comment="#", index_col=list(index))


def _group(table: pd.DataFrame, group: str) -> dict[Any, list[float]]:
    """The rows of a group, by name."""
    rows = table.loc[[group]].droplevel(0)
    return dict(zip(rows.index, rows.to_numpy().tolist()))


def _palette(part: str) -> Tensor:
    return torch.tensor(COLOURS.loc[part].to_numpy(), dtype=torch.float32)


USE = _read("action_units.csv", "expression", "unit")[["strength", "share"]]
TRAITS = _read("traits.csv", "group", "name")
COLOURS = _read("colours.csv", "part")

EXPRESSION_UNITS: dict[str, dict[int, list[float]]]
"""expression: {unit: (strength, share of people who use it)}"""
EXPRESSION_UNITS = {"neutral": {}} | {name: _group(USE, name) for name in EXPRESSIONS[:6]}
IDENTITY = _group(TRAITS, "identity")
CAMERA = _group(TRAITS, "camera")
CHANCE = _group(TRAITS, "chance")
SKIN, HAIR, IRIS = map(_palette, ("skin", "hair", "iris"))
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
"""The traits that a manifest tells; those of them that are chances are scaled by ``nuisance``."""


def draw_traits(n: int, generator: torch.Generator, nuisance: float = 1.0) -> dict[str, Tensor]:
    """Everything about ``n`` faces but their expression: tensors (n,), colours (n, 3).

    The draws come in a fixed order, so that one draw more changes every face that was ever made: a
    new trait is best derived from numbers that are drawn already, as ``hand_y`` is.
    """
    rand = partial(torch.rand, generator=generator)
    t = _drawn(n, generator, nuisance)
    shaven = t["beard"] == 0
    t["makeup"] = t["makeup"] * shaven
    t["beard"] = t["beard"] * ~t["long"]
    dice, tone, dark = rand(n, 12), 4.999 * rand(n), rand(n)
    hand = {"hand_x": dice[:, 11] - 0.5, "hand_y": -1.05 + 0.45 * dice[:, 10]}
    return t | _colours(dice, tone, dark, t["makeup"][:, None]) | hand


def _drawn(n: int, generator: torch.Generator, nuisance: float) -> dict[str, Tensor]:
    """The rows of ``traits.csv``, one after the other."""
    t = {}
    for name, (mean, spread) in (IDENTITY | CAMERA).items():
        scale = nuisance if name in CAMERA else 1
        deviation = torch.randn(n, generator=generator).clamp(-2.2, 2.2)
        t[name] = mean + spread * scale * deviation
    for name, (chance, _) in CHANCE.items():
        scale = nuisance if name in FACTS else 1
        t[name] = torch.rand(n, generator=generator) < chance * scale
    for name in ("age", "makeup", "beard", "blur", "grain"):  # none of them can be below 0
        t[name] = t[name].clamp(min=0)
    return t


def _colours(dice: Tensor, tone: Tensor, dark: Tensor, makeup: Tensor) -> dict[str, Tensor]:
    """Colours (n, 3) by the skin's ``tone`` (0 to 5) and ``dark`` (0 to 1) of hair and eyes."""
    darker = tone.long()
    skin = torch.lerp(SKIN[darker], SKIN[darker + 1], tone.frac()[:, None])
    lip = torch.lerp(skin * torch.tensor(LIP_OF_SKIN), torch.tensor(LIPSTICK), 0.7 * makeup)
    hair = HAIR[(dark * (1.5 + tone).clamp(max=6)).long()]
    return {
        "skin": skin * (0.96 + 0.08 * dice[:, 0:3]),
        "lip": lip,
        "iris": IRIS[(dark * (1 + 0.6 * tone)).long()],
        "hair": hair * (0.85 + 0.3 * dice[:, 10:11]),
        "wall": (0.2 + 0.65 * dice[:, 6:7]) * (0.75 + 0.4 * dice[:, 7:10]),
        "frame": 0.03 + 0.2 * dice[:, 3:6],
    }

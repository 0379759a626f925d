"""Parametric faces with planted truth: we know which expressions an image shows, and how much of each.

Here a set of faces is planned and drawn. What a face is made of is in ``face_traits``, how its parts
are drawn (and where a new one goes) in ``face_parts``, on the canvas of ``face_canvas``.
"""

from collections.abc import Sequence
from functools import partial

import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from nla.data.face_parts import render
from nla.data.face_traits import EXPRESSION_UNITS, FACTS, UNITS, draw_traits
from nla.data.manifest import EXPRESSIONS, KINDS, SPLITS, DataError

__all__ = [
    "EXPRESSION_UNITS",
    "FACTS",
    "RAFDB_PROPORTIONS",
    "UNITS",
    "draw_traits",
    "make_faces",
    "render",
]
RAFDB_PROPORTIONS = (1290, 281, 717, 4772, 1982, 705, 2524)
"""Training images per class in RAF-DB basic."""

CLASSES = EXPRESSIONS[:7]
AMBIGUOUS, NOISY = KINDS.index("ambiguous"), KINDS.index("noisy")
GRAIN = 48  # pixels of the film, height and width, whatever the size of the picture


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

    ``true_label`` follows ``proportions``, rounded; ``noisy`` changes no pixel, ``chunk`` (faces drawn
    at once) nothing; ``nuisance`` scales pose, light, blur, grain, occlusion. DataError for bad input.
    """
    _check(n, size, ambiguous, noisy, proportions, split, nuisance, chunk)
    generator = torch.Generator().manual_seed(seed)
    columns, units = _plant(n, ambiguous, noisy, proportions, generator)
    traits = draw_traits(n, generator, nuisance)
    images = torch.empty(n, 3, size, size, dtype=torch.uint8)
    with tqdm(total=n, desc="drawing faces", unit="face", leave=False, disable=not progress) as bar:
        for rows in torch.arange(n).split(chunk):
            grain = torch.rand(len(rows), 3, GRAIN, GRAIN, generator=generator) - 0.5
            some = {name: values[rows] for name, values in traits.items()}
            images[rows] = render(units[rows], some, size, grain)
            bar.update(len(rows))
    columns |= {f"au_{name}": units[:, i] for i, name in enumerate(UNITS.values())}
    columns |= {name: traits[name] for name in FACTS}
    manifest = pd.DataFrame({"row": range(n)} | {k: v.numpy() for k, v in columns.items()})
    return images, manifest.assign(split=split, kind=[KINDS[k] for k in manifest["kind"]])


def _check(
    n: int,
    size: int,
    ambiguous: float,
    noisy: float,
    proportions: Sequence[float],
    split: str,
    nuisance: float,
    chunk: int,
) -> None:
    """DataError for what ``make_faces`` cannot draw."""
    if n < 1 or size < 16 or nuisance < 0 or chunk < 1:
        raise DataError(
            f"n is {n}, size {size}, nuisance {nuisance}, chunk {chunk}: "
            "they have to be at least 1, 16, 0 and 1"
        )
    if not (ambiguous >= 0 and noisy >= 0 and ambiguous + noisy <= 1):
        raise DataError(
            f"ambiguous is {ambiguous}, noisy {noisy}: fractions of all, at least 0 and "
            "together up to 1"
        )
    if len(proportions) != 7 or not min(proportions) >= 0 or not sum(proportions) > 0:
        raise DataError(
            f"proportions is {proportions}: give seven numbers, one per class, none below 0, "
            "not all 0"
        )
    if split not in SPLITS:
        raise DataError(f"split is {split!r}: use one of {', '.join(SPLITS)}")


def _plant(
    n: int,
    ambiguous: float,
    noisy: float,
    proportions: Sequence[float],
    generator: torch.Generator,
) -> tuple[dict[str, Tensor], Tensor]:
    """Labels, kinds and true distributions, columns (n,), and the units (n, 16) that show them."""
    rand = partial(torch.rand, generator=generator)
    true = _classes(n, proportions)[torch.randperm(n, generator=generator)]
    other, wrong = (true + torch.randint(1, 7, (2, n), generator=generator)) % 7
    kind = _kinds(torch.randperm(n, generator=generator), round(ambiguous * n), round(noisy * n))
    mixed = kind == AMBIGUOUS
    weight = torch.where(mixed, 0.65 - 0.15 * rand(n), 1.0)[:, None]
    p = torch.eye(7)[true] * weight + torch.eye(7)[other] * (1 - weight)
    drawn = torch.where(rand(n) < weight[:, 0], true, other)
    label = torch.where(kind == NOISY, wrong, drawn)
    intensity = 1 - torch.where(mixed, 0.2, 0.3) * rand(n)
    units = _show(p, intensity, generator)
    columns = {"label": label, "true_label": true, "kind": kind, "intensity": intensity}
    return columns | {f"p_{name}": p[:, k] for k, name in enumerate(CLASSES)}, units


def _classes(n: int, proportions: Sequence[float]) -> Tensor:
    """``n`` classes in order, in these proportions: the largest remainders are rounded up."""
    share = torch.tensor(proportions, dtype=torch.float64) * n / sum(proportions)
    counts = share.long()
    missing = n - int(counts.sum())
    counts[(share - counts).argsort(descending=True, stable=True)[:missing]] += 1
    return torch.arange(7).repeat_interleave(counts)


def _kinds(place: Tensor, ambiguous: int, noisy: int) -> Tensor:
    """Indices into ``KINDS`` by places in a shuffled line: the ambiguous first, the noisy next."""
    next_ones = (place >= ambiguous) * (place < ambiguous + noisy)
    return AMBIGUOUS * (place < ambiguous).long() + NOISY * next_ones


def _show(p: Tensor, intensity: Tensor, generator: torch.Generator) -> Tensor:
    """The units (n, 16) of people who show the expressions of ``p`` (n, 7), each in their own way."""
    strength, share = _unit_table()
    used = torch.rand(len(p), *share.shape, generator=generator) < share
    shown = (p[:, None] @ (strength * used))[:, 0] * intensity[:, None]
    jitter, stray = torch.randn(2, *shown.shape, generator=generator)
    return (shown * (1 + 0.15 * jitter) + 0.05 * stray.abs()).clamp(0, 1)


def _unit_table() -> tuple[Tensor, Tensor]:
    """``EXPRESSION_UNITS`` as tensors (7, 16): strengths, and shares of people who use a unit."""
    table = torch.zeros(2, 7, len(UNITS))
    for row, name in enumerate(CLASSES):
        for column, unit in enumerate(UNITS):
            strength, share = EXPRESSION_UNITS[name].get(unit, (0, 0))
            table[0, row, column], table[1, row, column] = strength, share
    return table[0], table[1]

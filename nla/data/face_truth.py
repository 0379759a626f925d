"""The planted truth of the built-in faces: who shows which expression, what their label says."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from nla.data.face_traits import UNITS, USE
from nla.data.manifest import EXPRESSIONS, KINDS, DataError

CLASSES = EXPRESSIONS[:7]
AMBIGUOUS = KINDS.index("ambiguous")
NOISY = KINDS.index("noisy")


def plant(
    n: int,
    ambiguous: float,
    noisy: float,
    proportions: Sequence[float],
    generator: torch.Generator,
) -> tuple[dict[str, Tensor], Tensor]:
    """Labels, kinds and true distributions, columns (n,), and the units (n, 16) that show them.

    What they mean, ``make_faces`` says. DataError for fractions or proportions that are none.
    """
    _check(ambiguous, noisy, proportions)
    rand = partial(torch.rand, generator=generator)
    shuffled = partial(torch.randperm, generator=generator)
    true = _classes(n, proportions)[shuffled(n)]
    away = torch.randint(1, 7, (2, n), generator=generator)
    other, wrong = (true + away) % 7
    counts = round(ambiguous * n), round(noisy * n)
    kind = _kinds(shuffled(n), *counts)
    mixed = kind == AMBIGUOUS
    larger = 0.65 - 0.15 * rand(n)
    weight = torch.where(mixed, larger, 1.0)[:, None]
    one_hot = torch.eye(len(CLASSES))
    rest = one_hot[other] * (1 - weight)
    p = one_hot[true] * weight + rest
    as_true = rand(n) < weight[:, 0]
    drawn = torch.where(as_true, true, other)
    label = torch.where(kind == NOISY, wrong, drawn)
    spread = torch.where(mixed, 0.2, 0.3)
    intensity = 1 - spread * rand(n)
    units = _show(p, intensity, generator)
    columns = {
        "label": label,
        "true_label": true,
        "kind": kind,
        "intensity": intensity,
    }
    columns |= {f"p_{name}": p[:, k] for k, name in enumerate(CLASSES)}
    return columns, units


def _check(ambiguous: float, noisy: float, proportions: Sequence[float]) -> None:
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


def _classes(n: int, proportions: Sequence[float]) -> Tensor:
    """``n`` classes in order, in these proportions: the largest remainders are rounded up."""
    share = torch.tensor(proportions, dtype=torch.float64) * n / sum(proportions)
    counts = share.long()
    missing = n - int(counts.sum())
    remainders = (share - counts).argsort(descending=True, stable=True)
    counts[remainders[:missing]] += 1
    return torch.arange(7).repeat_interleave(counts)


def _kinds(place: Tensor, ambiguous: int, noisy: int) -> Tensor:
    """Indices into ``KINDS`` by places in a shuffled line: the ambiguous first, the noisy next."""
    kinds = torch.zeros_like(place)
    kinds[place < ambiguous + noisy] = NOISY
    kinds[place < ambiguous] = AMBIGUOUS
    return kinds


def _show(p: Tensor, intensity: Tensor, generator: torch.Generator) -> Tensor:
    """The units (n, 16) of people who show ``p`` (n, 7), each in their own way."""
    strength = _table("strength")
    share = _table("share")
    used = torch.rand(len(p), *share.shape, generator=generator) < share
    plain = (p[:, None] @ (strength * used))[:, 0]
    shown = plain * intensity[:, None]
    jitter, stray = torch.randn(2, *shown.shape, generator=generator)
    more_or_less = shown * (1 + 0.15 * jitter)
    units: Tensor = more_or_less + 0.05 * stray.abs()
    return units.clamp(0, 1)


def _table(column: str) -> Tensor:
    """What ``action_units.csv`` says of each expression and unit, (7, 16); 0 where it is silent."""
    known = USE[column].unstack()
    table = known.reindex(index=CLASSES, columns=list(UNITS))
    return torch.tensor(table.fillna(0).to_numpy(), dtype=torch.float32)

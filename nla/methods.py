"""Every method that a config can name."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from nla import baselines, long_tail
from nla.consistency import released_divergence
from nla.losses import Method, NLALoss
from nla.malt import MALT
from nla.parts import Parts, l1_distance
from nla.rema import ReMa

LOSSES: dict[str, Callable[..., Method]] = {
    "nla": NLALoss,
    "cross_entropy": baselines.CrossEntropyLoss,
    "two_views": baselines.TwoViews,
    "label_smoothing": baselines.LabelSmoothing,
    "focal": baselines.Focal,
    "gce": baselines.GeneralizedCrossEntropy,
    "elr": baselines.ELR,
    "scn": baselines.SCN,
    "rul": baselines.RUL,
    "eac": baselines.EAC,
    "logit_adjusted": long_tail.LogitAdjusted,
    "class_balanced": long_tail.ClassBalanced,
    "ce_drw": long_tail.DeferredReweighting,
    "mixup_drw": long_tail.MixupReweighting,
    "ldam": long_tail.LDAM,
    "ldam_no_drw": partial(long_tail.LDAM, deferred=False),
    "ldam_no_margin": partial(long_tail.LDAM, margin=False),
    "cosine": partial(long_tail.LDAM, margin=False, deferred=False),
    "naw": partial(Parts, 1.0),
    "consistency_js": partial(Parts, weighted=False),
    "consistency_released": partial(Parts, weighted=False, regularizer=released_divergence),
    "consistency_l1": partial(Parts, weighted=False, regularizer=l1_distance),
    "attached": partial(Parts, detach=False),
    "epsilon_0": partial(Parts, held=0.0),
    "epsilon_1": partial(Parts, held=1.0),
    "rema": ReMa,
    "rema_c": partial(ReMa, relative=True),
    "rema_no_memory": partial(ReMa, memory=False),
    "rema_no_balance": partial(ReMa, balance=0.0),
    "rema_no_gate": partial(ReMa, gate=False),
    "malt": MALT,
    "malt_no_memory": partial(MALT, memory=False),
    "malt_no_gate": partial(MALT, gate=False),
    "malt_no_adjustment": partial(MALT, adjust=False),
    "malt_raw_counts": partial(MALT, by_trust=False),
    "malt_no_weight": partial(MALT, weigh=False),
    "malt_no_consistency": partial(MALT, 1.0),
    "malt_mirrored": partial(MALT, mirrored=True),
}


def options_of(method: Callable[..., Method]) -> set[str]:
    """The names of the options that a method takes."""
    names = {*inspect.signature(method).parameters, "naw", "checked"}
    made = method()
    return names | ({"strength"} if made.strength is not None else set())


TAKES = {loss: options_of(method) for loss, method in LOSSES.items()}
"""The options of each."""


def build(loss: str, **options: Any) -> Method:
    """The method called ``loss`` in ``LOSSES``, with those of ``options`` that it takes.

    Options are lam, variant, naw, strength, ...; see ``TAKES``.
    """
    taken = {name: value for name, value in options.items() if name in TAKES[loss]}
    return LOSSES[loss](**taken)

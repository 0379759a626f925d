"""Every method that a config can name."""

import functools
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from nla import baselines, long_tail
from nla.consistency import released_divergence
from nla.losses import Method, NLALoss
from nla.malt import MALT
from nla.naw import NAW
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

SHIPPED = dict(LOSSES)
"""Those that the kit comes with, whatever is named in ``LOSSES`` later."""


def options_of(loss: str) -> frozenset[str]:
    """The names of the options that a method takes, lam, variant, naw, strength, ...

    ValueError for a name that ``LOSSES`` does not have, or that is not a method's there.
    """
    if loss not in LOSSES:
        raise ValueError(
            f"unknown loss {loss!r}; expected one of {', '.join(LOSSES)}; one of your own has to "
            "be named in nla.methods.LOSSES first (see CONTRIBUTING.md)"
        )
    return taken_by(LOSSES[loss], loss)


@functools.cache
def taken_by(method: Callable[..., Method], loss: str) -> frozenset[str]:
    """The options of a method that is called ``loss``, which is made once to see that it can be."""
    always: dict[str, Any] = {"naw": NAW(), "checked": False}
    try:
        made = method(**always)
        if isinstance(made, Method) and made.strength is not None:
            always["strength"] = None  # its own
            made = method(**always)
    except TypeError as error:
        raise ValueError(
            f"loss {loss!r} cannot be made ({error}): LOSSES holds the class, whose __init__ takes "
            "naw and checked by name (and strength, if it has one), as **options that go on to "
            "super().__init__(**options), and has a default for everything else"
        ) from error
    if not isinstance(made, Method):
        raise ValueError(
            f"loss {loss!r} makes a {type(made).__name__}, which is no method: derive it from "
            "nla.baselines.CrossEntropyLoss or nla.losses.Method"
        )
    return frozenset([*inspect.signature(method).parameters, *always])


def build(loss: str, **options: Any) -> Method:
    """The method called ``loss`` in ``LOSSES``, with those of ``options`` that it takes."""
    taken = options_of(loss)
    return LOSSES[loss](**{name: value for name, value in options.items() if name in taken})

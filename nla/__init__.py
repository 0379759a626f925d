"""The NLA research kit: noise-aware adaptive weighting and flip consistency for facial expressions."""

from nla.consistency import js_divergence, released_divergence
from nla.losses import NLALoss
from nla.naw import NAW, Scores, scores
from nla.training import DEMO, DEMO_BASELINE, PAPER, Config, Run, fit, read_run

__version__ = "0.1.0"
__all__ = [
    "DEMO",
    "DEMO_BASELINE",
    "NAW",
    "PAPER",
    "Config",
    "NLALoss",
    "Run",
    "Scores",
    "fit",
    "js_divergence",
    "read_run",
    "released_divergence",
    "scores",
]

"""The NLA research kit: noise-aware adaptive weighting and flip consistency of facial expressions.

The method stands at the top (naw, consistency, losses); data, training, analysis and study behind.
"""

from nla.consistency import js_divergence, released_divergence
from nla.losses import NLALoss
from nla.naw import NAW, Scores, scores
from nla.training import DEMO, DEMO_BASELINE, PAPER, Config, Run, fit, read_run
from nla.training.inference import open_model, predict_files

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
    "open_model",
    "predict_files",
    "read_run",
    "released_divergence",
    "scores",
]

"""The NLA research kit: noise-aware adaptive weighting and flip consistency of facial expressions.

The method stands at the top (naw, consistency, losses); data, training, analysis and study behind.
"""

import os
from typing import TYPE_CHECKING

from nla.on_demand import on_demand

if TYPE_CHECKING:
    from nla.consistency import js_divergence, released_divergence
    from nla.losses import NLALoss
    from nla.naw import NAW, Scores, scores
    from nla.training import DEMO, DEMO_BASELINE, PAPER, Config, Run, fit, read_run
    from nla.training.inference import predict_files
    from nla.training.opening import open_model

# Threads that wait briefly instead of spinning: as fast alone, and several times faster beside
# other programs. It counts when torch loads, so it stands before everything else.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")

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

__getattr__, __dir__ = on_demand(
    __name__,
    __all__,
    ("nla.naw", "nla.consistency", "nla.losses", "nla.training", "nla.training.inference"),
)

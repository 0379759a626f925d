"""Grids of runs, and the ledger of what they say of the paper's claims."""

from nla.study.ledger import claims, effect, write_ledger
from nla.study.runs import (
    BASELINES,
    METHODS,
    SEARCH_SEEDS,
    SETTING,
    STUDIES,
    Study,
    measures,
    run_study,
)

__all__ = [
    "BASELINES",
    "METHODS",
    "SEARCH_SEEDS",
    "SETTING",
    "STUDIES",
    "Study",
    "claims",
    "effect",
    "measures",
    "run_study",
    "write_ledger",
]

"""Grids of runs, and the ledger of what they say of the paper's claims."""

from nla.study.grids import BASELINES, METHODS, SEARCH_SEEDS, SETTING, STUDIES, Study
from nla.study.ledger import claims, difference, effect, write_ledger
from nla.study.measures import measures
from nla.study.rows import StudyError
from nla.study.runs import run_study

__all__ = [
    "BASELINES",
    "METHODS",
    "SEARCH_SEEDS",
    "SETTING",
    "STUDIES",
    "Study",
    "StudyError",
    "claims",
    "difference",
    "effect",
    "measures",
    "run_study",
    "write_ledger",
]

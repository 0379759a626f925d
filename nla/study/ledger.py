"""The claims ledger: what the studies' tables say of each claim of the paper, with verdicts."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import ttest_1samp
from statsmodels.stats.multitest import multipletests

from nla.analysis.tables import write_comparison
from nla.files import write
from nla.study.grids import BASELINES, SETTING, STUDIES
from nla.study.rows import StudyError, read_table

CLAIMS = Path(__file__).with_name("claims.csv")
ALIKE = 1.0  # points of accuracy within which two methods count as the same


def effect(values: npt.ArrayLike) -> dict[str, float]:
    """Of differences (n,) paired by seed: mean, 95 % t interval, n, p of the paired t-test, size.

    The size is Cohen's d_z, the mean in standard deviations of the differences.
    """
    differences = np.asarray(values, dtype=float)
    test = ttest_1samp(differences, 0)
    low, high = test.confidence_interval(0.95)
    mean = differences.mean()
    return {
        "effect": mean,
        "low": low,
        "high": high,
        "n": len(differences),
        "p": test.pvalue,
        "size": mean / differences.std(ddof=1),
    }


def claims(results: pd.DataFrame) -> pd.DataFrame:
    """The ledger: a row for each claim, setting and comparison that ``results`` can tell of.

    ``results``: studies' tables, one below the other. p_holm: p after Holm's correction over the
    rows of a claim, built-in and real faces apart; ``verdicts`` says what follows. StudyError if no
    row has two seeds, or if two rows are of one run.
    """
    one_run = [*SETTING, "method", "seed"]
    twice = results.duplicated(one_run)
    if twice.any():
        raise StudyError(
            f"these results hold two rows of one run, {results[twice].iloc[0][one_run].to_dict()}: "
            "delete the older one"
        )
    rows: list[dict[str, Any]] = []
    for claim in pd.read_csv(CLAIMS, keep_default_na=False).to_dict("records"):
        studies = claim.pop("studies").split(";")
        part = results[results["study"].isin(studies)]
        if len(part):
            rows += compared(claim, part)
    if not rows:
        raise StudyError("these results hold no comparison of a claim with at least two seeds")
    table = pd.DataFrame(rows)
    families = table["p"].fillna(1).groupby([table["claim"], table["data"] == "faces"])
    table["p_holm"] = families.transform(lambda p: multipletests(p, method="holm")[1])
    return table.assign(verdict=verdicts(table))


def compared(claim: dict[Any, Any], results: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Rows of the ledger on one claim: its method against each other, or against nothing."""
    method, against = claim["method"], claim["against"]
    others = BASELINES if against == "baselines" else against.split(";")
    scores = results.assign(value=measured(results, claim["measure"]))
    for setting, part in scores.groupby(SETTING):
        place = dict(zip(SETTING, setting))
        wide = part.pivot(index="seed", columns="method", values="value")
        wide[""] = 0.0
        for other in others:
            if not {method, other} <= set(wide):
                continue
            values = (wide[method] - wide[other]).dropna()
            if len(values) > 1:
                methods = shlex.join(filter(None, [method, other]))
                call = f"nla study {place['study']} --seeds {len(wide)} --methods {methods}"
                facts = {"against": other, "command": f"{call} --out data/study"}
                yield claim | place | facts | effect(values)


def measured(results: pd.DataFrame, measure: str) -> pd.Series:
    """A measure of each run: a column of its table, or one minus another or a number."""
    missing = set(re.findall(r"[a-z]\w*", measure)) - set(results)
    if missing:
        raise StudyError(
            f"these results have no column {min(missing)!r}, which a claim needs: an older version "
            "wrote them; move their table away and repeat the study"
        )
    return pd.Series(results.eval(measure))


def verdicts(table: pd.DataFrame) -> npt.NDArray[np.str_]:
    """What each row of the ledger says of its claim: (not) reproduced, or undecided.

    Of more (sign 1) or less (-1): *reproduced* if the interval lies on the claimed side of 0 and
    p_holm is under .05, *not reproduced* if so on the other side, else *undecided*. Of the same
    (0): *reproduced* if the interval lies within ``ALIKE``, *not reproduced* if outside.
    """
    sign, low, high = table["sign"], table["low"], table["high"]
    sure = table["p_holm"] < 0.05
    more, less, same = sign > 0, sign < 0, sign == 0
    above, below = low > 0, high < 0
    holds = sure & (more & above | less & below)
    fails = sure & (more & below | less & above)
    alike = same & (low > -ALIKE) & (high < ALIKE)
    apart = same & ((low > ALIKE) | (high < -ALIKE))
    return np.select([holds | alike, fails | apart], ["reproduced", "not reproduced"], "undecided")


def write_ledger(folder: str | Path = "figures") -> pd.DataFrame:
    """Write claims.csv from the studies in ``folder``, and claims_summary.md (.csv, .tex)."""
    files = [Path(folder) / f"{name}.csv" for name in STUDIES]
    tables = [read_table(file) for file in files if file.exists()]
    if not tables:
        raise StudyError(f"there is no study in {folder}: nla study noise makes one")
    table = claims(pd.concat(tables, ignore_index=True))
    write(Path(folder) / "claims.csv", table)
    write_comparison(summary(table), Path(folder) / "claims_summary")
    return table


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """The ledger's rows counted up: for each claim, data and measure, the effects and verdicts."""
    groups = ["claim", "statement", "data", "measure"]
    effects = table.groupby(groups, sort=False).agg(
        smallest=("effect", "min"),
        largest=("effect", "max"),
        seeds=("n", "min"),
        comparisons=("n", "size"),
    )
    counts = pd.crosstab([table[name] for name in groups], table["verdict"])
    return effects.join(counts).reset_index()

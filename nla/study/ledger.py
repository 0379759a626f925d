"""The claims ledger: what the studies' tables say of each of the paper's claims, with intervals and verdicts."""

import shlex
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import ttest_1samp
from statsmodels.stats.multitest import multipletests

from nla.analysis.tables import write_comparison
from nla.files import write
from nla.study.runs import BASELINES, SETTING, STUDIES

CLAIMS = Path(__file__).with_name("claims.csv")
ALIKE = 1.0  # points of accuracy within which two methods count as the same


def effect(values) -> dict[str, float]:
    """Of differences (n,) paired by seed: mean, 95 % t interval, n, p of the paired t-test, size (Cohen's d_z)."""
    test = ttest_1samp(values, 0)
    low, high = test.confidence_interval(0.95)
    return {
        "effect": np.mean(values),
        "low": low,
        "high": high,
        "n": len(values),
        "p": test.pvalue,
        "size": np.mean(values) / np.std(values, ddof=1),
    }


def claims(results: pd.DataFrame) -> pd.DataFrame:
    """The ledger: a row for each claim of ``claims.csv``, setting and comparison that ``results`` can tell of.

    ``results``: studies' tables, one below the other. p_holm: p after Holm's correction over the rows of a claim,
    built-in and real faces apart. The verdict on more (sign 1) or less (-1): *reproduced* if the interval lies on the
    claimed side of 0 and p_holm is under .05, *not reproduced* if so on the other side, else *undecided*. On the same
    (0): *reproduced* if it lies within ``ALIKE``, *not reproduced* if outside. ValueError if no row has two seeds.
    """
    rows = []
    for claim in pd.read_csv(CLAIMS, keep_default_na=False).to_dict("records"):
        studies, against = claim.pop("studies").split(";"), claim["against"]
        for setting, part in results[results["study"].isin(studies)].groupby(SETTING):
            wide = part.assign(value=part.eval(claim["measure"])).pivot(
                index="seed", columns="method", values="value"
            )
            wide[""] = 0.0
            for other in BASELINES if against == "baselines" else against.split(";"):
                if {claim["method"], other} <= set(wide):
                    values = (wide[claim["method"]] - wide[other]).dropna()
                    pair = shlex.join(filter(None, [claim["method"], other]))
                    call = f"nla study {setting[0]} --seeds {len(wide)} --methods {pair} --out data/study"
                    if len(values) > 1:
                        rows.append(
                            claim
                            | dict(zip(SETTING, setting), against=other, command=call)
                            | effect(values)
                        )
    if not rows:
        raise ValueError("these results hold no comparison of a claim with at least two seeds")
    table = pd.DataFrame(rows)
    families = table["p"].fillna(1).groupby([table["claim"], table["data"] == "faces"])
    table["p_holm"] = families.transform(lambda p: multipletests(p, method="holm")[1])
    sign, sure, low, high = table["sign"], table["p_holm"] < 0.05, table["low"], table["high"]
    yes = sure & ((sign > 0) & (low > 0) | (sign < 0) & (high < 0)) | (sign == 0) & (
        low > -ALIKE
    ) & (high < ALIKE)
    no = sure & ((sign > 0) & (high < 0) | (sign < 0) & (low > 0)) | (sign == 0) & (
        (low > ALIKE) | (high < -ALIKE)
    )
    return table.assign(verdict=np.select([yes, no], ["reproduced", "not reproduced"], "undecided"))


def write_ledger(folder: str | Path = "figures") -> pd.DataFrame:
    """Write claims.csv from the studies in ``folder``, and claims_summary.md (.csv, .tex), its rows counted up."""
    files = [file for name in STUDIES if (file := Path(folder) / f"{name}.csv").exists()]
    if not files:
        raise ValueError(f"there is no study in {folder}: nla study noise makes one")
    table = claims(pd.concat(map(pd.read_csv, files), ignore_index=True))
    write(Path(folder) / "claims.csv", table)
    groups = ["claim", "statement", "data", "measure"]
    summary = table.groupby(groups, sort=False).agg(
        smallest=("effect", "min"),
        largest=("effect", "max"),
        seeds=("n", "min"),
        comparisons=("n", "size"),
    )
    verdicts = pd.crosstab([table[name] for name in groups], table["verdict"])
    write_comparison(summary.join(verdicts).reset_index(), Path(folder) / "claims_summary")
    return table

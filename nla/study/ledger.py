"""The claims ledger: what the studies' tables say of each claim of the paper, with verdicts."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import t as student
from statsmodels.stats.multitest import multipletests

from nla.analysis.tables import write_comparison
from nla.files import write
from nla.study.grids import BASELINES, SETTING, STUDIES
from nla.study.rows import Row, StudyError, read_table
from nla.study.shared_images import spread_of_shared_images

CLAIMS = Path(__file__).with_name("claims.csv")
FROM_FACES = "photographs"  # the study whose network knew faces before it was trained
ALIKE = 1.0  # points of accuracy within which two methods count as the same


def effect(values: npt.ArrayLike, moves: float = 0.0, margin: float | None = None) -> Row:
    """Of differences (n,) paired by seed: mean, 95 % t interval, n, p, size.

        t = mean / sqrt(s^2 / n + moves^2),   n - 1 degrees of freedom

    with s the standard deviation over seeds and ``moves`` that of the mean where all seeds move
    together, with the images they share (:mod:`nla.study.shared_images`). p is of the two-sided
    test that the difference is 0; with a ``margin`` twice the smaller one-sided p of the tests that
    it lies within +-margin and that it lies outside, so that either can be found. The size is
    Cohen's d_z, the mean in standard deviations of the differences. Of fewer than two differences
    all but n is NaN.
    """
    differences = np.asarray(values, dtype=float)
    n = len(differences)
    if n < 2:
        return dict.fromkeys(("effect", "low", "high", "n", "p", "size"), np.nan) | {"n": n}
    mean, spread = differences.mean(), differences.std(ddof=1)
    error = np.hypot(spread / np.sqrt(n), moves)
    with np.errstate(divide="ignore", invalid="ignore"):  # runs that do not differ at all
        distance = abs(mean) if margin is None else abs(margin - abs(mean))
        p = 2 * student.sf(distance / error, n - 1)
        size = mean / spread
    half = student.ppf(0.975, n - 1) * error
    return {
        "effect": mean,
        "low": mean - half,
        "high": mean + half,
        "n": n,
        "p": p,
        "size": size,
    }


def difference(
    results: pd.DataFrame, method: str, against: str, measure: str, margin: float | None = None
) -> Row:
    """``method`` minus ``against`` (or minus 0, if that is "") in a ``measure``, paired by seed.

    ``results``: rows of a study on one data set. Where they are of several settings, a seed's value
    is the mean over those that both methods have. What :func:`effect` says of it, with room for
    other images (:mod:`nla.study.shared_images`). StudyError for a measure that is none of theirs.
    """
    differences = gains(by_method(results, measure), method, [against])[against]
    of_seeds = differences.dropna().groupby("seed").mean()
    return effect(of_seeds, movement_of(results, measure), margin)


def movement_of(results: pd.DataFrame, measure: str) -> float:
    """What to allow for other images, of results on one data set."""
    tested = results["tested"].mean() if "tested" in results else np.nan
    return spread_of_shared_images(str(results["data"].iloc[0]), measure, tested)


def by_method(results: pd.DataFrame, measure: str) -> pd.DataFrame:
    """A measure with a row for each seed and setting, a column for each method, and 0 for ""."""
    scores = results.assign(value=measured(results, measure))
    wide = scores.pivot(index=["seed", *SETTING], columns="method", values="value")
    return wide.assign(**{"": 0.0})


def gains(wide: pd.DataFrame, method: str, others: list[str]) -> pd.DataFrame:
    """By seed and setting, ``method`` minus each of ``others``; NaN where a run is missing."""
    known = wide.reindex(columns=[method, *others])
    return known[others].rsub(known[method], axis=0)


def claims(results: pd.DataFrame) -> pd.DataFrame:
    """The ledger: a row for each claim, setting and comparison that ``results`` can tell of.

    ``results``: studies' tables, one below the other. p_holm: p after Holm's correction over the
    comparison's ``family``, which are the rows of its claim on drawn faces, on photographs, or on
    photographs with a network that knew faces before; ``verdicts`` says what follows.
    ``machines``: on how many the runs were computed; runs of one seed on two are paired by their
    images alone, not by every random number. StudyError if no row has two seeds, or if two rows are
    of one run.
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
    table["family"] = families(table)
    in_family = table["p"].fillna(1).groupby([table["claim"], table["family"]])
    table["p_holm"] = in_family.transform(lambda p: multipletests(p, method="holm")[1])
    return table.assign(verdict=verdicts(table))


def families(table: pd.DataFrame) -> npt.NDArray[np.str_]:
    """What each comparison (n,) of a claim is corrected with: those on faces of its own kind."""
    drawn = table["data"] == "faces"
    knew = table["study"] == FROM_FACES
    names = ["drawn faces", "photographs, face network"]
    return np.select([drawn, knew], names, "photographs, from scratch")


def compared(claim: dict[Any, Any], results: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Rows of the ledger on one claim: its method against each other, or against nothing."""
    method, against = claim["method"], claim["against"]
    others = [*BASELINES] if against == "baselines" else against.split(";")
    margin = None if claim["sign"] else ALIKE
    results = columns_for(claim["measure"], results)
    differences = gains(by_method(results, claim["measure"]), method, others)
    parts = dict(iter(results.groupby(SETTING)))
    for setting, of_seeds in differences.groupby(level=SETTING):
        part, place = parts[setting], dict(zip(SETTING, setting))
        moves = movement_of(part, claim["measure"])
        machines = machines_by_method(part)
        for other in others:
            found = effect(of_seeds[other].dropna(), moves, margin)
            if found["n"] < 2:
                continue
            methods = list(filter(None, [method, other]))
            call = f"nla study {place['study']} --seeds {part['seed'].nunique()}"
            facts = {
                "against": other,
                "command": f"{call} --methods {shlex.join(methods)} --out data/study",
                "machines": len(set().union(*(machines[name] for name in methods))),
            }
            yield claim | place | facts | found


def machines_by_method(results: pd.DataFrame) -> dict[Any, set[str]]:
    """On which machines the runs of each method were computed, as far as they say."""
    if "machine" not in results:
        return dict.fromkeys(results["method"], {""})
    found: dict[Any, set[str]] = {method: set() for method in results["method"]}
    pairs = results[["method", "machine"]].drop_duplicates().dropna()
    for method, named in pairs.itertuples(index=False):
        found[method].update(named.split(", "))  # a run that was moved names each
    return found


def columns_for(measure: str, results: pd.DataFrame) -> pd.DataFrame:
    """Of some fifty columns the few that a comparison looks at, so that no others are copied."""
    names = [*SETTING, "method", "seed", "tested", "machine", *columns_of(measure)]
    return results[results.columns.intersection(names)]


def columns_of(measure: str) -> set[str]:
    """Names of the columns that a measure is made of."""
    return set(re.findall(r"[a-z]\w*", measure))


def measured(results: pd.DataFrame, measure: str) -> pd.Series:
    """A measure of each run: a column of its table, or one minus another or a number."""
    missing = columns_of(measure) - set(results)
    if missing:
        raise StudyError(
            f"these results have no column {min(missing)!r}, which a claim needs: an older version "
            "wrote them; move their table away and repeat the study"
        )
    return pd.Series(results.eval(measure))


def verdicts(table: pd.DataFrame) -> npt.NDArray[np.str_]:
    """What each row of the ledger says of its claim: (not) reproduced, or undecided.

    *Undecided* unless p_holm is under .05. Then *reproduced* if the effect is on the claimed side:
    above 0 (sign 1), below 0 (-1), or within ``ALIKE`` of 0 (0, a claim of sameness); else *not
    reproduced*.
    """
    sign, found = table["sign"], table["effect"]
    claimed = np.where(sign == 0, found.abs() < ALIKE, sign * found > 0)
    sure = table["p_holm"] < 0.05
    return np.select(
        [sure & claimed, sure & ~claimed], ["reproduced", "not reproduced"], "undecided"
    )


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
    """The ledger's rows counted up: effects and verdicts by claim, family, data and measure."""
    groups = ["claim", "statement", "family", "data", "measure"]
    effects = table.groupby(groups, sort=False).agg(
        smallest=("effect", "min"),
        largest=("effect", "max"),
        seeds=("n", "min"),
        comparisons=("n", "size"),
    )
    counts = pd.crosstab([table[name] for name in groups], table["verdict"])
    return effects.join(counts).reset_index()

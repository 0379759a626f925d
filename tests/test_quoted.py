"""What figures/README.md and notebook 07 say of the studies stands in the studies' tables."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student

from nla.study import BASELINES, difference
from nla.study.shared_images import spread_of_shared_images

ROOT = Path(__file__).parent.parent
TABLES = {
    name: pd.read_csv(ROOT / f"figures/{name}.csv")
    for name in ("noise", "imbalance", "ablation", "apart", "both", "real", "photographs")
}
MORE_FACES = ("apart", "both")  # studies that are scored on 4,000
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGE = (ROOT / "figures/README.md").read_text(encoding="utf-8")
FOUND = PAGE.split("## What holds")[1]
FROM_FACES = FOUND.split("## From a network that knows faces")[1].split("\n## ")[0]
CELLS = json.loads((ROOT / "notebooks/07_robustness.ipynb").read_text(encoding="utf-8"))["cells"]
NOTEBOOK = "\n".join("".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "markdown")
NUMBER = r"([+-]?\d+\.\d)"
QUOTED = re.compile(
    rf"{NUMBER}(?:\*\*)?(?: points)?(?: in the mean| overall)? \({NUMBER} to {NUMBER}[);]"
)


@pytest.fixture(scope="module")
def differences():
    """Mean and interval, as they would be quoted, of each difference that the tables hold.

    Between two methods or two sets of labels, in a setting and averaged over those of a study.
    """
    setting = ["study", "data", "noise", "imbalance"]
    runs = pd.concat(TABLES.values())
    read_anew = [with_the_prior_back(runs), adjusted(TABLES["photographs"])]
    scores = pd.concat([runs, *read_anew]).melt(
        [*setting, "seed", "method"], ["overall", "mean"], "measure"
    )
    places = scores.pivot_table("value", "seed", [*setting, "measure", "method"])
    real = scores[scores["study"] == "real"].pivot_table(
        "value", "seed", ["measure", "method", "data"]
    )
    averages = scores[scores["study"] != "real"].pivot_table(
        "value", "seed", ["study", "measure", "method"]
    )
    found = set()
    for table, varied in ((places, "method"), (real, "data"), (averages, "method")):
        fixed = [name for name in table.columns.names if name != varied]
        for values_of, part in table.T.groupby(fixed):
            place = dict(zip(fixed, values_of))
            drawn = table is averages and place["study"] != "photographs"
            place = {"data": "faces" if drawn else "fer2013"} | place
            values = part.dropna(axis=1).to_numpy()
            seeds = values.shape[1]
            pairs = (values[:, None] - values[None]).reshape(-1, seeds)
            tested = 4000 if place.get("study") in MORE_FACES else np.nan
            moves = spread_of_shared_images(place["data"], place["measure"], tested)
            error = np.hypot(pairs.std(1, ddof=1) / seeds**0.5, moves)
            half = student.ppf(0.975, seeds - 1) * error
            mean = pairs.mean(1)
            each = np.stack([mean, mean - half, mean + half], 1)
            found |= set(map(tuple, np.round(each, 1).tolist()))
    return found


def with_the_prior_back(runs):
    """The runs of losses that adjust themselves once more, scored with the prior put back."""
    there = runs.dropna(subset="with_prior_overall")
    scores = {measure: there[f"with_prior_{measure}"] for measure in ("overall", "mean")}
    return there.assign(method=there["method"] + ", with prior", **scores)


def adjusted(runs):
    """The runs once more, their logits adjusted by how common classes are."""
    scores = {measure: runs[f"adjusted_{measure}"] for measure in ("overall", "mean")}
    return runs.assign(method=runs["method"] + ", adjusted", **scores)


@pytest.mark.parametrize(
    "text", [README, FOUND, NOTEBOOK], ids=["README.md", "figures/README.md", "notebook 07"]
)
def test_differences_that_are_quoted_were_measured(text, differences):
    quoted = [
        tuple(map(float, match.groups())) for match in QUOTED.finditer(" ".join(text.split()))
    ]
    assert len(quoted) > (0 if text is README else 10)
    assert sorted(set(quoted) - differences) == []


@pytest.mark.parametrize("method", ["ReMa-C", "MALT"])
def test_the_table_of_our_methods_is_that_of_the_studies(method):
    names = {
        "imbalance": ("imbalance", None),
        "FER2013's": ("real", "fer2013"),
        "FERPlus's": ("real", "ferplus"),
    }
    heading = f"| cross-entropy | NLA | {method} | the best baseline |"
    lines = FOUND.split(heading)[1].split("\n\n")[0].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    measured = [
        setting
        for name, table in TABLES.items()
        if name in ("noise", "imbalance", "real") and method in set(table["method"])
        for setting, _ in table.groupby(["data", "noise", "imbalance"])
    ]
    assert len(rows) == len(measured)
    for label, *cells in rows:
        study, value = next(
            (found for name, found in names.items() if name in label), ("noise", None)
        )
        if label == "imbalance as drawn":
            value = 1.0
        elif value is None:
            value = float(re.search(r"\d+", label)[0]) * (0.01 if study == "noise" else 1)
        runs = TABLES[study][TABLES[study]["data" if study == "real" else study] == value]
        wide = runs.pivot(index="seed", columns="method", values="mean").dropna(subset=method)
        means, baselines = wide.mean(), [name for name in wide if name in BASELINES]
        best = means[baselines].idxmax()
        gaps = [difference(runs, method, other, "mean") for other in ("NLA", best)]
        wanted = [
            f"{means['cross-entropy']:.1f}",
            f"{means['NLA']:.1f}",
            f"{means[method]:.1f}",
            f"{means[best]:.1f} {best}",
            *("{effect:+.1f} ({low:+.1f} to {high:+.1f})".format(**g) for g in gaps),
        ]
        assert cells == wanted and len(baselines) == 11, label


def test_the_table_of_photographs_is_that_of_the_study():
    names = {
        "cross-entropy on both views": "CE on both views",
        "NLA, λ = .1": "lambda 0.1",
        "NAW alone": "NAW only",
        "consistency alone": "consistency only",
    }
    voted = "fer2013, true labels"
    places = [("fer2013", 0.0, 1.0), (voted, 0.0, 1.0), (voted, 0.3, 1.0), (voted, 0.0, 17.0)]
    runs = TABLES["photographs"].groupby(["data", "noise", "imbalance", "method"])
    scores, epochs = runs[["mean", "overall"]].mean(), runs["epochs"].first()
    lines = [line for line in FROM_FACES.splitlines() if line.startswith("| ")][1:]
    methods = [line.split("|")[1].strip() for line in lines]
    methods = [names.get(method, method) for method in methods]
    assert sorted(methods) == sorted(TABLES["photographs"]["method"].unique())
    for line, method in zip(lines, methods):
        rows = [scores.loc[(*place, method)] for place in places]
        measured = [f"{row['mean']:.1f} / {row['overall']:.1f}" for row in rows]
        assert cells_of(line) == [f"{epochs.loc[(*places[0], method)]}", *measured]


def test_the_table_of_wrong_and_uneven_labels_is_that_of_the_study():
    places = [(noise, factor) for noise in (0, 0.2, 0.4) for factor in (1, 10, 50)]
    runs = TABLES["both"].groupby(["noise", "imbalance", "method"])
    scores = runs[["mean", "overall"]].mean()
    assert sorted({place[:2] for place in scores.index}) == places
    part = FOUND.split("**Wrong and uneven at once**")[1].split("\n* ")[0]
    lines = [line for line in part.splitlines() if line.startswith("| ")][1:]
    assert len(lines) == len(places)
    for line, place in zip(lines, places):
        measured = {
            method: f"{row['mean']:.1f} / {row['overall']:.1f}"
            for method, row in scores.loc[place].iterrows()
        }
        others = scores.loc[place].drop(["NLA", "MALT", "ReMa-C"])
        best = others["mean"].idxmax()
        ours = [measured[name] for name in ("cross-entropy", "NLA", "MALT", "ReMa-C")]
        assert cells_of(line)[:5] == [*ours, f"{best} {measured[best]}"]


def cells_of(line):
    """The cells of a line of a table, without the first."""
    return [cell.strip() for cell in line.strip("|").split("|")[1:]]

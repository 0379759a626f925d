"""Comparison tables: what was published has its source, what nobody measured stays empty."""

from pathlib import Path

import pandas as pd
import pytest

from nla.analysis import tables
from nla.data import DataError

PUBLISHED = Path(__file__).parent.parent / "data/published_results.csv"


def test_comparison_leaves_what_nobody_measured_empty(tmp_path):
    rows = [
        ("A", "RAF-DB", "clean", "overall", 88.1, "paper_A"),
        ("A", "RAF-DB", "noise 10%", "overall", 80, "paper_A"),
        ("B", "RAF-DB", "clean", "overall", 89.0, "paper B"),
        ("B", "RAF-DB", "clean", "mean", 70.0, "paper B"),
        ("C", "FERPlus", "clean", "overall", 85.0, "paper C"),
    ]
    file = tmp_path / "published.csv"
    columns = ["method", "dataset", "protocol", "metric", "value", "source"]
    pd.DataFrame(rows, columns=columns).assign(backbone="R18").to_csv(file, index=False)
    table = tables.comparison(file, "RAF-DB")
    assert table["method"].tolist() == ["A", "B", "NLA"] and table["read"].eq("").all()
    assert table[["clean", "noise 10%"]].isna().to_numpy().tolist() == [
        [False, False],
        [False, True],
        [True, True],
    ]
    csv, markdown, latex = (
        path.read_text() for path in tables.write_comparison(table, tmp_path / "rafdb")
    )
    assert (
        "| B | R18 | paper B |  | 89.00 |  |" in markdown
        and "nan" not in (csv + markdown + latex).lower()
    )
    assert "paper\\_A" in latex and "10\\%" in latex


@pytest.mark.parametrize("dataset", ["RAF-DB", "FERPlus", "AffectNet-7", "AffectNet-8"])
def test_published_results_make_a_table(dataset):
    table = tables.comparison(PUBLISHED, dataset)
    rows = pd.read_csv(PUBLISHED).query("dataset == @dataset and metric == 'overall'")
    assert table.drop(columns=tables.KEY).count().sum() == len(rows)
    assert table["source"].str.len().gt(0).all()


@pytest.mark.parametrize("dataset", ["RAF-DB", "FERPlus", "AffectNet-7", "AffectNet-8"])
def test_what_was_read_elsewhere_stands_apart_and_says_so(dataset):
    table = tables.comparison(PUBLISHED, dataset)
    rows = pd.read_csv(PUBLISHED).query("dataset == @dataset and metric == 'overall'")
    secondary = table["read"] == "secondary"
    assert table[secondary].iloc[:, 4:].count().sum() == (rows["read"] == "secondary").sum()
    assert secondary.is_monotonic_increasing  # none stands between those that were read at source
    [own] = table[~secondary & (table["method"] == "NLA")].to_numpy().tolist()
    assert "not read here" in own[2] and pd.isna(own[4:]).all()


def test_nlas_own_cells_are_those_that_later_papers_cite():
    found = {}
    for dataset in ("RAF-DB", "FERPlus", "AffectNet-7", "AffectNet-8"):
        table = tables.comparison(PUBLISHED, dataset).query("method == 'NLA'")
        assert set(table.dropna(thresh=5)["read"]) <= {"secondary"}
        cells = table.drop(columns=tables.KEY).max().dropna()
        found |= {(dataset, protocol): value for protocol, value in cells.items()}
    assert found == {
        ("RAF-DB", "noise 10%"): 88.83,
        ("RAF-DB", "noise 30%"): 86.71,
        ("FERPlus", "noise 10%"): 88.20,
        ("FERPlus", "noise 30%"): 86.97,
        ("AffectNet-7", "noise 10%"): 63.52,
        ("AffectNet-7", "noise 30%"): 62.48,
    }


def test_own_rows_join_their_protocol():
    own = pd.DataFrame(
        [
            {
                "method": "NLA (this kit, n = 3)",
                "backbone": "ResNet-18",
                "dataset": "RAF-DB",
                "protocol": "noise 30%",
                "metric": "overall",
                "value": 12.5,
                "source": "measured",
            }
        ]
    )
    table = tables.comparison(PUBLISHED, "RAF-DB", own=own).set_index("method")
    assert table.loc["NLA (this kit, n = 3)", "noise 30%"] == 12.5
    assert pd.isna(table.loc["NLA (this kit, n = 3)", "clean"])


def published(tmp_path, **columns):
    row = {
        "method": "A",
        "backbone": "R18",
        "dataset": "RAF-DB",
        "protocol": "clean",
        "metric": "overall",
        "value": 80.0,
        "source": "paper",
    }
    pd.DataFrame(row | columns).to_csv(tmp_path / "published.csv", index=False)
    return tmp_path / "published.csv"


def test_signs_in_names_mean_nothing_in_markdown_and_latex(tmp_path):
    file = published(tmp_path, method=["a|b_c *d* $e$ <i> & 30% `f` 基线"], protocol="p_1|2")
    path = tmp_path / "100% $a$ & 基线"
    files = tables.write_comparison(tables.comparison(file, "RAF-DB"), path)
    csv, markdown, latex = (file.read_text(encoding="utf-8") for file in files)
    assert pd.read_csv(files[0])["method"][0] == "a|b_c *d* $e$ <i> & 30% `f` 基线"
    first = markdown.splitlines()[2]
    assert first.startswith(r"| a\|b\_c \*d\* \$e\$ \<i\> \& 30% \`f\` 基线 | R18 |")
    assert r"a|b\_c *d* \$e\$ \textless{}i\textgreater{} \& 30\% `f` 基线 & R18" in latex
    assert r"p\_1\|2" in markdown and r"p\_1|2" in latex


def test_a_number_that_is_there_twice_is_refused(tmp_path):
    file = published(tmp_path, value=[80.0, 90.0])
    with pytest.raises(DataError, match=r"has A \(paper\) on RAF-DB, clean, twice"):
        tables.comparison(file, "RAF-DB")


def test_a_number_without_a_source_is_kept(tmp_path):
    file = published(tmp_path, method=["A", "B"], source=["paper", None])
    assert tables.comparison(file, "RAF-DB")["method"].tolist() == ["A", "B", "NLA"]

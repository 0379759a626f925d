"""Comparison with published numbers, each with its source, as csv, Markdown and LaTeX."""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from nla.data.manifest import DataError
from nla.files import write

KEY = ["method", "backbone", "source", "read"]
OWN = ("NLA", "ResNet-18", "Lee et al., AAAI 2025 (tables not read here)", "")
SIGNS = re.compile(r"[\\`*_<>$&|~\[\]]")  # that mean something in Markdown


def comparison(
    published: str | Path, dataset: str, metric: str = "overall", own: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Published accuracies (%) on a data set: a row a method, backbone and source.

    A column a protocol. ``read`` is *source* where the number was read in the work that measured
    it, and *secondary* where it was read in another that cites it: these rows stand apart, at the
    end. What nobody measured, or nobody here has read, is empty: so is the row of NLA's own tables.
    ``own`` adds rows in the same columns as the file's (method, backbone, dataset, protocol,
    metric, value, source). DataError naming a row whose number is there twice.
    """
    rows = pd.read_csv(published)
    if "read" not in rows:
        rows["read"] = ""
    if own is not None:
        rows = pd.concat([rows, own], ignore_index=True)
    asked = (rows["dataset"] == dataset) & (rows["metric"] == metric)
    rows = rows[asked].fillna(dict.fromkeys(KEY, ""))
    twice = rows[rows.duplicated([*KEY, "protocol"])]
    if len(twice):
        row = twice.iloc[0]
        raise DataError(
            f"{published} has {row['method']} ({row['source']}) on {dataset}, {row['protocol']}, "
            "twice: keep one of the two numbers"
        )
    table = rows.pivot_table(index=KEY, columns="protocol", values="value", sort=False)
    table.loc[OWN, :] = np.nan
    table = table.rename_axis(columns=None).reset_index()
    secondary = table["read"] == "secondary"
    return pd.concat([table[~secondary], table[secondary]], ignore_index=True)


def write_comparison(table: pd.DataFrame, path: str | Path) -> list[Path]:
    """Write a table as ``path``.csv, .md and .tex; empty cells stay empty, signs stay signs."""
    cells = table.map(shown)
    texts = {
        "csv": table.to_csv(index=False),
        "md": markdown(cells),
        "tex": latex(cells),
    }
    files = []
    for suffix, text in texts.items():
        file = Path(f"{path}.{suffix}")
        write(file, text)
        files.append(file)
    return files


def shown(value: str | float | None) -> str:
    """A cell as text: numbers with two places, nothing for what is not there."""
    if pd.isna(value):
        return ""
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def markdown(cells: pd.DataFrame) -> str:
    """A table of texts in Markdown, where no sign of theirs means anything."""
    lines = []
    for row in [list(cells.columns), *cells.to_numpy().tolist()]:
        texts = []
        for text in row:
            line = " ".join(text.split())
            texts.append(SIGNS.sub(r"\\\g<0>", line))
        lines.append(f"| {' | '.join(texts)} |\n")
    rule = "| " + "--- | " * cells.shape[1]
    lines.insert(1, rule.rstrip() + "\n")
    return "".join(lines)


def latex(cells: pd.DataFrame) -> str:
    """A table of texts in LaTeX (booktabs), where no sign of theirs means anything."""
    style = cells.style.hide(axis="index").format(escape="latex")
    text = style.format_index(escape="latex", axis=1).to_latex(hrules=True)
    return text.replace("<", r"\textless{}").replace(">", r"\textgreater{}")

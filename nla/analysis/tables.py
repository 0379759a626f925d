"""Comparison with published numbers, each with its source, as csv, Markdown and LaTeX."""

from pathlib import Path

import numpy as np
import pandas as pd

from nla.files import write


def comparison(
    published: str | Path, dataset: str, metric: str = "overall", own: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Published accuracies (%) on a data set: a row a method, backbone and source, a column a protocol.

    What nobody measured, or nobody here has read, is empty: so is NLA's row. ``own`` adds rows in the same columns
    as the file's (method, backbone, dataset, protocol, metric, value, source).
    """
    rows = pd.concat([pd.read_csv(published), own] if own is not None else [pd.read_csv(published)])
    rows = rows[(rows["dataset"] == dataset) & (rows["metric"] == metric)].fillna({"backbone": ""})
    table = rows.pivot_table(
        index=["method", "backbone", "source"], columns="protocol", values="value", sort=False
    )
    table.loc[("NLA", "ResNet-18", "Lee et al., AAAI 2025 (tables not read here)"), :] = np.nan
    return table.rename_axis(columns=None).reset_index()


def write_comparison(table: pd.DataFrame, path: str | Path) -> list[Path]:
    """Write a table as ``path``.csv, .md and .tex, empty cells left empty."""
    cells = table.map(
        lambda v: "" if pd.isna(v) else f"{v:.2f}" if isinstance(v, float) else str(v)
    )
    lines = [list(table.columns), ["---"] * table.shape[1], *cells.to_numpy().tolist()]
    texts = {
        "csv": table.to_csv(index=False),
        "md": "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n",
        "tex": cells.style.hide(axis="index")
        .format(escape="latex")
        .format_index(escape="latex", axis=1)
        .to_latex(hrules=True),
    }
    files = {Path(f"{path}.{suffix}"): text for suffix, text in texts.items()}
    for file, text in files.items():
        write(file, text)
    return list(files)

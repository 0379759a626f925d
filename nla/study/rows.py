"""A study's table on disk: a row for each run, by the key of its config.

Several studies may add to one table at once: each reads it again, under a lock, before it writes.
"""

from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock

from nla.files import write
from nla.study.grids import SETTING, TUNED

Row = dict[Any, Any]  # column: value


class StudyError(ValueError):
    """A study that is not declared, whose runs failed, or whose table cannot be used."""


def read_table(file: Path) -> pd.DataFrame:
    """A table with its keys as text; StudyError if it is none."""
    try:
        return pd.read_csv(file, dtype={"key": str}, encoding="utf-8")
    except ValueError:
        raise StudyError(f"{file} is no table of runs: move it away") from None


def read_rows(file: Path) -> pd.DataFrame:
    """The rows in ``file``, none if it is not there; StudyError names a run that is there twice."""
    if not file.exists():
        return pd.DataFrame({"key": []}, dtype=str)
    table = read_table(file)
    if "key" not in table:
        raise StudyError(f"{file} is no table of runs, it has no column 'key': move it away")
    twice = table["key"].duplicated(keep=False)
    if twice.any():
        key = table["key"][twice].iloc[0]
        first, second, *_ = 2 + table.index[table["key"] == key]
        raise StudyError(
            f"{file} holds the run {key} twice, in lines {first} and {second}: delete one of them"
        )
    return table


def with_tuned(table: pd.DataFrame) -> pd.DataFrame:
    """A table with all that a search chooses; rows from before there were strengths have none."""
    if "strength" not in table:
        return table.assign(strength=0.0)
    return table.fillna({"strength": 0.0})


def by_key(table: pd.DataFrame) -> dict[str, Row]:
    """The rows of a table by the key of their run, in its order."""
    return {row["key"]: row for row in table.to_dict("records")}


def add_rows(file: Path, rows: list[Row]) -> None:
    """Add rows that have one key in common, in place of older ones of it, to ``file``."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_name(f".{file.name}.lock")):
        parts = [pd.DataFrame(rows)]
        if file.exists():
            table = read_table(file)
            parts.insert(0, table[table["key"] != rows[0]["key"]])
        write(file, pd.concat(parts, ignore_index=True))


def add_row(file: Path, row: Row, keep_others: bool = True) -> None:
    """Add a row, in place of an older one of its key, to what ``file`` holds by now.

    Not ``keep_others``: rows of another learning rate or epochs, of the method in the setting, go.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_name(f".{file.name}.lock")):
        rows = by_key(read_rows(file))
        rows[row["key"]] = row
        table = pd.DataFrame(rows.values())
        if not keep_others:
            tuned = with_tuned(table)
            newest = tuned.groupby([*SETTING, "method"])[TUNED].transform("last")
            table = table[(tuned[TUNED] == newest).all(axis=1)]
        write(file, table)

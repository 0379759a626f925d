"""Readers: from a downloaded folder, whatever its layout, to a manifest in the canonical order.

Every reader takes ``root``, the data set's own folder or the one above it (None: the environment
variable NLA_DATA_ROOT, or ``data``), finds out which layout lies there and returns a manifest
(:mod:`nla.data.manifest`) with the index 0..n-1.  Pixels are not decoded here: ``path`` is relative
to ``root``, ``row`` counts the rows of ``fer2013.csv``.  What was assumed or left out is told in
sentences, the list ``manifest.attrs["notes"]``.  Without a third split the second is the test.
Anything that cannot be read right is a :class:`DataError` naming file, line and remedy.
"""

from collections.abc import Callable

import pandas as pd

from .affectnet import read_affectnet
from .ferplus import read_fer2013, read_ferplus
from .folder import read_csv, read_folder
from .manifest import DataError
from .parsing import hold_out
from .rafdb import read_rafdb

__all__ = [
    "READERS",
    "hold_out",
    "read_affectnet",
    "read_csv",
    "read_fer2013",
    "read_ferplus",
    "read_folder",
    "read_rafdb",
    "reader",
]

READERS: dict[str, Callable[..., pd.DataFrame]] = {
    "rafdb": read_rafdb,
    "fer2013": read_fer2013,
    "ferplus": read_ferplus,
    "affectnet": read_affectnet,
    "folder": read_folder,
    "csv": read_csv,
}


def reader(name: str) -> Callable[..., pd.DataFrame]:
    """The reader of the set ``name``; a DataError that lists the names if there is none."""
    if name not in READERS:
        raise DataError(f"no data set is called {name!r}; there are {', '.join(READERS)}")
    return READERS[name]

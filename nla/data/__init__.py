"""From somebody's folder to batches: manifests, pixels, corruption."""

from typing import TYPE_CHECKING

from nla.on_demand import on_demand

if TYPE_CHECKING:
    from .corruption import flip_labels, imbalance, relabel
    from .datasets import (
        read_affectnet,
        read_csv,
        read_fer2013,
        read_ferplus,
        read_folder,
        read_rafdb,
    )
    from .faces import make_faces
    from .manifest import EXPRESSIONS, DataError
    from .store import load, pack, read_pixels

__all__ = [
    "DataError",
    "EXPRESSIONS",
    "flip_labels",
    "imbalance",
    "load",
    "make_faces",
    "pack",
    "read_affectnet",
    "read_csv",
    "read_fer2013",
    "read_ferplus",
    "read_folder",
    "read_pixels",
    "read_rafdb",
    "relabel",
]

__getattr__, __dir__ = on_demand(
    __name__,
    __all__,
    (
        "nla.data.manifest",
        "nla.data.corruption",
        "nla.data.datasets",
        "nla.data.faces",
        "nla.data.store",
    ),
)

"""From somebody's folder to batches: manifests, pixels, corruption."""

from .corruption import flip_labels, imbalance
from .datasets import read_fer2013, read_ferplus
from .faces import make_faces
from .manifest import EXPRESSIONS, DataError
from .store import load, read_pixels

__all__ = ["DataError", "EXPRESSIONS", "flip_labels", "imbalance", "load", "make_faces", "read_fer2013",
           "read_ferplus", "read_pixels"]

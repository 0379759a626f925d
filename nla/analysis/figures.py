"""Every figure of the kit: one function each, from run folders to a matplotlib ``Figure``.

Nothing here needs the GPU, and only faces need images (uint8 (N, C, H, W), row i of the manifest is
image i). This page gathers what the files beside it hold.
"""

from nla.analysis.classes import confusion_matrices, per_class_accuracy
from nla.analysis.curves import (
    agreement,
    training_curves,
    weights_of_kinds,
    weights_over_epochs,
)
from nla.analysis.framework import framework
from nla.analysis.maps import latent_steps
from nla.analysis.methods import accuracy_against, accuracy_where_both, mean_interval
from nla.analysis.paths import paths, trajectories
from nla.analysis.paying import pays
from nla.analysis.plane import (
    planes,
    weight_grid,
    weight_surfaces,
)
from nla.analysis.ranking import ranking
from nla.analysis.sheets import face_sheet, faces, thumbnail
from nla.analysis.style import (
    KIND_MARKERS,
    KIND_PALETTE,
    MARKERS,
    METHODS,
    ONE,
    OWN_COLOURS,
    PALETTE,
    TWO,
    figure_of,
    look_of,
    method_looks,
    new_figure,
    plain,
    save,
)
from nla.training.record import RunError

__all__ = [
    "KIND_MARKERS",
    "KIND_PALETTE",
    "MARKERS",
    "METHODS",
    "ONE",
    "OWN_COLOURS",
    "PALETTE",
    "RunError",
    "TWO",
    "accuracy_against",
    "accuracy_where_both",
    "agreement",
    "confusion_matrices",
    "face_sheet",
    "faces",
    "figure_of",
    "framework",
    "latent_steps",
    "look_of",
    "mean_interval",
    "method_looks",
    "new_figure",
    "paths",
    "pays",
    "per_class_accuracy",
    "plain",
    "planes",
    "ranking",
    "save",
    "thumbnail",
    "training_curves",
    "trajectories",
    "weight_grid",
    "weight_surfaces",
    "weights_of_kinds",
    "weights_over_epochs",
]

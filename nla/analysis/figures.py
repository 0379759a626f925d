"""Every figure of the kit: one function each, from run folders to a matplotlib ``Figure``.

Nothing here needs the GPU, and only faces need images (uint8 (N, C, H, W), row i of the manifest is
image i). This page gathers what the files beside it hold.
"""

from nla.analysis.classes import confusion_matrices, per_class_accuracy, scored, wilson
from nla.analysis.curves import (
    agreement,
    compared,
    training_curves,
    weights_of_kinds,
    weights_over_epochs,
)
from nla.analysis.framework import framework
from nla.analysis.maps import latent_steps
from nla.analysis.methods import accuracy_against, mean_interval
from nla.analysis.paths import paths, trajectories
from nla.analysis.plane import (
    SURFACE,
    WEIGHT_TOP,
    draw_points,
    draw_surface,
    naw_of,
    planes,
    weight_grid,
    weight_surfaces,
)
from nla.analysis.sheets import face_sheet, faces, thumbnail
from nla.analysis.style import (
    KIND_MARKERS,
    KIND_PALETTE,
    LOOKS,
    MARKERS,
    METHODS,
    ONE,
    OWN_COLOURS,
    PALETTE,
    STYLE,
    TWO,
    figure_of,
    legend_above,
    listed,
    look_of,
    method_looks,
    new_figure,
    panels,
    plain,
    save,
)
from nla.training.record import RunError

__all__ = [
    "KIND_MARKERS",
    "KIND_PALETTE",
    "LOOKS",
    "MARKERS",
    "METHODS",
    "ONE",
    "OWN_COLOURS",
    "PALETTE",
    "RunError",
    "STYLE",
    "SURFACE",
    "TWO",
    "WEIGHT_TOP",
    "accuracy_against",
    "agreement",
    "compared",
    "confusion_matrices",
    "draw_points",
    "draw_surface",
    "face_sheet",
    "faces",
    "figure_of",
    "framework",
    "latent_steps",
    "legend_above",
    "listed",
    "look_of",
    "mean_interval",
    "method_looks",
    "naw_of",
    "new_figure",
    "panels",
    "paths",
    "per_class_accuracy",
    "plain",
    "planes",
    "save",
    "scored",
    "thumbnail",
    "training_curves",
    "trajectories",
    "weight_grid",
    "weight_surfaces",
    "weights_of_kinds",
    "weights_over_epochs",
    "wilson",
]

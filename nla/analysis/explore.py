"""Explorers for Jupyter: move through a run, select samples, see their faces, read them in Python.

Each returns a widget; drawing, moving and selecting happen in the browser, and the kernel sends the
faces of the cards shown. Where there is no kernel its static twin, a figure, is shown. Thumbnails
are handed in (uint8 (N, C, H, W), row i of the manifest is image i) or left out. Of a run whose
truth nobody knows no kind and no true label is shown.

    explorer = naw_explorer(run, images)
    explorer                                      # in a cell of its own; select something
    explorer.selected                             # a table of it
    explorer.select(audit(run)["index"].head(20)) # show these
"""

import functools
from pathlib import Path

import pandas as pd

from nla.analysis import figures, page, views
from nla.analysis.audit_explorer import audit_explorer as audit_explorer
from nla.analysis.parameters import parameter_explorer
from nla.analysis.pictures import Pictures, image_url, sheet
from nla.analysis.scenes import confusion_scene, latent_scene, plane_scene
from nla.analysis.widget import CARDS, Beside, Explorer
from nla.files import write
from nla.training.record import Run

__all__ = [
    "CARDS",
    "Beside",
    "Explorer",
    "confusion_explorer",
    "latent_explorer",
    "naw_explorer",
    "naw_html",
    "parameter_explorer",
]
SPRITE_COLUMNS = 50  # faces beside one another in an exported page


def naw_explorer(run: Run, images: Pictures | None = None, points: int = 20_000) -> Explorer:
    """Training samples on the (p_GT, p_NN) plane from epoch to epoch, over the weight surface.

    Play or slide through the epochs; filter by class and, where known, kind; draw a loop around
    samples, or click one, to see the faces with label, file or row, scores and history of w*, and
    where they walked. Runs beyond ``points`` samples are thinned. RunError where the samples were
    not recorded.
    """
    by = "kind" if run.knows_truth else "class"
    twin = functools.partial(figures.planes, run, by=by)
    return Explorer(plane_scene(run, views.epochs(run), points), images, twin)


def latent_explorer(run: Run, embedding: pd.DataFrame, images: Pictures | None = None) -> Explorer:
    """The map of the probe set (see :mod:`nla.analysis.latents`) from snapshot to snapshot.

    Cards show the prediction of each snapshot and the history of the probability of the true
    class, or of the label where nobody knows better.
    """
    twin = functools.partial(figures.latent_steps, embedding, classes=run.classes)
    return Explorer(latent_scene(run, embedding), images, twin)


def confusion_explorer(run: Run, images: Pictures | None = None, split: str = "test") -> Explorer:
    """The confusion matrix as a crowd: each face in the cell of its true and its predicted class.

    A click selects a cell; moving through the epochs shows where its faces came from and went. The
    label stands for the true class where nobody knows better. RunError if the split has no images.
    """
    scene = confusion_scene(run, split)
    twin = functools.partial(figures.confusion_matrices, run, split=split)
    return Explorer(scene, images, twin, step=len(scene.content["titles"]) - 1)


def naw_html(
    run: Run,
    path: str | Path,
    images: Pictures | None = None,
    points: int = 2000,
    size: int = 48,
) -> Path:
    """Write :func:`naw_explorer` as one HTML file that needs no kernel and no network.

    At most ``points`` samples, with their file names or rows, and with ``images`` their faces at
    ``size`` pixels: about 1 kB a sample. Returns its path.
    """
    scene = plane_scene(run, views.epochs(run), points)
    content = dict(scene.content)
    if images is not None:
        faces = sheet(images, scene.index, SPRITE_COLUMNS, size)
        content["columns"] = SPRITE_COLUMNS
        content["sprite"] = image_url(faces, "jpeg")
    write(path, page.exported(content, "the faces" if images is not None else "what they are"))
    return Path(path)

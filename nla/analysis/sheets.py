"""Faces: contact sheets, and any selection with captions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch.nn.functional import pad
from torchvision.utils import make_grid

from nla.analysis import views
from nla.analysis.style import TWO, figure_of, new_figure, plain
from nla.data.manifest import DataError, class_names, knows_truth
from nla.training.record import RunError

Pixels = npt.NDArray[np.uint8]


@figure_of
def face_sheet(
    images: Any,
    manifest: pd.DataFrame,
    by: str = "true_label",
    columns: int = 10,
    classes: Sequence[str] = (),
) -> Figure:
    """A contact sheet: one row of faces for each true_label, label or kind, drawn at random.

    ``images`` is uint8 (N, C, H, W); ``manifest`` may be any selection of its rows; ``classes`` are
    by default those it tells of. Under a face stands, by kind, its label, and by kind or label the
    true class where that differs. RunError for kinds that nobody knows.
    """
    if by == "kind" and not knows_truth(manifest):
        raise RunError("nobody knows which labels are wrong among these faces")
    classes = classes or class_names(manifest)
    cells: list[Any] = []
    captions: list[str | None] = []
    names: list[str] = []
    shuffled = manifest.sample(frac=1, random_state=0)
    groups = views.kinds(shuffled) if by == "kind" else shuffled[by]
    for name, group in shuffled.groupby(groups, observed=True):
        rows = group.head(columns)
        blank = [None] * (columns - len(rows))
        cells += [*images[rows.index.tolist()], *blank]
        captions += [*captions_of(rows, by, classes), *blank]
        names.append(str(name) if by == "kind" else classes[int(str(name))])
    return faces(cells, captions, columns, names)


def captions_of(rows: pd.DataFrame, by: str, classes: Sequence[str]) -> list[str]:
    """What stands under each face of a contact sheet."""
    captions = []
    for label, true in rows[["label", "true_label"]].to_numpy().tolist():
        lines = [classes[label]] if by == "kind" else []
        if label != true and by != "true_label":
            lines.append(f"true: {classes[true]}")
        captions.append("\n".join(lines))
    return captions


@figure_of
def faces(
    images: Any,
    captions: Sequence[str | None] = (),
    columns: int = 8,
    names: Sequence[str] = (),
) -> Figure:
    """Some faces (n, C, H, W), uint8 or floats in 0..1, None leaving a gap, in rows of ``columns``.

    Each has its caption (lines parted by \\n) under it; ``names`` stand beside the rows. Both are
    shown as they are: no $ begins a formula. DataError if there is no face.
    """
    tiles = tiles_of(images, columns)
    height, width = tiles.shape[2:]
    rows = len(tiles) // columns
    size = min(7.0, 52 / columns)  # of the captions, in points
    inch = columns * (width + 2) / (0.88 * TWO if len(names) else TWO)  # pixels
    lines = max((text.count("\n") + 1 for text in captions if text), default=0)
    gap = 2 + round(lines * size * 1.35 / 72 * inch)
    sheet = make_grid(pad(tiles, (1, 1, 0, gap), value=255), columns, padding=0)
    figure, axes = new_figure(TWO, rows * (height + gap) / inch + 0.1)
    ax: Axes = axes[0, 0]
    ax.imshow(sheet.permute(1, 2, 0).numpy(), interpolation="nearest")
    for k, caption in enumerate(captions):
        row, column = divmod(k, columns)
        ax.text(
            (column + 0.5) * (width + 2),
            row * (height + gap) + height + 1,
            caption or "",
            fontsize=size,
            ha="center",
            va="top",
            parse_math=False,
        )
    middles = np.arange(len(names)) * (height + gap) + height / 2
    ax.set_yticks(middles, [plain(name) for name in names])
    ax.set_xticks([])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return figure


def tiles_of(images: Any, columns: int) -> torch.Tensor:
    """Faces as whole rows of ``columns`` (n, 3, H, W) uint8, white where there is none."""
    cells = [None if image is None else thumbnail(image) for image in images]
    first = next((cell for cell in cells if cell is not None), None)
    if first is None:
        raise DataError("there is no face to draw: the selection is empty")
    white = np.full_like(first, 255)
    cells += [None] * (-len(cells) % columns)
    stacked = np.stack([white if cell is None else cell for cell in cells])
    return torch.from_numpy(stacked).permute(0, 3, 1, 2)


def thumbnail(image: Any) -> Pixels:
    """One face (C, H, W), grey or colour, uint8 or floats in 0..1, as (H, W, 3) uint8."""
    pixels = np.asarray(image).transpose(1, 2, 0)
    if pixels.dtype != np.uint8:
        pixels = (255 * pixels.clip(0, 1)).round().astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))

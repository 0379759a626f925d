"""The (p_GT, p_NN) plane: the weight surface w*, and a run's samples over it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Polygon

from nla.analysis import views
from nla.analysis.style import Look, figure_of, grouping, legend_above, panels, plain, wrapped
from nla.naw import NAW, Scores
from nla.training.record import Run, RunError

SURFACE = LinearSegmentedColormap.from_list("surface", ["#FFFFFF", "#D5DCE3", "#8FA1B3"])
WEIGHT_TOP = 0.55  # of w* with the paper's parameters: the same scale in every figure


def naw_of(run: Run) -> NAW:
    """The weighting that a run was trained with."""
    parameters: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in run.config["naw"].items()
    }
    return NAW(**parameters)


def weight_grid(naw: NAW, progress: float, size: int = 241) -> npt.NDArray[np.float64]:
    """w* over the unit square, (size, size), p_NN in rows and p_GT in columns."""
    axis = torch.linspace(0, 1, size, dtype=torch.float64)
    p_nn, p_gt = torch.meshgrid(axis, axis, indexing="ij")
    grid: npt.NDArray[np.float64] = naw.weights(Scores(p_gt, p_nn, p_gt >= p_nn), progress).numpy()
    return grid


def draw_surface(ax: Axes, naw: NAW, progress: float, labels: bool = False) -> AxesImage:
    """Shade w* where p_GT + p_NN <= 1, with contours; returns the image, for a colour bar.

    Contours of the wrong half (above the diagonal, across which w* jumps) are 0.05 apart; of the
    correct one, where w* is nearly flat, 0.02, and ``labels`` writes their values.
    """
    grid = weight_grid(naw, progress)
    image = ax.imshow(
        grid,
        origin="lower",
        extent=(0, 1, 0, 1),
        cmap=SURFACE,
        vmin=0,
        vmax=WEIGHT_TOP,
        interpolation="bilinear",
        zorder=0,
    )
    image.set_clip_path(Polygon([(0, 0), (1, 0), (0, 1)], transform=ax.transData))
    axis = np.linspace(0, 1, len(grid))
    inside = axis[:, None] + axis <= 1
    above = np.tri(len(grid), k=-1, dtype=bool)
    for half, step in ((above, 0.05), (~above, 0.02)):
        lines = ax.contour(
            axis,
            axis,
            np.ma.array(grid, mask=~(half & inside)),
            np.arange(step, WEIGHT_TOP, step),
            colors="#5B6B7B",
            linewidths=0.4,
            zorder=1,
        )
        if labels and step == 0.02:  # not in the crowded tip
            there = [line for line in lines.allsegs if sum(map(len, line))]
            places = [place for place in map(low_point, there) if place[0] > 0.22]
            ax.clabel(lines, fontsize=6, fmt="%.2f", inline_spacing=1, manual=places)
    ax.plot([0.5, 0, 1, 0.5, 0], [0.5, 1, 0, 0.5, 0], color="#222222", linewidth=0.8, zorder=2)
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    return image


def low_point(line: Sequence[npt.NDArray[np.float64]]) -> tuple[float, float]:
    """Where to name a contour, given all of its pieces (n, 2): where p_NN is about 0.1."""
    points = np.concatenate(line)
    x, y = points[np.abs(points[:, 1] - 0.1).argmin()]
    return float(x), float(y)


def draw_points(
    ax: Axes,
    x: pd.Series,
    y: pd.Series,
    names: pd.Series,
    look: Look,
    size: float,
    raised: str = "",
) -> None:
    """Points in the colours and markers of their groups' ``names``, in the order of the rows.

    Those of the group ``raised`` lie on top of all others, and are larger.
    """
    palette, markers = look
    above = (names == raised).to_numpy()
    for chosen, area, layer in ((~above, size, 3), (above, 2.2 * size, 4)):
        if not chosen.any():
            continue
        groups = names[chosen].to_numpy()
        sns.scatterplot(
            x=x[chosen].to_numpy(),
            y=y[chosen].to_numpy(),
            hue=groups,
            style=groups,
            palette=palette,
            markers=markers,
            s=area,
            linewidth=0.25,
            alpha=0.85,
            zorder=layer,
            rasterized=True,
            legend=False,
            ax=ax,
        )


@figure_of
def planes(
    run: Run, epochs: Sequence[int] | None = None, by: str | None = None, points: int = 500
) -> Figure:
    """A run's samples over the weight surface: a panel an epoch, or of one epoch a panel a group.

    Groups are kinds or classes; by default kinds, and classes where nobody knows the kinds. A
    panel shows at most ``points`` samples; those of one group state n and mean w*. RunError if
    there is no such epoch, or for kinds that nobody knows.
    """
    by, look = grouping(run, by)
    naw, total = naw_of(run), run.config["epochs"]
    chosen = chosen_epochs(run, epochs)
    tables = {}
    for epoch in chosen:
        samples = run.samples(epoch)
        tables[epoch] = samples.assign(group=views.groups(run, samples, by))
    last = chosen[-1]
    alone = len(chosen) == 1
    parts = by_group(last, tables[last]) if alone else by_epoch(tables, naw, total)
    figure, axes = panels(
        len(parts), None, "$p_{GT}$ (label)", "$p_{NN}$ (nearest negative)", extra=0.5
    )
    for ax, (epoch, title, part) in zip(axes, parts, strict=True):
        image = draw_surface(ax, naw, epoch / total)
        if len(part) > points:  # enough for the eye
            part = part.sample(points, random_state=0)
        draw_points(ax, part["p_gt"], part["p_nn"], part["group"], look, 9)
        ax.set_title(title)
    label = (
        f"weight w*, {plain(run.name)}, epoch {last + 1}"
        if alone
        else "weight w*, one scale for all"
    )
    figure.colorbar(image, ax=list(axes), label=label, pad=0.02)
    if not alone:
        legend_above(figure, look, sorted_names(tables[last]["group"]))
    return figure


def sorted_names(groups: pd.Series) -> list[str]:
    """The groups that occur, in the order of their category."""
    return list(groups.cat.remove_unused_categories().cat.categories)


def chosen_epochs(run: Run, epochs: Sequence[int] | None) -> list[int]:
    """Epochs asked for, in order, negative ones from the end; by default four, most of them early.

    RunError naming one that the run does not have.
    """
    last = int(run.epochs["epoch"].iloc[-1])
    if epochs is None:
        return sorted({0, last // 8, last // 3, last})
    chosen = sorted({epoch + last + 1 if epoch < 0 else epoch for epoch in epochs})
    for epoch in chosen:
        if not 0 <= epoch <= last:
            raise RunError(f"{run.folder} has no epoch {epoch}; it has 0 to {last}")
    return chosen


Panel = tuple[int, str, pd.DataFrame]
"""Epoch, title and samples."""


def by_epoch(tables: dict[int, pd.DataFrame], naw: NAW, total: int) -> list[Panel]:
    """A panel an epoch of ``total``."""
    return [
        (epoch, f"epoch {epoch + 1}, $\\epsilon$ = {naw.epsilon(epoch / total):.2f}", table)
        for epoch, table in tables.items()
    ]


def by_group(epoch: int, table: pd.DataFrame) -> list[Panel]:
    """A panel a group that occurs in an epoch."""
    parts = []
    for name, part in table.groupby("group", observed=True):
        count = wrapped(f"{name}, n = {len(part):,}", 26)
        parts.append((epoch, f"{count}\nmean w* {part['weight'].mean():.3f}", part))
    return parts


@figure_of
def weight_surfaces(
    naw: NAW | None = None, progresses: Sequence[float] = (0, 0.05, 0.1, 1)
) -> Figure:
    """w* as training goes on: above the diagonal predictions are wrong, below they are correct."""
    naw = naw or NAW()
    figure, axes = panels(len(progresses), None, "$p_{GT}$", "$p_{NN}$")
    for ax, progress in zip(axes, progresses, strict=True):
        image = draw_surface(ax, naw, progress, labels=True)
        ax.set_title(f"$e/E$ = {progress:g}, $\\epsilon$ = {naw.epsilon(progress):.2f}")
    side = "above the diagonal\nwrong, below correct"
    axes[0].text(1, 1, side, ha="right", va="top", fontsize=6)
    figure.colorbar(image, ax=list(axes), label="weight w*, one scale for all", pad=0.02)
    return figure

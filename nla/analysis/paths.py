"""Where samples walk on the (p_GT, p_NN) plane over the epochs: groups on average, and single ones.

That is the paper's idea in one picture: labels that are right walk to the lower right, wrong ones
to the upper left, and between them, along the diagonal, lies the weight.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from nla.analysis import views
from nla.analysis.plane import draw_surface, naw_of
from nla.analysis.style import TWO, figure_of, grouping, new_figure, panels, plain, wrapped
from nla.training.record import Run, RunError

Points = npt.NDArray[np.float64]
"""Places (E, 2) on the plane, one an epoch."""


@figure_of
def paths(run: Run) -> Figure:
    """The mean (p_GT, p_NN) of each label from epoch to epoch, and of each kind where it is known.

    A ring is the first epoch, the filled mark the last; the surface is the last epoch's.
    """
    parts = ["kind", "class"] if run.knows_truth else ["class"]
    figure, axes = new_figure(TWO, 3.75, 1, 2, "compressed", sharey=True)
    last = views.epochs(run)[-1]
    progress = last / run.config["epochs"]
    axes[0, 1].set_visible(len(parts) == 2)
    for ax, by in zip(axes[0], parts, strict=False):
        _, (palette, markers) = grouping(run, by)
        draw_surface(ax, naw_of(run), progress)
        for name, places in mean_places(run, by).items():
            draw_path(ax, places, palette[name], markers[name], plain(name))
        ax.set(xlabel="mean $p_{GT}$ (label)", ylabel="mean $p_{NN}$ (nearest negative)")
        ax.label_outer()
        what = "label" if by == "class" else "kind"
        title = f"{run.name}: mean of each {what}, from epoch 1 (ring) to {last + 1}"
        ax.set_title(wrapped(title, 52))
        ax.legend(loc="upper right", borderaxespad=0)
    return figure


def mean_places(run: Run, by: str) -> dict[str, Points]:
    """The mean place of each group in each epoch."""
    p_gt, p_nn = (views.over_epochs(run, by, column) for column in ("p_gt", "p_nn"))
    table = p_gt.assign(p_gt=p_gt["mean"], p_nn=p_nn["mean"])
    groups = table.groupby(by, observed=True)[["p_gt", "p_nn"]]
    return {str(name): part.to_numpy() for name, part in groups}


def draw_path(ax: Axes, places: Points, colour: str, marker: str, label: str) -> None:
    """A group's path: a ring at its start, a mark an epoch, a large one at its end."""
    x, y = places.T
    look: dict[str, Any] = {"color": colour, "marker": marker}
    ax.plot(x, y, linewidth=1, markersize=2, zorder=4, **look)
    ax.plot(x[0], y[0], "o", color=colour, markersize=6, markerfacecolor="none", zorder=5)
    ax.plot(
        x[-1],
        y[-1],
        linestyle="",
        markersize=9 if marker == "*" else 7,
        markeredgecolor="white",
        markeredgewidth=0.7,
        label=label,
        zorder=6,
        **look,
    )


@figure_of
def trajectories(run: Run, rows: Sequence[int]) -> Figure:
    """Where some training samples walked: a panel a sample, an arrow from each epoch to the next.

    ``rows`` are rows of the manifest. Arrows darken with the epochs; the mark is the last one. The
    title says what the sample is. RunError for a row that is no training sample of the run.
    """
    walked = walks(run, rows)
    by, (palette, markers) = grouping(run, None)
    progress = views.epochs(run)[-1] / run.config["epochs"]
    labels = ("$p_{GT}$ (label)", "$p_{NN}$ (nearest negative)")
    figure, axes = panels(len(rows), None, *labels, extra=0.3 + 0.35 * -(-len(rows) // 4))
    for ax, row in zip(axes, rows, strict=True):
        face = run.manifest.loc[[row]]
        group = str(views.groups(run, face, by).iloc[0])
        draw_surface(ax, naw_of(run), progress)
        draw_walk(ax, walked[row], palette[group], markers[group])
        ax.set_title(told(run, face.iloc[0], group))
    return figure


def walks(run: Run, rows: Sequence[int]) -> dict[int, Points]:
    """The place of each row's sample in each epoch; RunError for one that was not trained on."""
    epochs = views.epochs(run)
    known = run.samples(epochs[0]).set_index("index").index
    for row in rows:
        if row not in known:
            raise RunError(f"{run.folder}: row {row} of the manifest is no training sample")
    tables = [run.samples(epoch).set_index("index").loc[list(rows)] for epoch in epochs]
    places = np.stack([table[["p_gt", "p_nn"]].to_numpy(float) for table in tables], axis=1)
    return dict(zip(rows, places, strict=True))


def draw_walk(ax: Axes, places: Points, colour: str, marker: str) -> None:
    """Arrows from epoch to epoch, the early ones pale, and a mark at the end."""
    x, y = places.T
    shades = [to_rgba(colour, alpha) for alpha in np.linspace(0.3, 1, len(x) - 1)]
    ax.quiver(
        x[:-1],
        y[:-1],
        np.diff(x),
        np.diff(y),
        color=shades,
        angles="xy",
        scale_units="xy",
        scale=1,
        width=0.009,
        headwidth=4,
        headlength=5,
        headaxislength=4.5,
        zorder=4,
    )
    ax.plot(x[0], y[0], "o", color=colour, markersize=5, markerfacecolor="none", zorder=5)
    ax.plot(x[-1], y[-1], marker, color=colour, markersize=6, markeredgecolor="white", zorder=6)


def told(run: Run, face: pd.Series, group: str) -> str:
    """What a sample is: its kind and label, and its true class where that differs."""
    label, true = run.classes[face["label"]], run.classes[face["true_label"]]
    lines = [f"{group}, label {label}" if run.knows_truth else f"label {label}"]
    shows = "mostly" if group == "ambiguous" else "shows"  # a blend shows two expressions
    lines.append(f"{shows} {true}" if label != true else "")
    return "\n".join(wrapped(line, 24) for line in lines)

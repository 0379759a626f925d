"""Does it pay to look at labels? Accuracy against how many somebody looked at."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nla.analysis.methods import mean_interval
from nla.analysis.style import TWO, figure_of, method_looks, new_figure
from nla.training.record import RunError

WAYS = ("mended", "dropped", "mended at random")
ASIDE = (-0.4, 0.0, 0.4)  # percent to the right, so that intervals do not hide one another
TITLES = {"faces": "drawn faces, 30 % wrong", "fer2013": "FER2013, judged by ten votes"}


@figure_of
def pays(table: pd.DataFrame, metrics: Sequence[str] = ("overall", "mean")) -> Figure:
    """Accuracy on human truth after looking at a share of the training labels.

    A row of panels for each metric, a column for each data set. ``table`` has a row a run: data,
    way, share (0..1 of the training labels), seed, overall and mean (%). Means with 95 % intervals
    (t) over seeds; beside the ways the level of doing nothing and of mending all that is wrong.
    RunError without rows.
    """
    sets = table["data"].unique()
    if not len(sets):
        raise RunError("there is nothing to draw: no run of the study mending has ended")
    rows = len(metrics)
    columns = len(sets)
    height = 0.9 + 2.0 * rows
    figure, axes = new_figure(TWO, height, rows, columns, sharex=True)
    for column, data in zip(axes.T, sets):
        part = table[table["data"] == data]
        draw_set(column, part, metrics)
        name = TITLES.get(data, data)
        count = part["seed"].nunique()
        column[0].set_title(f"{name}, n = {count}")
    left = axes[:, 0]
    for ax, metric in zip(left, metrics):
        ax.set_ylabel(f"{metric} accuracy (%)")
    handles, names = left[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=5)
    return figure


def draw_set(axes: Sequence[Axes], part: pd.DataFrame, metrics: Sequence[str]) -> None:
    """A data set's panels, one below the other, a metric each."""
    for ax, metric in zip(axes, metrics):
        draw_levels(ax, part, metric)
        draw_ways(ax, part, metric)
    axes[-1].set_xlabel("labels looked at (%)")


def draw_levels(ax: Axes, part: pd.DataFrame, metric: str) -> None:
    """What there is to begin with, and what mending everything gives."""
    for way, dash in (("nothing", ":"), ("all mended", "--")):
        level = part.loc[part["way"] == way, metric].mean()
        ax.axhline(level, color="0.4", linestyle=dash, linewidth=1, label=way)


def draw_ways(ax: Axes, part: pd.DataFrame, metric: str) -> None:
    """A line for each way, from doing nothing on, a little beside each other."""
    for aside, way, look in zip(ASIDE, WAYS, method_looks(WAYS)):
        rows = part[part["way"].isin([way, "nothing"])]
        cells = rows.groupby("share")[metric]
        means = cells.mean()
        shares = means.index.to_numpy(float)
        places = 100 * shares + aside
        ax.plot(places, means, label=way, **look)
        intervals = cells.apply(mean_interval)
        for place, (low, high) in zip(places, intervals):
            ax.vlines(place, low, high, color=look["color"], linewidth=1)

"""Curves over the epochs: weights by group, accuracy and memorisation, agreement of two views."""

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from nla.analysis import views
from nla.analysis.comparing import display_names
from nla.analysis.style import (
    ONE,
    figure_of,
    grouping,
    listed,
    method_looks,
    new_figure,
    panels,
    plain,
    wrapped,
)
from nla.training.record import Run, RunError

MEANS = {"weight": "mean w*", "factor": "mean factor"}
"""Of the columns of a run's samples that say what a sample counts: what their mean is called."""


@figure_of
def weights_over_epochs(run: Run, by: str = "class", column: str = "weight") -> Figure:
    """Mean w* by class or kind over the epochs, with the 95 % interval of the mean.

    A panel for each group, the others in grey behind it, so that no colour has to be told apart.
    ``column`` "factor": what the method multiplied the cross-entropy by, if not by 1 + w*.
    RunError for kinds that nobody knows, and for a factor that is not on record.
    """
    by, (palette, markers) = grouping(run, by)
    table = means_over_epochs(run, by, column)
    names = list(table[by].unique())
    figure, axes = panels(len(names), 1.35, "epoch", MEANS[column])
    for ax, name in zip(axes, names, strict=True):
        sns.lineplot(
            x=table["epoch"].to_numpy(),
            y=table["mean"].to_numpy(),
            units=table[by].to_numpy(),
            estimator=None,
            color="#CCCCCC",
            linewidth=0.6,
            ax=ax,
        )
        part = table[table[by] == name]
        draw_mean(ax, part, palette[name], markers[name], zorder=4)
        ax.set_title(wrapped(f"{name} (n = {part['n'].iloc[0]:,})", 26))
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    return figure


def draw_mean(ax: Axes, part: pd.DataFrame, colour: str, marker: str, **look: Any) -> None:
    """A group's mean over the epochs (:func:`views.over_epochs`), with its interval."""
    x = part["epoch"]
    ax.fill_between(x, part["low"], part["high"], color=colour, alpha=0.25, linewidth=0)
    ax.plot(x, part["mean"], marker=marker, color=colour, markersize=3.5, **look)


def means_over_epochs(run: Run, by: str, column: str) -> pd.DataFrame:
    """:func:`views.over_epochs` with epochs from 1; RunError if the column is not on record."""
    if column not in run.samples(0):
        raise RunError(
            f"{run.name} has no {column} on record: its loss multiplies by 1 + w*, or by nothing"
        )
    table = views.over_epochs(run, by, column)
    table["epoch"] += 1
    return table


@figure_of
def weights_of_kinds(run: Run, column: str = "weight") -> Figure:
    """Mean w* of the kinds over the epochs in one panel, with the 95 % intervals of the means.

    ``column`` and errors as in :func:`weights_over_epochs`.
    """
    by, (palette, markers) = grouping(run, "kind")
    table = means_over_epochs(run, by, column)
    figure, axes = new_figure(ONE, 2.4)
    ax = axes[0, 0]
    for name, part in table.groupby(by, observed=True, sort=False):
        label = f"{name} ({part['n'].iloc[0]:,})"
        draw_mean(ax, part, palette[str(name)], markers[str(name)], label=label)
    ax.set(xlabel="epoch", ylabel=MEANS[column])
    ax.set_title(f"{plain(run.name)}: by kind (samples)")
    ax.xaxis.set_major_locator(MaxNLocator(7, integer=True))
    figure.legend(loc="outside lower center", ncols=3, handlelength=1.5, columnspacing=1.2)
    return figure


def compared(runs: Run | Sequence[Run], view: Callable[[Run], pd.DataFrame], xlabel: str) -> Figure:
    """A panel for each column of a view that holds a number, a line for each run.

    RunError if there is no number in any.
    """
    runs = listed(runs)
    tables = [view(run).dropna(axis="columns", how="all") for run in runs]
    columns = list(dict.fromkeys(column for table in tables for column in table))
    if not columns:
        raise RunError(f"{runs[0].folder} has nothing to draw over the epochs")
    figure, axes = panels(len(columns), 2.0, xlabel, "", sharey=False)
    looks = method_looks([run.name for run in runs])
    lines: dict[int, Line2D] = {}
    for ax, column in zip(axes, columns, strict=True):
        for k, (table, look) in enumerate(zip(tables, looks, strict=True)):
            if column in table:
                (line,) = ax.plot(table.index, table[column], **look)
                lines.setdefault(k, line)
        ax.set_title(column)
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    names = display_names(runs)
    shown = sorted(lines)
    figure.legend(
        handles=[lines[k] for k in shown],
        labels=[plain(names[k]) for k in shown],
        loc="outside upper center",
        ncols=4,
    )
    return figure


AS_GIVEN = "noisy labels predicted in training (%)"


@figure_of
def training_curves(runs: Run | Sequence[Run]) -> Figure:
    """Test accuracy and, where labels are known to be noisy, how many are predicted as given.

    RunError if the runs have neither.
    """
    figure = compared(runs, learning_of, "epoch")
    for ax in figure.axes:
        if ax.get_title("left") == AS_GIVEN:
            ax.set_ylim(bottom=0)
    return figure


def learning_of(run: Run) -> pd.DataFrame:
    """What :func:`training_curves` shows of a run, by epoch from 1; what it has not is left out."""
    table = pd.DataFrame(index=pd.Index(run.epochs["epoch"], name="epoch"))
    if "test_overall" in run.epochs:
        table["correct on the test set (%)"] = run.epochs["test_overall"].to_numpy()
    if run.knows_truth:
        table[AS_GIVEN] = 100 * views.memorisation(run)
    return table.set_axis(table.index + 1)


@figure_of
def agreement(runs: Run | Sequence[Run]) -> Figure:
    """What consistency does: how alike faces and their mirror images are to the model.

    Over the snapshots; RunError for a run without any.
    """
    return compared(runs, agreement_of, "after epoch")


def agreement_of(run: Run) -> pd.DataFrame:
    """:func:`views.agreement` under the titles of its panels."""
    titles = {
        "divergence": "divergence of predictions (nats)",
        "cosine": "cosine of latents",
        "same answer": "share with the same answer",
    }
    return views.agreement(run).set_index("epoch").rename(columns=titles)

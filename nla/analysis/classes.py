"""Accuracy class by class: with its interval, and what each class is taken for."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from statsmodels.stats.proportion import proportion_confint

from nla.analysis.comparing import display_names, seeds_of_one
from nla.analysis.style import (
    ONE,
    TWO,
    figure_of,
    listed,
    method_looks,
    new_figure,
    plain,
    wrapped,
)
from nla.training.record import Run


@figure_of
def per_class_accuracy(runs: Run | Sequence[Run], split: str = "test") -> Figure:
    """Accuracy by true class with 95 % intervals (Wilson 1927), a mean over the seeds of a run.

    Runs are seeds of one whose name, config and data are the same (:func:`seeds_of_one`); others
    stand apart. n counts images: scored by several seeds, an image is still one image, and the
    interval is what other images would change, not what other seeds would. Where runs differ in n,
    each has its own, in their order. A class that a run does not know, or that does not occur, is
    empty. RunError if there is nothing to score.
    """
    runs = listed(runs)
    by_run = scored_by_name(runs, split)
    of_image = ["method", "class", "image"]
    table = by_run.groupby(of_image, observed=True, sort=False)["hit"].mean().reset_index()
    shown = dict(zip(pooled_names(runs), runs, strict=True))
    looks = method_looks([run.name for run in shown.values()])
    rows = table["class"].cat.categories.size
    figure, axes = new_figure(ONE, 1.0 + 0.27 * rows)
    ax = sns.pointplot(
        table,
        x="hit",
        y="class",
        hue="method",
        dodge=0.4 if len(shown) > 1 else False,
        linestyle="none",
        errorbar=wilson,
        markersize=4,
        err_kws={"linewidth": 1},
        ax=axes[0, 0],
        palette=[look["color"] for look in looks],
        markers=[look["marker"] for look in looks],
    )
    counts = [
        rows["class"].value_counts(sort=False) for _, rows in table.groupby("method", sort=False)
    ]
    ax.set_yticks(range(len(counts[0])), numbered(counts))
    ax.set(xlabel=f"accuracy on the {split} set (%)", ylabel="", xlim=(-2, 102))
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color="#E5E5E5", linewidth=0.5)
    sns.move_legend(ax, "lower right", bbox_to_anchor=(1, 1), title=None, ncols=3)
    return figure


def scored(run: Run, split: str, epoch: int = -1) -> pd.DataFrame:
    """Predictions after an epoch on a split; RunError if there are none."""
    run.confusion(epoch, split)  # says so
    return run.predictions(epoch).query("split == @split")


def scored_by_name(runs: Sequence[Run], split: str) -> pd.DataFrame:
    """A row a scored image of each run: image, method, class (of all runs' classes), hit (%)."""
    parts = []
    for run, name in zip(runs, pooled_names(runs), strict=True):
        table = scored(run, split)
        hit = 100.0 * (table["true_label"] == table["prediction"])
        names = np.array(run.classes, dtype=object)[table["true_label"]]
        place = np.arange(len(table))  # in the split, which runs share; their training sets differ
        facts = {"image": place, "method": plain(name), "class": names, "hit": hit}
        parts.append(pd.DataFrame(facts))
    table = pd.concat(parts)
    return table.assign(**{"class": pd.Categorical(table["class"], all_classes(runs))})


def pooled_names(runs: Sequence[Run]) -> list[str]:
    """The runs' :func:`display_names`, one for all that are seeds of one."""
    first: list[Run] = []
    places = []
    for run in runs:
        known = [place for place, other in enumerate(first) if seeds_of_one(run, other)]
        places += known[:1] or [len(first)]
        if not known:
            first.append(run)
    names = display_names(first)
    return [names[place] for place in places]


def all_classes(runs: Sequence[Run]) -> list[str]:
    """The classes that any of the runs knows, in the order of the first that does."""
    return list(dict.fromkeys(name for run in runs for name in run.classes))


def numbered(counts: Sequence[pd.Series]) -> list[str]:
    """``class (n)`` for each class of the counts' index; runs with other numbers n give n/n.

    Runs without the class (0 or NaN) do not count, if one has it.
    """
    labels = []
    for name in counts[0].index:
        numbers = [int(n) for n in (table[name] for table in counts) if n > 0] or [0]
        text = "/".join(f"{n:,}" for n in dict.fromkeys(numbers))
        labels.append(f"{plain(name)} ({text})")
    return labels


def wilson(hits: pd.Series) -> tuple[float, float]:
    """The 95 % interval of a rate, in percent, from hits of 0 to 100, one an image."""
    low, high = proportion_confint(hits.sum() / 100, len(hits), method="wilson")
    return 100 * low, 100 * high


@figure_of
def confusion_matrices(runs: Run | Sequence[Run], split: str = "test") -> Figure:
    """Of one run the counts and the percentages of each row (true class); of several the latter.

    Of two also the difference, second minus first, in percentage points. All have the classes that
    any of the runs knows; those of the others are empty. RunError if there is nothing to score.
    """
    runs = listed(runs)
    names = display_names(runs)
    classes = all_classes(runs)
    counts = [run.confusion(split=split).reindex(index=classes, columns=classes) for run in runs]
    rates = [100 * table.div(table.sum(axis=1).replace(0, np.nan), axis=0) for table in counts]
    parts = [(f"{name}, % of row", rate) for name, rate in zip(names, rates, strict=True)]
    if len(runs) == 1:
        parts.insert(0, (f"{names[0]}, images", counts[0]))
    if len(runs) == 2:
        parts.append((f"{names[1]} − {names[0]}, points", rates[1] - rates[0]))
    height = 2.75 if len(parts) > 2 else 3.7
    figure, axes = new_figure(TWO, height, 1, len(parts), "compressed", sharey=True)
    rows = numbered([table.sum(axis=1) for table in counts])
    room = (98 - max(map(len, rows))) // len(parts)  # letters
    for k, (title, table) in enumerate(parts):
        draw_matrix(axes[0, k], table, change=len(runs) == k == 2)
        axes[0, k].set_title(wrapped(title, room))
    axes[0, 0].set_ylabel("true class (images)")
    axes[0, 0].set_yticks(0.5 + np.arange(len(rows)), rows, rotation=0)  # of many classes too
    return figure


def draw_matrix(ax: Axes, table: pd.DataFrame, change: bool = False) -> None:
    """A table (K, K) as a heat map with its numbers; NaN is empty, a change has a sign."""
    top = max(1.0, float(table.abs().max().max()))
    text = table.map(("{:+.0f}" if change else "{:.0f}").format)
    text = text.replace({"nan": "", "+nan": "", "+0": "0", "-0": "0"})
    sns.heatmap(
        table,
        ax=ax,
        annot=text,
        fmt="",
        annot_kws={"fontsize": 6},
        square=True,
        cbar=False,
        linewidths=0.5,
        cmap="RdBu" if change else "Greys",
        vmin=-1.3 * top * change,
        vmax=1.3 * top,
    )
    ax.set(xlabel="predicted class", ylabel="")
    names = [plain(name) for name in table.columns]
    places = 0.5 + np.arange(len(names))  # seaborn leaves some out of many
    ax.set_xticks(places, names, rotation=45, ha="right", rotation_mode="anchor")
    ax.tick_params(length=0)

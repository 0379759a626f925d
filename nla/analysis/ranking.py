"""How well do judges find wrong labels? Average precision against the share that was flipped."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nla.analysis.methods import held_at, mean_interval
from nla.analysis.style import TWO, figure_of, method_looks, new_figure
from nla.training.record import RunError

TITLES = {
    "symmetric": "flipped to any class",
    "pair": "flipped to the class alike",
    "instance": "to what the face hints at",
}
"""The kinds of planted noise, and where a flipped label goes."""
SHOWN = {
    "combined (chosen)": "several, combined",
    "margin": "averaged margin",
    "neighbours": "neighbours in the latent space",
    "weight": "w*",
}
"""Judges that are drawn, beside cleanlab's best, and what the legend calls them."""
BEST = "cleanlab, the best of its six"


@figure_of
def ranking(table: pd.DataFrame) -> Figure:
    """Average precision of judges against the share of labels flipped, a panel a kind of noise.

    ``table`` has a row a judge, setting and seed (``figures/judges.csv``): target, kind, ratio
    (0..1), seed, judge, share (0..1, what chance gives) and average_precision (0..1). Means with
    95 % intervals (t) over seeds; of cleanlab's scores the one with the best mean at that point.
    Where a face hints at another class it may be the true one: then fewer are wrong than flipped.
    RunError if no planted noise is in it.
    """
    planted = table[(table["target"] == "wrong") & table["kind"].isin(TITLES)]
    kinds = [kind for kind in TITLES if (planted["kind"] == kind).any()]
    if not kinds:
        raise RunError("there is nothing to draw: no setting with planted noise has ended")
    figure, axes = new_figure(TWO, 2.7, 1, len(kinds), sharey=True)
    for ax, kind in zip(axes[0], kinds):
        part = planted[planted["kind"] == kind]
        draw_judges(ax, part)
        seeds = part.groupby("ratio")["seed"].nunique()
        ax.set_title(held_at([TITLES[kind]], seeds))
        ax.set_xlabel("labels flipped (%)")
    axes[0, 0].set_ylabel("average precision")
    axes[0, 0].set_ylim(0, 1)
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3)
    return figure


def draw_judges(ax: Axes, part: pd.DataFrame) -> None:
    """A line for each judge, and what chance gives."""
    lines = {name: part[part["judge"] == judge] for judge, name in SHOWN.items()}
    lines[BEST] = best_of_cleanlab(part)
    for (name, rows), look in zip(lines.items(), method_looks(list(lines))):
        points = rows.groupby("ratio")["average_precision"]
        means = points.mean()
        places = 100 * means.index.to_numpy(float)
        ax.plot(places, means, label=name, **look)
        for place, (low, high) in zip(places, points.apply(mean_interval)):
            ax.vlines(place, low, high, color=look["color"], linewidth=1)
    chance = part.groupby("ratio")["share"].mean()
    places = 100 * chance.index.to_numpy(float)
    ax.plot(places, chance, color="0.4", linestyle=":", linewidth=1, label="in any order")


def best_of_cleanlab(part: pd.DataFrame) -> pd.DataFrame:
    """The rows of that score of cleanlab's which has the best mean, at each ratio."""
    theirs = part[part["judge"].str.startswith("cleanlab")]
    if not len(theirs):
        return theirs
    means = theirs.groupby(["ratio", "judge"])["average_precision"].mean()
    best = means.groupby("ratio").idxmax()
    chosen = pd.MultiIndex.from_frame(theirs[["ratio", "judge"]]).isin(best)
    return theirs[chosen]

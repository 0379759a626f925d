"""Accuracy of methods with its interval: against noise, imbalance, and one another."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import t as student

from nla.analysis.style import METHODS, ONE, TWO, figure_of, method_looks, new_figure, plain
from nla.training.record import RunError

AXES = {
    "noise": "label noise (%)",
    "imbalance": "imbalance imposed (largest / smallest class)",
}


def mean_interval(values: pd.Series) -> tuple[float, float]:
    """The 95 % interval of a mean (t distribution) of what was measured; NaN for a single value."""
    count = values.count()
    low, high = student.interval(0.95, count - 1, values.mean(), values.sem())
    return low, high


@figure_of
def accuracy_against(results: pd.DataFrame, x: str = "noise", metric: str = "overall") -> Figure:
    """Accuracy of each method against ``x``: noise, imbalance, or method (the ablation).

    ``results`` has a row a run: method, noise (0..1), imbalance (n_max / n_min), seed, overall and
    mean (%). What is not on the axis is held at the one setting that has most values of ``x``, and
    named. Means with 95 % intervals (t) over seeds. Of many methods cross-entropy, NLA and the best
    of those run most are named. RunError if there is nothing to compare.
    """
    table, setting = at_one_setting(results, x, metric)
    cells = table.groupby([x, "method"])[metric]
    # the best of those with most values of x: last
    ranked = cells.mean().groupby(level=1).sum().sort_values()
    best_first = dict.fromkeys(["cross-entropy", "NLA", *ranked.index[::-1]])
    methods = [name for name in best_first if name in ranked]
    if x == "method":
        return ablation_of(table, metric, ranked, setting)
    shown = methods[:2] + sorted(methods[2:5])
    figure, axes = new_figure(ONE, 2.8)
    ax = axes[0, 0]
    draw_others(ax, table[~table["method"].isin(shown)], methods, x, metric)
    looks = method_looks(shown)
    for part in parts_of(table, x):
        draw_means(
            ax,
            part[part["method"].isin(shown)],
            dict(zip(shown, looks)),
            x=x,
            y=metric,
            linestyles=[look["linestyle"] for look in looks],
            linewidth=1.2,
            native_scale=True,
            log_scale=(x == "imbalance", False),
        )
    ax.set(xlabel=AXES[x], ylabel=f"{metric} accuracy (%)", title=held_at(setting, cells.size()))
    one_legend(figure, ncols=2)
    if x == "imbalance":
        factors = sorted(table[x].unique())
        ax.set_xticks(factors, [factor_name(factor) for factor in factors])
        ax.minorticks_off()
    return figure


@figure_of
def accuracy_where_both(results: pd.DataFrame, metric: str = "mean") -> Figure:
    """Accuracy of each method where labels are wrong and classes uneven at once: a panel a ratio.

    ``results`` as for :func:`accuracy_against`, of the study *both*. Means with 95 % intervals (t)
    over seeds; the methods of a setting share its seeds. Faces that nothing was imposed on stand
    apart. RunError if a column is missing or if no ratio was run with two factors.
    """
    needs_columns(results, metric)
    results = results.dropna(subset=metric)
    table = results.assign(method=results["method"].map(plain))
    factors_of = results.groupby("noise")["imbalance"].nunique()
    if factors_of.empty or factors_of.max() < 2:
        raise RunError("the results hold no ratio of wrong labels with two factors of imbalance")
    ratios, factors = (sorted(table[name].unique()) for name in ("noise", "imbalance"))
    names = {factor: factor_name(factor) for factor in factors}
    parts = [part.replace({"imbalance": names}) for part in parts_of(table, "imbalance")]
    # by what they reach where both are strongest
    strongest = table[(table[["noise", "imbalance"]] == [ratios[-1], factors[-1]]).all(axis=1)]
    reached = strongest.groupby("method")[metric].mean().sort_values(ascending=False)
    methods = list(dict.fromkeys([*reached.index, *table["method"]]))
    looks = method_looks(methods)
    figure, axes = new_figure(TWO, 2.9, 1, len(ratios), sharey=True)
    for ax, ratio in zip(axes[0], ratios):
        for part in parts:
            draw_means(
                ax,
                part[part["noise"] == ratio],
                dict(zip(methods, looks)),
                x="imbalance",
                y=metric,
                order=list(names.values()),
                dodge=0.5,
                linestyles=[look["linestyle"] for look in looks],
                linewidth=1.0,
            )
        sizes = table[table["noise"] == ratio].groupby(["imbalance", "method"]).size()
        title = held_at([f"{100 * ratio:.4g} % noise"], sizes)
        ax.set(title=title, xlabel="imbalance imposed", ylabel="")
    axes[0, 0].set(ylabel=f"{metric} accuracy (%)")
    one_legend(figure, ncols=3)
    return figure


def one_legend(figure: Figure, ncols: int) -> None:
    """Below the figure, in place of those of its panels and of their parts, each name once."""
    once: dict[str, Any] = {}
    for ax in figure.axes:
        handles, names = ax.get_legend_handles_labels()
        once |= dict(zip(names, handles))
        if legend := ax.get_legend():
            legend.remove()
    figure.legend(list(once.values()), list(once), loc="outside lower center", ncols=ncols)


def parts_of(table: pd.DataFrame, x: str) -> list[pd.DataFrame]:
    """What one line may join: faces that nothing was imposed on stand apart from thinned ones.

    They are more, and as uneven as the data set has them: no point of the same curve.
    """
    apart = (x == "imbalance") & (table[x] == 1)
    return [part for part in (table[~apart], table[apart]) if len(part)]


def held_at(setting: Sequence[str], sizes: pd.Series, between: str = ", ") -> str:
    """The setting at which all else is held, and how many runs a mean is of (at least)."""
    sign = "=" if sizes.nunique() == 1 else "≥"
    return f"{between.join(setting)}, n {sign} {sizes.min()}"


def ablation_of(
    table: pd.DataFrame, metric: str, ranked: pd.Series, setting: Sequence[str]
) -> Figure:
    """A row a method, the best on top; what is taken apart or changed of the methods is grey."""
    best_first = list(ranked.index[::-1])
    changed = {"color": "#AAAAAA", "linestyle": "-", "marker": "o"}
    looks = {name: METHODS.get(name, changed) for name in best_first}
    figure, axes = new_figure(ONE, 0.7 + 0.17 * len(best_first))
    ax = axes[0, 0]
    options = {"order": best_first, "linestyle": "none", "legend": False}
    draw_means(ax, table, looks, x=metric, y="method", **options)
    sizes = table.groupby("method")[metric].size()
    title = held_at(setting, sizes, between=",\n")  # beside long names there is little room
    ax.set(xlabel=f"{metric} accuracy (%)", ylabel="", title=title)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color="#E5E5E5", linewidth=0.5)
    return figure


def draw_means(
    ax: Axes, table: pd.DataFrame, looks: Mapping[str, Mapping[str, Any]], **options: Any
) -> None:
    """The methods that ``looks`` names: means with their 95 % intervals."""
    sns.pointplot(
        table,
        hue="method",
        hue_order=list(looks),
        errorbar=mean_interval,
        palette=[look["color"] for look in looks.values()],
        markers=[look["marker"] for look in looks.values()],
        markersize=4,
        err_kws={"linewidth": 1},
        ax=ax,
        **options,
    )


def at_one_setting(results: pd.DataFrame, x: str, metric: str) -> tuple[pd.DataFrame, list[str]]:
    """The rows where what is not ``x`` is as in most of them, noise in percent; and its name.

    Of several data sets one is taken, and named; runs without that measure are left out. RunError
    if a column is missing or if no two of these rows differ in ``x``.
    """
    needs_columns(results, metric)
    results = results.dropna(subset=metric)
    held = [name for name in ("data", "noise", "imbalance") if name != x and name in results]
    settings = results.groupby(held)[x].nunique()
    if settings.empty or settings.max() < 2:
        raise RunError(f"the results hold no two runs that differ in {x} alone")
    most = settings.idxmax()
    setting = dict(zip(held, most if isinstance(most, tuple) else (most,), strict=True))
    table = results[(results[held] == setting).all(axis=1)]
    table = table.assign(noise=100 * table["noise"], method=table["method"].map(plain))
    names = []
    for name, value in setting.items():
        if name == "noise":
            names.append(f"{100 * value:.4g} % noise")
        elif name == "data":
            names += [plain(value)] if results["data"].nunique() > 1 else []
        else:
            names.append(f"imbalance {factor_name(value)}")
    return table, names


def needs_columns(results: pd.DataFrame, metric: str) -> None:
    """RunError if the results lack a column that their figures are made of."""
    needed = ["method", "noise", "imbalance", metric]
    if missing := [column for column in needed if column not in results]:
        raise RunError(
            f"the results have no column {missing[0]!r}; they have {', '.join(map(str, results))}"
        )


def factor_name(factor: float) -> str:
    """An imbalance factor as a figure names it: at 1 the classes are left as the data set has them.

    Which is not even: RAF-DB's largest class is 17 times its smallest.
    """
    return "as drawn" if factor == 1 else f"{factor:g}"


def draw_others(ax: Axes, table: pd.DataFrame, methods: Sequence[str], x: str, metric: str) -> None:
    """Methods that are not named, as grey lines, the best first."""
    label = "others"
    for name in methods:
        for part in parts_of(table[table["method"] == name], x):
            means = part.groupby(x)[metric].mean()
            mark = "_" if len(means) == 1 else ""
            ax.plot(means.index, means, color="#CCCCCC", linewidth=0.8, marker=mark, label=label)
            label = "_"  # one entry of the legend for all

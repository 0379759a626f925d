"""Every figure of the kit: one function each, from run folders to a matplotlib ``Figure``.

Nothing here needs the GPU, and only faces need images (uint8 (N, C, H, W), row i of the manifest is image i).
Sizes are those of a two-column page: ONE and TWO columns wide, in inches.
"""

import functools
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon
from matplotlib.ticker import MaxNLocator
from scipy.stats import binomtest
from scipy.stats import t as student
from torch.nn.functional import pad
from torchvision.utils import make_grid

from nla.analysis import views
from nla.data.manifest import EXPRESSIONS
from nla.files import atomic
from nla.naw import NAW, Scores
from nla.training.record import Run, RunError

ONE, TWO = 3.35, 7.0
PALETTE = dict(
    zip(
        EXPRESSIONS,
        ("#04BEEF", "#701F6A", "#0F6511", "#F8BD13", "#1C128C", "#FF1D47", "#999999", "#2E200D"),
        strict=True,
    )
)
"""One colour an expression, everywhere: apart for every kind of colour vision, and in grey."""
MARKERS = dict(zip(EXPRESSIONS, "o^svDP*X", strict=True))
KIND_PALETTE = {
    "clean": "#004488",
    "ambiguous": "#DDAA33",
    "noisy": "#BB5566",
}  # high-contrast scheme of Paul Tol
KIND_MARKERS = {"clean": "o", "ambiguous": "D", "noisy": "X"}
LOOKS = {"kind": (KIND_PALETTE, KIND_MARKERS), "class": (PALETTE, MARKERS)}
OWN = ("#332288", "#44AA99", "#CC6677", "#DDCC77", "#117733", "#AA4499", "#88CCEE", "#882255")


def look_of(by: str, classes: Sequence[str] = EXPRESSIONS) -> tuple[dict[str, str], dict[str, str]]:
    """Colour and marker of each kind or class: names of a set's own cycle through others."""
    if by == "kind":
        return KIND_PALETTE, KIND_MARKERS
    others = [name for name in classes if name not in PALETTE]
    palette = PALETTE | dict(zip(others, itertools.cycle(OWN)))
    return palette, MARKERS | dict(zip(others, itertools.cycle(MARKERS.values())))


METHODS = [
    {"color": colour, "linestyle": line, "marker": marker, "markersize": 3.5}
    for colour, line, marker in zip(
        ("#777777", "#C2410C", "#1F6F8B", "#6A3D9A", "#111111"),
        ("--", "-", "-.", ":", (0, (5, 1, 1, 1))),
        "os^Dv",
        strict=True,
    )
]  # by order of the runs
SURFACE = LinearSegmentedColormap.from_list("surface", ["#FFFFFF", "#D5DCE3", "#8FA1B3"])
WEIGHT_TOP = 0.55  # of w* with the paper's parameters: the same scale in every figure

STYLE = mpl.rc_params_from_file(
    Path(__file__).with_name("style.mplstyle"), use_default_template=False
)


def figure_of(function):
    """The decorated function draws in the kit's style and leaves matplotlib's own settings alone."""

    @functools.wraps(function)
    def styled(*args, **kwargs) -> Figure:
        with mpl.rc_context(STYLE):
            return function(*args, **kwargs)

    return styled


def new_figure(
    width: float,
    height: float,
    rows: int = 1,
    columns: int = 1,
    layout: str = "constrained",
    **options,
) -> tuple[Figure, np.ndarray]:
    """A figure of width x height inches, unknown to pyplot's state, and its axes (rows, columns)."""
    figure = Figure(figsize=(width, height), layout=layout)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def panels(
    count: int,
    panel: float | None,
    xlabel: str,
    ylabel: str,
    extra: float = 0.35,
    sharey: bool = True,
) -> tuple[Figure, np.ndarray]:
    """``count`` panels of that height (None: square), four in a row; ``extra`` inches for a legend and the like."""
    columns = min(count, 4)
    rows, width, layout = (
        -(-count // columns),
        TWO if count > 1 else ONE,
        "constrained" if panel else "compressed",
    )
    height = panel or (width - 1.1) / columns + 0.3
    figure, axes = new_figure(
        width, rows * height + extra, rows, columns, layout, sharex=True, sharey=sharey
    )
    for k, ax in enumerate(axes.flat):
        ax.set_visible(k < count)
        ax.set(xlabel=xlabel if k + columns >= count else "", ylabel="" if k % columns else ylabel)
        ax.tick_params(labelbottom=k + columns >= count)
    return figure, axes.flat[:count]


def legend_above(figure: Figure, look: tuple[dict, dict], names: Sequence[str]) -> None:
    """One legend for all panels."""
    handles = [
        Line2D([], [], color=look[0][n], marker=look[1][n], linestyle="", markersize=5, label=n)
        for n in names
    ]
    figure.legend(
        handles=handles, loc="outside upper center", ncols=8, handletextpad=0.1, columnspacing=1.2
    )


def save(
    figure: Figure, path: str | Path, runs: Run | Sequence[Run] = (), formats=("pdf", "png")
) -> list[Path]:
    """Write ``path``.pdf and .png, with the runs' config keys and seeds in the file's metadata."""
    source = "; ".join(
        f"{run.name}: config {run.card['key']}, seed {run.card['seed']}" for run in listed(runs)
    )
    metadata = {"pdf": {"Subject": source, "CreationDate": None}, "png": {"Description": source}}
    files = [Path(f"{path}.{suffix}") for suffix in formats]
    for file, suffix in zip(files, formats, strict=True):
        with mpl.rc_context(STYLE), atomic(file) as temporary:
            figure.savefig(temporary, format=suffix, dpi=300, metadata=metadata[suffix])
    return files


def listed(runs: Run | Sequence[Run]) -> list[Run]:
    return [runs] if isinstance(runs, Run) else list(runs)


def naw_of(run: Run) -> NAW:
    """The weighting that a run was trained with."""
    return NAW(**{k: tuple(v) if isinstance(v, list) else v for k, v in run.config["naw"].items()})


# The plane


def weight_grid(naw: NAW, progress: float, size: int = 241) -> np.ndarray:
    """w* over the unit square, (size, size), p_NN in rows and p_GT in columns."""
    axis = torch.linspace(0, 1, size, dtype=torch.float64)
    p_nn, p_gt = torch.meshgrid(axis, axis, indexing="ij")
    return naw.weights(Scores(p_gt, p_nn, p_gt >= p_nn), progress).numpy()


def draw_surface(ax: Axes, naw: NAW, progress: float, labels: bool = False):
    """Shade w* on the half of the plane where p_GT + p_NN <= 1, with contours; returns the image, for a colour bar.

    Contours of the wrong half (above the diagonal, across which w* jumps) are 0.05 apart; of the correct one, where
    w* is nearly flat, 0.02, and ``labels`` writes their values.
    """
    grid, possible = (
        weight_grid(naw, progress),
        Polygon([(0, 0), (1, 0), (0, 1)], transform=ax.transData),
    )
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
    image.set_clip_path(possible)
    axis, above = np.linspace(0, 1, len(grid)), np.tri(len(grid), k=-1, dtype=bool)
    inside = axis[:, None] + axis <= 1
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
        if labels and step == 0.02:
            ax.clabel(lines, fontsize=6, fmt="%.2f", inline_spacing=1)
    ax.plot([0.5, 0, 1, 0.5, 0], [0.5, 1, 0, 0.5, 0], color="#222222", linewidth=0.8, zorder=2)
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    return image


def draw_points(
    ax: Axes, x: pd.Series, y: pd.Series, names: pd.Series, look: tuple[dict, dict], size: float
) -> None:
    sns.scatterplot(
        x=x.to_numpy(),
        y=y.to_numpy(),
        hue=names.to_numpy(),
        style=names.to_numpy(),
        palette=look[0],
        markers=look[1],
        s=size,
        linewidth=0.25,
        alpha=0.85,
        zorder=3,
        rasterized=True,
        legend=False,
        ax=ax,
    )


@figure_of
def planes(
    run: Run, epochs: Sequence[int] | None = None, by: str = "kind", points: int = 500
) -> Figure:
    """The (p_GT, p_NN) plane over the weight surface: a panel for each epoch, or of one epoch a panel for each group.

    Groups are kinds or classes. A panel shows at most ``points`` samples; those of one group state n and mean w*.
    """
    last, naw = int(run.epochs["epoch"].iloc[-1]), naw_of(run)
    epochs = sorted(
        {0, last // 8, last // 3, last} if epochs is None else {e % (last + 1) for e in epochs}
    )
    samples = {epoch: run.samples(epoch) for epoch in epochs}
    parts = [
        (f"epoch {e + 1}, $\\epsilon$ = {naw.epsilon(e / run.config['epochs']):.2f}", samples[e])
        for e in epochs
    ]
    if len(epochs) == 1:
        grouped = samples[epochs[0]].groupby(
            views.groups(run, samples[epochs[0]], by), observed=True
        )
        parts = [
            (f"{name}, n = {len(part):,}\nmean w* {part['weight'].mean():.3f}", part)
            for name, part in grouped
        ]
    figure, axes = panels(
        len(parts), None, "$p_{GT}$ (label)", "$p_{NN}$ (nearest negative)", extra=0.5
    )
    for ax, epoch, (title, part) in zip(axes, itertools.cycle(epochs), parts):
        image = draw_surface(ax, naw, epoch / run.config["epochs"])
        shown = (
            part if len(part) <= points else part.sample(points, random_state=0)
        )  # enough for the eye
        draw_points(ax, shown["p_gt"], shown["p_nn"], views.groups(run, shown, by), LOOKS[by], 9)
        ax.set_title(title)
    named = f", {run.name}, epoch {last + 1}" if epochs == [last] else ""
    figure.colorbar(image, ax=list(axes), label=f"weight w*{named}", pad=0.02)
    if len(epochs) > 1:
        legend_above(
            figure, LOOKS[by], views.groups(run, samples[epochs[-1]], by).unique().sort_values()
        )
    return figure


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
        ax.text(1, 1, "above the diagonal\nwrong, below correct", ha="right", va="top", fontsize=6)
    figure.colorbar(image, ax=list(axes), label="weight w*", pad=0.02)
    return figure


@figure_of
def framework(naw: NAW | None = None) -> Figure:
    """The method as a drawing: two views, one network, the weight of each sample, and the loss."""
    figure = Figure(figsize=(TWO, 2.0))
    ax = figure.add_axes(
        (0, 0, 1, 1), xlim=(0, 14), ylim=(0, 4), frame_on=False, xticks=[], yticks=[]
    )
    texts = {
        "face": (0.9, 2, "face $x$\nlabel $y$"),
        "view": (3.1, 3, "augmented\nview"),
        "mirror": (3.1, 1, "its mirror\nimage"),
        "network": (5.2, 2, "network\n(shared)"),
        "p": (6.9, 3, "$p$"),
        "q": (6.9, 1, "$p'$"),
        "plane": (8.65, 3, " " * 18),
        "ce": (11.3, 3, "$(1 + w^*)\\,$CE$(p, y)$"),
        "jsd": (9.1, 1, "consistency\nJSD$(p, p')$"),
        "loss": (13.3, 2, "loss $L$"),
    }
    framed = {
        "boxstyle": "round,pad=0.6",
        "facecolor": "white",
        "edgecolor": "#222222",
        "linewidth": 0.8,
    }
    boxes = {
        name: ax.text(
            x, y, text, ha="center", va="center", bbox=framed | {"alpha": float(name != "plane")}
        )
        for name, (x, y, text) in texts.items()
    }  # that of the plane is not seen: arrows end at it
    for arrow in (
        "face view",
        "face mirror",
        "view network",
        "mirror network",
        "network p",
        "network q",
        "p plane",
        "plane ce $w^*$",
        "q jsd",
        "p jsd",
        "ce loss $\\lambda$",
        "jsd loss $1-\\lambda$",
    ):
        start, end, *label = arrow.split()
        (x, y, _), (x2, y2, _) = texts[start], texts[end]
        ax.annotate(
            "",
            (x2, y2),
            (x, y),
            arrowprops={
                "arrowstyle": "-|>",
                "color": "#555555",
                "linewidth": 0.8,
                "patchA": boxes[start].get_bbox_patch(),
                "patchB": boxes[end].get_bbox_patch(),
            },
        )
        ax.text(
            (x + x2) / 2,
            (y + y2) / 2 + (0.2 if end == "ce" else -0.45),
            *label or [""],
            ha="center",
        )
    plane = figure.add_axes((7.95 / 14, 0.58, 1.4 / 14, 0.35))
    draw_surface(plane, naw or NAW(), 1.0)
    plane.set(xticks=[], yticks=[], facecolor="none")
    ax.text(8.65, 2.05, "$p_{GT}$", ha="center", fontsize=7)
    ax.text(9.05, 3.55, "$p_{NN}$", ha="center", fontsize=7)
    return figure


# Curves


@figure_of
def weights_over_epochs(run: Run, by: str = "class") -> Figure:
    """Mean w* by class or kind over the epochs, with the 95 % interval of the mean.

    A panel for each group, the others in grey behind it, so that no colour has to be told apart.
    """
    table = views.over_epochs(run, by)
    table["epoch"] += 1
    names = list(table[by].unique())
    figure, axes = panels(len(names), 1.35, "epoch", "mean w*")
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
        part, (colour, marker) = table[table[by] == name], (look[name] for look in LOOKS[by])
        ax.fill_between(
            part["epoch"], part["low"], part["high"], color=colour, alpha=0.25, linewidth=0
        )
        ax.plot(part["epoch"], part["mean"], marker=marker, color=colour, markersize=3.5, zorder=4)
        ax.set_title(f"{name} (n = {part['n'].iloc[0]:,})")
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    return figure


def compared(runs: Run | Sequence[Run], view: Callable[[Run], pd.DataFrame], xlabel: str) -> Figure:
    """A panel for each column of a view that holds a number, a line for each run."""
    tables = [(run.name, view(run).dropna(axis="columns", how="all")) for run in listed(runs)]
    columns = list(dict.fromkeys(column for _, table in tables for column in table))
    figure, axes = panels(len(columns), 2.0, xlabel, "", sharey=False)
    for ax, column in zip(axes, columns):
        for (name, table), look in zip(tables, itertools.cycle(METHODS)):
            if column in table:
                ax.plot(table.index, table[column], label=name, **look)
        ax.set_title(column)
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return figure


@figure_of
def training_curves(runs: Run | Sequence[Run]) -> Figure:
    """Test accuracy and, where labels are known to be noisy, the share of these that were learned by heart."""
    return compared(
        runs,
        lambda run: pd.DataFrame(
            {
                "correct on the test set (%)": run.epochs.set_index("epoch")["test_overall"],
                "noisy labels predicted in training (%)": 100 * views.memorisation(run),
            }
        ).rename(lambda e: e + 1),
        "epoch",
    )


@figure_of
def agreement(runs: Run | Sequence[Run]) -> Figure:
    """What consistency does: how alike faces and their mirror images are to the model, over the snapshots."""
    return compared(
        runs,
        lambda run: (
            views.agreement(run)
            .set_index("epoch")
            .set_axis(
                [
                    "divergence of predictions (nats)",
                    "cosine of latents",
                    "share with the same answer",
                ],
                axis=1,
            )
        ),
        "after epoch",
    )


def mean_interval(values: pd.Series) -> tuple[float, float]:
    """The 95 % interval of a mean (t distribution); NaN for a single value."""
    return student.interval(0.95, len(values) - 1, values.mean(), values.sem())


@figure_of
def accuracy_against(results: pd.DataFrame, x: str = "noise", metric: str = "overall") -> Figure:
    """Accuracy of each method against ``x``: noise, imbalance, or method (the ablation).

    ``results`` has a row a run: method, noise (0..1), imbalance (n_max / n_min), seed, overall and mean (%). What is
    not on the axis is held at the one setting that has most values of ``x``, and named. Means with 95 % intervals (t)
    over seeds. Of many methods cross-entropy, NLA and the best of those run most are named. RunError if there is none.
    """
    held = [name for name in ("noise", "imbalance") if name != x]
    settings = results.groupby(held)[x].nunique()
    if settings.empty or settings.max() < 2:
        raise RunError(f"the results hold no two runs that differ in {x} alone")
    setting = dict(zip(held, np.atleast_1d(settings.idxmax())))
    table = results[(results[held] == setting).all(axis=1)].assign(
        noise=lambda kept: 100 * kept["noise"]
    )
    cells = table.groupby([x, "method"])[metric]
    ranked = (
        cells.mean().groupby(level=1).sum().sort_values()
    )  # the best of those with most values of x: last
    methods = [
        name
        for name in dict.fromkeys(["cross-entropy", "NLA", *ranked.index[::-1]])
        if name in ranked
    ]
    shown = methods if x == "method" else methods[:2] + sorted(methods[2:5])
    look = {
        key: [METHODS[name == "NLA" if x == "method" else k][key] for k, name in enumerate(shown)]
        for key in METHODS[0]
    }
    figure, axes = new_figure(ONE, 3.2 if x == "method" else 2.8)
    for k, name in enumerate(methods[len(shown) :]):
        means = table[table["method"] == name].groupby(x)[metric].mean()
        axes[0, 0].plot(
            means.index, means, color="#CCCCCC", linewidth=0.8, label="others" if k == 0 else None
        )
    ax = sns.pointplot(
        table[table["method"].isin(shown)],
        x=x,
        y=metric,
        hue="method",
        hue_order=shown,
        order=ranked.index if x == "method" else None,
        errorbar=mean_interval,
        native_scale=x != "method",
        ax=axes[0, 0],
        palette=look["color"],
        markers=look["marker"],
        linestyles=look["linestyle"],
        markersize=4,
        err_kws={"linewidth": 1},
        linewidth=1.2,
        legend=x != "method" and "auto",
        log_scale=(x == "imbalance", False),
    )
    labels = {
        "noise": "label noise (%)",
        "imbalance": "imbalance factor (largest / smallest class)",
        "method": "",
    }
    fixed = [
        f"{100 * v:g} % noise" if name == "noise" else f"imbalance {v:g}"
        for name, v in setting.items()
    ]
    ax.set(
        xlabel=labels[x],
        ylabel=f"{metric} accuracy (%)",
        title=f"{', '.join(fixed)}, n ≥ {cells.size().min()}",
    )
    if x == "method":
        ax.tick_params("x", labelrotation=90)
    else:
        figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=2)
        ax.get_legend().remove()
    if x == "imbalance":
        ax.set_xticks(sorted(table[x].unique()), [f"{v:g}" for v in sorted(table[x].unique())])
        ax.minorticks_off()
    return figure


# Classes


@figure_of
def per_class_accuracy(runs: Run | Sequence[Run], split: str = "test") -> Figure:
    """Accuracy by true class with 95 % intervals (Wilson 1927), runs of one name pooled; n counts images."""
    table, classes = (
        pd.concat([scored(run, split) for run in listed(runs)]),
        listed(runs)[0].classes,
    )
    table["class"] = pd.Categorical.from_codes(table["true_label"], classes)
    table["hit"] = 100.0 * (table["true_label"] == table["prediction"])
    count, looks = table["method"].nunique(), METHODS * 3
    figure, axes = new_figure(ONE, 2.9)
    ax = sns.pointplot(
        table,
        x="hit",
        y="class",
        hue="method",
        dodge=0.4 if count > 1 else False,
        linestyle="none",
        errorbar=wilson,
        markersize=4,
        err_kws={"linewidth": 1},
        ax=axes[0, 0],
        palette=[look["color"] for look in looks[:count]],
        markers=[k["marker"] for k in looks[:count]],
    )
    counts = table[table["method"] == table["method"].iloc[0]]["class"].value_counts(sort=False)
    ax.set_yticks(range(len(classes)), [f"{c} ({n:,})" for c, n in counts.items()])
    ax.set(xlabel=f"accuracy on the {split} set (%)", ylabel="", xlim=(-2, 102))
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color="#E5E5E5", linewidth=0.5)
    sns.move_legend(ax, "lower right", bbox_to_anchor=(1, 1), title=None, ncols=3)
    return figure


def scored(run: Run, split: str, epoch: int = -1) -> pd.DataFrame:
    """The predictions after an epoch on a split, with the run's name. RunError if there are none."""
    run.confusion(epoch, split)  # says so
    return run.predictions(epoch).query("split == @split").assign(method=run.name)


def wilson(hits: pd.Series) -> tuple[float, float]:
    """The 95 % interval of a rate, in percent, from zeros and hundreds."""
    low, high = binomtest(int((hits > 0).sum()), len(hits)).proportion_ci(method="wilson")
    return 100 * low, 100 * high


@figure_of
def confusion_matrices(runs: Run | Sequence[Run], split: str = "test") -> Figure:
    """Of one run the counts and the percentages of each row (true class); of several, the percentages, and of two
    the difference, second minus first, in percentage points."""
    runs = listed(runs)
    counts = [run.confusion(split=split) for run in runs]
    rates = [100 * table.div(table.sum(axis=1).replace(0, np.nan), axis=0) for table in counts]
    parts = [(f"{run.name}, % of row", rate) for run, rate in zip(runs, rates)]
    if len(runs) == 1:
        parts = [(f"{runs[0].name}, images", counts[0]), *parts]
    if len(runs) == 2:
        parts.append((f"{runs[1].name} $-$ {runs[0].name}, % points", rates[1] - rates[0]))
    figure, axes = new_figure(
        TWO, 2.75 if len(parts) > 2 else 3.7, 1, len(parts), "compressed", sharey=True
    )
    for ax, (title, table) in zip(axes[0], parts):
        top, change = max(1.0, float(table.abs().max().max())), "$-$" in title
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
        ax.set(title=title, xlabel="predicted class", ylabel="")
        ax.set_xticklabels(table.columns, rotation=45, ha="right", rotation_mode="anchor")
        ax.tick_params(length=0)
    axes[0, 0].set_ylabel("true class (images)")
    axes[0, 0].set_yticklabels(
        [f"{c} ({n:,})" for c, n in counts[0].sum(axis=1).items()], rotation=0
    )
    return figure


# Latents and faces


@figure_of
def latent_steps(
    embedding: pd.DataFrame, by: str = "true_label", quality: pd.DataFrame | None = None
) -> Figure:
    """The map of :func:`nla.analysis.latents.umap_steps` at each step, in the same axes.

    ``by`` is true_label, label or kind. With ``quality`` (of :func:`latents.quality`) each panel
    states how well the true classes separate in the latent space itself.
    """
    look = LOOKS["kind" if by == "kind" else "class"]
    names = (
        embedding[by].astype(str)
        if by == "kind"
        else embedding[by].map(dict(enumerate(EXPRESSIONS)))
    )
    steps = sorted(embedding["epoch"].unique())
    figure, axes = panels(
        len(steps), None, "UMAP 1 (a.u.)", "UMAP 2 (a.u.)", 0.6 + 0.26 * -(-len(steps) // 4)
    )
    for ax, step in zip(axes, steps, strict=True):
        part = embedding[embedding["epoch"] == step]
        draw_points(ax, part["x"], part["y"], names[part.index], look, 8)
        title = "before training" if step == 0 else f"after epoch {step}"
        if quality is not None:
            row = quality.set_index("epoch").loc[step, ["purity", "silhouette"]].dropna()
            title = "\n".join([title, *(f"{name} {value:.2f}" for name, value in row.items())])
        ax.set(title=title, xticks=[], yticks=[], box_aspect=1)
    legend_above(figure, look, [name for name in look[0] if (names == name).any()])
    return figure


@figure_of
def face_sheet(images, manifest: pd.DataFrame, by: str = "true_label", columns: int = 10) -> Figure:
    """A contact sheet: one row of faces for each true_label, label or kind, drawn at random.

    ``images`` is a uint8 tensor (N, C, H, W); ``manifest`` may be any selection of its rows. Under a face
    stands, by kind, its label, and by kind or label the true class where that differs.
    """
    cells, captions, names = [], [], []
    shuffled = manifest.sample(frac=1, random_state=0)
    for name, group in shuffled.groupby(
        views.kinds(shuffled) if by == "kind" else by, observed=True
    ):
        rows = group.head(columns)
        blank = [None] * (columns - len(rows))
        cells += [images[row] for row in rows.index] + blank
        for label, true in rows[["label", "true_label"]].to_numpy().tolist():
            captions.append(
                "\n".join(
                    [EXPRESSIONS[label]] * (by == "kind")
                    + [f"true: {EXPRESSIONS[true]}"] * (label != true and by != "true_label")
                )
            )
        captions += blank
        names.append(name if by == "kind" else EXPRESSIONS[name])
    return faces(cells, captions, columns, names)


@figure_of
def faces(
    images, captions: Sequence[str | None] = (), columns: int = 8, names: Sequence[str] = ()
) -> Figure:
    """Some faces (n, C, H, W), uint8 or floats in 0..1, None leaving a gap, in rows of ``columns``.

    Each has its caption (lines parted by \\n) under it; ``names`` stand beside the rows.
    """
    cells = [None if image is None else thumbnail(image) for image in images]
    white = np.full_like(next(cell for cell in cells if cell is not None), 255)
    cells = [white if cell is None else cell for cell in cells + [None] * (-len(cells) % columns)]
    (height, width), rows = white.shape[:2], len(cells) // columns
    size, inch = (
        min(7.0, 52 / columns),
        columns * (width + 2) / (0.88 * TWO if len(names) else TWO),
    )  # points; pixels
    gap = 2 + round(
        max((text.count("\n") + 1 for text in captions if text), default=0)
        * size
        * 1.35
        / 72
        * inch
    )
    tiles = pad(torch.from_numpy(np.stack(cells)).permute(0, 3, 1, 2), (1, 1, 0, gap), value=255)
    figure, axes = new_figure(TWO, rows * (height + gap) / inch + 0.1)
    axes[0, 0].imshow(
        make_grid(tiles, columns, padding=0).permute(1, 2, 0).numpy(), interpolation="nearest"
    )
    for k, caption in enumerate(captions):
        axes[0, 0].text(
            (k % columns + 0.5) * (width + 2),
            k // columns * (height + gap) + height + 1,
            caption,
            fontsize=size,
            ha="center",
            va="top",
        )
    axes[0, 0].set_yticks(np.arange(len(names)) * (height + gap) + height / 2, names)
    axes[0, 0].set_xticks([])
    axes[0, 0].tick_params(length=0)
    axes[0, 0].spines[:].set_visible(False)
    return figure


def thumbnail(image) -> np.ndarray:
    """One face (C, H, W), grey or colour, uint8 or floats in 0..1, as (H, W, 3) uint8."""
    pixels = np.asarray(image).transpose(1, 2, 0)
    pixels = (
        pixels if pixels.dtype == np.uint8 else (255 * pixels.clip(0, 1)).round().astype(np.uint8)
    )
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))

"""Every figure of the kit: one function each, from run folders to a matplotlib ``Figure``.

Nothing here needs the GPU, and only :func:`face_sheet` needs images (uint8 (N, C, H, W), row i of the
manifest is image i). Sizes are those of a two-column page: ONE and TWO columns wide, in inches.
"""

import functools
import itertools
from collections.abc import Sequence
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
from matplotlib.patches import FancyBboxPatch, Polygon
from matplotlib.ticker import MaxNLocator
from scipy.stats import binomtest
from scipy.stats import t as student

from nla.analysis import views
from nla.data.manifest import EXPRESSIONS, KINDS
from nla.dynamics import Run, atomic
from nla.naw import NAW, Scores

ONE, TWO = 3.35, 7.0
PALETTE = dict(zip(EXPRESSIONS, ("#04BEEF", "#701F6A", "#0F6511", "#F8BD13", "#1C128C", "#FF1D47", "#999999",
                                 "#2E200D"), strict=True))
"""One colour an expression, everywhere: apart for every kind of colour vision, and in grey."""
MARKERS = dict(zip(EXPRESSIONS, "o^svDP*X", strict=True))
KIND_PALETTE = {"clean": "#004488", "ambiguous": "#DDAA33", "noisy": "#BB5566"}  # high-contrast scheme of Paul Tol
KIND_MARKERS = {"clean": "o", "ambiguous": "D", "noisy": "X"}
LOOKS = {"kind": (KIND_PALETTE, KIND_MARKERS), "class": (PALETTE, MARKERS)}
METHODS = [{"color": colour, "linestyle": line, "marker": marker, "markersize": 3.5} for colour, line, marker in
           zip(("#777777", "#C2410C", "#1F6F8B", "#6A3D9A", "#111111"), ("--", "-", "-.", ":", (0, (5, 1, 1, 1))),
               "os^Dv", strict=True)]  # by order of the runs
SURFACE = LinearSegmentedColormap.from_list("surface", ["#FFFFFF", "#D5DCE3", "#8FA1B3"])
WEIGHT_TOP = 0.55  # of w* with the paper's parameters: the same scale in every figure

STYLE = sns.axes_style("ticks") | {
    "font.size": 8, "axes.titlesize": 8, "axes.labelsize": 8, "xtick.labelsize": 7, "ytick.labelsize": 7,
    "legend.fontsize": 7, "legend.frameon": False, "axes.spines.top": False, "axes.spines.right": False,
    "axes.linewidth": 0.6, "xtick.major.width": 0.6, "ytick.major.width": 0.6, "xtick.major.size": 2.5,
    "ytick.major.size": 2.5, "lines.linewidth": 1.2, "figure.dpi": 130, "pdf.fonttype": 42,
    "svg.hashsalt": "nla", "axes.titlelocation": "left"}


def figure_of(function):
    """The decorated function draws in the kit's style and leaves matplotlib's own settings alone."""
    @functools.wraps(function)
    def styled(*args, **kwargs) -> Figure:
        with mpl.rc_context(STYLE):
            return function(*args, **kwargs)
    return styled


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1, layout: str = "constrained",
               **options) -> tuple[Figure, np.ndarray]:
    """A figure of width x height inches, unknown to pyplot's state, and its axes (rows, columns)."""
    figure = Figure(figsize=(width, height), layout=layout)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def panels(count: int, panel: float | None, xlabel: str, ylabel: str, extra: float = 0.35) -> tuple[Figure, np.ndarray]:
    """``count`` panels of that height, four in a row and sharing their axes, labelled along the outer edge.

    ``panel`` None makes them square. ``extra``: inches for a legend and the like.
    """
    columns = min(count, 4)
    rows, width, layout = -(-count // columns), TWO if count > 1 else ONE, "constrained" if panel else "compressed"
    height = panel or (width - 1.1) / columns + 0.3
    figure, axes = new_figure(width, rows * height + extra, rows, columns, layout, sharex=True, sharey=True)
    for k, ax in enumerate(axes.flat):
        ax.set_visible(k < count)
        ax.set(xlabel=xlabel if k + columns >= count else "", ylabel="" if k % columns else ylabel)
        ax.tick_params(labelbottom=k + columns >= count)
    return figure, axes.flat[:count]


def legend_below(figure: Figure, look: tuple[dict, dict], names: Sequence[str]) -> None:
    """One legend for all panels, under them."""
    handles = [Line2D([], [], color=look[0][n], marker=look[1][n], linestyle="", markersize=5, label=n) for n in names]
    figure.legend(handles=handles, loc="outside lower center", ncols=8, handletextpad=0.1, columnspacing=1.2)


def save(figure: Figure, path: str | Path, runs: Run | Sequence[Run] = (), formats=("pdf", "png")) -> list[Path]:
    """Write ``path``.pdf, .svg or .png, with the runs' config keys and seeds in the file's metadata."""
    source = "; ".join(f"{run.name}: config {run.card['key']}, seed {run.card['seed']}" for run in listed(runs))
    metadata = {"pdf": {"Subject": source, "Creator": "NLA research kit", "CreationDate": None},
                "svg": {"Description": source, "Creator": "NLA research kit", "Date": None},
                "png": {"Description": source, "Software": "NLA research kit"}}
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


def weight_grid(naw: NAW, progress: float, size: int = 201) -> np.ndarray:
    """w* over the unit square, (size, size), p_NN in rows and p_GT in columns."""
    axis = torch.linspace(0, 1, size, dtype=torch.float64)
    p_nn, p_gt = torch.meshgrid(axis, axis, indexing="ij")
    return naw.weights(Scores(p_gt, p_nn, p_gt >= p_nn), progress).numpy()


def halved(grid: np.ndarray, wrong: bool) -> np.ndarray:
    """The half of a weight grid where predictions are wrong (or correct), NaN elsewhere.

    Continued one cell beyond the diagonal, across which w* jumps, so that contours reach it.
    """
    rows, columns = np.indices(grid.shape)
    nearest = np.minimum(columns, rows - 1) if wrong else np.maximum(columns, rows)
    return np.where(columns - rows <= 1 if wrong else rows - columns <= 1, grid[rows, nearest.clip(0)], np.nan)


def draw_surface(ax: Axes, naw: NAW, progress: float, lines: bool = True):
    """Shade w* on the half of the plane where p_GT + p_NN <= 1; returns the image, for a colour bar."""
    grid, possible = weight_grid(naw, progress), Polygon([(0, 0), (1, 0), (0, 1)], transform=ax.transData)
    image = ax.imshow(grid, origin="lower", extent=(0, 1, 0, 1), cmap=SURFACE, vmin=0, vmax=WEIGHT_TOP,
                      interpolation="bilinear", zorder=0)
    image.set_clip_path(possible)
    axis = np.linspace(0, 1, len(grid))
    for wrong in (False, True) if lines else ():
        contour = ax.contour(axis, axis, halved(grid, wrong), levels=np.arange(0.05, WEIGHT_TOP, 0.05),
                             colors="#5B6B7B", linewidths=0.4, zorder=1)
        contour.set_clip_path(possible)
    ax.plot([0.5, 0, 1, 0.5, 0], [0.5, 1, 0, 0.5, 0], color="#222222", linewidth=0.8, zorder=2)
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    return image


def draw_points(ax: Axes, x: pd.Series, y: pd.Series, colour: str, marker: str, size: float) -> None:
    ax.scatter(x, y, s=size * (1.6 if marker in "X*P" else 1), c=colour, marker=marker, linewidths=0.25,
               edgecolors="white", alpha=0.85, zorder=3, rasterized=True)


def thin(samples: pd.DataFrame, count: int) -> pd.DataFrame:
    """At most ``count`` rows, the same at every call: enough for the eye."""
    return samples if len(samples) <= count else samples.sample(count, random_state=0)


PLANE = ("$p_{GT}$ (label)", "$p_{NN}$ (nearest negative)")


@figure_of
def plane(run: Run, epoch: int = -1, by: str = "kind", points: int = 500) -> Figure:
    """The (p_GT, p_NN) plane of one epoch: a panel for each kind (or class) over the weight surface.

    Each panel shows at most ``points`` of its samples and states how many there are and their mean w*.
    """
    samples, number = run.samples(epoch), int(run.epochs["epoch"].iloc[epoch])
    group, (palette, markers) = views.groups(run, samples, by), LOOKS[by]
    names = group.cat.categories
    figure, axes = panels(len(names), None, *PLANE)
    for ax, name in zip(axes, names, strict=True):
        part = samples[group == name]
        image = draw_surface(ax, naw_of(run), number / run.config["epochs"])
        shown = thin(part, points)
        draw_points(ax, shown["p_gt"], shown["p_nn"], palette[name], markers[name], 9)
        ax.set_title(name)
        weight = f"\nmean w* {part['weight'].mean():.3f}" if len(part) else ""
        ax.text(0.98, 0.98, f"n = {len(part):,}{weight}", ha="right", va="top", fontsize=7)
    figure.colorbar(image, ax=list(axes), label=f"weight w*, {run.name}, epoch {number + 1}", pad=0.02)
    return figure


@figure_of
def planes(run: Run, epochs: Sequence[int] | None = None, by: str = "kind", points: int = 600) -> Figure:
    """The plane at several epochs side by side, all groups in one panel each: how NAW shifts."""
    last = int(run.epochs["epoch"].iloc[-1])
    epochs = sorted({0, last // 8, last // 3, last} if epochs is None else {e % (last + 1) for e in epochs})
    figure, axes = panels(len(epochs), None, *PLANE, extra=0.6)
    for ax, epoch in zip(axes, epochs, strict=True):
        progress, samples = epoch / run.config["epochs"], run.samples(epoch)
        image = draw_surface(ax, naw_of(run), progress, lines=False)
        names, shown = views.groups(run, samples, by), thin(samples, points)
        for name, part in shown.groupby(names.loc[shown.index], observed=True):
            draw_points(ax, part["p_gt"], part["p_nn"], *(look[name] for look in LOOKS[by]), 6)
        ax.set_title(f"epoch {epoch + 1}, $\\epsilon$ = {naw_of(run).epsilon(progress):.2f}")
    figure.colorbar(image, ax=list(axes), label="weight w*", pad=0.02)
    legend_below(figure, LOOKS[by], names.cat.categories)
    return figure


@figure_of
def weight_surfaces(naw: NAW | None = None, progresses: Sequence[float] = (0, 0.05, 0.1, 1)) -> Figure:
    """w* where the prediction is wrong (left, the same at all times), and where it is correct as training goes on.

    The two have colour scales of their own: where the prediction is correct, w* is nearly flat.
    """
    naw, rows = naw or NAW(), -(-len(progresses) // 2)
    figure = Figure(figsize=(TWO, 0.4 + 1.3 * rows), layout="constrained")
    grid = figure.add_gridspec(rows, 3, width_ratios=[0.75, 1, 1])
    right = [figure.add_subplot(grid[k // 2, 1 + k % 2]) for k in range(len(progresses))]
    for part, axes, times in (("wrong", [figure.add_subplot(grid[:, 0])], [0]), ("correct", right, progresses)):
        wrong, axis = part == "wrong", np.linspace(0, 1, 401)
        values = [weight_grid(naw, time, 401) for time in times]
        inside = (axis[:, None] + axis <= 1) & ((axis[:, None] > axis) == wrong)
        levels = MaxNLocator(10).tick_values(min(v[inside].min() for v in values), max(v[inside].max() for v in values))
        for ax, time, value in zip(axes, times, values, strict=True):
            filled = ax.contourf(axis, axis, halved(value, wrong), levels=levels, cmap="cividis")
            border = Polygon([(0, 0), (0, 1) if wrong else (1, 0), (0.5, 0.5)], fill=False, edgecolor="#222222")
            filled.set_clip_path(ax.add_patch(border))
            ax.set(xticks=[0, 0.5] if wrong else [0, 0.5, 1], yticks=[0, 0.5, 1] if wrong else [0, 0.5], aspect="equal",
                   xlim=(0, 0.5 if wrong else 1), ylim=(0, 1 if wrong else 0.5), xlabel="$p_{GT}$", ylabel="$p_{NN}$")
            ax.set_title("at any time" if wrong else f"$e/E$ = {time:g}, $\\epsilon$ = {naw.epsilon(time):.2f}")
        figure.colorbar(filled, ax=axes, label=f"w* where {part}", pad=0.02, shrink=0.9)
    return figure


@figure_of
def framework(naw: NAW | None = None) -> Figure:
    """The method as a drawing: two views, one network, the weight of each sample, and the loss."""
    figure = Figure(figsize=(TWO, 2.0))
    ax = figure.add_axes((0, 0, 1, 1), xlim=(0, 14), ylim=(0, 4), frame_on=False, xticks=[], yticks=[])
    boxes = {"face": (0.9, 2, 1.4, "face $x$\nlabel $y$"), "view": (3.1, 3, 1.7, "augmented\nview"),
             "mirror": (3.1, 1, 1.7, "its mirror\nimage"), "network": (5.2, 2, 1.4, "network\n(shared)"),
             "p": (6.9, 3, 0.7, "$p$"), "q": (6.9, 1, 0.7, "$p'$"), "plane": (8.65, 3, 1.6, ""),
             "ce": (11.1, 3, 2.1, "$(1 + w^*)\\,$CE$(p, y)$"), "jsd": (11.1, 1, 2.1, "consistency\nJSD$(p, p')$"),
             "loss": (13.3, 2, 1.0, "loss $L$")}
    for x, y, width, text in boxes.values():
        ax.text(x, y, text, ha="center", va="center")
        if text:
            ax.add_patch(FancyBboxPatch((x - width / 2 + 0.1, y - 0.3), width - 0.2, 0.6, boxstyle="round,pad=0.1",
                                        facecolor="white", edgecolor="#222222", linewidth=0.8))
    arrows = ["face view", "face mirror", "view network", "mirror network", "network p", "network q", "p plane",
              "plane ce $w^*$", "q jsd", "p jsd", "ce loss $\\lambda$", "jsd loss $1-\\lambda$"]
    for start, end, *text in map(str.split, arrows):
        (x, y, width, _), (x2, y2, width2, _) = boxes[start], boxes[end]
        tail = (x, y - 0.4) if (start, end) == ("p", "jsd") else (x + width / 2, y)
        ax.annotate("", (x2 - width2 / 2, y2), tail, arrowprops={"arrowstyle": "-|>", "color": "#555555",
                                                                 "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0})
        beside = (0.15, 0.2) if start == "ce" else (0, -0.5) if start == "jsd" else (0, 0.2)
        ax.text((tail[0] + x2 - width2 / 2) / 2 + beside[0], (y + y2) / 2 + beside[1], "".join(text),
                ha="left" if end == "loss" else "center")
    plane = figure.add_axes((7.95 / 14, 0.58, 1.4 / 14, 0.35))
    draw_surface(plane, naw or NAW(), 1.0, lines=False)
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
        for _, part in table.groupby(by, observed=True):
            ax.plot(part["epoch"], part["mean"], color="#CCCCCC", linewidth=0.6)
        part, (colour, marker) = table[table[by] == name], (look[name] for look in LOOKS[by])
        ax.fill_between(part["epoch"], part["low"], part["high"], color=colour, alpha=0.25, linewidth=0)
        ax.plot(part["epoch"], part["mean"], marker=marker, color=colour, markersize=3.5, zorder=4)
        ax.set_title(f"{name} (n = {part['n'].iloc[0]:,})")
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    return figure


@figure_of
def training_curves(runs: Run | Sequence[Run]) -> Figure:
    """Test accuracy, and memorisation: noisy training samples predicted as their wrong label."""
    figure, axes = new_figure(TWO, 2.3, 1, 2)
    left, right = axes[0]
    for run, look in zip(listed(runs), itertools.cycle(METHODS)):
        left.plot(run.epochs["epoch"] + 1, run.epochs["test_overall"], label=run.name, **look)
        memory = views.memorisation(run)
        right.plot(memory.index + 1, 100 * memory, **look)
    left.set(title="accuracy on the test set", ylabel="correct (%)")
    right.set(title="noisy training samples predicted as their wrong label", ylabel="memorised (%)")
    for ax in axes[0]:
        ax.set(xlabel="epoch")
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    right.set_ylim(0, max(20, 1.05 * right.get_ylim()[1]))
    left.legend(loc="best")
    return figure


@figure_of
def accuracy_against(results: pd.DataFrame, x: str = "noise", metric: str = "overall") -> Figure:
    """Accuracy of each method against the noise ratio, the imbalance factor or any other column of ``results``.

    ``results`` has a row a run: method, ``x``, ``metric`` (%). Mean over the runs of a cell, with its 95 % interval
    (t distribution) where there are several.
    """
    labels = {"noise": "label noise (%)", "imbalance": "imbalance factor (largest / smallest class)"}
    figure, axes = new_figure(ONE, 2.4)
    for (method, rows), look in zip(results.groupby("method", sort=False), itertools.cycle(METHODS)):
        cells = rows.groupby(x)[metric].agg(["mean", "sem", "count"])
        around = (cells["sem"] * student.ppf(0.975, cells["count"] - 1)).fillna(0)
        at = cells.index * (100 if x == "noise" else 1)
        axes[0, 0].errorbar(at, cells["mean"], yerr=around, label=f"{method} (n = {int(cells['count'].min())})", **look)
    axes[0, 0].set(xlabel=labels.get(x, x), ylabel=f"{metric} accuracy (%)")
    if x == "imbalance":
        axes[0, 0].set_xscale("log")
        axes[0, 0].set_xticks(sorted(results[x].unique()), [f"{v:g}" for v in sorted(results[x].unique())])
        axes[0, 0].minorticks_off()
    axes[0, 0].legend(loc="best")
    return figure


# Classes


@figure_of
def per_class_accuracy(runs: Run | Sequence[Run], split: str = "test") -> Figure:
    """Accuracy by true class with 95 % intervals (Wilson 1927), runs of one name pooled; below, the classes' mean."""
    counts: dict[str, pd.DataFrame] = {}
    for run in listed(runs):
        counts[run.name] = run.confusion(split=split) + counts.get(run.name, 0)
    figure, axes = new_figure(ONE, 2.9)
    ax = axes[0, 0]
    for k, (name, table) in enumerate(counts.items()):
        look = METHODS[k % len(METHODS)] | {"linestyle": "", "elinewidth": 1}
        hits, n = np.diag(table), table.sum(axis=1).to_numpy()
        rate = np.divide(hits, n, out=np.full(len(n), np.nan), where=n > 0)
        low, high = np.array([binomtest(h, m).proportion_ci(method="wilson") if m else (np.nan, np.nan)
                              for h, m in zip(hits, n)]).T
        y = np.arange(len(rate)) + 0.22 * (k - (len(counts) - 1) / 2)
        ax.errorbar(100 * rate, y, xerr=100 * np.stack([rate - low, high - rate]).clip(0), label=name, **look)
        ax.errorbar([100 * np.nanmean(rate)], [len(rate) + 0.3 + y[0]], **look)
    first = next(iter(counts.values()))
    ax.axhline(len(first) - 0.35, color="#BBBBBB", linewidth=0.6)
    ax.set_yticks([*range(len(first)), len(first) + 0.3],
                  [*(f"{c} ({n:,})" for c, n in first.sum(axis=1).items()), "mean of classes"])
    ax.set(xlabel=f"accuracy on the {split} set (%)", xlim=(-2, 102), ylim=(len(first) + 0.8, -0.6))
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color="#E5E5E5", linewidth=0.5)
    figure.legend(loc="outside upper center", ncols=3)
    return figure


@figure_of
def confusion_matrices(runs: Run | Sequence[Run], normalized: bool = True, split: str = "test") -> Figure:
    """Confusion matrices and, for two runs, the difference (second minus first); one run: counts and rates.

    Rows are true classes. ``normalized``: percent of each row and percentage points; else counts.
    """
    runs, unit = listed(runs), "% of row" if normalized else "images"
    counts = [run.confusion(split=split) for run in runs]
    rates = [100 * table.div(table.sum(axis=1).replace(0, np.nan), axis=0) for table in counts]
    parts = [(f"{run.name}, {unit}", t) for run, t in zip(runs, rates if normalized else counts, strict=True)]
    if len(runs) == 1:
        parts = [(f"{runs[0].name}, images", counts[0]), (f"{runs[0].name}, % of row", rates[0])]
    if len(runs) == 2:
        title = f"{runs[1].name} $-$ {runs[0].name}, {'% points' if normalized else 'images'}"
        parts.append((title, parts[1][1] - parts[0][1]))
    figure, axes = new_figure(TWO, 2.75 if len(parts) > 2 else 3.7, 1, len(parts), "compressed", sharey=True)
    for ax, (title, table) in zip(axes[0], parts, strict=True):
        top, change = max(1.0, float(table.abs().max().max())), "$-$" in title
        text = table.map(("{:+.0f}" if change else "{:.0f}").format)
        text = text.replace({"nan": "", "+nan": "", "+0": "0", "-0": "0"})
        sns.heatmap(table, ax=ax, annot=text, fmt="", annot_kws={"fontsize": 6}, square=True, cbar=False,
                    linewidths=0.5, cmap="RdBu" if change else "Greys", vmin=-1.3 * top * change, vmax=1.3 * top)
        ax.set(title=title, xlabel="predicted class", ylabel="")
        ax.set_xticklabels(table.columns, rotation=45, ha="right", rotation_mode="anchor")
        ax.tick_params(length=0)
    axes[0, 0].set_ylabel("true class (images)")
    axes[0, 0].set_yticklabels([f"{c} ({n:,})" for c, n in counts[0].sum(axis=1).items()], rotation=0)
    return figure


# Latents and faces


@figure_of
def latent_steps(embedding: pd.DataFrame, by: str = "true_label", quality: pd.DataFrame | None = None) -> Figure:
    """The embedding of :func:`nla.analysis.latents.joint_umap` at each step, in the same axes.

    ``by`` is true_label, label or kind. With ``quality`` (of :func:`latents.quality`) each panel
    states how well the true classes separate in the latent space itself.
    """
    look = LOOKS["kind" if by == "kind" else "class"]
    names = embedding[by].astype(str) if by == "kind" else embedding[by].map(dict(enumerate(EXPRESSIONS)))
    order = [name for name in look[0] if (names == name).any()]
    steps = sorted(embedding["epoch"].unique())
    extra = 0.6 if quality is None else 0.6 + 0.26 * -(-len(steps) // 4)
    figure, axes = panels(len(steps), None, "UMAP 1 (a.u.)", "UMAP 2 (a.u.)", extra)
    for ax, step in zip(axes, steps, strict=True):
        for name in order:
            part = embedding[(embedding["epoch"] == step) & (names == name)]
            draw_points(ax, part["x"], part["y"], look[0][name], look[1][name], 6)
        title = "before training" if step == 0 else f"after epoch {step}"
        if quality is not None:
            row = quality.set_index("epoch").loc[step]
            title += f"\npurity {row['purity']:.2f}\nsilhouette {row['silhouette']:+.2f}"
        ax.set(title=title, xticks=[], yticks=[], box_aspect=1)
    legend_below(figure, look, order)
    return figure


@figure_of
def face_sheet(images, manifest: pd.DataFrame, by: str = "true_label", columns: int = 10, seed: int = 0) -> Figure:
    """A contact sheet: one row of faces for each true_label, label or kind, drawn at random.

    ``images`` is a uint8 tensor (N, C, H, W); ``manifest`` may be any selection of its rows. Under a face
    stands, by kind, its label, and by kind or label the true class where that differs.
    """
    groups = sorted(manifest.groupby(by, observed=True), key=lambda g: KINDS.index(g[0]) if by == "kind" else g[0])
    cells, captions, rng = [], [], np.random.default_rng(seed)
    for _, rows in groups:
        chosen = rng.permutation(rows.index)[:columns]
        blank = [None] * (columns - len(chosen))
        cells += [images[int(row)] for row in chosen] + blank
        captions += [caption_of(manifest.loc[row], by) for row in chosen] + [""] * len(blank)
    return mosaic(cells, captions, columns, [name if by == "kind" else EXPRESSIONS[name] for name, _ in groups])


def caption_of(row: pd.Series, by: str) -> str:
    """What a sheet in rows ``by`` label, kind or true_label does not say already of this row of a manifest."""
    label, true = EXPRESSIONS[row["label"]], EXPRESSIONS[row["true_label"]]
    lines = [label] * (by == "kind") + [f"true: {true}"] * (label != true and by != "true_label")
    return "\n".join(lines)


@figure_of
def faces(images, captions: Sequence[str] = (), columns: int = 8) -> Figure:
    """Some faces (n, C, H, W), uint8 or floats in 0..1, each with its caption (lines parted by \\n) under it."""
    return mosaic(list(images), captions or [""] * len(images), columns, [])


def mosaic(images: Sequence, captions: Sequence[str], columns: int, names: Sequence[str]) -> Figure:
    """Faces (C, H, W) in rows of ``columns``, None leaving a gap, with captions below and names of the rows beside."""
    height, width = next(image for image in images if image is not None).shape[-2:]
    size, inch = min(7.0, 52 / columns), columns * (width + 2) / (0.88 * TWO if len(names) else TWO)  # points; pixels
    lines = max(text.count("\n") + 1 if text else 0 for text in captions)
    gap = 2 + round(lines * size * 1.35 / 72 * inch)
    rows = -(-len(images) // columns)
    sheet = np.full((rows * (height + gap), columns * (width + 2), 3), 255, np.uint8)
    figure, axes = new_figure(TWO, sheet.shape[0] / inch + 0.1)
    for k, (image, caption) in enumerate(zip(images, captions, strict=True)):
        top, left = k // columns * (height + gap), k % columns * (width + 2)
        if image is not None:
            sheet[top:top + height, left:left + width] = thumbnail(image)
            axes[0, 0].text(left + width / 2, top + height + 1, caption, fontsize=size, ha="center", va="top")
    axes[0, 0].imshow(sheet, interpolation="nearest")
    axes[0, 0].set_yticks(np.arange(len(names)) * (height + gap) + height / 2, names)
    axes[0, 0].set_xticks([])
    axes[0, 0].tick_params(length=0)
    axes[0, 0].spines[:].set_visible(False)
    return figure


def thumbnail(image) -> np.ndarray:
    """One face (C, H, W), grey or colour, uint8 or floats in 0..1, as (H, W, 3) uint8."""
    pixels = np.asarray(image).transpose(1, 2, 0)
    pixels = pixels if pixels.dtype == np.uint8 else (255 * pixels.clip(0, 1)).round().astype(np.uint8)
    return np.broadcast_to(pixels, (*pixels.shape[:2], 3))

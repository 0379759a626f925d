"""Every figure of the kit: one function each, from run folders to a matplotlib ``Figure``.

Nothing here needs the GPU, and only :func:`face_sheet` needs images (uint8 (N, C, H, W), row i of the
manifest is image i). Sizes are those of a two-column page: ONE and TWO columns wide, in inches.
"""

import functools
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
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

from nla.analysis import views
from nla.data.manifest import EXPRESSIONS, KINDS
from nla.dynamics import Run, atomic
from nla.naw import NAW, Scores

ONE, TWO = 3.35, 7.0
PALETTE = dict(zip(EXPRESSIONS, ("#04BEEF", "#701F6A", "#0F6511", "#F8BD13", "#1C128C", "#FF1D47", "#999999",
                                 "#2E200D"), strict=True))
"""One colour an expression, everywhere; chosen to differ for every kind of colour vision and in grey."""
MARKERS = dict(zip(EXPRESSIONS, "o^svDP*X", strict=True))
KIND_PALETTE = {"clean": "#004488", "ambiguous": "#DDAA33", "noisy": "#BB5566"}
KIND_MARKERS = {"clean": "o", "ambiguous": "D", "noisy": "X"}
METHOD_COLOURS = ("#777777", "#C2410C", "#1F6F8B", "#6A3D9A", "#111111")  # by order of the runs
METHOD_LINES = ("--", "-", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
SURFACE = LinearSegmentedColormap.from_list("surface", ["#FFFFFF", "#D5DCE3", "#8FA1B3"])
WEIGHT_RANGE = (0.0, 0.5)  # w* of the paper's parameters, the same scale in all figures

STYLE = sns.axes_style("ticks") | {
    "font.size": 8, "axes.titlesize": 8, "axes.labelsize": 8, "xtick.labelsize": 7, "ytick.labelsize": 7,
    "legend.fontsize": 7, "legend.frameon": False, "axes.spines.top": False, "axes.spines.right": False,
    "axes.linewidth": 0.6, "xtick.major.width": 0.6, "ytick.major.width": 0.6, "xtick.major.size": 2.5,
    "ytick.major.size": 2.5, "lines.linewidth": 1.2, "figure.dpi": 130, "pdf.fonttype": 42,
    "svg.hashsalt": "nla", "axes.titlelocation": "left"}


def figure_of(function):
    """The decorated function draws in the kit's style and leaves matplotlib's global state alone."""
    @functools.wraps(function)
    def styled(*args, **kwargs):
        with mpl.rc_context(STYLE):
            return function(*args, **kwargs)
    return styled


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1, layout: str = "constrained",
               **options) -> tuple[Figure, np.ndarray]:
    """A figure of width x height inches that no pyplot state knows of, and its axes (rows, columns)."""
    figure = Figure(figsize=(width, height), layout=layout)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def save(figure: Figure, path: str | Path, runs: Run | Sequence[Run] = (), formats=("pdf", "png")) -> list[Path]:
    """Write the figure in each format (pdf, svg, png), the runs' config keys and seeds in its metadata."""
    runs = [runs] if isinstance(runs, Run) else list(runs)
    source = "; ".join(f"{r.name} config {r.card['key']} seed {r.card['seed']}" for r in runs)
    metadata = {"pdf": {"Subject": source, "Creator": "NLA research kit", "CreationDate": None},
                "svg": {"Description": source, "Creator": "NLA research kit", "Date": None},
                "png": {"Description": source, "Software": "NLA research kit"}}
    files = [Path(f"{path}.{suffix}") for suffix in formats]
    for file, suffix in zip(files, formats, strict=True):
        with mpl.rc_context(STYLE), atomic(file) as temporary:
            figure.savefig(temporary, format=suffix, dpi=300, metadata=metadata[suffix])
    return files


def naw_of(run: Run) -> NAW:
    """The weighting a run was trained with."""
    return NAW(**{k: tuple(v) if isinstance(v, list) else v for k, v in run.config["naw"].items()})


# The plane


def weight_grid(naw: NAW, progress: float, size: int = 201) -> np.ndarray:
    """w* over the unit square, (size, size), p_NN in rows and p_GT in columns."""
    axis = torch.linspace(0, 1, size, dtype=torch.float64)
    p_nn, p_gt = torch.meshgrid(axis, axis, indexing="ij")
    return naw.weights(Scores(p_gt, p_nn, p_gt >= p_nn), progress).numpy()


def draw_surface(ax: Axes, naw: NAW, progress: float, vmax: float = WEIGHT_RANGE[1], lines: bool = True):
    """Shade w* on the half of the plane where p_GT + p_NN <= 1; returns the image, for a colour bar."""
    grid = weight_grid(naw, progress)
    image = ax.imshow(grid, origin="lower", extent=(0, 1, 0, 1), cmap=SURFACE, vmin=0, vmax=vmax,
                      interpolation="bilinear", zorder=0)
    possible = Polygon([(0, 0), (1, 0), (0, 1)], transform=ax.transData)
    image.set_clip_path(possible)
    axis = np.linspace(0, 1, len(grid))
    for wrong in (False, True):  # contours of each half on its own: w* jumps at the diagonal
        half = np.where((axis[:, None] > axis) == wrong, grid, np.nan)
        contour = ax.contour(axis, axis, half, levels=np.arange(0.05, 0.6, 0.05), colors="#5B6B7B", linewidths=0.4,
                             zorder=1) if lines else None
        if contour is not None:
            contour.set_clip_path(possible)
    ax.plot([0, 0.5], [0, 0.5], color="#222222", linewidth=0.8, zorder=2)
    ax.plot([0, 1], [1, 0], color="#222222", linewidth=0.8, zorder=2)
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    return image


def new_planes(count: int, legend: bool = False) -> tuple[Figure, np.ndarray]:
    """A figure of ``count`` planes, at most four in a row, its axes labelled along the outer edge."""
    columns = min(count, 4)
    rows, width = -(-count // columns), TWO if count > 1 else ONE
    panel = (width - 1.1) / columns
    figure, axes = new_figure(width, rows * (panel + 0.3) + 0.35 + 0.25 * legend, rows, columns, "compressed",
                              sharex=True, sharey=True)
    for ax in axes.flat[count:]:
        ax.set_visible(False)
    for k, ax in enumerate(axes.flat[:count]):
        if k + columns >= count:
            ax.set_xlabel("$p_{GT}$ (label)" if columns > 2 else "$p_{GT}$ (probability of the label)")
            ax.tick_params(labelbottom=True)
        if k % columns == 0:
            ax.set_ylabel("$p_{NN}$ (nearest negative)")
    return figure, axes.flat[:count]


def colours_of(run: Run, samples: pd.DataFrame, by: str) -> tuple[pd.Series, dict, dict]:
    """Group of each sample, with the palette and the markers of the groups."""
    palette, markers = (KIND_PALETTE, KIND_MARKERS) if by == "kind" else (PALETTE, MARKERS)
    return views.groups(run, samples, by), palette, markers


def thin(samples: pd.DataFrame, count: int) -> pd.DataFrame:
    """At most ``count`` rows, the same for every call, so that a picture stays legible."""
    return samples if len(samples) <= count else samples.sample(count, random_state=0)


def draw_samples(ax: Axes, samples: pd.DataFrame, colour: str, marker: str, size: float = 9) -> None:
    size *= 1.6 if marker in "X*P" else 1
    ax.scatter(samples["p_gt"], samples["p_nn"], s=size, c=colour, marker=marker, linewidths=0.25,
               edgecolors="white", alpha=0.85, zorder=3, rasterized=True)


@figure_of
def plane(run: Run, epoch: int = -1, by: str = "kind", points: int = 500) -> Figure:
    """The (p_GT, p_NN) plane of one epoch: a panel for each kind (or class) over the weight surface.

    Each panel shows at most ``points`` of its samples and states how many there are and their mean w*.
    """
    samples, number = run.samples(epoch), int(run.epochs["epoch"].iloc[epoch])
    group, palette, markers = colours_of(run, samples, by)
    figure, axes = new_planes(len(group.cat.categories))
    for ax, name in zip(axes, group.cat.categories, strict=True):
        part = samples[group == name]
        image = draw_surface(ax, naw_of(run), number / run.config["epochs"])
        draw_samples(ax, thin(part, points), palette[name], markers[name])
        ax.set_title(name)
        ax.text(0.98, 0.98, f"n = {len(part):,}\nmean w* {part['weight'].mean():.3f}", ha="right", va="top", fontsize=7)
    axes[0].set_title(f"{run.name}, epoch {number + 1}: {group.cat.categories[0]}")
    figure.colorbar(image, ax=list(axes), label="weight w*", pad=0.02)
    return figure


@figure_of
def planes(run: Run, epochs: Sequence[int] | None = None, by: str = "kind", points: int = 600) -> Figure:
    """The plane at several epochs side by side, all groups in one panel each: how NAW shifts."""
    last = int(run.epochs["epoch"].iloc[-1])
    epochs = sorted({0, last // 8, last // 3, last} if epochs is None else {e % (last + 1) for e in epochs})
    figure, axes = new_planes(len(epochs), legend=True)
    for ax, epoch in zip(axes, epochs, strict=True):
        progress = epoch / run.config["epochs"]
        image = draw_surface(ax, naw_of(run), progress, lines=False)
        samples = run.samples(epoch)
        group, palette, markers = colours_of(run, samples, by)
        shown = thin(samples, points)
        for name in group.cat.categories:
            draw_samples(ax, shown[group.loc[shown.index] == name], palette[name], markers[name], size=6)
        ax.set_title(f"epoch {epoch + 1}, $\\epsilon$ = {naw_of(run).epsilon(progress):.2f}")
    figure.colorbar(image, ax=list(axes), label="weight w*", pad=0.02)
    legend_below(figure, palette, markers, group.cat.categories)
    return figure


def legend_below(figure: Figure, palette: dict, markers: dict, names: Sequence[str], columns: int = 8) -> None:
    """One legend for all panels, under them."""
    handles = [Line2D([], [], color=palette[n], marker=markers[n], linestyle="", markersize=5, label=n) for n in names]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), columns),
                  handletextpad=0.1, columnspacing=1.2)


@figure_of
def weight_surfaces(naw: NAW | None = None, progresses: Sequence[float] = (0, 0.05, 0.1, 1)) -> Figure:
    """w* where the prediction is wrong (left, the same at all times), and where it is correct as training goes on.

    The two have colour scales of their own: where the prediction is correct, w* is nearly flat.
    """
    naw, rows = naw or NAW(), -(-len(progresses) // 2)
    figure = Figure(figsize=(TWO, 0.3 + 1.4 * rows), layout="constrained")
    grid = figure.add_gridspec(rows, 3, width_ratios=[0.75, 1, 1])
    left = figure.add_subplot(grid[:, 0])
    right = [figure.add_subplot(grid[k // 2, 1 + k % 2]) for k in range(len(progresses))]
    for axes, times, tip, part, limits in (([left], [0], (0, 1), "wrong", (0, 0.5, 0, 1)),
                                           (right, progresses, (1, 0), "correct", (0, 1, 0, 0.5))):
        axis = np.linspace(0, 1, 401)
        inside = (axis[:, None] + axis <= 1) & ((axis[:, None] > axis) == (part == "wrong"))
        values = [weight_grid(naw, time, 401) for time in times]
        levels = np.linspace(np.min([v[inside] for v in values]), np.max([v[inside] for v in values]), 11)
        for ax, time, value in zip(axes, times, values, strict=True):
            filled = ax.contourf(axis, axis, halved(value, part == "wrong"), levels=levels, cmap="cividis", extend="both")
            border = Polygon([(0, 0), tip, (0.5, 0.5)], fill=False, edgecolor="#222222", linewidth=0.8)
            ax.add_patch(border)
            filled.set_clip_path(border)
            ax.set(xlim=limits[:2], ylim=limits[2:], aspect="equal", xticks=np.arange(0, limits[1] + 0.1, 0.5),
                   yticks=np.arange(0, limits[3] + 0.1, 0.5), xlabel="$p_{GT}$", ylabel="$p_{NN}$")
            ax.set_title("wrong, any $\\epsilon$" if part == "wrong" else
                         f"correct, e/E = {time:g}, $\\epsilon$ = {naw.epsilon(time):.2f}")
        figure.colorbar(filled, ax=axes, label=f"w* where {part}", format="%.2f", pad=0.02, shrink=0.9)
    return figure


def halved(grid: np.ndarray, wrong: bool) -> np.ndarray:
    """The half of a weight grid where predictions are wrong (or correct), a cell beyond its border included.

    The cell beyond repeats the border, so that contours reach the diagonal, across which w* jumps.
    """
    rows, columns = np.indices(grid.shape)
    nearest = np.minimum(columns, rows - 1) if wrong else np.maximum(columns, rows)
    half = grid[rows, nearest.clip(0)]
    return np.where(columns - rows <= 1 if wrong else rows - columns <= 1, half, np.nan)


# Curves


@figure_of
def weights_over_epochs(run: Run, by: str = "class") -> Figure:
    """Mean w* by class or kind over the epochs, with the 95 % interval of the mean.

    A panel for each group, the others in grey behind it, so that no colour has to be told apart.
    """
    table = views.over_epochs(run, by)
    table["epoch"] += 1
    names = list(table[by].unique())
    palette, markers = (KIND_PALETTE, KIND_MARKERS) if by == "kind" else (PALETTE, MARKERS)
    columns = min(len(names), 4)
    rows = -(-len(names) // columns)
    figure, axes = new_figure(TWO, 0.45 + 1.3 * rows, rows, columns, sharex=True, sharey=True)
    for k, ax in enumerate(axes.flat):
        if k >= len(names):
            ax.set_visible(False)
            continue
        for other, part in table.groupby(by, observed=True):
            ax.plot(part["epoch"], part["mean"], color="#CCCCCC", linewidth=0.6)
        part, colour = table[table[by] == names[k]], palette[names[k]]
        ax.fill_between(part["epoch"], part["low"], part["high"], color=colour, alpha=0.25, linewidth=0)
        ax.plot(part["epoch"], part["mean"], marker=markers[names[k]], color=colour, markersize=3.5, zorder=4)
        ax.set_title(f"{names[k]} (n = {part['n'].iloc[0]:,})")
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        ax.set(xlabel="epoch" if k + columns >= len(names) else "", ylabel="" if k % columns else "mean w*")
        ax.tick_params(labelbottom=k + columns >= len(names))
    return figure


@figure_of
def training_curves(runs: Sequence[Run]) -> Figure:
    """Test accuracy, and memorisation: noisy training samples predicted as their wrong label."""
    figure, axes = new_figure(TWO, 2.3, 1, 2)
    for k, run in enumerate(runs):
        line = {"color": METHOD_COLOURS[k % 5], "linestyle": METHOD_LINES[k % 5], "label": run.name}
        axes[0, 0].plot(run.epochs["epoch"] + 1, run.epochs["test_overall"], **line)
        memory = views.memorisation(run)
        axes[0, 1].plot(memory.index + 1, 100 * memory, **line)
    axes[0, 0].set(title="test accuracy", xlabel="epoch", ylabel="overall accuracy (%)")
    axes[0, 1].set(title="memorised label noise", xlabel="epoch", ylabel="noisy samples fitted (%)", ylim=(0, None))
    axes[0, 0].legend(loc="lower right")
    return figure


# Classes


def wilson(hits: float, n: float, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927); (nan, nan) without samples."""
    if n == 0:
        return np.nan, np.nan
    centre, half = hits / n + z * z / (2 * n), z * np.sqrt(hits / n * (1 - hits / n) / n + z * z / (4 * n * n))
    return (centre - half) / (1 + z * z / n), (centre + half) / (1 + z * z / n)


@figure_of
def per_class_accuracy(runs: Sequence[Run], split: str = "test") -> Figure:
    """Accuracy by true class, with 95 % intervals, runs of the same name pooled; the last row is the mean."""
    runs = [runs] if isinstance(runs, Run) else list(runs)
    classes, methods = runs[0].classes, list(dict.fromkeys(run.name for run in runs))
    figure, axes = new_figure(ONE, 2.9)
    ax = axes[0, 0]
    for k, method in enumerate(methods):
        counts = sum(run.confusion(split=split).to_numpy() for run in runs if run.name == method)
        hits, n = counts.diagonal(), counts.sum(1)
        rate = 100 * np.divide(hits, n, out=np.full(len(n), np.nan), where=n > 0)
        low, high = np.array([wilson(h, m) for h, m in zip(hits, n, strict=True)]).T * 100
        y = np.arange(len(classes)) + 0.22 * (k - (len(methods) - 1) / 2)
        look = {"color": METHOD_COLOURS[k % 5], "fmt": "os^Dv"[k % 5], "markersize": 4, "linewidth": 1}
        ax.errorbar(rate, y, xerr=[rate - low, high - rate], label=method, **look)
        ax.errorbar(np.nanmean(rate), len(classes) + 0.3 + y[0], **look)
    ax.axhline(len(classes) - 0.35, color="#BBBBBB", linewidth=0.6)
    n = runs[0].confusion(split=split).sum(axis=1)
    ax.set_yticks([*range(len(classes)), len(classes) + 0.3], [*(f"{c} ({n[c]})" for c in classes), "mean of classes"])
    ax.set(xlabel=f"accuracy on the {split} set (%)", xlim=(-2, 102))
    ax.invert_yaxis()
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color="#E5E5E5", linewidth=0.5)
    figure.legend(loc="outside upper center", ncols=3)
    return figure


@figure_of
def confusion_matrices(runs: Sequence[Run], normalized: bool = True, split: str = "test") -> Figure:
    """Confusion matrices and, for two runs, the difference (second minus first); one run: counts and rates.

    Rows are true classes. ``normalized``: percent of each row and percentage points; else counts.
    """
    runs = [runs] if isinstance(runs, Run) else list(runs)
    counts = [run.confusion(split=split) for run in runs]
    rates = [100 * table.div(table.sum(axis=1).replace(0, np.nan), axis=0) for table in counts]
    name = [run.name for run in runs]
    if len(runs) == 1:
        panels = [(f"{name[0]}, images", counts[0]), (f"{name[0]}, % of row", rates[0])]
    else:
        panels = [(f"{n}, % of row" if normalized else f"{n}, images", table)
                  for n, table in zip(name, rates if normalized else counts, strict=True)]
    if len(runs) == 2:
        panels.append((f"{name[1]} $-$ {name[0]}, " + ("% points" if normalized else "images"),
                       panels[1][1] - panels[0][1]))
    figure, axes = new_figure(TWO, 2.4 if len(panels) > 2 else 3.1, 1, len(panels), sharey=True)
    for k, (ax, (title, table)) in enumerate(zip(axes[0], panels, strict=True)):
        change, top = k == 2 and len(runs) == 2, max(1.0, float(np.nanmax(np.abs(table.to_numpy()))))
        text = table.map(lambda v: "" if np.isnan(v) else f"{v:+.0f}" if change and abs(v) >= 0.5 else f"{abs(v):.0f}")
        look = {"cmap": "RdBu", "vmin": -1.2 * top, "vmax": 1.2 * top} if change else {
            "cmap": "Greys", "vmin": 0, "vmax": 1.3 * top}
        sns.heatmap(table, ax=ax, annot=text, fmt="", annot_kws={"fontsize": 6}, square=True, cbar=False,
                    linewidths=0.5, **look)
        ax.set(title=title, xlabel="predicted class", ylabel="" if k else "true class (images)")
        ax.set_xticklabels(table.columns, rotation=45, ha="right", rotation_mode="anchor")
        ax.tick_params(length=0)
    axes[0, 0].set_yticklabels([f"{c} ({n})" for c, n in counts[0].sum(axis=1).items()], rotation=0)
    return figure


# Latents and faces


@figure_of
def latent_steps(embedding: pd.DataFrame, by: str = "true_label", quality: pd.DataFrame | None = None) -> Figure:
    """The embedding of :func:`nla.analysis.latents.joint_umap` at each step, in the same axes.

    ``by`` is true_label, label or kind. With ``quality`` (of :func:`latents.quality`) each panel
    states how well the true classes separate in the latent space itself.
    """
    steps = sorted(embedding["epoch"].unique())
    palette, markers = (KIND_PALETTE, KIND_MARKERS) if by == "kind" else (PALETTE, MARKERS)
    names = embedding[by].astype(str) if by == "kind" else embedding[by].map(dict(enumerate(EXPRESSIONS)))
    order = [name for name in palette if (names == name).any()]
    columns = min(4, len(steps))
    rows = -(-len(steps) // columns)
    figure, axes = new_figure(TWO, 0.35 + rows * (TWO / columns + 0.1), rows, columns, sharex=True, sharey=True)
    for ax in axes.flat[len(steps):]:
        ax.set_visible(False)
    for ax, step in zip(axes.flat, steps, strict=False):
        part = embedding[embedding["epoch"] == step]
        for name in order:
            points = part[names.loc[part.index] == name]
            ax.scatter(points["x"], points["y"], s=7, c=palette[name], marker=markers[name], linewidths=0.2,
                       edgecolors="white", rasterized=True)
        title = "before training" if step == 0 else f"after epoch {step}"
        if quality is not None:
            row = quality[quality["epoch"] == step].iloc[0]
            title += f"\npurity {row['purity']:.2f}, silhouette {row['silhouette']:+.2f}"
        ax.set(title=title, xticks=[], yticks=[], box_aspect=1)
    for ax in axes[-1]:
        ax.set_xlabel("UMAP 1 (a.u.)")
    for ax in axes[:, 0]:
        ax.set_ylabel("UMAP 2 (a.u.)")
    legend_below(figure, palette, markers, order)
    return figure


@figure_of
def face_sheet(images, manifest: pd.DataFrame, by: str = "true_label", columns: int = 10, seed: int = 0) -> Figure:
    """A contact sheet: one row of faces for each true_label, label or kind, drawn at random.

    ``images`` is a uint8 tensor (N, C, H, W); ``manifest`` may be any selection of its rows.
    """
    groups = [(name, rows.index) for name, rows in manifest.groupby(by, observed=True)]
    if by == "kind":
        groups.sort(key=lambda item: KINDS.index(item[0]))
    rng, (height, width) = np.random.default_rng(seed), images.shape[-2:]
    sheet = np.full((len(groups) * (height + 2), columns * (width + 2), 3), 255, np.uint8)
    for r, (_, rows) in enumerate(groups):
        for c, row in enumerate(rng.permutation(rows)[:columns]):
            sheet[r * (height + 2):, c * (width + 2):][:height, :width] = thumbnail(images[int(row)])
    figure, axes = new_figure(TWO, TWO * sheet.shape[0] / sheet.shape[1] * 0.92 + 0.1)
    ax = axes[0, 0]
    ax.imshow(sheet, interpolation="nearest")
    names = [name if by == "kind" else EXPRESSIONS[name] for name, _ in groups]
    ax.set_yticks((np.arange(len(groups)) + 0.5) * (height + 2), names)
    ax.set_xticks([])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return figure


def thumbnail(image) -> np.ndarray:
    """One face (C, H, W), grey or colour, as (H, W, 3) uint8."""
    return np.broadcast_to(np.asarray(image).transpose(1, 2, 0), (*image.shape[-2:], 3))

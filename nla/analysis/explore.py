"""Explorers for Jupyter: move through a run, pick samples with the mouse, see their faces and histories.

Each returns a widget; drawing, moving and picking happen in the browser (explorer.js), and the kernel answers
a pick with its faces. Where there is no kernel, the widget shows its static twin, a figure. Thumbnails are handed in
(uint8 (N, C, H, W), row i of the manifest is image i) or left out.
"""

import base64
import functools
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import anywidget
import ipywidgets
import numpy as np
import pandas as pd
import torch
import traitlets
from IPython.display import display
from matplotlib.figure import Figure
from PIL import Image

from nla.analysis import figures, views
from nla.analysis.figures import thumbnail
from nla.files import write
from nla.naw import NAW
from nla.training.record import Run

HERE, CARDS = Path(__file__).parent, 24  # faces shown of a selection


class Explorer(anywidget.AnyWidget):
    """n points that move over S steps, a slider, a play button, filters, and cards of the samples picked."""

    _esm = HERE / "explorer.js"
    content = traitlets.Dict().tag(sync=True)  # of :func:`content_of`
    step = traitlets.Int(0).tag(sync=True)  # 0..S-1
    selected = traitlets.List().tag(sync=True)  # positions 0..n-1
    faces = traitlets.Dict().tag(sync=True)  # image URLs of the first of them

    def __init__(
        self, content: dict, index: np.ndarray, images, twin: Callable[[], Figure], step: int = 0
    ):
        super().__init__(content=content, step=step)
        self.index, self.images, self.twin = index, images, twin

    @traitlets.observe("selected")
    def _show(self, _=None):
        if self.images is not None:
            self.faces = {
                str(i): image_url(thumbnail(self.images[int(self.index[i])]))
                for i in self.selected[:CARDS]
            }

    def _repr_mimebundle_(self, **options):
        data, metadata = super()._repr_mimebundle_(**options)
        buffer = io.BytesIO()
        self.twin().savefig(buffer, format="png", dpi=130)
        return data | {"image/png": base64.b64encode(buffer.getvalue()).decode()}, metadata


def content_of(
    run: Run,
    facts: pd.DataFrame,
    places: np.ndarray,
    history: tuple[str, np.ndarray, float],
    titles: Sequence[str],
    **more,
) -> dict:
    """What the browser needs: n samples (label, true_label, kind) at places (S, n, 2) in the unit square; the name,
    values (S, n) and top of the scale of what is drawn as their history; one title a step. ``more``: labels, xticks,
    yticks, backgrounds, guess (S, n; the predicted class), cells (a side), scores (the places are shown as numbers).
    """
    kinds, (name, values, top) = views.kinds(facts), history
    names = {"kind": list(kinds.cat.categories), "class": list(run.classes)}
    return {
        "kinds": names["kind"],
        "classes": names["class"],
        "titles": list(titles),
        "points": packed(places, 65535),
        "kind": packed(kinds.cat.codes),
        "label": packed(facts["label"]),
        "true": packed(facts["true_label"]),
        "looks": {
            by: [[look[name] for name in names[by]] for look in figures.LOOKS[by]] for by in names
        },
        "history": {"name": name, "top": top, "values": packed(values / top, 65535)},
        "backgrounds": [],
        "guess": None,
        "cells": 0,
        "columns": 0,
        "xticks": [],
        "yticks": [],
    } | more


def packed(values, scale: float = 1) -> bytes:
    """Numbers in [0, 1] (times ``scale``), or small integers, as 16-bit integers, little-endian."""
    return (np.asarray(values).clip(0, 65535 / scale) * scale).round().astype("<u2").tobytes()


def plane_content(
    run: Run, epochs: Sequence[int], points: int, naw: NAW | None = None
) -> tuple[dict, np.ndarray]:
    """Some epochs' samples, at most ``points``, on the (p_GT, p_NN) plane, and their rows of the manifest."""
    naw, total = naw or figures.naw_of(run), run.config["epochs"]
    facts = run.samples(epochs[0])
    facts = facts.sample(min(points, len(facts)), random_state=0).sort_index()
    values = np.stack(
        [run.samples(e).loc[facts.index, ["p_gt", "p_nn", "weight"]].to_numpy() for e in epochs]
    )
    ticks = [[t, str(t)] for t in (0, 0.5, 1)]
    content = content_of(
        run,
        facts,
        values[..., :2],
        ("w*", values[..., 2], figures.WEIGHT_TOP),
        [f"{run.name}, epoch {e + 1} of {total}, ε = {naw.epsilon(e / total):.2f}" for e in epochs],
        scores=True,
        labels=["p_GT (label)", "p_NN (nearest negative)"],
        xticks=ticks,
        yticks=ticks,
        backgrounds=[surface_url(naw, epoch / total) for epoch in epochs],
    )
    return content, facts["index"].to_numpy()


def naw_explorer(run: Run, images=None, points: int = 20_000) -> Explorer:
    """Training samples on the (p_GT, p_NN) plane from epoch to epoch, over the weight surface.

    Play or slide through the epochs; filter by class and kind; draw a loop around points, or click one, to
    see the faces with label, scores and history of w*. Runs beyond ``points`` samples are thinned.
    """
    return Explorer(
        *plane_content(run, run.epochs["epoch"], points), images, lambda: figures.planes(run)
    )


def truths(tables: Sequence[np.ndarray], classes: pd.Series) -> tuple[str, np.ndarray, float]:
    """The probability of the true class as a history, from probabilities (S, n, K)."""
    chosen = np.take_along_axis(np.stack(tables), classes.to_numpy()[None, :, None], 2)[..., 0]
    return "p(true)", chosen, 1


def latent_explorer(run: Run, embedding: pd.DataFrame, images=None) -> Explorer:
    """The map of the probe set (see :mod:`nla.analysis.latents`) from snapshot to snapshot.

    Cards show the prediction of each snapshot and the history of the probability of the true class.
    """
    steps = dict(list(embedding.groupby("epoch")))
    facts, places = (
        next(iter(steps.values())),
        np.stack([part[["x", "y"]] for part in steps.values()]),
    )
    low, high = places.min((0, 1)), places.max((0, 1))
    probabilities = [torch.tensor(run.latents[step]["logits"]).softmax(1).numpy() for step in steps]
    content = content_of(
        run,
        facts,
        0.04 + 0.92 * (places - low) / np.maximum(high - low, 1e-9),
        truths(probabilities, facts["true_label"]),
        labels=["UMAP 1 (a.u.)", "UMAP 2 (a.u.)"],
        titles=[f"{run.name}, {f'after epoch {s}' if s else 'before training'}" for s in steps],
        guess=packed(np.argmax(probabilities, axis=2)),
    )
    return Explorer(
        content, facts["index"].to_numpy(), images, lambda: figures.latent_steps(embedding)
    )


def confusion_explorer(run: Run, images=None, split: str = "test") -> Explorer:
    """The confusion matrix as a crowd: each face in the cell of its true class and of what it is predicted as.

    A click selects a cell; moving through the epochs shows where its faces came from and went.
    """
    tables = [figures.scored(run, split, epoch) for epoch in run.epochs["epoch"]]
    facts, classes, count = (
        tables[0].join(run.manifest["label"], on="index"),
        run.classes,
        len(run.classes),
    )
    guess = np.stack([table["prediction"] for table in tables])
    rows = np.broadcast_to(count - 1 - facts["true_label"], guess.shape)
    jitter = np.random.default_rng(0).uniform(0.08, 0.92, (len(facts), 2))
    chequered = np.where(np.add.outer(np.arange(count), np.arange(count)) % 2, 255, 244).astype(
        np.uint8
    )
    np.fill_diagonal(chequered, 222)
    ticks = [[(k + 0.5) / count, name] for k, name in enumerate(classes)]
    content = content_of(
        run,
        facts,
        (np.stack([guess, rows], -1) + jitter) / count,
        truths([table[[f"p_{c}" for c in classes]] for table in tables], facts["true_label"]),
        [f"{run.name}, after epoch {e + 1}" for e in run.epochs["epoch"]],
        guess=packed(guess),
        cells=count,
        labels=["predicted class", "true class"],
        xticks=ticks,
        yticks=[[1 - at, name] for at, name in ticks],
        backgrounds=[
            image_url(
                Image.fromarray(chequered).resize(
                    (60 * count, 60 * count), Image.Resampling.NEAREST
                )
            )
        ],
    )
    twin = functools.partial(figures.confusion_matrices, run, split=split)
    return Explorer(content, facts["index"].to_numpy(), images, twin, step=len(tables) - 1)


def parameter_explorer(run: Run, images=None, points: int = 4000) -> ipywidgets.HBox:
    """What other parameters of NAW would weigh in this run: the surface, and each kind's w* and share of the loss.

    The run's scores are as recorded; training with other parameters would have led elsewhere.
    """
    start, total, last = (
        figures.naw_of(run),
        run.config["epochs"],
        int(run.epochs["epoch"].iloc[-1]),
    )
    plane = Explorer(
        *plane_content(run, [last], points), images, lambda: figures.weight_surfaces(start)
    )
    limits = {
        "mu": (0, 1, 0.01),
        "std": (0.1, 2, 0.01),
        "ratio": (1, 10, 0.1),
        "slope": (-40, 0, 0.5),
    }
    sliders = {
        "epoch": ipywidgets.IntSlider(last, 0, last),
        "lambda": ipywidgets.FloatSlider(run.config["lam"], min=0, max=1, step=0.05),
    }
    for name, values in vars(start).items():
        low, high, step = limits[name.split("_")[0]]
        for k, value in enumerate(np.atleast_1d(values)):
            part = f"{name} {('p_GT', 'p_NN')[k]}" if name.startswith("mu") else name
            sliders[part] = ipywidgets.FloatSlider(value, min=low, max=high, step=step)

    def redraw(**values):
        epoch, lam = values.pop("epoch"), values.pop("lambda")
        pairs = {
            name: (values.pop(f"{name} p_GT"), values.pop(f"{name} p_NN"))
            for name in ("mu_true", "mu_false")
        }
        naw = NAW(**values, **pairs)
        content, plane.index = plane_content(run, [epoch], points, naw)
        plane.content = content
        weighed = views.reweighted(run.samples(epoch), naw, epoch / total, lam)
        display(weighed.style.format(precision=3))
        return weighed

    controls = ipywidgets.interactive(redraw, **sliders)
    controls.layout.flex = "0 0 350px"
    for name, slider in sliders.items():
        slider.description, slider.style.description_width = name, "110px"
    return ipywidgets.HBox([controls, plane])


def naw_html(run: Run, path: str | Path, images=None, points: int = 2000, size: int = 48) -> Path:
    """Write :func:`naw_explorer` as one HTML file that needs neither a kernel nor a network; returns its path.

    At most ``points`` samples, faces at ``size`` pixels: about 1 kB a sample.
    """
    content, index = plane_content(run, run.epochs["epoch"], points)
    if images is not None:
        content["columns"] = 50
        sheet = Image.new("RGB", (50 * size, -(-len(index) // 50) * size))
        for k, row in enumerate(index):
            face = Image.fromarray(thumbnail(images[int(row)])).resize((size, size))
            sheet.paste(face, (k % 50 * size, k // 50 * size))
        content["sprite"] = image_url(sheet, "jpeg")
    data = json.dumps(
        content, default=lambda raw: {"base64": base64.b64encode(raw).decode()}
    ).replace("<", "\\u003c")
    page = (
        (HERE / "page.html").read_text().replace("/*EXPLORER*/", (HERE / "explorer.js").read_text())
    )
    write(path, page.replace("/*DATA*/", data))
    return Path(path)


def surface_url(naw: NAW, progress: float) -> str:
    """The weight surface as an image of the unit square, white where p_GT + p_NN > 1."""
    grid = figures.weight_grid(naw, progress, 181)
    colours = figures.SURFACE(grid / figures.WEIGHT_TOP, bytes=True)[..., :3]
    colours[np.add.outer(*[np.arange(len(grid))] * 2) >= len(grid)] = 255
    return image_url(colours[::-1])


def image_url(image, kind: str = "png") -> str:
    """An image, uint8 (H, W) or (H, W, 3), as a data URL."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, kind)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"

"""Explorers for Jupyter: move through a run, pick samples with the mouse, see their faces and histories.

Each returns a widget; drawing, moving and picking happen in the browser (explorer.js), and the kernel answers
a pick with its faces. Where there is no kernel, the widget shows its static twin. Thumbnails are handed in
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
from matplotlib.figure import Figure
from PIL import Image

from nla.analysis import figures, views
from nla.dynamics import Run, atomic
from nla.naw import NAW

HERE, CARDS = Path(__file__).parent, 24  # faces shown of a selection
PLANE = {"labels": ["p_GT (label)", "p_NN (nearest negative)"], "xticks": [[t, str(t)] for t in (0, 0.5, 1)],
         "yticks": [[t, str(t)] for t in (0, 0.5, 1)]}


class Explorer(anywidget.AnyWidget):
    """n points that move over S steps, a slider, a play button, filters, and cards of the samples picked."""

    _esm = HERE / "explorer.js"
    content = traitlets.Dict().tag(sync=True)  # of :func:`content_of`
    step = traitlets.Int(0).tag(sync=True)  # 0..S-1
    selected = traitlets.List().tag(sync=True)  # positions 0..n-1
    faces = traitlets.Dict().tag(sync=True)  # image URLs of the first of them

    def __init__(self, content: dict, index: np.ndarray, images, twin: Callable[[], Figure], step: int = 0):
        super().__init__(content=content, step=step)
        self.index, self.images, self.twin = index, images, twin

    @traitlets.observe("selected")
    def _show(self, _=None):
        if self.images is not None:
            self.faces = {str(i): image_url(face_of(self.images, self.index[i])) for i in self.selected[:CARDS]}

    def _repr_mimebundle_(self, **options):
        data, metadata = super()._repr_mimebundle_(**options)
        buffer = io.BytesIO()
        self.twin().savefig(buffer, format="png", dpi=100)
        return data | {"image/png": base64.b64encode(buffer.getvalue()).decode()}, metadata


def content_of(run: Run, facts: pd.DataFrame, places: np.ndarray, channels: dict[str, tuple[np.ndarray, float, int]],
               titles: Sequence[str], **more) -> dict:
    """What the browser needs: n samples (label, true_label, kind) at places (S, n, 2) in the unit square,

    channels (S, n) by name, each with the top of its scale and its digits (the first is drawn as history), and
    one title a step. ``more``: labels, xticks, yticks, backgrounds, guess (S, n), cells.
    """
    kinds = views.kinds(facts)
    names = {"kind": list(kinds.cat.categories), "class": list(run.classes)}
    return {"kinds": names["kind"], "classes": names["class"], "titles": list(titles), "points": as_uint16(places),
            "kind": as_uint8(kinds.cat.codes), "label": as_uint8(facts["label"]), "true": as_uint8(facts["true_label"]),
            "looks": {by: {part: [look[name] for name in names[by]] for part, look in
                           zip(("palette", "markers"), figures.LOOKS[by])} for by in names},
            "channels": [{"name": name, "top": top, "digits": digits, "values": as_uint16(values / top)}
                         for name, (values, top, digits) in channels.items()],
            "backgrounds": [], "guess": None, "cells": 0, "columns": 0, "xticks": [], "yticks": []} | more


def plane_content(run: Run, epochs: Sequence[int], points: int, naw: NAW | None = None) -> tuple[dict, np.ndarray]:
    """The samples of some epochs on the (p_GT, p_NN) plane, and the rows of the manifest that they are."""
    naw, total = naw or figures.naw_of(run), run.config["epochs"]
    facts = figures.thin(run.samples(epochs[0]), points).sort_index()
    tables = [run.samples(epoch).iloc[facts.index] for epoch in epochs]
    p_gt, p_nn, weight = (np.stack([t[name].to_numpy() for t in tables]) for name in ("p_gt", "p_nn", "weight"))
    titles = [f"{run.name}, epoch {e + 1} of {total}, ε = {naw.epsilon(e / total):.2f}" for e in epochs]
    content = content_of(run, facts, np.stack([p_gt, p_nn], -1), {
        "w*": (weight, figures.WEIGHT_TOP, 3), "p_GT": (p_gt, 1, 2), "p_NN": (p_nn, 1, 2)}, titles, **PLANE,
        backgrounds=[surface_url(naw, epoch / total) for epoch in epochs])
    return content, facts["index"].to_numpy()


def naw_explorer(run: Run, images=None, points: int = 20_000) -> Explorer:
    """Training samples on the (p_GT, p_NN) plane from epoch to epoch, over the weight surface.

    Play or slide through the epochs; filter by class and kind; draw a loop around points, or click one, to
    see the faces with label, scores and history of w*. Runs beyond ``points`` samples are thinned.
    """
    return Explorer(*plane_content(run, run.epochs["epoch"], points), images, lambda: naw_explorer_static(run))


def naw_explorer_static(run: Run, epochs: Sequence[int] | None = None, by: str = "kind") -> Figure:
    """The static twin of :func:`naw_explorer`: the plane at several epochs."""
    return figures.planes(run, epochs, by)


def latent_explorer(run: Run, embedding: pd.DataFrame, images=None) -> Explorer:
    """The embedding of the probe set (see :mod:`nla.analysis.latents`) from snapshot to snapshot.

    Cards show the prediction of each snapshot and the history of the probability of the true class.
    """
    steps = dict(list(embedding.groupby("epoch")))
    facts, places = next(iter(steps.values())), np.stack([part[["x", "y"]] for part in steps.values()])
    low, high = places.min((0, 1)), places.max((0, 1))
    logits = torch.tensor(np.stack([run.latents[step]["logits"] for step in steps]))
    truth = np.take_along_axis(logits.softmax(-1).numpy(), facts["true_label"].to_numpy()[None, :, None], 2)[..., 0]
    content = content_of(run, facts, 0.04 + 0.92 * (places - low) / np.maximum(high - low, 1e-9),
                         {"p(true)": (truth, 1, 2)}, labels=["UMAP 1 (a.u.)", "UMAP 2 (a.u.)"],
                         titles=[f"{run.name}, {f'after epoch {s}' if s else 'before training'}" for s in steps],
                         guess=as_uint8(logits.argmax(-1)))
    return Explorer(content, facts["index"].to_numpy(), images, lambda: figures.latent_steps(embedding))


def confusion_explorer(run: Run, images=None, split: str = "test") -> Explorer:
    """The confusion matrix as a crowd: each face in the cell of its true class and of what it is predicted as.

    A click selects a cell; moving through the epochs shows where its faces came from and went.
    """
    tables = [table[table["split"] == split] for table in map(run.predictions, run.epochs["epoch"])]
    run.confusion(split=split)  # says so if there is none
    facts, classes, count = tables[0].join(run.manifest["label"], on="index"), run.classes, len(run.classes)
    guess = np.stack([table["prediction"] for table in tables])
    truth = np.stack([table[[f"p_{c}" for c in classes]].to_numpy()[range(len(table)), table["true_label"]]
                      for table in tables])
    jitter = np.random.default_rng(0).uniform(0.08, 0.92, (len(facts), 2))
    rows = np.broadcast_to(count - 1 - facts["true_label"], guess.shape)
    ticks = [[(k + 0.5) / count, name] for k, name in enumerate(classes)]
    content = content_of(run, facts, (np.stack([guess, rows], -1) + jitter) / count, {"p(true)": (truth, 1, 2)},
                         [f"{run.name}, after epoch {e + 1}" for e in run.epochs["epoch"]], guess=as_uint8(guess),
                         cells=count, labels=["predicted class", "true class"], backgrounds=[checks_url(count)],
                         xticks=ticks, yticks=[[1 - at, name] for at, name in ticks])
    twin = functools.partial(figures.confusion_matrices, run, split=split)
    return Explorer(content, facts["index"].to_numpy(), images, twin, step=len(tables) - 1)


def parameter_explorer(run: Run, images=None, points: int = 4000) -> ipywidgets.HBox:
    """What other parameters of NAW would weigh in this run: the surface, and each kind's w* and share of the loss.

    The run's scores are as recorded; training with other parameters would have led elsewhere.
    """
    start, total, last = figures.naw_of(run), run.config["epochs"], int(run.epochs["epoch"].iloc[-1])
    plane = Explorer(*plane_content(run, [last], points), images, lambda: figures.weight_surfaces(start))
    wide, table = {"style": {"description_width": "110px"}}, ipywidgets.HTML()
    epoch = ipywidgets.IntSlider(last, 0, last, description="epoch", **wide)
    lam = ipywidgets.FloatSlider(run.config["lam"], min=0, max=1, step=0.05, description="lambda", **wide)
    limits = {"mu": (0, 1), "std": (0.1, 2), "ratio": (1, 10), "slope": (-40, 0)}
    sliders = {name: [ipywidgets.FloatSlider(value, min=low, max=high, step=(high - low) / 100, description=name,
                                             **wide) for value in np.atleast_1d(values)]
               for name, values in vars(start).items() for low, high in [limits[name.split("_")[0]]]}

    def redraw(change):
        values = {name: tuple(slider.value for slider in group) for name, group in sliders.items()}
        naw = NAW(**{name: value if len(value) == 2 else value[0] for name, value in values.items()})
        if change is None or change["owner"] is epoch:
            plane.content, plane.index = plane_content(run, [epoch.value], points, naw)
        plane.content = plane.content | {"backgrounds": [surface_url(naw, epoch.value / total)]}
        weighed = views.reweighted(run.samples(epoch.value), naw, epoch.value / total, lam.value)
        table.value = weighed.to_html(float_format="{:.3f}".format)

    controls = [epoch, lam, *(slider for group in sliders.values() for slider in group)]
    for slider in controls:
        slider.observe(redraw, "value")
    redraw(None)
    return ipywidgets.HBox([ipywidgets.VBox([*controls, table]), plane])


def naw_html(run: Run, path: str | Path, images=None, points: int = 2000, size: int = 48) -> Path:
    """Write :func:`naw_explorer` as one HTML file that needs neither a kernel nor a network; returns its path.

    At most ``points`` samples, faces at ``size`` pixels: about 1 kB a sample.
    """
    content, index = plane_content(run, run.epochs["epoch"], points)
    if images is not None:
        content["columns"] = 50
        sheet = Image.new("RGB", (50 * size, -(-len(index) // 50) * size))
        for k, row in enumerate(index):
            sheet.paste(face_of(images, row).resize((size, size)), (k % 50 * size, k // 50 * size))
        content["sprite"] = image_url(sheet, "jpeg")
    data = json.dumps(content, default=lambda raw: {"base64": base64.b64encode(raw).decode()}).replace("<", "\\u003c")
    page = (HERE / "page.html").read_text().replace("/*EXPLORER*/", (HERE / "explorer.js").read_text())
    with atomic(Path(path)) as temporary:
        temporary.write_text(page.replace("/*DATA*/", data))
    return Path(path)


def surface_url(naw: NAW, progress: float, size: int = 241) -> str:
    """The weight surface as an image of the unit square, white where p_GT + p_NN > 1."""
    colours = figures.SURFACE(figures.weight_grid(naw, progress, size) / figures.WEIGHT_TOP, bytes=True)[..., :3]
    colours[np.add.outer(np.arange(size), np.arange(size)) >= size] = 255
    return image_url(Image.fromarray(np.ascontiguousarray(colours[::-1])))


def checks_url(count: int) -> str:
    """A chequered background for the cells of a confusion matrix, its diagonal darker."""
    grid = np.where(np.add.outer(np.arange(count), np.arange(count)) % 2, 255, 244).astype(np.uint8)
    np.fill_diagonal(grid, 222)
    return image_url(Image.fromarray(grid).resize((60 * count, 60 * count), Image.Resampling.NEAREST))


def face_of(images, row: int) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(figures.thumbnail(images[int(row)])))


def image_url(image: Image.Image, kind: str = "png") -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def as_uint8(values) -> bytes:
    return np.asarray(values).astype(np.uint8).tobytes()


def as_uint16(unit: np.ndarray) -> bytes:
    """Numbers in [0, 1] as 16-bit integers, little-endian."""
    return (np.clip(unit, 0, 1) * 65535).round().astype("<u2").tobytes()

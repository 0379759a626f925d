"""Explorers for Jupyter: move through a run, pick samples with the mouse, see their faces and histories.

Each returns a widget and needs a running kernel; where there is none, its static twin is shown. Thumbnails
are handed in (uint8 (N, C, H, W), row i of the manifest is image i) or left out.
"""

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
from nla.dynamics import Run
from nla.naw import NAW

CARDS = 24  # faces shown of a selection


class Scatter(anywidget.AnyWidget):
    """Points (S, N, 2) in the unit square that move over S steps; a loop or a click selects some.

    Drawing, moving and selecting happen in the browser: a step needs no answer from the kernel.
    """

    _esm = Path(__file__).parent / "scatter.js"
    points = traitlets.Bytes().tag(sync=True)  # uint16, (S, N, 2)
    codes = traitlets.Bytes().tag(sync=True)  # uint8, (N,): position in palette and markers
    visible = traitlets.Bytes().tag(sync=True)  # uint8, (N,)
    palette = traitlets.List().tag(sync=True)
    markers = traitlets.List().tag(sync=True)
    backgrounds = traitlets.List().tag(sync=True)  # data URLs: one a step, one for all, or none
    titles = traitlets.List().tag(sync=True)  # one a step
    labels = traitlets.List().tag(sync=True)  # of x and of y, and whether there are ticks
    step = traitlets.Int(0).tag(sync=True)
    selected = traitlets.List().tag(sync=True)  # positions along N


class Explorer(ipywidgets.VBox):
    """A box of widgets that carries its static twin, for pages without a kernel."""

    def __init__(self, children: Sequence[ipywidgets.Widget], twin: Callable[[], Figure]):
        super().__init__(children)
        self.twin = twin

    def _repr_mimebundle_(self, **options):
        buffer = io.BytesIO()
        self.twin().savefig(buffer, format="png", dpi=100)
        return super()._repr_mimebundle_(**options) | {"image/png": base64.b64encode(buffer.getvalue()).decode()}


@dataclass(frozen=True)
class Cloud:
    """What an explorer shows of n samples over S steps."""

    facts: pd.DataFrame  # (n rows) index into the images, label, true_label, kind
    places: np.ndarray  # (S, n, 2) in the unit square
    values: np.ndarray  # (S, n) drawn as the history of a sample
    notes: Callable[[int, int], str]  # what a sample's card says at a step
    titles: list[str]  # (S,)
    top: float = 1.0  # of the histories' scale


def naw_explorer(run: Run, images=None, points: int = 20_000) -> Explorer:
    """Training samples on the (p_GT, p_NN) plane from epoch to epoch, over the weight surface.

    Play or slide through the epochs; filter by class and kind; draw a loop around points, or click one,
    to see the faces with label, scores and history of w*. Runs beyond ``points`` samples are thinned.
    """
    naw, cloud = figures.naw_of(run), plane_cloud(run, points)
    scatter = Scatter(labels=["p_GT (label)", "p_NN (nearest negative)", True],
                      backgrounds=[surface_url(naw, e / run.config["epochs"]) for e in run.epochs["epoch"]])
    return assemble(scatter, cloud, run.classes, images, lambda: naw_explorer_static(run))


def naw_explorer_static(run: Run, epochs: Sequence[int] | None = None, by: str = "kind") -> Figure:
    """The static twin of :func:`naw_explorer`: the plane at several epochs."""
    return figures.planes(run, epochs, by)


def latent_explorer(run: Run, embedding: pd.DataFrame, images=None) -> Explorer:
    """The probe set's embedding (of :mod:`nla.analysis.latents`) from snapshot to snapshot, with the faces of a
    selection and the history of the probability of their true class."""
    cloud = latent_cloud(run, embedding)
    scatter = Scatter(labels=["UMAP 1 (a.u.)", "UMAP 2 (a.u.)", False])
    return assemble(scatter, cloud, run.classes, images, lambda: figures.latent_steps(embedding))


def plane_cloud(run: Run, points: int) -> Cloud:
    facts = figures.thin(run.samples(0), points).sort_index()
    tables = [run.samples(epoch).iloc[facts.index] for epoch in run.epochs["epoch"]]
    p_gt, p_nn, weight = (np.stack([t[name].to_numpy() for t in tables]) for name in ("p_gt", "p_nn", "weight"))
    naw, total = figures.naw_of(run), run.config["epochs"]
    titles = [f"{run.name}, epoch {e + 1} of {total}, ε = {naw.epsilon(e / total):.2f}" for e in run.epochs["epoch"]]
    return Cloud(facts.assign(kind=views.kinds(facts)).reset_index(drop=True), np.stack([p_gt, p_nn], -1), weight,
                 lambda s, i: f"p_GT {p_gt[s, i]:.2f}, p_NN {p_nn[s, i]:.2f}<br>w* {weight[s, i]:.3f}",
                 titles, figures.WEIGHT_TOP)


def latent_cloud(run: Run, embedding: pd.DataFrame) -> Cloud:
    steps = {step: part for step, part in embedding.groupby("epoch")}
    facts = next(iter(steps.values())).reset_index(drop=True)
    places = np.stack([part[["x", "y"]] for part in steps.values()])
    low, high = places.min((0, 1)), places.max((0, 1))
    logits = torch.tensor(np.stack([run.latents[step]["logits"] for step in steps]))
    chance, guess = logits.softmax(-1).numpy(), logits.argmax(-1).numpy()
    truth = np.take_along_axis(chance, facts["true_label"].to_numpy()[None, :, None], 2)[..., 0]
    places = 0.05 + 0.9 * (places - low) / np.maximum(high - low, 1e-9)
    return Cloud(facts.assign(kind=views.kinds(facts)), places, truth,
                 lambda s, i: f"predicted {run.classes[guess[s, i]]}<br>p(true) {truth[s, i]:.2f}, {facts['split'][i]}",
                 [f"{run.name}, {'before training' if step == 0 else f'after epoch {step}'}" for step in steps])


def assemble(scatter: Scatter, cloud: Cloud, classes: Sequence[str], images, twin: Callable[[], Figure]) -> Explorer:
    """A scatter with slider, play button, colours, filters, and the faces of the selection."""
    kinds = list(cloud.facts["kind"].cat.categories)
    scatter.titles, scatter.points = cloud.titles, as_uint16(cloud.places)
    slider = ipywidgets.IntSlider(0, 0, len(cloud.titles) - 1, description="step")
    play = ipywidgets.Play(max=slider.max, interval=600, show_repeat=False)
    colour = ipywidgets.ToggleButtons(options=["kind", "class"], description="colour by",
                                      style={"button_width": "60px"})
    shown = [ipywidgets.ToggleButton(True, description=name, layout={"width": "auto"}) for name in (*kinds, *classes)]
    faces = ipywidgets.HTML(layout={"width": "500px", "max_height": "520px", "overflow": "auto"})
    ipywidgets.jslink((play, "value"), (slider, "value"))
    ipywidgets.jslink((slider, "value"), (scatter, "step"))

    def recolour(_=None):
        names = kinds if colour.value == "kind" else list(classes)
        codes = cloud.facts["kind"].cat.codes if colour.value == "kind" else cloud.facts["label"]
        with scatter.hold_sync():
            scatter.palette, scatter.markers = ([look[name] for name in names] for look in figures.LOOKS[colour.value])
            scatter.codes = as_uint8(codes)

    def refilter(_=None):
        on = {button.description for button in shown if button.value}
        scatter.visible = as_uint8(cloud.facts["kind"].isin(on) & cloud.facts["label"].map(lambda k: classes[k] in on))

    def redraw(_=None):
        faces.value = cards(scatter.selected, scatter.step, cloud, classes, images)

    for update in (refilter, recolour, redraw):
        update()
    colour.observe(recolour, "value")
    scatter.observe(redraw, ["selected", "step"])
    for button in shown:
        button.observe(refilter, "value")
    return Explorer([ipywidgets.HBox([play, slider, colour]), ipywidgets.HBox(shown[:len(kinds)]),
                     ipywidgets.HBox(shown[len(kinds):]), ipywidgets.HBox([scatter, faces])], twin)


def cards(selected: Sequence[int], step: int, cloud: Cloud, classes: Sequence[str], images) -> str:
    """HTML of the first faces of a selection: kind, label, true label where it differs, notes, history."""
    if not len(selected):
        return "<p>Draw a loop around points, or click one, to see the faces.</p>"
    more = f", the first {CARDS} shown" if len(selected) > CARDS else ""
    parts = [f"<p>{len(selected):,} selected{more}</p><div style='display:flex;flex-wrap:wrap'>"]
    for i in list(selected)[:CARDS]:
        fact = cloud.facts.iloc[i]
        face = "" if images is None else face_html(images[int(fact["index"])])
        truth = "" if fact["label"] == fact["true_label"] else f"<br><i>true: {classes[fact['true_label']]}</i>"
        history = sparkline(cloud.values[:, i] / cloud.top, step)
        parts.append(f"<div style='width:130px;margin:3px;font-size:11px;line-height:1.3'>{face}<br>{history}<br>"
                     f"<b>{classes[fact['label']]}</b> ({fact['kind']}){truth}<br>{cloud.notes(step, i)}</div>")
    return "".join(parts) + "</div>"


def sparkline(values: np.ndarray, step: int) -> str:
    """A history in [0, 1] as a small SVG, a dot at the current step."""
    x = np.linspace(3, 107, len(values)) if len(values) > 1 else np.array([55.0])
    y = 30 - 28 * np.clip(values, 0, 1)
    line = " ".join(f"{a:.0f},{b:.1f}" for a, b in zip(x, y, strict=True))
    return ("<svg width=110 height=32 style='background:#f4f4f4'><polyline fill='none' stroke='#444' "
            f"points='{line}'/><circle cx={x[step]:.0f} cy={y[step]:.1f} r=3 /></svg>")


def face_html(image) -> str:
    """A face (C, H, W) uint8 as an image element."""
    url = png_url(Image.fromarray(np.ascontiguousarray(figures.thumbnail(image))))
    return f"<img src='{url}' width=72 height=72 style='image-rendering:pixelated'>"


def surface_url(naw: NAW, progress: float, size: int = 241) -> str:
    """The weight surface as an image of the unit square, white where p_GT + p_NN > 1."""
    grid = figures.weight_grid(naw, progress, size)
    colours = figures.SURFACE(grid / figures.WEIGHT_TOP, bytes=True)[..., :3]
    colours[np.add.outer(np.arange(size), np.arange(size)) >= size] = 255
    return png_url(Image.fromarray(np.ascontiguousarray(colours[::-1])))


def png_url(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def as_uint8(values) -> bytes:
    return np.asarray(values).astype(np.uint8).tobytes()


def as_uint16(unit: np.ndarray) -> bytes:
    """Numbers in [0, 1] as 16-bit integers, little-endian."""
    return (np.clip(unit, 0, 1) * 65535).round().astype("<u2").tobytes()

"""Explorers for Jupyter: move through a run, pick samples with the mouse, see their faces and histories.

Each returns a widget and needs a running kernel; where there is none, its static twin is shown. Thumbnails
are handed in (uint8 (N, C, H, W), row i of the manifest is image i) or left out.
"""

import base64
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import anywidget
import ipywidgets
import numpy as np
import pandas as pd
import traitlets
from matplotlib.figure import Figure
from PIL import Image

from nla.analysis import figures, views
from nla.dynamics import Run
from nla.naw import NAW

CARDS = 24  # faces shown of a selection


class Scatter(anywidget.AnyWidget):
    """Points (S, N, 2) in the unit square that move over S steps; a loop or a click selects some.

    Drawing, playing and selecting happen in the browser: a step needs no answer from the kernel.
    """

    _esm = Path(__file__).parent / "scatter.js"
    points = traitlets.Bytes().tag(sync=True)  # uint16, (S, N, 2)
    codes = traitlets.Bytes().tag(sync=True)  # uint8, (N,): position in palette and markers
    visible = traitlets.Bytes().tag(sync=True)  # uint8, (N,)
    palette = traitlets.List().tag(sync=True)
    markers = traitlets.List().tag(sync=True)
    backgrounds = traitlets.List().tag(sync=True)  # a data URL a step, or one for all, or none
    titles = traitlets.List().tag(sync=True)
    labels = traitlets.List().tag(sync=True)  # of x and y, and whether there are ticks
    step = traitlets.Int(0).tag(sync=True)
    selected = traitlets.List().tag(sync=True)  # positions along N


class Explorer(ipywidgets.VBox):
    """A box of widgets that carries its static twin, for pages without a kernel."""

    def __init__(self, children: Sequence[ipywidgets.Widget], twin: Callable[[], Figure]):
        super().__init__(children)
        self.twin = twin

    def _repr_mimebundle_(self, **options):
        buffer = io.BytesIO()
        self.twin().savefig(buffer, format="png")
        return super()._repr_mimebundle_(**options) | {"image/png": base64.b64encode(buffer.getvalue()).decode()}


def naw_explorer(run: Run, images=None, points: int = 20_000) -> Explorer:
    """Training samples on the (p_GT, p_NN) plane from epoch to epoch, over the weight surface.

    Play or slide through the epochs; filter by class and kind; draw a loop around points, or click one,
    to see the faces with label, scores and history of w*. Runs beyond ``points`` samples are thinned.
    """
    history, facts = stacked(run, points)
    naw, epochs = figures.naw_of(run), run.epochs["epoch"]
    progresses = [epoch / run.config["epochs"] for epoch in epochs]
    scatter = Scatter(points=as_uint16(np.stack([history["p_gt"], history["p_nn"]], -1)),
                      labels=["p_GT (label)", "p_NN (nearest negative)", True],
                      backgrounds=[surface_url(naw, progress) for progress in progresses],
                      titles=[f"{run.name}, epoch {epoch + 1} of {run.config['epochs']}, ε = {naw.epsilon(progress):.2f}"
                              for epoch, progress in zip(epochs, progresses, strict=True)])
    return assemble(scatter, history, facts, run.classes, images, lambda: naw_explorer_static(run))


def naw_explorer_static(run: Run, epochs: Sequence[int] | None = None, by: str = "kind") -> Figure:
    """The static twin of :func:`naw_explorer`: the plane at several epochs."""
    return figures.planes(run, epochs, by)


def stacked(run: Run, points: int) -> tuple[dict[str, np.ndarray], pd.DataFrame]:
    """The record of all epochs as arrays (E, n), and what is fixed of each of the n samples."""
    facts = figures.thin(run.samples(0), points).sort_index()
    rows = facts.index.to_numpy()
    facts = facts.assign(kind=views.kinds(facts))[["index", "label", "true_label", "kind"]].reset_index(drop=True)
    epochs = [run.samples(epoch).iloc[rows] for epoch in run.epochs["epoch"]]
    return {name: np.stack([table[name].to_numpy() for table in epochs]) for name in ("p_gt", "p_nn", "weight")}, facts


def assemble(scatter: Scatter, history: dict[str, np.ndarray], facts: pd.DataFrame, classes: Sequence[str], images,
             twin: Callable[[], Figure]) -> Explorer:
    """A scatter with slider, play button, colours, filters, and the faces of the selection."""
    kinds = list(facts["kind"].cat.categories)
    slider = ipywidgets.IntSlider(0, 0, len(scatter.titles) - 1, description="step", continuous_update=True)
    play = ipywidgets.Play(max=slider.max, interval=500, show_repeat=False)
    colour = ipywidgets.ToggleButtons(options=["kind", "class"], description="colour by", style={"button_width": "60px"})
    shown = [ipywidgets.ToggleButton(True, description=name, layout={"width": "84px"}) for name in (*kinds, *classes)]
    faces = ipywidgets.HTML(layout={"width": "520px", "max_height": "540px", "overflow": "auto"})
    ipywidgets.jslink((play, "value"), (slider, "value"))
    ipywidgets.jslink((slider, "value"), (scatter, "step"))

    def recolour(_=None):
        by_kind = colour.value == "kind"
        names = kinds if by_kind else list(classes)
        palette, markers = ((figures.KIND_PALETTE, figures.KIND_MARKERS) if by_kind
                            else (figures.PALETTE, figures.MARKERS))
        codes = facts["kind"].cat.codes if by_kind else facts["label"]
        with scatter.hold_sync():
            scatter.palette, scatter.markers = [palette[n] for n in names], [markers[n] for n in names]
            scatter.codes = codes.to_numpy().astype(np.uint8).tobytes()

    def refilter(_=None):
        on = {button.description for button in shown if button.value}
        mask = facts["kind"].isin(on) & facts["label"].map(lambda k: classes[k]).isin(on)
        scatter.visible = mask.to_numpy().astype(np.uint8).tobytes()

    def redraw(_=None):
        faces.value = cards(scatter.selected, scatter.step, history, facts, classes, images)

    recolour(), refilter(), redraw()
    colour.observe(recolour, "value")
    scatter.observe(redraw, ["selected", "step"])
    for button in shown:
        button.observe(refilter, "value")
    rows = [ipywidgets.HBox([play, slider, colour]), ipywidgets.HBox(shown[:len(kinds)]),
            ipywidgets.HBox(shown[len(kinds):]), ipywidgets.HBox([scatter, faces])]
    return Explorer(rows, twin)


def cards(selected: Sequence[int], step: int, history: dict[str, np.ndarray], facts: pd.DataFrame,
          classes: Sequence[str], images) -> str:
    """HTML of the selected faces: label, true label where it differs, scores now, history of w*."""
    if not len(selected):
        return "<p>Draw a loop around points, or click one, to see the faces.</p>"
    here = list(selected)[:CARDS]
    text = [f"<p>{len(selected):,} selected, mean w* {history['weight'][step, list(selected)].mean():.3f}"
            f"{f'; the first {CARDS} are shown' if len(selected) > CARDS else ''}</p><div style='display:flex;flex-wrap:wrap'>"]
    for i in here:
        fact = facts.iloc[i]
        truth = "" if fact["label"] == fact["true_label"] else f" <i>(true: {classes[fact['true_label']]})</i>"
        face = "" if images is None else f"<img src='{face_url(images[int(fact['index'])])}' width=72 height=72 " \
            "style='image-rendering:pixelated'>"
        text.append(f"<div style='width:112px;margin:3px;font-size:11px;line-height:1.25'>{face}{sparkline(history['weight'][:, i], step)}"
                    f"<br><b style='color:{figures.KIND_PALETTE[fact['kind']]}'>{fact['kind']}</b> {classes[fact['label']]}{truth}"
                    f"<br>p_GT {history['p_gt'][step, i]:.2f}, p_NN {history['p_nn'][step, i]:.2f}<br>"
                    f"w* {history['weight'][step, i]:.3f}</div>")
    return "".join(text) + "</div>"


def sparkline(values: np.ndarray, step: int, top: float = 0.55) -> str:
    """w* over the epochs as a small SVG, 0 to ``top``, a dot at the current step."""
    x = np.linspace(3, 107, len(values)) if len(values) > 1 else np.array([55.0])
    y = 30 - 28 * np.clip(values / top, 0, 1)
    line = " ".join(f"{a:.0f},{b:.1f}" for a, b in zip(x, y, strict=True))
    return (f"<svg width=110 height=32 style='background:#f4f4f4'><polyline points='{line}' fill='none' stroke='#444'/>"
            f"<circle cx='{x[step]:.0f}' cy='{y[step]:.1f}' r='3'/></svg>")


def face_url(image) -> str:
    """A face (C, H, W) uint8 as a data URL."""
    return png_url(Image.fromarray(np.ascontiguousarray(figures.thumbnail(image))))


def surface_url(naw: NAW, progress: float, size: int = 241) -> str:
    """The weight surface as an image of the unit square, nothing where p_GT + p_NN > 1."""
    grid = figures.weight_grid(naw, progress, size)[::-1]
    colours = figures.SURFACE(grid / figures.WEIGHT_RANGE[1], bytes=True)
    colours[np.add.outer(np.arange(size)[::-1], np.arange(size)) >= size] = 255
    return png_url(Image.fromarray(colours[..., :3].copy()))


def png_url(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def as_uint16(unit: np.ndarray) -> bytes:
    """Numbers in [0, 1] as 16-bit integers."""
    return (np.clip(unit, 0, 1) * 65535).round().astype("<u2").tobytes()

"""Explorers for Jupyter: move through a run, pick samples with the mouse, see their faces.

Each returns a widget; drawing, moving and picking happen in the browser (explorer.js), and the
kernel answers a pick with its faces. Where there is no kernel, the widget shows its static twin,
a figure. Thumbnails are handed in (uint8 (N, C, H, W), row i of the manifest is image i) or left
out. Of a run whose truth nobody knows no kind and no true label is shown.
"""

import base64
import functools
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import anywidget
import ipywidgets
import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
import traitlets
from IPython.display import display
from matplotlib.figure import Figure
from PIL import Image

from nla.analysis import figures, views
from nla.analysis.audit_explorer import audit_explorer as audit_explorer
from nla.analysis.figures import thumbnail
from nla.files import write
from nla.naw import NAW
from nla.training.record import Run

HERE = Path(__file__).parent
CARDS = 24  # faces shown of a selection
FULL = 65535  # the largest of the 16-bit integers that numbers in [0, 1] are sent as
LIMITS = {  # of the sliders: lowest, highest, step
    "mu": (0.0, 1.0, 0.01),
    "std": (0.1, 2.0, 0.01),
    "ratio": (1.0, 10.0, 0.1),
    "slope": (-40.0, 0.0, 0.5),
}

Numbers = npt.NDArray[np.float64]
Content = dict[str, Any]  # what the browser is sent, see content_of
Bundle = tuple[dict[str, Any], dict[str, Any]]  # a cell's output by MIME type, and its metadata


class Pictures(Protocol):
    """Images by row of the manifest: a tensor, an array or a packed store."""

    def __getitem__(self, row: int, /) -> Any: ...


class Explorer(anywidget.AnyWidget):
    """n points that move over S steps, a slider, a play button, filters, cards of those picked."""

    _esm = HERE / "explorer.js"
    content = traitlets.Dict().tag(sync=True)  # of :func:`content_of`
    step = traitlets.Int(0).tag(sync=True)  # 0..S-1
    selected: traitlets.List[int] = traitlets.List().tag(sync=True)  # positions 0..n-1
    faces = traitlets.Dict().tag(sync=True)  # image URLs of the first of them

    def __init__(
        self,
        content: Content,
        index: npt.NDArray[np.int64],
        images: Pictures | None,
        twin: Callable[[], Figure],
        step: int = 0,
    ):
        super().__init__(content=content, step=step)
        self.index, self.images, self.twin = index, images, twin

    @traitlets.observe("selected")
    def _show(self, _: object = None) -> None:
        if self.images is None:
            return
        faces = {}
        for position in self.selected[:CARDS]:
            face = thumbnail(self.images[int(self.index[position])])
            faces[str(position)] = image_url(face)
        self.faces = faces

    def _repr_mimebundle_(self, **options: Any) -> Bundle:
        data, metadata = super()._repr_mimebundle_(**options) or ({}, {})
        return data | picture(self.twin), metadata


class Beside(ipywidgets.HBox):  # type: ignore[misc]  # ipywidgets has no types
    """Widgets side by side that bring a static twin along, as an explorer does."""

    def __init__(self, children: Sequence[ipywidgets.Widget], twin: Callable[[], Figure]):
        super().__init__(children)
        self.twin = twin

    def _repr_mimebundle_(self, **options: Any) -> Bundle:
        return super()._repr_mimebundle_(**options) | picture(self.twin), {}


def picture(twin: Callable[[], Figure]) -> dict[str, str]:
    """A figure as a cell's output."""
    buffer = io.BytesIO()
    twin().savefig(buffer, format="png", dpi=130)
    return {"image/png": base64.b64encode(buffer.getvalue()).decode()}


def content_of(
    run: Run,
    facts: pd.DataFrame,
    places: Numbers,
    history: tuple[str, Numbers, float],
    titles: Sequence[str],
    **more: Any,
) -> Content:
    """What the browser needs to show n samples at places (S, n, 2) in the unit square.

    ``facts`` holds index, label and, where known, true_label and kind; ``history`` the name, the
    values (S, n) and the top of the scale of what is drawn as their history; ``titles`` one a step.
    ``more``: labels, xticks, yticks, backgrounds, guess (S, n; the predicted class), cells (a
    side), scores (the places are shown as numbers).
    """
    name, values, top = history
    classes = list(run.classes)
    content: Content = {
        "kinds": [],
        "kind": None,
        "true": None,
        "classes": classes,
        "titles": list(titles),
        "points": packed(places, FULL),
        "label": packed(facts["label"]),
        "sources": sources(run, facts["index"]),
        "looks": {"class": looks("class", classes, run)},
        "history": {"name": name, "top": top, "values": packed(values / top, FULL)},
        "backgrounds": [],
        "guess": None,
        "cells": 0,
        "columns": 0,
        "xticks": [],
        "yticks": [],
    }
    if run.knows_truth:
        kinds = views.kinds(facts, known=True)
        content["kinds"] = list(kinds.cat.categories)
        content["kind"] = packed(kinds.cat.codes)
        content["true"] = packed(facts["true_label"])
        content["looks"]["kind"] = looks("kind", content["kinds"], run)
    return content | more


def looks(by: str, names: Sequence[str], run: Run) -> tuple[list[str], list[str]]:
    """Colours and markers of the groups, in their order."""
    palette, markers = figures.look_of(by, run.classes)
    return [palette[name] for name in names], [markers[name] for name in names]


def sources(run: Run, index: pd.Series) -> list[str]:
    """The file or the row of each sample; empty where the manifest names neither."""
    manifest = run.manifest.loc[index]
    if "path" in manifest:
        return manifest["path"].astype(str).tolist()
    if "row" in manifest:
        return [f"row {row}" for row in manifest["row"]]
    return []


def packed(values: npt.ArrayLike, scale: float = 1) -> bytes:
    """Numbers in [0, 1] (times ``scale``), or small integers, as 16-bit integers, little-endian."""
    inside = np.asarray(values).clip(0, FULL / scale)
    return (inside * scale).round().astype("<u2").tobytes()


def plane_content(
    run: Run, epochs: Sequence[int], points: int, naw: NAW | None = None
) -> tuple[Content, npt.NDArray[np.int64]]:
    """Some epochs' samples on the (p_GT, p_NN) plane, and their rows of the manifest.

    At most ``points`` samples, a random part of the others, the same for each call.
    """
    naw = naw or figures.naw_of(run)
    total = run.config["epochs"]
    facts = run.samples(epochs[0])
    facts = facts.sample(min(points, len(facts)), random_state=0).sort_index()
    columns = ["p_gt", "p_nn", "weight"]
    values = np.stack([run.samples(e).loc[facts.index, columns].to_numpy(float) for e in epochs])
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


def naw_explorer(run: Run, images: Pictures | None = None, points: int = 20_000) -> Explorer:
    """Training samples on the (p_GT, p_NN) plane from epoch to epoch, over the weight surface.

    Play or slide through the epochs; filter by class and, where known, kind; draw a loop around
    points, or click one, to see the faces with label, file or row, scores and history of w*. Runs
    beyond ``points`` samples are thinned. RunError where the samples were not recorded.
    """
    content, index = plane_content(run, views.epochs(run), points)
    twin = functools.partial(figures.planes, run, by=grouping(run))
    return Explorer(content, index, images, twin)


def grouping(run: Run) -> str:
    """What samples are told apart by: their kind, or where nobody knows it their class."""
    return "kind" if run.knows_truth else "class"


def judged(
    run: Run, facts: pd.DataFrame, probabilities: Numbers
) -> tuple[str, pd.Series, tuple[str, Numbers, float]]:
    """What predictions are held against: its name, that class, and its probability as a history.

    The true class, or the label where nobody knows better; ``probabilities`` are (S, n, K).
    """
    column, name = ("true_label", "true") if run.knows_truth else ("label", "label")
    classes = facts[column]
    chosen = np.take_along_axis(probabilities, classes.to_numpy()[None, :, None], 2)[..., 0]
    return name, classes, (f"p({name})", chosen, 1)


def latent_explorer(run: Run, embedding: pd.DataFrame, images: Pictures | None = None) -> Explorer:
    """The map of the probe set (see :mod:`nla.analysis.latents`) from snapshot to snapshot.

    Cards show the prediction of each snapshot and the history of the probability of the true
    class, or of the label where nobody knows better.
    """
    steps = [int(step) for step in sorted(embedding["epoch"].unique())]
    parts = [embedding[embedding["epoch"] == step] for step in steps]
    places = np.stack([part[["x", "y"]].to_numpy(float) for part in parts])
    low, high = places.min((0, 1)), places.max((0, 1))
    logits = np.stack([run.latents[step]["logits"] for step in steps])
    probabilities = torch.tensor(logits).softmax(2).numpy()
    _, _, history = judged(run, parts[0], probabilities)
    content = content_of(
        run,
        parts[0],
        0.04 + 0.92 * (places - low) / np.maximum(high - low, 1e-9),
        history,
        labels=["UMAP 1 (a.u.)", "UMAP 2 (a.u.)"],
        titles=[f"{run.name}, {f'after epoch {s}' if s else 'before training'}" for s in steps],
        guess=packed(probabilities.argmax(2)),
    )
    named = embedding.copy(deep=False)
    named.attrs["classes"] = list(run.classes)
    twin = functools.partial(figures.latent_steps, named)
    return Explorer(content, parts[0]["index"].to_numpy(), images, twin)


def confusion_explorer(run: Run, images: Pictures | None = None, split: str = "test") -> Explorer:
    """The confusion matrix as a crowd: each face in the cell of its true and its predicted class.

    A click selects a cell; moving through the epochs shows where its faces came from and went. The
    label stands for the true class where nobody knows better. RunError if the split has no images.
    """
    epochs, classes = views.epochs(run), run.classes
    tables = [figures.scored(run, split, epoch) for epoch in epochs]
    facts = tables[0].join(run.manifest["label"], on="index")
    guess = np.stack([table["prediction"] for table in tables])
    columns = [f"p_{name}" for name in classes]
    probabilities = np.stack([table[columns].to_numpy(float) for table in tables])
    name, given, history = judged(run, facts, probabilities)
    count = len(classes)
    rows = np.broadcast_to(count - 1 - given.to_numpy(), guess.shape)
    jitter = np.random.default_rng(0).uniform(0.08, 0.92, (len(facts), 2))
    middles = [(k + 0.5) / count for k in range(count)]
    content = content_of(
        run,
        facts,
        (np.stack([guess, rows], -1) + jitter) / count,
        history,
        [f"{run.name}, after epoch {epoch + 1}" for epoch in epochs],
        guess=packed(guess),
        cells=count,
        labels=["predicted class", "true class" if name == "true" else "label"],
        xticks=[[at, text] for at, text in zip(middles, classes)],
        yticks=[[1 - at, text] for at, text in zip(middles, classes)],
        backgrounds=[chequered_url(count)],
    )
    twin = functools.partial(figures.confusion_matrices, run, split=split)
    return Explorer(content, facts["index"].to_numpy(), images, twin, step=len(tables) - 1)


def parameter_explorer(run: Run, images: Pictures | None = None, points: int = 4000) -> Beside:
    """What other parameters of NAW would weigh in this run: the surface, and a table by kind.

    The table holds each kind's w* and share of the loss, or each class's where nobody knows the
    kinds. The run's scores are as recorded; training with other parameters would have led
    elsewhere. RunError where the samples were not recorded.
    """
    start, total, last = figures.naw_of(run), run.config["epochs"], views.epochs(run)[-1]
    twin = functools.partial(figures.weight_surfaces, start)
    plane = Explorer(*plane_content(run, [last], points), images, twin)

    def redraw(**values: float) -> pd.DataFrame:
        epoch, lam = int(values.pop("epoch")), values.pop("lambda")
        naw = naw_from(values)
        content, plane.index = plane_content(run, [epoch], points, naw)
        plane.content = content
        samples = run.samples(epoch)
        groups = views.groups(run, samples, grouping(run))
        weighed = views.reweighted(samples, naw, epoch / total, lam, groups)
        display(weighed.style.format(precision=3))  # type: ignore[no-untyped-call]  # IPython's
        return weighed

    sliders = {
        "epoch": ipywidgets.IntSlider(last, 0, last),
        "lambda": ipywidgets.FloatSlider(run.config["lam"], min=0, max=1, step=0.05),
        **naw_sliders(start),
    }
    controls = ipywidgets.interactive(redraw, **sliders)
    controls.layout.flex = "0 0 350px"
    for name, slider in sliders.items():
        slider.description = name
        slider.style.description_width = "110px"
    return Beside([controls, plane], twin)


def naw_sliders(naw: NAW) -> dict[str, ipywidgets.FloatSlider]:
    """A slider for each number of a weighting, from its own value."""
    sliders = {}
    for name, values in vars(naw).items():
        low, high, step = LIMITS[name.split("_")[0]]
        pair = isinstance(values, tuple)
        for axis, value in zip(("p_GT", "p_NN"), values if pair else (values,)):
            sliders[f"{name} {axis}" if pair else name] = ipywidgets.FloatSlider(
                value, min=min(low, value), max=max(high, value), step=step
            )
    return sliders


def naw_from(values: dict[str, float]) -> NAW:
    """The weighting that :func:`naw_sliders` stand for."""
    numbers = dict(values)
    means = {
        name: (numbers.pop(f"{name} p_GT"), numbers.pop(f"{name} p_NN"))
        for name in ("mu_true", "mu_false")
    }
    return NAW(**means, **numbers)  # type: ignore[arg-type]  # pairs and numbers by name


def naw_html(
    run: Run,
    path: str | Path,
    images: Pictures | None = None,
    points: int = 2000,
    size: int = 48,
) -> Path:
    """Write :func:`naw_explorer` as one HTML file that needs no kernel and no network.

    At most ``points`` samples, faces at ``size`` pixels: about 1 kB a sample. Returns its path.
    """
    content, index = plane_content(run, views.epochs(run), points)
    if images is not None:
        content["columns"] = 50
        content["sprite"] = image_url(sheet(images, index, 50, size), "jpeg")
    script = (HERE / "explorer.js").read_text(encoding="utf-8")
    page = (HERE / "page.html").read_text(encoding="utf-8").replace("/*EXPLORER*/", script)
    data = json.dumps(content, default=lambda raw: {"base64": base64.b64encode(raw).decode()})
    write(path, page.replace("/*DATA*/", data.replace("<", "\\u003c")))
    return Path(path)


def sheet(images: Pictures, index: npt.NDArray[np.int64], columns: int, size: int) -> Image.Image:
    """All faces in one picture, in rows of ``columns``, each ``size`` pixels a side."""
    rows = -(-len(index) // columns)
    whole = Image.new("RGB", (columns * size, rows * size))
    for k, row in enumerate(index):
        face = Image.fromarray(thumbnail(images[int(row)])).resize((size, size))
        whole.paste(face, (k % columns * size, k // columns * size))
    return whole


def surface_url(naw: NAW, progress: float) -> str:
    """The weight surface as an image of the unit square, white where p_GT + p_NN > 1."""
    grid = figures.weight_grid(naw, progress, 181)
    colours = figures.SURFACE(grid / figures.WEIGHT_TOP, bytes=True)[..., :3]
    place = np.arange(len(grid))
    colours[np.add.outer(place, place) >= len(grid)] = 255
    return image_url(colours[::-1])


def chequered_url(count: int) -> str:
    """The squares of a confusion matrix, (count, count), the diagonal darker."""
    place = np.arange(count)
    odd = np.add.outer(place, place) % 2 == 1
    squares = np.where(odd, 255, 244).astype(np.uint8)
    np.fill_diagonal(squares, 222)
    side = 60 * count
    return image_url(Image.fromarray(squares).resize((side, side), Image.Resampling.NEAREST))


def image_url(image: npt.NDArray[np.uint8] | Image.Image, kind: str = "png") -> str:
    """An image, uint8 (H, W) or (H, W, 3), as a data URL."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, kind)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"

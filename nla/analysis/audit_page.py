"""A page to judge labels on: the suspect faces first, decisions by key, saved as csv.

:func:`write_page` makes one HTML file that needs no kernel and no network; in Jupyter the same
stands in :mod:`nla.analysis.audit_explorer`. Both draw what :func:`page_content` says, with
``audit_page.js``. The page holds the faces themselves: it is for those who may see them.
"""

import hashlib
import io
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from nla.analysis import judges, pictures, views
from nla.data.correction import keys
from nla.files import write
from nla.training.loading import Images
from nla.training.record import Run

HERE = Path(__file__).parent
COLUMNS = 20  # faces a row of a sheet, and rows of a sheet
SIDES = (96, 72, 48, 32)  # pixels of a face, the first that fits
ROOM = 3300  # bytes a face may take on the page, as jpeg
CURVE = 60  # epochs of a curve at most

Content = dict[str, Any]
Integers = npt.NDArray[np.int64]


def write_page(
    run: Run,
    table: pd.DataFrame,
    path: str | Path,
    images: Images | None,
    faces: int = 2000,
    twins: pd.DataFrame | None = None,
) -> Path:
    """Write the page for an audit's ``table`` (:func:`nla.analysis.audit.audit`) to ``path``.

    ``images``: row i is row i of the run's manifest; None: the page names files in place of faces.
    ``faces``: how many labels it shows; the rest is counted. ``twins``: copies with different
    labels, by default those of equal pixels (:func:`nla.analysis.judges.copies`).
    """
    content = page_content(run, table, images, faces, twins)
    script = (HERE / "audit_page.js").read_text(encoding="utf-8")
    page = (HERE / "audit_page.html").read_text(encoding="utf-8")
    page = page.replace("/*SCRIPT*/", script)
    data = json.dumps(content, separators=(",", ":"), allow_nan=False)
    data = data.replace("<", "\\u003c")
    write(path, page.replace("/*DATA*/", data))
    return Path(path)


def page_content(
    run: Run,
    table: pd.DataFrame,
    images: Images | None = None,
    faces: int = 2000,
    twins: pd.DataFrame | None = None,
) -> Content:
    """What the browser needs: ``rows`` (a list a column), ``tabs`` (orders of rows), ``sheets``.

    Of the ``faces`` shown a fifth at most are copies with different labels, a third the most
    ambiguous, the others the most suspect. What nobody knows is not in it (``run.knows_truth``).
    """
    twins = judges.copies(run) if twins is None else twins
    tabs = tabs_of(table, twins, faces)
    orders = np.concatenate([tab.rows for tab in tabs])
    shown = np.unique(orders.astype(int))
    part = table.iloc[shown]
    index = part["index"].to_numpy(np.int64)
    channels = run.card.get("channels", 3)
    content: Content = {
        "key": storage_key(run),
        "title": run.name,
        "data": str(run.config["data"]),
        "shape": f"{channels}x{run.config['size']}",
        "classes": list(run.classes),
        "total": len(table),
        "tabs": [],
        "rows": rows_of(run, part, twins),
        "curves": curves_of(run, index),
        "sheets": [],
        "columns": COLUMNS,
        "notes": list(table.attrs.get("notes", ())),
    }
    for tab in tabs:
        order = np.searchsorted(shown, tab.rows)
        content["tabs"].append({"name": tab.name, "order": order.tolist(), "total": tab.total})
    if images is not None:
        content["sheets"] = sheets_of(images, index)
    return content


class Tab(NamedTuple):
    """An order of the table's rows in which they are looked at."""

    name: str
    rows: Integers
    total: int  # of how many these are the first


def tabs_of(table: pd.DataFrame, twins: pd.DataFrame, faces: int) -> list[Tab]:
    """The tabs of the page, with as many rows as all of them together may show."""
    total = len(table)
    copies = copies_in(table, twins)
    doubt = np.argsort(-table["ambiguity"].to_numpy(), kind="stable")
    suspects = np.arange(total)
    tabs = [("suspect", suspects), ("ambiguous", doubt), ("copies", copies)]
    if total <= faces:
        return [Tab(name, rows, len(rows)) for name, rows in tabs]
    some = copies[: faces // 5]
    unsure = doubt[: faces // 3]
    others = np.union1d(some, unsure)
    is_new = ~np.isin(suspects, others)
    room = faces - len(others)
    until = np.searchsorted(np.cumsum(is_new), room) + 1
    return [
        Tab("suspect", suspects[:until], total),
        Tab("ambiguous", unsure, total),
        Tab("copies", some, len(copies)),
    ]


def copies_in(table: pd.DataFrame, twins: pd.DataFrame) -> Integers:
    """The table's rows that have a copy with another label: copies together, in its order."""
    place = pd.Series(np.arange(len(table)), index=table["index"])
    here = twins[twins["index"].isin(place.index)]
    rows = place[here["index"]].to_numpy(np.int64)
    group = here["group"].to_numpy()
    first = pd.Series(rows).groupby(group).transform("min")
    order = np.lexsort((rows, first.to_numpy()))
    return rows[order]


def rows_of(run: Run, part: pd.DataFrame, twins: pd.DataFrame) -> Content:
    """The columns of the page's rows; empty where nobody knows."""
    index = part["index"]
    manifest = run.manifest.loc[index]
    number = {name: k for k, name in enumerate(run.classes)}
    label = part["label"].map(number)
    suggested = part["suggested"].map(number).fillna(-1)
    trained_on = part["seen"] == "trained on"
    digests = manifest["digest"] if "digest" in manifest else ()
    rows: Content = {
        "index": index.tolist(),
        "split": manifest["split"].tolist(),
        "image": keys(run.manifest)[index].tolist(),
        "digest": [f"{digest:016x}" for digest in digests],
        "seen": trained_on.astype(int).tolist(),
        "label": label.tolist(),
        "suggested": suggested.astype(int).tolist(),
    }
    for name in ("suspect", "ambiguity", "sure"):
        values = part[name].astype(float).fillna(0)
        rows[name] = values.round(3).tolist()
    if len(twins):
        labels = twins.set_index("index")["labels"]
        rows["copies"] = index.map(labels).fillna("").tolist()
    return rows | known_of(run, manifest)


def known_of(run: Run, manifest: pd.DataFrame) -> Content:
    """What is known of the rows beyond their labels: votes, truth and kind; nothing else."""
    known: Content = {}
    votes = [f"votes_{name}" for name in run.classes]
    if set(votes) <= set(manifest):
        counts = manifest[votes].fillna(0)
        known["votes"] = counts.astype(int).to_numpy().tolist()
    if run.knows_truth:
        kinds = views.kinds(manifest, known=True)
        known["truth"] = manifest["true_label"].tolist()
        known["kind"] = kinds.astype(str).tolist()
    return known


def curves_of(run: Run, index: Integers) -> Content:
    """p_GT and p_NN of the samples over the epochs: (n, 2, E) bytes as base64, of 0..1."""
    epochs = np.array(views.epochs(run))
    if len(epochs) > CURVE:
        some = np.linspace(0, len(epochs) - 1, CURVE)
        epochs = epochs[some.astype(int)]
    values = np.zeros((len(index), 2, len(epochs)))
    place = pd.Series(np.arange(len(index)), index=index)
    for step, epoch in enumerate(epochs):
        scores = scores_at(run, epoch)
        here = scores.index.intersection(place.index)
        values[place[here], :, step] = scores.loc[here]
    whole = (values * 255).round().astype(np.uint8)
    return {"epochs": len(epochs), "bytes": pictures.as_text(whole.tobytes())}


def scores_at(run: Run, epoch: int) -> pd.DataFrame:
    """p_gt and p_nn of every sample in an epoch, by row of the manifest."""
    outside = run.predictions(epoch).set_index("index")
    label = run.manifest["label"].loc[outside.index].to_numpy(int)
    columns = [f"p_{name}" for name in run.classes]
    p_gt, p_nn = judges.on_the_plane(outside[columns].to_numpy(float), label)
    scores = pd.DataFrame({"p_gt": p_gt, "p_nn": p_nn}, index=outside.index)
    if not run.config.get("record", True):
        return scores
    inside = run.samples(epoch).set_index("index")
    return pd.concat([inside[["p_gt", "p_nn"]], scores])


def sheets_of(images: Images, index: Integers) -> list[str]:
    """The faces as sheets of 20 by 20, JPEG as data URLs, as large as there is room for."""
    native = max(images.shape[2:])
    sides = [side for side in SIDES if side <= native] or [native]
    for side in sides:
        sheets = []
        for start in range(0, len(index), COLUMNS**2):
            rows = index[start : start + COLUMNS**2]
            sheets.append(sheet(images, rows, side))
        room = ROOM * max(len(index), COLUMNS)
        if sum(map(len, sheets)) <= room:
            break
    return [f"data:image/jpeg;base64,{pictures.as_text(raw)}" for raw in sheets]


def sheet(images: Images, index: Integers, side: int) -> bytes:
    """Up to 400 faces in rows of 20, each ``side`` pixels, as a JPEG file."""
    whole = pictures.sheet(images, index, COLUMNS, side, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    whole.save(buffer, "jpeg", quality=88)
    return buffer.getvalue()


def storage_key(run: Run) -> str:
    """What the browser keeps decisions under: of this run, its labels and its images."""
    columns = run.manifest.filter(["label", "digest"])
    values = pd.util.hash_pandas_object(columns, index=False).to_numpy()
    text = f"{run.card.get('key')} {run.config['data']} {run.config['epochs']}".encode()
    return "nla-audit-" + hashlib.sha256(text + values.tobytes()).hexdigest()[:16]

"""A page to judge labels on: the suspect faces first, decisions by key, saved as csv.

:func:`write_page` makes one HTML file that needs no kernel and no network; in Jupyter the same
stands in :mod:`nla.analysis.audit_explorer`. Both draw what :func:`page_content` says, with
``audit_page.js``. The page holds the faces themselves: it is for those who may see them.
"""

import base64
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from nla.analysis import judges, views
from nla.analysis.figures import thumbnail
from nla.analysis.style import look_of
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


def write_page(
    run: Run, table: pd.DataFrame, path: str | Path, images: Images | None, faces: int = 2000
) -> Path:
    """Write the page for an audit's ``table`` (:func:`nla.analysis.audit.audit`) to ``path``.

    ``images``: row i is row i of the run's manifest; None: the page names files in place of faces.
    ``faces``: how many labels it shows; the rest is counted.
    """
    content = page_content(run, table, images, faces)
    script = (HERE / "audit_page.js").read_text(encoding="utf-8")
    page = (HERE / "audit_page.html").read_text(encoding="utf-8").replace("/*SCRIPT*/", script)
    data = json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    write(path, page.replace("/*DATA*/", data))
    return Path(path)


def page_content(
    run: Run, table: pd.DataFrame, images: Images | None = None, faces: int = 2000
) -> Content:
    """What the browser needs: ``rows`` (a list a column), ``tabs`` (orders of rows), ``sheets``.

    Of the ``faces`` shown a fifth at most are copies with different labels, a third the most
    ambiguous, the others the most suspect. What nobody knows is not in it (``run.knows_truth``).
    """
    twins = judges.copies(run)
    tabs = tabs_of(table, twins, faces)
    shown = np.unique(np.concatenate([rows for _, rows, _ in tabs]).astype(int))
    part = table.iloc[shown]
    place = pd.Series(np.arange(len(shown)), index=shown)
    index = part["index"].to_numpy(np.int64)
    sheets, side = sheets_of(images, index) if images is not None else ([], 0)
    palette, _ = look_of("class", run.classes)
    return {
        "key": storage_key(run),
        "title": run.name,
        "data": str(run.config["data"]),
        "shape": f"{run.card.get('channels', 3)}x{run.config['size']}",
        "classes": list(run.classes),
        "colours": [palette[name] for name in run.classes],
        "total": len(table),
        "tabs": [
            {"name": name, "order": place.loc[rows].tolist(), "total": total}
            for name, rows, total in tabs
        ],
        "rows": rows_of(run, part, twins),
        "epochs": int(run.config["epochs"]),
        "curves": curves_of(run, index),
        "sheets": sheets,
        "side": side,
        "columns": COLUMNS,
        "notes": list(table.attrs.get("notes", ())),
    }


Tab = tuple[str, npt.NDArray[np.int64], int]  # its name, rows of the table in order, of how many


def tabs_of(table: pd.DataFrame, twins: pd.DataFrame, faces: int) -> list[Tab]:
    """The tabs of the page, with as many rows as all of them together may show."""
    place = pd.Series(np.arange(len(table)), index=table["index"])
    here = twins[twins["index"].isin(place.index)]
    copies = place.loc[here["index"]].to_numpy(np.int64)
    first = pd.Series(copies).groupby(here["group"].to_numpy()).transform("min").to_numpy()
    copies = copies[np.lexsort((copies, first))]  # groups together, the most suspect first
    doubt = np.argsort(-table["ambiguity"].to_numpy(), kind="stable")
    if len(table) <= faces:
        return [
            ("suspect", np.arange(len(table)), len(table)),
            ("ambiguous", doubt, len(table)),
            ("copies", copies, len(copies)),
        ]
    some = copies[: faces // 5]
    unsure = doubt[: faces // 3]
    others = np.union1d(some, unsure)
    suspects = np.arange(len(table))
    new = ~np.isin(suspects, others)
    count = int(np.searchsorted(np.cumsum(new), faces - len(others), side="left")) + 1
    return [
        ("suspect", suspects[:count], len(table)),
        ("ambiguous", unsure, len(table)),
        ("copies", some, len(copies)),
    ]


def rows_of(run: Run, part: pd.DataFrame, twins: pd.DataFrame) -> Content:
    """The columns of the page's rows; empty where nobody knows."""
    index = part["index"]
    manifest = run.manifest.loc[index]
    numbers = {name: k for k, name in enumerate(run.classes)}
    names = keys(run.manifest).loc[index]
    digests = manifest.get("digest", pd.Series(dtype=object))
    rows: Content = {
        "index": index.tolist(),
        "image": names.tolist(),
        "digest": [f"{digest:016x}" for digest in digests],
        "split": manifest["split"].tolist(),
        "seen": (part["seen"] == "trained on").astype(int).tolist(),
        "label": part["label"].map(numbers).astype(int).tolist(),
        "suggested": part["suggested"].map(numbers).fillna(-1).astype(int).tolist(),
    }
    for name in ("suspect", "ambiguity", "p_gt", "sure"):
        rows[name] = part[name].astype(float).fillna(0).round(3).tolist()
    votes = [f"votes_{name}" for name in run.classes]
    if set(votes) <= set(manifest):
        rows["votes"] = manifest[votes].fillna(0).astype(int).to_numpy().tolist()
    if run.knows_truth:
        rows["truth"] = manifest["true_label"].astype(int).tolist()
        rows["kind"] = views.kinds(manifest, known=True).astype(str).tolist()
    if len(twins):
        labels = twins.set_index("index")["labels"]
        group = twins.set_index("index")["group"]
        rows["copies"] = index.map(labels).fillna("").tolist()
        rows["group"] = index.map(group).fillna(-1).astype(int).tolist()
    return rows


def curves_of(run: Run, index: npt.NDArray[np.int64]) -> Content:
    """p_GT and p_NN of the samples over the epochs: (n, 2, E) bytes as base64, of 0..1."""
    epochs = np.array(views.epochs(run))
    if len(epochs) > CURVE:
        epochs = epochs[np.linspace(0, len(epochs) - 1, CURVE).astype(int)]
    values = np.zeros((len(index), 2, len(epochs)))
    place = pd.Series(np.arange(len(index)), index=index)
    columns = [f"p_{name}" for name in run.classes]
    for step, epoch in enumerate(epochs):
        if run.config.get("record", True):
            samples = run.samples(epoch).set_index("index")
            here = samples.index.intersection(place.index)
            values[place[here], :, step] = samples.loc[here, ["p_gt", "p_nn"]]
        outside = run.predictions(epoch).set_index("index")
        here = outside.index.intersection(place.index)
        others = outside.loc[here, columns].to_numpy(float, copy=True)
        cells = np.arange(len(here)), run.manifest.loc[here, "label"].to_numpy()
        values[place[here], 0, step] = others[cells]
        others[cells] = 0
        values[place[here], 1, step] = others.max(axis=1, initial=0)
    whole = (values * 255).round().astype(np.uint8)
    return {"epochs": len(epochs), "bytes": base64.b64encode(whole.tobytes()).decode()}


def sheets_of(images: Images, index: npt.NDArray[np.int64]) -> tuple[list[str], int]:
    """The faces as sheets of 20 by 20, JPEG as data URLs, and the pixels of a face's side."""
    native = max(images.shape[2:])
    sides = [side for side in SIDES if side <= native] or [native]
    for side in sides:
        sheets = []
        for start in range(0, len(index), COLUMNS**2):
            sheets.append(sheet(images, index[start : start + COLUMNS**2], side))
        if sum(map(len, sheets)) <= ROOM * max(len(index), COLUMNS):
            break
    urls = [f"data:image/jpeg;base64,{base64.b64encode(raw).decode()}" for raw in sheets]
    return urls, side


def sheet(images: Images, index: npt.NDArray[np.int64], side: int) -> bytes:
    """Up to 400 faces in rows of 20, each ``side`` pixels, as a JPEG file."""
    whole = Image.new("RGB", (COLUMNS * side, -(-len(index) // COLUMNS) * side))
    for k, row in enumerate(index):
        face = Image.fromarray(thumbnail(images[int(row)]))
        if face.size != (side, side):
            face = face.resize((side, side), Image.Resampling.LANCZOS)
        whole.paste(face, (k % COLUMNS * side, k // COLUMNS * side))
    buffer = io.BytesIO()
    whole.save(buffer, "jpeg", quality=88)
    return buffer.getvalue()


def storage_key(run: Run) -> str:
    """What the browser keeps decisions under: of this run, its labels and its images."""
    columns = run.manifest.filter(["label", "digest"])
    values = pd.util.hash_pandas_object(columns, index=False).to_numpy()
    text = f"{run.card.get('key')} {run.config['data']} {run.config['epochs']}".encode()
    return "nla-audit-" + hashlib.sha256(text + values.tobytes()).hexdigest()[:16]

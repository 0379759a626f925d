"""The page of :mod:`nla.analysis.audit_page` as a widget for Jupyter: decide beside your code."""

import functools
from pathlib import Path
from typing import Any

import anywidget
import pandas as pd
import traitlets

from nla.analysis.audit import audit
from nla.analysis.audit_page import HERE, Content, page_content
from nla.analysis.pictures import figure_png
from nla.analysis.sheets import faces as drawn
from nla.analysis.widget import OWN
from nla.data.correction import COLUMNS, KEEP, RELABEL
from nla.files import write
from nla.training.loading import Images
from nla.training.record import Run, RunError

SHOWN = 24  # faces of the static twin
"""Where no kernel runs, so many suspects stand in the widget's place."""


class AuditExplorer(anywidget.AnyWidget):
    """Faces to decide on; what was decided is at hand as a table and can be saved."""

    _esm = HERE / "audit_page.js"
    content = traitlets.Dict().tag(sync=True)  # of page_content
    decisions = traitlets.Dict().tag(**OWN)  # {"<split> <image>": [decision, class]}

    def __init__(self, run: Run, table: pd.DataFrame, content: Content, images: Images | None):
        super().__init__(content=content)
        self.run, self.audited, self.images = run, table, images

    @property
    def table(self) -> pd.DataFrame:
        """The decisions, as ``nla data correct --decisions`` reads them."""
        content, rows = self.content, self.content["rows"]
        names = [f"{split} {image}" for split, image in zip(rows["split"], rows["image"])]
        made = []
        for place, name in enumerate(names):
            if name in self.decisions:
                decision, to = self.decisions[name]
                digest = rows["digest"][place] if rows["digest"] else ""
                label = content["classes"][rows["label"][place]]
                where = (content["data"], rows["split"][place], rows["image"][place])
                made.append((*where, digest, content["shape"], label, decision, to))
        columns = [*COLUMNS[:3], "digest", "shape", *COLUMNS[3:]]
        return pd.DataFrame(made, columns=columns)

    def decide(self, index: int, to: str) -> None:
        """Give the image in row ``index`` of the manifest the label ``to``, as a key would.

        Its own label is kept. RunError if the image is not among those shown, or the class unknown.
        """
        rows = self.content["rows"]
        if index not in rows["index"]:
            raise RunError(
                f"row {index} is none of the {len(rows['index'])} faces shown: ask for more"
            )
        if to not in self.content["classes"]:
            classes = ", ".join(self.content["classes"])
            raise RunError(f"no class is called {to!r}; there are {classes}")
        place = rows["index"].index(index)
        name = f"{rows['split'][place]} {rows['image'][place]}"
        own = self.content["classes"][rows["label"][place]]
        verdict = [KEEP, ""] if to == own else [RELABEL, to]
        self.decisions = {**self.decisions, name: verdict}

    def save(self, path: str | Path) -> Path:
        """Write :attr:`table` as csv."""
        write(path, self.table)
        return Path(path)

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        data, metadata = super()._repr_mimebundle_(**options) or ({}, {})
        return data | twin(self.run, self.audited, self.images), metadata


def audit_explorer(run: Run, images: Images | None = None, faces: int = 2000) -> AuditExplorer:
    """Judge a run's labels by key, the most suspect first; decisions stay in the browser too.

    ``images``: row i is row i of the run's manifest; ``faces``: labels shown, the rest is counted.
    ``.table`` holds what was decided, ``.save(path)`` writes it for ``nla data correct``.
    """
    table = audit(run)
    return AuditExplorer(run, table, page_content(run, table, images, faces), images)


def twin(run: Run, table: pd.DataFrame, images: Images | None) -> dict[str, str]:
    """The first suspects as a picture, where there are faces."""
    if images is None:
        return {}
    first = table.head(SHOWN)
    index = first["index"].to_numpy(copy=True)
    captions = first["label"] + first["suggested"].map(
        "\nor {}?".format, na_action="ignore"
    ).fillna("")
    draw = functools.partial(drawn, images[index], captions.tolist())
    return {"image/png": figure_png(draw, dpi=100)}

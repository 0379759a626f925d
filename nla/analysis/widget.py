"""The explorer as a Jupyter widget, and the picture that stands for it where no kernel runs.

A notebook keeps three outputs of an explorer: a style, the picture (its static twin), the widget.
While the widget lives, the style hides the picture; in a notebook that is opened again without its
kernel it hides the place where JupyterLab would say that there is no model, and the picture stays.
"""

from collections.abc import Callable, Sequence
from typing import Any

import anywidget
import ipywidgets
import pandas as pd
import traitlets
from IPython.display import display
from matplotlib.figure import Figure

from nla.analysis import page
from nla.analysis.pictures import Pictures, figure_png, image_url
from nla.analysis.scene import Scene
from nla.analysis.sheets import thumbnail
from nla.training.record import RunError

CARDS = 24  # faces a page of cards
Bundle = tuple[dict[str, Any], dict[str, Any]]
"""A cell's output by MIME type, and its metadata."""
OWN = {"sync": True, "echo_update": False}
"""Of what the browser sets: a late echo from the kernel would undo the next key."""
PLAIN = "An explorer: run this cell to move through it."
SWITCH = """<div class="nla-twin"></div><style>
.jp-OutputArea-child:has(.nla-twin) { display: none }
.jp-OutputArea-child:has(.nla-twin):has(+ * + * .nla) + * { display: none }
.jp-OutputArea-child:has(.nla-twin) + * + *:not(:has(.nla)) { display: none }
</style>"""


class Explorer(anywidget.AnyWidget):
    """n samples that move over S steps, with a slider, filters, and cards of those selected."""

    _esm = page.script()
    _css = page.style()
    content = traitlets.Dict().tag(sync=True)  # of the scene
    step = traitlets.Int(0).tag(**OWN)  # 0..S-1
    picked: traitlets.List[int] = traitlets.List().tag(**OWN)  # positions 0..n-1
    hidden = traitlets.Dict().tag(**OWN)  # codes of the groups filtered out, by kind and class
    wanted: traitlets.List[int] = traitlets.List().tag(**OWN)  # positions the browser shows
    faces = traitlets.Dict().tag(sync=True)  # their image URLs

    def __init__(
        self,
        scene: Scene,
        images: Pictures | None,
        twin: Callable[[], Figure],
        step: int = 0,
    ):
        self.images, self.twin = images, twin
        super().__init__(step=step)
        self.show(scene)

    def show(self, scene: Scene) -> None:
        """Show another scene in its place; what was selected stays where it is as large."""
        self.scene = scene
        self.wanted = []
        if len(scene.index) <= max(self.picked, default=-1):
            self.picked = []
        self.content = scene.content | {"pictured": self.images is not None}

    @property
    def selected(self) -> pd.DataFrame:
        """Those selected, as the filters show them, with their facts at the step shown.

        A row each, in the order of picking: index (row of the manifest), source (file or row),
        label, class, where known true_label, true_class and kind; epoch, and the scores of the
        explorer as recorded. ``explorer.selected.to_csv("selection.csv")`` saves it.
        """
        table = self.scene.samples(self.step).iloc[self.picked]
        off = table["label"].isin(self.hidden.get("class", []))
        if "kind" in table:
            names = [self.scene.content["kinds"][code] for code in self.hidden.get("kind", [])]
            off |= table["kind"].isin(names)
        return table[~off].reset_index(drop=True)

    def select(self, index: Sequence[int]) -> None:
        """Select samples by their rows of the manifest.

        RunError naming one that the explorer does not show: it may be of another split, or thinned
        out (``points``).
        """
        positions = {int(row): position for position, row in enumerate(self.scene.index)}
        for row in index:
            if int(row) not in positions:
                raise RunError(
                    f"sample {row} is not among the {len(positions):,} of this explorer: it is of "
                    "another split, or left out by points="
                )
        self.picked = [positions[int(row)] for row in index]

    @traitlets.observe("wanted")
    def _answer(self, _: object = None) -> None:
        if self.images is None:
            return
        faces = {}
        for position in self.wanted[:CARDS]:
            face = thumbnail(self.images[int(self.scene.index[position])])
            faces[str(position)] = image_url(face)
        self.faces = faces

    def _repr_mimebundle_(self, **options: Any) -> Bundle:
        data, metadata = super()._repr_mimebundle_(**options) or ({}, {})
        return data | {"image/png": figure_png(self.twin)}, metadata

    def _ipython_display_(self) -> None:
        show_with_twin(self._repr_mimebundle_()[0])


class Beside(ipywidgets.HBox):  # type: ignore[misc]  # ipywidgets has no types
    """Widgets side by side that bring a static twin along, as an explorer does."""

    def __init__(self, children: Sequence[ipywidgets.Widget], twin: Callable[[], Figure]):
        super().__init__(children)
        self.layout.flex_flow = "row wrap"
        self.twin = twin

    def _repr_mimebundle_(self, **options: Any) -> Bundle:
        data = super()._repr_mimebundle_(**options)
        return data | {"image/png": figure_png(self.twin)}, {}

    def _ipython_display_(self) -> None:
        show_with_twin(self._repr_mimebundle_()[0])


def show_with_twin(data: dict[str, Any]) -> None:
    """A style, the picture, and the widget, each an output of its own."""
    picture = data.pop("image/png")
    show = {"raw": True, "include": None}
    for bundle in (
        {"text/html": SWITCH, "text/plain": ""},
        {"image/png": picture, "text/plain": PLAIN},
        data | {"text/plain": PLAIN},
    ):
        display(bundle, **show)  # type: ignore[no-untyped-call]  # IPython's

"""The method as a drawing (the paper's framework figure)."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from nla.analysis.plane import draw_surface
from nla.analysis.style import TWO, figure_of
from nla.naw import NAW

BOXES = {
    "face": (0.9, 2, "face $x$\nlabel $y$"),
    "view": (3.1, 3, "augmented\nview"),
    "mirror": (3.1, 1, "its mirror\nimage"),
    "network": (5.2, 2, "network\n(shared)"),
    "p": (6.9, 3, "$p$"),
    "q": (6.9, 1, "$p'$"),
    "plane": (8.65, 3, " " * 18),
    "ce": (11.3, 3, "$(1 + w^*)\\,$CE$(p, y)$"),
    "jsd": (9.1, 1, "consistency\nJSD$(p, p')$"),
    "loss": (13.3, 2, "loss $L$"),
}
"""Place (of 14 x 4) and text of each box."""
ARROWS = (
    ("face", "view", ""),
    ("view", "mirror", ""),
    ("view", "network", ""),
    ("mirror", "network", ""),
    ("network", "p", ""),
    ("network", "q", ""),
    ("p", "plane", "$y$"),
    ("plane", "ce", "$w^*$"),
    ("q", "jsd", ""),
    ("p", "jsd", ""),
    ("ce", "loss", "$\\lambda$"),
    ("jsd", "loss", "$1-\\lambda$"),
)
"""From, to, and what stands at it."""


@figure_of
def framework(naw: NAW | None = None) -> Figure:
    """The method as a drawing: two views, one network, each sample's weight, and the loss."""
    figure = Figure(figsize=(TWO, 2.0))
    ax = figure.add_axes(
        (0, 0, 1, 1), xlim=(0, 14), ylim=(0, 4), frame_on=False, xticks=[], yticks=[]
    )
    boxes = {name: draw_box(ax, name) for name in BOXES}
    for start, end, label in ARROWS:
        draw_arrow(ax, boxes[start], boxes[end])
        (x, y), (x2, y2) = boxes[start].get_position(), boxes[end].get_position()
        height = 0.2 if end in ("plane", "ce") else -0.45
        ax.text((x + x2) / 2, (y + y2) / 2 + height, label, ha="center")
    plane = figure.add_axes((7.95 / 14, 0.58, 1.4 / 14, 0.35))
    draw_surface(plane, naw or NAW(), 1.0)
    plane.set(xticks=[], yticks=[], facecolor="none")
    ax.text(8.65, 2.05, "$p_{GT}$", ha="center", fontsize=7)
    ax.text(7.85, 3.6, "$p_{NN}$", ha="right", fontsize=7)
    return figure


def draw_box(ax: Axes, name: str) -> Text:
    """A framed text. The frame round the plane is not seen: arrows end at it."""
    x, y, text = BOXES[name]
    frame = {
        "boxstyle": "round,pad=0.6",
        "facecolor": "white",
        "edgecolor": "#222222",
        "linewidth": 0.8,
        "alpha": float(name != "plane"),
    }
    return ax.text(x, y, text, ha="center", va="center", bbox=frame)


def draw_arrow(ax: Axes, start: Text, end: Text) -> None:
    """An arrow between the edges of two boxes; from the plane, from the middle of its long side."""
    look = {
        "arrowstyle": "-|>",
        "color": "#555555",
        "linewidth": 0.8,
        "patchA": start.get_bbox_patch() if start.get_text().strip() else None,
        "patchB": end.get_bbox_patch(),
    }
    ax.annotate("", end.get_position(), start.get_position(), arrowprops=look)

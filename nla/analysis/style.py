"""The look of every figure: colours and markers, page sizes, legends, files that name their run.

Sizes are those of a two-column page: ONE and TWO columns wide, in inches.
"""

import functools
import inspect
import textwrap
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, ParamSpec

import matplotlib as mpl
import numpy.typing as npt
from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.lines import Line2D

from nla.data.manifest import EXPRESSIONS
from nla.files import atomic
from nla.training.record import Run, RunError

P = ParamSpec("P")
Look = tuple[dict[str, str], dict[str, str]]
"""Colour by name and marker by name."""
Layout = Literal["constrained", "compressed"]
AxesGrid = npt.NDArray[Any]

ONE, TWO = 3.35, 7.0
COLOURS = (
    "#04BEEF",
    "#701F6A",
    "#0F6511",
    "#F8BD13",
    "#1C128C",
    "#FF1D47",
    "#999999",
    "#2E200D",
)
OWN_COLOURS = (
    "#004EB1",
    "#EB763B",
    "#760014",
    "#00D8D8",
    "#8900FF",
    "#9D6276",
    "#9D9DFF",
    "#FFC49D",
)
"""Of classes with names of their own; none is a colour of an expression."""
PALETTE = dict(zip(EXPRESSIONS, COLOURS, strict=True))
"""One colour an expression, everywhere: apart for every kind of colour vision, and in grey."""
MARKERS = dict(zip(EXPRESSIONS, "o^svDP*X", strict=True))
KIND_PALETTE = {
    "clean": "#004488",
    "ambiguous": "#DDAA33",
    "noisy": "#BB5566",
}  # high-contrast scheme of Paul Tol
KIND_MARKERS = {"clean": "o", "ambiguous": "D", "noisy": "X"}
LONG_DASHES = (0, (5, 1, 1, 1))
METHODS: dict[str, dict[str, Any]] = {
    "cross-entropy": {"color": "#777777", "linestyle": "--", "marker": "o"},
    "NLA": {"color": "#C2410C", "linestyle": "-", "marker": "s"},
    "ReMa": {"color": "#1F6F8B", "linestyle": "-.", "marker": "^"},
    "ReMa-C": {"color": "#6A3D9A", "linestyle": ":", "marker": "D"},
    "LDAM-DRW": {"color": "#111111", "linestyle": LONG_DASHES, "marker": "v"},
    "MALT": {"color": "#304FF2", "linestyle": "-", "marker": "H"},
    "logit adjustment": {"color": "#8B1A1A", "linestyle": LONG_DASHES, "marker": "v"},
    "CE-DRW": {"color": "#5B7C99", "linestyle": "-.", "marker": "<"},
    "mixup-DRW": {"color": "#C0739B", "linestyle": ":", "marker": ">"},
    "ELR": {"color": "#D45FA8", "linestyle": "--", "marker": "d"},
    "GCE": {"color": "#009E73", "linestyle": "-.", "marker": "X"},
    "RUL": {"color": "#0072CE", "linestyle": LONG_DASHES, "marker": "p"},
    "CE on both views": {"color": "#4D4D4D", "linestyle": ":", "marker": "P"},
    "label smoothing": {"color": "#A6761D", "linestyle": "--", "marker": "<"},
    "focal": {"color": "#E0A100", "linestyle": ":", "marker": ">"},
    "class-balanced": {"color": "#7A9A01", "linestyle": "-.", "marker": "h"},
    "SCN": {"color": "#8C564B", "linestyle": ":", "marker": "*"},
    "EAC": {"color": "#9CB33B", "linestyle": LONG_DASHES, "marker": "8"},
}
"""How each method of the studies looks, in every figure: no two have both colour and marker."""
SPARE = ("#D62A7B", "#2CA9A1", "#3B5BDB", "#8A8A00", "#5C3317", "#00A5E0")
"""Colours of the lines that bear no method's name."""

CHINESE = (
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "Source Han Sans SC",
    "Microsoft YaHei",
    "PingFang SC",
    "Hiragino Sans GB",
    "SimHei",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "Arial Unicode MS",
)
"""Fonts that are asked, where installed, for characters that the usual one does not have."""


def style_here() -> mpl.RcParams:
    """The settings of style.mplstyle, and behind the usual font this machine's Chinese ones."""
    style = mpl.rc_params_from_file(
        Path(__file__).with_name("style.mplstyle"), use_default_template=False
    )
    here = set(fontManager.get_font_names())
    style["font.family"] = ["sans-serif", *(name for name in CHINESE if name in here)]
    return style


STYLE = style_here()


def look_of(by: str, classes: Sequence[str]) -> Look:
    """Colours and markers of the kinds (``by`` "kind") or, for any other ``by``, of the classes.

    Expressions look the same everywhere. The k-th name that is none has the k-th further colour;
    when the colours are used up they come again with other markers.
    """
    if by == "kind":
        return KIND_PALETTE, KIND_MARKERS
    own = (name for name in classes if name not in PALETTE)
    palette, markers, shapes = dict(PALETTE), dict(MARKERS), tuple(MARKERS.values())
    for k, name in enumerate(own):
        turn, place = divmod(k, len(OWN_COLOURS))
        palette[name] = OWN_COLOURS[place]
        markers[name] = shapes[(place + turn) % len(shapes)]
    return {name: palette[name] for name in classes}, {name: markers[name] for name in classes}


def grouping(run: Run, by: str | None) -> tuple[str, Look]:
    """What a run's samples are grouped by, "kind" or "class", and how the groups look.

    None is kind where it is known, else class. RunError for kinds that nobody knows.
    """
    by = by or ("kind" if run.knows_truth else "class")
    if by == "kind" and not run.knows_truth:
        raise RunError(f"{run.folder}: nobody knows which labels are wrong in this run")
    return by, look_of(by, run.classes)


def plain(text: str) -> str:
    """``text`` for matplotlib to show letter by letter: no formula in two $, no hidden _name."""
    text = text.replace("$", r"\$")
    return r"$\_$" + text[1:] if text.startswith("_") else text


def wrapped(text: str, width: int) -> str:
    """``text`` in lines of at most ``width`` letters, each shown letter by letter."""
    return "\n".join(plain(line) for line in textwrap.wrap(text, width))


def listed(runs: Run | Sequence[Run]) -> list[Run]:
    """A list of runs, of one too."""
    return [runs] if isinstance(runs, Run) else list(runs)


class Page(Figure):
    """A figure that says once which characters no font here has; they are drawn as boxes."""

    def draw(self, renderer: RendererBase) -> None:
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            super().draw(renderer)
        missing = set()
        for warning in heard:
            text = str(warning.message)
            if text.startswith("Glyph ") and "missing from" in text:
                missing.add(chr(int(text.split()[1])))
            else:
                warnings.warn_explicit(
                    warning.message, warning.category, warning.filename, warning.lineno
                )
        if missing:
            say_missing("".join(sorted(missing)))


@functools.cache  # once: Python's own record of what was said is lost with every change of filters
def say_missing(characters: str) -> None:
    warnings.warn(
        f"no font of this machine that the figures use has {characters}: boxes stand for them; "
        f"install one of {', '.join(CHINESE[:5])}, and empty matplotlib's font cache in "
        f"{mpl.get_cachedir()}",
        stacklevel=2,
    )


def figure_of(function: Callable[P, Figure]) -> Callable[P, Figure]:
    """The decorated function draws in the kit's style; matplotlib's own settings stay.

    TypeError where one that begins with a ``run`` or ``runs`` is given a folder in its place.
    """
    first = next(iter(inspect.signature(function).parameters), "")

    @functools.wraps(function)
    def styled(*args: P.args, **kwargs: P.kwargs) -> Figure:
        given = args[0] if args and first in ("run", "runs") else None
        for one in given if isinstance(given, list | tuple) else [given]:
            if isinstance(one, str | Path):
                raise TypeError(
                    f"{function.__name__} draws what was read, as by read_run(folder), got {one!r}"
                )
        with mpl.rc_context(STYLE):
            return function(*args, **kwargs)

    return styled


def new_figure(
    width: float,
    height: float,
    rows: int = 1,
    columns: int = 1,
    layout: Layout = "constrained",
    **options: Any,
) -> tuple[Figure, AxesGrid]:
    """A figure of width x height inches, unknown to pyplot, and its axes (rows, columns)."""
    figure = Page(figsize=(width, height), layout=layout)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def panels(
    count: int,
    panel: float | None,
    xlabel: str,
    ylabel: str,
    extra: float = 0.35,
    sharey: bool = True,
    sharex: bool = True,
) -> tuple[Figure, AxesGrid]:
    """``count`` panels of that height (None: square), four in a row.

    ``extra`` inches are for a legend and the like.
    """
    columns = min(count, 4)
    rows = -(-count // columns)
    width = TWO if count > 1 else ONE
    layout: Layout = "constrained" if panel else "compressed"
    height = panel or (width - 1.1) / columns + 0.3
    figure, axes = new_figure(
        width, rows * height + extra, rows, columns, layout, sharex=sharex, sharey=sharey
    )
    for k, ax in enumerate(axes.flat):
        lowest = k + columns >= count
        ax.set_visible(k < count)
        ax.set(xlabel=xlabel if lowest else "", ylabel="" if k % columns else ylabel)
        ax.tick_params(labelbottom=lowest)
    return figure, axes.flat[:count]


def legend_above(
    figure: Figure, look: Look, names: Sequence[str], title: str | None = None
) -> None:
    """One legend for all panels: eight names in a row, fewer where they are long."""
    palette, markers = look
    handles = []
    for name in names:
        handle = Line2D([], [], color=palette[name], marker=markers[name], linestyle="")
        handle.set(markersize=5, label=plain(name))
        handles.append(handle)
    lengths = [len(name) + 4 for name in names]  # with the marker and the space between
    across = 8 if sum(lengths[:8]) <= LEGEND else max(1, LEGEND // max(lengths))
    figure.legend(
        handles=handles,
        loc="outside upper center",
        ncols=across,
        title=title,
        handletextpad=0.1,
        columnspacing=1.2,
    )


LEGEND = 110  # characters that stand beside one another on TWO columns


def method_looks(names: Sequence[str]) -> list[dict[str, Any]]:
    """The look of each line: its method's own, else the next spare one.

    A second line of the same name is told apart by a spare look too.
    """
    looks: list[dict[str, Any]] = []
    shapes = tuple(MARKERS.values())
    used: set[str] = set()
    spare = 0
    for name in names:
        look = METHODS.get(name)
        if look is None or name in used:
            turn, place = divmod(spare, len(SPARE))
            marker = shapes[(place + turn) % len(shapes)]
            look = {"color": SPARE[place], "linestyle": "-", "marker": marker}
            spare += 1
        used.add(name)
        looks.append(look | {"markersize": 3.5})
    return looks


def save(
    figure: Figure,
    path: str | Path,
    runs: Run | Sequence[Run] = (),
    formats: Sequence[str] = ("pdf", "png"),
) -> list[Path]:
    """Write ``path``.pdf and .png, with the runs' config keys and seeds in the metadata."""
    facts = [
        f"{run.name}: config {run.card['key']}, seed {run.card['seed']}" for run in listed(runs)
    ]
    source = "; ".join(facts)
    metadata = {"pdf": {"Subject": source, "CreationDate": None}, "png": {"Description": source}}
    files = [Path(f"{path}.{suffix}") for suffix in formats]
    for file, suffix in zip(files, formats, strict=True):
        with mpl.rc_context(STYLE), atomic(file) as temporary:
            figure.savefig(temporary, format=suffix, dpi=300, metadata=metadata.get(suffix))
    return files

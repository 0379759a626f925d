"""The latent space's map at each step, drawn."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from nla.analysis import views
from nla.analysis.plane import draw_points
from nla.analysis.style import figure_of, legend_above, look_of, panels
from nla.data.manifest import class_names, knows_truth
from nla.training.record import RunError


@figure_of
def latent_steps(
    embedding: pd.DataFrame,
    by: str = "true_label",
    quality: pd.DataFrame | None = None,
    classes: Sequence[str] = (),
) -> Figure:
    """The map of :func:`nla.analysis.latents.umap_steps` at each step, in the same axes.

    These hold all steps after training began; a step before it that does not fit has a frame of its
    own, and says so. By kind, noisy samples lie on top and are larger.

    ``by`` is true_label, label or kind; where no true label is known, the given one stands for it,
    and the figure says so. ``classes`` are the run's, by default those the embedding tells of. With
    ``quality`` (of :func:`latents.quality`) each panel states how well the classes separate in the
    latent space itself. RunError for kinds that nobody knows.
    """
    known = knows_truth(embedding)
    if by == "kind" and not known:
        raise RunError("nobody knows which labels are wrong in the run of this embedding")
    assumed = by == "true_label" and not known
    classes = classes or class_names(embedding)
    look = look_of(by, classes)
    if by == "kind":
        names = views.kinds(embedding).astype(str)
    else:
        names = embedding["label" if assumed else by].map(dict(enumerate(classes)))
    steps = sorted(embedding["epoch"].unique())
    rows = -(-len(steps) // 4)
    extra = 0.6 + 0.26 * rows + 0.3 * assumed
    labels = ("UMAP 1 (a.u.)", "UMAP 2 (a.u.)")
    figure, axes = panels(len(steps), None, *labels, extra, sharex=False, sharey=False)
    trained = embedding[embedding["epoch"] > 0]
    common = frame_of(embedding if trained.empty else trained)
    raised = "noisy" if by == "kind" else ""
    for ax, step in zip(axes, steps, strict=True):
        part = embedding[embedding["epoch"] == step]
        draw_points(ax, part["x"], part["y"], names[part.index], look, 8, raised)
        frame = common if holds(common, part) else frame_of(part)
        title = "before training" if step == 0 else f"after epoch {step}"
        if frame != common:
            title += " (own frame)"
        if quality is not None:
            row = quality.set_index("epoch").loc[step, ["purity", "silhouette"]].dropna()
            title = "\n".join([title, *(f"{name} {value:.2f}" for name, value in row.items())])
        ax.set(title=title, xticks=[], yticks=[], box_aspect=1, **frame)
    occurring = [name for name in look[0] if (names == name).any()]
    legend_above(figure, look, occurring, "label" if assumed else None)
    return figure


Frame = dict[str, tuple[float, float]]
"""Limits of both axes."""


def frame_of(part: pd.DataFrame) -> Frame:
    """Limits that hold all points, with a margin."""
    frame = {}
    for name in ("x", "y"):
        low = part[name].min()
        high = part[name].max()
        margin = 0.04 * (high - low)
        frame[f"{name}lim"] = (float(low - margin), float(high + margin))
    return frame


def holds(frame: Frame, part: pd.DataFrame) -> bool:
    """Whether no point lies beyond the limits."""
    return all(part[name].between(*frame[f"{name}lim"]).all() for name in ("x", "y"))

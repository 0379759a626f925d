"""What other parameters of NAW would weigh in a run: sliders, the surface, a table by group."""

import functools

import ipywidgets
import pandas as pd
from IPython.display import display

from nla.analysis import views
from nla.analysis.pictures import Pictures
from nla.analysis.plane import naw_of, weight_surfaces
from nla.analysis.scenes import plane_scene
from nla.analysis.widget import Beside, Explorer
from nla.naw import NAW
from nla.training.record import Run

LIMITS = {  # of the sliders: lowest, highest, step
    "mu": (0.0, 1.0, 0.01),
    "std": (0.1, 2.0, 0.01),
    "ratio": (1.0, 10.0, 0.1),
    "slope": (-40.0, 0.0, 0.5),
}


def parameter_explorer(run: Run, images: Pictures | None = None, points: int = 4000) -> Beside:
    """What other parameters of NAW would weigh in this run: the surface, and a table by kind.

    The table holds each kind's w* and share of the loss, or each class's where nobody knows the
    kinds. The run's scores are as recorded; training with other parameters would have led
    elsewhere. RunError where the samples were not recorded.
    """
    start, total, last = naw_of(run), run.config["epochs"], views.epochs(run)[-1]
    twin = functools.partial(weight_surfaces, start)
    plane = Explorer(plane_scene(run, [last], points), images, twin)
    plane.layout.flex = "1 1 480px"
    plane.layout.min_width = "0"
    by = "kind" if run.knows_truth else "class"

    def redraw(**values: float) -> pd.DataFrame:
        epoch, lam = int(values.pop("epoch")), values.pop("lambda")
        naw = naw_from(values)
        plane.show(plane_scene(run, [epoch], points, naw))
        samples = run.samples(epoch)
        groups = views.groups(run, samples, by)
        weighed = views.reweighted(samples, naw, epoch / total, lam, groups)
        display(weighed.style.format(precision=3))  # type: ignore[no-untyped-call]  # IPython's
        return weighed

    sliders = {
        "epoch": ipywidgets.IntSlider(last, 0, last),
        "lambda": ipywidgets.FloatSlider(run.config["lam"], min=0, max=1, step=0.05),
        **naw_sliders(start),
    }
    controls = ipywidgets.interactive(redraw, **sliders)
    controls.layout.flex = "0 1 350px"
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

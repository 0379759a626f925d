"""Everything the kit shows, drawn from run folders at once: what ``nla figures`` writes."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from tqdm import tqdm

from nla.analysis import explore, figures, latents, tables
from nla.analysis.plane import naw_of
from nla.training.record import Run, RunError

PUBLISHED = Path("data/published_results.csv")
STUDIES = Path("figures")  # folder of the studies' tables, noise.csv and the like
AXES = {"noise": "noise", "imbalance": "imbalance", "ablation": "method"}
"""What each study varies."""
OF_STUDIES: dict[str, tuple[str, Callable[[pd.DataFrame], Figure]]] = {
    "both": ("both", partial(figures.accuracy_where_both, metric="overall")),
    "both_mean": ("both", figures.accuracy_where_both),
    "judges": ("judges", figures.ranking),
    "mending": ("mending", figures.pays),
}
"""By figure: a study whose table has columns of its own, and what draws that table."""
DATASETS = ("RAF-DB", "FERPlus", "AffectNet-7", "AffectNet-8")
Drawings = dict[str, Callable[[], Figure]]
"""What draws each figure, by the name of its file."""


def draw_all(
    runs: Sequence[Run],
    folder: str | Path,
    results: str | Path | None = None,
    html: bool = False,
    images: Any = None,
    published: str | Path = PUBLISHED,
) -> list[Path]:
    """Write every figure and table to ``folder`` and return the files.

    The last run is the one looked into. ``results`` is a csv with a row a run, for accuracy against
    noise and imbalance and the ablation (its columns: :func:`figures.accuracy_against`); by default
    the tables of the kit's own studies, where ``figures/`` has them. ``html``
    adds the explorer as a page. ``images`` (row i of the last run's manifest is image i) adds
    faces. What a run has no data for is left out, and the reason printed.
    """
    run, folder = runs[-1], Path(folder)
    drawings = drawings_of(runs)
    if images is not None:
        drawings["faces"] = partial(figures.face_sheet, images, run.manifest, classes=run.classes)
    files = draw(drawings, folder, runs)
    files += draw(drawings_of_studies(results), folder, ())
    if Path(published).is_file():
        for dataset in DATASETS:
            table = tables.comparison(published, dataset)
            files += tables.write_comparison(table, folder / f"comparison_{dataset.lower()}")
    if html:
        files.append(explore.naw_html(run, folder / "naw_explorer.html", images))
    return files


def draw(drawings: Drawings, folder: Path, runs: Sequence[Run]) -> list[Path]:
    """Draw and save; a figure that there is no data for is left out, and the reason printed."""
    files: list[Path] = []
    with tqdm(drawings.items(), unit="figure", leave=False) as bar:
        for name, drawing in bar:
            bar.set_postfix_str(name)
            try:
                files += figures.save(drawing(), folder / name, runs)
            except RunError as error:
                bar.write(f"no {name}: {error}")
    return files


def drawings_of(runs: Sequence[Run]) -> Drawings:
    """The figures that runs alone give; those of one run are of the last."""
    run = runs[-1]
    naw = naw_of(run)
    return {
        "framework": partial(figures.framework, naw),
        "weight_surfaces": partial(figures.weight_surfaces, naw),
        "plane": partial(figures.planes, run, [-1]),
        "planes": partial(figures.planes, run),
        "weights_by_class": partial(figures.weights_over_epochs, run, "class"),
        "weights_by_kind": partial(figures.weights_of_kinds, run),
        "paths": partial(figures.paths, run),
        "training_curves": partial(figures.training_curves, runs),
        "agreement": partial(figures.agreement, runs),
        "per_class_accuracy": partial(figures.per_class_accuracy, runs),
        "confusion_counts": partial(figures.confusion_matrices, run),
        "confusion": partial(figures.confusion_matrices, runs[-2:]),
        "latents": partial(draw_latents, run),
    }


def draw_latents(run: Run) -> Figure:
    """The latent map of a run with its numbers."""
    embedding = latents.umap_steps(run)
    quality = latents.quality(run, embedding)
    return figures.latent_steps(embedding, quality=quality, classes=run.classes)


def drawings_of_studies(results: str | Path | None = None) -> Drawings:
    """Accuracy against noise, imbalance and method, overall and mean, from studies' tables.

    All three from the one csv ``results``; by default each from the kit's study of that name, and
    then those where both are imposed, of the judges of labels and of what mending gives as well.
    """
    drawings: Drawings = {}
    for name, x in AXES.items():
        file = STUDIES / f"{name}.csv" if results is None else Path(results)
        if results is not None or file.is_file():
            table = pd.read_csv(file)
            drawings[name] = partial(figures.accuracy_against, table, x)
            drawings[f"{name}_mean"] = partial(figures.accuracy_against, table, x, "mean")
    for name, (study, drawing) in OF_STUDIES.items():
        file = STUDIES / f"{study}.csv"
        if results is None and file.is_file():
            drawings[name] = partial(drawing, pd.read_csv(file))
    return drawings

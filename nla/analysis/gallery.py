"""Everything the kit shows, drawn from run folders at once: what ``nla figures`` writes."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from nla.analysis import explore, figures, latents, tables
from nla.training.record import Run, RunError

PUBLISHED = Path("data/published_results.csv")
DATASETS = ("RAF-DB", "FERPlus", "AffectNet-7", "AffectNet-8")


def draw_all(
    runs: Sequence[Run],
    folder: str | Path,
    results: str | Path | None = None,
    html: bool = False,
    images=None,
    published: str | Path = PUBLISHED,
) -> list[Path]:
    """Write every figure and table to ``folder`` and return the files; the last run is the one looked into.

    ``results`` is a csv with a row a run, for accuracy against noise and imbalance and the ablation (its columns:
    :func:`figures.accuracy_against`). ``html`` adds the explorer as a page. ``images`` (row i of the last run's
    manifest is image i) adds faces. What a run has no data for is left out, and the reason printed.
    """
    run, folder = runs[-1], Path(folder)
    drawings = {
        "framework": lambda: figures.framework(figures.naw_of(run)),
        "weight_surfaces": lambda: figures.weight_surfaces(figures.naw_of(run)),
        "plane": lambda: figures.planes(run, [-1]),
        "planes": lambda: figures.planes(run),
        "weights_by_class": lambda: figures.weights_over_epochs(run, "class"),
        "weights_by_kind": lambda: figures.weights_over_epochs(run, "kind"),
        "training_curves": lambda: figures.training_curves(runs),
        "agreement": lambda: figures.agreement(runs),
        "per_class_accuracy": lambda: figures.per_class_accuracy(runs),
        "confusion_counts": lambda: figures.confusion_matrices(run),
        "confusion": lambda: figures.confusion_matrices(runs[-2:]),
        "latents": lambda: figures.latent_steps(
            embedding := latents.umap_steps(run), quality=latents.quality(run, embedding)
        ),
    }
    if results is not None:
        measured = pd.read_csv(results)
        drawings |= {
            name: lambda x=x: figures.accuracy_against(measured, x)
            for name, x in (("noise", "noise"), ("imbalance", "imbalance"), ("ablation", "method"))
        }
    if images is not None:
        drawings["faces"] = lambda: figures.face_sheet(images, run.manifest)
    files = []
    for name, draw in (bar := tqdm(drawings.items(), unit="figure", leave=False)):
        bar.set_postfix_str(name)
        try:
            files += figures.save(draw(), folder / name, runs)
        except RunError as error:
            bar.write(f"no {name}: {error}")
    for dataset in DATASETS if Path(published).is_file() else ():
        table = tables.comparison(published, dataset)
        files += tables.write_comparison(table, folder / f"comparison_{dataset.lower()}")
    return [
        *files,
        *([explore.naw_html(run, folder / "naw_explorer.html", images)] if html else []),
    ]

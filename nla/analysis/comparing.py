"""Several runs side by side: what each is called, which are seeds of one, which saw other tests."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pandas as pd

from nla.training.record import Run

OF_ONE_RUN = ("seed", "root", "cache")  # fields in which the seeds of one run may differ


def display_names(runs: Sequence[Run]) -> list[str]:
    """The runs' names; where several runs have one name, with what tells them apart.

    That is their classes if these differ, and else their folders.
    """
    names = [with_classes(run, runs) for run in runs]
    bearers = Counter(name for name, _ in {(n, run.folder) for n, run in zip(names, runs)})
    folders = {run.folder for run in runs}
    short = len({folder.name for folder in folders}) == len(folders)
    result = []
    for run, name in zip(runs, names, strict=True):
        place = run.folder.name if short else run.folder
        alone = bearers[name] == 1
        result.append(name if alone else f"{name} ({place})")
    return result


def with_classes(run: Run, runs: Sequence[Run]) -> str:
    """The name of a run, with its classes, or their number, if another of that name has others."""
    sets = {other.classes for other in runs if other.name == run.name}
    sizes = {len(classes) for classes in sets}
    if len(sets) == 1:
        return run.name
    if len(sizes) == len(sets):
        return f"{run.name} ({len(run.classes)} classes)"
    return f"{run.name} ({', '.join(run.classes)})"


def seeds_of_one(run: Run, other: Run) -> bool:
    """Whether two runs have one config but for the seed, and the same data: test and truths."""
    if recipe(run) != recipe(other) or run.classes != other.classes:
        return False
    images = image_keys(run, other)
    facts = [*images, "true_label"]
    test, its = (one.manifest.query("split == 'test'")[facts] for one in (run, other))
    alike = test.reset_index(drop=True).equals(its.reset_index(drop=True))
    if not images or not alike:
        return alike
    known = run.manifest[facts].drop_duplicates(images, keep=False)
    theirs = other.manifest[facts].drop_duplicates(images, keep=False)
    both = known.merge(theirs, on=images)
    return bool((both["true_label_x"] == both["true_label_y"]).all())


def recipe(run: Run) -> dict[str, Any]:
    """The config of a run without what its seeds may differ in."""
    return {name: value for name, value in run.config.items() if name not in OF_ONE_RUN}


def other_tests(runs: Sequence[Run]) -> list[str]:
    """Notes on runs that were scored on other test images, or on other truths, than the first."""
    names = display_names(runs)
    notes = []
    for run, name in zip(runs[1:], names[1:], strict=True):
        images = image_keys(runs[0], run)
        if not images:  # runs that say of no image which it is
            continue
        first, its = tests_of(runs[0], images), tests_of(run, images)
        both = first.merge(its, on=images)
        judged = int((both["truth_x"] != both["truth_y"]).sum())
        if not len(first) == len(its) == len(both):
            notes.append(
                f"{name} and {names[0]} were scored on different test images, {len(its)} and "
                f"{len(first)}, of which {len(both)} are common: their accuracies do not compare"
            )
        if judged:
            notes.append(f"{judged} test images of {name} have another true label in {names[0]}")
    return notes


def tests_of(run: Run, images: list[str]) -> pd.DataFrame:
    """The test images of a run, by the columns ``images``, each once, and the name of its truth."""
    class_of = dict(enumerate(run.classes))
    known = run.manifest.assign(truth=run.manifest["true_label"].map(class_of))
    test = known[known["split"] == "test"]
    return test[[*images, "truth"]].drop_duplicates(images)


def image_keys(run: Run, other: Run) -> list[str]:
    """The columns by which two runs' images are known: their pixels, else their files' names."""
    shared = [str(name) for name in run.manifest if name in other.manifest]
    same_size = run.config.get("size") == other.config.get("size")
    if "digest" in shared and same_size:
        return ["digest"]
    return [name for name in shared if name in ("path", "row") or name.startswith("box_")]

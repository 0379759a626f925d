"""Several runs side by side: what each is called, which are seeds of one, which saw other tests."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from nla.training.record import Run

OF_ONE_RUN = ("seed", "root", "cache")  # fields in which the seeds of one run may differ


def display_names(runs: Sequence[Run]) -> list[str]:
    """The runs' names; where several runs have one name, with what tells them apart.

    That is their classes if these differ, and else their folders.
    """
    table = pd.DataFrame({"folder": [run.folder for run in runs]})
    table["name"] = [with_classes(run, runs) for run in runs]
    table["short"] = [run.folder.name for run in runs]
    by_short = table.groupby("short")["folder"]
    by_name = table.groupby("name")["folder"]
    ambiguous = by_short.nunique().max() > 1
    place = table["folder"].astype(str) if ambiguous else table["short"]
    several = by_name.transform("nunique") > 1
    longer = table["name"] + " (" + place + ")"
    return table["name"].mask(several, longer).tolist()


def with_classes(run: Run, runs: Sequence[Run]) -> str:
    """The name of a run, with its classes, or their number, if another of that name has others."""
    namesakes = [other for other in runs if other.name == run.name]
    sets = {other.classes for other in namesakes}
    sizes = {len(classes) for classes in sets}
    if len(sets) == 1:
        return run.name
    if len(sizes) == len(sets):
        return f"{run.name} ({len(run.classes)} classes)"
    return f"{run.name} ({', '.join(run.classes)})"


def seeds_of_one(run: Run, other: Run) -> bool:
    """Whether two runs have one config but for the seed, and the same data: test and truths."""
    if recipe(run) != recipe(other):
        return False
    if run.classes != other.classes:
        return False
    images = image_keys(run, other)
    facts = [*images, "true_label"]
    first, second = run.manifest, other.manifest
    tests = first[first["split"] == "test"][facts]
    others = second[second["split"] == "test"][facts]
    alike = tests.reset_index(drop=True).equals(others.reset_index(drop=True))
    if not images or not alike:
        return alike
    known = first[facts].drop_duplicates(images, keep=False)
    theirs = second[facts].drop_duplicates(images, keep=False)
    both = known.merge(theirs, on=images)
    same = both["true_label_x"] == both["true_label_y"]
    return bool(same.all())


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
        first = tests_of(runs[0], images)
        its = tests_of(run, images)
        both = first.merge(its, on=images)
        differ = both["truth_x"] != both["truth_y"]
        judged = int(differ.sum())
        same = len(first) == len(its) == len(both)
        if not same:
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
    truth = run.manifest["true_label"].map(class_of)
    known = run.manifest.assign(truth=truth)
    test = known[known["split"] == "test"]
    return test[[*images, "truth"]].drop_duplicates(images)


def image_keys(run: Run, other: Run) -> list[str]:
    """The columns by which two runs' images are known: their pixels, else their files' names."""
    shared = run.manifest.columns.intersection(other.manifest.columns, sort=False)
    same_size = run.config.get("size") == other.config.get("size")
    if "digest" in shared and same_size:
        return ["digest"]
    return [name for name in shared if name in ("path", "row") or name.startswith("box_")]

"""Several runs side by side: what each is called, which are seeds of one, which saw other tests."""

from collections.abc import Sequence

import numpy as np

from nla.training.record import Run

OF_ONE_RUN = ("seed", "root", "cache")  # fields in which the seeds of one run may differ


def display_names(runs: Sequence[Run]) -> list[str]:
    """The runs' names; where several runs have one name, with what tells them apart.

    That is their classes if these differ, and else their folders.
    """
    names = []
    for run in runs:
        sets = {other.classes for other in runs if other.name == run.name}
        sizes = {len(classes) for classes in sets}
        if len(sets) == 1:
            names.append(run.name)
        elif len(sizes) == len(sets):
            names.append(f"{run.name} ({len(run.classes)} classes)")
        else:
            names.append(f"{run.name} ({', '.join(run.classes)})")
    folders = {run.folder for run in runs}
    short = len({folder.name for folder in folders}) == len(folders)
    result = []
    for run, name in zip(runs, names, strict=True):
        bearers = {other.folder for other, said in zip(runs, names, strict=True) if said == name}
        place = run.folder.name if short else run.folder
        result.append(name if len(bearers) == 1 else f"{name} ({place})")
    return result


def seeds_of_one(run: Run, other: Run) -> bool:
    """Whether two runs have one config but for the seed, and the same data: test and truths."""
    recipes = []
    for one in (run, other):
        recipes.append({name: x for name, x in one.config.items() if name not in OF_ONE_RUN})
    if recipes[0] != recipes[1] or run.classes != other.classes:
        return False
    images = image_keys(run, other)
    facts = [*images, "true_label"]
    tests = [one.manifest.query("split == 'test'")[facts] for one in (run, other)]
    alike = np.array_equal(tests[0].to_numpy(), tests[1].to_numpy())
    if not images or not alike:
        return alike
    known = [one.manifest[facts].drop_duplicates(images, keep=False) for one in (run, other)]
    both = known[0].merge(known[1], on=images)
    return bool((both["true_label_x"] == both["true_label_y"]).all())


def other_tests(runs: Sequence[Run]) -> list[str]:
    """Notes on runs that were scored on other test images, or on other truths, than the first."""
    names = display_names(runs)
    notes = []
    for run, name in zip(runs[1:], names[1:], strict=True):
        images = image_keys(runs[0], run)
        if not images:  # runs that say of no image which it is
            continue
        facts = []
        for one in (runs[0], run):
            truth = one.manifest["true_label"].map(dict(enumerate(one.classes)))
            test = one.manifest["split"] == "test"
            facts.append(one.manifest.assign(truth=truth)[test][[*images, "truth"]])
        first, its = (table.drop_duplicates(images) for table in facts)
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


def image_keys(run: Run, other: Run) -> list[str]:
    """The columns by which two runs' images are known: their pixels, else their files' names."""
    shared = [str(name) for name in run.manifest if name in other.manifest]
    if "digest" in shared and run.config.get("size") == other.config.get("size"):
        return ["digest"]
    return [name for name in shared if name in ("path", "row") or name.startswith("box_")]

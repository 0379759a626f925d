"""From a file of weights to a model that is ready to look, and what was assumed on the way."""

import contextlib
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from safetensors import safe_open

from nla import models
from nla.data.affectnet import AFFECTNET
from nla.data.ferplus import FER2013, FERPLUS
from nla.data.images import Augmentation
from nla.data.manifest import EXPRESSIONS
from nla.face_resnet import SIZE
from nla.methods import build
from nla.training.config import PAPERS_VALUES, VALUES, Architecture, Config
from nla.training.processes import fast_in_bf16
from nla.training.record import Run, RunError, read_run
from nla.weights import WeightsError, load_weights

Values = tuple[float, float, float]  # one for each colour

RUN_FILES = ("model.safetensors", "best.safetensors")  # of a run folder
# pixels of the images that a network is taken to know
SIZES = {"small_resnet": 48, "face_resnet": SIZE}
PAPER_SIZE = 224  # that the others are taken to know
LARGEST = 4096  # pixels that a file may say of itself
ORDERS = {
    "rafdb": EXPRESSIONS,
    "affectnet": AFFECTNET[: len(EXPRESSIONS)],
    "ferplus": FERPLUS,
    "fer2013": FER2013,
}
"""The orders in which data sets number the expressions; a model of seven has the first seven.

``alphabetical``, as folders are listed, is one more (:func:`named_order`).
"""


class Opened(NamedTuple):
    """A model that is ready to look, and what was assumed to open it, in sentences."""

    model: models.Classifier  # in evaluation mode, on the CPU
    config: Config  # its size and normalisation
    classes: tuple[str, ...]  # the names of its outputs
    notes: list[str]
    label_counts: tuple[int, ...] | None = None  # of training, of each class, where known
    taken_out: float = 0.0  # how much of their logarithm the loss took out of the logits


def restore(run: Run, best: bool = False) -> tuple[models.Classifier, Config]:
    """The model of a finished run, on the CPU, and its config.

    Its last, or its ``best`` on validation.
    """
    config = dataclasses.replace(Config.parse(run.config), weights="", device="cpu")
    model = getattr(models, config.model)(len(run.classes), run.card["channels"])
    train = run.manifest["split"] == "train"
    labels = torch.tensor(run.manifest["label"].to_numpy()[train.to_numpy()])
    build(config.loss).attach(model, labels)  # some methods change how the classifier computes
    file = run.folder / RUN_FILES[best]
    if not file.is_file():
        reason = "it had no validation split" if best and run.best_epoch is None else "removed"
        raise RunError(f"{run.folder} has no {file.name} ({reason}): train the run anew to have it")
    load_weights(model, file)
    return model.eval(), config


def open_model(
    weights: str | Path,
    size: int | None = None,
    order: str | Sequence[str] = (),
    mean: Values | None = None,
    std: Values | None = None,
) -> Opened:
    """The model of a weights file, its normalisation and the names of its outputs.

    A file of a run folder (or the folder) is opened as that run, method's head included; options
    that contradict it are refused. Of another's model ``size`` is the height and width of its
    images in pixels, ``mean`` and ``std`` normalise them (on the scale 0..1), and ``order`` names
    its outputs: a key of ``ORDERS``, ``alphabetical``, or the names themselves. Outputs that are
    the kit's classes in another order are put into the kit's. What is not given is assumed, and
    said in ``notes``. WeightsError if the file cannot be read or the order does not fit it;
    RunError for a run that has not finished, or is contradicted.
    """
    path = Path(weights)
    if (path / "config.json").is_file():
        path = path / RUN_FILES[0]
    given = {"size": size, "order": order or None, "mean": mean, "std": std}
    if path.name in RUN_FILES and (path.parent / "config.json").is_file():
        return open_run(path, given)
    return open_foreign(path, given)


def open_run(path: Path, given: dict[str, Any]) -> Opened:
    """The model of a run folder's file; RunError if an option is at odds with the run."""
    run = read_run(path.parent)
    model, config = restore(run, best=path.name == RUN_FILES[1])
    facts = {
        "size": config.size,
        "order": run.classes,
        "mean": config.augmentation.mean,
        "std": config.augmentation.std,
    }
    for name, value in given.items():
        if value is None:
            continue
        if name == "order":
            value = named_order(value, len(run.classes), path)
        elif name != "size":
            value = tuple(value)
        if value != facts[name]:
            raise RunError(
                f"{path} is of a run with {name} {facts[name]}, and {name} {value} contradicts "
                "it: leave that option out"
            )
    notes = [f"{path} is opened as the run beside it: {run.name}, {config.size} pixels"]
    if config.precision == "bf16" and not fast_in_bf16(torch.device(config.device)):
        notes.append("it was trained in bf16, which this processor is slow at: float32 is used")
    if run.taken_out == 1:
        notes.append("its loss adjusts logits: it answers as if all classes were equally common")
    elif run.taken_out:
        notes.append(f"its loss adjusts logits, by {run.taken_out:g} times the log of class sizes")
    counts = tuple(run.label_counts.tolist())
    return Opened(model, config, run.classes, notes, counts, run.taken_out)


def open_foreign(path: Path, given: dict[str, Any]) -> Opened:
    """A model of which nothing but its tensors is known, and notes of what is assumed of it.

    What a file that was exported says of itself is taken where nothing else is given.
    """
    model, report = models.model_from(path)
    notes = [f"{path}: {text}" for text in report.adapted]
    count, kind = model.fc.out_features, cast(Architecture, model.kind)
    stated = {name: value for name, value in facts_in(path, count).items() if given[name] is None}
    if stated:
        notes.append(f"{path} says itself what its {', '.join(stated)} are")
    given = given | stated
    order = given["order"]
    if order is None and count not in (7, 8):
        raise WeightsError(
            f"{path} has {count} outputs, and nothing says what they are: name them with order"
        )
    if order is None:
        order = "rafdb"
        notes.append(
            "the order of the outputs is not known; assumed is the kit's (rafdb): "
            f"{', '.join(EXPRESSIONS[:count])}"
        )
    classes = named_order(order, count, path)
    canonical = EXPRESSIONS[:count]
    if set(classes) == set(canonical) and classes != canonical:
        reorder(model, [classes.index(name) for name in canonical])
        classes = canonical
        notes.append(f"the outputs were put into the kit's order: {', '.join(canonical)}")
    size = given["size"]
    if size is None:
        size = SIZES.get(kind, PAPER_SIZE)
        notes.append(f"the size of its images is not known; assumed are {size} pixels ({kind})")
    whose = "its network's own" if kind in VALUES else "the paper's"
    values = {}
    for name, known in zip(("mean", "std"), VALUES.get(kind, PAPERS_VALUES), strict=True):
        values[name] = three(given[name] or known, name)
        if given[name] is None:
            said = ", ".join(map(str, values[name]))
            notes.append(f"the {name} of its images is not known; assumed is {whose}, {said}")
    augmentation = Augmentation(mean=values["mean"], std=values["std"])
    config = Config(model=kind, size=size, augmentation=augmentation, device="cpu")
    return Opened(model, config, classes, notes)


def facts_in(path: Path, count: int) -> dict[str, Any]:
    """What the header of an exported model (.safetensors) says: size, order, mean and std.

    Only what can be such a fact of a model with ``count`` outputs: others write headers too.
    """
    if path.suffix != ".safetensors":
        return {}
    with safe_open(path, "pt") as file:
        header = file.metadata() or {}
    written: dict[str, Any] = {}
    for name in ("size", "classes", "mean", "std"):
        with contextlib.suppress(ValueError):
            written[name] = json.loads(header.get(name, "null"))
    size, names = written.get("size"), written.get("classes")
    facts: dict[str, Any] = {}
    if isinstance(size, int) and 1 <= size <= LARGEST:
        facts["size"] = size
    with contextlib.suppress(WeightsError):
        if isinstance(names, list):
            facts["order"] = named_order([*map(str, names)], count, path)
    for name in ("mean", "std"):
        with contextlib.suppress(ValueError, TypeError, KeyError):
            facts[name] = three(written[name], name)
    return facts


def named_order(order: str | Sequence[str], count: int, path: Path) -> tuple[str, ...]:
    """The names of ``count`` outputs in a known order, or as given; WeightsError if not so many."""
    if order == "alphabetical":
        return tuple(sorted(EXPRESSIONS[:count]))
    if isinstance(order, str):
        if order not in ORDERS:
            raise WeightsError(
                f"no order is called {order!r}; there are {', '.join(ORDERS)} and alphabetical, "
                "or give the names of the outputs"
            )
        known = ORDERS[order]
        names = known[:count]
        if count not in (7, len(known)):
            raise WeightsError(
                f"{path} has {count} outputs, and {order} numbers {len(known)} expressions (or the "
                "first 7): give the names of the outputs"
            )
        return names
    names = tuple(order)
    if len(names) != count or len(set(names)) != count:
        raise WeightsError(
            f"{path} has {count} outputs, and {len(set(names))} different names are given: "
            f"{', '.join(names)}"
        )
    return names


def reorder(model: models.Classifier, places: list[int]) -> None:
    """Let output i be the one that was at ``places[i]``."""
    with torch.no_grad():
        for values in model.fc.parameters():
            values.copy_(values[places])


def three(values: Sequence[float], name: str) -> Values:
    """Three finite numbers, for std above 0; WeightsError for anything else."""
    numbers = tuple(float(value) for value in values)
    allowed = np.isfinite(numbers).all() and (name == "mean" or min(numbers, default=0) > 0)
    if len(numbers) != 3 or not allowed:
        raise WeightsError(f"{name} must be three numbers for red, green and blue, got {values}")
    return numbers

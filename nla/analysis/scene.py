"""What an explorer shows: n samples at S steps, for the browser and for Python.

The browser's side reads the ``content`` (browser/scene.js): numbers as 16-bit integers, which is
enough for the eye. Python's side, ``samples``, holds them as recorded.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nla.analysis import views
from nla.analysis.style import look_of
from nla.training.record import Run

FULL = 65535  # the largest of the 16-bit integers that numbers in [0, 1] are sent as

Numbers = npt.NDArray[np.float64]
Content = dict[str, Any]


@dataclass(frozen=True)
class Scene:
    """n samples at S steps."""

    content: Content
    """What the browser is sent, see :func:`scene_of`."""
    index: npt.NDArray[np.int64]
    """Their rows of the manifest, (n,)."""
    samples: Callable[[int], pd.DataFrame]
    """Their facts at a step, n rows in the order of ``index``."""


@dataclass(frozen=True)
class History:
    """What is drawn as a sample's history: name, values (S, n) and the top of its scale."""

    name: str
    values: Numbers
    top: float = 1


@dataclass(frozen=True)
class Steps:
    """The epoch and the title of each step."""

    epochs: Sequence[int]
    titles: Sequence[str]


def scene_of(
    run: Run,
    facts: pd.DataFrame,
    places: Numbers,
    history: History,
    steps: Steps,
    details: Callable[[int], pd.DataFrame],
    **more: Any,
) -> Scene:
    """A scene of n samples at ``places`` (S, n, 2) in the unit square.

    ``facts`` holds index, label and, where known, true_label and kind; ``details`` gives further
    columns at a step. ``more`` is for the browser: labels, xticks, yticks, backgrounds, scale,
    guess (S, n; the predicted class), cells (a side), scores (the places are shown as numbers).
    """
    facts = facts.reset_index(drop=True)
    classes = list(run.classes)
    index = facts["index"]
    values = packed(history.values / history.top, FULL)
    content: Content = {
        "kinds": [],
        "kind": None,
        "true": None,
        "classes": classes,
        "epochs": list(steps.epochs),
        "titles": list(steps.titles),
        "points": packed(places, FULL),
        "index": index.to_numpy().astype("<u4").tobytes(),
        "label": packed(facts["label"]),
        "sources": sources(run, index),
        "looks": {"class": looks("class", classes, run)},
        "history": {"name": history.name, "top": history.top, "values": values},
        "pictured": False,
        "backgrounds": [],
        "scale": None,
        "scores": False,
        "guess": None,
        "cells": 0,
        "columns": 0,
        "xticks": [],
        "yticks": [],
    }
    if run.knows_truth:
        kinds = views.kinds(facts, known=True)
        content["kinds"] = list(kinds.cat.categories)
        content["kind"] = packed(kinds.cat.codes)
        content["true"] = packed(facts["true_label"])
        content["looks"]["kind"] = looks("kind", content["kinds"], run)
    given = named(run, facts, content["sources"])

    def samples(step: int) -> pd.DataFrame:
        table = given.assign(epoch=steps.epochs[step])
        return table.join(details(step).reset_index(drop=True))

    return Scene(content | more, index.to_numpy(), samples)


def named(run: Run, facts: pd.DataFrame, files: Sequence[str]) -> pd.DataFrame:
    """Facts that do not change: index, source, label, class, and where known the truth."""
    names = np.array(run.classes)
    table = facts[["index", "label"]].copy()
    table.insert(1, "source", list(files))
    table["class"] = names[facts["label"]]
    if run.knows_truth:
        table["true_label"] = facts["true_label"]
        table["true_class"] = names[facts["true_label"]]
        table["kind"] = views.kinds(facts, known=True).astype(str)
    return table


def looks(by: str, names: Sequence[str], run: Run) -> tuple[list[str], list[str]]:
    """Colours and markers of the groups, in their order."""
    palette, markers = look_of(by, run.classes)
    return [palette[name] for name in names], [markers[name] for name in names]


def sources(run: Run, index: pd.Series) -> list[str]:
    """The file or the row of each sample; its number in the run where nothing else names it."""
    manifest = run.manifest.loc[index]
    if "path" in manifest:
        return manifest["path"].astype(str).tolist()
    if "row" in manifest:
        return [f"row {row}" for row in manifest["row"]]
    return [f"sample {row}" for row in index]


def packed(values: npt.ArrayLike, scale: float = 1) -> bytes:
    """Numbers in [0, 1] (times ``scale``), or small integers, as 16-bit integers, little-endian."""
    inside = np.asarray(values).clip(0, FULL / scale)
    return (inside * scale).round().astype("<u2").tobytes()

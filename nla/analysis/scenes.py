"""What there is to explore of a run: the plane, the map of its latents, its confusions."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from nla.analysis import views
from nla.analysis.classes import scored
from nla.analysis.pictures import chequered_url, surface_scale, surface_url
from nla.analysis.plane import WEIGHT_TOP, naw_of
from nla.analysis.scene import History, Numbers, Scene, Steps, packed, scene_of
from nla.naw import NAW
from nla.training.record import Run

SCORES = ["p_gt", "p_nn", "correct", "weight", "cross_entropy", "divergence"]


def plane_scene(run: Run, epochs: Sequence[int], points: int, naw: NAW | None = None) -> Scene:
    """Some epochs' samples on the (p_GT, p_NN) plane, over the weight surface.

    At most ``points`` samples, a random part of the others, the same for each call. RunError where
    the samples were not recorded.
    """
    naw = naw or naw_of(run)
    total = run.config["epochs"]
    facts = run.samples(epochs[0])
    count = min(points, len(facts))
    facts = facts.sample(count, random_state=0).sort_index()
    values, titles, backgrounds = [], [], []
    for epoch in epochs:
        samples = run.samples(epoch).loc[facts.index]
        values.append(samples[["p_gt", "p_nn", "weight"]].to_numpy(float))
        epsilon = naw.epsilon(epoch / total)
        titles.append(f"{run.name}, epoch {epoch + 1} of {total}, ε = {epsilon:.2f}")
        backgrounds.append(surface_url(naw, epoch / total))
    scores = np.stack(values)
    ticks = [[t, str(t)] for t in (0, 0.5, 1)]
    return scene_of(
        run,
        facts,
        scores[..., :2],
        History("w*", scores[..., 2], WEIGHT_TOP),
        Steps(list(epochs), titles),
        lambda step: run.samples(epochs[step]).loc[facts.index, SCORES],
        scores=True,
        labels=["p_GT (label)", "p_NN (nearest negative)"],
        xticks=ticks,
        yticks=ticks,
        backgrounds=backgrounds,
        scale=surface_scale(),
    )


def judged(run: Run, facts: pd.DataFrame, probabilities: Numbers) -> tuple[pd.Series, History]:
    """What predictions are held against, and its probability as a history.

    The true class, or the label where nobody knows better; ``probabilities`` are (S, n, K).
    """
    column, name = ("true_label", "true") if run.knows_truth else ("label", "label")
    classes = facts[column]
    columns = classes.to_numpy()[None, :, None]
    chosen = np.take_along_axis(probabilities, columns, axis=2)
    return classes, History(f"p({name})", chosen[..., 0])


def guesses(
    run: Run, step: int, guess: npt.NDArray[np.int64], probabilities: Numbers
) -> pd.DataFrame:
    """What was predicted at a step: prediction, predicted (its name), p_<class>."""
    names = np.array(run.classes)
    chosen = guess[step]
    table = pd.DataFrame({"prediction": chosen, "predicted": names[chosen]})
    columns = [f"p_{name}" for name in run.classes]
    return table.join(pd.DataFrame(probabilities[step], columns=columns))


def latent_scene(run: Run, embedding: pd.DataFrame) -> Scene:
    """The map of the probe set (see :mod:`nla.analysis.latents`) from snapshot to snapshot."""
    steps = [int(step) for step in sorted(embedding["epoch"].unique())]
    groups = embedding.groupby("epoch")
    parts = [groups.get_group(step) for step in steps]
    facts = parts[0]
    places = np.stack([part[["x", "y"]].to_numpy(float) for part in parts])
    low, high = places.min((0, 1)), places.max((0, 1))
    spread = np.maximum(high - low, 1e-9)
    logits = np.stack([run.latents[step]["logits"] for step in steps])
    probabilities = torch.tensor(logits).softmax(2).numpy()
    guess = probabilities.argmax(2)
    _, history = judged(run, facts, probabilities)
    titles = []
    for step in steps:
        moment = f"after epoch {step}" if step else "before training"
        titles.append(f"{run.name}, {moment}")

    def scores(step: int) -> pd.DataFrame:
        place = pd.DataFrame(places[step], columns=["x", "y"])
        return place.join(guesses(run, step, guess, probabilities))

    return scene_of(
        run,
        facts,
        0.04 + 0.92 * (places - low) / spread,
        history,
        Steps(steps, titles),
        scores,
        labels=["UMAP 1 (a.u.)", "UMAP 2 (a.u.)"],
        guess=packed(guess),
    )


def confusion_scene(run: Run, split: str) -> Scene:
    """Each face of a split in the cell of its true and its predicted class, epoch by epoch.

    The label stands for the true class where nobody knows better. RunError if the split has no
    images.
    """
    epochs, classes = views.epochs(run), run.classes
    tables = [scored(run, split, epoch) for epoch in epochs]
    facts = tables[0].join(run.manifest["label"], on="index")
    guess = np.stack([table["prediction"] for table in tables])
    columns = [f"p_{name}" for name in classes]
    probabilities = np.stack([table[columns].to_numpy(float) for table in tables])
    given, history = judged(run, facts, probabilities)
    count = len(classes)
    rows = np.broadcast_to(count - 1 - given.to_numpy(), guess.shape)
    cells = np.stack([guess, rows], axis=-1)
    jitter = np.random.default_rng(0).uniform(0.08, 0.92, (len(facts), 2))
    middles = [(k + 0.5) / count for k in range(count)]
    named = list(zip(middles, classes))
    return scene_of(
        run,
        facts,
        (cells + jitter) / count,
        history,
        Steps(epochs, [f"{run.name}, after epoch {epoch + 1}" for epoch in epochs]),
        lambda step: guesses(run, step, guess, probabilities),
        guess=packed(guess),
        cells=count,
        labels=["predicted class", "true class" if run.knows_truth else "label"],
        xticks=[[at, text] for at, text in named],
        yticks=[[1 - at, text] for at, text in named],
        backgrounds=[chequered_url(count)],
    )

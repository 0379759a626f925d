"""What there is to explore of a run: the plane, the map of its latents, its confusions."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from nla.analysis import figures, views
from nla.analysis.pictures import chequered_url, surface_scale, surface_url
from nla.analysis.scene import History, Numbers, Scene, Steps, packed, scene_of
from nla.naw import NAW
from nla.training.record import Run

SCORES = ["p_gt", "p_nn", "correct", "weight", "cross_entropy", "divergence"]


def plane_scene(run: Run, epochs: Sequence[int], points: int, naw: NAW | None = None) -> Scene:
    """Some epochs' samples on the (p_GT, p_NN) plane, over the weight surface.

    At most ``points`` samples, a random part of the others, the same for each call. RunError where
    the samples were not recorded.
    """
    naw = naw or figures.naw_of(run)
    total = run.config["epochs"]
    facts = run.samples(epochs[0])
    facts = facts.sample(min(points, len(facts)), random_state=0).sort_index()
    columns = ["p_gt", "p_nn", "weight"]
    values = np.stack([run.samples(e).loc[facts.index, columns].to_numpy(float) for e in epochs])
    titles = []
    for epoch in epochs:
        epsilon = naw.epsilon(epoch / total)
        titles.append(f"{run.name}, epoch {epoch + 1} of {total}, ε = {epsilon:.2f}")
    ticks = [[t, str(t)] for t in (0, 0.5, 1)]
    return scene_of(
        run,
        facts,
        values[..., :2],
        History("w*", values[..., 2], figures.WEIGHT_TOP),
        Steps(list(epochs), titles),
        lambda step: run.samples(epochs[step]).loc[facts.index, SCORES],
        scores=True,
        labels=["p_GT (label)", "p_NN (nearest negative)"],
        xticks=ticks,
        yticks=ticks,
        backgrounds=[surface_url(naw, epoch / total) for epoch in epochs],
        scale=surface_scale(),
    )


def judged(run: Run, facts: pd.DataFrame, probabilities: Numbers) -> tuple[pd.Series, History]:
    """What predictions are held against, and its probability as a history.

    The true class, or the label where nobody knows better; ``probabilities`` are (S, n, K).
    """
    column, name = ("true_label", "true") if run.knows_truth else ("label", "label")
    classes = facts[column]
    chosen = np.take_along_axis(probabilities, classes.to_numpy()[None, :, None], 2)[..., 0]
    return classes, History(f"p({name})", chosen)


def guesses(
    run: Run, step: int, guess: npt.NDArray[np.int64], probabilities: Numbers
) -> pd.DataFrame:
    """What was predicted at a step: prediction, predicted (its name), p_<class>."""
    names = np.array(run.classes)
    table = pd.DataFrame({"prediction": guess[step], "predicted": names[guess[step]]})
    columns = [f"p_{name}" for name in run.classes]
    return table.join(pd.DataFrame(probabilities[step], columns=columns))


def latent_scene(run: Run, embedding: pd.DataFrame) -> Scene:
    """The map of the probe set (see :mod:`nla.analysis.latents`) from snapshot to snapshot."""
    steps = [int(step) for step in sorted(embedding["epoch"].unique())]
    parts = [embedding[embedding["epoch"] == step] for step in steps]
    places = np.stack([part[["x", "y"]].to_numpy(float) for part in parts])
    low, high = places.min((0, 1)), places.max((0, 1))
    logits = np.stack([run.latents[step]["logits"] for step in steps])
    probabilities = torch.tensor(logits).softmax(2).numpy()
    guess = probabilities.argmax(2)
    _, history = judged(run, parts[0], probabilities)
    moments = [f"after epoch {step}" if step else "before training" for step in steps]

    def scores(step: int) -> pd.DataFrame:
        place = pd.DataFrame(places[step], columns=["x", "y"])
        return place.join(guesses(run, step, guess, probabilities))

    return scene_of(
        run,
        parts[0],
        0.04 + 0.92 * (places - low) / np.maximum(high - low, 1e-9),
        history,
        Steps(steps, [f"{run.name}, {moment}" for moment in moments]),
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
    tables = [figures.scored(run, split, epoch) for epoch in epochs]
    facts = tables[0].join(run.manifest["label"], on="index")
    guess = np.stack([table["prediction"] for table in tables])
    columns = [f"p_{name}" for name in classes]
    probabilities = np.stack([table[columns].to_numpy(float) for table in tables])
    given, history = judged(run, facts, probabilities)
    count = len(classes)
    rows = np.broadcast_to(count - 1 - given.to_numpy(), guess.shape)
    jitter = np.random.default_rng(0).uniform(0.08, 0.92, (len(facts), 2))
    middles = [(k + 0.5) / count for k in range(count)]
    return scene_of(
        run,
        facts,
        (np.stack([guess, rows], -1) + jitter) / count,
        history,
        Steps(epochs, [f"{run.name}, after epoch {epoch + 1}" for epoch in epochs]),
        lambda step: guesses(run, step, guess, probabilities),
        guess=packed(guess),
        cells=count,
        labels=["predicted class", "true class" if run.knows_truth else "label"],
        xticks=[[at, text] for at, text in zip(middles, classes)],
        yticks=[[1 - at, text] for at, text in zip(middles, classes)],
        backgrounds=[chequered_url(count)],
    )

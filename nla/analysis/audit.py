"""Which labels to look at first: the suspect and the ambiguous, ranked by what a network said.

Both scores come from one fact, the margin p_GT - p_NN averaged over the epochs. A margin that
stays negative says that the network went on contradicting the label, as in AUM (Pleiss et al.
2020, there on logits); one that stays near zero, that it never decided, as in the middle of a
data map (Swayamdipta et al. 2020). ``data/README.md`` says how well.
"""

import numpy as np
import numpy.typing as npt
import pandas as pd

from nla.analysis import views
from nla.training.record import Run, RunError

SEEN = ("trained on", "held out")


def audit(run: Run) -> pd.DataFrame:
    """One row a label, of training, validation and test, the most suspect first.

    index (row of the manifest), path or row of the image where there is one, seen ("trained on" or
    "held out"), label by name, suggested (the other class that had most probability over the
    epochs; empty for training rows of runs that did not record ``nearest``), suspect and ambiguity
    (0..1), margin (-1..1), p_gt (means over the epochs); of rows trained on also weight (mean) and
    forgotten (times). Where somebody knows them, true_label by name and kind.

    A training row was judged augmented and while the network learnt its label; a held-out row as
    it is, by a network that never saw the label. So the two scores are not on one scale. Both are
    listed by ``suspect`` nevertheless: of the first 100, 93 were wrong (86 when each group is
    ranked by itself) in the demo, whose test set has fewer wrong labels than its training set, and
    where both have as many 98 (97) of drawn faces, 62 (63) of FER2013's (one run each, 5 to 14
    epochs). To compare like with like, filter by ``seen``.

    ``attrs["notes"]`` says what is left out. RunError if nothing was recorded.
    """
    parts, notes = [], []
    if run.config.get("record", True):
        parts.append(trained_on(run))
        if parts[0]["suggested"].isna().all():
            notes.append("no class is suggested for training rows: the run did not record nearest")
    else:
        notes.append("training rows are left out: the run was trained with record=False")
    parts.append(held_out(run))
    found = pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)
    if found.empty:
        raise RunError(
            f"{run.folder} has nothing to audit: it was trained with record=False and has no "
            "held-out images; train it anew with record=True"
        )
    table = described(run, found)
    table = table.sort_values("suspect", ascending=False, kind="stable", ignore_index=True)
    table.attrs["notes"] = notes
    return table


def trained_on(run: Run) -> pd.DataFrame:
    """The training rows: index, seen, label and suggested (numbers), and means over the epochs."""
    epochs = views.epochs(run)
    rows = run.samples(epochs[0])[["index", "label"]]
    total = np.zeros((len(rows), 3))
    votes = np.zeros((len(rows), len(run.classes)))
    for epoch in epochs:
        samples = run.samples(epoch)
        total += samples[["p_gt", "p_nn", "weight"]].to_numpy(float)
        if "nearest" in samples:
            votes[np.arange(len(rows)), samples["nearest"]] += samples["p_nn"]
    p_gt, p_nn, weight = total.T / len(epochs)
    return rows.assign(
        seen=SEEN[0],
        suggested=strongest(votes),
        p_gt=p_gt,
        p_nn=p_nn,
        weight=weight,
        forgotten=views.learning(run)["forgotten"].astype("Int64"),
    )


def held_out(run: Run) -> pd.DataFrame:
    """The rows of the other splits, as :func:`trained_on`, from what was predicted of them."""
    epochs = views.epochs(run)
    rows = run.predictions(epochs[0])[["index"]].join(run.manifest["label"], on="index")
    place = np.arange(len(rows)), rows["label"].to_numpy(int)
    p_gt, p_nn = np.zeros(len(rows)), np.zeros(len(rows))
    votes = np.zeros((len(rows), len(run.classes)))
    for epoch in epochs:
        predictions = run.predictions(epoch)
        others = predictions[[f"p_{name}" for name in run.classes]].to_numpy(float, copy=True)
        p_gt += others[place]
        others[place] = 0
        p_nn += others.max(axis=1, initial=0)
        votes += others
    return rows.assign(
        seen=SEEN[1], suggested=strongest(votes), p_gt=p_gt / len(epochs), p_nn=p_nn / len(epochs)
    )


def strongest(votes: npt.NDArray[np.float64]) -> pd.Series:
    """The class (n,) with most votes (n, K); nothing where there are none."""
    best = pd.Series(votes.argmax(axis=1), dtype="Int64")
    return best.where(pd.Series(votes.any(axis=1)))


def described(run: Run, found: pd.DataFrame) -> pd.DataFrame:
    """The columns of :func:`audit`, from means over the epochs."""
    names = dict(enumerate(run.classes))
    margin = found["p_gt"] - found["p_nn"]
    facts = run.manifest.loc[found["index"]].reset_index(drop=True)
    columns = {
        "index": found["index"],
        **facts.filter(["path", "row"]),
        "seen": found["seen"],
        "label": found["label"].map(names),
        "suggested": found["suggested"].map(names),
        "suspect": (1 - margin) / 2,
        "ambiguity": 1 - margin.abs(),
        "margin": margin,
        "p_gt": found["p_gt"],
        **found.filter(["weight", "forgotten"]),
    }
    if run.knows_truth:
        columns["true_label"] = facts["true_label"].map(names)
        columns["kind"] = views.kinds(facts, known=True)
    return pd.DataFrame(columns)

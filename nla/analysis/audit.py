"""Which labels to look at first: the suspect and the ambiguous, ranked by what a network said.

By default both scores come from one fact, the margin p_GT - p_NN averaged over the epochs. A margin
that stays negative says that the network went on contradicting the label, as in AUM (Pleiss et al.
2020, there on logits); one that stays near zero, that it never decided, as in the middle of a
data map (Swayamdipta et al. 2020). :mod:`nla.analysis.judges` has others. ``data/README.md`` says
how well they rank.
"""

import numpy as np
import numpy.typing as npt
import pandas as pd

from nla.analysis import judges, views
from nla.analysis.judges import COMBINED, JUDGES, Evidence, on_the_plane
from nla.methods import LOSSES, build
from nla.training.loading import Images
from nla.training.record import Run, RunError, check_run

SEEN = ("trained on", "held out")
BY = (*JUDGES, "combined")  # what labels can be ranked by


def audit(
    run: Run,
    by: str = "margin",
    images: Images | None = None,
    folds: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row a label, of training, validation and test, the most suspect first.

    index (row of the manifest), path or row of the image where there is one, seen ("trained on" or
    "held out"), label by name, suggested (the other class that had most probability over the
    epochs) and sure (that probability, the mean; both empty for training rows of runs that did not
    record ``nearest``), suspect and ambiguity (0..1), margin (-1..1), p_gt (means over the epochs);
    of rows trained on also weight (mean) and forgotten (times). Where somebody knows them,
    true_label by name and kind.

    A training row was judged augmented and while the network learnt its label; a held-out row as
    it is, by a network that never saw the label. So the two scores are not on one scale. Both are
    listed by ``suspect`` nevertheless: of the first 100, 93 were wrong (86 when each group is
    ranked by itself) in the demo, whose test set has fewer wrong labels than its training set, and
    where both have as many 98 (97) of drawn faces, 62 (63) of FER2013's (one run each, 5 to 14
    epochs). To compare like with like, filter by ``seen``.

    ``by``: another judge (:data:`BY`). Then ``suspect`` is a rank (0..1), held-out rows are left
    out, and ``images`` (row i of the manifest) or ``folds`` (of
    :func:`nla.training.folds.out_of_fold`) are what some of the judges need.

    ``attrs["notes"]`` says what is left out. RunError if nothing was recorded.
    """
    check_run(run)
    if by not in BY:
        raise RunError(f"no judge is called {by!r}; there are {', '.join(BY)}")
    parts, notes = [], []
    if run.config.get("record", True):
        found = gathered(run, by, images, folds)
        parts.append(trained_on(found))
        if not found.votes.any():
            notes.append("no class is suggested for training rows: the run did not record nearest")
    else:
        notes.append("training rows are left out: the run was trained with record=False")
    loss = run.config["loss"]
    if loss in LOSSES and (remark := build(loss).remark):  # one's own may be unknown here
        notes.append(remark)
    if by == "margin":
        parts.append(held_out(run))
    elif parts:
        suspect, used = ranked(found, by)
        parts[0]["suspect"] = suspect
        notes.append(f"suspect is the rank (0..1) by {used}; held-out rows are left out")
    table = described(run, joined(run, parts))
    table = table.sort_values("suspect", ascending=False, kind="stable", ignore_index=True)
    table.attrs["notes"] = notes
    return table


def gathered(run: Run, by: str, images: Images | None, folds: pd.DataFrame | None) -> Evidence:
    """The evidence of the run, with what the judge needs of images and folds."""
    found = judges.evidence(run)
    if images is not None and by in ("neighbours", "combined"):
        found = judges.with_latents(found, run, images)
    if folds is not None:
        found = judges.with_folds(found, folds, run.classes)
    return found


def ranked(found: Evidence, by: str) -> tuple[npt.NDArray[np.float64], str]:
    """The rank (0..1) of each training sample, and by whom: judges for whom there is no evidence
    have no part in the combination."""
    if by == "combined":
        scores = judges.verdicts(found, {name: JUDGES[name] for name in COMBINED})
    else:
        scores = pd.DataFrame({by: JUDGES[by](found)})
    names = scores.columns.tolist()
    return judges.combined(scores, names), " and ".join(names)


def joined(run: Run, parts: list[pd.DataFrame]) -> pd.DataFrame:
    """One table of all that there is. RunError if that is nothing."""
    full = [part for part in parts if len(part)]
    if full:
        return pd.concat(full, ignore_index=True)
    raise RunError(
        f"{run.folder} has nothing to audit: it was trained with record=False and has no "
        "held-out images; train it anew with record=True"
    )


def trained_on(found: Evidence) -> pd.DataFrame:
    """The training rows: index, seen, label and suggested (numbers), and means over the epochs."""
    return pd.DataFrame(
        {
            "index": found.index,
            "label": found.label,
            "seen": SEEN[0],
            **suggestion(found.votes, len(found.p_nn)),
            "p_gt": found.p_gt.mean(axis=0, dtype=float),
            "p_nn": found.p_nn.mean(axis=0, dtype=float),
            "weight": found.weight.mean(axis=0, dtype=float),
            "forgotten": pd.array(judges.forgotten(found).astype(int), dtype="Int64"),
        }
    )


def held_out(run: Run) -> pd.DataFrame:
    """The rows of the other splits, as :func:`trained_on`, from what was predicted of them."""
    epochs = views.epochs(run)
    rows = run.predictions(epochs[0])[["index"]].join(run.manifest["label"], on="index")
    label = rows["label"].to_numpy(int)
    columns = [f"p_{name}" for name in run.classes]
    p_gt, p_nn = np.zeros((2, len(rows)))
    votes = np.zeros((len(rows), len(columns)))
    for epoch in epochs:
        p = run.predictions(epoch)[columns].to_numpy(float)
        own, other = on_the_plane(p, label)
        p_gt += own
        p_nn += other
        votes += p
    votes[np.arange(len(rows)), label] = 0
    return rows.assign(
        seen=SEEN[1],
        **suggestion(votes, len(epochs)),
        p_gt=p_gt / len(epochs),
        p_nn=p_nn / len(epochs),
    )


def suggestion(votes: npt.NDArray[np.float64], epochs: int) -> dict[str, pd.Series]:
    """The class (n,) with most votes (n, K), and how sure: its mean over the epochs.

    Both are nothing where there are no votes. Of training rows at least that sure: a class has
    votes only while it is the nearest negative.
    """
    some = pd.Series(votes.any(axis=1))
    best = pd.Series(votes.argmax(axis=1), dtype="Int64")
    mean = pd.Series(votes.max(axis=1) / epochs)
    return {"suggested": best.where(some), "sure": mean.where(some)}


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
        "sure": found["sure"],
        "suspect": found.get("suspect", (1 - margin) / 2),
        "ambiguity": 1 - margin.abs(),
        "margin": margin,
        "p_gt": found["p_gt"],
        **found.filter(["weight", "forgotten"]),
    }
    if run.knows_truth:
        columns["true_label"] = facts["true_label"].map(names)
        columns["kind"] = views.kinds(facts, known=True)
    return pd.DataFrame(columns)

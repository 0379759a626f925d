"""Which training labels to look at first: the suspect and the ambiguous, ranked by how training saw them.

Both scores come from one fact, the margin p_GT - p_NN averaged over the epochs. A margin that stays negative says that
the network went on contradicting the label, as in AUM (Pleiss et al. 2020, there on logits); one that stays near zero,
that it never decided, as in the middle of a data map (Swayamdipta et al. 2020). ``data/README.md`` says how well.
"""

import numpy as np
import pandas as pd

from nla.analysis import views
from nla.training.record import Run


def audit(run: Run) -> pd.DataFrame:
    """One row a training label, the most suspect first.

    index (row of the manifest), path or row of the image where there is one, label by name, suggested (the strongest
    other class, summed over the epochs; only in runs that recorded ``nearest``), suspect and ambiguity (0..1),
    margin (-1..1), p_gt, weight (means over the epochs), forgotten (times); true_label by name and kind as known.
    """
    total, votes = 0.0, 0
    for epoch in run.epochs["epoch"]:
        samples = run.samples(epoch)
        total = total + samples[["p_gt", "p_nn", "weight"]].to_numpy(float)
        votes = (
            votes
            + samples["p_nn"].to_numpy()[:, None]
            * np.eye(len(run.classes))[samples.get("nearest", 0)]
        )
    p_gt, p_nn, weight = total.T / len(run.epochs)
    names, margin = np.array(run.classes), p_gt - p_nn
    suggested = {"suggested": names[np.argmax(votes, axis=1)]} if "nearest" in samples else {}
    table = (
        run.manifest.loc[samples["index"]]
        .filter(["path", "row"])
        .reset_index(names="index")
        .assign(
            label=names[samples["label"]],
            **suggested,
            suspect=(1 - margin) / 2,
            ambiguity=1 - np.abs(margin),
            margin=margin,
            p_gt=p_gt,
            weight=weight,
            forgotten=views.learning(run)["forgotten"],
            true_label=names[samples["true_label"]],
            kind=views.kinds(samples),
        )
    )
    return table.sort_values("suspect", ascending=False, kind="stable", ignore_index=True)

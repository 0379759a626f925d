"""The audit finds planted wrong and ambiguous labels, from the records alone."""

import shutil

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from nla.analysis.audit import audit
from nla.files import write
from nla.training.record import read_run


def auroc(table, kind, score):
    return roc_auc_score(table["kind"] == kind, table[score])


def test_a_row_a_training_label_the_most_suspect_first(planted_run):
    table = audit(planted_run)
    train = planted_run.manifest.query("split == 'train'")
    assert sorted(table["index"]) == list(train.index) and table["suspect"].is_monotonic_decreasing
    assert table[["suspect", "ambiguity"]].stack().between(0, 1).all() and not table.isna().any(
        axis=None
    )
    facts = train.loc[table["index"]]
    assert (table["kind"].astype(str) == facts["kind"].to_numpy()).all()
    assert (table["label"] == np.array(planted_run.classes)[facts["label"]]).all()
    ambiguous = table[table["kind"] == "ambiguous"].iloc[0]
    assert (round(ambiguous["margin"], 6), round(ambiguous["p_gt"], 6)) == (0.05, 0.45)


def test_planted_kinds_rank_as_they_should(planted_run):
    table = audit(planted_run)
    assert auroc(table, "noisy", "suspect") == 1
    assert auroc(table, "ambiguous", "ambiguity") > 0.9
    assert "suggested" not in table  # the run did not record which class the nearest negative was


def test_a_trained_run_finds_most_wrong_labels(tiny_run):
    assert (
        auroc(audit(tiny_run), "noisy", "suspect") > 0.6
    )  # three epochs on 120 faces; the demo: 0.95


def test_the_suggested_label_is_the_strongest_other_class(planted_run, tmp_path):
    shutil.copytree(planted_run.folder, tmp_path / "run")
    for epoch in planted_run.epochs["epoch"]:
        file = tmp_path / f"run/dynamics/epoch_{epoch:03d}.parquet"
        samples = pd.read_parquet(file)
        write(
            file, samples.assign(nearest=(samples["label"] + 1) % 7)
        )  # for the noisy ones: their true class
    table = audit(read_run(tmp_path / "run"))
    noisy = table[table["kind"] == "noisy"]
    assert (noisy["suggested"] == noisy["true_label"]).all() and (
        table["suggested"] != table["label"]
    ).all()


def test_odd_runs_can_be_audited(odd_run):
    table = audit(odd_run)
    assert len(table) == len(odd_run.samples()) and not table.isna().any(axis=None)

"""The audit finds planted wrong and ambiguous labels, from the records alone."""

import dataclasses
import shutil

import numpy as np
import pandas as pd
import pytest
from conftest import TINY
from sklearn.metrics import roc_auc_score
from test_views import drawn_run

from nla import fit
from nla.analysis.audit import audit
from nla.files import write
from nla.methods import LOSSES
from nla.training.record import RunError, read_run


def trained(table):
    return table[table["seen"] == "trained on"]


def held_out(table):
    return table[table["seen"] == "held out"]


def auroc(table, kind, score):
    return roc_auc_score(table["kind"] == kind, table[score])


def test_a_row_a_training_label_the_most_suspect_first(planted_run):
    everything = audit(planted_run)
    assert sorted(everything["index"]) == list(planted_run.manifest.index)
    assert everything["suspect"].is_monotonic_decreasing
    assert everything[["suspect", "ambiguity"]].stack().between(0, 1).all()
    table = trained(everything)
    train = planted_run.manifest.query("split == 'train'")
    assert sorted(table["index"]) == list(train.index) and table["suspect"].is_monotonic_decreasing
    assert not table.drop(columns=["suggested", "sure"]).isna().any(axis=None)
    facts = train.loc[table["index"]]
    assert (table["kind"].astype(str) == facts["kind"].to_numpy()).all()
    assert (table["label"] == np.array(planted_run.classes)[facts["label"]]).all()
    ambiguous = table[table["kind"] == "ambiguous"].iloc[0]
    assert (round(ambiguous["margin"], 6), round(ambiguous["p_gt"], 6)) == (0.05, 0.45)


def test_planted_kinds_rank_as_they_should(planted_run):
    table = trained(audit(planted_run))
    assert auroc(table, "noisy", "suspect") == 1
    assert auroc(table, "ambiguous", "ambiguity") > 0.9


def test_old_runs_suggest_no_class_for_training_rows_and_say_so(planted_run):
    table = audit(planted_run)  # it did not record which class the nearest negative was
    assert trained(table)["suggested"].isna().all() and "nearest" in table.attrs["notes"][0]
    assert held_out(table)["suggested"].notna().all()


def test_held_out_rows_are_judged_by_what_was_predicted_of_them(planted_run):
    table = held_out(audit(planted_run)).set_index("index")
    test = planted_run.manifest.query("split == 'test'")
    assert sorted(table.index) == list(test.index)
    assert table[["weight", "forgotten"]].isna().all(axis=None)
    surprise = table[table["label"] == "surprise"]  # all predicted as fear, .7 against .05
    assert len(surprise) == 10 and (surprise["suggested"] == "fear").all()
    np.testing.assert_allclose(surprise["margin"], -0.65)
    others = table[table["label"] != "surprise"]
    np.testing.assert_allclose(others[["margin", "p_gt"]], [[0.65, 0.7]] * len(others))


def test_without_truth_no_truth_is_shown(tmp_path):
    run = drawn_run(tmp_path, ("cat", "dog", "noisy"), 3)
    table = audit(run)
    assert not {"true_label", "kind"} & set(table) and len(table) == 18
    assert set(table["label"]) == {"cat", "dog", "noisy"}
    assert (table["suggested"] != table["label"]).all()
    assert (table["path"] == run.manifest.loc[table["index"], "path"].to_numpy()).all()


def test_a_run_that_recorded_no_training_rows_lists_the_held_out(tmp_path):
    table = audit(drawn_run(tmp_path, record=False))
    assert set(table["seen"]) == {"held out"} and len(table) == 4
    assert "record=False" in table.attrs["notes"][0]
    assert "weight" not in table


def test_nothing_recorded_and_lost_files_are_named(tmp_path):
    run = drawn_run(tmp_path, record=False)
    for file in (tmp_path / "predictions").iterdir():
        write(file, pd.read_parquet(file)[:0])
    with pytest.raises(RunError, match="nothing to audit: .* train it anew with record=True"):
        audit(run)
    (tmp_path / "predictions/epoch_001.parquet").unlink()
    with pytest.raises(RunError, match="no predictions of epoch 1"):
        audit(run)


@pytest.mark.parametrize("epochs", [1, 2])
def test_four_rows_of_two_classes_and_an_absent_class(tmp_path, epochs):
    run = drawn_run(tmp_path, ("cat", "dog", "newt"), 2, epochs, present=[0, 2])
    table = audit(run)
    assert len(trained(table)) == len(held_out(table)) == 4
    assert set(table["label"]) == {"cat", "newt"} and table["suggested"].notna().all()


def test_a_trained_run_finds_most_wrong_labels(tiny_run):
    assert (
        auroc(trained(audit(tiny_run)), "noisy", "suspect") > 0.6
    )  # three epochs on 120 faces; the demo: 0.95


def test_the_suggested_label_is_the_strongest_other_class(planted_run, tmp_path):
    shutil.copytree(planted_run.folder, tmp_path / "run")
    for epoch in planted_run.epochs["epoch"]:
        file = tmp_path / f"run/dynamics/epoch_{epoch:03d}.parquet"
        samples = pd.read_parquet(file)
        write(
            file, samples.assign(nearest=(samples["label"] + 1) % 7)
        )  # for the noisy ones: their true class
    table = trained(audit(read_run(tmp_path / "run")))
    noisy = table[table["kind"] == "noisy"]
    assert (noisy["suggested"] == noisy["true_label"]).all() and (
        table["suggested"] != table["label"]
    ).all()


def test_odd_runs_can_be_audited(odd_run):
    table = trained(audit(odd_run)).drop(columns=["suggested", "sure"])
    assert len(table) == len(odd_run.samples()) and not table.isna().any(axis=None)


def test_what_a_record_is_of_is_said_of_the_audit_too(tmp_path):
    config = dataclasses.replace(TINY, train_faces=40, test_faces=10, loss="mixup_drw", epochs=2)
    notes = audit(fit(config, tmp_path, progress=False)).attrs["notes"]
    assert notes == ["what is on record of a sample is of it mixed with another"]


def test_a_run_of_a_loss_that_is_unknown_here_can_be_audited(planted_run, monkeypatch):
    known = audit(planted_run)
    monkeypatch.delitem(LOSSES, planted_run.config["loss"])
    pd.testing.assert_frame_equal(audit(planted_run), known)

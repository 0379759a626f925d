"""What a run is said to weigh and to remember, and that it is what happened."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from conftest import TINY

from nla.analysis import views
from nla.files import write
from nla.methods import LOSSES
from nla.training import fit, read_run
from nla.training.record import WEIGHING, RunError


def test_chance_of_agreement_by_hand():
    """One noisy sample shows 0 and is called 1, one shows 1 and is called 2. Of unseen clean faces
    of 0 three quarters are taken for 1, of 1 none for 2; the ambiguous one does not count."""
    manifest = pd.DataFrame(
        {
            "label": [0, 1, 2],
            "true_label": [0, 0, 1],
            "kind": ["clean", "noisy", "noisy"],
            "split": "train",
        }
    )
    unseen = pd.DataFrame(
        {
            "true_label": [0, 0, 0, 0, 1, 1, 1],
            "prediction": [1, 1, 1, 0, 1, 0, 2],
            "kind": ["clean"] * 6 + ["ambiguous"],
        }
    )
    run = SimpleNamespace(
        manifest=manifest,
        knows_truth=True,
        classes=("a", "b", "c"),
        epochs=pd.DataFrame({"epoch": [0]}),
        predictions=lambda epoch: unseen,
    )
    assert views.chance_of_agreement(run).to_dict() == {0: 0.375}
    run.knows_truth = False
    assert views.chance_of_agreement(run).empty


def test_a_network_that_was_never_trained_remembers_no_label(tmp_path):
    """With a learning rate of 0, labels are predicted as often as chance has it."""
    config = replace(TINY, train_faces=400, test_faces=400, noise=0.4, epochs=1, lr=0.0)
    run = fit(config, tmp_path / "run", progress=False)
    memorised, chance = views.memorisation(run)[0], views.chance_of_agreement(run)[0]
    assert abs(memorised - chance) < 0.06 and memorised > 0.08


def test_weights_of_right_labels_alone_leave_the_noisy_out(tmp_path):
    config = replace(TINY, train_faces=200, noise=0.3, epochs=1)
    run = fit(config, tmp_path / "run", progress=False)
    samples = run.samples()
    right = samples[samples["label"] == samples["true_label"]].groupby("label")
    for column, by_class in (("samples", right.size()), ("weight", right["weight"].sum())):
        found = views.weight_share(run, only_right=True)[column]
        np.testing.assert_allclose(found, by_class / by_class.sum(), rtol=1e-5)
        assert not np.allclose(found, views.weight_share(run)[column])


def test_a_loss_shows_the_weight_that_it_uses_and_no_other(tmp_path):
    for loss, symbol in (("nla", "w*"), ("rema", "factor"), ("cross_entropy", None)):
        run = fit(replace(TINY, loss=loss, noise=0.3), tmp_path / loss, progress=False)
        shown = {name.split()[0] for name in run.summary() if name.startswith(("w*", "factor"))}
        assert shown == ({symbol} if symbol else set())
        assert run.samples()["weight"].between(0, 1).all()  # w* at the scores, of every loss
        assert ("factor" in run.samples()) == (loss == "rema")


def test_runs_whose_weights_meant_something_else_are_refused(tmp_path):
    run = fit(replace(TINY, loss="rema"), tmp_path / "run", progress=False)
    write(run.folder / "card.json", run.card | {"format": 1})
    with pytest.raises(RunError, match="has run format 1, this version reads 2; train it anew"):
        read_run(run.folder)
    write(run.folder / "config.json", run.config | {"loss": "nla"})
    assert read_run(run.folder).card["format"] == 1


def test_the_losses_said_to_weigh_are_those_with_a_weight_in_them():
    assert set(WEIGHING) == {loss for loss, method in LOSSES.items() if method().weighs}

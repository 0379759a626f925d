"""Views of a run whose every answer is planted (see conftest.plant)."""

import json
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nla import NAW, Config, Scores
from nla.analysis import views
from nla.files import write
from nla.naw import scores_of
from nla.training.record import FORMAT, RunError, read_run


def drawn_run(folder, names=("cat", "dog"), per_class=2, epochs=2, truth=False, **options):
    """A run folder of a set with classes of its own, given by chance: ``per_class`` images a class
    and split, of the classes in ``present`` (default: all), as files of a folder.

    With ``truth`` every other label is known to be wrong. ``record`` False: no training rows.
    """
    rng, count = np.random.default_rng(0), len(names)
    labels = np.repeat(options.get("present", range(count)), per_class)
    rows = np.arange(2 * len(labels))
    label = np.tile(labels, 2)
    true = np.where(truth & (rows % 2 == 1), (label + 1) % count, label)
    paths = [f"set & more/{names[k]}/{row}.jpg" for k, row in zip(label, rows)]
    split = np.repeat(["train", "test"], len(labels))
    manifest = pd.DataFrame({"path": paths, "label": label, "true_label": true, "split": split})
    write(folder / "manifest.parquet", manifest)
    config = Config(name="drawn", epochs=epochs, record=options.get("record", True))
    write(folder / "config.json", json.loads(json.dumps(asdict(config))))
    card = {"format": FORMAT, "key": "0", "seed": 0, "classes": count, "class_names": list(names)}
    write(folder / "card.json", card)
    write(folder / "epochs.csv", pd.DataFrame({"epoch": range(epochs), "test_overall": 50.0}))
    for epoch in range(epochs):
        p = rng.dirichlet(np.ones(count), len(rows)).astype(np.float32)
        scores = scores_of(torch.tensor(p), torch.tensor(label))
        columns = {name: part.numpy() for name, part in scores._asdict().items()}
        other = np.where(np.arange(count) == label[:, None], -1, p).argmax(1)
        table = pd.DataFrame({"index": rows, "label": label, **columns, "nearest": other})
        table["weight"] = NAW().weights(scores, epoch / epochs).numpy()
        table["cross_entropy"], table["divergence"] = -np.log(table["p_gt"]), 0.01
        if config.record:
            write(folder / f"dynamics/epoch_{epoch:03d}.parquet", table[: len(labels)])
        table = pd.DataFrame(p, columns=[f"p_{name}" for name in names])
        table.insert(0, "prediction", p.argmax(1))
        table.insert(0, "index", rows)
        write(folder / f"predictions/epoch_{epoch:03d}.parquet", table[len(labels) :])
    for step in (0, epochs):
        views_of = {}
        for view in ("", "flipped_"):
            views_of[f"{view}latent"] = rng.normal(size=(len(rows), 8)).astype(np.float32)
            views_of[f"{view}logits"] = rng.normal(size=(len(rows), count)).astype(np.float32)
        write(folder / f"latents/epoch_{step:03d}.npz", {"index": rows, **views_of})
    return read_run(folder)


@pytest.fixture(scope="module")
def unjudged_run(tmp_path_factory):
    return drawn_run(tmp_path_factory.mktemp("runs") / "unjudged", ("cat", "dog", "noisy"), 4)


def test_what_nobody_knows_is_not_asserted(unjudged_run):
    assert not unjudged_run.knows_truth
    samples = unjudged_run.samples()
    for ask in (
        lambda: views.kinds(samples),
        lambda: views.groups(unjudged_run, samples, "kind"),
        lambda: views.over_epochs(unjudged_run, "kind"),
        lambda: views.reweighted(samples, NAW(), 0.5, 0.5),
    ):
        with pytest.raises(RunError, match="nobody knows which labels of this run are wrong"):
            ask()
    assert views.memorisation(unjudged_run).empty and views.separation(unjudged_run).empty
    by_class = views.groups(unjudged_run, samples, "class")
    table = views.reweighted(samples, NAW(), 0.5, 0.5, by_class)
    assert list(table.index) == list(unjudged_run.classes) == ["cat", "dog", "noisy"]
    assert list(views.over_epochs(unjudged_run)["class"].unique()) == ["cat", "dog", "noisy"]


def test_right_labels_of_a_set_whose_truth_is_known_are_clean(tmp_path):
    run = drawn_run(tmp_path, per_class=1, truth=True)
    right = run.samples().query("label == true_label")
    assert run.knows_truth and list(views.groups(run, right, "kind")) == ["clean"] * len(right)
    assert sorted(views.over_epochs(run, "kind")["kind"].unique()) == ["clean", "noisy"]


@settings(max_examples=15, deadline=None)
@given(
    names=st.lists(
        st.text("ab$<\"' ", min_size=1, max_size=4), min_size=2, max_size=12, unique=True
    ),
    per_class=st.integers(1, 3),
    epochs=st.integers(1, 3),
    truth=st.booleans(),
    data=st.data(),
)
def test_any_set_has_views(names, per_class, epochs, truth, data):
    present = data.draw(st.lists(st.sampled_from(range(len(names))), min_size=1, unique=True))
    with tempfile.TemporaryDirectory() as folder:
        run = drawn_run(Path(folder), names, per_class, epochs, truth, present=present)
        for by in ("class", "kind") if run.knows_truth else ("class",):
            table = views.over_epochs(run, by)
            assert len(table) and not table.isna().any(axis=None)
            assert (table.groupby("epoch")["n"].sum() == per_class * len(present)).all()
        assert set(views.weight_share(run)["class"]) == {names[k] for k in present}
        assert not views.memorisation(run).isna().any()
        assert len(views.learning(run)) == per_class * len(present)


def test_a_missing_epoch_file_is_named(tmp_path):
    run = drawn_run(tmp_path, epochs=3)
    (tmp_path / "dynamics/epoch_001.parquet").unlink()
    for view in (views.over_epochs, views.weight_share, views.learning):
        with pytest.raises(RunError, match="no dynamics of epoch 1"):
            view(run)


def test_mean_weight_of_each_kind_is_the_planted_one(planted_run):
    table = views.over_epochs(planted_run, "kind").set_index(["epoch", "kind"])
    ambiguous = Scores(torch.tensor([0.45]), torch.tensor([0.40]), torch.tensor([True]))
    for epoch in range(5):
        expected = NAW().weights(ambiguous, epoch / 5).item()
        row = table.loc[(epoch, "ambiguous")]
        assert row["mean"] == pytest.approx(expected, rel=1e-6)
        assert row["low"] == pytest.approx(row["high"], abs=1e-9) and row["n"] == 42
    assert (table["low"] <= table["mean"] + 1e-12).all() and (
        table["mean"] <= table["high"] + 1e-12
    ).all()
    assert (
        table.loc[(4, "noisy"), "high"] > table.loc[(4, "noisy"), "mean"]
    )  # some memorised, some not


def test_by_class_every_sample_counts_once(planted_run):
    table = views.over_epochs(planted_run, "class", "cross_entropy")
    assert (table.groupby("epoch")["n"].sum() == 210).all()
    assert list(table["class"].unique()) == list(planted_run.classes)
    with pytest.raises(ValueError, match="'class' or 'kind'"):
        views.over_epochs(planted_run, "colour")


def test_kinds_fall_back_to_what_the_labels_tell():
    table = pd.DataFrame({"label": [0, 1, 2], "true_label": [0, 2, 2]})
    assert list(views.kinds(table)) == ["clean", "noisy", "clean"]
    known = table.assign(kind=["ambiguous", "noisy", "ambiguous"])
    assert list(views.kinds(known).cat.categories) == ["ambiguous", "noisy"]


def test_memorisation_is_half_of_the_noisy_in_the_last_epoch(planted_run):
    assert views.memorisation(planted_run).tolist() == [0, 0, 0, 0, 0.5]


def test_weight_shares_sum_to_one_and_are_even_for_even_classes(planted_run):
    table = views.weight_share(planted_run)
    sums = table.groupby("epoch")[["samples", "weight", "loss_weight"]].sum()
    np.testing.assert_allclose(sums, 1)
    np.testing.assert_allclose(table["samples"], 1 / 7)
    np.testing.assert_allclose(table["excess"], 1, atol=0.02)


def test_weight_separates_ambiguous_from_noisy_until_noise_is_memorised(planted_run):
    by_epoch = views.separation(planted_run)
    assert by_epoch.loc[:3].tolist() == [1, 1, 1, 1]
    assert 0.5 <= by_epoch.loc[4] <= 1
    assert views.separation(planted_run, "noisy", "ambiguous").loc[0] == 0
    assert views.separation(planted_run, "ambiguous", "ambiguous").empty


def test_first_learned_and_forgotten(planted_run):
    table = views.learning(planted_run).join(planted_run.manifest["kind"], on="index")
    clean, noisy = table[table["kind"] == "clean"], table[table["kind"] == "noisy"]
    assert clean["learned"].eq(1).all() or clean["learned"].eq(0).all()
    assert noisy["learned"].isna().sum() == 21 and noisy["learned"].eq(4).sum() == 21
    assert table["forgotten"].eq(0).all()


def test_forgetting_is_counted():
    class Forgetful:
        epochs = pd.DataFrame({"epoch": range(5)})

        def samples(self, epoch=-1):
            return pd.DataFrame({"index": [7], "correct": [epoch % 2 == 0]})

    assert views.learning(Forgetful())[["index", "learned", "forgotten"]].iloc[0].tolist() == [
        7,
        0,
        2,
    ]


def test_agreement_of_identical_views_is_perfect(planted_run):
    table = views.agreement(planted_run)
    assert table["epoch"].tolist() == [0, 1, 2, 5]
    np.testing.assert_allclose(table["divergence"], 0, atol=1e-12)
    np.testing.assert_allclose(table[["cosine", "same answer"]], 1)


def test_reweighting_with_the_runs_own_parameters_changes_nothing(planted_run):
    samples = planted_run.samples(3)
    table = views.reweighted(samples, NAW(), 3 / 5, 0.5)
    np.testing.assert_allclose(table["w* now"], table["w* recorded"])
    assert table["n"].tolist() == [126, 42, 42] and table[
        "share of the loss"
    ].sum() == pytest.approx(1)
    other = views.reweighted(samples, NAW(std_true=0.3), 3 / 5, 1.0)
    assert (other["w* now"] != table["w* now"])[["clean", "ambiguous"]].all()
    assert other.loc["noisy", "w* now"] == pytest.approx(table.loc["noisy", "w* now"])


def test_odd_runs_give_tables_without_nan(odd_run):
    for table in (
        views.over_epochs(odd_run),
        views.over_epochs(odd_run, "kind"),
        views.weight_share(odd_run),
    ):
        assert len(table) and not table.isna().any(axis=None)
    assert not views.memorisation(odd_run).isna().any()
    assert not views.separation(odd_run).isna().any()
    if list(odd_run.folder.glob("latents/*")):
        table = views.agreement(odd_run)
        assert list(table) == [
            "epoch",
            "divergence",
            "cosine",
            "same answer",
        ] and not table.isna().any(axis=None)
    else:
        with pytest.raises(RunError, match="no latent snapshots; train it anew"):
            views.agreement(odd_run)

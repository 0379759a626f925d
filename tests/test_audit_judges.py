"""Judges of labels by values worked out by hand, beside cleanlab's, and the studies around them."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import TINY, plant
from hypothesis import given, settings
from hypothesis import strategies as st
from small_data import QUICK, pictures

import nla
from nla.analysis import judges
from nla.analysis.audit import BY, audit
from nla.analysis.judges import DOUBTS, JUDGES, Evidence, evidence
from nla.analysis.paying import pays
from nla.analysis.ranking import ranking
from nla.study import judging, paying, workers
from nla.study.judging import Cell, compared, measure, quality, ranked
from nla.study.rows import StudyError
from nla.training.config import Config
from nla.training.folds import dealt, out_of_fold
from nla.training.loading import load_data
from nla.training.loop import TrainingError
from nla.training.record import RunError, read_run


def three(**more):
    """Three samples over two epochs: right, undecided, wrong."""
    p_gt = np.array([[0.5, 0.5, 0.1], [0.9, 0.4, 0.2]], np.float32)
    p_nn = np.array([[0.25, 0.4, 0.8], [0.05, 0.5, 0.8]], np.float32)
    weight = np.array([[0.2, 0.2, 0.02], [0.2, 0.4, 0.02]], np.float32)
    votes = np.zeros((3, 2))
    return Evidence(np.arange(3), np.array([0, 1, 0]), p_gt, p_nn, weight, votes, **more)


OUTSIDE = np.array([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]])


@pytest.mark.parametrize(
    "judge, expected",
    [
        ("margin", [(1 - 0.55) / 2, 0.5, (1 + 0.65) / 2]),
        ("logit_margin", [-np.log(36) / 2, 0, np.log(32) / 2]),
        ("confidence", [0.3, 0.55, 0.85]),
        ("contradicted", [0, 0.5, 1]),
        ("forgotten", [0, 1, 0]),
        ("weight", [-0.2, -0.3, -0.02]),
        ("trust", [-1, -0.75, -0.05]),
        ("self_confidence", [0.1, 0.5, 0.8]),
        ("normalized_margin", [0.1, 0.5, 0.8]),
        ("outside_margin", [0.05, 0.5, 0.85]),
        ("neighbours", [0.5, 1, 0.5]),
    ],
)
def test_judges_by_hand(judge, expected):
    latents = np.eye(3, dtype=np.float32)
    factor = np.array([[1, 1, 0.1], [1, 0.5, 0]], np.float32)
    outside = {"outside": OUTSIDE, "outside_margin": np.array([0.9, 0, -0.7])}
    found = three(latents=latents, factor=factor, **outside)
    np.testing.assert_allclose(JUDGES[judge](found), expected, atol=1e-6)


@pytest.mark.parametrize(
    "judge, expected",
    [
        ("undecided", [0.45, 1, 0.35]),
        ("spread", [0.2, 0.05, 0.05]),
        ("late_weight", [0.2, 0.4, 0.02]),
        ("outside_doubt", [0.325083, np.log(2), 0.500402]),
    ],
)
def test_doubts_by_hand(judge, expected):
    found = three(outside=OUTSIDE, outside_margin=np.zeros(3))
    np.testing.assert_allclose(DOUBTS[judge](found), expected, atol=1e-6)


def test_judges_without_their_evidence_say_what_is_missing():
    for judge in ("self_confidence", "normalized_margin", "outside_margin"):
        with pytest.raises(RunError, match="out-of-fold predictions: nla audit RUN --folds"):
            JUDGES[judge](three())
    with pytest.raises(RunError, match="needs the images"):
        JUDGES["neighbours"](three())
    with pytest.raises(RunError, match="no factor of its own on record: rank by weight"):
        JUDGES["trust"](three())
    lacking = {"neighbours", "trust", "self_confidence", "normalized_margin", "outside_margin"}
    assert set(judges.verdicts(three())) == set(JUDGES) - lacking


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 30), st.integers(2, 5), st.integers(0, 1000))
def test_the_scores_are_those_of_cleanlab(count, classes, seed):
    rank = pytest.importorskip("cleanlab.rank", reason="cleanlab is not installed")
    draw = np.random.default_rng(seed)
    p = draw.dirichlet(np.ones(classes), count)
    label = draw.integers(classes, size=count)
    none = np.zeros((1, count), np.float32)
    found = Evidence(
        np.arange(count), label, none, none, none, p, outside=p, outside_margin=none[0]
    )
    for name in ("self_confidence", "normalized_margin"):
        theirs = rank.get_label_quality_scores(label, p, method=name)
        np.testing.assert_allclose(JUDGES[name](found), 1 - theirs, atol=1e-6)


def test_order_of_the_samples_changes_nothing(planted_run):
    found = evidence(planted_run)
    mixed = np.random.default_rng(0).permutation(len(found.index))
    other = Evidence(
        found.index[mixed],
        found.label[mixed],
        found.p_gt[:, mixed],
        found.p_nn[:, mixed],
        found.weight[:, mixed],
        found.votes[mixed],
    )
    first, second = judges.verdicts(found), judges.verdicts(other)
    np.testing.assert_allclose(first.to_numpy()[mixed], second)


def test_a_combination_is_chosen_for_what_it_adds():
    draw = np.random.default_rng(0)
    wrong = draw.random(500) < 0.3
    one, two = (wrong + draw.normal(0, 0.7, 500) for _ in range(2))
    scores = pd.DataFrame({"noise": draw.random(500), "one": one, "two": two})
    names = judges.chosen(scores, wrong)
    assert set(names) == {"one", "two"}
    both = quality(judges.combined(scores, names), wrong)["average_precision"]
    assert both > max(quality(s, wrong)["average_precision"] for s in (one, two))
    shifted = scores.assign(one=1000 * scores["one"] + 3)  # ranks alone count
    np.testing.assert_array_equal(judges.combined(scores, names), judges.combined(shifted, names))


def test_copies_with_different_labels_are_found_by_pixels_and_near_ones_by_latents(tmp_path):
    run = plant(tmp_path / "run")
    assert judges.copies(run).empty  # no digests on record
    found = evidence(run)
    latents = np.random.default_rng(0).normal(size=(210, 8)).astype(np.float32)
    latents[5] = 1.001 * latents[200]
    pairs = judges.near_copies(judges.replace(found, latents=latents), run)
    assert sorted(pairs["index"]) == [5, 200] and pairs["group"].nunique() == 1
    assert set(pairs["labels"].iloc[0].split(", ")) == {"surprise", "neutral"}


@pytest.mark.parametrize(
    "by", [name for name in BY if name not in ("margin", "neighbours", "trust")]
)
def test_the_audit_ranks_by_any_judge(planted_run, by):
    folds = pd.DataFrame({"index": range(210), "margin": np.linspace(1, -1, 210)})
    for k, name in enumerate(planted_run.classes):
        folds[f"p_{name}"] = 0.4 if k == 0 else 0.1
    table = audit(planted_run, by, folds=folds)
    assert len(table) == 210 and set(table["seen"]) == {"trained on"}
    assert table["suspect"].is_monotonic_decreasing and table["suspect"].between(0, 1).all()
    assert "held-out rows are left out" in " ".join(table.attrs["notes"])
    if by == "combined":
        assert "by margin and outside_margin;" in " ".join(table.attrs["notes"])
    if by == "outside_margin":
        assert table["index"].iloc[0] == 209
    with pytest.raises(RunError, match="no judge is called 'me'; there are margin, "):
        audit(planted_run, "me")


def test_neighbours_are_asked_of_the_finished_model(tiny_run):
    images, _ = load_data(Config.parse(tiny_run.config))
    table = audit(tiny_run, "combined", images)
    assert "by margin and neighbours;" in " ".join(table.attrs["notes"])
    with pytest.raises(RunError, match="needs the images"):
        audit(tiny_run, "neighbours")


# Folds


def test_every_training_image_is_judged_by_a_model_that_did_not_see_it(tmp_path):
    images, manifest = pictures(21, 5, 3)
    config = replace(QUICK, epochs=2)
    table = out_of_fold(config, (images, manifest), tmp_path, 3, progress=False)
    train = np.flatnonzero(manifest["split"] == "train")
    assert table["index"].tolist() == train.tolist()
    columns = [name for name in table if name.startswith("p_")]
    np.testing.assert_allclose(table[columns].sum(axis=1), 1, atol=1e-5)
    assert table["margin"].between(-1, 1).all()
    seen = []
    for folder in sorted(tmp_path.glob("*/fold_*")):
        run = read_run(folder)
        held_out = run.manifest.query("split == 'test'").index
        seen += held_out.tolist()
        assert set(run.manifest["split"]) == {"train", "test"} and len(run.manifest) == 21
    assert sorted(seen) == list(range(21))
    for folder in tmp_path.glob("*/fold_0"):
        (folder / "card.json").write_text("not to be read again")
    again = out_of_fold(config, (images, manifest), tmp_path, 3, progress=False)
    pd.testing.assert_frame_equal(again, table)
    with pytest.raises(TrainingError, match="1 folds of 21 training images"):
        out_of_fold(config, (images, manifest), tmp_path, 1)


def test_copies_of_a_picture_are_judged_by_a_model_that_saw_none_of_them(tmp_path):
    images, manifest = pictures(21, 5, 3)
    train = np.flatnonzero(manifest["split"] == "train")
    images[train[7:14]] = images[train[:7]]
    out_of_fold(replace(QUICK, epochs=1), (images, manifest), tmp_path, 3, progress=False)
    for folder in tmp_path.glob("*/fold_*"):
        held_out = set(read_run(folder).manifest.query("split == 'test'").index)
        assert {row for row in held_out if row < 7} == {
            row - 7 for row in held_out if 7 <= row < 14
        }


def test_no_more_folds_than_different_pictures(tmp_path):
    images, manifest = pictures(21, 5, 3)
    train = np.flatnonzero(manifest["split"] == "train")
    images[train[2:]] = images[train[1]].clone()
    with pytest.raises(TrainingError, match="3 folds of 2 training images"):
        out_of_fold(QUICK, (images, manifest), tmp_path, 3)


def test_folds_of_another_config_are_other_folds(tmp_path):
    loaded = pictures(21, 5, 3)
    tables = []
    for options in ({"epochs": 1}, {"epochs": 2, "lr": 0.01}):
        config = replace(QUICK, **options)
        tables.append(out_of_fold(config, loaded, tmp_path, 3, progress=False))
    alone = out_of_fold(config, loaded, tmp_path / "alone", 3, progress=False)
    pd.testing.assert_frame_equal(tables[1], alone)
    assert not tables[0].equals(alone)


def test_folds_take_as_many_of_each_label():
    label = np.repeat([0, 1, 2], [9, 6, 3])
    fold = dealt(label, 3, seed=0)
    assert pd.crosstab(label, fold).to_numpy().tolist() == [[3] * 3, [2] * 3, [1] * 3]


# The studies


def test_quality_by_hand():
    target = np.array([True, False, True, False])
    row = quality(np.array([4.0, 3.0, 2.0, 1.0]), target)
    assert row["auroc"] == 0.75 and row["share"] == 0.5
    assert row["average_precision"] == pytest.approx((1 + 2 / 3) / 2)
    assert row["first_100"] == 0.5 and row["first_1_percent"] == 1


def test_a_combination_is_reported_on_the_half_it_was_not_chosen_on():
    half = np.arange(400) % 2 == 0
    target = np.arange(400) % 4 < 2
    draw = np.random.default_rng(0)
    right_on_even = np.where(half, target, draw.random(400))
    right_on_odd = np.where(~half, target, draw.random(400))
    theirs = target.astype(float)  # cleanlab's, and not for us to take
    scores = pd.DataFrame({"even": right_on_even, "odd": right_on_odd, "cleanlab x": theirs})
    rows = pd.DataFrame(ranked(scores, target, half, "wrong")).set_index("judge")
    assert rows.loc["cleanlab x", "average_precision"] == 1
    assert rows.loc["combined (chosen)", "chosen"] == "odd | even"
    assert rows.loc["combined (chosen)", "auroc"] < 0.6


SMALL = replace(judging.FACES, train_faces=90, test_faces=20, epochs=1, size=24, probe=8)


def a_table(**precision):
    """Two judges of ours, a combination and two scores of cleanlab's, over three seeds."""
    rows = []
    for judge, values in precision.items():
        name = judge.replace("_", " ").replace("combined chosen", "combined (chosen)")
        for seed, value in enumerate(values):
            rows.append({"judge": name, "seed": seed, "average_precision": value})
    where = {"data": "faces", "network": "small_resnet", "kind": "pair", "ratio": 0.1}
    return pd.DataFrame(rows).assign(**where, target="wrong", share=0.09)


TABLE = a_table(
    margin=[0.7, 0.7, 0.7],
    weight=[0.6, 0.6, 0.6],
    combined_chosen=[0.8, 0.7, 0.9],
    cleanlab_a=[0.5, 0.5, 0.5],
    cleanlab_b=[0.6, 0.5, 0.7],
)


def test_a_setting_is_compared_with_the_best_of_cleanlab_by_seed():
    row = compared(TABLE).iloc[0]
    assert row["alone"] == "margin" and row["best alone"] == pytest.approx(0.7)
    assert row["cleanlab"] == "b" and row["its best"] == pytest.approx(0.6)
    assert row["seeds"] == 3 and row["share"] == pytest.approx(0.09)
    assert row[["gain", "low", "high"]].tolist() == pytest.approx([0.2, 0.2, 0.2])
    apart = compared(TABLE[~TABLE["judge"].str.startswith("cleanlab")])
    assert "gain" not in apart and apart["combined (chosen)"].iloc[0] == pytest.approx(0.8)


def test_the_figure_of_judges_shows_their_means_and_the_best_of_cleanlab():
    more = TABLE.assign(ratio=0.3, share=0.28, average_precision=TABLE["average_precision"] / 2)
    figure = ranking(pd.concat([TABLE, more]))
    (ax,) = figure.axes
    assert ax.get_title("left") == "flipped to the class alike, n = 3"
    fewer = ranking(pd.concat([TABLE, more[more["seed"] > 0]]))
    assert fewer.axes[0].get_title("left").endswith("n ≥ 2")
    lines = {line.get_label(): line for line in ax.lines}
    assert lines["averaged margin"].get_ydata() == pytest.approx([0.7, 0.35])
    assert lines["cleanlab, the best of its six"].get_ydata() == pytest.approx([0.6, 0.3])
    assert lines["in any order"].get_ydata() == pytest.approx([0.09, 0.28])
    assert lines["w*"].get_xdata() == pytest.approx([10, 30])
    with pytest.raises(RunError, match="no setting with planted noise"):
        ranking(TABLE.assign(kind="real"))


@pytest.fixture
def threads(monkeypatch, tmp_path):
    """Studies run in threads of this process, so that what is patched here holds there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(judging, "FOLDS", 2)
    monkeypatch.setattr(paying, "SHARES", (0.1,))
    monkeypatch.setattr(workers, "worker", lambda: ThreadPoolExecutor(1))


PAIR = Cell(SMALL, "pair", 0.3)


def test_the_tables_of_the_studies_are_resumed_and_drawn(tmp_path, threads):
    cells = [PAIR, Cell(replace(SMALL, ambiguous=0.5), "ambiguous", 0.5)]
    file = tmp_path / "judges.csv"
    table = measure(cells, file, judging.judged, resume=False)
    assert set(table["target"]) == {"wrong", "ambiguous"}
    assert {"margin", "neighbours", "outside_margin", "combined"} <= set(table["judge"])
    assert (table["version"] == nla.__version__).all() and table["machine"].notna().all()
    assert not list(judging.SCRATCH.iterdir())  # run folders go when their rows are there
    with pytest.raises(StudyError, match="--resume adds what is missing"):
        measure(cells, file, judging.judged, resume=False)

    def refused(cell):
        raise AssertionError("it was to be read")

    again = measure(cells, file, refused, resume=True)
    assert len(again) == len(table)
    assert compared(table)["seeds"].tolist() == [1, 1]
    looked = measure(cells[:1], tmp_path / "mending.csv", paying.paid, resume=False)
    expected = ["nothing", "mended", "dropped", "mended at random", "all mended"]
    assert looked["way"].tolist() == expected and looked["faces"].tolist() == [0, 9, 9, 9, 90]
    axes = pays(looked).axes
    assert [ax.get_ylabel() for ax in axes] == ["overall accuracy (%)", "mean accuracy (%)"]
    assert axes[-1].get_xlabel() == "labels looked at (%)"


def test_a_cell_that_fails_is_named_and_the_others_go_on(tmp_path, threads):
    cells = [PAIR, Cell(SMALL, "instance", 0.3)]
    file = tmp_path / "judges.csv"

    def half_of_them(cell):
        if cell.kind == "pair":
            raise ValueError("no such face")
        return [cell.facts | {"judge": "margin"}]

    with pytest.raises(StudyError, match="1 of 2 cells failed.*--resume.*no such face.*pair"):
        measure(cells, file, half_of_them, resume=False)
    assert pd.read_csv(file)["kind"].tolist() == ["instance"]
    measure(cells, file, lambda cell: [cell.facts | {"judge": "margin"}], resume=True)
    assert pd.read_csv(file)["kind"].tolist() == ["instance", "pair"]


def test_cells_in_two_processes_say_what_one_process_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    cells = [PAIR, Cell(SMALL, "symmetric", 0.3)]
    at_once = measure(cells, tmp_path / "two.csv", judging.judged, resume=False, jobs=2)
    in_turn = measure(cells, tmp_path / "one.csv", judging.judged, resume=False, jobs=1)
    order = ["key", "target", "judge"]
    one, two = (table.sort_values(order, ignore_index=True) for table in (in_turn, at_once))
    pd.testing.assert_frame_equal(one, two, rtol=0, atol=0)


@pytest.mark.parametrize("kind", judging.NOISE)
def test_halves_and_folds_know_nothing_of_the_noise_of_their_seed(kind):
    config = replace(SMALL, train_faces=600, seed=3)
    _, manifest = Cell(config, kind, 0.4).loaded()
    train = manifest.query("split == 'train'")
    wrong = (train["kind"] == "noisy").to_numpy()
    half = judging.halves(len(train), 3)
    assert abs(wrong[half].mean() - wrong[~half].mean()) < 0.12
    fold = dealt(train["label"].to_numpy(), 4, 3)
    assert max(abs(wrong[fold == k].mean() - wrong.mean()) for k in range(4)) < 0.12


def test_all_kinds_of_noise_are_planted_as_asked_for():
    for kind in judging.NOISE:
        _, manifest = Cell(SMALL, kind, 0.4).loaded()
        train = manifest.query("split == 'train'")
        assert 0.2 < (train["kind"] == "noisy").mean() < 0.6
        assert (manifest.query("split == 'test'")["kind"] != "noisy").all()


@pytest.mark.parametrize("package", [None, "a file"])
def test_settings_differ_and_the_network_that_knows_faces_is_among_them_where_it_is(
    package, monkeypatch
):
    monkeypatch.setattr(judging.dlib_format, "installed", lambda: package)
    cells = judging.cells(5)
    keys = [cell.key for cell in cells]
    assert len(keys) == len(set(keys)) == 5 * (15 + 1 + 1 + (package is not None))
    assert ("face_resnet" in {cell.config.model for cell in cells}) == (package is not None)


def test_the_price_of_a_point_is_read_off_between_the_shares():
    rows = [("nothing", 0, 50.0), ("mended", 10, 50.5), ("mended", 20, 52.5), ("dropped", 10, 50.2)]
    table = pd.DataFrame(rows, columns=["way", "faces", "mean"]).assign(data="faces")
    assert paying.price(table.rename(columns={"mean": "overall"}), metric="overall").notna().any()
    found = paying.price(table)
    assert found["faces", "mended"] == 12.5 and np.isnan(found["faces", "dropped"])


def test_mending_takes_the_truth_and_dropping_the_rows(tmp_path):
    _, manifest = load_data(replace(TINY, train_faces=40, test_faces=10))
    order = np.flatnonzero(manifest["label"] != manifest["true_label"])
    mended, kept = paying.treated(manifest, "mended", order, 1.0)
    assert kept.all() and (mended["label"] == mended["true_label"]).all()
    dropped, kept = paying.treated(manifest, "dropped", order, 0.5)
    assert len(dropped) == kept.sum() == len(manifest) - round(len(order) / 2)

import hashlib

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_datasets import refused

from nla.data import EXPRESSIONS, flip_labels, imbalance, make_faces, relabel
from nla.data.corruption import (
    confuse_labels,
    draw_labels,
    flip_by_prediction,
    flip_pairs,
    pair_matrix,
    relabelled,
    write_list,
)
from nla.files import WriteError

COUNTS = (1290, 281, 717, 4772, 1982, 705, 2524)


def rafdb_like(counts=COUNTS, test=10):
    """A manifest with RAF-DB's class proportions, classes mixed, and some test rows."""
    label = np.repeat(range(len(counts)), counts)
    label = np.concatenate(
        [label[np.argsort(np.arange(len(label)) * 7919 % len(label))], np.arange(test) % 7]
    )
    split = np.where(np.arange(len(label)) < sum(counts), "train", "test")
    return pd.DataFrame(
        {
            "path": [f"{s}_{i:05d}_aligned.jpg" for i, s in enumerate(split)],
            "label": label,
            "true_label": label,
            "split": split,
        }
    )


def digest(manifest):
    return hashlib.sha256(manifest["label"].to_numpy().astype("<i8").tobytes()).hexdigest()[:16]


def uniform(rows, classes=7):
    return np.random.default_rng(5).random((rows, classes))


NOISE = {
    "symmetric": lambda m, seed: flip_labels(m, 0.3, seed),
    "pair": lambda m, seed: confuse_labels(m, pair_matrix(0.3), seed),
    "prediction": lambda m, seed: flip_by_prediction(
        m, uniform(sum(m["split"] == "train")), 0.3, seed
    ),
}


@pytest.mark.parametrize("name", NOISE)
def test_noise_touches_training_labels_only_and_keeps_the_truth(name):
    manifest = rafdb_like()
    before = manifest.copy()
    noisy = NOISE[name](manifest, 3)
    pd.testing.assert_frame_equal(manifest, before)
    assert noisy["true_label"].equals(before["true_label"]) and noisy["split"].equals(
        before["split"]
    )
    changed = noisy["label"] != noisy["true_label"]
    assert not changed[noisy["split"] == "test"].any()
    rate = changed[noisy["split"] == "train"].mean()
    assert abs(rate - 0.3) < 4 * np.sqrt(0.3 * 0.7 / sum(COUNTS))
    assert noisy["kind"].equals(
        pd.Series(np.where(changed, "noisy", "clean"), dtype=noisy["kind"].dtype)
    )
    assert noisy["label"].between(0, 6).all()


@pytest.mark.parametrize(
    "name, expected",
    [
        ("symmetric", "26562e255d91906a"),
        ("pair", "7469a934bbedee8e"),
        ("prediction", "c8ecae51b2a6f967"),
    ],
)
def test_a_seed_gives_the_same_labels_everywhere(name, expected):
    assert digest(NOISE[name](rafdb_like(), 7)) == expected
    assert digest(NOISE[name](rafdb_like(), np.random.default_rng(7))) == expected
    assert digest(NOISE[name](rafdb_like(), 8)) != expected


def test_imbalance_is_the_same_everywhere():
    assert digest(imbalance(rafdb_like(), 20, 7)) == "cf6ed58b2e9965ec"
    assert digest(imbalance(rafdb_like(), 20, 7, "step")) == "08f3be20ffed15a3"


def test_symmetric_flips_are_uniform_over_the_other_classes():
    noisy = flip_labels(rafdb_like(), 0.6, 1)
    table = pd.crosstab(noisy["true_label"], noisy["label"])
    for truth in range(7):
        others = table.loc[truth].drop(truth)
        expected = others.sum() / 6
        assert (
            (others - expected) ** 2 / expected
        ).sum() < 22.5  # chi-square, 5 degrees, p = .0004


@given(st.floats(0, 1), st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_any_ratio_and_seed(ratio, seed):
    manifest = rafdb_like((40, 9, 30))
    noisy = flip_labels(manifest, ratio, seed)
    changed = (noisy["label"] != manifest["label"])[:79]
    assert noisy["label"].between(0, 6).all() and noisy["true_label"].equals(manifest["true_label"])
    assert (
        changed.all()
        if ratio == 1
        else not changed.any()
        if ratio == 0
        else abs(changed.mean() - ratio) < 0.35
    )


def test_a_planted_kind_is_kept_where_the_label_stays():
    manifest = rafdb_like().assign(kind="ambiguous")
    noisy = flip_labels(manifest, 0.3, 1)
    changed = noisy["label"] != manifest["label"]
    assert (noisy["kind"] == np.where(changed, "noisy", "ambiguous")).all()


def test_confusion_matrix_rates():
    matrix = np.random.default_rng(0).dirichlet(np.ones(7), 7)
    noisy = confuse_labels(rafdb_like(), matrix, 2)[: sum(COUNTS)]
    found = pd.crosstab(noisy["true_label"], noisy["label"], normalize="index").to_numpy()
    assert (abs(found - matrix) < 5 * np.sqrt(0.25 / np.array(COUNTS))[:, None]).all()
    pairs = confuse_labels(rafdb_like(), pair_matrix(0.4), 2)
    assert set((pairs["label"] - pairs["true_label"]) % 7) == {0, 1}
    for wrong in (np.eye(6), np.eye(7) * 0.9, -np.eye(7), pair_matrix(1.5)):
        refused("7 x 7 probabilities", confuse_labels, rafdb_like(), wrong, 0)


def test_prediction_noise_goes_where_the_model_doubts():
    manifest = rafdb_like((200, 200, 200), test=0)
    probabilities = np.full((600, 3), 0.001)
    label = manifest["label"].to_numpy()
    probabilities[np.arange(600), label] = 1
    doubtful = np.arange(600) % 4 == 0
    probabilities[doubtful, (label[doubtful] + 1) % 3] = 0.9
    noisy = flip_by_prediction(manifest, probabilities, 0.2, 0)
    changed = (noisy["label"] != label).to_numpy()
    assert (
        changed.sum() == 120 and changed[doubtful].mean() > 0.7 and changed[~doubtful].mean() < 0.03
    )
    moved = changed & doubtful
    assert (noisy["label"].to_numpy()[moved] == (label[moved] + 1) % 3).all()
    refused("finite probabilities", flip_by_prediction, manifest, probabilities[:5], 0.2, 0)
    refused("finite probabilities", flip_by_prediction, manifest, probabilities * np.nan, 0.2, 0)


@pytest.mark.parametrize("prefix, unit", [("p_", 1.0), ("votes_", 10)])
def test_labels_drawn_from_the_distribution(prefix, unit):
    manifest = rafdb_like((3000, 1, 1, 1, 1, 1, 1))
    for name in EXPRESSIONS[:7]:
        manifest[prefix + name] = 0 * unit
    manifest[[f"{prefix}surprise", f"{prefix}fear"]] = [0.6 * unit, 0.4 * unit]
    drawn = draw_labels(manifest, 0)
    train = drawn["split"] == "train"
    assert (
        set(drawn["label"][train]) == {0, 1}
        and abs((drawn["label"][train] == 1).mean() - 0.4) < 0.04
    )
    assert drawn["label"][~train].equals(manifest["label"][~train])
    refused("no distribution to draw from", draw_labels, rafdb_like(), 0)


@pytest.mark.parametrize("factor", [1, 10, 20, 50, 100, 150])
@pytest.mark.parametrize("profile", ["exponential", "step"])
def test_imbalance_reaches_its_factor_in_natural_order(factor, profile):
    manifest = rafdb_like()
    thin = imbalance(manifest, factor, 1, profile)
    counts = thin[thin["split"] == "train"]["label"].value_counts()
    assert counts.max() / counts.min() == pytest.approx(factor, rel=0.5 / counts.min() + 0.01)
    natural = np.argsort(-np.array(COUNTS))
    ordered = counts[natural].to_numpy()
    assert (np.diff(ordered) <= 0).all() and (ordered <= np.array(COUNTS)[natural]).all()
    if profile == "exponential":
        assert np.allclose(ordered, ordered[0] * float(factor) ** (-np.arange(7) / 6), atol=1)
    pd.testing.assert_frame_equal(thin, manifest.loc[thin.index])
    assert (thin["split"] == "test").sum() == 10 and thin.index.is_monotonic_increasing


def test_refusals():
    manifest = rafdb_like()
    for ratio in (-0.1, 1.1, float("nan")):
        refused("number from 0 to 1", flip_labels, manifest, ratio, 0)
    for factor in (0.5, 0, float("nan"), float("inf")):
        refused("factor of at least 1", imbalance, manifest, factor, 0)
    refused("exponential or step", imbalance, manifest, 10, 0, "linear")
    for corrupt in (flip_labels, imbalance, flip_pairs):
        refused("no training rows", corrupt, manifest[manifest["split"] == "test"], 1, 0)


def test_the_list_is_the_literatures_and_reads_back(tmp_path):
    manifest = rafdb_like((5, 4, 3), test=3)
    noisy = flip_labels(manifest, 0.5, 1)
    write_list(noisy, tmp_path / "noise.txt")
    lines = (tmp_path / "noise.txt").read_text().splitlines()
    assert lines == [
        f"train_{i:05d}.jpg {label + 1}" for i, label in enumerate(noisy["label"][:12])
    ]
    assert relabel(manifest, tmp_path / "noise.txt")["label"].equals(noisy["label"])
    rows = manifest.drop(columns="path").assign(row=range(len(manifest)))
    write_list(rows.assign(label=noisy["label"]), tmp_path / "rows.txt")
    assert relabel(rows, tmp_path / "rows.txt")["label"].equals(noisy["label"])
    with pytest.raises(WriteError, match="cannot be written"):
        write_list(noisy, tmp_path / "rows.txt/noise.txt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["noise.txt", "rows.txt"]


@pytest.mark.parametrize(
    "names",
    [
        ("Zornig Überrascht", "sehr fröhlich", "fröhlich"),
        ("0", "1", "2"),
        ("3", "2", "1"),
        ("1", "10.0", "3_calm"),
        ("2 tired", "1 calm", "no label"),
    ],
)
def test_classes_of_ones_own_are_listed_by_name_whatever_their_order(tmp_path, names):
    manifest = rafdb_like((5, 4, 3), test=3)
    manifest.attrs["classes"] = list(names)
    noisy = flip_labels(manifest, 0.5, 1)
    write_list(noisy, tmp_path / "noise.txt")
    assert relabel(manifest, tmp_path / "noise.txt")["label"].equals(noisy["label"])
    turned = manifest.assign(label=2 - manifest["label"])
    turned.attrs["classes"] = list(names[::-1])
    after = relabel(turned, tmp_path / "noise.txt")
    train = after["split"] == "train"
    assert (2 - after["label"][train]).equals(noisy["label"][train])


ABSENT = (300, 100, 200, 400, 150, 120, 0, 90)  # CK+: contempt, and no neutral


def ck():
    """CK+-like training rows, and test rows of the same classes."""
    manifest = rafdb_like(ABSENT, test=0)
    test = manifest[::100].assign(split="test")
    return pd.concat([manifest, test], ignore_index=True)


@pytest.mark.parametrize("corrupt", [flip_labels, flip_pairs])
def test_labels_move_among_the_classes_that_occur(corrupt):
    noisy = corrupt(ck(), 0.4, 3)
    table = pd.crosstab(noisy["true_label"], noisy["label"])
    assert list(table.columns) == [0, 1, 2, 3, 4, 5, 7]
    changed = noisy["label"] != noisy["true_label"]
    assert changed[noisy["split"] == "train"].mean() == pytest.approx(0.4, abs=0.05)
    if corrupt is flip_pairs:
        following = {0: 1, 1: 2, 2: 3, 3: 4, 4: 5, 5: 7, 7: 0}
        moved = noisy[changed]
        assert moved["label"].equals(moved["true_label"].map(following))
    else:
        assert (table.to_numpy() > 0).all()


def test_an_absent_class_moves_no_draw_of_the_others():
    seven = rafdb_like((300, 100, 200, 400, 150, 120, 90), test=0)
    eight = rafdb_like(ABSENT, test=0)
    order = np.array([0, 1, 2, 3, 4, 5, 7])
    for corrupt in (flip_labels, flip_pairs):
        expected = order[corrupt(seven, 0.3, 5)["label"]]
        assert (corrupt(eight, 0.3, 5)["label"] == expected).all()


def test_all_classes_there_pairs_are_the_matrix():
    manifest = rafdb_like()
    by_matrix = confuse_labels(manifest, pair_matrix(0.3), 7)
    pd.testing.assert_frame_equal(flip_pairs(manifest, 0.3, 7), by_matrix)


def test_what_would_invent_a_class_is_refused_or_left_out():
    manifest = ck()
    message = r"turns anger \(row 5\) into neutral \(column 6\), which no training image has"
    refused(message, confuse_labels, manifest, pair_matrix(0.3, 8), 0)
    probabilities = np.full((sum(ABSENT), 8), 0.01)
    probabilities[:, 6] = 0.9
    assert 6 not in set(flip_by_prediction(manifest, probabilities, 0.5, 0)["label"])
    single = rafdb_like((20,), test=0)
    for corrupt in (flip_labels, flip_pairs):
        refused("all training labels are surprise", corrupt, single, 0.3, 0)
        assert corrupt(single, 0, 0)["label"].eq(0).all()


def test_rows_without_votes_are_named():
    manifest = rafdb_like((3, 3, 3, 3, 3, 3, 3), test=0)
    manifest[[f"votes_{name}" for name in EXPRESSIONS[:7]]] = 1
    manifest.loc[4, [f"votes_{name}" for name in EXPRESSIONS[:7]]] = 0
    refused("row 4: the votes_<class> columns are no distribution", draw_labels, manifest, 0)


@pytest.mark.parametrize("noise", [0.2, 0.4])
@pytest.mark.parametrize("factor", [10, 50])
def test_noise_and_imbalance_together_are_both_as_asked(noise, factor):
    noisy = flip_labels(rafdb_like((4000,) * 7), noise, 1)
    thin = imbalance(noisy, factor, 2)
    train = thin[thin["split"] == "train"]
    counts = train["true_label"].value_counts()
    assert counts.max() / counts.min() == pytest.approx(factor, rel=0.02)
    wrong = train["label"] != train["true_label"]
    assert wrong.mean() == pytest.approx(noise, abs=0.02)
    assert wrong[train["true_label"] == counts.idxmin()].mean() == pytest.approx(noise, abs=0.15)
    truth = noisy.assign(label=noisy["true_label"])
    assert thin.index.equals(imbalance(truth, factor, 2).index)  # the noise moves no draw


def test_a_factor_out_of_reach_is_said():
    manifest = rafdb_like((30, 20, 10), test=0)
    manifest.attrs["notes"] = ["kept"]
    thin = imbalance(manifest, 150, 0)
    assert thin.attrs["notes"][0] == "kept"
    assert (
        "150 is not reached: the largest class keeps 30 and the smallest 1"
        in thin.attrs["notes"][1]
    )
    assert imbalance(manifest, 5, 0).attrs["notes"] == ["kept"]


@pytest.mark.parametrize(
    ("each", "said"),
    [
        (150, "100 is not reached: the largest class keeps 150 and the smallest 2"),
        (145, "100 is exceeded: the largest class keeps 145 and the smallest 1"),
    ],
)
def test_a_factor_that_whole_images_miss_is_said(each, said):
    thin = imbalance(rafdb_like((each, each, each), test=0), 100, 0)
    assert said in thin.attrs["notes"][0]
    assert "notes" not in imbalance(rafdb_like((200, 200, 200), test=0), 100, 0).attrs


def test_an_image_that_people_disagree_on_stays_ambiguous_under_its_true_label():
    """Whoever mends a wrong label does not make the face a clear one."""
    manifest = rafdb_like((4, 0, 0), test=0).assign(label=1, kind="noisy")
    votes = {f"votes_{name}": 0 for name in EXPRESSIONS}
    winner = f"votes_{EXPRESSIONS[int(manifest['true_label'].iloc[0])]}"
    manifest = manifest.assign(**votes | {winner: [10, 7, 6, 4]})
    manifest["votes_contempt"] = [0, 3, 4, 1]  # of the last, five said that they do not know
    rows, truth = np.arange(4), manifest["true_label"].to_numpy()
    mended = relabelled(manifest, rows, truth)
    assert mended["kind"].tolist() == ["clean", "clean", "ambiguous", "ambiguous"]
    assert relabelled(mended, rows, truth + 1)["kind"].eq("noisy").all()


def test_a_drawn_blend_stays_ambiguous_under_its_stronger_expression():
    manifest = make_faces(400, 0, size=16, ambiguous=0.5, noisy=0.2)[1]
    true = relabelled(manifest, np.arange(400), manifest["true_label"].to_numpy())
    blend = manifest["kind"] == "ambiguous"
    assert (manifest["label"] != manifest["true_label"])[blend].any()
    assert (true["kind"] == np.where(blend, "ambiguous", "clean")).all()


def test_a_list_sets_kind_by_the_one_rule(tmp_path):
    manifest = rafdb_like((5, 4, 3), test=3).assign(kind="clean")
    noisy = flip_labels(manifest, 0.5, 1)
    write_list(noisy, tmp_path / "noise.txt")
    for before in (manifest, manifest.drop(columns="kind")):
        after = relabel(before, tmp_path / "noise.txt")
        assert after["kind"].tolist() == noisy["kind"].tolist()
        assert after.attrs["notes"] == [f"training labels taken from {tmp_path / 'noise.txt'}"]
    write_list(manifest, tmp_path / "clean.txt")
    again = relabel(noisy, tmp_path / "clean.txt")
    assert again["kind"].eq("clean").all() and again["label"].equals(manifest["label"])


def listed(tmp_path, *lines):
    path = tmp_path / "list.txt"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_lists_as_people_have_them(tmp_path):
    """Names composed or not, by path, with blank lines; errors name the list's line."""
    names = ["a/\u00e9.jpg", "a/2.jpg", "b/\u00fc_aligned.jpg"]
    manifest = pd.DataFrame(
        {"path": names, "label": [0, 1, 2], "true_label": [0, 1, 2], "split": "train"}
    )
    by_name = listed(tmp_path, "e\u0301.jpg 2", "", "2.jpg 3", "u\u0308.jpg 1")
    assert relabel(manifest, by_name)["label"].tolist() == [1, 2, 0]
    by_path = listed(tmp_path, "a/e\u0301.jpg 2", "a/2.jpg 3", "b/u\u0308_aligned.jpg 1")
    assert relabel(manifest, by_path)["label"].tolist() == [1, 2, 0]
    strange = listed(tmp_path, "\u00e9.jpg 1", "", "2.jpg 2", "9.jpg 2", "\u00fc.jpg 1")
    refused("list.txt, line 4: '9.jpg' is no image of this data set", relabel, manifest, strange)
    for bad in ("0", "8", "9"):
        outside = listed(tmp_path, "\u00e9.jpg 1", f"2.jpg {bad}", "\u00fc.jpg 1")
        refused(f"list.txt, line 2: '{bad}' is no label", relabel, manifest, outside)

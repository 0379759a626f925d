"""How far a difference moves with the test set, on answers that are made for it."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from nla.study import shared_images
from nla.study.ledger import effect
from nla.study.shared_images import (
    movement,
    movement_of_weights,
    resampled_weights,
    spread_of_shared_images,
)


def run_of(truth, prediction):
    table = pd.DataFrame({"true_label": truth, "prediction": prediction, "split": "test"})
    return SimpleNamespace(predictions=lambda: table)


def test_the_movement_is_the_spread_over_test_sets_that_are_drawn_anew():
    """One method errs on a fifth of the faces, the other on another tenth; two seeds alike."""
    draw = np.random.default_rng(0)

    def drawn(n=400):
        truth = draw.integers(4, size=n)
        wrong = draw.random(n)
        first = np.where(wrong < 0.2, (truth + 1) % 4, truth)
        second = np.where(wrong > 0.9, (truth + 1) % 4, truth)
        return truth, first, second

    gains = []
    for _ in range(2000):
        truth, first, second = drawn()
        gains.append(100 * np.mean((first == truth).astype(float) - (second == truth)))
    truth, first, second = drawn()
    runs = {"a": [run_of(truth, first)] * 2, "b": [run_of(truth, second)] * 2}
    found = movement(runs).iloc[0]
    assert (found["method"], found["against"]) == ("a", "b")
    assert found["overall"] == pytest.approx(np.var(gains), rel=0.2)
    assert found["mean"] == pytest.approx(found["overall"], rel=0.2)  # even classes


def test_what_each_seed_has_of_its_own_is_none_of_the_movement():
    """Three seeds err on faces of their own: their spread shows it, nothing moves together."""
    draw = np.random.default_rng(0)
    truth = np.arange(4000) % 4

    def errs(share):
        return run_of(truth, np.where(draw.random(4000) < share, (truth + 1) % 4, truth))

    runs = {name: [errs(share) for _ in range(3)] for name, share in (("a", 0.2), ("b", 0.3))}
    alone = movement({name: [of_seeds[0]] * 2 for name, of_seeds in runs.items()}).iloc[0]
    found = movement(runs).iloc[0]
    assert abs(found["overall"]) < 0.1 * alone["overall"]


def test_two_methods_that_give_the_same_answers_do_not_part_on_other_faces():
    truth = np.arange(40) % 4
    runs = {name: [run_of(truth, truth % 3)] * 2 for name in "ab"}
    assert movement(runs)[["overall", "mean"]].eq(0).all(axis=None)


def test_the_mean_moves_more_where_a_class_is_rare():
    draw = np.random.default_rng(1)
    truth = np.where(draw.random(1000) < 0.02, 1, 0)
    answers = [np.where(draw.random(1000) < share, 1 - truth, truth) for share in (0.2, 0.3)]
    found = movement({name: [run_of(truth, said)] * 2 for name, said in zip("ab", answers)}).iloc[0]
    assert found["mean"] > 4 * found["overall"]


def test_intervals_allow_for_other_test_sets(monkeypatch, tmp_path):
    gains = [1.0, 2.0, 3.0]
    alone, moving = effect(gains), effect(gains, moves=1.0)
    half = 4.3027 * (1 / 3 + 1) ** 0.5
    assert (moving["low"], moving["high"]) == pytest.approx((2 - half, 2 + half), abs=1e-3)
    assert alone["effect"] == moving["effect"] == 2 and alone["p"] < moving["p"]
    table = tmp_path / "t.csv"
    table.write_text("data,overall,mean,seeds,images\nfaces,0.5,1.1,3,1000\n", encoding="utf-8")
    monkeypatch.setattr(shared_images, "TABLE", table)
    assert (
        spread_of_shared_images("faces", "mean")
        == spread_of_shared_images("faces", "best_mean")
        == 1.1
    )
    for read in ("adjusted_mean", "best_adjusted_mean", "with_prior_mean"):
        assert spread_of_shared_images("faces", read) == 1.1
    assert spread_of_shared_images("faces", "overall") == 0.5
    assert spread_of_shared_images("faces", "overall", tested=4000) == 0.25
    assert spread_of_shared_images("faces, true labels", "mean", tested=1000) == 1.1
    assert spread_of_shared_images("affectnet", "mean", tested=4000) == 0
    assert spread_of_shared_images("faces", "minority_last - minority_first") == 0


def test_sameness_is_found_by_two_one_sided_tests():
    same, apart, between = (
        effect(np.array([-0.1, 0, 0.1]) + shift, margin=1.0) for shift in (0, 3, 1)
    )
    error = 0.1 / 3**0.5
    p = 2 * 0.5 * (1 - (1 / error) / ((1 / error) ** 2 + 2) ** 0.5)  # t with 2 degrees of freedom
    assert same["p"] == pytest.approx(p) and apart["p"] == pytest.approx(p / 4, rel=0.01)
    assert between["p"] == pytest.approx(1)


def recorded(weight, kind, label, classes=4):
    """A run that recorded the same of every sample in two epochs."""
    samples = pd.DataFrame(
        {"index": np.arange(len(weight)), "weight": weight, "kind": kind, "label": label}
    )
    return SimpleNamespace(
        samples=lambda epoch: samples.assign(weight=samples["weight"] ** (1 + epoch)),
        manifest=samples,
        epochs=pd.DataFrame(index=range(2)),
        classes=[*"abcd"][:classes],
    )


def of_weights(draw, n=300, own=0.0):
    """Weights of n samples of which a fifth is wrong, a tenth ambiguous and a tenth of class 1."""
    kind = np.repeat(["clean", "ambiguous", "noisy"], [7 * n // 10, n // 10, n // 5])
    label = np.where(np.arange(n) % 10 == 0, 1, 0)
    weight = 1 + draw.normal(size=n) + 0.5 * (kind == "ambiguous") + 0.3 * label
    return [
        recorded(1 / (1 + np.exp(-weight - own * draw.normal(size=n))), kind, label, 2)
        for _ in range(2)
    ]


def test_what_weights_do_moves_as_it_does_over_training_sets_that_are_drawn_anew():
    draw = np.random.default_rng(0)
    alike = np.ones((1, 300), dtype=int)
    values = []
    for _ in range(400):
        run = of_weights(draw)[0]
        first, last = (resampled_weights(run, epoch, alike) for epoch in (0, 1))
        values.append([*first["auroc_noisy"], *first["auroc_clean"]])
        values[-1].append(float(last["minority"][0] - first["minority"][0]))
    expected = np.var(values, axis=0)
    found = np.mean(
        [[*movement_of_weights(of_weights(draw), 200).values()] for _ in range(8)], axis=0
    )
    assert found == pytest.approx(expected, rel=0.25)


def test_of_weights_too_what_each_seed_has_of_its_own_is_none_of_the_movement():
    shared = movement_of_weights(of_weights(np.random.default_rng(0)), 200)
    own = movement_of_weights(of_weights(np.random.default_rng(0), own=30.0), 200)
    assert all(own[name] < 0.5 * shared[name] for name in ("auroc_noisy", "auroc_clean"))


def test_an_image_that_is_drawn_twice_counts_twice():
    weight = np.array([1.0, 4.0, 2.0, 3.0])
    kind = ["noisy", "ambiguous", "ambiguous", "clean"]
    run = recorded(weight, kind, label=[0, 1, 0, 0], classes=2)
    times = np.array([[1, 1, 1, 1], [2, 1, 0, 1], [1, 1, 2, 3]])
    found = resampled_weights(run, 0, times)
    assert found["auroc_noisy"].tolist() == [1.0, 1.0, 1.0]
    assert found["auroc_clean"] == pytest.approx([1 / 2, 1, 1 / 3])
    assert found["minority"] == pytest.approx([4 / 10 * 4, 4 / 9 * 4, 4 / 18 * 7])


def test_what_w_tells_apart_is_moved_by_the_photographs_all_seeds_train_on(monkeypatch, tmp_path):
    table = tmp_path / "t.csv"
    table.write_text(
        "data,overall,mean,seeds,images,auroc_noisy,minority\n"
        "faces,0.5,1.1,3,1000,,\nfer2013,0.1,0.3,3,1800,0.003,0.02\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(shared_images, "TABLE", table)
    for epoch in ("first", "best", "last"):
        measure = f"auroc_noisy_{epoch} - 0.5"
        assert spread_of_shared_images("fer2013, true labels", measure, tested=50) == 0.003
        assert spread_of_shared_images("faces", measure) == 0
    assert spread_of_shared_images("fer2013", "minority_last - minority_first") == 0.02
    assert spread_of_shared_images("fer2013", "auroc_clean_last - 0.5") == 0  # not measured
    assert spread_of_shared_images("fer2013", "change") == 0

"""A trial tells what a recipe takes before it is begun, and leaves nothing behind."""

import dataclasses

import pytest
import torch
from conftest import TINY

from nla.training import TrainingError, load_data
from nla.training.trial import Trial, first_rows, trial


@pytest.fixture(scope="module")
def loaded():
    return load_data(TINY)


def test_it_measures_time_and_memory_and_leaves_nothing(loaded, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = [loaded[0].clone(), loaded[1].copy()]
    found = trial(TINY, *loaded, steps=2, rounds=2)
    assert 0 < found.fastest <= found.seconds <= found.slowest
    assert found.peak is None or found.peak > 0
    assert torch.equal(before[0], loaded[0]) and before[1].equals(loaded[1])
    assert not list(tmp_path.iterdir())


def test_what_a_step_keeps_grows_with_its_images(loaded):
    sizes = (8, 16, 32)
    configs = [dataclasses.replace(TINY, batch_size=size) for size in sizes]
    kept = [trial(config, *loaded, steps=1, rounds=1).kept for config in configs]
    assert kept[0] < kept[1] < kept[2]
    assert kept[2] - kept[1] == pytest.approx(2 * (kept[1] - kept[0]), rel=0.05)
    one_view = dataclasses.replace(TINY, loss="cross_entropy")
    assert trial(one_view, *loaded, steps=1, rounds=1).kept < 0.7 * kept[2]


def test_at_most_one_epoch_is_taken(loaded):
    train = (loaded[1]["split"] == "train").sum()
    assert (first_rows(loaded[1], 50)["split"] == "train").sum() == 50
    assert (first_rows(loaded[1], 10**6)["split"] == "train").sum() == train
    assert (first_rows(loaded[1], 50)["split"] == "test").sum() == 60  # others stay


def test_a_recipe_is_so_many_images(loaded):
    found = Trial(seconds=0.01, fastest=0.009, slowest=0.02, kept=1, peak=None)
    assert found.recipe(images=12_271, epochs=60) == pytest.approx(7362.6)


def test_a_recipe_that_cannot_be_trained_is_refused_as_in_training(loaded):
    with pytest.raises(TrainingError, match="there are 0 training images"):
        trial(TINY, *loaded, steps=0)

"""From a Config to images and manifest: noise and imbalance together, classes, notes."""

import dataclasses
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from small_data import QUICK, pictures, tree

from nla import Config, data, fit
from nla.data import EXPRESSIONS, DataError
from nla.data.corruption import write_list
from nla.data.manifest import class_names
from nla.data.store import digests
from nla.training import loading
from nla.training.loading import load_data

FACES = Config(train_faces=600, test_faces=4, size=16, probe=4)
REAL = dataclasses.replace(QUICK, data="csv", root="here", cache="", size=16)


def wide(count=3000, classes=7):
    """A set of ``count`` blank training images, of classes of different sizes, and 70 to test."""
    draw = np.random.default_rng(1)
    sizes = np.arange(1, classes + 1) / np.arange(1, classes + 1).sum()
    labels = np.concatenate([draw.choice(classes, count, p=sizes), np.arange(70) % classes])
    split = ["train"] * count + ["test"] * 70
    manifest = pd.DataFrame({"row": range(len(labels)), "label": labels, "true_label": labels})
    manifest = manifest.assign(split=split)
    manifest.attrs = {"notes": ["a note"]}
    return torch.zeros(len(labels), 1, 2, 2, dtype=torch.uint8), manifest


def served(monkeypatch, loaded):
    """Let the data room give ``loaded``; returns the options that it is asked with."""
    asked = {}

    def load(name, root, **options):
        asked.update(options, name=name, root=root)
        return loaded

    monkeypatch.setattr(data, "load", load)
    return asked


def share_and_factor(manifest):
    train = manifest[manifest["split"] == "train"]
    sizes = train["true_label"].value_counts()
    return (train["kind"] == "noisy").mean(), sizes.max() / sizes.min(), train


@pytest.mark.parametrize("noise, factor", [(0.3, 10), (0.5, 20)])
def test_drawn_faces_have_both_the_noise_and_the_imbalance_asked_for(noise, factor):
    config = dataclasses.replace(FACES, noise=noise, imbalance=factor)
    images, manifest = load_data(config)
    share, found, train = share_and_factor(manifest)
    assert share == pytest.approx(noise, abs=0.6 / len(train))
    assert found == pytest.approx(factor, rel=0.15)
    noisy = train[train["kind"] == "noisy"]
    assert (noisy["label"] != noisy["true_label"]).all()
    clean = train[train["kind"] == "clean"]
    assert (clean["label"] == clean["true_label"]).all()
    assert len(noisy["label"].unique()) == 7  # to any other class, not to the frequent ones
    plain_images, plain = load_data(dataclasses.replace(config, noise=0.0, imbalance=1.0))
    whole = digests(plain_images[plain["split"].to_numpy() == "train"])
    assert set(digests(images)[: len(train)]) <= set(whole)  # noise changes no pixel
    held = manifest["split"] != "train"
    assert (manifest[held]["kind"] != "noisy").all()


def test_noise_alone_and_imbalance_alone_are_what_they_were():
    """Sums over labels and rows from before the two were taken together."""
    for changes, rows, labels in ((NOISE, 600, 568258), (THINNED, 528, 561193)):
        _, manifest = load_data(dataclasses.replace(FACES, **changes))
        train = manifest[manifest["split"] == "train"]
        assert (len(train), int((train["label"] * (1 + train["row"])).sum())) == (rows, labels)


NOISE, THINNED = {"noise": 0.3}, {"imbalance": 10.0}


@pytest.mark.parametrize("noise, factor", [(0.3, 10), (0.5, 50)])
def test_a_real_set_has_both_the_noise_and_the_imbalance_asked_for(monkeypatch, noise, factor):
    served(monkeypatch, wide())
    config = dataclasses.replace(REAL, noise=noise, imbalance=factor)
    images, manifest = load_data(config)
    share, found, train = share_and_factor(manifest)
    assert len(images) == len(manifest) and found == pytest.approx(factor, rel=0.1)
    assert share == pytest.approx(noise, abs=4 * (noise * (1 - noise) / len(train)) ** 0.5)
    alone = load_data(dataclasses.replace(config, noise=0.0))[1]
    assert alone["row"].tolist() == manifest["row"].tolist()


def test_notes_and_names_survive_every_step(monkeypatch):
    names = ("ant", "bee", "cow")
    images, manifest = wide(classes=3)
    manifest.attrs["classes"] = names
    served(monkeypatch, (images, manifest))
    config = dataclasses.replace(REAL, noise=0.2, imbalance=3.0, validation=0.1)
    _, result = load_data(config)
    assert class_names(result) == names and result.attrs["notes"][0] == "a note"
    held = int((result["split"] == "val").sum())
    assert any(note.startswith(f"{held} training images") for note in result.attrs["notes"])
    assert result.index.tolist() == list(range(len(result)))
    assert manifest.attrs["notes"] == ["a note"]


def test_options_reach_the_reader_and_only_if_they_were_given(monkeypatch):
    asked = served(monkeypatch, wide(classes=2))
    load_data(REAL)
    assert set(asked) == {"name", "root", "size", "cache", "missing"}
    assert asked["missing"] == "refuse"
    load_data(dataclasses.replace(REAL, classes=("no", "yes"), missing="skip"))
    assert asked["classes"] == ("no", "yes") and asked["missing"] == "skip"


def test_a_set_that_cannot_train_is_refused(monkeypatch):
    images, manifest = wide()
    for change, message in (
        ({"label": 3, "true_label": 3}, "all 3000 training images of csv show happiness"),
        ({"split": "train"}, "no test images, only train: add a folder"),
        ({"split": "val"}, "no train images"),
    ):
        served(monkeypatch, (images, manifest.assign(**change)))
        with pytest.raises(DataError, match=message):
            load_data(REAL)
    manifest.attrs["classes"] = ["mean", *"abcdef"]
    served(monkeypatch, (images, manifest))
    with pytest.raises(DataError, match="a class is called 'mean'"):
        load_data(REAL)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"classes": ("a", "b")}, "faces has its own"),
        ({"classes": ("a",), "data": "csv"}, "at least two"),
        ({"classes": ("a", "b", "a"), "data": "folder"}, "'a' 2 times"),
        ({"classes": ("a", " "), "data": "folder"}, "different names"),
        ({"classes": "ab", "data": "folder"}, "must be names"),
        ({"missing": "guess"}, "refuse, skip"),
    ],
)
def test_classes_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Config(**changes)


@pytest.mark.parametrize(
    "name", ["../up", "a/b", "C:\\x", "..", "tab\tnew\nline", 'q"*?|<>', "x" * 500, "é" * 300]
)
def test_no_name_leads_out_of_the_folder_of_runs(name):
    folder = Config(name=name).folder
    assert folder.parts[:2] == ("data", "runs") and len(folder.parts) == 3
    assert not set(folder.name) & set('<>:"/\\|?*\t\n') and ".." not in folder.name
    assert len(folder.name.encode()) < 200 and folder.name.endswith(Config(name=name).key)
    assert Config(name="My Run 2").folder.name.startswith("faces-my run 2-")


OWN = {3: ("down", "flat", "up"), 6: EXPRESSIONS[:6], 8: EXPRESSIONS, 2: ("cat", "dog")}


@pytest.mark.parametrize("count", OWN)
def test_runs_of_any_classes_train_show_and_resume(tmp_path, count):
    names = OWN[count]
    loaded = pictures(train=24, test=8, classes=count, names=names)
    config = dataclasses.replace(QUICK, epochs=2)
    run = fit(config, tmp_path / "run", False, loaded)
    assert run.classes == tuple(names) and len(run.card["class_names"]) == count
    assert {f"p_{name}" for name in names} < set(run.predictions().columns)
    assert run.confusion().shape == (count, count)
    assert set(names) < set(run.summary()) and not run.knows_truth
    begun = shutil.copytree(run.folder, tmp_path / "begun")
    for name in ("card.json", "model.safetensors"):
        (begun / name).unlink()
    again = fit(config, begun, False, loaded)
    assert again.summary() == run.summary() and again.classes == run.classes


def test_classes_without_a_test_image_are_empty(tmp_path):
    loaded = pictures(train=24, test=3, classes=8, names=EXPRESSIONS)
    summary = fit(QUICK, tmp_path, False, loaded).summary()
    assert sum(np.isnan(summary[name]) for name in EXPRESSIONS) == 5
    assert not np.isnan(summary["mean"])


def test_a_folder_of_real_pictures_is_read_by_the_kit_itself(tmp_path):
    images, manifest = load_data(
        dataclasses.replace(QUICK, root=str(tree(tmp_path)), cache="", noise=0.2)
    )
    assert images.shape == (42, 3, 24, 24) and set(manifest["split"]) == {"train", "test"}
    assert loading.check_classes(manifest, QUICK) is None


def test_so_many_training_images_are_drawn_and_said(monkeypatch):
    images, manifest = wide(count=200)
    images = torch.arange(270, dtype=torch.int64).to(torch.uint8).view(-1, 1, 1, 1)
    served(monkeypatch, (images, manifest))
    config = dataclasses.replace(REAL, train_images=50)
    cut, part = load_data(config)
    assert part["split"].value_counts().to_dict() == {"train": 50, "test": 70}
    assert len(cut) == len(part) and part["row"].is_monotonic_increasing
    assert cut.flatten().tolist() == [row % 256 for row in part["row"]]
    gone = set(manifest["label"][:200]) - set(part["label"][part["split"] == "train"])
    said = "50 of 200 training images, drawn at random, are used; none of them is of surprise"
    assert part.attrs["notes"] == ["a note", said] and gone == {0}
    rows = {seed: load_data(dataclasses.replace(config, seed=seed))[1]["row"] for seed in (0, 1)}
    assert rows[0].equals(part["row"]) and not rows[1].equals(part["row"])
    whole, all_of_them = load_data(dataclasses.replace(REAL, train_images=200))
    assert len(whole) == 270 and all_of_them.attrs["notes"] == ["a note"]
    assert config.key != REAL.key == dataclasses.replace(REAL, train_images=0).key


def test_the_same_photographs_are_trained_on_with_both_sets_of_labels(data_root):
    config = Config(data="fer2013", root=str(data_root), validation=0.1, cache="", size=24)
    _, given = load_data(config)
    _, true = load_data(dataclasses.replace(config, labels="truth"))
    kept = ["row", "split", "true_label"]
    pd.testing.assert_frame_equal(given[kept], true[kept])
    train = true["split"] == "train"
    assert (true["label"] == true["true_label"])[train].all()
    changed = int((given["label"] != true["label"]).sum())
    assert changed > 2000 and f"{changed} of {train.sum()} differ" in true.attrs["notes"][-1]


def test_true_labels_are_for_sets_whose_truth_is_known():
    faces = Config(train_faces=60, test_faces=20, size=24, ambiguous=0.5)
    _, manifest = load_data(dataclasses.replace(faces, labels="truth"))
    train = manifest[manifest["split"] == "train"]
    assert (train["label"] == train["true_label"]).all() and (train["kind"] != "noisy").all()
    with pytest.raises(ValueError, match="would undo the noise of 0.3"):
        dataclasses.replace(faces, labels="truth", noise=0.3)
    keys = {
        dataclasses.replace(faces, labels=labels).key for labels in ("", "truth", "a.txt", "b.txt")
    }
    assert len(keys) == 3  # where a list lies does not enter


def test_images_and_manifest_are_the_callers_own_though_faces_are_kept():
    images, manifest = load_data(FACES)
    before, labels = images.clone(), manifest["label"].copy()
    images[:] = 0
    manifest["label"] = 0
    again, same = load_data(dataclasses.replace(FACES, loss="malt", epochs=2))
    assert torch.equal(again, before) and same["label"].equals(labels)


def test_what_drawn_faces_have_no_use_for_is_said():
    _, manifest = load_data(dataclasses.replace(FACES, validation=0.2, train_images=10))
    assert "validation and train_images are of real data" in manifest.attrs["notes"][-1]
    assert "notes" not in load_data(FACES)[1].attrs


@pytest.mark.parametrize("seed", [loading.TEST_SEED, loading.TEST_SEED + 1])
def test_no_seed_trains_on_the_faces_to_be_scored(seed):
    with pytest.raises(data.DataError, match="faces to be scored are drawn with: take another"):
        load_data(dataclasses.replace(FACES, seed=seed))


def test_noise_that_a_list_undoes_is_counted_and_said(monkeypatch, tmp_path):
    images, manifest = wide(count=200)
    manifest = manifest.assign(path=[f"{row}.png" for row in manifest["row"]]).drop(columns="row")
    served(monkeypatch, (images, manifest))
    write_list(manifest, tmp_path / "list.txt")
    noisy = dataclasses.replace(REAL, noise=0.5)
    flipped = int((load_data(noisy)[1]["label"] != manifest["label"]).sum())
    _, listed = load_data(dataclasses.replace(noisy, labels=str(tmp_path / "list.txt")))
    assert flipped > 50 and listed["label"].equals(manifest["label"])
    counted, said = listed.attrs["notes"][-2:]
    assert counted == f"{flipped} labels of the list differ from those before"
    assert "where it names an image, no flip is left" in said

"""A run is of its data, not only of its config: what is the same run, and what is refused."""

import dataclasses
import json
import shutil

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_data import QUICK, pictures, tree

from nla import fit, read_run
from nla.data import DataError
from nla.files import write
from nla.methods import LOSSES
from nla.training import loop
from nla.training.config import Config
from nla.training.identity import data_changes, data_key, default_folder, finished, marked
from nla.training.record import RunError


@pytest.fixture(scope="module")
def data():
    return pictures()


@pytest.fixture(scope="module")
def run(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("runs") / "quick"
    return fit(dataclasses.replace(QUICK, epochs=2), folder, progress=False, loaded=data)


@pytest.fixture
def copied(run, tmp_path):
    return shutil.copytree(run.folder, tmp_path / "run")


def stamps(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.name != ".lock"}


def again(run, folder, loaded, **changes):
    """``fit`` of the run's config on ``loaded``, that must not write anything."""
    before = stamps(folder)
    try:
        config = dataclasses.replace(Config.parse(run.config), **changes)
        return fit(config, folder, progress=False, loaded=loaded)
    finally:
        assert stamps(folder) == before


def test_what_a_run_was_made_of_is_on_record(run, data):
    images, manifest = data
    kept = run.manifest
    assert kept["digest"].dtype == np.uint64 and kept["digest"].is_unique
    assert kept.attrs == manifest.attrs and run.notes == ["random pictures"]
    assert run.card["notes"] == ["random pictures"]
    assert run.card["data"] == data_key(marked(images, manifest))


def test_the_same_data_is_the_same_run_wherever_it_lies(run, data):
    images, manifest = data
    moved = manifest.assign(path="elsewhere/" + manifest["path"])
    for loaded, changes in (
        (data, {}),
        ((images, moved), {}),
        (data, {"root": "/another/disk", "cache": ""}),
    ):
        assert again(run, run.folder, loaded, **changes).folder == run.folder


def corrected(images, manifest):
    label = manifest["label"].copy()
    label[[1, 2, 3]] = 6
    return images, manifest.assign(label=label, true_label=label)


def better_truth(images, manifest):
    truth = manifest["true_label"].copy()
    truth[17] = 6
    return images, manifest.assign(true_label=truth)


def other_split(images, manifest):
    split = manifest["split"].copy()
    split[0] = "test"
    return images, manifest.assign(split=split)


def repainted(images, manifest):
    images = images.clone()
    images[5] = 0
    return images, manifest


def fewer(images, manifest):
    return images[:-2], manifest.iloc[:-2]


def more(images, manifest):
    last = manifest.iloc[:1].assign(path="b/new.png")
    return images[[*range(len(images)), 0]], pd.concat([manifest, last], ignore_index=True)


def both(images, manifest):
    return repainted(*corrected(images, manifest))


def shuffled(images, manifest):
    order = np.arange(len(images))[::-1].copy()
    return images[order], manifest.iloc[order].reset_index(drop=True)


CHANGES = [
    (corrected, "3 labels changed; the first: a/1.png, fear -> neutral"),
    (better_truth, "1 true label changed; the first: a/17.png, sadness? -> neutral"),
    (other_split, "1 split changed; the first: a/0.png, train -> test"),
    (repainted, "1 image changed; the first: the pixels of a/5.png"),
    (fewer, "2 images removed; the first: a/18.png removed"),
    (more, "1 image added; the first: b/new.png added"),
    (both, "3 labels and 1 image changed"),
    (shuffled, "the same images come in another order"),
]


@pytest.mark.parametrize("change, message", CHANGES)
def test_other_data_is_refused_in_numbers(run, data, change, message):
    message = message.replace("sadness?", "happiness")
    with pytest.raises(RunError) as refused:
        again(run, run.folder, change(data[0], data[1]))
    said = str(refused.value)
    assert message in said and "choose another folder (--out), or delete it" in said


@pytest.mark.parametrize("change", [corrected, repainted])
def test_an_unfinished_run_does_not_go_on_with_other_data(run, copied, data, change):
    (copied / "card.json").unlink()
    with pytest.raises(RunError, match="holds a run of other data"):
        again(run, copied, change(*data))
    assert not fit(Config.parse(run.config), copied, False, data).epochs.empty


def test_faces_of_one_picture_are_told_apart_by_their_boxes(data):
    manifest = data[1].assign(path="a.png", box_x=range(20), digest=np.arange(20, dtype=np.uint64))
    label = manifest["label"].copy()
    label[3] = 0
    said = data_changes(manifest, manifest.assign(label=label).iloc[1:])
    assert said.startswith("1 image removed, 1 label changed; the first: a.png 0 removed")


def test_runs_of_earlier_versions_are_compared_by_their_manifest_alone(run, copied, data):
    write(copied / "manifest.parquet", run.manifest.drop(columns="digest"))
    assert again(run, copied, repainted(*data)).folder == copied  # pixels were not on record
    with pytest.raises(RunError, match="3 labels changed"):
        again(run, copied, corrected(*data))
    settings = json.loads((copied / "config.json").read_text())
    for later in ("classes", "missing"):
        del settings[later]
    write(copied / "config.json", settings)
    assert again(run, copied, data).folder == copied


def test_other_names_of_the_classes_are_other_data(tmp_path):
    loaded = pictures(classes=2, names=("cat", "dog"))
    run = fit(QUICK, tmp_path / "run", False, loaded)
    with pytest.raises(RunError, match="its classes are cat, dog, now dog, cat"):
        again(run, run.folder, pictures(classes=2, names=("dog", "cat")))


def test_a_finished_run_without_its_checkpoint_is_still_finished(run, copied, data):
    (copied / "checkpoint.pt").unlink()
    assert again(run, copied, data).folder == copied
    with pytest.raises(RunError, match="another config .*epochs: 2 -> 1"):
        again(run, copied, data, epochs=1)


PARTS = [
    "checkpoint.pt",
    "card.json",
    "epochs.csv",
    "model.safetensors",
    "dynamics/epoch_001.parquet",
    "predictions/epoch_000.parquet",
    "latents/epoch_002.npz",
]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("beside", [(), ("config.json", "manifest.parquet")])
def test_no_part_of_another_run_is_trained_over(run, tmp_path, data, part, beside):
    for name in (part, *beside):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(run.folder / name, tmp_path / name)
    message = "another config" if beside else "no config.json"
    with pytest.raises(RunError, match=message):
        again(run, tmp_path, data, loss="cross_entropy", epochs=1)


def test_a_beginning_that_recorded_nothing_may_be_replaced_but_no_other_config(tmp_path, data):
    with pytest.raises(ValueError, match="not finite"):
        fit(dataclasses.replace(QUICK, lr=1e30), tmp_path, False, data)
    assert (tmp_path / "non_finite.json").exists()
    fit(QUICK, tmp_path, False, data)
    assert not (tmp_path / "non_finite.json").exists()
    write(tmp_path / "mine/config.json", {"my": "settings"})
    with pytest.raises(RunError, match="none of this version's runs"):
        fit(QUICK, tmp_path / "mine", False, data)


def test_weights_that_changed_under_their_name_are_another_start(run, tmp_path, data):
    file = tmp_path / "start.safetensors"
    shutil.copy(run.folder / "model.safetensors", file)
    config = dataclasses.replace(QUICK, weights=str(file))
    begun = fit(config, tmp_path / "run", False, data)
    assert any("of the backbone's numbers" in note for note in begun.notes)
    assert fit(config, tmp_path / "run", False, data).folder == begun.folder
    shutil.copy(begun.folder / "model.safetensors", file)
    with pytest.raises(RunError, match="began from other weights"):
        fit(config, tmp_path / "run", False, data)


def test_real_data_has_a_folder_for_each_state_of_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one, two = tree(tmp_path / "one"), tree(tmp_path / "two")
    (two / "train/fear/0.png").unlink()
    config = dataclasses.replace(QUICK, root=str(one), cache="")
    first = fit(config, progress=False)
    assert first.folder.name.startswith(f"{config.folder.name}-")
    assert fit(dataclasses.replace(config, root=str(two)), progress=False).folder != first.folder
    shutil.move(one, tmp_path / "moved")
    moved = dataclasses.replace(config, root=str(tmp_path / "moved"), cache="elsewhere")
    before = stamps(first.folder)
    assert fit(moved, progress=False).folder == first.folder and stamps(first.folder) == before
    (tmp_path / "moved/train/fear/0.png").rename(tmp_path / "moved/train/anger/00.png")
    assert fit(moved, progress=False).folder != first.folder
    assert len(list((tmp_path / "data/runs").iterdir())) == 3


def test_a_run_of_real_data_in_the_folder_of_earlier_versions_is_found(run, data, tmp_path):
    config = Config.parse(run.config)

    class Elsewhere(Config):
        folder = tmp_path / "run"

    old = Elsewhere(**{f.name: getattr(config, f.name) for f in dataclasses.fields(config)})
    assert default_folder(old, marked(*data)) != old.folder
    shutil.copytree(run.folder, old.folder)
    assert default_folder(old, marked(*data)) == old.folder
    assert default_folder(old, marked(*corrected(*data))).parent == tmp_path
    assert default_folder(old, marked(*corrected(*data))) != old.folder


def test_built_in_faces_keep_their_folder_and_are_refused_when_drawn_otherwise(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    faces = dataclasses.replace(QUICK, data="faces", train_faces=16, test_faces=4)
    run = fit(faces, progress=False)
    assert run.folder == faces.folder
    images, manifest = loop.load_data(faces)
    with pytest.raises(RunError, match="1 image changed; the first: the pixels of"):
        fit(faces, progress=False, loaded=repainted(images, manifest))


@settings(deadline=None)
@given(st.permutations(range(20)), st.integers(0, 19), st.integers(1, 6))
def test_any_changed_label_is_found_and_any_order_of_the_paths(order, row, step):
    manifest = marked(*pictures())
    assert data_changes(manifest, manifest.copy()) == ""
    label = manifest["label"].copy()
    label[row] = (label[row] + step) % 7
    other = manifest.assign(label=label).iloc[order].reset_index(drop=True)
    assert data_changes(manifest, other).startswith("1 label changed; the first: a/")
    assert data_key(manifest) != data_key(other)


def test_another_run_that_came_first_is_seen_once_the_folder_is_claimed(
    run, data, tmp_path, monkeypatch
):
    """Two calls look at an empty folder; one trains there before the other takes hold of it."""
    prepare = loop.prepare

    def overtaken(task):
        shutil.copytree(run.folder, task.folder)
        return prepare(task)

    monkeypatch.setattr(loop, "prepare", overtaken)
    with pytest.raises(RunError, match="another config"):
        fit(dataclasses.replace(QUICK, seed=3), tmp_path / "other", False, data)
    same = fit(Config.parse(run.config), tmp_path / "same", False, data)
    assert same.card == run.card and finished(same.folder, Config.parse(run.config), same.manifest)
    assert read_run(tmp_path / "other").card == run.card


def test_a_finished_run_whose_data_is_gone_is_not_said_to_be_of_it(tmp_path):
    tree(tmp_path / "set")
    config = dataclasses.replace(QUICK, root=str(tmp_path / "set"), cache="")
    run = fit(config, tmp_path / "run", progress=False)
    shutil.rmtree(tmp_path / "set")
    with pytest.raises(DataError, match="the finished run in .*run is of this data cannot be"):
        fit(config, run.folder, progress=False)


OWN = """
from functools import partial
from torch.nn import functional as F
from nla.baselines import CrossEntropyLoss, Focal

SCALE = 1.0


def scaled(losses):
    return SCALE * losses


class Own(CrossEntropyLoss):
    def losses(self, logits, targets, progress):
        return scaled(F.cross_entropy(logits, targets, reduction="none"))


soft = partial(Focal, strength=2.5)
"""


def named(monkeypatch, folder, text, name="Own", loss="own"):
    """Name a loss of the module ``text``, which stands in a new file."""
    file = folder / f"{len(list(folder.glob('own*.py')))}/own.py"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    code = {"__name__": "own"}
    exec(compile(text, str(file), "exec"), code)
    monkeypatch.setitem(LOSSES, loss, code[name])
    return dataclasses.replace(QUICK, loss=loss, epochs=2)


EDITS = [
    ("Own", 'F.cross_entropy(logits, targets, reduction="none")', "logits.square().mean(1)"),
    ("Own", "return SCALE *", "return 3 *"),
    ("Own", "SCALE = 1.0", "SCALE = 2.0"),
    ("soft", "strength=2.5", "strength=3.5"),
]


@pytest.mark.parametrize("name, old, new", EDITS)
def test_a_loss_that_was_edited_is_another_and_its_run_another(
    name, old, new, data, tmp_path, monkeypatch, capsys
):
    config = named(monkeypatch, tmp_path / "a", OWN, name)
    folder = fit(config, tmp_path / "run", False, data).folder
    named(monkeypatch, tmp_path / "b", OWN, name)  # the same, from another file
    fit(config, folder, True, data)
    assert "run was trained before: read, not trained again" in capsys.readouterr().err
    named(monkeypatch, tmp_path / "c", OWN.replace(old, new), name)
    for _ in ("finished", "unfinished"):
        with pytest.raises(RunError, match="another loss 'own': the file.*choose another folder"):
            fit(config, folder, False, data)
        (folder / "card.json").unlink(missing_ok=True)


def test_a_loss_in_the_place_of_one_of_the_kits_is_another(run, data, tmp_path, monkeypatch):
    assert run.card["loss_digest"] == ""
    named(monkeypatch, tmp_path, OWN, loss="nla")
    with pytest.raises(RunError, match="another loss 'nla'"):
        again(run, run.folder, data)


def test_a_loss_whose_source_is_not_to_be_had_is_said_to_be_so(data, tmp_path, monkeypatch):
    code = {"__name__": "typed"}
    exec(OWN, code)
    monkeypatch.setitem(LOSSES, "own", code["Own"])
    run = fit(dataclasses.replace(QUICK, loss="own"), tmp_path / "run", False, data)
    assert run.card["loss_digest"] == "unknown"
    assert any("the source of the loss 'own' is not to be had" in note for note in run.notes)


@pytest.mark.parametrize("key", [{"loss_digest": "0123456789abcdef"}, {}])
def test_a_run_without_a_digest_of_its_loss_is_still_found(run, copied, data, key):
    card = {name: value for name, value in run.card.items() if name != "loss_digest"}
    write(copied / "card.json", card | key)
    if key:
        with pytest.raises(RunError, match="another loss 'nla'"):
            again(run, copied, data)
    else:
        assert again(run, copied, data).folder == copied


@pytest.mark.parametrize(
    "part",
    [
        "dynamics/epoch_001.parquet",
        "predictions/epoch_000.parquet",
        "latents/epoch_000.npz",
        "latents/epoch_002.npz",
        "model.safetensors",
    ],
)
def test_a_folder_that_lost_a_file_is_no_finished_run(run, copied, data, part):
    (copied / part).unlink()
    with pytest.raises(RunError) as refused:
        again(run, copied, data)
    said = str(refused.value)
    assert f"has written {part}, and they are gone" in said and "delete it to train anew" in said


def test_many_lost_files_are_counted(run, copied, data):
    shutil.rmtree(copied / "dynamics")
    shutil.rmtree(copied / "predictions")
    with pytest.raises(RunError, match=r"epoch_001.parquet and 1 more file, and they are gone"):
        again(run, copied, data)


def test_the_best_model_is_missed_where_there_was_one(tmp_path, data):
    images, manifest = data
    split = manifest["split"].where(manifest.index < 18, "val")
    loaded = images, manifest.assign(split=split)
    run = fit(QUICK, tmp_path / "run", False, loaded)
    (run.folder / "best.safetensors").unlink()
    with pytest.raises(RunError, match="has written best.safetensors"):
        fit(QUICK, run.folder, False, loaded)


@pytest.mark.parametrize("part", ["dynamics/epoch_000.parquet", "latents/epoch_000.npz"])
def test_an_unfinished_run_that_lost_a_file_does_not_go_on(run, copied, data, part):
    for name in ("card.json", part):
        (copied / name).unlink()
    with pytest.raises(RunError, match=f"has written {part}, and they are gone"):
        fit(Config.parse(run.config), copied, False, data)
    assert not (copied / "card.json").exists()

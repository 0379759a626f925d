import copy
import dataclasses
import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import TINY
from safetensors.torch import load_file

from nla import NAW, Config, Scores, fit, read_run
from nla.analysis import figures
from nla.analysis.audit import audit
from nla.data.images import Augmentation
from nla.data.store import digests
from nla.files import atomic, write
from nla.models import small_resnet
from nla.training import inference, load_data, loop, opening, processes
from nla.training.inference import forward, predict
from nla.training.loop import TrainingError
from nla.training.opening import restore
from nla.training.processes import World
from nla.training.record import Run, RunError, snapshot_epochs
from nla.training.state import Task, shared

PARTS = ("dynamics", "predictions", "latents")


def contents(folder):
    """Every recorded number of a run, wall-clock times left out."""
    tables = {
        path.relative_to(folder): path.read_bytes()
        for part in PARTS
        for path in (folder / part).iterdir()
    }
    tables["model"] = (folder / "model.safetensors").read_bytes()
    tables["epochs"] = pd.read_csv(folder / "epochs.csv").drop(columns="seconds").to_csv()
    return tables


def test_two_runs_give_identical_numbers(tiny_run, tmp_path):
    again = fit(TINY, tmp_path / "again", progress=False)
    assert contents(again.folder) == contents(tiny_run.folder)
    other = fit(dataclasses.replace(TINY, seed=1), tmp_path / "other", progress=False)
    assert contents(other.folder)["model"] != contents(tiny_run.folder)["model"]


def test_the_record_has_each_training_sample_once_and_follows_the_formula(tiny_run):
    manifest = tiny_run.manifest
    train = manifest.index[manifest["split"] == "train"]
    assert len(train) == 120
    for epoch in range(3):
        samples = tiny_run.samples(epoch)
        assert samples["index"].tolist() == train.tolist()
        assert samples["label"].tolist() == manifest.loc[train, "label"].tolist()
        scores = Scores(*(torch.tensor(samples[name].to_numpy()) for name in Scores._fields))
        np.testing.assert_allclose(samples["weight"], NAW().weights(scores, epoch / 3), rtol=1e-5)
        np.testing.assert_allclose(
            samples["cross_entropy"], -np.log(samples["p_gt"]), rtol=1e-3, atol=1e-5
        )
        assert samples["divergence"].between(-1e-6, np.log(2)).all()
        row = tiny_run.epochs.iloc[epoch]
        assert row["weight"] == pytest.approx(samples["weight"].mean(), rel=1e-5)
        assert row["epsilon"] == pytest.approx(1 - np.exp(-15 * epoch / 3))
    assert tiny_run.samples().equals(tiny_run.samples(2))
    assert len(tiny_run.all_samples) == 3 * 120


def test_predictions_and_latents_are_those_of_the_saved_model(tiny_run):
    images, manifest = load_data(TINY)
    pd.testing.assert_frame_equal(manifest, tiny_run.manifest.drop(columns="digest"))
    assert tiny_run.manifest["digest"].tolist() == digests(images).tolist()
    model, config = restore(tiny_run)
    assert config == dataclasses.replace(TINY, device="cpu")
    predictions = tiny_run.predictions()
    assert predictions["index"].tolist() == manifest.index[manifest["split"] != "train"].tolist()
    logits, _ = forward(model, images, predictions["index"].to_numpy(), TINY)
    assert predictions["prediction"].tolist() == logits.argmax(1).tolist()
    last = tiny_run.latents[3]
    logits, latent = forward(model, images, last["index"], TINY)
    np.testing.assert_allclose(last["latent"], latent, rtol=1e-5, atol=1e-6)
    flipped_logits, _ = forward(model, images.flip(-1), last["index"], TINY)
    np.testing.assert_allclose(last["flipped_logits"], flipped_logits, rtol=1e-5, atol=1e-6)
    score = 100 * (predictions.query("split == 'test'").eval("prediction == true_label")).mean()
    assert tiny_run.epochs["test_overall"].iloc[-1] == pytest.approx(score)
    assert tiny_run.summary()["overall"] == pytest.approx(score)


def test_the_probe_set_is_fixed_and_from_both_splits(tiny_run):
    snapshots = list(tiny_run.latents.values())
    assert sorted(tiny_run.latents) == snapshot_epochs(3, 4) == [0, 1, 2, 3]
    assert all((snapshot["index"] == snapshots[0]["index"]).all() for snapshot in snapshots)
    assert tiny_run.manifest.loc[snapshots[0]["index"], "split"].value_counts().to_dict() == {
        "train": 20,
        "test": 20,
    }


def test_snapshots_are_early_rather_than_even():
    times = snapshot_epochs(60)
    assert times[0] == 0 and times[-1] == 60 and len(times) == 8
    assert sum(t <= 12 for t in times) >= 5
    assert snapshot_epochs(1) == [0, 1]


KILLED = """
import json, os, signal, sys, nla.training.loop as training
from nla import Config
save = training.State.save
def save_then_die(state, path):
    if len(state.history) == 2:
        os.kill(os.getpid(), signal.SIGKILL)  # epoch 1 is recorded, its checkpoint is not
    save(state, path)
training.State.save = save_then_die
import torch; torch.set_num_threads(int(sys.argv[3]))
options = json.loads(sys.argv[1])
training.fit(Config(**options), sys.argv[2], progress=False)
"""


def test_a_killed_run_resumes_to_the_same_numbers(tiny_run, tmp_path):
    options = {
        f.name: getattr(TINY, f.name)
        for f in dataclasses.fields(TINY)
        if f.name not in ("naw", "augmentation")
    }
    process = subprocess.run(
        [
            sys.executable,
            "-c",
            KILLED,
            json.dumps(options),
            tmp_path / "run",
            str(torch.get_num_threads()),
        ]
    )
    assert process.returncode == -9
    assert not (tmp_path / "run/card.json").exists()
    with pytest.raises(RunError, match="has not finished"):
        read_run(tmp_path / "run")
    resumed = fit(TINY, tmp_path / "run", progress=False)
    assert contents(resumed.folder) == contents(tiny_run.folder)


def test_a_finished_run_is_read_and_not_repeated(tiny_run, monkeypatch):
    card = tiny_run.folder / "card.json"
    before = card.stat().st_mtime_ns
    with monkeypatch.context() as patched:
        patched.setattr("nla.training.loop.train_epoch", None)  # whoever trains, fails
        assert fit(TINY, tiny_run.folder, progress=False).epochs.equals(tiny_run.epochs)
    assert card.stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="noise: 0.3 -> 0.1"):
        fit(dataclasses.replace(TINY, noise=0.1), tiny_run.folder, progress=False)


def test_cross_entropy_needs_one_view_and_records_what_naw_would_weigh(tmp_path):
    run = fit(
        dataclasses.replace(TINY, loss="cross_entropy", epochs=1), tmp_path / "ce", progress=False
    )
    assert run.samples()["divergence"].isna().all() and run.samples()["weight"].between(0, 1).all()


def test_noise_and_imbalance_change_training_labels_only():
    _, plain = load_data(dataclasses.replace(TINY, noise=0.0))
    _, noisy = load_data(TINY)
    held_out = noisy["split"] != "train"
    assert (noisy["label"] != noisy["true_label"])[~held_out & (noisy["kind"] == "noisy")].all()
    assert (noisy["kind"] == "noisy")[~held_out].mean() == pytest.approx(0.3)
    pd.testing.assert_frame_equal(plain[held_out], noisy[held_out])
    images, imbalanced = load_data(
        dataclasses.replace(TINY, train_faces=600, noise=0, imbalance=50)
    )
    assert len(images) == len(imbalanced)
    counts = imbalanced.query("split == 'train'")["label"].value_counts()
    assert counts.max() / counts.min() == pytest.approx(50, rel=0.35)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"loss": "focal?"}, "unknown loss"),
        ({"model": "vit"}, "small_resnet, resnet18, resnet50"),
        ({"precision": "int8"}, "float32, bf16"),
        ({"epochs": 0}, "at least 1"),
        ({"data": "imagenet"}, "imagenet"),
        ({"variant": "v3"}, "released_v1"),
        ({"device": "gpu"}, "unknown device 'gpu': use auto, or one of cpu"),
        ({"device": "meta"}, "there is no device meta here: use auto, or cpu"),
        ({"naw": {"slope": -1}}, r"naw must be a NAW, as in NAW\(\.\.\.\), got {'slope': -1}"),
        ({"size": 7}, "size of drawn faces must be at least 16, got 7"),
    ],
)
def test_wrong_options_are_named(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        fit(dataclasses.replace(TINY, **change), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()  # a corrected call may use the same folder


def test_bf16_is_refused_where_it_can_only_hurt(tmp_path, monkeypatch):
    config = dataclasses.replace(TINY, precision="bf16", epochs=1)
    monkeypatch.setattr(loop, "fast_in_bf16", lambda device: False)
    with pytest.raises(TrainingError, match="avx512_bf16.*--precision float32"):
        fit(config, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("there", [True, False])
def test_a_gpu_without_bf16_arithmetic_gets_float32_by_default(monkeypatch, there):
    """T4 and V100 only emulate it; what PyTorch emulates counts as absent."""

    def supported(including_emulation=True):
        return including_emulation or there

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    asked_anew = processes.fast_in_bf16.__wrapped__  # the answer is kept for the process
    monkeypatch.setattr(loop, "fast_in_bf16", asked_anew)
    gpu = torch.device("cuda")
    assert asked_anew(gpu) == there
    if not there:
        with pytest.raises(TrainingError, match="compute capability.*--precision float32"):
            loop.check_precision(dataclasses.replace(TINY, precision="bf16"), gpu)
    loop.check_precision(TINY, gpu)  # auto is never refused


def test_a_run_in_bf16_is_looked_through_in_float32_where_bf16_is_slow(tmp_path, monkeypatch):
    with monkeypatch.context() as elsewhere:  # a machine that is fast in bf16, or says so
        for module in (loop, inference):
            elsewhere.setattr(module, "fast_in_bf16", lambda device: True)
        config = dataclasses.replace(TINY, precision="bf16", epochs=1)
        run = fit(config, tmp_path / "run", progress=False)
    for module in (inference, opening):
        monkeypatch.setattr(module, "fast_in_bf16", lambda device: False)
    opened = opening.open_model(run.folder)
    assert any("bf16" in note and "float32" in note for note in opened.notes)
    pixels = torch.randint(0, 256, (4, 3, 48, 48), dtype=torch.uint8)
    exact = dataclasses.replace(opened.config, precision="float32")
    for one, other in zip(
        inference.forward(opened.model, pixels, range(4), opened.config),
        inference.forward(opened.model, pixels, range(4), exact),
    ):
        assert torch.equal(one, other)
    assert fit(config, run.folder, progress=False).folder == run.folder  # finished: it is read


def test_a_smaller_last_batch_leaves_the_others_their_compiled_network(tmp_path, monkeypatch):
    """For each size of batch one network is compiled, and used for that size alone."""
    networks, used = [], []

    def backend(graph, inputs):
        number = len(networks)
        networks.append(number)

        def run(*arguments):
            used.append(number)
            return graph.forward(*arguments)

        return run

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    world = World(0, 1, torch.device("cpu"))
    config = dataclasses.replace(TINY, compile="default", loss="cross_entropy")
    images, manifest = torch.zeros(8, 3, 24, 24, dtype=torch.uint8), pd.DataFrame()
    task = Task(config, tmp_path, world, images, manifest)
    network = shared(small_resnet(), task)
    for count in (8, 8, 5, 8, 5, 8):
        network(torch.randn(count, 3, 24, 24))
    assert used == [0, 0, 1, 0, 1, 0]


def test_earlier_runs_and_growing_images_leave_a_run_its_compiled_networks(tmp_path, monkeypatch):
    """PyTorch keeps eight by default, those of earlier runs among them."""
    compiled = []

    def backend(graph, inputs):
        compiled.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    world = World(0, 1, torch.device("cpu"))
    config = dataclasses.replace(TINY, compile="default", loss="cross_entropy")
    images, manifest = torch.zeros(8, 3, 32, 32, dtype=torch.uint8), pd.DataFrame()
    torch.compiler.reset()
    for counts in ((8, 5), (8, 3)):  # the batches of one run, then of another
        network = shared(small_resnet(), Task(config, tmp_path, world, images, manifest))
        for size in (16, 24, 32, 40):
            for count in counts:
                network(torch.randn(count, 3, size, size))
    assert (
        len(compiled) >= 12
    )  # three sizes of batch at four of images; PyTorch may share those of 8


def test_divergence_of_training_is_an_error_and_not_a_number(tmp_path):
    with pytest.raises(ValueError, match="not finite"):
        fit(dataclasses.replace(TINY, lr=1e30), tmp_path / "run", progress=False)


def test_a_file_is_whole_or_absent(tmp_path):
    with pytest.raises(RuntimeError), atomic(tmp_path / "a.json") as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_wrong_folders_are_explained(tiny_run, tmp_path):
    with pytest.raises(RunError, match="no config.json"):
        read_run(tmp_path)
    with pytest.raises(RunError, match="no dynamics of epoch 7; it has 3 epochs"):
        tiny_run.samples(7)


def test_the_average_of_the_weights_is_what_is_scored_and_kept(tmp_path, monkeypatch):
    config = dataclasses.replace(TINY, train_faces=64, epochs=2)
    averaged = fit(dataclasses.replace(config, ema=0.7), tmp_path / "averaged", progress=False)
    steps, take_step = [], loop.take_step

    def watched(task, state, *rest):
        take_step(task, state, *rest)
        steps.append(copy.deepcopy(state.model.state_dict()))

    monkeypatch.setattr(loop, "take_step", watched)
    last = fit(config, tmp_path / "last", progress=False)
    expected, *later = steps
    for weights in later:
        for name, value in expected.items():
            expected[name] = 0.7 * value + 0.3 * weights[name]
    kept = load_file(averaged.folder / "model.safetensors")
    for name, value in kept.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-5)
    assert averaged.samples().equals(last.samples())  # training itself is the same
    model, _ = restore(averaged)
    images, manifest = load_data(config)
    rows = np.flatnonzero(manifest["split"] != "train")
    again = predict(model, images, rows, config, averaged.classes)
    said = averaged.predictions()["p_fear"].to_numpy()
    np.testing.assert_allclose(again["p_fear"], said, rtol=1e-4, atol=1e-6)
    assert "running average of the weights, decay 0.7" in averaged.notes[-1]
    with pytest.raises(ValueError, match="ema must be from 0 to 0.99999"):
        dataclasses.replace(config, ema=1.0)


def test_a_run_that_begins_with_small_images_ends_with_whole_ones(tmp_path, monkeypatch):
    config = dataclasses.replace(TINY, train_faces=64, epochs=8, start_size=24, snapshots=2)
    seen, scored = [], []
    outputs, predict_all = loop.outputs, loop.predict

    def watched(network, views, *rest):
        seen.append(tuple(views.shape[2:]))
        return outputs(network, views, *rest)

    def watched_score(model, images, *rest):
        scored.append(tuple(images.shape[2:]))
        return predict_all(model, images, *rest)

    monkeypatch.setattr(loop, "outputs", watched)
    monkeypatch.setattr(loop, "predict", watched_score)
    whole = fit(config, tmp_path / "whole", progress=False)
    assert seen == [(size, size) for size in (24, 32, 40, 48) for _ in range(4)]  # two steps each
    assert scored == [(48, 48)] * 8
    assert any("24, 32, 40 and 48 pixels" in note for note in whole.notes)

    def stopped(task, state, samples):
        if len(state.history) == 5:
            raise KeyboardInterrupt
        close(task, state, samples)

    close = loop.close_epoch
    monkeypatch.setattr(loop, "close_epoch", stopped)
    with pytest.raises(KeyboardInterrupt):
        fit(config, tmp_path / "resumed", progress=False)
    monkeypatch.setattr(loop, "close_epoch", close)
    resumed = fit(config, tmp_path / "resumed", progress=False)
    assert contents(resumed.folder) == contents(whole.folder)


def test_the_last_epoch_is_of_whole_images_however_few_there_are():
    for epochs in range(2, 9):
        for start in range(16, 96):
            config = Config(size=96, start_size=start, epochs=epochs)
            sizes = [config.size_at(epoch) for epoch in range(epochs)]
            assert sizes == sorted(sizes) and sizes[0] == start and sizes[-1] == 96
    with pytest.raises(ValueError, match="start_size needs 2 epochs at least"):
        Config(start_size=24, epochs=1)
    assert Config(size=48).size_at(0) == 48
    assert dataclasses.replace(TINY, start_size=24).key != TINY.key
    for size in (48, 15, -1):
        with pytest.raises(ValueError, match="start_size must be from 16 to under the size of 48"):
            Config(start_size=size)
    with pytest.raises(ValueError, match="start_size must be from 64 to 150 for face_resnet"):
        Config(model="face_resnet", size=96, start_size=32)


def test_a_run_does_not_go_on_from_another_file_of_weights(tiny_run, tmp_path, monkeypatch):
    """Nor does its card say afterwards that it began from that."""
    file = tmp_path / "start.safetensors"
    shutil.copy(tiny_run.folder / "model.safetensors", file)
    config = dataclasses.replace(TINY, weights=str(file))

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop, "snapshot", interrupted_in_epoch(2, loop.snapshot))
        fit(config, tmp_path / "run", progress=False)
    assert (tmp_path / "run/checkpoint.pt").exists()
    first = file.read_bytes()
    write(file, small_resnet(7, 3).state_dict())
    with pytest.raises(RunError, match="began from other weights: their file has changed"):
        fit(config, tmp_path / "run", progress=False)
    file.write_bytes(first)
    run = fit(config, tmp_path / "run", progress=False)
    assert run.card["weights_digest"] == hashlib.sha256(first).hexdigest()[:16]


def interrupted_in_epoch(number, function):
    """The function, until as many epochs are over: then whoever calls it is interrupted."""

    def called(task, state):
        if len(state.history) == number:
            raise KeyboardInterrupt
        return function(task, state)

    return called


@pytest.mark.parametrize("held", [0, 1])
def test_the_epsilon_on_record_is_that_of_the_loss(tmp_path, held):
    config = dataclasses.replace(TINY, loss=f"epsilon_{held}", epochs=2)
    run = fit(config, tmp_path, progress=False)
    assert run.epochs["epsilon"].tolist() == [pytest.approx(config.naw.epsilon(held))] * 2
    rows = run.samples(0)
    scores = Scores(*(torch.tensor(rows[name].to_numpy()) for name in ("p_gt", "p_nn", "correct")))
    weights = config.naw.weights(scores, run.epochs["epsilon"][0])
    np.testing.assert_allclose(rows["weight"], weights, atol=1e-5)


@pytest.mark.parametrize("loss", ["ce_drw", "ldam", "mixup_drw"])
def test_where_no_epoch_is_re_weighted_the_run_says_so(tmp_path, loss):
    notes = {}
    for epochs in (2, 5):
        config = dataclasses.replace(TINY, train_faces=40, test_faces=10, loss=loss, epochs=epochs)
        notes[epochs] = " ".join(fit(config, tmp_path / str(epochs), progress=False).notes)
    assert "once 80% of training is over, which is in none of 2 epochs" in notes[2]
    assert "re-weighted" not in notes[5]


def test_one_and_one_point_zero_are_one_config():
    whole, real = Config(imbalance=50, lr=1), Config(imbalance=50.0, lr=1.0)
    assert whole.key == real.key and whole.folder == real.folder
    with pytest.raises(ValueError, match="record must be True or False, got 'no'"):
        Config(record="no")
    with pytest.raises(ValueError, match="erase_p must be from 0 to 1, got 50"):
        Augmentation(erase_p=50)


def lost_line(file):
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0], *lines[2:]]))


def doubled_line(file):
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines, lines[-1]]))


def semicolons(file):
    file.write_text(file.read_text().replace(",", ";"))


def cut(file):
    os.truncate(file, 300)


DAMAGE = [
    ("epochs.csv", lost_line, "it has no epoch 0"),
    ("epochs.csv", doubled_line, "it has too many epochs"),
    ("epochs.csv", semicolons, "it has no column epoch"),
    ("epochs.csv", lambda file: file.write_text(""), "no whole csv file"),
    ("config.json", lambda file: file.write_text("{}"), "it has no name"),
    ("config.json", lambda file: file.write_text("[]"), "no whole json file"),
    ("card.json", cut, "no whole json file"),
    ("manifest.parquet", cut, "no whole parquet file"),
    ("dynamics/epoch_002.parquet", cut, "no whole parquet file"),
    ("predictions/epoch_002.parquet", cut, "no whole parquet file"),
    ("latents/epoch_000.npz", lambda file: file.write_text("x"), "no whole npz file"),
    ("latents/epoch_003.npz", cut, "no whole npz file"),
]


@pytest.mark.parametrize("name, damage, why", DAMAGE)
def test_a_damaged_file_of_a_run_is_named_with_the_way_out(tiny_run, tmp_path, name, damage, why):
    folder = shutil.copytree(tiny_run.folder, tmp_path / "run")
    damage(folder / name)
    message = f"{re.escape(name)} is damaged \\({why}\\): put a whole one back, or delete"
    with pytest.raises(RunError, match=message):
        run = read_run(folder)
        run.summary(), run.samples(), run.latents


def test_a_manifest_that_is_gone_is_said_to_be_gone(tiny_run, tmp_path):
    folder = shutil.copytree(tiny_run.folder, tmp_path / "run")
    (folder / "manifest.parquet").unlink()
    with pytest.raises(RunError, match="manifest.parquet is missing: put it back, or train"):
        read_run(folder).summary()


def test_an_unfinished_run_has_the_epochs_that_it_recorded(tiny_run, tmp_path):
    folder = shutil.copytree(tiny_run.folder, tmp_path / "run")
    for name in ("card.json", "predictions/epoch_002.parquet"):
        (folder / name).unlink()
    file = folder / "epochs.csv"
    file.write_text("\n".join(file.read_text().splitlines()[:-1]))
    assert len(Run(folder).epochs) == 2
    lost_line(file)
    with pytest.raises(RunError, match="it has no epoch 0"):
        assert Run(folder).epochs


@pytest.mark.parametrize("damage", [lambda file: file.write_text("bad"), cut])
def test_a_damaged_checkpoint_is_named_with_the_way_out(tiny_run, tmp_path, damage):
    folder = shutil.copytree(tiny_run.folder, tmp_path / "run")
    (folder / "card.json").unlink()
    damage(folder / "checkpoint.pt")
    with pytest.raises(RunError, match=r"checkpoint.pt is damaged \(no whole pt file\)"):
        fit(TINY, folder, progress=False)


@pytest.mark.parametrize("epoch", [1.5, "last", None])
def test_an_epoch_that_is_no_whole_number_is_refused(tiny_run, epoch):
    for table in (tiny_run.samples, tiny_run.predictions):
        with pytest.raises(RunError, match="an epoch is a whole number from 0"):
            table(epoch)


def test_epochs_are_counted_from_the_last_as_far_as_there_are_any(tiny_run):
    assert tiny_run.samples(-3).equals(tiny_run.samples(0))
    with pytest.raises(RunError, match="no predictions of epoch -5; it has 3 epochs"):
        tiny_run.predictions(-5)


def test_an_epoch_that_was_not_recorded_says_so(tiny_run, tmp_path):
    folder = shutil.copytree(tiny_run.folder, tmp_path / "run")
    (folder / "dynamics/epoch_001.parquet").unlink()
    with pytest.raises(RunError, match="no dynamics of epoch 1: they were not recorded, or"):
        read_run(folder).samples(1)


def test_a_finished_run_of_a_device_that_is_not_here_is_read(tiny_run, tmp_path):
    folder = shutil.copytree(tiny_run.folder, tmp_path / "run")
    write(folder / "config.json", tiny_run.config | {"device": "meta"})
    elsewhere = dataclasses.replace(TINY, device="meta")
    assert fit(elsewhere, folder, progress=False).summary() == tiny_run.summary()


def test_a_learning_rate_of_zero_is_said_to_change_nothing(tmp_path):
    config = dataclasses.replace(TINY, train_faces=32, epochs=1, lr=0)
    assert any("learning rate is 0" in note for note in fit(config, tmp_path, False).notes)


def test_what_is_no_config_and_no_run_is_refused_with_what_is_wanted(tiny_run):
    with pytest.raises(TypeError, match=r"fit takes a Config, as in fit\(Config.*got 'nla'"):
        fit("nla")
    folder = str(tiny_run.folder)
    with pytest.raises(TypeError, match=r"as read_run\(folder\) gives it, got"):
        audit(folder)
    for given in (folder, [tiny_run, tiny_run.folder]):
        with pytest.raises(TypeError, match=r"draws what was read, as by read_run\(folder\), got"):
            figures.training_curves(given)

"""Last batches, numbers that stop being finite, and what of a run is stopped or begun elsewhere."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_data import QUICK, pictures

import nla
from nla import fit
from nla.losses import VARIANTS
from nla.methods import LOSSES
from nla.training import loop, provenance
from nla.training.loading import batch_sizes
from nla.training.loop import TrainingError
from nla.training.processes import World
from nla.training.provenance import with_part

HERE = Path(__file__).parent


@given(st.integers(1, 300), st.integers(1, 50), st.integers(1, 4))
def test_each_image_is_in_one_batch_and_the_last_is_no_single_one(count, batch, processes):
    sizes = batch_sizes(count, batch, processes)
    assert sum(sizes) == count
    assert all(size == batch for size in sizes[:-1])
    if len(sizes) > 1 and batch >= 2 * processes:
        assert sizes[-1] >= 2 * processes
    if count % batch == 0 or count % batch >= 2 * processes:  # as it was before there was a rule
        plain = torch.arange(count).split(batch)
        assert sizes == [len(part) for part in plain]


@pytest.mark.parametrize(
    "loss, variant", [*((loss, "paper") for loss in LOSSES), *(("nla", v) for v in VARIANTS[1:])]
)
def test_every_method_trains_to_the_end_with_one_image_left_over(tmp_path, loss, variant):
    config = dataclasses.replace(QUICK, loss=loss, variant=variant)
    run = fit(config, tmp_path, False, pictures(train=17, test=1))
    assert sorted(run.samples()["index"]) == list(range(17))
    assert run.samples()["cross_entropy"].notna().all()


@pytest.mark.parametrize("model", ["small_resnet", "resnet18", "resnet50"])
def test_every_model_trains_to_the_end_with_one_image_left_over(tmp_path, model):
    config = dataclasses.replace(QUICK, model=model, batch_size=4, loss="cross_entropy")
    run = fit(config, tmp_path, False, pictures(train=9, test=2))
    assert len(run.samples()) == 9


def test_too_few_images_at_once_are_refused_by_the_number_to_change(tmp_path):
    alone = dataclasses.replace(QUICK, model="resnet18", batch_size=1)
    with pytest.raises(TrainingError, match="batch_size must be at least 2"):
        fit(alone, tmp_path / "a", False, pictures())
    with pytest.raises(TrainingError, match="1 training image.*at least 2"):
        fit(QUICK, tmp_path / "b", False, pictures(train=1))
    faces = dataclasses.replace(QUICK, data="faces")
    with pytest.raises(TrainingError, match="raise train_faces"):
        fit(faces, tmp_path / "c", False, pictures(train=1))
    assert not list(tmp_path.iterdir())
    small = dataclasses.replace(QUICK, batch_size=1)  # whose last features are 3 x 3
    assert len(fit(small, tmp_path / "d", False, pictures(train=3)).samples()) == 3


def test_processes_that_would_see_too_little_are_refused(tmp_path, monkeypatch):
    images, manifest = pictures(train=3)
    two = World(0, 2, torch.device("cpu"))
    monkeypatch.setattr(loop, "join_world", lambda device: two)
    with pytest.raises(TrainingError, match="3 training images, and 2 process.* at least 4"):
        fit(QUICK, tmp_path / "run", False, (images, manifest))
    with pytest.raises(TrainingError, match="batch_size must be at least 4"):
        fit(dataclasses.replace(QUICK, batch_size=1), tmp_path / "run", False, pictures())


def test_weights_that_the_last_step_breaks_are_never_a_result(tmp_path):
    data, wild = pictures(), dataclasses.replace(QUICK, batch_size=16, lr=float("1e45"))
    with pytest.raises(TrainingError, match="weights are not finite in epoch 1, step 1") as error:
        fit(wild, tmp_path, False, data)
    assert "lower the learning rate" in str(error.value)
    assert json.loads((tmp_path / "non_finite.json").read_text())["step"] == 0
    for name in ("checkpoint.pt", "card.json", "epochs.csv", "predictions", "model.safetensors"):
        assert not (tmp_path / name).exists()


def test_predictions_that_are_no_numbers_are_never_a_result(tmp_path):
    wild = dataclasses.replace(QUICK, batch_size=16, lr=1e25)  # finite weights, overflowing logits
    with pytest.raises(TrainingError, match="(probabilities|weights).*not finite"):
        fit(wild, tmp_path, False, pictures())
    assert not (tmp_path / "card.json").exists() and not (tmp_path / "checkpoint.pt").exists()


def test_a_checkpoint_within_an_epoch_holds_no_broken_weights(tmp_path):
    wild = dataclasses.replace(QUICK, lr=float("1e45"), checkpoint_minutes=0.0)
    with pytest.raises(TrainingError, match="weights are not finite in epoch 1, step 1"):
        fit(wild, tmp_path, False, pictures())
    assert not (tmp_path / "checkpoint.pt").exists()


def test_ctrl_c_while_the_last_epoch_is_scored_stops_the_caller_and_keeps_the_run(
    tmp_path, monkeypatch
):
    close = loop.close_epoch

    def asked(*arguments):
        os.kill(os.getpid(), signal.SIGINT)
        return close(*arguments)

    monkeypatch.setattr(loop, "close_epoch", asked)
    with pytest.raises(KeyboardInterrupt, match="the run in .* has finished all the same"):
        fit(QUICK, tmp_path / "run", False, pictures())
    monkeypatch.undo()
    assert len(fit(QUICK, tmp_path / "run", False, pictures()).epochs) == 1


def test_parts_of_a_run_in_other_surroundings_are_all_on_record():
    one, two = {"processes": 1, "commit": "a"}, {"processes": 2, "commit": "a"}
    parts = with_part([], one, 0, 0)
    assert with_part(parts, one, 1, 3) == parts
    parts = with_part(parts, two, 2, 0)
    assert parts == [
        {"from_epoch": 0, "from_step": 0, "processes": 1, "commit": "a"},
        {"from_epoch": 2, "from_step": 0, "processes": 2, "commit": "a"},
    ]


def test_a_run_that_goes_on_with_other_threads_records_both(tmp_path, monkeypatch):
    data, config = pictures(), dataclasses.replace(QUICK, epochs=2)
    close = loop.close_epoch

    def stopped(*arguments):
        close(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "close_epoch", stopped)
    with pytest.raises(KeyboardInterrupt):
        fit(config, tmp_path, False, data)
    monkeypatch.setattr(loop, "close_epoch", close)
    elsewhere = provenance.surroundings(World(0, 1, torch.device("cpu"))) | {"threads": 99}
    monkeypatch.setattr(loop, "surroundings", lambda world: elsewhere)
    card = fit(config, tmp_path, False, data).card
    assert [part["from_epoch"] for part in card["parts"]] == [0, 1]
    assert card["parts"][0]["threads"] != card["parts"][1]["threads"] == card["threads"] == 99


def test_a_row_names_the_processor_that_computed_it(monkeypatch):
    """Two makers' processors differ in the last digits, held to the same instructions or not."""
    named = {"cpu_name": "AMD EPYC 7B13"}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: named, raising=False)
    one = provenance.machine(torch.device("cpu"))
    named["cpu_name"] = "Intel Xeon 2.50GHz"
    assert "AMD EPYC 7B13" in one and provenance.machine(torch.device("cpu")) != one
    monkeypatch.delattr(torch.cpu, "get_capabilities")  # an older PyTorch
    assert provenance.machine(torch.device("cpu")) == one.replace(" AMD EPYC 7B13", "")


def test_a_checkout_that_is_not_installed_knows_its_version(monkeypatch):
    there = provenance.importlib.metadata.version

    def version(package):
        if package == "nla-research-kit":
            raise provenance.importlib.metadata.PackageNotFoundError(package)
        return there(package)

    monkeypatch.setattr(provenance.importlib.metadata, "version", version)
    assert provenance.code()["version"] == nla.__version__


def repository(folder, *files):
    """A git repository in which these files are committed; returns a function that runs git."""

    def git(*arguments):
        mine = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        command = ["git", "-C", str(folder), *mine, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    git("init", "-q")
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("1")
        git("add", "-f", name)
    git("commit", "-q", "--allow-empty", "-m", "all")
    return git


def test_the_commit_is_the_kits_own_and_says_whether_its_code_is_that(tmp_path, monkeypatch):
    git = repository(tmp_path, "nla/__init__.py", "notes.txt")
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path / "nla")

    def seen(package):
        monkeypatch.setattr(provenance, "git", at(package))
        provenance.checkout.cache_clear()
        monkeypatch.setattr(provenance, "PACKAGE", package)
        return provenance.checkout()

    def at(package):
        def run(*arguments, folder=package):
            return original(*arguments, folder=folder)

        return run

    original = provenance.git
    head = git("rev-parse", "HEAD")
    assert seen(tmp_path / "nla") == {"commit": head, "dirty": False}
    (tmp_path / "notes.txt").write_text("2")
    assert seen(tmp_path / "nla") == {"commit": head, "dirty": False}
    (tmp_path / "nla/__init__.py").write_text("2")
    assert seen(tmp_path / "nla") == {"commit": head, "dirty": True}
    installed = tmp_path / ".venv/lib/nla"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("1")
    assert seen(installed) == {"commit": "", "dirty": None}
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    repository(thesis)
    (thesis / "nla").mkdir()  # there, but not among its files
    (thesis / "nla/__init__.py").write_text("1")
    assert seen(thesis / "nla") == {"commit": "", "dirty": None}
    provenance.checkout.cache_clear()


TWO = """
import sys
import torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[2])
from small_data import QUICK, pictures
from nla import fit
fit(QUICK, sys.argv[1], progress=False, loaded=pictures(train=int(sys.argv[3])))
"""


def test_two_processes_end_though_one_image_is_left_over(tmp_path):
    (tmp_path / "two.py").write_text(TWO)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", tmp_path / "two.py", tmp_path / "run", HERE, "17"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    card = json.loads((tmp_path / "run/card.json").read_text())
    assert card["processes"] == 2 and len(card["parts"]) == 1
    assert any("statistics of the first process" in note for note in card["notes"])

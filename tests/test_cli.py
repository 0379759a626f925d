import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import TINY
from PIL import Image

from nla import Config
from nla.cli import main, run_command
from nla.data import EXPRESSIONS, DataError, make_faces
from nla.models import model_from
from nla.training.inference import evaluate
from nla.training.loading import load_data

SMALL = "--train-faces 80 --test-faces 40 --epochs 1 --probe 20 --noise 0.2".split()


def call(*arguments):
    run_command([str(argument) for argument in arguments])


def test_train_then_show(tmp_path, capsys):
    call("train", *SMALL, "--out", tmp_path / "run")
    done = capsys.readouterr().out
    for line in ("overall", "mean", "surprise", "neutral", "w* noisy"):
        assert line in done
    call("show", tmp_path / "run")
    assert capsys.readouterr().out.splitlines() == done.splitlines()[:-1]


def test_preset_settings_file_and_options_replace_each_other_in_that_order(tmp_path, capsys):
    settings = tmp_path / "settings.json"
    settings.write_text(
        json.dumps({"name": "mine", "noise": 0.1, "seed": 7, "naw": {"std_true": 0.5}})
    )
    call(
        "train",
        "--preset",
        "demo",
        "--settings",
        settings,
        *SMALL,
        "--naw.slope",
        -5,
        "--out",
        tmp_path / "run",
    )
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert (config["name"], config["noise"], config["seed"], config["loss"]) == (
        "mine",
        0.2,
        7,
        "nla",
    )
    assert (
        config["naw"]["std_true"] == 0.5
        and config["naw"]["slope"] == -5
        and config["naw"]["ratio_true"] == 2
    )
    call("train", "--settings", tmp_path / "run/config.json", "--out", tmp_path / "again")
    assert json.loads((tmp_path / "again/config.json").read_text()) == config


def test_every_field_of_the_config_is_an_option_with_help(capsys):
    with pytest.raises(SystemExit):
        call("train", "--help")
    text = capsys.readouterr().out
    for name in TINY.__dataclass_fields__:
        assert f"--{name.replace('_', '-')}" in text, name
    assert (
        "--naw.std-true" in text
        and "--augmentation.erase-p" in text
        and "share of training labels" in text
    )


def test_data_commands_on_a_folder_of_ones_own(tmp_path, capsys):
    images, manifest = make_faces(40, 0, size=32, ambiguous=0)
    for i, label in enumerate(manifest["label"]):
        path = tmp_path / "set" / ("train" if i < 30 else "test") / EXPRESSIONS[label] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[i].permute(1, 2, 0).numpy()).save(path)

    def data(command, *more):
        call("data", command, "--data", "folder", "--root", tmp_path / "set", *more)
        return capsys.readouterr().out

    with pytest.raises(SystemExit) as done:
        data("check")
    assert done.value.code == 0 and "happiness" in capsys.readouterr().out
    data("sheet", "--out", tmp_path / "sheet", "--per-class", 4)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert np.asarray(sheet.convert("RGB")).std() > 20  # there are pictures on it
    with pytest.raises(DataError, match="no images in the split 'val'"):
        data("sheet", "--split", "val")
    assert "40 images of (3, 32, 32)" in data("pack", "--into", tmp_path / "cache")
    data("corrupt", "--ratio", 0.5, "--out", tmp_path / "noise.txt")
    assert len((tmp_path / "noise.txt").read_text().splitlines()) == 30


def test_a_model_file_is_scored_as_its_run_was(tiny_run, capsys):
    weights = tiny_run.folder / "model.safetensors"
    images, manifest = load_data(Config.parse(tiny_run.config))
    model, _ = model_from(weights)
    scores = evaluate(model, images, manifest, Config(device="cpu"))
    expected = tiny_run.summary()
    assert scores["n"] == 60 and scores["overall"] == pytest.approx(expected["overall"])
    assert scores["surprise"] == pytest.approx(expected["surprise"])
    for wrong, message in (
        ({"split": "val"}, "no val images"),
        ({"true_label": 7}, "choose 7 classes"),
    ):
        part = manifest[manifest["split"] == "test"].assign(
            **wrong if "true_label" in wrong else {}
        )
        with pytest.raises(DataError, match=message):
            evaluate(model, images, part, Config(device="cpu"), wrong.get("split", "test"))
    grey = images.float().mean(1, keepdim=True).to(torch.uint8)
    assert evaluate(model, grey, manifest, Config(device="cpu"))["n"] == 60
    call("evaluate", "--weights", weights)
    assert "macro_f1" in capsys.readouterr().out


def test_export_and_audit_name_what_they_wrote(tiny_run, tmp_path, capsys):
    call("export", tiny_run.folder, "--out", tmp_path / "model.pt2")
    assert (tmp_path / "model.pt2").stat().st_size > 100_000 and "differ" in capsys.readouterr().out
    call("audit", tiny_run.folder, "--out", tmp_path / "audit.csv", "--top", 3)
    assert "120 labels" in capsys.readouterr().out
    assert len(pd.read_csv(tmp_path / "audit.csv")) == 120


def test_the_command_is_installed():
    done = subprocess.run(
        [sys.executable, "-m", "nla.cli", "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0 and "train" in done.stdout


def test_errors_are_one_line_and_not_a_traceback(tmp_path, tiny_run, monkeypatch):
    (tmp_path / "bad.json").write_text('{"epohs": 3}')
    for arguments, message in [
        (("train", "--data", "ferplus", "--root", tmp_path), "ferplus"),
        (("show", tmp_path), "is not a run folder"),
        (("train", "--noise", 2, "--out", tmp_path / "noise"), "noise must be from 0 to 1"),
        (("train", "--settings", tmp_path / "bad.json"), "unknown field epohs"),
        (("train", "--epochs", TINY.epochs + 1, "--out", tiny_run.folder), "another config"),
    ]:
        monkeypatch.setattr(sys, "argv", ["nla", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        assert message in stop.value.code.lower() and "\n" not in stop.value.code.strip()


@pytest.mark.parametrize(
    "option, message", [(("--loss", "magic"), "invalid choice"), (("--epohs", 3), "--epochs")]
)
def test_unknown_options_are_refused_with_what_was_meant(option, message, capsys):
    with pytest.raises(SystemExit):
        call("train", *option)
    assert message in capsys.readouterr().err.lower()

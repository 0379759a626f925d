import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import TINY
from PIL import Image

from nla.cli import commands, main
from nla.data import EXPRESSIONS, DataError, make_faces


def test_train_then_show(tmp_path):
    options = ["--train-faces", 80, "--test-faces", 40, "--epochs", 1, "--probe", 20, "--noise", 0.2]
    done = CliRunner().invoke(commands, ["train", *map(str, options), "--out", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    for line in ("overall", "mean", "surprise", "neutral", "w* noisy"):
        assert line in done.stdout
    shown = CliRunner().invoke(commands, ["show", str(tmp_path / "run")])
    assert shown.stdout.splitlines() == done.stdout.splitlines()[:-1]


def test_data_commands_on_a_folder_of_ones_own(tmp_path):
    images, manifest = make_faces(40, 0, size=32, ambiguous=0)
    for i, label in enumerate(manifest["label"]):
        path = tmp_path / "set" / ("train" if i < 30 else "test") / EXPRESSIONS[label] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[i].permute(1, 2, 0).numpy()).save(path)

    def data(command, *more):
        arguments = ["data", command, "--data", "folder", "--root", tmp_path / "set", *more]
        return CliRunner().invoke(commands, [str(argument) for argument in arguments])

    assert data("check").exit_code == 0 and "happiness" in data("check").stdout
    assert data("sheet", "--out", tmp_path / "sheet", "--per-class", 4).exit_code == 0
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert np.asarray(sheet.convert("RGB")).std() > 20  # there are pictures on it
    nothing = data("sheet", "--split", "val")
    assert isinstance(nothing.exception, DataError) and "no images in the split 'val'" in str(nothing.exception)
    assert "40 images of (3, 32, 32)" in data("pack", "--into", tmp_path / "cache").stdout
    done = data("corrupt", "--ratio", 0.5, "--out", tmp_path / "noise.txt")
    assert done.exit_code == 0 and len((tmp_path / "noise.txt").read_text().splitlines()) == 30


def test_the_command_is_installed():
    done = subprocess.run([sys.executable, "-m", "nla.cli", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "train" in done.stdout


def test_errors_are_one_line_and_not_a_traceback(tmp_path, tiny_run, monkeypatch):
    for arguments, message in [
        (("train", "--data", "ferplus", "--root", tmp_path), "ferplus"),
        (("train", "--loss", "magic", "--out", tmp_path / "run"), "unknown loss"),
        (("show", tmp_path), "is not a run folder"),
        (("train", "--noise", 2, "--out", tmp_path / "noise"), "noisy"),
        (("train", "--epochs", TINY.epochs + 1, "--out", tiny_run.folder), "another config"),
    ]:
        monkeypatch.setattr(sys, "argv", ["nla", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        assert message in stop.value.code.lower() and "\n" not in stop.value.code.strip()

import subprocess
import sys

import pytest
from click.testing import CliRunner
from conftest import TINY

from nla.cli import commands, main


def test_train_then_show(tmp_path):
    options = ["--train-faces", 80, "--test-faces", 40, "--epochs", 1, "--probe", 20, "--noise", 0.2]
    done = CliRunner().invoke(commands, ["train", *map(str, options), "--out", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    for line in ("overall", "mean", "surprise", "neutral", "w* noisy"):
        assert line in done.stdout
    shown = CliRunner().invoke(commands, ["show", str(tmp_path / "run")])
    assert shown.stdout.splitlines() == done.stdout.splitlines()[:-1]


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

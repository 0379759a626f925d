"""The examples of CONTRIBUTING.md do what the page says."""

import dataclasses
import re
import sys
from pathlib import Path

import nbformat
import pytest
import torch
from PIL import Image
from small_data import QUICK, pictures, tree

from nla import cli, fit, methods, read_run
from nla.data import EXPRESSIONS, datasets, make_faces

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def example(heading, **given):
    """What the code below ``heading`` defines, run as it stands there."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    code = re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]
    names = {"__name__": "example", **given}
    exec(compile(code, heading, "exec"), names)
    return names


def test_a_data_set(tmp_path, monkeypatch):
    images, manifest = make_faces(14, 0, size=32)
    for row, label in enumerate(manifest["label"]):
        name = f"{'train' if row < 10 else 'test'}-{EXPRESSIONS[label]}-{row}.png"
        Image.fromarray(images[row].permute(1, 2, 0).numpy()).save(tmp_path / name)
    monkeypatch.setitem(datasets.READERS, "studio", None)
    names = example("A data set", ROOT=tmp_path)
    assert names["images"].shape == (14, 3, 48, 48)
    assert "14 pictures, named by what they show" in names["manifest"].attrs["notes"]


def test_a_loss(monkeypatch, tmp_path):
    monkeypatch.setitem(methods.LOSSES, "poly", None)
    method = example("A loss")["Poly"]()
    logits = torch.log(torch.tensor([[0.25, 0.75], [0.5, 0.5]]))
    total = method(logits, None, torch.tensor([0, 1]), 0.5).total
    by_hand = -torch.log(torch.tensor([0.25, 0.5])) + torch.tensor([0.75, 0.5])
    assert total == pytest.approx(by_hand.mean().item())
    run = fit(dataclasses.replace(QUICK, loss="poly"), tmp_path / "run", False, pictures())
    assert run.config["loss"] == "poly" and len(run.epochs) == 1


def test_the_command_line_has_a_loss_that_was_named_before_it_is_called(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(methods.LOSSES, "poly", None)
    example("A loss")
    tree(tmp_path / "set")
    quick = "--epochs 1 --size 24 --batch-size 8 --probe 8 --device cpu --cache".split()
    place = ["--data", "folder", "--root", str(tmp_path / "set"), "--out", str(tmp_path / "run")]
    monkeypatch.setattr(sys, "argv", ["nla", "train", "--loss", "poly", *place, *quick, ""])
    cli.main()
    assert "overall" in capsys.readouterr().out
    assert read_run(tmp_path / "run").config["loss"] == "poly"


def test_a_figure(planted_run, tmp_path):
    names = example("A figure", RUN=planted_run, OUT=tmp_path)
    assert all(file.stat().st_size > 5000 for file in names["files"])


def test_a_notebook(tmp_path):
    example("A notebook", NOTEBOOKS=ROOT / "notebooks", OUT=tmp_path)
    done = nbformat.read(tmp_path / "executed.ipynb", as_version=4)
    assert "0.1.0" in done.cells[1].outputs[0].text

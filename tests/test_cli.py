import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import TINY
from PIL import Image
from safetensors.torch import load_file

import nla
from nla import Config, cli, cli_train, models
from nla.cli import main, run_command
from nla.data import EXPRESSIONS, DataError, make_faces
from nla.data.datasets import READERS
from nla.models import model_from
from nla.training import inference
from nla.training.inference import evaluate, pictures
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
    *_, of_flip = text.split("--augmentation.flip-p")
    assert "enlarged: the noise" in text and "enlarged: the noise" not in of_flip


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
    assert "210 labels (120 trained on, 90 held out)" in capsys.readouterr().out
    assert len(pd.read_csv(tmp_path / "audit.csv")) == 210


def test_the_command_is_installed():
    done = subprocess.run(
        [sys.executable, "-m", "nla.cli", "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0 and "train" in done.stdout


def run_apart(*arguments):
    """What a command prints in a process of its own, and which slow libraries it loaded."""
    code = (
        "import sys; from nla.cli import run_command; run_command(sys.argv[1:-1])\n"
        "print([name for name in sys.argv[-1].split() if name in sys.modules])"
    )
    slow = "torch torchvision sklearn scipy matplotlib umap statsmodels IPython"
    command = [sys.executable, "-c", code, *map(str, arguments), slow]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_help_and_show_load_no_torch(tiny_run):
    *text, loaded = run_apart("--help")
    assert loaded == "[]"
    for name, command in cli.COMMANDS.items():
        sentence = command.__doc__.splitlines()[0]
        assert any(line.split() == [name, *sentence.split()] for line in text), name
    *table, loaded = run_apart("show", tiny_run.folder)
    assert loaded == "[]" and any(line.startswith("overall") for line in table)


def test_threads_are_told_to_wait_before_torch_loads():
    code = "import sys, os, nla; print(os.environ['GOMP_SPINCOUNT'])"
    environment = {k: v for k, v in os.environ.items() if k != "GOMP_SPINCOUNT"}
    for given, expected in (({}, "3000"), ({"GOMP_SPINCOUNT": "7"}, "7")):
        done = subprocess.run(
            [sys.executable, "-c", f"{code}; print('torch' in sys.modules)"],
            env=environment | given,
            capture_output=True,
            text=True,
        )
        assert done.stdout.split() == [expected, "False"], done.stderr


def test_all_that_the_packages_offer_is_there():
    for package in (nla, nla.data, nla.training):
        for name in package.__all__:
            assert getattr(package, name) is not None, name
        assert dir(package) == sorted(package.__all__)  # what a notebook offers to complete
        with pytest.raises(AttributeError, match="no_such_thing"):
            getattr(package, "no_such_thing")  # noqa: B009
    assert nla.models.small_resnet and nla.data.faces.make_faces is nla.data.make_faces


def test_an_unknown_command_is_named(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["nla", "trian"])
    with pytest.raises(SystemExit, match="no command 'trian': nla --help"):
        main()


def test_each_preset_can_be_named():
    assert set(get_args(cli_train.Preset)) == set(cli_train.PRESETS)
    assert cli_train.starting_point(["--preset", "paper112"]).size == 112
    assert replace(cli_train.PRESETS["paper112"], size=224) == cli_train.PRESETS["paper"]


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


def colour_folder(root, classes=("happy", "sad", "angry"), splits=("train", "test"), each=4):
    """Class folders of drawn faces; returns their files."""
    images, _ = make_faces(len(classes) * len(splits) * each, 0, size=32)
    files = []
    for split in splits:
        for name in classes:
            for number in range(each):
                path = root / split / name / f"{split}-{name}-{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(images[len(files)].permute(1, 2, 0).numpy()).save(path)
                files.append(path)
    return files


def own(root, *more):
    """Options of a quick run on a folder of one's own."""
    quick = ("--epochs", 1, "--batch-size", 8, "--probe", 8, "--device", "cpu", "--size", 32)
    return ("--data", "folder", "--root", root, *quick, *more)


def test_the_commands_know_every_reader():
    assert set(get_args(cli.DataSet)) == set(READERS)


def test_a_run_on_classes_of_ones_own_says_so_and_goes_all_the_way(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = colour_folder(tmp_path / "set", ("calm", "tense", "tired"))
    call("train", *own(tmp_path / "set", "--out", tmp_path / "run"))
    said = capsys.readouterr().out
    assert "note: " in said and "calm" in said and "surprise" not in said
    call("audit", tmp_path / "run", "--out", tmp_path / "audit.csv")
    audited = pd.read_csv(tmp_path / "audit.csv")
    assert set(audited["label"]) == {"calm", "tense", "tired"}
    assert not {"true_label", "kind"} & set(audited)
    call("figures", "--run", tmp_path / "run", "--out", tmp_path / "figures", "--html")
    assert (tmp_path / "figures/confusion.png").is_file()
    weights = tmp_path / "run/model.safetensors"
    call("predict", "--weights", weights, files[0], files[-1].parent, "--out", tmp_path / "p.csv")
    table = pd.read_csv(tmp_path / "p.csv")
    assert len(table) == 5 and list(table.columns[3:6]) == ["p_calm", "p_tense", "p_tired"]
    probabilities = table[["p_calm", "p_tense", "p_tired"]]
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-3)
    assert (probabilities.idxmax(axis=1) == "p_" + table["prediction"]).all()


def test_corrected_labels_are_trained_anew_and_the_old_run_is_kept(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = colour_folder(tmp_path / "set")

    def trained(root):
        call("train", *own(root))
        said = capsys.readouterr().out.splitlines()
        return said[-1], any("same options on other data" in line for line in said)

    first, again = trained(tmp_path / "set"), trained(tmp_path / "set")
    assert first == again and not first[1]
    files[0].rename(tmp_path / "set/train/sad/mended.png")  # its label was wrong
    mended = trained(tmp_path / "set")
    assert mended[0] != first[0] and mended[1]
    (tmp_path / "set").rename(tmp_path / "moved")
    assert trained(tmp_path / "moved") == mended
    with pytest.raises(ValueError, match="1 image added, 1 image removed|changed"):
        call("train", *own(tmp_path / "moved"), "--out", first[0].removeprefix("recorded in "))


@pytest.mark.parametrize(
    "options, message",
    [
        (("--out", "z.html", "--html"), "z.html: a table is written as .csv or .parquet"),
        (("--top", "-1"), "top must be at least 1, got -1"),
        (("--faces", "0"), "faces must be at least 1, got 0"),
        (("--near", "0"), "near must be from 0.1 to 1, got 0"),
        (("--near", "2"), "near must be from 0.1 to 1, got 2"),
        (("--near", "nan"), "near must be from 0.1 to 1, got nan"),
        (("--folds", "1000"), "1000 folds of [0-9]+ training images: choose from 2 to [0-9]+"),
    ],
)
def test_what_no_audit_can_be_made_with_is_refused(
    tiny_run, tmp_path, monkeypatch, options, message
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        call("audit", tiny_run.folder, *options)
    assert not list(tmp_path.iterdir())


def test_tables_of_other_commands_have_a_name_before_work_begins(tiny_run, tmp_path):
    weights = tiny_run.folder / "model.safetensors"
    for command in (("predict", "--weights", weights, "x.png"), ("data", "check", "--data", "csv")):
        with pytest.raises(ValueError, match="a table is written as .csv or .parquet: name it so"):
            call(*command, "--out", tmp_path / "z.html")
    with pytest.raises(ValueError, match="per_class must be at least 1, got 0"):
        call("data", "sheet", "--data", "csv", "--per-class", 0)


def test_predict_follows_links_to_folders(tmp_path):
    for name in ("faces/1.png", "elsewhere/deep/2.png", "faces/.hidden/3.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "faces/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/round").symlink_to(tmp_path / "faces")
    files, notes = pictures([tmp_path / "faces"])
    assert files == [tmp_path / "faces/1.png", tmp_path / "faces/linked/deep/2.png"] and not notes


def test_predict_takes_a_list_and_goes_on_past_a_damaged_picture(tiny_run, tmp_path, capsys):
    good = colour_folder(tmp_path / "set")[0]
    (tmp_path / "bad.jpg").write_bytes(good.read_bytes()[:100])
    listed = f"{good}\n\n{tmp_path / 'bad.jpg'}\n"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", io.StringIO(listed))
        weights = tiny_run.folder / "model.safetensors"
        call("predict", "--weights", weights, "-", "--out", tmp_path / "p.csv")
    table = pd.read_csv(tmp_path / "p.csv")
    assert table["prediction"].notna().tolist() == [True, False]
    with pytest.raises(DataError, match="no picture is named"):
        (tmp_path / "empty").mkdir()
        call("predict", "--weights", weights, tmp_path / "empty")


@pytest.mark.parametrize(
    "options",
    [
        ("--size", 32),
        ("--augmentation.mean", 0, 0, 0, "--augmentation.std", 1, 1, 1),
        ("--loss", "ldam", "--imbalance", 10),
    ],
    ids=["size", "normalisation", "head"],
)
def test_a_run_s_model_is_scored_as_it_was_in_the_run(options, tmp_path, capsys):
    call("train", *SMALL, "--test-faces", 300, *options, "--out", tmp_path / "run")
    recorded = pd.read_csv(tmp_path / "run/epochs.csv")["test_overall"].iloc[-1]
    capsys.readouterr()
    call("evaluate", "--weights", tmp_path / "run/model.safetensors")
    lines = capsys.readouterr().out.splitlines()
    overall = next(line.split()[1] for line in lines if line.startswith("overall"))
    assert float(overall) == pytest.approx(recorded, abs=0.01)
    known = "it may know them"
    assert not any(known in line for line in lines)
    call("evaluate", "--weights", tmp_path / "run/model.safetensors", "--split", "all")
    assert known in capsys.readouterr().out


def test_another_set_is_scored_whatever_splits_and_colours_it_has(
    tiny_run, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)

    def scored(name, *options):
        root = ("--data", "folder", "--root", tmp_path / name)
        call("evaluate", "--weights", tiny_run.folder / "model.safetensors", *root, *options)
        out = capsys.readouterr().out
        return int(float(next(x.split()[1] for x in out.splitlines() if x.startswith("n ")))), out

    draw = np.random.default_rng(0)
    for place in ("tests/test/happy", "tests/test/sad", "flat/happy", "flat/sad"):
        (tmp_path / place).mkdir(parents=True)
        for number in range(10):
            pixels = draw.integers(0, 256, (24, 24, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / place / f"{number}.png")
    assert scored("tests")[0] == 20
    assert scored("flat")[0] == 4
    assert scored("flat", "--split", "all")[0] == 20
    with pytest.raises(DataError, match="there are no val images; there are test$"):
        scored("tests", "--split", "val")
    (tmp_path / "flat/sad/0.png").write_bytes(b"damaged")
    with pytest.raises(DataError, match="--missing skip"):
        scored("flat")
    assert scored("flat", "--split", "all", "--missing", "skip")[0] == 19
    into = ("--into", tmp_path / "packed", "--missing", "skip")
    call("data", "pack", "--data", "folder", "--root", tmp_path / "flat", *into)
    assert capsys.readouterr().out.splitlines()[-1].startswith("19 images")
    for old, new in (("happy", "calm"), ("sad", "tense")):
        (tmp_path / "tests/test" / old).rename(tmp_path / "tests/test" / new)
    with pytest.raises(DataError, match="they show calm, tense, it knows surprise, .*--classes"):
        scored("tests")


def test_a_model_for_grey_faces_scores_colour_ones_in_grey_as_pillow_makes_it(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)
    image = Image.fromarray(pixels)
    made = inference.grey(torch.tensor(pixels).permute(2, 0, 1)[None])
    assert (made[0, 0].numpy() == np.array(image.convert("L"))).all()
    torch.save(models.small_resnet(7, 1).state_dict(), tmp_path / "grey.pth")
    for name in ("happy", "sad"):
        (tmp_path / "set/test" / name).mkdir(parents=True)
        image.save(tmp_path / "set/test" / name / "1.png")
    options = ("--order", "rafdb", "--size", 24, "--data", "folder", "--root", tmp_path / "set")
    call("evaluate", "--weights", tmp_path / "grey.pth", *options)
    assert "note: the images are in colour, the model is for grey ones" in capsys.readouterr().out


def test_a_model_of_another_order_is_scored_in_that_order(tiny_run, tmp_path, capsys):
    weights = tiny_run.folder / "model.safetensors"
    names = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger")
    order = [EXPRESSIONS.index(name) for name in names]
    theirs = {
        name: tensor[order] if name.startswith("fc.") else tensor
        for name, tensor in load_file(weights).items()
    }
    torch.save({"state_dict": theirs}, tmp_path / "theirs.pth")
    scores = {}
    for said, options in {
        "affectnet": ("--weights", tmp_path / "theirs.pth", "--order", "affectnet"),
        "names": ("--weights", tmp_path / "theirs.pth", "--order", ",".join(names)),
        "assumed": ("--weights", tmp_path / "theirs.pth"),
    }.items():
        call("evaluate", *options, "--data", "faces")
        out = capsys.readouterr().out
        scores[said] = next(x.split()[1] for x in out.splitlines() if x.startswith("overall"))
        assert ("order of the outputs is not known" in out) == (said == "assumed")
    assert scores["affectnet"] == scores["names"] != scores["assumed"]


def test_bad_files_are_all_listed_and_can_be_left_out(tmp_path, capsys):
    files = colour_folder(tmp_path / "set")
    for path in files[:3]:
        path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(SystemExit) as done:
        listed = ("--data", "folder", "--root", tmp_path / "set", "--out", tmp_path / "bad.csv")
        call("data", "check", *listed)
    assert done.value.code == 1
    bad = (tmp_path / "bad.csv").read_text()
    assert all(path.name in bad for path in files[:3])
    with pytest.raises(DataError, match="--missing skip"):
        call("train", *own(tmp_path / "set", "--out", tmp_path / "run"))
    call("train", *own(tmp_path / "set", "--missing", "skip", "--out", tmp_path / "run"))
    assert "note: 3 " in capsys.readouterr().out


def test_a_console_without_greek_gets_its_table(tmp_path):
    environment = os.environ | {"PYTHONUTF8": "0", "PYTHONIOENCODING": "cp1252"}
    options = map(str, (*SMALL, "--name", "λ = .1", "--out", tmp_path / "run"))
    command = [sys.executable, "-m", "nla", "train", *options]
    done = subprocess.run(command, capture_output=True, env=environment)
    assert done.returncode == 0 and b"overall" in done.stdout and b"? = .1" in done.stdout


def test_a_name_cannot_leave_the_folder_of_runs():
    for name in ("../../elsewhere", "/tmp/x", "C:\\x", "a/b", "..", "\n"):
        folder = Config(name=name).folder
        assert folder.parent == Path("data/runs") and ".." not in folder.name.split("-")[1:2]


def test_a_reader_that_has_seen_enough_loses_no_file_and_hears_no_complaint(tiny_run, tmp_path):
    folder = tmp_path / "faces"
    folder.mkdir()
    Image.fromarray(np.zeros((48, 48, 3), np.uint8)).save(folder / "a.png")
    for number in range(150):
        (folder / f"{number}.png").symlink_to(folder / "a.png")
    out = tmp_path / "said.csv"
    gone, end = os.pipe()
    os.close(gone)  # whatever is written to the other end, nobody reads it
    weights = tiny_run.folder / "model.safetensors"
    command = [sys.executable, "-m", "nla", "predict", folder, "--weights", weights, "--out", out]
    done = subprocess.run(command, stdout=end, stderr=subprocess.PIPE, text=True)
    os.close(end)
    assert (done.returncode, done.stderr) == (141, "")
    assert len(pd.read_csv(out)) == 151

"""Models are opened as what they are: a run as that run, another's with every assumption said."""

import dataclasses
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from small_data import QUICK, pictures

from nla import Config, fit, models
from nla.data import EXPRESSIONS, DataError
from nla.data.images import Augmentation
from nla.training.inference import evaluate, predict_files
from nla.training.opening import ORDERS, open_model
from nla.training.record import RunError
from nla.weights import WeightsError

GREY = Augmentation(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


@pytest.fixture(scope="module")
def data():
    return pictures(train=40, test=20)


@pytest.fixture(scope="module")
def run(tmp_path_factory, data):
    """A run of LDAM, whose logits are cosines, with a normalisation of its own."""
    config = dataclasses.replace(QUICK, loss="ldam", augmentation=GREY, lr=1e-2)
    return fit(config, tmp_path_factory.mktemp("runs") / "run", False, data)


@pytest.mark.parametrize("file", ["model.safetensors", "."])
def test_a_file_of_a_run_is_opened_as_that_run(run, data, file):
    opened = open_model(run.folder / file)
    assert opened.config.size == 24 and opened.config.augmentation == GREY
    assert opened.classes == run.classes and "opened as the run beside it" in opened.notes[0]
    known = {"classes": opened.classes, "label_counts": opened.label_counts}
    scores = evaluate(opened.model, *data, opened.config, **known)
    for name in ("overall", "mean", "adjusted: overall", "adjusted: mean"):
        assert scores[name] == pytest.approx(run.summary()[name])


def test_logits_are_adjusted_once(tmp_path):
    """Of uneven labels; of a loss that adjusts already the prior is put back."""
    images, manifest = pictures(train=40, test=40)
    train = manifest["split"] == "train"
    manifest.loc[train, "label"] = [0] * 24 + [1] * 16
    runs = {}
    for loss in ("cross_entropy", "logit_adjusted"):
        config = dataclasses.replace(QUICK, loss=loss)
        runs[loss] = fit(config, tmp_path / loss, False, (images, manifest))
    plain, even = runs["cross_entropy"], runs["logit_adjusted"]
    assert plain.label_counts.tolist() == [24, 16, 0, 0, 0, 0, 0]
    p = plain.predictions()[[f"p_{name}" for name in plain.classes]].to_numpy()
    weighted = p / np.array([0.6, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4])
    right = weighted.argmax(axis=1) == plain.predictions()["true_label"].to_numpy()
    assert plain.summary()["adjusted: overall"] == pytest.approx(100 * right.mean())
    assert open_model(plain.folder).label_counts == (24, 16, 0, 0, 0, 0, 0)
    p = even.predictions()[[f"p_{name}" for name in even.classes]].to_numpy()
    right = (p * [6, 4, 4, 4, 4, 4, 4]).argmax(1) == even.predictions()["true_label"].to_numpy()
    told = even.summary()
    assert told["with prior: overall"] == pytest.approx(100 * right.mean())
    assert not [name for name in told if name.startswith("adjusted")]
    opened = open_model(even.folder)
    assert any("as if all classes were equally common" in note for note in opened.notes)
    assert not any("equally common" in note for note in open_model(plain.folder).notes)
    known = opened.classes, opened.label_counts, opened.taken_out
    again = evaluate(opened.model, images, manifest, opened.config, "test", *known)
    assert again["with prior: mean"] == pytest.approx(told["with prior: mean"])
    assert "adjusted: mean" not in again


def test_a_loss_that_adjusts_by_half_gets_half_of_the_prior_back(tmp_path):
    options = {"train_faces": 40, "test_faces": 20, "size": 16, "epochs": 1, "probe": 8}
    run = fit(Config(loss="logit_adjusted", strength=0.5, **options), tmp_path, progress=False)
    assert run.taken_out == open_model(run.folder).taken_out == 0.5
    p = run.predictions().query("split == 'test'")
    scores = p[[f"p_{name}" for name in run.classes]].to_numpy() * run.label_counts**0.5
    right = scores.argmax(1) == p["true_label"].to_numpy()
    assert run.summary()["with prior: overall"] == pytest.approx(100 * right.mean())
    notes = open_model(run.folder).notes
    assert any("by 0.5 times the log of class sizes" in note for note in notes)
    assert not any("equally common" in note for note in notes)


@pytest.mark.parametrize(
    "option",
    [{"size": 48}, {"order": "affectnet"}, {"mean": (0.5, 0.5, 0.5)}, {"std": (0.5, 0.5, 0.5)}],
)
def test_options_that_contradict_the_run_are_refused(run, option):
    with pytest.raises(RunError, match=f"{next(iter(option))} .* contradicts it"):
        open_model(run.folder / "model.safetensors", **option)
    same = {"size": 24, "order": "rafdb", "mean": [0.0] * 3, "std": [1.0] * 3}
    assert open_model(run.folder / "model.safetensors", **same).config.size == 24


def test_an_unfinished_run_and_a_missing_best_model_are_named(run, tmp_path):
    with pytest.raises(RunError, match="no best.safetensors .*no validation split"):
        open_model(run.folder / "best.safetensors")
    copied = shutil.copytree(run.folder, tmp_path / "run")
    (copied / "card.json").unlink()
    with pytest.raises(RunError, match="has not finished"):
        open_model(copied / "model.safetensors")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """Files of one network whose outputs are in the kit's order, and in others."""
    folder = tmp_path_factory.mktemp("theirs")
    torch.manual_seed(0)
    model = models.small_resnet(7, 3)
    orders = {"rafdb": EXPRESSIONS[:7], "alphabetical": sorted(EXPRESSIONS[:7])}
    orders |= {name: names[:7] for name, names in ORDERS.items() if name != "rafdb"}
    for name, order in orders.items():
        rows = [EXPRESSIONS.index(expression) for expression in order]
        state = dict(model.state_dict())
        for part in ("fc.weight", "fc.bias"):
            state[part] = state[part][rows]
        torch.save(state, folder / f"{name}.pth")
    return folder


@pytest.mark.parametrize("order", ["rafdb", "alphabetical", "affectnet", "ferplus", "fer2013"])
def test_outputs_in_any_known_order_give_the_same_accuracy(theirs, data, order):
    kit = open_model(theirs / "rafdb.pth", size=24)
    other = open_model(theirs / f"{order}.pth", size=24, order=order)
    assert other.classes == kit.classes == EXPRESSIONS[:7]
    ours = evaluate(kit.model, *data, kit.config, classes=kit.classes)
    assert evaluate(other.model, *data, other.config, classes=other.classes) == ours
    names = ORDERS[order][:7] if order in ORDERS else sorted(EXPRESSIONS[:7])
    named = open_model(theirs / f"{order}.pth", size=24, order=names)
    assert torch.equal(named.model.fc.weight, kit.model.fc.weight)


def test_everything_assumed_of_anothers_model_is_said(theirs):
    opened = open_model(theirs / "rafdb.pth")
    said = "\n".join(opened.notes)
    for words in ("order of the outputs is not known", "48 pixels", "the mean", "the std"):
        assert words in said
    told = {"size": 48, "order": "rafdb", "mean": (0.5,) * 3, "std": (0.2,) * 3}
    known = open_model(theirs / "rafdb.pth", **told)
    assert known.notes == [] and known.config.augmentation.mean == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    "option, message",
    [
        ({"order": "kaggle"}, "no order is called 'kaggle'; there are rafdb, affectnet"),
        ({"order": ("a", "b")}, "7 outputs, and 2 different names"),
        ({"mean": (0.5, 0.5)}, "mean must be three numbers"),
        ({"std": (0.5, 0.5, 0.0)}, "std must be three numbers"),
    ],
)
def test_options_that_do_not_fit_are_refused(theirs, option, message):
    with pytest.raises(WeightsError, match=message):
        open_model(theirs / "rafdb.pth", **option)


def test_outputs_of_unknown_number_need_names(tmp_path, data):
    torch.save(models.small_resnet(3, 3).state_dict(), tmp_path / "three.pth")
    with pytest.raises(WeightsError, match="3 outputs, and nothing says what they are"):
        open_model(tmp_path / "three.pth")
    with pytest.raises(WeightsError, match="fer2013 numbers 7"):
        open_model(tmp_path / "three.pth", order="fer2013")
    opened = open_model(tmp_path / "three.pth", size=24, order=("up", "flat", "down"))
    assert opened.classes == ("up", "flat", "down")
    with pytest.raises(DataError, match="show surprise, fear.*knows up, flat, down"):
        evaluate(opened.model, *data, opened.config, classes=opened.classes)
    images, manifest = pictures(classes=3, names=("down", "flat", "up"))
    scores = evaluate(opened.model, images, manifest, opened.config, classes=opened.classes)
    turned = manifest.assign(true_label=2 - manifest["true_label"])
    turned.attrs["classes"] = ["up", "flat", "down"]
    again = evaluate(opened.model, images, turned, opened.config, classes=opened.classes)
    assert scores == again and set(opened.classes) < set(scores)


def test_pictures_of_any_kind_are_looked_at_and_unreadable_ones_are_rows(run, tmp_path):
    draw = np.random.default_rng(0)
    colour = draw.integers(0, 256, (30, 40, 3), np.uint8)
    Image.fromarray(colour).save(tmp_path / "a.png")
    Image.fromarray(colour[..., 0]).save(tmp_path / "b.png")
    (tmp_path / "c.jpg").write_bytes(b"no picture")
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / ".hidden").mkdir()
    shutil.copy(tmp_path / "a.png", tmp_path / ".hidden/d.png")
    table = predict_files(run.folder, [tmp_path, tmp_path / "gone.png"])
    names = [file.rsplit("/")[-1] for file in table["file"]]
    assert names == ["a.png", "b.png", "c.jpg", "gone.png"]
    probabilities = table[[f"p_{name}" for name in run.classes]]
    assert table["prediction"].isna().tolist() == [False, False, True, True]
    assert probabilities.isna().all(axis=1).tolist() == [False, False, True, True]
    np.testing.assert_allclose(probabilities[:2].sum(axis=1), 1)
    best = probabilities[:2].idxmax(axis=1).str.removeprefix("p_")
    assert table["prediction"][:2].tolist() == best.tolist()
    assert table["probability"][:2].tolist() == probabilities[:2].max(axis=1).tolist()
    assert table["error"][:2].tolist() == ["", ""]
    assert "c.jpg is no whole picture" in table["error"][2] and "not there" in table["error"][3]
    assert any("1 files are no pictures" in note for note in table.attrs["notes"])
    with pytest.raises(DataError, match="no picture"):
        predict_files(open_model(run.folder), [])


def test_a_picture_is_judged_as_the_run_judged_it(run, data, tmp_path):
    images, _ = data
    rows = run.predictions()
    for row in rows["index"]:
        Image.fromarray(images[row].permute(1, 2, 0).numpy()).save(tmp_path / f"{row:03d}.png")
    table = predict_files(open_model(run.folder), tmp_path)
    for name in run.classes:
        np.testing.assert_allclose(table[f"p_{name}"], rows[f"p_{name}"], atol=1e-5)


def test_a_model_for_grey_pictures_is_shown_grey_ones(tmp_path):
    torch.save(models.small_resnet(7, 1).state_dict(), tmp_path / "grey.pth")
    colour = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)
    Image.fromarray(colour).save(tmp_path / "a.png")
    Image.fromarray(colour).convert("L").save(tmp_path / "b.png")
    table = predict_files(tmp_path / "grey.pth", sorted(tmp_path.glob("*.png")), size=24)
    assert table["probability"][0] == table["probability"][1]

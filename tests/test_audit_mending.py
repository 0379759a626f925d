"""From decisions to a better training set: corrected lists, and training with them."""

import unicodedata
from dataclasses import replace
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from small_data import tree
from test_cli import call

from nla import Config, cli, fit, read_run
from nla.analysis.audit import BY, audit
from nla.analysis.audit_explorer import AuditExplorer, audit_explorer
from nla.analysis.audit_page import page_content
from nla.data import EXPRESSIONS, DataError, make_faces, read_folder, relabel
from nla.data.correction import mend, read_decisions
from nla.data.corruption import write_list
from nla.data.manifest import knows_truth
from nla.training.config import PAPER
from nla.training.loading import load_data

NAMES = EXPRESSIONS[:7]
QUICK = ("--epochs", 1, "--batch-size", 16, "--probe", 8, "--device", "cpu", "--size", 32)


def folder_of_faces(root, train=112, test=14):
    """Drawn faces as a folder of pictures; every fourth training face lies in a wrong folder."""
    images, manifest = make_faces(train + test, 0, size=32)
    for i, truth in enumerate(manifest["true_label"]):
        wrong = i < train and i % 4 == 0
        split = "train" if i < train else "test"
        name = f"{(truth + 1) % 7 if wrong else truth}-{truth}-{i}.png"
        path = root / split / NAMES[(truth + 1) % 7 if wrong else truth] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[i].permute(1, 2, 0).numpy()).save(path)
    return root


def truth_of(path):
    """The true class of one of these faces, by its name."""
    return NAMES[int(path.rsplit("/", 1)[1].split("-")[1])]


def judged(run, count):
    """A widget in which the truth was said of the first ``count`` faces."""
    table = audit(run)
    widget = AuditExplorer(run, table, page_content(run, table), None)
    for index, path in table[["index", "path"]].head(count).to_numpy().tolist():
        widget.decide(index, truth_of(path))
    return widget


@pytest.fixture(scope="module")
def mistaken(tmp_path_factory):
    """A folder of faces, a run on it and decisions for 100 of its faces."""
    root = tmp_path_factory.mktemp("mend")
    folder_of_faces(root / "set")
    call("train", "--data", "folder", "--root", root / "set", *QUICK, "--out", root / "run")
    judged(read_run(root / "run"), 100).save(root / "made.csv")
    return root


def correct(root, *more, decisions=None):
    made = root / "made.csv" if decisions is None else decisions
    options = ("--data", "folder", "--root", root / "set")
    call("data", "correct", *options, "--decisions", made, "--out", root / "list.txt", *more)


def test_a_hundred_faces_judged_corrected_trained_and_audited_anew(mistaken, capsys):
    correct(mistaken)
    said = capsys.readouterr().out
    made = pd.read_csv(mistaken / "made.csv")
    moved = made[(made["split"] == "train") & (made["decision"] == "relabel")]
    assert len(moved) > 10 and f"note: {len(moved)} labels changed" in said
    before = read_folder(mistaken / "set")
    after = relabel(before, mistaken / "list.txt")
    assert (after["label"] != before["label"]).sum() == len(moved)
    assert relabel(before, mistaken / "list_before.txt")["label"].equals(before["label"])
    options = ("--data", "folder", "--root", mistaken / "set", *QUICK)
    call("train", *options, "--labels", mistaken / "list.txt", "--out", mistaken / "again")
    said = capsys.readouterr().out
    assert f"{len(moved)} labels of the list differ from those before" in said
    again = read_run(mistaken / "again")
    table = audit(again).set_index("path")
    for path, to in moved[["image", "to"]].to_numpy().tolist():
        assert table.loc[path, "label"] == to == truth_of(path)
    assert not again.knows_truth and "kind" not in table
    with pytest.raises(ValueError, match="holds a run of another|holds a run of other data"):
        call("train", *options, "--out", mistaken / "again")


def test_a_second_round_corrects_the_list_of_the_first(mistaken, capsys):
    correct(mistaken)
    options = ("--data", "folder", "--root", mistaken / "set", *QUICK)
    call("train", *options, "--labels", mistaken / "list.txt", "--out", mistaken / "second")
    judged(read_run(mistaken / "second"), 126).save(mistaken / "more.csv")
    with pytest.raises(DataError, match="was judged as .*, and is now labelled .*audit a run"):
        correct(mistaken, decisions=mistaken / "more.csv")
    list_ = mistaken / "list.txt"
    correct(mistaken, "--labels", list_, decisions=mistaken / "more.csv")
    labels = relabel(read_folder(mistaken / "set"), list_)
    train = labels[labels["split"] == "train"]
    assert [NAMES[k] for k in train["label"]] == [truth_of(path) for path in train["path"]]


def lines(root):
    return pd.read_csv(root / "made.csv", dtype=str, keep_default_na=False)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"data": "rafdb"}, "line 2: 'rafdb' is the set that was judged, not folder"),
        ({"image": "train/fear/none.png"}, "line 2: 'train/fear/none.png' is no image of this"),
        ({"label": "calm"}, "line 2: 'calm' is no class of folder: surprise, fear"),
        ({"decision": "maybe"}, "line 2: 'maybe' is none of keep, relabel"),
        ({"to": "calm", "decision": "relabel"}, "line 2: 'calm' is no class of folder"),
        ({"digest": f"{1:016x}"}, "line 2: .* shows other pixels now"),
        ({"digest": "1.23E+15"}, "line 2: '1.23E.15' is no digest.* a spreadsheet changed it"),
        ({"decision": "keep", "to": "fear"}, "line 2: 'fear' stands in the column to, and only"),
        ({"decision": "two expressions", "to": "fear"}, "line 2: 'fear' stands in the column to"),
        ({"decision": "no face", "to": "fear"}, "line 2: 'fear' stands in .*leave to empty"),
        ({"split": "some"}, "line 2: 'some' is no split"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(mistaken, tmp_path, change, message):
    made = lines(mistaken)
    made.loc[0, list(change)] = list(change.values())
    made.to_csv(tmp_path / "bad.csv", index=False)
    with pytest.raises(DataError, match=message):
        correct(mistaken, decisions=tmp_path / "bad.csv")


def test_decisions_are_read_however_images_and_names_are_written(mistaken, tmp_path):
    correct(mistaken)
    expected = (mistaken / "list.txt").read_bytes()
    made = lines(mistaken)
    whole = str(mistaken / "set") + "/" + made["image"]
    made["image"] = whole.where(made.index % 2 == 0, made["image"].str.replace("/", "\\"))
    made["digest"] = made["digest"].str.upper()
    for column in ("data", "split", "label", "decision", "to"):
        made[column] = made[column].str.title()
    made.loc[made["label"] == "Happiness", "label"] = "happy"
    made.to_csv(tmp_path / "other.csv", index=False)
    correct(mistaken, decisions=tmp_path / "other.csv")
    assert (mistaken / "list.txt").read_bytes() == expected


def test_decomposed_letters_in_decisions_are_the_sets(tmp_path):
    tree(tmp_path / "set", 1, ("fröhlich", "müde"))
    manifest = read_folder(tmp_path / "set")
    image = unicodedata.normalize("NFD", "train/müde/0.png")
    text = f"data,split,image,label,decision,to\nfolder,train,{image},müde,relabel,fröhlich\n"
    (tmp_path / "made.csv").write_text(text, encoding="utf-8")
    after = mend(manifest, tmp_path / "made.csv", "folder", tmp_path / "set")
    assert (after["label"] != manifest["label"]).sum() == 1


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "not readable .*name the csv saved from the page"),
        (b"", "holds no decision; save the decisions from the page again"),
        (b"data,split,image,label,decision,to\n\n", "holds no decision; save"),
        ("data,ü".encode("utf-16"), "not UTF-8; save the decisions .*as csv in UTF-8"),
        ("data".encode("utf-16-le"), "not UTF-8; save"),
        ("data,ü\n".encode("latin-1"), "not UTF-8; save"),
    ],
)
def test_a_file_that_holds_no_decisions_says_how_to_get_them(tmp_path, content, message):
    file = tmp_path / "made.csv"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_decisions(file, "folder", NAMES)


def test_a_label_that_changed_since_is_refused_by_name(mistaken, tmp_path):
    made = lines(mistaken)
    first = made["image"][made["split"] == "train"].iloc[0]
    label = made.loc[made["image"] == first, "label"].iloc[0]
    other = "anger" if label != "anger" else "fear"
    made.loc[made["image"] == first, "label"] = other
    made.to_csv(tmp_path / "bad.csv", index=False)
    with pytest.raises(DataError, match=f"{first}.*judged as {other}, and is now labelled {label}"):
        correct(mistaken, decisions=tmp_path / "bad.csv")


def test_judged_twice_is_one_decision_or_refused(mistaken, tmp_path):
    made = lines(mistaken)
    pd.concat([made, made]).to_csv(tmp_path / "twice.csv", index=False)
    correct(mistaken, decisions=tmp_path / "twice.csv")
    other = made.assign(decision="keep", to="")
    pd.concat([made, other]).to_csv(tmp_path / "twice.csv", index=False)
    with pytest.raises(DataError, match="line 10[0-9]: .* was judged twice, and differently"):
        correct(mistaken, decisions=tmp_path / "twice.csv")


def test_no_face_leaves_training_and_two_expressions_keep_their_label(mistaken, tmp_path, capsys):
    made = lines(mistaken)
    train = made.index[made["split"] == "train"]
    made["decision"] = "keep"
    made.loc[train[:3], "decision"] = "no face"
    made.loc[train[3:5], "decision"] = "two expressions"
    made.assign(to="").to_csv(tmp_path / "made.csv", index=False)
    correct(mistaken, decisions=tmp_path / "made.csv")
    said = capsys.readouterr().out
    assert "0 labels changed; 3 images without a face are marked no-face" in said
    assert "2 show two expressions" in said
    config = Config(
        data="folder", root=str(mistaken / "set"), size=32, labels=str(mistaken / "list.txt")
    )
    images, manifest = load_data(config)
    assert len(images) == len(manifest) == 126 - 3
    assert not manifest["path"].isin(made.loc[train[:3], "image"]).any()
    assert "3 images that show no face" in " ".join(manifest.attrs["notes"])
    noisy, _ = load_data(Config(data="folder", root=str(mistaken / "set"), size=32)), None
    kept = noisy[1]["path"].isin(manifest["path"]).to_numpy()
    assert (noisy[0][kept] == images[:]).all()  # each image stays with its row


def test_evaluation_is_never_relabelled_and_that_is_said(mistaken, capsys):
    correct(mistaken)
    test = (lines(mistaken)["split"] != "train").sum()
    said = capsys.readouterr().out
    assert test and f"{test} decisions are about validation or test images: not applied" in said


def test_images_that_a_run_drew_for_validation_are_evaluation_with_the_set_too(
    mistaken, tmp_path, capsys
):
    made = lines(mistaken)
    train = made.index[made["split"] == "train"]
    moved = int((made.loc[train, "decision"] == "relabel").sum())
    made.loc[train, "split"] = "val"
    made.to_csv(tmp_path / "made.csv", index=False)
    correct(mistaken, decisions=tmp_path / "made.csv")
    said = capsys.readouterr().out
    assert moved and "note: 0 labels changed" in said
    assert "100 decisions are about validation or test images: not applied" in said


def test_labels_planted_by_a_run_are_corrected_through_the_run(tmp_path, capsys):
    config = Config(train_faces=60, test_faces=14, noise=0.4, epochs=1, probe=8, batch_size=16)
    run = fit(config, tmp_path / "run", progress=False)
    widget = audit_explorer(run)
    truth = run.manifest.query("split == 'train'")["true_label"]
    for index, label in truth.items():
        widget.decide(index, NAMES[label])
    widget.save(tmp_path / "made.csv")
    made = ("--decisions", tmp_path / "made.csv", "--out", tmp_path / "list.txt")
    call("data", "correct", "--run", run.folder, *made)
    options = {"labels": str(tmp_path / "list.txt")}
    _, manifest = load_data(Config(train_faces=60, test_faces=14, noise=0.4, **options))
    train = manifest.query("split == 'train'")
    assert (train["label"] == train["true_label"]).all() and (train["kind"] != "noisy").all()
    for wrong in ((), ("--run", run.folder, "--data", "folder")):
        with pytest.raises(DataError, match="name the data set .* or the audited run"):
            call("data", "correct", *wrong, *made)


def test_a_list_takes_part_in_thinning_and_says_what_it_is_of(tmp_path):
    config = Config(train_faces=200, test_faces=14, noise=0.3, imbalance=10)
    _, manifest = load_data(config)
    write_list(manifest.assign(label=manifest["true_label"]), tmp_path / "thin.txt")
    labels = str(tmp_path / "thin.txt")
    _, mended = load_data(
        Config(train_faces=200, test_faces=14, noise=0.3, imbalance=10, labels=labels)
    )
    assert mended["row"].equals(manifest["row"])
    train = mended["split"] == "train"
    assert (mended["label"] == mended["true_label"])[train].all()
    _, whole = load_data(Config(train_faces=200, test_faces=14))
    write_list(whole, tmp_path / "whole.txt")
    labels = str(tmp_path / "whole.txt")
    _, mended = load_data(
        Config(train_faces=200, test_faces=14, noise=0.3, imbalance=10, labels=labels)
    )
    assert len(mended) == len(manifest)


def test_a_list_of_the_literature_keeps_the_sets_truth_and_a_mended_one_asserts_none(tmp_path):
    tree(tmp_path / "set", 4)
    manifest = read_folder(tmp_path / "set")
    moved = manifest.assign(label=(manifest["label"] + 1) % 7)
    write_list(moved, tmp_path / "list.txt")
    options = {"data": "folder", "root": str(tmp_path / "set"), "size": 24}
    labels = str(tmp_path / "list.txt")
    _, noisy = load_data(Config(**options, labels=labels, list_is="noisy"))
    assert knows_truth(noisy) and (noisy["kind"] == "noisy").sum() == 28
    _, mended = load_data(Config(**options, labels=labels))
    assert not knows_truth(mended) and "kind" not in mended
    train = mended["split"] == "train"
    assert (mended["label"][train] == moved["label"][train]).all()
    assert (mended["label"][~train] == manifest["label"][~train]).all()


def test_the_place_of_a_list_is_no_part_of_the_key_and_old_keys_stay():
    assert Config(labels="a.txt").key == Config(labels="b/c.txt").key != Config().key
    assert Config(list_is="noisy").key != Config().key
    assert PAPER.key == Config.parse({"labels": ""}, PAPER).key


def test_a_changed_list_is_another_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = {"train_faces": 40, "test_faces": 14, "epochs": 1, "probe": 8, "snapshots": 1}
    _, manifest = load_data(Config(**small))
    folders = set()
    for shift in (0, 1):
        write_list(manifest.assign(label=(manifest["label"] + shift) % 7), "list.txt")
        folders.add(fit(Config(**small, labels="list.txt"), progress=False).folder)
    assert len(folders) == 2


def test_skipped_images_may_stand_in_a_list_and_are_counted(tmp_path):
    tree(tmp_path / "set", 3)
    write_list(read_folder(tmp_path / "set"), tmp_path / "list.txt")
    (tmp_path / "set/train/fear/1.png").write_bytes(b"damaged")
    options = {"data": "folder", "root": str(tmp_path / "set"), "size": 24, "cache": ""}
    labels = str(tmp_path / "list.txt")
    images, manifest = load_data(Config(**options, labels=labels, missing="skip"))
    assert len(images) == 41
    assert "1 lines of" in " ".join(manifest.attrs["notes"])


def test_a_list_read_in_another_order_of_classes_is_warned_of_and_one_with_names_is_right(
    mistaken, tmp_path
):
    correct(mistaken)
    before = (mistaken / "list_before.txt").read_text().splitlines()
    assert {line.split("\t")[1] for line in before} == set(NAMES)
    options = {"data": "folder", "root": str(mistaken / "set"), "size": 32}
    turned = Config(**options, classes=NAMES[::-1])
    as_before = replace(turned, labels=str(mistaken / "list_before.txt"))
    _, manifest = load_data(as_before)
    assert "0 labels of the list differ" in manifest.attrs["notes"][-1]
    assert "WARNING" not in " ".join(manifest.attrs["notes"])
    numbered = tmp_path / "numbers.txt"
    before = read_folder(mistaken / "set")
    write_list(before, numbered)
    differ = (before["label"] != 3)[before["split"] == "train"].sum()  # happiness stays the middle
    assert numbered.read_text().split()[1] == "6"
    _, manifest = load_data(replace(turned, labels=str(numbered)))
    said = " ".join(manifest.attrs["notes"])
    assert f"WARNING: {differ} of 112 labels of the list are others than before" in said
    assert "--classes" in said and ", ".join(NAMES[::-1]) in said


def test_order_of_the_decisions_changes_nothing(mistaken, tmp_path):
    correct(mistaken)
    expected = (mistaken / "list.txt").read_bytes()
    mixed = lines(mistaken).sample(frac=1, random_state=0)
    mixed.to_csv(tmp_path / "mixed.csv", index=False)
    correct(mistaken, decisions=tmp_path / "mixed.csv")
    assert (mistaken / "list.txt").read_bytes() == expected
    assert np.array_equal(np.sort(mixed["image"]), np.sort(lines(mistaken)["image"]))


def test_the_command_knows_every_judge():
    assert set(get_args(cli.Judge)) == set(BY)


def test_the_command_writes_a_page_with_or_without_the_faces(mistaken, tmp_path, capsys):
    list_ = tmp_path / "audit.csv"
    call("audit", mistaken / "run", "--out", list_, "--html", "--near", 0.5)
    said = capsys.readouterr().out
    page = (tmp_path / "audit.html").read_text()
    assert f"wrote {tmp_path / 'audit.html'}" in said and "data:image/jpeg" in page
    call("audit", mistaken / "run", "--out", list_, "--html", "--root", tmp_path / "gone")
    said = capsys.readouterr().out
    assert "note: without the faces: " in said and "--root names its folder" in said
    assert "data:image/jpeg" not in (tmp_path / "audit.html").read_text()
    folder_of_faces(tmp_path / "other", 60)
    call("audit", mistaken / "run", "--out", list_, "--html", "--root", tmp_path / "other")
    assert "is not what the run was trained on" in capsys.readouterr().out
    call("audit", mistaken / "run", "--out", list_, "--folds", 2, "--by", "outside_margin")
    assert "112 labels (112 trained on)" in capsys.readouterr().out
    assert len(list((mistaken / "run/folds").glob("2-*/fold_*"))) == 2

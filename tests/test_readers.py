"""Other people's data: what readers take in any spelling, what they say, what they refuse."""

import shlex
import shutil
import unicodedata

import fake_data as fake
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from test_datasets import refused

from nla.data import (
    EXPRESSIONS,
    read_affectnet,
    read_csv,
    read_fer2013,
    read_ferplus,
    read_folder,
    read_rafdb,
)
from nla.data.check import check
from nla.data.manifest import class_names, data_root, validate
from nla.data.names import SYNONYMS, expression_of, fold, name_classes, natural, whole_number
from nla.data.parsing import IMAGES, label_list, safe
from nla.data.parsing import table as csv_table
from nla.data.pixels import read_pixels

LOOSE = {
    "max_examples": 25,
    "deadline": None,
    "suppress_health_check": [HealthCheck.function_scoped_fixture],
}
WORDS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
AFFECTNET = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt")


def tree(root, classes=WORDS, splits=("train", "test"), per_class=1, suffix=".png"):
    """``<split>/<class>/p<class><number>``, or without a level of splits; no two pictures alike."""
    for s, split in enumerate(splits or ("",)):
        for k, name in enumerate(classes):
            for i in range(per_class):
                number = 10_000 * s + 100 * k + i
                fake.picture(root / split / name / f"p{k}{i}{suffix}", number)
    return root


def fresh(root):
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    return root


def of(manifest):
    """path: class by name."""
    names = class_names(manifest)
    return {p: names[k] for p, k in zip(manifest["path"], manifest["label"], strict=True)}


def notes(manifest):
    return "; ".join(manifest.attrs["notes"])


def table(root, text, name="labels.csv", encoding="utf-8"):
    return fake.write(root / name, text.encode(encoding))


# --------------------------------------------------------------------------------- names of classes

CASES = st.sampled_from([str.lower, str.upper, str.title])


@given(
    CASES,
    CASES,
    st.sampled_from(["", "{}_", "{} ", "0{}-", "{}. "]),
    st.sampled_from([("train", "test"), ("Training", "PublicTest"), ("train_set", "val_set")]),
    st.sampled_from(["", "archive", "archive/data"]),
    st.sampled_from(["", ".ipynb_checkpoints/a.png", "__MACOSX/._a.png", "._a.png", "Thumbs.db"]),
)
@settings(**LOOSE)
def test_class_folders_in_any_spelling(tmp_path, case, split_case, prefix, splits, above, litter):
    root = fresh(tmp_path / "set")
    names = [prefix.format(k) + case(word) for k, word in enumerate(WORDS)]
    tree(root / above, names, [split_case(split) for split in splits])
    if litter:
        fake.picture(root / above / split_case(splits[0]) / "x.png", 1).rename(
            fake.write(root / above / split_case(splits[0]) / litter, "x")
        )
    for read in (read_folder, read_fer2013, read_affectnet):
        manifest = read(root)
        assert len(manifest) == 14 and set(manifest["split"]) == {"train", "test"}
        for path, name in of(manifest).items():
            assert name == expression_of(path.split("/")[-2]) and (root / path).is_file()
    assert read_folder(root)["label"].nunique() == 7


def test_numbered_folders_have_each_sets_own_order(tmp_path):
    for level in ("Train", "Train/Train"):
        raf = fresh(tmp_path / "raf")
        tree(raf, "1234567", (level, level.replace("Train", "Test")))
        for path, name in of(read_rafdb(raf)).items():
            assert name == EXPRESSIONS[int(path.split("/")[-2]) - 1]
    tree(tmp_path / "affect", "01234567", ("train", "val"))
    manifest = read_affectnet(tmp_path / "affect")
    assert all(AFFECTNET[int(path.split("/")[1])] == name for path, name in of(manifest).items())
    assert "AffectNet's own order neutral, happiness" in notes(manifest)
    assert "surprise 2, fear 2" in notes(manifest)
    refused("no label is 0", read_affectnet, tmp_path / "raf")
    refused("no RAF-DB here|'0' is no label", read_rafdb, tmp_path / "affect")


def test_numbered_folders_without_names_are_no_expressions(tmp_path):
    tree(tmp_path, ("1", "2", "10"))
    manifest = read_folder(tmp_path)
    assert class_names(manifest) == ("1", "2", "10") and "--classes" in notes(manifest)
    named = read_folder(tmp_path, classes=tuple("abcdefghij"))
    assert set(of(named).values()) == {"a", "b", "j"} and "no image is of the class c" in notes(
        named
    )
    refused("counted from 0 or from 1", read_folder, tmp_path, classes=tuple("abcdefghijk"))
    refused("'10' is no label", read_folder, tmp_path, classes=tuple("abc"))


def no_null(names):
    return "null" not in map(fold, names)


OWN = st.text(st.characters(codec="utf-8", categories=["L"]), min_size=4, max_size=9)


@given(st.lists(OWN, min_size=2, max_size=9, unique_by=fold).filter(no_null))
@settings(**LOOSE)
def test_own_names_are_classes_of_their_own_or_refused_as_near(names):
    names = [*names, "yawning"] if "yawning" not in names else names
    given_ = pd.Series(names, dtype=object, index=range(2, 2 + len(names)))
    try:
        labels = name_classes(given_, "l.csv")
    except ValueError as error:
        assert "did you mean" in str(error) and "--classes" in str(error)
        labels = name_classes(given_, "l.csv", classes=names)
        assert labels.own == tuple(unicodedata.normalize("NFC", name).strip() for name in names)
        return
    assert sorted(labels.values) == list(range(len(names)))
    composed = [unicodedata.normalize("NFC", name) for name in names]
    assert labels.own == tuple(sorted(composed, key=lambda name: (natural(name), name)))
    assert all(labels.own[k] == name for k, name in zip(labels.values, composed, strict=True))
    again = name_classes(given_, "l.csv", classes=labels.own[::-1])
    assert list(again.values) == [len(names) - 1 - k for k in labels.values]


def test_own_classes_from_folder_to_manifest(tmp_path):
    tree(tmp_path, ("Laugh", "smile", "anger"), per_class=5, splits=())
    manifest = read_folder(tmp_path)
    assert class_names(manifest) == ("anger", "Laugh", "smile")
    assert "anger 5, Laugh 5, smile 5" in notes(manifest)
    assert "not treated as expressions, beside names that are none: anger" in notes(manifest)
    for kept in (manifest.assign(a=1), manifest[manifest["label"] < 2], manifest.reset_index()):
        assert class_names(kept) == ("anger", "Laugh", "smile")
    manifest.to_parquet(tmp_path / "m.parquet")
    assert class_names(validate(pd.read_parquet(tmp_path / "m.parquet"))) == class_names(manifest)
    refused("row 0: label is '3', expected 0 to 2", validate, manifest.assign(label=3))
    turned = read_folder(tmp_path, classes=("smile", "laugh", "anger"))
    assert of(turned) == {path: name.lower() for path, name in of(manifest).items()}
    refused(
        "anger/.*'anger' is no label; expected smile, laugh",
        read_folder,
        tmp_path,
        classes=("smile", "laugh"),
    )
    refused("two or more names", read_folder, tmp_path, classes=("smile", "Smile"))


@pytest.mark.parametrize(
    "odd, meant",
    [("Suprise", "surprise"), ("natural", "neutral"), ("2_hapy", "happy"), ("angery", "angry")],
)
def test_misspelt_expressions_are_refused_with_a_way_out(tmp_path, odd, meant):
    tree(tmp_path, (odd, "fear", "sad"))
    message = refused(f"did you mean {meant}", read_folder, tmp_path)
    assert f"/{odd}/" in message and "expected surprise" in message
    own = message.rsplit("--classes ", 1)[1].split()
    assert class_names(read_folder(tmp_path, classes=own)) == tuple(own)


@pytest.mark.parametrize("word, name", SYNONYMS.items())
def test_other_words_for_expressions(word, name):
    assert expression_of(f" {word.upper()}") == expression_of(f"3_{word}") == name


# ------------------------------------------------------------------------------ numbers in a column


@given(
    st.lists(st.integers(0, 7), min_size=1, max_size=30),
    st.sampled_from(["{}", "{}.0", "{}.00", " {}", "0{}"]),
    st.integers(0, 1),
)
@settings(max_examples=80, deadline=None)
def test_numbers_are_read_in_a_spoken_order_or_refused(numbers, form, first):
    numbers = [number + first for number in numbers]
    given_ = pd.Series(
        [form.format(n) for n in numbers], dtype=object, index=range(2, 2 + len(numbers))
    )
    try:
        labels = name_classes(given_, "l.csv")
    except ValueError as error:
        assert 0 not in numbers and "l.csv, line" in str(error) and "--classes" in str(error)
        return
    assert list(labels.values) == numbers and labels.own == ()
    said = labels.notes[0]
    assert "in the order surprise, fear" in said and f"fear {numbers.count(1)}" in said
    assert 0 in numbers or "--classes" in said


@pytest.mark.parametrize("text", ["3.5", "-1", "three", "", "1e0", "3.0.0", "٣"])
def test_what_is_no_whole_number(text):
    assert whole_number(text) is None


def test_a_column_from_one_is_refused_and_named(tmp_path):
    rows = "".join(f"{k}.png,{k}.0\n" for k in range(1, 8))
    table(tmp_path, "path,label\n" + rows)
    message = refused("labels.csv, line 8: '7.0' is the highest", read_csv, tmp_path)
    assert "--classes NAME" in message and "--data rafdb" in message
    manifest = read_csv(tmp_path, classes=EXPRESSIONS[:7])
    assert list(manifest["label"]) == list(range(7))
    assert "labels 1 to 7 are taken in the given order surprise" in notes(manifest)
    table(tmp_path, "path,label\n" + rows + "0.png,0\n")
    refused("'7.0' is no label; expected 0 to 6", read_csv, tmp_path, classes=EXPRESSIONS[:7])
    table(tmp_path, "path,label\n1.png,0\n2.png,3.5\n")
    refused("labels.csv, line 3: '3.5'", read_csv, tmp_path)
    table(tmp_path, "path,label\n1.png,0\n2.png,\n")
    refused("labels.csv, line 3: '' is no label; give each row", read_csv, tmp_path)


@pytest.mark.parametrize("label", ["{}", "{}.0"])
def test_integers_with_a_point_everywhere(tmp_path, label):
    listing = fake.rafdb(tmp_path / "raf").splitlines()
    lines = [f"{line[:-1]}{label.format(line[-1])}" for line in listing]
    fake.write(tmp_path / "raf/EmoLabel/list_patition_label.txt", "\n".join(lines))
    assert list(read_rafdb(tmp_path / "raf")["label"])[:7] == list(range(7))
    fake.fer2013(tmp_path / "fer", [label.format(k) for k in range(7)], ["Training"] * 7)
    assert list(read_fer2013(tmp_path / "fer")["label"]) == [5, 2, 1, 3, 4, 0, 6]
    train = [label.format(k) for k in range(8)]
    for layout in ("lists", "arrays", "plain"):
        fake.affectnet(tmp_path / layout, layout, train=train, val=(label.format(3),))
        manifest = read_affectnet(tmp_path / layout)
        assert [EXPRESSIONS[k] for k in manifest["label"][:8]] == list(AFFECTNET)


# ----------------------------------------------------------------------------- columns and pictures


def test_which_column_is_said_or_refused(tmp_path):
    table(tmp_path, "image,Label,Emotion,score\n1.png,3,happy,9\n2.png,4,sad,8\n")
    assert list(read_csv(tmp_path)["label"]) == [3, 4]
    assert "image from column image, the label from emotion; not used: label, score" in notes(
        read_csv(tmp_path)
    )
    table(tmp_path, "path,image,label\na/1.png,1.png,happy\n2.png,2.png,sad\n")
    assert "from column path, the label from label; not used: image" in notes(read_csv(tmp_path))
    table(tmp_path, "path,label,expression\n1.png,3,4\n2.png,3,5\n")
    refused("labels.csv, line 1: .*label and expression could both", read_csv, tmp_path)
    table(tmp_path, "path,label,LABEL\n1.png,3,4\n")
    refused("line 1: two columns have one name", read_csv, tmp_path)


@given(
    st.sampled_from(["gefühl", "ångest", "plain", "日本 é"]),
    st.sampled_from(["NFC", "NFD"]),
    st.sampled_from(["NFC", "NFD"]),
    st.sampled_from(["/", "\\"]),
    st.sampled_from(["", "archive", "images", "a/b"]),
    st.sampled_from([".csv", ".txt", "tab"]),
)
@settings(**LOOSE)
def test_listed_names_find_their_pictures(tmp_path, word, on_disk, in_list, slash, above, form):
    root = fresh(tmp_path / "set")
    rows = []
    for i in range(6):
        name = f"{word}/{word}{i}.png"
        fake.picture(root / above / unicodedata.normalize(on_disk, name), i)
        listed = unicodedata.normalize(in_list, name).replace("/", slash)
        rows.append(listed + {".csv": ",", ".txt": " ", "tab": "\t"}[form] + WORDS[i])
    if form == ".csv":
        table(root, "\n".join(["path,label", *rows]))
    else:
        table(root, "\n".join(rows), "list.txt")
        table(root, "about this set\n", "README.txt")
    manifest = read_csv(root)
    assert [EXPRESSIONS[k] for k in manifest["label"]] == [SYNONYMS[word] for word in WORDS[:6]]
    assert all((root / path).is_file() for path in manifest["path"])
    assert bool(above) == ("were found in" in notes(manifest))


@given(st.text("a./\\: \t", min_size=1, max_size=8))
@example(".\\a:")
@settings(max_examples=200, deadline=None)
def test_no_name_leads_out_of_the_folder(name):
    try:
        short = safe(pd.Series([name], index=[2]), "l.csv").iloc[0]
    except ValueError as error:
        assert "l.csv, line 2" in str(error)
        return
    assert short and not short.startswith("/") and ".." not in short.split("/")
    assert "\\" not in short and not short.startswith("a:")


def test_pictures_that_are_not_there_or_not_to_tell_apart(tmp_path):
    for folder in ("a", "b"):
        fake.picture(tmp_path / folder / "1.png", 1)
    table(tmp_path, "path,label\n1.png,happy\n")
    refused("labels.csv, line 2: '1.png' may be a/1.png, b/1.png", read_csv, tmp_path)
    table(tmp_path, "path,label\na/1.png,happy\na/2.png,sad\n")
    said = notes(read_csv(tmp_path))
    assert "1 of 2 pictures that labels.csv names are not there (line 3: a/2.png)" in said
    assert "1 pictures below" in said and "none of the lists" in said
    table(tmp_path, "path,label,split\n1.png,happy,train\n")
    fake.picture(tmp_path / "test/9.png", 1)
    table(tmp_path, "path,label,split\n9.png,happy,train\n")
    assert "not there (line 2: 9.png)" in notes(read_csv(tmp_path))  # the test's 9.png is another


BOXES = {
    "face_x,face_y,face_width,face_height": "{x},1,10,12",
    "x,y,w,h": "{x},1,10,12",
    "Left,Top,Right,Bottom": "{x},1,{right},13",
    "xmin,ymin,xmax,ymax": "{x}.0,1,{right}.0,13",
}


@pytest.mark.parametrize("columns, row", BOXES.items())
@pytest.mark.parametrize("read", [read_csv, read_affectnet])
def test_two_faces_in_one_picture(tmp_path, columns, row, read):
    fake.picture(tmp_path / "1.png", 1, 40)
    lines = [
        f"1.png,{row.format(x=x, right=x + 10)},{name}" for x, name in ((0, "sad"), (9, "fear"))
    ]
    table(tmp_path, "\n".join([f"image,{columns},label", *lines]))
    manifest = read(tmp_path)
    assert manifest.filter(like="box_").to_numpy().tolist() == [[0, 1, 10, 12], [9, 1, 10, 12]]
    assert list(manifest["path"]) == ["1.png"] * 2 and columns.lower().replace(",", ", ") in notes(
        manifest
    )
    table(tmp_path, "\n".join([f"image,{columns},label", *lines, lines[0]]))
    refused("labels.csv, line 4: '1.png' occurs twice", read, tmp_path)
    table(tmp_path, "\n".join([f"image,{columns},label", lines[0].replace(",1,", ",0.4,")]))
    refused("labels.csv, line 2: '0.4' is no .* in pixels", read, tmp_path)


def test_one_picture_in_two_lists_is_refused(tmp_path):
    table(tmp_path, "path,label\n1.png,happy\n", "test.csv")
    table(tmp_path, "path,label\n2.png,sad\n1.png,happy\n", "train.csv")
    refused("train.csv, line 3: '1.png' occurs twice", read_csv, tmp_path)


# ------------------------------------------------------------------------------------------- splits


def test_copies_of_a_file_stay_on_one_side_of_the_fifth(tmp_path):
    """Of 40 pictures in two folders ten are there twice, under other names and labels."""
    for number in range(40):
        for name in ("happy",) if number >= 10 else ("happy", "sad"):
            file = tmp_path / "faces" / name / f"{name}{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8), number).save(file)
    manifest = read_folder(tmp_path / "faces")
    shown = manifest["path"].str.extract(r"(\d+)\.png")[0]
    assert manifest["split"].groupby(shown).nunique().max() == 1
    assert set(manifest["split"]) == {"train", "test"}


def test_the_drawn_fifth_stays_when_single_pictures_come_go_and_are_mended(tmp_path):
    def tested():
        manifest = read_folder(tmp_path / "f")
        rows = manifest[manifest["split"] == "test"]
        assert rows.groupby("label").size().between(9, 11).all()
        return {(tmp_path / "f" / path).read_bytes() for path in rows["path"]}

    draw = np.random.default_rng(0)
    for name in ("calm", "tense"):
        (tmp_path / "f" / name).mkdir(parents=True)
        for number in range(50):
            pixels = draw.integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "f" / name / f"{number}.png")
    before = tested()
    assert len(before) == 20
    (tmp_path / "f/calm/3.png").rename(tmp_path / "f/tense/new.png")
    (tmp_path / "f/calm/4.png").rename(tmp_path / "f/calm/0 first.png")
    (tmp_path / "f/calm").rename(tmp_path / "f/zen")
    assert len(before & tested()) >= 18


def test_a_fifth_is_held_out_wherever_there_is_only_training(tmp_path):
    tree(tmp_path / "f", splits=("train",), per_class=10)
    table(
        tmp_path / "c",
        "path,label\n" + "".join(f"{i}.png,{WORDS[i % 2]}\n" for i in range(20)),
        "train.csv",
    )
    fake.fer2013(tmp_path / "fer", [i % 2 for i in range(20)], ["Training"] * 20)
    tree(tmp_path / "raf", "1234567", ("train",), per_class=10)
    for read, name in (
        (read_folder, "f"),
        (read_csv, "c"),
        (read_fer2013, "fer"),
        (read_rafdb, "raf"),
    ):
        manifest = read(tmp_path / name)
        assert (manifest["split"] == "test").mean() == 0.2
        assert manifest.groupby("label")["split"].nunique().eq(2).all()
        assert "a fifth of each class" in notes(manifest)
        pd.testing.assert_frame_equal(read(tmp_path / name), manifest)


def test_splits_from_folders_and_files_that_speak_of_none(tmp_path):
    for split in ("train", "Test"):
        fake.picture(tmp_path / split / f"{split}.png", 1)
    table(tmp_path, "path,label\ntrain/train.png,sad\nTest/Test.png,sad\n", "train_test.csv")
    manifest = read_csv(tmp_path)
    assert list(manifest["split"]) == ["train", "test"] and "pictures' folders" in notes(manifest)
    table(tmp_path, "path,label\nother.png,sad\n", "train.csv")
    refused("train_test.csv, line 2: .* has no split", read_csv, tmp_path)
    tree(tmp_path / "tree", splits=("train", "tets"))
    refused("tets/.*'tets' is no split", read_folder, tmp_path / "tree")


# --------------------------------------------------------------------------------- what lies beside


def test_suffixes_and_litter_are_read_or_counted(tmp_path):
    assert {".jpg", ".jfif", ".gif", ".pgm", ".webp", ".tiff", ".bmp", ".png"} <= set(IMAGES)
    assert not {".mpg", ".h5", ".pdf", ".txt", ".eps", ".ico"} & set(IMAGES)
    tree(tmp_path, suffix=".GIF")
    for name in ("a.heic", "b.heic", "notes.txt", "._x.png", ".DS_Store", "Thumbs.db"):
        fake.write(tmp_path / "train/sad" / name, "x")
    fake.write(tmp_path / "train/more.csv", "x")
    fake.picture(tmp_path / "train/loose.png", 3)
    (tmp_path / "train/contempt").mkdir()
    for read in (read_folder, read_fer2013, read_affectnet):
        said = notes(read(tmp_path))
        assert "does not read are left out: 2 .heic, 1 .txt" in said
        assert "not used: train/more.csv" in said and "1 pictures lie outside" in said
        assert "1 class folders hold no picture: train/contempt" in said


def test_kaggles_affectnet_has_better_labels_in_its_csv(tmp_path):
    tree(tmp_path, ("anger", "happy"), splits=(), per_class=5)
    rows = [f"{i},anger/p0{i}.png,{'surprise' if i == 0 else 'anger'},0.8" for i in range(5)]
    table(tmp_path, "\n".join([",pth,label,relFCs", *rows]))
    for read in (read_affectnet, read_csv):
        assert of(read(tmp_path))["anger/p00.png"] == "surprise"
    assert "the class folders' names are not used" in notes(read_affectnet(tmp_path))
    assert "not used: labels.csv" in notes(read_folder(tmp_path))


def test_affectnets_numbers_lie_in_their_splits_folder(tmp_path):
    for split in ("train", "val"):
        for i in range(8):
            fake.picture(tmp_path / f"{split}_set/images/{i}.jpg", i)
        rows = "".join(f"{i}.0,{i},0.1,0.2\n" for i in range(8))
        table(tmp_path, "number,exp,val,aro\n" + rows, f"{split}_set_annotation_without_lnd.csv")
    manifest = read_affectnet(tmp_path)
    assert [EXPRESSIONS[k] for k in manifest["label"]] == list(AFFECTNET) * 2
    folder = manifest["path"].str.split("/").str[0]
    assert list(folder) == ["train_set"] * 8 + ["val_set"] * 8
    assert list(manifest["split"]) == ["train"] * 8 + ["test"] * 8
    assert "AffectNet's own order" in notes(manifest)


@pytest.mark.parametrize("deep", ["", "more"])
def test_rafdb_flat_with_csv_and_unpacked_twice(tmp_path, deep):
    for split in ("train", "test"):
        rows = ["image,label"]
        for k in range(1, 8):
            fake.picture(tmp_path / "flat" / deep / f"{split}/{split}_{k:05d}_aligned.jpg", k)
            rows.append(f"{split}_{k:05d}_aligned.jpg,{k}")
        table(tmp_path / "flat" / deep, "\n".join(rows), f"{split}_labels.csv")
    manifest = read_rafdb(tmp_path / "flat")
    assert list(manifest["label"]) == list(range(7)) * 2
    assert "labels 1 to 7 are taken in RAF-DB's order" in notes(manifest)
    fake.rafdb(tmp_path / "official")
    shutil.move(tmp_path / "official/Image/aligned", tmp_path / "x")
    shutil.move(tmp_path / "x", tmp_path / "official/Image/aligned" / (deep or "aligned"))
    twice = read_rafdb(tmp_path / "official")
    assert all((tmp_path / "official" / path).is_file() for path in twice["path"])
    shutil.rmtree(tmp_path / "official/Image/aligned")
    refused("no images.*Found: EmoLabel, Image", read_rafdb, tmp_path / "official")


def test_ferplus_pictures_with_the_votes_of_the_csv(tmp_path):
    ballots = [",".join("10" if k == i else "0" for k in range(10)) for i in range(8)] * 3
    usages = [usage for usage in fake.USAGES for _ in range(8)]
    fake.ferplus_folders(tmp_path / "FERPlus/data", ballots, usages)
    fake.votes(tmp_path / "FERPlus", ballots, usages, blank=(3,))
    both = read_ferplus(tmp_path)
    for part in ("FER2013Train", "FER2013Valid", "FER2013Test"):
        (tmp_path / "FERPlus/data" / part / "label.csv").unlink()
    named = read_ferplus(tmp_path)
    expected = both[~both["path"].str.endswith("fer0000003.png")]
    assert of(named) == of(expected) and list(named["split"]) == list(expected["split"])
    assert "matched to the pictures by their names" in notes(named)
    assert "1 rows show no face" in notes(named) and "1 pictures have no votes" in notes(named)
    assert "fer2013new.csv is not used" in notes(both) and "kind" in named


def test_copies_with_another_label_are_said(tmp_path):
    fake.fer2013(tmp_path, (0, 3, 2), ("Training", "Training", "PublicTest"), numbers=[1, 1, 2])
    manifest = read_fer2013(tmp_path)
    assert "2 rows are exact copies of an image with another label" in notes(manifest)
    assert "kind" not in manifest


def test_the_data_root(tmp_path, monkeypatch):
    tree(tmp_path / "sets/rafdb", "1234567")
    fake.write(tmp_path / "sets/fer2013/fer2013.csv", "nothing")
    monkeypatch.setenv("NLA_DATA_ROOT", str(tmp_path / "sets"))
    for root in (None, "", "data"):
        assert data_root(root) == tmp_path / "sets"
        assert set(read_rafdb(root)["path"].str.split("/").str[0]) == {"rafdb"}
    assert data_root(tmp_path) == tmp_path
    monkeypatch.setenv("NLA_DATA_ROOT", "")
    assert str(data_root()) == "data"


# ------------------------------------------------------------------ pictures in no class's folder


@pytest.mark.parametrize("level", ["", "test/", "images/"])
def test_a_split_of_loose_pictures_is_refused(tmp_path, level):
    tree(tmp_path, splits=("train",), per_class=2)
    raf = tree(tmp_path / "raf", "1234567", ("train",))
    for i in range(3):
        fake.picture(tmp_path / f"test/{level}{i}.png", 500 + i)
        fake.picture(raf / f"test/{level}{i}.png", 500 + i)
    shutil.move(raf, tmp_path.parent / f"{tmp_path.name} raf")
    for read in (read_folder, read_fer2013, read_affectnet):
        refused("test: its 3 pictures lie in no class's folder", read, tmp_path)
    refused("test: its 3 pictures", read_rafdb, tmp_path.parent / f"{tmp_path.name} raf")
    (tmp_path / "test").rename(tmp_path / "unlabelled")
    said = notes(read_folder(tmp_path))
    assert "3 pictures lie outside the class folders: not read: unlabelled/ (3)" in said
    assert len(read_folder(tmp_path)) == 14
    (tmp_path / "val").mkdir()
    assert "the folder of a split holds no picture: val" in notes(read_folder(tmp_path))


def test_rafdbs_csv_files_label_a_split_of_loose_pictures(tmp_path):
    tree(tmp_path, "1234567", ("train",))
    for k in range(7):
        fake.picture(tmp_path / f"test/t{k}.png", 500 + k)
    table(tmp_path, "image,label\n" + "".join(f"t{k}.png,{k + 1}\n" for k in range(7)), "test.csv")
    (tmp_path / "test.csv").rename(tmp_path / "test_labels.csv")
    refused("test: its 7 pictures", read_rafdb, tmp_path)  # the csv of the training images lacks
    rows = "".join(f"p{k}0.png,{k + 1}\n" for k in range(7))
    table(tmp_path, "image,label\n" + rows, "train_labels.csv")
    manifest = read_rafdb(tmp_path)
    assert list(manifest["label"]) == list(range(7)) * 2
    assert list(manifest["split"]) == ["test"] * 7 + ["train"] * 7
    assert "labels are those of the csv files" in notes(manifest)


def test_pictures_deeper_in_a_class_folder_have_its_class(tmp_path):
    tree(tmp_path, ("happy", "sad"), ("train", "test"))
    for i in range(2):
        fake.picture(tmp_path / f"train/fear/subject{i}/clip/{i}.png", 50 + i)
        fake.picture(tmp_path / f"test/fear/subject{i}/.ipynb_checkpoints/{i}.png", 60 + i)
    (tmp_path / "train/fear/up").symlink_to(tmp_path / "train")
    manifest = read_folder(tmp_path)
    fear = {path for path, name in of(manifest).items() if name == "fear"}
    assert fear == {f"train/fear/subject{i}/clip/{i}.png" for i in range(2)}
    said = notes(manifest)
    assert "2 pictures lie in folders inside the class folders, and have that class: train" in said
    assert "1 class folders hold no picture: test/fear" in said
    nested = tmp_path / "nested"
    tree(nested, ("a", "b"), ("happy", "sad"))
    assert set(of(read_folder(nested)).values()) == {"happiness", "sadness"}
    fake.picture(nested / "happy/a/anger/1.png", 1)
    refused("happy: holds a folder of another class, anger", read_folder, nested)


@pytest.mark.parametrize("classes", [WORDS, ("calm", "tense")])
def test_splits_inside_the_classes_are_refused(tmp_path, classes):
    tree(tmp_path, ("train", "test"), classes)
    (tmp_path / classes[1] / "test").rename(tmp_path / classes[1] / "training")
    message = refused("holds a folder of a split, test; the splits lie", read_folder, tmp_path)
    assert f"move its pictures to test/{classes[0]}" in message


def test_a_csv_beside_class_folders_is_taken_at_any_depth(tmp_path):
    for above in ("affect", "affect2/archive (3)", "affect3/a/b"):
        tree(tmp_path / above, ("anger", "happy"))
        rows = [f"{split}/anger/p00.png,surprise" for split in ("train", "test")]
        table(tmp_path / above, "\n".join(["pth,label", *rows]))
        manifest = read_affectnet(tmp_path / above.split("/")[0])
        assert set(of(manifest).values()) == {"surprise"} and len(manifest) == 2
        tree(tmp_path / f"fer {above}")
        fake.fer2013(tmp_path / f"fer {above}", (3, 3), ("Training", "PublicTest"))
        assert "row" in read_fer2013(tmp_path / f"fer {above.split('/')[0]}")


# ------------------------------------------------------------------------- damaged csv and lists


def test_a_line_is_named_as_an_editor_counts_it(tmp_path):
    rows = ["path,label", "", "1.png,sad", "", "2.png,hapy", ""]
    table(tmp_path, "\n".join(["", *rows]))
    refused("labels.csv, line 6: 'hapy'", read_csv, tmp_path)
    table(tmp_path, "\n".join(rows).replace("hapy", "happy"))
    assert list(of(read_csv(tmp_path)).values()) == ["sadness", "happiness"]
    text = fake.fer2013(tmp_path / "fer", (3, 4), ("Training", "PublicTest")).read_text()
    (tmp_path / "fer/fer2013.csv").write_text(text.replace("Usage\n", "Usage\n\n"))
    assert read_pixels(tmp_path / "fer", read_fer2013(tmp_path / "fer"), 48).shape[0] == 2


def test_a_quote_that_swallows_lines_is_refused(tmp_path):
    rows = [f"{i}.png,happy,note" for i in range(9)]
    rows[3] = '3.png,happy,"note'
    table(tmp_path, "path,label,comment\n" + "\n".join(rows))
    refused("labels.csv, line 5 or above: a quote is opened", read_csv, tmp_path)
    rows[6] += '"'
    table(tmp_path, "path,label,comment\n" + "\n".join(rows))
    refused("labels.csv, line 5: 'note.*a quote is not closed", read_csv, tmp_path)


def test_what_is_wrong_with_a_csv_is_said(tmp_path):
    table(tmp_path, "path,label\n1.png,sad\n\n2.png,sad, really\n")
    message = refused("labels.csv, line 4: 3 fields, but 2", read_csv, tmp_path)
    assert "quotes" in message and "download" not in message
    table(tmp_path, "path,label\n1.png,sad,\n2.png,sad,\n")
    refused("labels.csv, line 1: .*the lines below have more fields", read_csv, tmp_path)
    for encoding in ("latin-1", "utf-16"):
        table(tmp_path, "path,label\né.png,sad\n", encoding=encoding)
        refused("labels.csv: not readable as csv.*save it as UTF-8", read_csv, tmp_path)
    refused("none.csv: no such file$", csv_table, tmp_path / "none.csv", ())
    refused("none.txt: no such file$", label_list, tmp_path / "none.txt")


@pytest.mark.parametrize("column", ["Partition", "set", "subset", "fold", "dataset"])
def test_a_column_whose_values_are_splits_is_the_split(tmp_path, column):
    rows = "".join(f"{i}.png ,{WORDS[i]},{('train', 'Test')[i % 2]}\n" for i in range(6))
    table(tmp_path, f"path,label,{column}\n" + rows)
    manifest = read_csv(tmp_path)
    assert list(manifest["split"]) == ["train", "test"] * 3
    assert list(manifest["path"]) == [f"{i}.png" for i in range(6)]  # without the blank
    assert f"the split is taken from column {column.lower()}" in notes(manifest)
    table(tmp_path, f"path,label,{column}\n" + rows.replace("Test", "7"))
    assert "not used: " + column.lower() in notes(read_csv(tmp_path))


def test_a_comment_in_a_list_is_named(tmp_path):
    for split in ("train", "test"):
        rows = [f"{split}{i}.png {WORDS[i]}" for i in range(4)]
        table(tmp_path, "\n".join(["# a list", *rows] if split == "test" else rows), f"{split}.txt")
    refused("test.txt, line 1: '# a' is no picture's name", read_csv, tmp_path)


@pytest.mark.parametrize(
    "listed, lies, too", [("a/1.jpg", "A/1.JPG", "A/1.jpg"), ("1.JPG", "a/1.jpg", "b/1.jpg")]
)
def test_capital_letters_of_a_name_do_not_matter(tmp_path, listed, lies, too):
    fake.picture(tmp_path / lies, 1)
    table(tmp_path, f"path,label\n{listed},happy\n2.jpg,sad\n")
    fake.picture(tmp_path / "2.png", 2)
    manifest = read_csv(tmp_path)
    assert lies in set(manifest["path"])
    said = notes(manifest)
    assert f"labels.csv names differ in capital letters: {listed} is {lies}" in said
    assert "only the suffix of 2.png differs: write it into the list" in said
    fake.picture(tmp_path / too, 1)
    refused(f"line 2: '{listed}' may be {lies}, {too}", read_csv, tmp_path)


def test_rafdbs_pictures_with_a_suffix_in_capitals(tmp_path):
    fake.rafdb(tmp_path)
    for file in (tmp_path / "Image/aligned").iterdir():
        file.rename(file.with_suffix(".JPG"))
    manifest = read_rafdb(tmp_path)
    assert all((tmp_path / path).is_file() for path in manifest["path"])


def test_one_strange_name_among_expressions_is_said_first(tmp_path):
    tree(tmp_path, [*WORDS[:5], "none"])
    said = read_folder(tmp_path).attrs["notes"]
    assert said[0].startswith("all classes but none are expressions, and because of none none is")
    (tmp_path / "train/none").rename(tmp_path / "train/joyful")
    (tmp_path / "test/none").rename(tmp_path / "test/Joy")
    assert class_names(read_folder(tmp_path)) == EXPRESSIONS[:7]


def test_the_classes_of_a_remedy_can_be_pasted_in_a_shell(tmp_path):
    tree(tmp_path, ("not happy", "it's fear", "sad"))
    message = refused("did you mean", read_folder, tmp_path)
    own = shlex.split(message.rsplit("--classes ", 1)[1])
    assert class_names(read_folder(tmp_path, classes=own)) == tuple(own)


def test_a_class_that_training_does_not_see_is_said(tmp_path):
    tree(tmp_path, ("happy", "sad"), ("train", "test"))
    assert not any("no training image" in note for note in read_folder(tmp_path).attrs["notes"])
    fake.picture(tmp_path / "test/fear/1.png", 99)
    for said in (read_folder(tmp_path).attrs["notes"], check("folder", tmp_path).notes):
        assert "no training image is of the class fear, held-out images are" in said

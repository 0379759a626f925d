import os
import random

import fake_data as fake
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nla.data import (
    EXPRESSIONS,
    DataError,
    load,
    read_affectnet,
    read_csv,
    read_fer2013,
    read_ferplus,
    read_folder,
    read_rafdb,
)
from nla.data.ferplus import FERPLUS, VOTES, plurality, read_votes
from nla.data.manifest import validate
from nla.data.parsing import label_list, table

LOOSE = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}


def refused(match, function, *arguments, **options):
    with pytest.raises(DataError, match=match) as caught:
        function(*arguments, **options)
    return str(caught.value)


# ------------------------------------------------------------------------------------------- RAF-DB


def test_rafdb_official_tree_in_canonical_order(tmp_path):
    fake.rafdb(tmp_path / "RAF-DB/basic")
    manifest = read_rafdb(tmp_path)
    assert list(manifest["label"]) == [0, 1, 2, 3, 4, 5, 6, 3, 3, 3, 6, 0]
    assert list(manifest["split"]) == ["train"] * 9 + ["test"] * 3
    assert list(manifest["true_label"]) == list(manifest["label"])
    assert all((tmp_path / path).is_file() for path in manifest["path"])
    assert read_rafdb(tmp_path / "RAF-DB/basic")["label"].equals(manifest["label"])


def test_rafdb_tree_gives_the_same_labels(tmp_path):
    listing = fake.rafdb(tmp_path / "official")
    fake.rafdb_tree(tmp_path / "tree", listing)
    official, tree = read_rafdb(tmp_path / "official"), read_rafdb(tmp_path / "tree")
    assert (
        official.groupby(["split", "label"]).size() == tree.groupby(["split", "label"]).size()
    ).all()


@pytest.mark.parametrize(
    "before, after, message",
    [
        ("train_00002.jpg 2", "train_00002.jpg 0", "line 2: '0' is no label; expected 1 to 7"),
        ("train_00002.jpg 2", "train_00002.jpg 8", "line 2: '8' is no label; expected 1 to 7"),
        ("train_00002.jpg 2", "train_00002.jpg 2.5", "line 2: '2.5' is no label"),
        ("train_00002.jpg 2", "train_00002.jpg", "line 2: .* is not 'name label'"),
        (
            "train_00002.jpg 2",
            "train_00002.jpg,2",
            "line 2: .* is not 'name label' separated by a blank",
        ),
        (
            "train_00002.jpg 2",
            "train_00002.jpg, 2",
            "line 2: .* is not 'name label' separated by a blank",
        ),
        ("train_00002.jpg 2", "train_00001.jpg 2", "line 2: .* is listed twice"),
        ("train_00002.jpg 2", "../../train_x.jpg 2", r"line 2: .* is no image name"),
        ("train_00002.jpg 2", "/etc/train_x.jpg 2", "line 2: .* is no image name"),
        ("train_00002.jpg 2", "C:train_x.jpg 2", "line 2: .* is no image name"),
        ("train_00002.jpg 2", "a\\..\\train_x.jpg 2", "line 2: .* is no image name"),
        (
            "train_00002.jpg 2",
            "extra_00002.jpg 2",
            "list_patition_label.txt, .*: 'extra' is no split",
        ),
    ],
)
def test_rafdb_list_faults_name_file_and_line(tmp_path, before, after, message):
    listing = fake.rafdb(tmp_path)
    fake.write(tmp_path / "EmoLabel/list_patition_label.txt", listing.replace(before, after))
    assert "list_patition_label.txt" in refused(message, read_rafdb, tmp_path)


def test_rafdb_list_with_crlf_bom_and_blank_lines_reads_the_same(tmp_path):
    listing = fake.rafdb(tmp_path)
    plain = read_rafdb(tmp_path)
    path = tmp_path / "EmoLabel/list_patition_label.txt"
    path.write_bytes(b"\xef\xbb\xbf" + listing.replace("\n", "\r\n\r\n").encode())
    pd.testing.assert_frame_equal(read_rafdb(tmp_path), plain)
    path.write_bytes(b"\n \n")
    refused("the list is empty", read_rafdb, tmp_path)
    path.write_bytes(listing.encode("utf-16"))
    refused("not readable as text", read_rafdb, tmp_path)


def test_alternative_label_list_changes_training_rows_only(tmp_path):
    listing = fake.rafdb(tmp_path)
    noisy = fake.write(
        tmp_path / "noise.txt", listing.replace("1.jpg 1", "1.jpg 5").replace("2.jpg 7", "2.jpg 1")
    )
    manifest = read_rafdb(tmp_path, labels=noisy)
    assert manifest["label"][0] == 4 and manifest["true_label"][0] == 0
    assert (
        manifest["label"] != manifest["true_label"]
    ).sum() == 1  # the test row's other label is ignored
    assert "noise.txt" in manifest.attrs["notes"][-1]
    train_only = "".join(line + "\n" for line in listing.splitlines() if line.startswith("train"))
    fake.write(noisy, train_only.replace(".jpg", "_aligned.jpg"))
    assert read_rafdb(tmp_path, labels=noisy)["label"].equals(manifest["true_label"])
    fake.write(noisy, train_only.split("\n", 2)[2])
    refused("no label for train_00001.jpg and 1 more", read_rafdb, tmp_path, labels=noisy)
    fake.write(noisy, train_only + "train_99999.jpg 3\n")
    refused("line|train_99999", read_rafdb, tmp_path, labels=noisy)


# ------------------------------------------------------------------------------ FER2013 and FERPlus

LABELS = (0, 1, 2, 3, 4, 5, 6, 3)
USAGES = ("Training",) * 4 + ("PublicTest",) * 2 + ("PrivateTest",) * 2


@pytest.mark.parametrize("form", ["csv", "gz", "icml"])
def test_fer2013_csv_forms_agree(tmp_path, form):
    fake.fer2013(tmp_path / "fer2013", LABELS, USAGES, form=form)
    manifest = read_fer2013(tmp_path)
    assert [EXPRESSIONS[label] for label in manifest["label"]] == [
        fake.FER_NAMES[label] for label in LABELS
    ]
    assert list(manifest["split"]) == ["train"] * 4 + ["val"] * 2 + ["test"] * 2
    assert list(manifest["row"]) == list(range(8))
    pd.testing.assert_frame_equal(read_fer2013(tmp_path / "fer2013"), manifest)


def test_fer2013_folder_tree(tmp_path):
    for split, name, number in (
        ("train", "angry", 1),
        ("train", "happy", 2),
        ("test", "sad", 3),
        ("test", "fear", 2),
    ):
        fake.picture(tmp_path / split / name / f"{number}.png", number, 48, "L")
    manifest = read_fer2013(tmp_path)
    assert sorted(manifest["path"] + manifest["label"].astype(str)) == [
        "test/sad/3.png4",
        "train/angry/1.png5",
        "train/happy/2.png3",
    ]  # test/fear/2.png is a copy of a training image
    assert len(read_fer2013(tmp_path, dedupe=False)) == 4


def test_the_second_split_is_the_test_where_there_is_no_third(tmp_path):
    fake.fer2013(tmp_path, LABELS[:6], USAGES[:6])
    manifest = read_fer2013(tmp_path)
    assert (
        set(manifest["split"]) == {"train", "test"}
        and "no third split" in manifest.attrs["notes"][-1]
    )


#            neutral happiness surprise sadness anger disgust fear contempt unknown NF
BALLOTS = {
    "4,0,0,1,3,2,0,0,0,0": ("neutral", None),
    "6,4,0,0,0,0,0,0,0,0": ("neutral",) * 2,
    "5,5,0,0,0,0,0,0,0,0": ("tie", None),
    "5,1,1,1,1,1,0,0,0,0": ("neutral", None),
    "3,0,0,0,0,0,0,0,7,0": (None, None),
    "0,0,0,0,0,0,0,0,0,10": (None, None),
    "2,0,0,0,0,0,0,8,0,0": ("contempt",) * 2,
    "4,0,0,0,0,0,0,0,4,2": ("neutral", None),
    "1,1,1,1,1,1,1,1,1,1": ("tie", None),
    "0,0,0,0,0,0,6,0,2,2": ("fear",) * 2,
}


@pytest.mark.parametrize("column, protocol", list(enumerate(["plurality", "majority"])))
def test_protocols_by_hand(column, protocol):
    frame = pd.DataFrame([list(map(int, ballot.split(","))) for ballot in BALLOTS], columns=VOTES)
    winner, tied = plurality(frame, protocol)
    for ballot, w, t in zip(BALLOTS, winner, tied, strict=True):
        expected = BALLOTS[ballot][column]
        if expected == "tie":
            assert w >= 0 and t, ballot
        else:
            assert (EXPRESSIONS[w] if w >= 0 else None) == expected, ballot
    refused("plurality, majority", plurality, frame, "mean")


@given(st.lists(st.lists(st.integers(0, 10), min_size=10, max_size=10), min_size=1, max_size=20))
@settings(max_examples=60, deadline=None)
def test_protocols_against_a_plain_loop(rows):
    frame = pd.DataFrame(rows, columns=VOTES)
    winner, tied = plurality(frame)
    strict, _ = plurality(frame, "majority")
    for row, w, t, s in zip(rows, winner, tied, strict, strict=True):
        top = max(row[:8])
        expected = (
            -1 if top == 0 or max(row[8:]) > top else EXPRESSIONS.index(FERPLUS[row.index(top)])
        )
        assert w == expected and t == (row[:8].count(top) > 1)
        assert s == (expected if top > sum(row) / 2 else -1)


def make_pair(root, ballots, labels, usages, **options):
    fake.fer2013(root, labels, usages, numbers=options.pop("numbers", None))
    fake.votes(root, ballots, usages, **options)


def test_fer2013_on_human_truth(tmp_path):
    ballots = [
        "0,0,0,0,8,2,0,0,0,0",
        "0,1,0,0,9,0,0,0,0,0",
        "5,0,0,0,5,0,0,0,0,0",
        "0,0,0,0,3,7,0,0,0,0",
        "2,0,0,0,0,0,0,8,0,0",
        "0,0,0,0,0,0,0,0,0,10",
        "5,0,0,0,5,0,0,0,0,0",
        "0,9,0,0,0,0,0,0,0,0",
    ]
    make_pair(
        tmp_path,
        ballots,
        (0, 3, 0, 0, 0, 0, 0, 3),
        ("Training",) * 6 + ("PublicTest",) * 2,
        blank=(5,),
    )
    manifest = read_fer2013(tmp_path)
    assert list(manifest["row"]) == [0, 1, 2, 3, 7]
    assert [EXPRESSIONS[t] for t in manifest["true_label"]] == [
        "anger",
        "anger",
        "anger",
        "disgust",
        "happiness",
    ]
    assert list(manifest["kind"]) == ["clean", "noisy", "ambiguous", "ambiguous", "clean"]
    assert manifest["votes_anger"][0] == 8 and manifest["votes_contempt"].sum() == 0
    notes = "; ".join(manifest.attrs["notes"])
    for said in (
        "1 rows have votes that do not sum to 10",
        "1 rows show no face",
        "1 rows are won by contempt",
        "1 rows of val and test have a tie",
    ):
        assert said in notes
    plain = read_fer2013(tmp_path, truth=False)
    assert len(plain) == 8 and plain["label"].equals(plain["true_label"]) and "kind" not in plain


def test_votes_of_rows_in_another_order_are_refused(tmp_path):
    """Sixty rows of each label, whose votes agree with nine tenths of them."""
    labels = [i % 7 for i in range(420)]
    names = fake.VOTE_NAMES.split(",")
    ballots = []
    for i, label in enumerate(labels):
        winner = names.index(fake.FER_NAMES[(label + (i % 10 == 0)) % 7])
        ballots.append(",".join("10" if k == winner else "0" for k in range(10)))
    usages = ["Training"] * 280 + ["PublicTest"] * 140
    make_pair(tmp_path, ballots, labels, usages)
    assert (read_fer2013(tmp_path)["kind"] == "noisy").mean() < 0.11
    public = sorted(range(280, 420), key=lambda i: labels[i])  # the training rows stay in order
    order = [*range(280), *public]
    fake.fer2013(tmp_path, [labels[i] for i in order], usages, numbers=order)
    for read in (read_fer2013, read_ferplus):
        said = refused(r"lines 342 to 421.*original order", read, tmp_path)
        assert "fer2013new.csv: its votes" in said and "fer2013.csv: of 60 rows of val" in said
    assert len(read_fer2013(tmp_path, truth=False)) == 420


def test_blank_lines_of_either_csv_move_no_votes(tmp_path):
    ballots = ["0,0,0,0,10,0,0,0,0,0", "0,10,0,0,0,0,0,0,0,0", "0,0,10,0,0,0,0,0,0,0"]
    make_pair(tmp_path, ballots, [0, 3, 5], ["Training", "Training", "PublicTest"])
    whole = read_fer2013(tmp_path)
    for name in ("fer2013.csv", "fer2013new.csv"):
        file = next(tmp_path.rglob(name))
        lines = file.read_text().splitlines()
        file.write_text("\n".join([lines[0], "", *lines[1:]]) + "\n")
        assert read_fer2013(tmp_path)["true_label"].tolist() == whole["true_label"].tolist()
        assert read_fer2013(tmp_path)["label"].tolist() == whole["label"].tolist()
        file.write_text("\n".join(lines) + "\n")


def test_ferplus_keeps_contempt_unless_told(tmp_path):
    ballots = [
        "0,0,0,0,8,2,0,0,0,0",
        "2,0,0,0,0,0,0,8,0,0",
        "5,5,0,0,0,0,0,0,0,0",
        "5,5,0,0,0,0,0,0,0,0",
    ]
    make_pair(tmp_path, ballots, (0, 0, 0, 0), ("Training", "Training", "Training", "PublicTest"))
    manifest = read_ferplus(tmp_path)
    assert [EXPRESSIONS[label] for label in manifest["label"]] == ["anger", "contempt", "neutral"]
    assert manifest["label"].equals(manifest["true_label"])
    assert list(read_ferplus(tmp_path, classes=7)["row"]) == [0, 2]
    assert list(read_ferplus(tmp_path, protocol="majority")["row"]) == [0, 1]


def test_exact_copies_leave_evaluation(tmp_path):
    ballots, usages = ["0,0,0,0,10,0,0,0,0,0"] * 8, USAGES
    numbers = [1, 1, 2, 3, 1, 4, 4, 5]  # rows 4 and 6 copy a training and a validation image
    make_pair(tmp_path, ballots, (0,) * 8, usages, numbers=numbers)
    for read in (read_fer2013, read_ferplus):
        manifest = read(tmp_path)
        assert list(manifest["row"]) == [0, 1, 2, 3, 5, 7]
        assert "2 rows of val and test are exact copies" in manifest.attrs["notes"][-1]
        assert len(read(tmp_path, dedupe=False)) == 8


def test_microsoft_folders_agree_with_the_csv_pair(tmp_path):
    ballots = [ballot for ballot in BALLOTS if ballot != "0,0,0,0,0,0,0,0,0,10"] * 2
    usages = (["Training"] * 4 + ["PublicTest"] * 2 + ["PrivateTest"] * 3) * 2
    numbers = [*range(9), *range(9)]
    make_pair(tmp_path / "pair", ballots, [0] * 18, usages, numbers=numbers)
    fake.ferplus_folders(tmp_path / "folders/data", ballots, usages, numbers=numbers)
    for options in ({}, {"protocol": "majority"}, {"classes": 7}, {"dedupe": False}):
        pair, folders = (
            read_ferplus(tmp_path / "pair", **options),
            read_ferplus(tmp_path / "folders", **options),
        )
        assert (
            folders["path"].str[-8:-4].astype(int).sort_values().to_list() == pair["row"].to_list()
        )
        sizes = [
            manifest.groupby(["split", "label", "kind"]).size() for manifest in (folders, pair)
        ]
        assert sizes[0].equals(sizes[1]) and "noisy" not in set(pair["kind"])
    os.remove(tmp_path / "folders/data/FER2013Train/fer0000000.png")
    refused("1 of .*fer0000000.png", load, "ferplus", tmp_path / "folders")
    _, remaining = load("ferplus", tmp_path / "folders", missing="skip")
    whole = read_ferplus(tmp_path / "folders")
    assert len(remaining) == len(whole) - 1
    assert any(note.startswith("1 of ") for note in remaining.attrs["notes"])


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda text: text.rsplit("\n", 2)[0] + "\n", "7 rows, but FER2013's csv has 8"),
        (
            lambda text: text.replace("Training,fer0000001", "PrivateTest,fer0000001"),
            "line 3: .*Usage",
        ),
        (
            lambda text: text.replace("0,0,0,0,8,2", "0,0,0,0,-8,2", 1),
            "line 2: '-8' is no number of anger votes",
        ),
        (
            lambda text: text.replace("0,0,0,0,8,2", "0,0,0,0,x,2", 1),
            "line 2: 'x' is no number of anger votes",
        ),
        (
            lambda text: text.replace("0,0,0,0,8,2", "0,0,0,0,0,0", 1),
            "line 2: .* has no votes at all",
        ),
        (
            lambda text: text.replace(",", ";"),
            "line 1: expected the columns .* separated by commas",
        ),
        (lambda text: text.split("\n")[0] + "\n", "no rows below the header"),
        (lambda text: "", "not readable as csv"),
        (
            lambda text: text.replace("\n", ",1\n").replace("NF,1", "NF"),
            "line 1: expected the columns",
        ),
    ],
)
def test_votes_faults_name_file_and_line(tmp_path, change, message):
    make_pair(tmp_path, ["0,0,0,0,8,2,0,0,0,0"] * 8, LABELS, USAGES)
    path = tmp_path / "fer2013new.csv"
    path.write_text(change(path.read_text()))
    for read in (read_fer2013, read_ferplus):
        assert "fer2013new.csv" in refused(message, read, tmp_path)


@pytest.mark.parametrize(
    "before, after, message",
    [
        ("\n3,", "\n7,", "line 2: '7' is no label; expected 0 to 6"),
        ("\n3,", "\n-1,", "'-1' is no label"),
        ("\n3,", "\n1.5,", "'1.5' is no label"),
        ("PublicTest", "Public", "line 3: 'Public' is no split"),
        (
            "emotion,pixels,Usage",
            "emotion;pixels;Usage",
            "expected the columns emotion, pixels, Usage",
        ),
    ],
)
def test_fer2013_faults(tmp_path, before, after, message):
    path = fake.fer2013(tmp_path, (3, 3), ("Training", "PublicTest"))
    path.write_text(path.read_text().replace(before, after))
    assert "fer2013.csv" in refused(message, read_fer2013, tmp_path)


def test_damaged_gzip_is_refused(tmp_path):
    path = fake.fer2013(tmp_path, LABELS, USAGES, form="gz")
    whole = path.read_bytes()
    for damage in (
        whole[: len(whole) // 2],
        b"",
        whole[:40] + b"\0" * 40 + whole[80:],
        b"emotion,pixels,Usage\n",
    ):
        path.write_bytes(damage)
        refused("fer2013.csv.gz: not readable as csv", read_fer2013, tmp_path)


# ---------------------------------------------------------------------------------------- AffectNet


@pytest.mark.parametrize("layout", ["lists", "arrays", "plain"])
def test_affectnet_layouts(tmp_path, layout):
    fake.affectnet(tmp_path / "AffectNet", layout)
    manifest = read_affectnet(tmp_path)
    names = [EXPRESSIONS[label] for label in manifest["label"]]
    assert names == [
        "neutral",
        "happiness",
        "sadness",
        "surprise",
        "fear",
        "disgust",
        "anger",
        "contempt",
        "happiness",
        "surprise",
        "contempt",
        "neutral",
    ]
    assert list(manifest["split"]) == ["train"] * 9 + ["test"] * 3
    assert all((tmp_path / path).is_file() for path in manifest["path"])
    seven = read_affectnet(tmp_path / "AffectNet", classes=7)
    assert len(seven) == 10 and "2 rows are contempt" in seven.attrs["notes"][0]
    assert ("box_width" in manifest) == (layout == "lists")


def test_affectnet_leaves_out_what_is_no_expression(tmp_path):
    fake.affectnet(tmp_path, "lists", train=(0, 8, 9, 10, 1))
    path = tmp_path / "Manually_Annotated_file_lists/training.csv"
    path.write_text(
        path.read_text().replace("3/train.jpg,5,6,20,10", "3/train.jpg,NULL,NULL,NULL,NULL")
    )
    manifest = read_affectnet(tmp_path)
    assert (
        len(manifest) == 5
        and "3 rows are marked none, uncertain or no face" in manifest.attrs["notes"][0]
    )
    path.write_text(path.read_text().replace("4/train.jpg,5", "4/train.jpg,NULL"))
    refused("training.csv, line 6: 'NULL' is no face_x in pixels", read_affectnet, tmp_path)
    path.write_text(path.read_text().replace("4/train.jpg", "../4/train.jpg"))
    refused("training.csv, line 6: .* is no image name", read_affectnet, tmp_path)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01\x00", b"3", b"PK\x03\x04zip"])
def test_affectnet_damaged_annotation(tmp_path, content):
    fake.affectnet(tmp_path, "arrays")
    (tmp_path / "train_set/annotations/2_exp.npy").write_bytes(content)
    refused("2_exp.npy: '' is no label", read_affectnet, tmp_path)


def test_affectnets_pictures_without_annotation_are_counted(tmp_path):
    fake.affectnet(tmp_path, "arrays")
    (tmp_path / "train_set/annotations/2_exp.npy").unlink()
    manifest = read_affectnet(tmp_path)
    said = "1 pictures have no _exp.npy: not read: train_set/images/2.jpg"
    assert len(manifest) == 11 and said in manifest.attrs["notes"]


# ------------------------------------------------------------------------------------ anybody's own


def test_folder_with_and_without_splits(tmp_path):
    for split, name in (
        ("train", "Happy"),
        ("train", "sadness"),
        ("val", "happy"),
        ("test", "Sad"),
    ):
        fake.picture(tmp_path / "with" / split / name / f"{split}.png", 1)
    manifest = read_folder(tmp_path / "with")
    assert dict(zip(manifest["path"], manifest["label"], strict=True)) == {
        "train/Happy/train.png": 3,
        "train/sadness/train.png": 4,
        "val/happy/val.png": 3,
        "test/Sad/test.png": 4,
    }
    for i in range(20):
        fake.picture(tmp_path / "without" / ("happy", "angry")[i % 2] / f"ünï {i}.JPG", i)
    fake.write(tmp_path / "without/happy/.DS_Store", "no image")
    manifest = read_folder(tmp_path / "without")
    assert manifest.groupby(["label", "split"]).size().to_list() == [2, 8, 2, 8]
    pd.testing.assert_frame_equal(read_folder(tmp_path / "without"), manifest)
    fake.picture(tmp_path / "without/Hapiness/1.jpg", 1)
    refused(
        "Hapiness/1.jpg: 'Hapiness' is no expression, expected surprise.*did you mean happiness",
        read_folder,
        tmp_path / "without",
    )


def test_own_csv(tmp_path):
    fake.write(
        tmp_path / "mine.csv",
        "\ufeffFile,Label,Split\r\na/ü.png,happy,train\r\nb.png,7,validation\r\n",
    )
    manifest = read_csv(tmp_path)
    assert list(manifest["path"]) == ["a/ü.png", "b.png"] and list(manifest["label"]) == [3, 7]
    assert list(manifest["split"]) == ["train", "test"]
    fake.write(
        tmp_path / "mine.csv", "path,label\n" + "".join(f"{i}.png,{i % 2}\n" for i in range(10))
    )
    assert list(read_csv(tmp_path)["split"]).count("test") == 2
    fake.write(tmp_path / "mine.csv", "path,label\n1.png,0\n1.png,0\n")
    refused("'1.png' occurs twice", read_csv, tmp_path)
    for name in ("../1.png", "/etc/1.png", "a/../../1.png"):
        fake.write(tmp_path / "mine.csv", f"path,label\n{name},0\n")
        assert "mine.csv, line 2" in refused("is no image name", read_csv, tmp_path)
    fake.write(tmp_path / "mine.csv", "name,class\n1.png,0\n")
    refused("expected columns path and label", read_csv, tmp_path)


@pytest.mark.parametrize("read", [read_rafdb, read_fer2013, read_ferplus, read_affectnet])
def test_a_wrong_folder_is_explained(tmp_path, read):
    refused("no such folder", read, tmp_path / "nowhere")
    fake.write(tmp_path / "notes.txt", "x")
    message = refused("Expected one of: .*. Found: notes.txt", read, tmp_path)
    assert str(tmp_path) in message


def test_symbolic_link_loops_end(tmp_path):
    fake.picture(tmp_path / "train/happy/1.png", 1)
    (tmp_path / "train/loop").symlink_to(tmp_path / "train")
    (tmp_path / "self").symlink_to(tmp_path / "self")
    assert list(read_folder(tmp_path)["path"]) == ["train/happy/1.png"]
    refused("no RAF-DB here", read_rafdb, tmp_path)


# --------------------------------------------------------------------- generated and mutated inputs

NAMES = st.text(st.characters(codec="utf-8", categories=["L", "N", "S"]), min_size=1, max_size=12)


@given(
    st.lists(
        st.tuples(NAMES, st.integers(1, 8)), min_size=1, max_size=20, unique_by=lambda row: row[0]
    ),
    st.sampled_from(["\n", "\r\n", "\n\n"]),
    st.sampled_from([" ", "\t", "   "]),
    st.booleans(),
)
@settings(max_examples=100, **LOOSE)
def test_generated_lists_read_right(tmp_path, rows, end, gap, bom):
    rows = [(name + ".jpg", label) for name, label in rows]
    text = "\ufeff" * bom + end.join(f"{name}{gap}{label}" for name, label in rows) + end
    labels = label_list(fake.write(tmp_path / "list.txt", text.encode()))
    assert list(zip(labels.index, labels + 1, strict=True)) == rows


MUTATION = st.integers(0, 2**62)


def mutate(content, seed):
    """``content`` with up to four stretches set, inserted, deleted, cut or doubled by ``seed``."""
    content, draw = bytearray(content), random.Random(seed)
    for _ in range(draw.randint(1, 4)):
        at, byte = (
            draw.randrange(len(content) + 1),
            draw.choice([draw.randrange(256), *b'\n\r ,;"./\\0123456789\0']),
        )
        kind = draw.choice(["set", "insert", "delete", "cut", "double"])
        if kind == "set":
            content[at : at + 1] = bytes([byte])
        elif kind == "insert":
            content.insert(at, byte)
        elif kind == "delete":
            del content[at : at + 1 + byte % 4]
        elif kind == "cut":
            del content[max(at, 1) :]
        else:
            content[at:at] = content[at : at + byte]
    return bytes(content)


def survives(read, path, changes):
    """Read the file with ``changes`` made to it: the result, or None if it was refused."""
    original = path.read_bytes()
    try:
        path.write_bytes(mutate(original, changes))
        return read(path.parent)
    except DataError as error:
        assert str(error).strip()
        return None
    finally:
        path.write_bytes(original)


@pytest.fixture(scope="module")
def mutants(tmp_path_factory):
    root = tmp_path_factory.mktemp("mutants")
    fake.rafdb(root / "rafdb")
    make_pair(root / "fer", ["0,0,0,0,8,2,0,0,0,0"] * 8, LABELS, USAGES)
    fake.ferplus_folders(root / "folders", ["0,0,0,0,8,2,0,0,0,0"] * 4, USAGES[:4])
    fake.affectnet(root / "lists", "lists")
    fake.affectnet(root / "arrays", "arrays")
    fake.affectnet(root / "plain", "plain")
    return root


def plain(name):
    """A listed name as it is taken: / for \\, no empty steps, without ``_aligned``."""
    steps = name.strip().replace("\\", "/").split("/")
    kept = [step for i, step in enumerate(steps) if step != "." and (step or i == len(steps) - 1)]
    return "/".join(kept).replace("_aligned", "")


@given(MUTATION)
@settings(max_examples=600, **LOOSE)
def test_mutated_label_lists(mutants, changes):
    path = mutants / "rafdb/EmoLabel/list_patition_label.txt"
    labels = survives(lambda folder: label_list(path, EXPRESSIONS[:7]), path, changes)
    if labels is not None:
        lines = mutate(path.read_bytes(), changes).decode("utf-8-sig").split("\n")
        pairs = [line.strip().rsplit(None, 1) for line in lines if line.strip()]
        listed = [(plain(name), int(float(label)) - 1) for name, label in pairs]
        assert listed == list(labels.items())


@given(MUTATION)
@settings(max_examples=350, **LOOSE)
def test_mutated_votes(mutants, changes):
    path = mutants / "fer/fer2013new.csv"
    votes = survives(
        lambda folder: read_votes(
            path,
            pd.DataFrame({"split": ["train"] * 4 + ["val"] * 2 + ["test"] * 2}, index=range(2, 10)),
        ),
        path,
        changes,
    )
    if votes is not None:
        assert (
            len(votes) == 8
            and votes[list(VOTES)].to_numpy().min() >= 0
            and plurality(votes)[0].between(-1, 7).all()
        )


@given(
    st.sampled_from(
        [
            ("fer/fer2013.csv", read_fer2013),
            ("folders/FER2013Train/label.csv", read_ferplus),
            ("lists/Manually_Annotated_file_lists/training.csv", read_affectnet),
            ("lists/Manually_Annotated_file_lists/validation.csv", read_affectnet),
            ("plain/affectnet_train.csv", read_affectnet),
        ]
    ),
    MUTATION,
)
@settings(max_examples=250, **LOOSE)
def test_mutated_csv_files(mutants, which, changes):
    path, read = mutants / which[0], which[1]
    manifest = survives(lambda _: read(mutants / which[0].split("/")[0]), path, changes)
    if manifest is not None:
        validate(manifest)
        if "path" in manifest:
            inside = [
                os.path.normpath(mutants / name).startswith(str(mutants))
                for name in manifest["path"]
            ]
            faces = ["path", *manifest.filter(like="box_")]
            assert all(inside) and not manifest.duplicated(faces).any()


@pytest.mark.filterwarnings("ignore:Reading")  # numpy on headers that look like Python 2's
@given(MUTATION)
@settings(max_examples=200, **LOOSE)
def test_mutated_annotations(mutants, changes):
    path = mutants / "arrays/train_set/annotations/3_exp.npy"
    manifest = survives(lambda _: read_affectnet(mutants / "arrays"), path, changes)
    if manifest is not None:
        value = str(
            np.load(fake.write(mutants / "copy.npy", mutate(path.read_bytes(), changes))).item()
        ).strip()
        row = manifest[manifest["path"].str.endswith("train_set/images/3.jpg")]
        assert value in ("8", "9", "10") and row.empty or 0 <= row["label"].iloc[0] < 8


def test_a_label_of_letters_that_do_not_exist_is_damage(mutants):
    """numpy makes a text of any bytes, which Python's own functions on text cannot bear."""
    file = mutants / "arrays/train_set/annotations/3_exp.npy"
    original = file.read_bytes()
    np.save(file, np.frombuffer(b" " * 12, "<U3")[0])
    try:
        refused("3_exp.npy", read_affectnet, mutants / "arrays")
    finally:
        file.write_bytes(original)


def test_a_table_needs_its_columns(tmp_path):
    path = fake.write(tmp_path / "t.csv", "a,b\n1,2\n\n3,4\n")
    assert list(table(path, ("a",)).index) == [2, 4]
    refused(
        "t.csv, line 1: expected the columns c separated by commas; found a, b", table, path, ("c",)
    )

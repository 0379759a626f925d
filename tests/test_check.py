import fake_data as fake
import pytest
from test_datasets import refused

from nla.data import check as checking
from nla.data.check import check


@pytest.fixture
def small_rafdb(tmp_path, monkeypatch):
    """A whole fake RAF-DB and the counts it should have."""
    fake.rafdb(tmp_path)
    counts = checking.PUBLISHED.loc[["rafdb"]].assign(
        count=[1, 1, 1, 3, 1, 1, 1, 1, 0, 0, 1, 0, 0, 1]
    )
    monkeypatch.setattr(checking, "PUBLISHED", counts)
    return tmp_path


def aligned(root, name):
    return root / f"Image/aligned/{name}_aligned.jpg"


def test_a_whole_set_passes(small_rafdb):
    seen = []
    report = check("rafdb", small_rafdb, progress=lambda *done: seen.append(done))
    assert report.problems == [] and report.notes == [] and seen[-1] == (12, 12)
    assert list(report.table) == ["split", "class", "expected", "found", "difference"]
    assert (
        len(report.table) == 14
        and (report.table["difference"] == 0).all()
        and report.table["found"].sum() == 12
    )


def test_everything_wrong_is_named(small_rafdb):
    listing = small_rafdb / "EmoLabel/list_patition_label.txt"
    listing.write_text(listing.read_text().replace("train_00001.jpg 1\n", ""))
    aligned(small_rafdb, "train_00002").unlink()
    aligned(small_rafdb, "train_00003").write_bytes(b"")
    aligned(small_rafdb, "test_0001").write_bytes(aligned(small_rafdb, "train_00004").read_bytes())
    aligned(small_rafdb, "train_00006").write_bytes(
        aligned(small_rafdb, "train_00005").read_bytes()
    )
    report = check("rafdb", small_rafdb)
    assert len(report.problems) == 3
    assert "train: 8 images, expected 9; surprise -1" in report.problems[0]
    assert "1 labels have no image: Image/aligned/train_00002_aligned.jpg" in report.problems[1]
    assert (
        "1 images cannot be decoded" in report.problems[2]
        and "train_00003_aligned.jpg, row 1" in report.problems[2]
    )
    notes = "\n".join(report.notes)
    assert "1 images have no label: Image/aligned/train_00001_aligned.jpg" in notes
    assert "2 images have an exact copy in another split: Image/aligned/train_00004" in notes
    assert "2 images have an exact copy in their own split: Image/aligned/train_00005" in notes


def test_swapped_classes_are_found_though_the_sum_is_right(small_rafdb):
    listing = small_rafdb / "EmoLabel/list_patition_label.txt"
    listing.write_text(listing.read_text().replace("train_00001.jpg 1", "train_00001.jpg 2"))
    assert "surprise -1, fear +1" in check("rafdb", small_rafdb).problems[0]


def test_published_counts_add_up():
    counts = checking.PUBLISHED["count"]
    sums = {
        name: part.groupby("split", sort=False).sum().to_list()
        for name, part in counts.groupby("set")
    }
    assert sums["rafdb"] == [12271, 3068] and sums["fer2013"] == sums["ferplus"] == [
        28709,
        3589,
        3589,
    ]
    assert sums["affectnet"] == [287651, 4000] and sums["ferplus folders"] == [28558, 3579, 3573]
    assert counts.loc["affectnet"].loc["train"].drop("contempt").sum() == 283901
    totals = counts["fer2013"].groupby("class").sum()  # Goodfellow et al. 2013
    assert totals.to_dict() == {
        "anger": 4953,
        "disgust": 547,
        "fear": 5121,
        "happiness": 8989,
        "sadness": 6077,
        "surprise": 4002,
        "neutral": 6198,
    }


def test_a_set_of_ones_own_has_nothing_to_compare(tmp_path):
    for i in range(10):
        fake.picture(tmp_path / "happy" / f"{i}.png", i)
    report = check("folder", tmp_path)
    assert (
        report.problems == []
        and report.table["difference"].isna().all()
        and report.table["found"].sum() == 10
    )
    refused("no data set is called", check, "mnist", tmp_path)


def test_fer2013_without_private_test_compares_public_with_public(tmp_path):
    fake.fer2013(tmp_path, (0, 3, 3), ("Training", "Training", "PublicTest"))
    table = check("fer2013", tmp_path).table.set_index(["split", "class"])["found"]
    assert (
        table["train", "anger"] == 1 and table["val", "happiness"] == 1 and table["test"].sum() == 0
    )
    fake.votes(tmp_path, ["0,0,0,0,8,2,0,0,0,0"] * 3, ("Training", "Training", "PublicTest"))
    report = check("ferplus", tmp_path)
    assert (
        list(report.table["found"]) == [2, 1, 0]
        and "train: 2 images, expected 28709" in report.problems[0]
    )


@pytest.mark.slow
def test_real_fer2013_sample_is_incomplete(data_root):
    report = check("fer2013", data_root)
    found = report.table.groupby("split")["found"].sum()
    if found["train"] == 28709:
        pytest.skip("the whole FER2013 is here, not the sample")
    assert any("train" in problem and "expected 28709" in problem for problem in report.problems)
    assert not any("decoded" in problem for problem in report.problems)
    assert any("another split" in note for note in report.notes)

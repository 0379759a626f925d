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
        fake.picture(tmp_path / ("happy", "sad")[i % 2] / f"{i}.png", i)
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


def set_of(root, count=12, classes=("happy", "angry"), splits=("train", "test")):
    """A folder with the same number of images in each class and split."""
    files = []
    for i in range(count):
        split = splits[i % len(splits)]
        name = classes[i // len(splits) % len(classes)]
        files.append(fake.picture(root / split / name / f"{i}.png", i))
    return files


def test_every_bad_file_is_in_the_table(tmp_path):
    files = set_of(tmp_path, 60)
    for file in files[::2]:
        file.write_bytes(file.read_bytes()[:100])
    report = check("folder", tmp_path)
    assert list(report.files) == ["file", "where", "wrong"]
    cut = sorted(file.relative_to(tmp_path).as_posix() for file in files[::2])
    assert sorted(report.files["file"]) == cut
    assert set(report.files["wrong"]) == {"not a whole image (cut off or damaged)"}
    assert report.files["where"].str.fullmatch(r"row \d+").all()
    assert "30 images cannot be decoded: " in report.problems[0]
    assert report.problems[0].count(".png") == 10 and "and 20 more" in report.problems[0]


def test_missing_files_are_in_the_table(tmp_path):
    rows = "".join(f"{i}.png,{i % 3},{('train', 'test')[i % 2]}\n" for i in range(20))
    fake.write(tmp_path / "list.csv", "path,label,split\n" + rows)
    for i in range(4, 20):
        fake.picture(tmp_path / f"{i}.png", i)
    report = check("csv", tmp_path)
    assert report.problems == ["4 labels have no image: 0.png; 1.png; 2.png; 3.png"]
    assert report.files["file"].tolist() == ["0.png", "1.png", "2.png", "3.png"]
    assert set(report.files["wrong"]) == {"there is no such file"}


def test_bad_rows_of_the_csv_are_in_the_table(tmp_path):
    path = fake.fer2013(tmp_path, (0, 1, 2), ("Training", "Training", "PublicTest"))
    path.write_text(path.read_text().replace(fake.fer_pixels(1), "0 0"))
    files = check("fer2013", tmp_path).files
    assert files["file"].tolist() == [str(path)] and files["where"].tolist() == ["line 3"]
    assert "2 pixels up to 0" in files["wrong"][0]


def test_copies_whose_labels_contradict_each_other_are_named(tmp_path):
    files = set_of(tmp_path)
    again = tmp_path / "train/angry/again.png"
    again.write_bytes(files[0].read_bytes())  # a happy face
    report = check("folder", tmp_path)
    assert report.problems == []
    said = next(note for note in report.notes if "another label" in note)
    assert said.startswith("1 pictures have an exact copy with another label: ")
    assert "train/angry/again.png (train, anger) = train/happy/0.png (train, happiness)" in said
    assert report.files["file"].tolist() == ["train/angry/again.png", "train/happy/0.png"]
    assert report.files["wrong"].str.startswith("exact copy with another label: ").all()
    again.write_bytes(files[2].read_bytes())  # another angry one
    report = check("folder", tmp_path)
    assert "2 images have an exact copy in their own split: " in "\n".join(report.notes)
    assert not any("another label" in note for note in report.notes)


def test_what_the_protocol_leaves_out_is_not_called_unlabelled(tmp_path):
    ballots = ["0,9,0,0,1,0,0,0,0,0", "9,0,0,0,0,1,0,0,0,0", "0,0,0,0,1,1,0,0,8,0"]
    usages = [usage for usage in fake.USAGES for _ in range(3)]
    fake.ferplus_folders(tmp_path, ballots * 3, usages)  # every third has no winner
    fake.picture(tmp_path / "FER2013Train/stranger.png", 99, 48, "L")
    notes = check("ferplus", tmp_path).notes
    assert "3 rows have no winner by plurality: left out" in notes
    left = "3 images are left out by the protocol: FER2013Test/fer0000008.png; "
    assert any(note.startswith(left) for note in notes)
    assert "1 images have no label: FER2013Train/stranger.png" in notes


def test_what_affectnet_leaves_out_is_not_called_unlabelled(tmp_path):
    fake.affectnet(tmp_path / "lists", "lists", train=(0, 1, 9, 10))
    notes = "\n".join(check("affectnet", tmp_path / "lists").notes)
    assert "2 images are left out by the protocol: " in notes and "no label" not in notes
    fake.affectnet(tmp_path / "arrays", "arrays")
    report = check("affectnet", tmp_path / "arrays", classes=7)
    notes = "\n".join(report.notes)
    assert "2 images are left out by the protocol: " in notes and "no label" not in notes
    assert "contempt" not in set(report.table["class"])


def test_files_that_are_not_read_are_counted_by_suffix(tmp_path):
    set_of(tmp_path)
    for name in ("a.xyz", "b.XYZ", "c.doc", "Thumbs.db", ".DS_Store", "._d.jpg"):
        fake.write(tmp_path / "train/happy" / name, "no image")
    fake.write(tmp_path / "train/notes.txt", "read by somebody else")
    report = check("folder", tmp_path)
    assert "3 files are not read, by suffix: .xyz 2, .doc 1" in report.notes
    assert report.problems == []


def test_grey_among_colour_is_told(tmp_path):
    files = set_of(tmp_path)
    fake.picture(files[5], 5, mode="L")
    notes = check("folder", tmp_path).notes
    assert notes == ["1 of 12 images are grey among colour ones: taken as RGB"]


def test_what_training_would_refuse_is_a_problem(tmp_path):
    set_of(tmp_path / "a", classes=("happy",))
    said = "the training images are all of one class, happiness: there is nothing to learn"
    assert check("folder", tmp_path / "a").problems == [said]
    set_of(tmp_path / "b", splits=("test",))
    said = "there are no train images: training would refuse it"
    assert check("folder", tmp_path / "b").problems == [said]
    set_of(tmp_path / "c", splits=("train",))
    held_out = check("folder", tmp_path / "c")
    assert held_out.problems == [] and "a fifth of each class" in held_out.notes[0]
    # training reads the votes that the check of FER2013 itself does not need
    fake.fer2013(tmp_path / "d", (0, 1, 2), fake.USAGES)
    fake.votes(tmp_path / "d", ["0,0,0,0,8,2,0,0,0,0"] * 2, fake.USAGES[:2])
    problems = check("fer2013", tmp_path / "d").problems
    assert any("training would refuse it: " in problem for problem in problems)


def test_the_folder_of_an_environment_variable_is_checked(tmp_path, monkeypatch):
    set_of(tmp_path)
    monkeypatch.setenv("NLA_DATA_ROOT", str(tmp_path))
    for root in (None, "", "data"):
        assert check("folder", root).table["found"].sum() == 12


@pytest.mark.slow
def test_real_fer2013_sample_is_incomplete(data_root):
    report = check("fer2013", data_root)
    found = report.table.groupby("split")["found"].sum()
    if found["train"] == 28709:
        pytest.skip("the whole FER2013 is here, not the sample")
    assert any("train" in problem and "expected 28709" in problem for problem in report.problems)
    assert not any("decoded" in problem for problem in report.problems)
    assert any("another split" in note for note in report.notes)


def test_a_split_that_no_list_names_is_a_problem(tmp_path):
    for name in ("train/1.png", "train/2.png", "test/3.png", "more/4.png"):
        fake.picture(tmp_path / name, len(name) + int(name[-5]))
    fake.write(tmp_path / "labels.csv", "path,label\ntrain/1.png,happy\ntrain/2.png,sad\n")
    said = "pictures lie in the folder of a split of which the lists name none: test"
    report = check("csv", tmp_path)
    assert said in report.problems and said not in report.notes
    (tmp_path / "test").rename(tmp_path / "unlabelled")
    assert not any("of a split" in problem for problem in check("csv", tmp_path).problems)

"""Drawn faces are kept: the same ones come back, never others, and a cache is only a cache."""

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from nla import data
from nla.data import kept, make_faces
from nla.data.kept import kept_faces
from nla.files import WriteError

FACES = {"n": 60, "seed": 3, "size": 16, "ambiguous": 0.3, "noisy": 0.2, "split": "train"}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A folder for caches, nothing in memory, and few faces are enough to be kept."""
    monkeypatch.setattr(kept, "KEPT", {})
    monkeypatch.setattr(kept, "LARGE", 60 * 3 * 16 * 16)
    return tmp_path / "cache"


def again(cache, monkeypatch, **changed):
    """The same faces as a process of its own has them that must not draw."""
    with monkeypatch.context() as patch:
        patch.setattr(kept, "KEPT", {})
        patch.setattr(data, "make_faces", lambda **_: pytest.fail("faces are drawn"))
        return kept_faces(str(cache), **FACES | changed)


def same(one, other):
    assert torch.equal(one[0], other[0]) and one[0].dtype == torch.uint8
    pd.testing.assert_frame_equal(one[1], other[1])


def files(cache):
    return sorted(path.name for path in cache.iterdir())


def test_what_is_read_from_the_disk_is_what_was_drawn(cache, monkeypatch):
    first = kept_faces(str(cache), **FACES)
    same(first, make_faces(**FACES))
    same(again(cache, monkeypatch), first)


@pytest.mark.parametrize("changed", [{"seed": 4}, {"noisy": 0.1}, {"split": "val"}, {"n": 61}])
def test_other_faces_are_other_files(cache, changed):
    kept_faces(str(cache), **FACES)
    same(kept_faces(str(cache), **FACES | changed), make_faces(**FACES | changed))
    assert len(files(cache)) == 2


@pytest.fixture
def another_hand():
    """What decides how a face looks is asked for anew, also after the test."""
    kept.drawing.cache_clear()
    yield
    kept.drawing.cache_clear()


@pytest.mark.parametrize("what", ["torch.__version__", "torch.backends.cpu.get_cpu_capability"])
def test_faces_are_drawn_anew_where_they_may_come_out_otherwise(
    cache, monkeypatch, another_hand, what
):
    kept_faces(str(cache), **FACES)
    kept.drawing.cache_clear()
    monkeypatch.setattr(what, "0.0" if "version" in what else lambda: "an abacus")
    with pytest.raises(pytest.fail.Exception, match="faces are drawn"):
        again(cache, monkeypatch)


@pytest.mark.parametrize("name", ["face_canvas.py", "faces.py", "movements.csv"])
def test_faces_are_drawn_anew_when_what_draws_them_changes(
    tmp_path, monkeypatch, another_hand, name
):
    here = Path(kept.__file__).parent
    for source in (*here.glob("face*.py"), *here.glob("*.csv")):
        shutil.copy(source, tmp_path)
    monkeypatch.setattr(kept, "__file__", str(tmp_path / "kept.py"))
    before = kept.name_of(FACES)
    with open(tmp_path / name, "a", encoding="utf-8") as file:
        file.write("# another line\n")
    kept.drawing.cache_clear()
    assert kept.name_of(FACES) != before


@pytest.mark.parametrize("damage", ["cut", "changed", "emptied", "no archive", "another's"])
def test_a_damaged_file_is_drawn_anew_and_replaced(cache, monkeypatch, damage):
    first = kept_faces(str(cache), **FACES)
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    middle = len(whole) // 2
    if damage == "another's":
        np.savez(open(file, "wb"), faces=np.zeros(3))
    else:
        file.write_bytes(
            {
                "cut": whole[:middle],
                "changed": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
                "emptied": b"",
                "no archive": b"faces",
            }[damage]
        )
    monkeypatch.setattr(kept, "KEPT", {})
    same(kept_faces(str(cache), **FACES), first)
    same(again(cache, monkeypatch), first)


def test_nothing_is_kept_without_a_folder_nor_of_few_or_very_many_faces(cache, monkeypatch):
    monkeypatch.chdir(cache.parent)
    kept_faces("", **FACES)
    kept_faces(str(cache), **FACES | {"n": 59})
    monkeypatch.setattr(kept, "SMALL", 60 * 3 * 16 * 16)
    kept_faces(str(cache), **FACES | {"n": 61})
    assert not list(cache.parent.iterdir())
    assert len(kept.KEPT) == 2  # in memory too, no more than are small


def test_the_files_that_were_unused_for_longest_go_first(cache, monkeypatch):
    monkeypatch.setattr(kept, "FILES", 3)
    names = []
    for seed in range(3):
        kept_faces(str(cache), **FACES | {"seed": seed})
        names += set(files(cache)) - set(names)
        os.utime(cache / names[-1], (seed, seed))
    again(cache, monkeypatch, seed=0)
    kept_faces(str(cache), **FACES | {"seed": 9})
    left = files(cache)
    assert len(left) == 3 and names[0] in left and names[1] not in left and names[2] in left


def test_few_are_kept_in_memory(cache):
    for seed in range(kept.PARTS + 3):
        kept_faces("", **FACES | {"seed": seed})
    assert len(kept.KEPT) == kept.PARTS
    assert ("", kept.name_of(FACES | {"seed": 0})) not in kept.KEPT


def test_faces_come_though_they_cannot_be_kept(cache, monkeypatch):
    def full(*_):
        raise WriteError("the disk is full")

    monkeypatch.setattr(kept, "write", full)
    same(kept_faces(str(cache), **FACES), make_faces(**FACES))

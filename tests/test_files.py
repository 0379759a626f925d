"""Files are whole or absent, whoever writes them at the same time."""

import os
import subprocess
import sys
import time

import pandas as pd
import pytest

from nla.files import WriteError, atomic, write

WRITER = """
import sys
from nla.files import write
for _ in range(100):
    write(sys.argv[1], sys.argv[2] * 200_000)
"""


def test_two_processes_that_write_one_file_neither_fail_nor_tear_it(tmp_path):
    path = tmp_path / "table.md"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), letter], stderr=subprocess.PIPE)
        for letter in "ab"
    ]
    while any(writer.poll() is None for writer in writers):
        if path.exists():
            text = path.read_text(encoding="utf-8")
            assert text in ("a" * 200_000, "b" * 200_000)
    for writer in writers:
        assert writer.wait() == 0, writer.stderr.read().decode()
        writer.stderr.close()
    assert [left.name for left in tmp_path.iterdir()] == ["table.md"]


def test_a_writer_that_has_only_begun_does_not_disturb_another(tmp_path):
    path = tmp_path / "x.md"
    with atomic(path) as first:
        first.write_text("A" * 10)
        with atomic(path) as second:
            second.write_text("B" * 3)
        assert path.read_text() == "BBB"
    assert path.read_text() == "A" * 10


def test_what_killed_writers_left_does_not_pile_up(tmp_path):
    path = tmp_path / "[1] a.csv"  # signs that a pattern would read otherwise
    old, fresh, foreign = (
        tmp_path / name for name in (".[1] a.csv.0f.tmp", ".[1] a.csv.1f.tmp", ".1 a.csv.2f.tmp")
    )
    for left in (old, fresh, foreign):
        left.write_text("half")
    for left in (old, foreign):
        os.utime(left, (time.time() - 7200,) * 2)
    write(path, pd.DataFrame({"a": [1]}))
    assert not old.exists() and fresh.exists() and foreign.exists()


def test_an_error_in_the_block_leaves_what_was_there(tmp_path):
    path = tmp_path / "x.md"
    write(path, "before")
    with pytest.raises(ZeroDivisionError), atomic(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "before" and len(list(tmp_path.iterdir())) == 1


def test_a_file_that_another_program_has_open_is_named(tmp_path, monkeypatch):
    def refuse(source, target):  # as Windows does
        raise PermissionError(13, "Access is denied")

    path = tmp_path / "table.csv"
    write(path, "before")
    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(WriteError, match=r"table\.csv cannot be written .*close it"):
        write(path, "after")
    assert path.read_text() == "before" and len(list(tmp_path.iterdir())) == 1


def test_text_is_utf_8_with_the_same_line_ends_everywhere(tmp_path):
    write(tmp_path / "a.txt", "Überraschung\n")
    assert (tmp_path / "a.txt").read_bytes() == "Überraschung\n".encode()
    write(tmp_path / "a.csv", pd.DataFrame({"ärger": [1]}))
    assert (tmp_path / "a.csv").read_bytes() == "ärger\n1\n".encode()


def test_a_table_is_written_as_its_name_says_or_not_at_all_and_text_as_it_is(tmp_path):
    table = pd.DataFrame({"a": [1]})
    write(tmp_path / "LIST.CSV", table)
    assert (tmp_path / "LIST.CSV").read_text() == "a\n1\n"
    for name in ("list.html", "list", "list.txt"):
        with pytest.raises(WriteError, match=f"{name}: a table is written as .csv or .parquet"):
            write(tmp_path / name, table)
    write(tmp_path / "list.json", "a.jpg 1\n")
    assert (tmp_path / "list.json").read_text() == "a.jpg 1\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["LIST.CSV", "list.json"]

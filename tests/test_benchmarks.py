"""The benchmarks run, from the first line to the last, and their own measure is right."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from small_data import tree
from torch import nn

from nla import Config
from nla.study import runs

BENCHMARKS = Path(__file__).resolve().parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import bench_accuracy  # noqa: E402
import bench_gpu  # noqa: E402
import bench_training  # noqa: E402
import roofline  # noqa: E402


@pytest.fixture
def count(monkeypatch):
    """A roofline on a machine of 1,000 operations and 10 bytes a second."""
    monkeypatch.setattr(roofline, "matmul_rate", lambda device, dtype: 1000.0)
    monkeypatch.setattr(roofline, "copy_rate", lambda device: 10.0)
    return roofline.Roofline(torch.device("cpu"))


def test_operations_and_bytes_by_hand(count):
    a, b = torch.ones(4, 5), torch.ones(5, 6)
    with count:
        a @ b
    assert count.flops == 2 * 4 * 5 * 6 and count.bytes == 4 * (20 + 30 + 24)
    assert count.seconds == pytest.approx(29.6)  # its 296 bytes, not its 240 operations
    with count:
        a.T.reshape(4, 5).relu()  # the view is free; a copy and relu read and write 20 numbers each
    assert count.flops == 240 and count.bytes == 296 + 4 * 20 * 4


def test_a_convolution_costs_its_operations_forward_and_twice_backward(count):
    count.copy_rate = float("inf")
    layer, images = (
        nn.Conv2d(8, 16, 3, padding=1, bias=False),
        torch.randn(2, 8, 10, 10, requires_grad=True),
    )
    forward = 2 * 2 * 100 * 16 * 8 * 9
    with count:
        layer(images).sum().backward()
    assert count.flops == 3 * forward and count.seconds == pytest.approx(3 * forward / 1000)


def test_rates_are_those_of_a_machine():
    device = torch.device("cpu")
    assert 1e8 < roofline.matmul_rate(device, torch.float32) < 1e14
    assert 1e7 < roofline.copy_rate(device) < 1e13


@pytest.fixture
def bare(tmp_path):
    """An environment in which nothing can be imported that a bare machine with a GPU lacks."""
    absent = (
        "tyro umap jupyterlab ipywidgets anywidget nbclient IPython traitlets statsmodels onnx "
        "onnxscript onnxruntime hypothesis playwright tensorboard pynndescent numba"
    ).split()
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "from importlib.machinery import PathFinder\n"
        "class Bare(PathFinder):\n"
        "    def find_spec(name, path=None, target=None):\n"
        f"        if name.split('.')[0] not in {absent!r}:\n"
        "            return PathFinder.find_spec(name, path, target)\n"
        "sys.meta_path[sys.meta_path.index(PathFinder)] = Bare\n"
    )
    threads = {"OMP_NUM_THREADS": "1", "TORCHDYNAMO_DISABLE": "1"}  # no compiler is needed
    return os.environ | threads | {"PYTHONPATH": str(tmp_path)}


def test_the_whole_of_the_gpu_benchmark_runs_on_a_bare_machine(bare, tmp_path):
    """Every line of it, on a tiny size: on a borrowed GPU there is no time for a typing error."""
    script = BENCHMARKS / "bench_gpu.py"
    command = [sys.executable, str(script), "--out", str(tmp_path / "out"), "--rehearse"]
    done = subprocess.run(
        [*command, "--device", "cpu"], env=bare, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "out/gpu.csv")
    said = table.set_index("what")["value"]
    assert not table["what"].str.contains("failed|out of time|left out").any(), done.stdout
    assert list(table["part"].unique()) == list(bench_gpu.PARTS)
    assert set(table["verdict"].dropna()) == {"right"}
    assert said["killed and resumed: the same bits as left alone"] == "True"
    assert float(said["overall accuracy, float32 minus the CPU's: mean over seeds"]) == 0
    assert table["card"].notna().all() and table["torch"].notna().all()
    for what in (
        "step of 32 images, textbook / bf16, CUDA graphs",
        "epoch of 103 images, textbook / float32",
        "2 epochs",
        "floor of 2 epochs, operations alone",
        "epoch of 103 images, bf16, record on / record off",
    ):
        assert float(said[what]) > 0, what


def made_bench(tmp_path, seconds):
    facts = {"card": "none"}
    return bench_gpu.Bench(
        torch.device("cpu"), bench_gpu.TINY, tmp_path, time.monotonic() + seconds, facts
    )


def test_a_part_that_fails_hangs_or_does_not_fit_leaves_the_others(tmp_path, monkeypatch):
    def fails(bench):
        bench.note("before", 1.0)
        raise RuntimeError("no such kernel")

    def hangs(bench):
        while True:
            time.sleep(0.01)

    parts = {
        "fails": bench_gpu.Part(fails, 1, 10),
        "hangs": bench_gpu.Part(hangs, 1, 0.1),
        "large": bench_gpu.Part(fails, 1000, 1000),
        "last": bench_gpu.Part(lambda bench: bench.note("after", 2.0), 1, 10),
    }
    monkeypatch.setattr(bench_gpu, "PARTS", parts)
    bench_gpu.carry_out(made_bench(tmp_path, 60), list(parts))
    table = pd.read_csv(tmp_path / "gpu.csv")
    whats = table.groupby("part", sort=False)["what"].apply(list).to_dict()
    assert whats == {
        "fails": ["before", "failed", "took"],
        "hangs": ["out of time", "took"],
        "large": ["left out"],
        "last": ["after", "took"],
    }
    assert "no such kernel" in table["value"][1]


def test_a_variant_that_cannot_run_leaves_the_others_to_be_compared(tmp_path):
    bench = made_bench(tmp_path, 60)
    bench.part_end = bench.end

    def broken():
        raise RuntimeError("cannot compile")

    left = [None, None]

    def breaks_later():
        left.pop()  # the first call and the first turn go well

    calls = {"textbook": lambda: None, "a": broken, "b": breaks_later, "kit": lambda: None}
    seconds = bench.turns(calls)
    assert list(seconds) == ["textbook", "kit"] and len(seconds) == bench_gpu.TINY.turns
    assert list(calls) == ["textbook", "a", "b", "kit"]
    bench_gpu.note_times(bench, "step", seconds, 1.0, "s")
    whats = [row["what"] for row in bench.rows]
    assert {"a: failed", "b: failed"} <= set(whats) and whats[-1] == "step, textbook / kit"


def test_without_an_accelerator_it_says_what_can_be_done(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["bench_gpu.py", "--out", str(tmp_path), "--device", "cpu"])
    with pytest.raises(SystemExit, match="--rehearse"):
        bench_gpu.main()


@pytest.mark.parametrize("bench", list(bench_training.BENCHES))
def test_every_part_of_the_training_benchmark_runs(bench, monkeypatch):
    options = SimpleNamespace(size=24, steps=2, workers=[0], compile="no", precision="float32")
    monkeypatch.setattr(bench_training, "ROWS", [])
    monkeypatch.setattr(bench_training, "timed", once)
    monkeypatch.setattr(bench_training, "SCALES", (64,))
    monkeypatch.setattr(roofline, "matmul_rate", lambda device, dtype: 1e10)
    monkeypatch.setattr(roofline, "copy_rate", lambda device: 1e10)
    bench_training.BENCHES[bench](torch.device("cpu"), options)
    assert bench_training.ROWS


def once(function, device, calls=1):
    """As ``timed``, of one call."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def test_what_is_compared_has_validation_images_and_is_refused_without_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for way in bench_accuracy.WAYS.values():
        for base in way.settings.values():
            assert base.data == "faces" or base.validation > 0
    config = Config(data="folder", root=str(tree(tmp_path / "faces")), size=16, epochs=1)
    with pytest.raises(runs.StudyError, match="folder has no validation images.*validation = 0.1"):
        runs.one_run(config)
    assert not (runs.SCRATCH / config.key / "config.json").exists()  # nothing was trained


def test_what_a_faster_way_costs_is_paired_by_seed(tmp_path, monkeypatch, capsys):
    tiny = Config(size=32, train_faces=64, test_faces=40, epochs=4, probe=20, snapshots=1)
    absent = replace(tiny, data="ferplus", root=str(tmp_path / "nothing"), size=48)
    way = replace(bench_accuracy.WAYS["growing"], settings={"faces": tiny, "FERPlus": absent})
    monkeypatch.setitem(bench_accuracy.WAYS, "growing", way)
    monkeypatch.chdir(tmp_path)
    command = ["bench", "growing", "--seeds", "2", "--jobs", "1", "--out", "table.csv"]
    monkeypatch.setattr(sys, "argv", command)
    bench_accuracy.main()
    said = capsys.readouterr().out
    assert "FERPlus is left out: " in said and "n = 2" in said
    table = pd.read_csv("table.csv")
    assert table[["seed", "start_size"]].values.tolist() == [[0, 0], [0, 16], [1, 0], [1, 16]]
    whole, growing = (table[table["start_size"] == size]["overall"].mean() for size in (0, 16))
    assert f"overall  {growing - whole:+.2f} (" in said

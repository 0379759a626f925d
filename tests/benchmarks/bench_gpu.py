"""The kit on an accelerator, in one call of eight minutes: right, how fast, and what is the bound.

    python tests/benchmarks/bench_gpu.py --out DIR
    python tests/benchmarks/bench_gpu.py --out DIR --device cpu --rehearse

It runs on whatever ``torch.accelerator`` finds; ``--rehearse`` goes through every line of it on a
tiny size. It needs torch, torchvision, pandas, pyarrow, scikit-learn, safetensors, tqdm, and says
so if one is missing; the kit need not be installed. The parts, in order:

golden    the golden values of the NLA losses, and every other loss against the CPU's
floor     operations and bytes of a step, and the least time that they take on this card
step      a training step at the paper's size, all variants and the textbook's in turns
epoch     an epoch, likewise: the textbook loop decodes and transforms in worker processes
run       the paper's 60 epochs with ``fit``: what a user waits
record    an epoch with the record of every sample, and without, in turns
resume    a run that is killed and goes on, against one that is not: the same bits?
accuracy  a short run's accuracy on the card and on the CPU

Each part has an estimate, which is said before it begins, and a limit. A part that does not fit
into what is left is left out, and one that fails or runs out of time leaves what it has measured:
``gpu.csv`` in DIR is written anew after every row, with the card's name in each.

Comparisons take turns: A, B, C, A, B, C, ...; the first turn warms up. Given are the medians, with
quartiles, of the times and of the ratios within a turn.
"""

import argparse
import contextlib
import dataclasses
import importlib.util
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]  # the kit need not be installed
NEEDED = ("torch", "torchvision", "pandas", "pyarrow", "sklearn", "safetensors", "tqdm", "filelock")
lacking = [name for name in NEEDED if importlib.util.find_spec(name) is None]
if lacking:
    sys.exit(f"bench_gpu.py needs {', '.join(lacking)}, which {sys.executable} does not have")

import pandas as pd  # noqa: E402
import textbook  # noqa: E402
import torch  # noqa: E402
from bench_training import NoBar, encoded, task_of  # noqa: E402
from roofline import Roofline, timed  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from nla import Config, NLALoss, fit, models, read_run  # noqa: E402
from nla.methods import LOSSES, build  # noqa: E402
from nla.training.loading import load_data  # noqa: E402
from nla.training.loop import Task, prepare, shared, train_epoch  # noqa: E402
from nla.training.processes import fast_in_bf16, join_world  # noqa: E402

BATCH = 32
VARIANTS = {
    "float32": {"precision": "float32"},
    "bf16": {"precision": "bf16"},
    "bf16, compiled": {"precision": "bf16", "compile": "default"},
    "bf16, CUDA graphs": {"precision": "bf16", "compile": "reduce-overhead"},
}
TEXTBOOK = "textbook"
PAPERS_GOAL = 90.0  # seconds, of 60 epochs on one H200


class Size(NamedTuple):
    """How large everything is."""

    network: str
    pixels: int
    train: int
    test: int
    step_batches: int  # of the short epoch that a step is measured in
    textbook_images: int  # of the textbook's epoch, whose time is scaled to ``train``
    epochs: int
    turns: int  # at most
    small: dict[str, Any]  # a config that learns something in seconds
    seeds: int
    workers: int  # of the textbook's DataLoader


FULL = Size(
    network="resnet18",
    pixels=224,
    train=12_271,
    test=3_068,
    step_batches=20,
    textbook_images=1_600,
    epochs=60,
    turns=9,
    small={"train_faces": 1000, "test_faces": 500, "epochs": 6, "noise": 0.3, "snapshots": 2},
    seeds=3,
    workers=min(16, os.cpu_count() or 1),
)
TINY = Size(
    network="small_resnet",
    pixels=24,
    train=3 * BATCH + 7,
    test=20,
    step_batches=2,
    textbook_images=BATCH,
    epochs=2,
    turns=2,
    small={"train_faces": 64, "test_faces": 20, "epochs": 2, "size": 24, "snapshots": 2},
    seeds=2,
    workers=0,
)


class OutOfTime(BaseException):
    """A part's limit is over; no ordinary exception, so that nothing on the way swallows it."""


class Part(NamedTuple):
    """What is measured, how long it should take on a data-centre GPU, and may, in seconds."""

    measure: Callable[["Bench"], None]
    estimate: float
    limit: float


@dataclasses.dataclass
class Bench:
    """The device, the sizes, and the rows so far."""

    device: torch.device
    size: Size
    out: Path
    end: float  # on the monotonic clock
    facts: dict[str, Any]
    rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    part: str = ""
    part_end: float = 0.0
    kits: "dict[str, Kit]" = dataclasses.field(default_factory=dict)
    epoch_seconds: dict[str, float] = dataclasses.field(default_factory=dict)  # by variant

    @property
    def left(self) -> float:
        """Seconds until the part has to be over."""
        return min(self.part_end, self.end) - time.monotonic()

    def note(self, what: str, value: float | str, unit: str = "", **more: Any) -> None:
        """Add a row, print it, and write the table anew."""
        row = {"part": self.part, "what": what, "value": value, "unit": unit, **more}
        self.rows.append(row)
        said = f"{value:.4g}" if isinstance(value, float) else value
        print(f"  {what}: {said} {unit}", *(f"{k} {v}" for k, v in more.items()), flush=True)
        table = pd.DataFrame(self.rows).assign(**self.facts)
        unfinished = self.out / ".gpu.csv.tmp"
        table.to_csv(unfinished, index=False, float_format="%.6g")
        unfinished.replace(self.out / "gpu.csv")

    def turns(self, calls: dict[str, Callable[[], object]], share: float = 1.0) -> pd.DataFrame:
        """Seconds of each call, a row a turn: as many as fit into ``share`` of what is left.

        A call that fails is noted and left out; it must not take the others along.
        """
        calls = dict(calls)
        for name in list(calls):
            seconds = self.attempt(name, calls)
            if seconds is not None:
                self.note(f"{name}: first call, compiling included", seconds, "s")
        stop = time.monotonic() + share * self.left
        table: list[dict[str, float]] = []
        while len(table) < self.size.turns:
            began = time.monotonic()
            turn = {name: self.attempt(name, calls) for name in list(calls)}
            table.append({name: value for name, value in turn.items() if value is not None})
            now = time.monotonic()
            if len(table) >= 2 and now + (now - began) > stop:
                break
        return pd.DataFrame(table)[list(calls)]

    def attempt(self, name: str, calls: dict[str, Callable[[], object]]) -> float | None:
        """Seconds of a call; where it fails that is noted, and it is no longer one of ``calls``."""
        try:
            return timed(calls[name], self.device)
        except Exception as error:  # whatever it is
            self.note(f"{name}: failed", f"{type(error).__name__}: {str(error)[:200]}")
            del calls[name]
            return None

    def note_spread(self, what: str, values: "pd.Series[float]", unit: str) -> None:
        """Note a median with its quartiles."""
        quartiles = values.quantile([0.25, 0.5, 0.75]).tolist()
        low, middle, high = (float(f"{value:.5g}") for value in quartiles)
        self.note(what, middle, unit, q1=low, q3=high, n=len(values))


class Kit:
    """The kit's network, optimiser and loss in one variant, to train epochs with."""

    def __init__(self, bench: Bench, task: Task, variant: dict[str, str], record: bool = True):
        if not fast_in_bf16(bench.device):
            variant = variant | {"precision": "float32"}  # in rehearsal, on most CPUs
        config = dataclasses.replace(task.config, record=record, **variant)
        self.task = dataclasses.replace(task, config=config)
        self.state = prepare(self.task)
        self.network = shared(self.state.model, self.task)

    def epoch(self, task: Task | None = None) -> None:
        """One more epoch, over the images of ``task`` if another is given."""
        task = self.task if task is None else dataclasses.replace(task, config=self.task.config)
        train_epoch(task, self.state, self.network, NoBar(), threading.Event())
        self.state.step, self.state.seen, self.state.record = 0, 0, []


def shortened(task: Task, count: int) -> Task:
    """A task of the first ``count`` images, the pixels shared."""
    return dataclasses.replace(task, manifest=task.manifest.iloc[:count])


# The parts


def golden(bench: Bench) -> None:
    """The golden values on the device, in float64 where it has it; every loss against the CPU."""
    file = HERE.parent / "golden/nla_cases.json"
    cases = json.loads(file.read_text(encoding="utf-8"))["cases"]
    for dtype in (torch.float64, torch.float32):
        if dtype == torch.float64 and bench.device.type == "mps":
            continue  # it has none
        for variant, name in (("paper", "paper_total"), ("released", "released_total")):
            worst = 0.0
            for case in cases:
                if name in case:
                    worst = max(worst, abs(golden_total(case, variant, dtype, bench) - case[name]))
            verdict = "right" if worst < 2e-5 else "WRONG"
            what = f"nla, {variant}, {str(dtype)[6:]}: largest difference from golden values"
            bench.note(what, float(f"{worst:.3g}"), verdict=verdict)
    for loss in LOSSES:
        here, there = (outcome(loss, device) for device in ("cpu", bench.device))
        apart = [float((a - b).abs().max() / a.abs().max()) for a, b in zip(here, there)]
        verdict = "right" if max(apart) < 2e-4 else "WRONG"
        what = f"{loss}: relative difference of total and gradient from the CPU's"
        bench.note(what, float(f"{max(apart):.3g}"), verdict=verdict)


def golden_total(case: dict[str, Any], variant: str, dtype: torch.dtype, bench: Bench) -> float:
    """The loss of a golden case on the device."""
    views = [
        torch.tensor(case[name], dtype=dtype, device=bench.device)
        for name in ("logits", "flipped_logits")
    ]
    targets = torch.tensor(case["targets"], device=bench.device)
    terms = NLALoss(variant=variant)(*views, targets, case["epoch"] / case["epochs"])
    return float(terms.total)


def outcome(loss: str, device: str | torch.device) -> tuple[Tensor, Tensor]:
    """Total and gradient (of the classifier) of a loss in a small network, the same everywhere."""
    torch.manual_seed(0)
    labels = torch.arange(16) % 7
    pixels = torch.randn(2 * len(labels), 3, 24, 24)
    reference = made(loss, labels)
    model, method = made(loss, labels.to(device), device)
    for part, source in zip((model, method), reference):
        part.load_state_dict(source.state_dict())
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        output = model.train()(pixels.to(device))
        first, second = zip(*(both.chunk(2) for both in output))
        rows = torch.arange(len(labels), device=device)
        other = models.Output(*second) if method.views == 2 else None
        terms = method.on_outputs(models.Output(*first), other, labels.to(device), 0.3, rows)
        terms.total.backward()
    gradient = model.fc.weight.grad
    assert gradient is not None
    return terms.total.detach().cpu(), gradient.cpu()


def made(
    loss: str, labels: Tensor, device: str | torch.device = "cpu"
) -> tuple[models.Classifier, Any]:
    """A small network and a method that is attached to it."""
    model = models.small_resnet().to(device)
    method = build(loss, checked=False)
    method.attach(model, labels)
    return model, method


def floor(bench: Bench) -> None:
    """What a step of the kit computes and moves, and the least that takes at this card's rates."""
    kit = bench.kits["bf16"]
    batch = shortened(kit.task, BATCH)
    kit.epoch(batch)
    dtypes = [torch.float32] + [torch.bfloat16] * fast_in_bf16(bench.device)
    with Roofline(bench.device, dtypes) as least:
        kit.epoch(batch)
    steps = -(-bench.size.train // BATCH)
    operations = least.flops / max(least.rates.values())
    for name, rate in least.rates.items():
        bench.note(f"matrix products in {str(name)[6:]}", rate / 1e12, "TFLOP/s")
    bench.note("copies, bytes read and written", least.copy_rate / 1e12, "TB/s")
    bench.note("operations of a step of 32 images, two views", least.flops / 1e9, "GFLOP")
    bench.note("bytes of a step, each operation by itself", least.bytes / 1e9, "GB")
    for what, seconds in (
        ("operations alone", operations),
        ("operations and bytes of each operation", least.seconds),
    ):
        bench.note(f"floor of a step, {what}", 1e3 * seconds, "ms")
        total = seconds * steps * bench.size.epochs
        bench.note(f"floor of {bench.size.epochs} epochs, {what}", total, "s")


def step(bench: Bench) -> None:
    """A step: pixels on the device to new weights, in turns with the textbook's ready batch."""
    short = shortened(bench.kits["float32"].task, bench.size.step_batches * BATCH)
    model, optimizer = plain_network(bench)
    files = encoded(short.images[:BATCH].cpu())
    data = textbook.Faces(files, short.manifest["label"].tolist())
    ready = torch.utils.data.default_collate([data[i] for i in range(BATCH)])

    def plain() -> None:
        for _ in range(bench.size.step_batches):
            textbook.train_step(model, optimizer, ready, 0.3, bench.device)

    calls: dict[str, Callable[[], object]] = {TEXTBOOK: plain}
    for name, kit in bench.kits.items():
        calls[name] = lambda kit=kit: kit.epoch(short)
    seconds = bench.turns(calls)
    for name in set(bench.kits) - set(seconds):
        del bench.kits[name]  # it failed: later parts go without it
    scale = 1e3 / bench.size.step_batches
    note_times(bench, "step of 32 images", seconds, scale, "ms")


def note_times(
    bench: Bench, what: str, seconds: pd.DataFrame, scale: float, unit: str, base: str = TEXTBOOK
) -> None:
    """Note each column's time, and how many times ``base`` takes as long, within a turn."""
    for name in map(str, seconds):
        bench.note_spread(f"{what}, {name}", scale * seconds[name], unit)
    for name in map(str, seconds):
        if name != base and base in seconds:
            ratio = seconds[base] / seconds[name]
            bench.note_spread(f"{what}, {base} / {name}", ratio, "times")


def plain_network(bench: Bench) -> tuple[nn.Module, torch.optim.Optimizer]:
    """The textbook's network and optimiser."""
    model = getattr(models, bench.size.network)().to(bench.device)
    return model, torch.optim.Adam(model.parameters(), lr=1e-4, weight_decay=1e-4)


def epoch(bench: Bench) -> None:
    """An epoch of all images, everything included; the textbook's is scaled to as many images."""
    task = bench.kits["float32"].task
    count = bench.size.textbook_images
    model, optimizer = plain_network(bench)
    labels = task.manifest["label"].tolist()[:count]
    files = encoded(task.images[: min(count, 512)].cpu())
    files = [files[i % len(files)] for i in range(count)]
    batches = textbook.loader(files, labels, BATCH, bench.size.workers)
    plain = textbook.epoch(model, optimizer, batches, bench.device)
    calls: dict[str, Callable[[], object]] = {TEXTBOOK: plain}
    for name, kit in bench.kits.items():
        calls[name] = kit.epoch
    seconds = bench.turns(calls)
    seconds[TEXTBOOK] *= bench.size.train / count
    what = f"textbook's workers; {count} images, scaled to {bench.size.train}"
    bench.note(what, float(bench.size.workers))
    note_times(bench, f"epoch of {bench.size.train} images", seconds, 1.0, "s")
    memory = getattr(torch.get_device_module(bench.device), "max_memory_allocated", None)
    if memory is not None:
        bench.note(
            "memory on the device at its highest, all variants at once", memory() / 1e9, "GB"
        )
    bench.epoch_seconds = {str(name): float(seconds[name].median()) for name in seconds}


def run(bench: Bench) -> None:
    """``fit`` for the paper's epochs, in the fastest variant, and what of its time is no step."""
    measured = {name: bench.epoch_seconds.get(name, float("inf")) for name in bench.kits}
    fastest = min(measured, key=lambda name: measured[name])
    source = bench.kits[fastest].task
    images, manifest = with_test_images(source, bench.size.test)
    bench.kits.clear()  # their memory on the device
    epochs = bench.size.epochs
    if measured[fastest] < float("inf"):
        affordable = 0.9 * bench.left / (1.1 * measured[fastest] + 0.4)
        epochs = max(2, min(epochs, int(affordable)))
    config = dataclasses.replace(source.config, epochs=epochs, lr=1e-4, weights="")
    config = dataclasses.replace(config, checkpoint_minutes=5.0)
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        done = fit(config, Path(folder) / "run", progress=False, loaded=(images, manifest))
        wall = time.monotonic() - began
        passes = done.epochs["seconds"]
    bench.note(f"{epochs} epochs with fit, {fastest}: wall time", wall, "s")
    bench.note("of it the training passes", float(passes.sum()), "s")
    first = float(passes.iloc[0] - passes.iloc[1:].median())
    bench.note("of these the first one beyond the others (compiling)", first, "s")
    rest = (wall - passes.sum()) / epochs
    bench.note("beside the passes (scores, record, checkpoint, digests), an epoch", rest, "s")
    whole = wall + (bench.size.epochs - epochs) * (float(passes.iloc[1:].median()) + rest)
    how = "measured" if epochs == bench.size.epochs else f"extrapolated from {epochs}"
    goal = f"goal on an H200: under {PAPERS_GOAL:.0f} s"
    bench.note(f"{bench.size.epochs} epochs", whole, "s", how=how, goal=goal)
    if TEXTBOOK in bench.epoch_seconds:
        ratio = bench.size.epochs * bench.epoch_seconds[TEXTBOOK] / whole
        bench.note("textbook's epochs, as long a training, / fit", ratio, "times", goal="15")


def with_test_images(task: Task, count: int) -> tuple[Tensor, pd.DataFrame]:
    """Images and manifest of a task, the first of them once more as test split."""
    test = task.manifest.iloc[:count].assign(split="test")
    manifest = pd.concat([task.manifest, test], ignore_index=True)
    manifest.attrs = dict(task.manifest.attrs)
    images = task.images
    assert isinstance(images, Tensor)
    return torch.cat([images, images[:count]]).cpu(), manifest


def record(bench: Bench) -> None:
    """An epoch with the record of every sample, and one without."""
    task = whole_task(bench)
    variants = {"record on": True, "record off": False}
    kits = {name: Kit(bench, task, VARIANTS["bf16"], on) for name, on in variants.items()}
    seconds = bench.turns({name: kit.epoch for name, kit in kits.items()}, 0.8)
    what = f"epoch of {bench.size.train} images, bf16"
    note_times(bench, what, seconds, 1.0, "s", base="record on")


def resume(bench: Bench) -> None:
    """A run that is killed by the system and goes on, against one that is left alone."""
    same = killed_and_whole(bench, deterministic=False)
    bench.note("killed and resumed: the same bits as left alone", str(same))
    if not same:
        same = killed_and_whole(bench, deterministic=True)
        bench.note("the same, with deterministic kernels", str(same))


def killed_and_whole(bench: Bench, deterministic: bool) -> bool:
    """Whether both runs, each in a process of its own, end with the same weights and records."""
    with tempfile.TemporaryDirectory() as place:
        whole, broken = Path(place, "whole"), Path(place, "broken")
        left_alone = start_child(bench, whole, deterministic)
        unlucky = start_child(bench, broken, deterministic)
        deadline = time.monotonic() + max(bench.left, 1)
        try:
            while not (broken / "checkpoint.pt").exists() and unlucky.poll() is None:
                time.sleep(0.02)
                if time.monotonic() > deadline:
                    raise OutOfTime
            unlucky.kill()
            unlucky.wait()
            at = "finished before it was killed"
            if not (broken / "card.json").exists():
                at = "killed by the system"
            again = start_child(bench, broken, deterministic)
            for child in (left_alone, again):
                if child.wait(timeout=max(bench.left, 1)):
                    raise RuntimeError("a child process failed; its error stands above")
        finally:
            for child in (left_alone, unlucky):
                child.kill()
        bench.note("the run to be killed", at)
        return same_bits(whole, broken)


def start_child(bench: Bench, folder: Path, deterministic: bool) -> "subprocess.Popen[bytes]":
    """A process that trains the small config in a folder."""
    command = [sys.executable, __file__, "--out", str(bench.out), "--child", str(folder)]
    command += ["--device", str(bench.device)]
    command += ["--rehearse"] * (bench.size is TINY) + ["--deterministic"] * deterministic
    environment = os.environ | ({"CUBLAS_WORKSPACE_CONFIG": ":4096:8"} if deterministic else {})
    return subprocess.Popen(command, env=environment)


def child(size: Size, device: torch.device, folder: Path, deterministic: bool) -> None:
    """Train the small config, with a checkpoint after each step, as often as it is asked to."""
    if deterministic:
        torch.use_deterministic_algorithms(True, warn_only=True)
    config = Config(
        **size.small | {"train_faces": 64, "test_faces": 20, "epochs": 4},
        model=size.network,
        device=str(device),
        checkpoint_minutes=0,
    )
    fit(config, folder, progress=False)


def same_bits(one: Path, other: Path) -> bool:
    """Whether the weights and every sample's record are the same."""
    weights = [(folder / "model.safetensors").read_bytes() for folder in (one, other)]
    records = [read_run(folder).all_samples for folder in (one, other)]
    return weights[0] == weights[1] and records[0].equals(records[1])


def accuracy(bench: Bench) -> None:
    """The small config on the CPU and on the device: overall accuracy, and the difference."""
    columns: dict[str, list[float]] = {"CPU, float32": [], "float32": [], "bf16": []}
    for seed in range(bench.size.seeds):
        config = Config(**bench.size.small, seed=seed)
        loaded = load_data(config)
        for name, scores in columns.items():
            on = "cpu" if name.startswith("CPU") else str(bench.device)
            precision = "bf16" if name == "bf16" and fast_in_bf16(bench.device) else "float32"
            how = dataclasses.replace(config, device=on, precision=precision)
            with tempfile.TemporaryDirectory() as folder:
                done = fit(how, Path(folder) / "run", progress=False, loaded=loaded)
                scores.append(float(done.epochs["test_overall"].iloc[-1]))
            bench.note(f"overall accuracy, seed {seed}, {name}", scores[-1], "%")
    table = pd.DataFrame(columns)
    for name in ("float32", "bf16"):
        apart = table[name] - table["CPU, float32"]
        spread = float(f"{apart.std():.3g}")
        what = f"overall accuracy, {name} minus the CPU's: mean over seeds"
        bench.note(what, float(apart.mean()), "points", sd=spread, n=len(apart))


def whole_task(bench: Bench) -> Task:
    """All training images of the paper's size, on the device."""
    config = Config(
        size=bench.size.pixels,
        model=bench.size.network,
        epochs=1000,
        lr=1e-4,
        device=str(bench.device),
        checkpoint_minutes=1e9,
    )
    return task_of(config, bench.device, bench.out, bench.size.train)


PARTS = {
    "golden": Part(golden, 10, 40),
    "floor": Part(floor, 15, 40),
    "step": Part(step, 100, 150),
    "epoch": Part(epoch, 110, 150),
    "run": Part(run, 110, 180),
    "record": Part(record, 25, 45),
    "resume": Part(resume, 40, 90),
    "accuracy": Part(accuracy, 40, 90),
}
KITS_ARE_NEEDED = ("floor", "step", "epoch", "run")


def carry_out(bench: Bench, names: list[str]) -> None:
    """The parts, each within its limit; what fails is noted, and the others go on."""
    for name in names:
        part, left = PARTS[name], bench.end - time.monotonic()
        bench.part, bench.part_end = name, time.monotonic() + part.limit
        print(f"{name}: about {part.estimate:.0f} s, at most {part.limit:.0f}; {left:.0f} s left")
        if left < part.estimate / 2:
            bench.note("left out", f"{left:.0f} s left, about {part.estimate:.0f} needed")
            continue
        began = time.monotonic()
        try:
            with limited(min(part.limit, left)):
                if name in KITS_ARE_NEEDED and not bench.kits:
                    make_kits(bench)
                part.measure(bench)
        except OutOfTime:
            bench.note("out of time", f"after {time.monotonic() - began:.0f} s")
        except Exception as error:  # whatever it is, the other parts are still worth having
            bench.note("failed", f"{type(error).__name__}: {str(error)[:300]}")
        bench.note("took", time.monotonic() - began, "s", estimate=part.estimate)


def make_kits(bench: Bench) -> None:
    """The kit in every variant, on the same images."""
    task = whole_task(bench)
    for name, variant in VARIANTS.items():
        bench.kits[name] = Kit(bench, task, variant)


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """OutOfTime in the middle of what takes longer (where the system has such an alarm)."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def over(number: int, frame: FrameType | None) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def card_of(device: torch.device) -> dict[str, Any]:
    """What stands in every row: the card, the versions."""
    module = torch.get_device_module(device)
    name = platform.processor() or platform.machine()
    if hasattr(module, "get_device_name"):
        name = module.get_device_name(device)
    return {
        "card": name,
        "torch": torch.__version__,
        "driver": torch.version.cuda or "",
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", default=list(PARTS), help=", ".join(PARTS))
    parser.add_argument("--out", type=Path, required=True, help="folder for gpu.csv")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--minutes", type=float, default=8.0, help="for everything")
    parser.add_argument("--rehearse", action="store_true", help="every part, on a tiny size")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--deterministic", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    began = time.monotonic()
    device = join_world(options.device).device
    size = TINY if options.rehearse else FULL
    if options.child:
        child(size, device, options.child, options.deterministic)
        return
    if device.type == "cpu" and not options.rehearse:
        sys.exit("there is no accelerator here; --device cpu --rehearse goes through every part")
    options.out.mkdir(parents=True, exist_ok=True)
    facts = card_of(device)
    print(*facts.values(), sep=", ")
    bench = Bench(device, size, options.out, began + 60 * options.minutes, facts)
    carry_out(bench, options.parts)
    print(f"wrote {options.out / 'gpu.csv'}: {len(bench.rows)} rows")


if __name__ == "__main__":
    main()

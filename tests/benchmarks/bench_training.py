"""How fast the kit trains, as ratios to a textbook loop measured in the same run. `make bench` runs
it.

    python tests/benchmarks/bench_training.py [loss] [step] [epoch] [floor] [profile]
        [record] [scale] [methods] [--size 48] [--out F.csv] [--precision bf16] [--compile default]

Every comparison takes turns: A, B, A, B, ..., and gives the median of the ratios B / A of
neighbours, their quartiles and n. Times are wall-clock seconds.
"""

import argparse
import collections
import contextlib
import dataclasses
import functools
import io
import platform
import statistics
import sys
import tempfile
import threading
from pathlib import Path
from unittest import mock

import pandas as pd
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
import textbook  # noqa: E402
from roofline import Roofline, timed  # noqa: E402

from nla import Config, NLALoss, models  # noqa: E402
from nla.data import make_faces  # noqa: E402
from nla.losses import LossTerms, Method  # noqa: E402
from nla.training import loop  # noqa: E402
from nla.training.loop import Task, prepare, shared, train_epoch  # noqa: E402
from nla.training.processes import join_world  # noqa: E402

ROWS = []
SCALES = (5_000, 20_000, 80_000, 300_000)  # images, in the last part


def compare(what, kit, other, device, n, calls=1):
    """Time ``kit`` and ``other`` in turns; note the median ratio and its quartiles."""
    times = {kit: [], other: []}
    for _ in range(n + 1):
        for function in (kit, other):
            times[function].append(timed(function, device, calls))
    ratios = [b / a for a, b in zip(times[kit][1:], times[other][1:])]  # the first turn warms up
    low, _, high = statistics.quantiles(ratios, n=4)
    note(
        what,
        n=n,
        kit_s=statistics.median(times[kit][1:]),
        other_s=statistics.median(times[other][1:]),
        ratio=statistics.median(ratios),
        ratio_q1=low,
        ratio_q3=high,
    )


def note(what, **numbers):
    ROWS.append({"what": what, **numbers})
    print(f"{what:58s}", *(f"{name} {value:.4g}" for name, value in numbers.items()), flush=True)


def bench_loss(device, options):
    """(a) the loss, forward and backward, against two plain forms; compiled if ``--compile`` says
    so.
    """
    ours = NLALoss(checked=False, compile=options.compile != "no")
    for batch in (32, 256):
        logits, flipped = (
            torch.randn(batch, 7, device=device, requires_grad=True) for _ in range(2)
        )
        inputs = logits, flipped, torch.randint(0, 7, (batch,), device=device), 0.3
        for name, weights in (
            ("covariances inverted at each step", textbook.weights_by_inversion),
            ("one normal distribution a sample", textbook.weights_by_distribution),
        ):
            compare(
                f"loss, batch {batch}, against {name}",
                lambda i=inputs: ours(*i).total.backward(),
                lambda i=inputs, w=weights: textbook.loss(*i, w).backward(),
                device,
                31,
                200,
            )


def encoded(images, kind="jpeg"):
    files = []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(buffer, kind, quality=95)
        files.append(buffer.getvalue())
    return files


def task_of(config, device, folder, count):
    """A task of ``count`` training images of the config's size: a few hundred faces, again and
    again.
    """
    images, manifest = make_faces(
        min(count, 512), 0, size=min(config.size, 64), noisy=0.3, ambiguous=0.2
    )
    images = torch.nn.functional.interpolate(images, size=(config.size, config.size))
    rows = torch.arange(count) % len(images)
    manifest = manifest.iloc[rows].reset_index(drop=True)
    world = join_world(str(device))
    return Task(config, folder, world, images[rows].to(world.device), manifest)


class NoBar:
    def update(self):
        pass


def epochs_of(task):
    """A function that trains one more epoch."""
    state = prepare(task)
    network = shared(state.model, task)

    def epoch():
        train_epoch(task, state, network, NoBar(), threading.Event())
        state.step, state.seen, state.record = 0, 0, []

    return epoch


def config_of(options):
    model = "small_resnet" if options.size < 100 else "resnet18"
    return Config(
        size=options.size,
        model=model,
        epochs=1000,
        compile=options.compile,
        precision=options.precision,
        checkpoint_minutes=1e9,
    )


def bench_epoch(device, options, steps=None, n=5):
    """(b) an epoch of training, everything included, against the textbook loop."""
    count = 32 * (steps or options.steps)
    with tempfile.TemporaryDirectory() as folder:
        task = task_of(config_of(options), device, Path(folder), count)
        files, labels = encoded(task.images.cpu()), task.manifest["label"].tolist()
        model = getattr(models, task.config.model)().to(device)
        optimizer = torch.optim.Adam(model.parameters(), lr=task.config.lr, weight_decay=1e-4)
        for workers in options.workers:
            plain = textbook.epoch(
                model, optimizer, textbook.loader(files, labels, 32, workers), device
            )
            compare(
                f"epoch of {count} images at {options.size}, textbook with {workers} workers",
                epochs_of(task),
                plain,
                device,
                n,
            )


def bench_step(device, options):
    """(b) one training step, pixels to new weights, against the textbook's step on a batch that is
    ready.
    """
    bench = config_of(options)
    with tempfile.TemporaryDirectory() as folder:
        task = task_of(bench, device, Path(folder), 32)
        data = textbook.Faces(encoded(task.images.cpu()), task.manifest["label"].tolist())
        model = getattr(models, bench.model)().to(device)
        optimizer = torch.optim.Adam(model.parameters(), lr=bench.lr, weight_decay=1e-4)
        ready = torch.utils.data.default_collate([data[i] for i in range(32)])
        epoch = epochs_of(task)  # of one step
        compare(
            f"step of 32 images at {options.size}, textbook's batch made in the step",
            epoch,
            lambda: textbook.train_step(
                model,
                optimizer,
                torch.utils.data.default_collate([data[i] for i in range(32)]),
                0.3,
                device,
            ),
            device,
            9,
            3 if options.size < 100 else 1,
        )
        compare(
            f"step of 32 images at {options.size}, textbook's batch ready made",
            epoch,
            lambda: textbook.train_step(model, optimizer, ready, 0.3, device),
            device,
            9,
            3 if options.size < 100 else 1,
        )


def bench_floor(device, options):
    """(b) an epoch of the kit, beside the least that it can take on this machine: by the rates of
    its operations and bytes, and by the time that the library's convolutions take."""
    count = 32 * options.steps
    with tempfile.TemporaryDirectory() as folder:
        epoch = epochs_of(task_of(config_of(options), device, Path(folder), count))
        taken = [timed(epoch, device) for _ in range(6)][1:]  # the first one warms up
        bf16 = options.precision == "bf16" or options.precision == "auto" and device.type != "cpu"
        with Roofline(device, [torch.float32] + [torch.bfloat16] * bf16) as least:
            epoch()
        with torch.profiler.profile() as profile:
            epoch()
    if device.type == "cpu":  # on others the operations only queue their work
        convolutions = (
            sum(
                row.self_cpu_time_total
                for row in profile.key_averages()
                if "convolution" in row.key
            )
            / 1e6
        )
        note(
            f"epoch of {count} images at {options.size}, its convolutions alone",
            n=1,
            kit_s=statistics.median(taken),
            other_s=convolutions,
            ratio=convolutions / statistics.median(taken),
        )
    ratios = [least.seconds / seconds for seconds in taken]
    low, middle, high = statistics.quantiles(ratios, n=4)
    note(
        f"epoch of {count} images at {options.size}, floor of its operations and bytes",
        n=len(taken),
        kit_s=statistics.median(taken),
        other_s=least.seconds,
        ratio=middle,
        ratio_q1=low,
        ratio_q3=high,
        GFLOP=least.flops / 1e9,
        GB=least.bytes / 1e9,
        GFLOP_per_s=max(least.rates.values()) / 1e9,
        GB_per_s=least.copy_rate / 1e9,
    )


GROUPS = {  # of a step's operations, by what stands in their names; the first that fits
    "convolutions, backward": ("convolution_backward",),
    "convolutions, forward": ("convolution", "conv2d"),
    "batch norm": ("batch_norm", "BatchNorm"),
    "ReLU": ("relu", "clamp_min", "threshold_backward", "ReluBackward"),
    "optimiser": ("adam", "Adam", "Optimizer"),
    "loss": ("KnownGradient",),
}
PLACES = {  # the other operations, by what they happen in
    "augmentation": (loop, "augment"),
    "forward, the rest": (loop, "outputs"),
    "record": (LossTerms, "record"),
    "loss": (Method, "on_outputs"),
    "backward, the rest": (torch.Tensor, "backward"),
    "optimiser": (torch.optim.Adam, "step"),
}


def bench_profile(device, options):
    """(b) where an epoch's time goes, as shares: operations by themselves, the others by place."""
    if device.type != "cpu":
        return  # there the operations only queue their work
    count = 32 * options.steps
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as changes:
        for place, (owner, name) in PLACES.items():
            function = functools.wraps(getattr(owner, name))(ranged(place, getattr(owner, name)))
            changes.enter_context(mock.patch.object(owner, name, function))
        epoch = epochs_of(task_of(config_of(options), device, Path(folder), count))
        epoch()
        profiles = [profiled(epoch) for _ in range(5)]
    table = pd.DataFrame(profiles).fillna(0.0)
    total = table.sum(axis=1)
    convolutions = table.filter(like="convolutions").sum(axis=1)
    what = f"epoch of {count} images at {options.size}"
    for name, seconds in sorted(table.items(), key=lambda item: -item[1].sum()):
        share = seconds / total
        note(f"{what}, {name}", n=len(table), kit_s=seconds.median(), share=share.median())
    low, middle, high = statistics.quantiles(total / convolutions, n=4)
    note(
        f"{what}, all over its convolutions",
        n=len(table),
        kit_s=total.median(),
        other_s=convolutions.median(),
        ratio=middle,
        ratio_q1=low,
        ratio_q3=high,
    )


def profiled(epoch):
    """The seconds of each group of operations in an epoch."""
    with torch.profiler.profile() as profile:
        epoch()
    seconds = collections.Counter()
    for event in profile.events():
        seconds[group_of(event)] += event.self_cpu_time_total / 1e6
    return seconds


def ranged(place, function):
    """``function`` with its calls marked in the profile."""

    def call(*arguments, **options):
        with torch.profiler.record_function(f"in: {place}"):
            return function(*arguments, **options)

    return call


def group_of(event):
    """The group that an operation of the profile belongs to."""
    for group, parts in GROUPS.items():
        if any(part in event.name for part in parts):
            return group
    while event is not None:
        if event.name.startswith("in: "):
            return event.name.removeprefix("in: ")
        event = event.cpu_parent
    return "loop, feed and the rest"


def bench_record(device, options):
    """(c) an epoch with the per-sample record against one without."""
    with tempfile.TemporaryDirectory() as folder:
        count = 32 * options.steps
        on = task_of(config_of(options), device, Path(folder), count)
        off = dataclasses.replace(on, config=dataclasses.replace(on.config, record=False))
        compare(
            f"epoch of {count} images at {options.size}, record off (kit) and on",
            epochs_of(off),
            epochs_of(on),
            device,
            11,
        )


def bench_scale(device, options):
    """(d) what an epoch costs as the data set grows: seconds, and the memory of the process at its
    highest.
    """
    bench = dataclasses.replace(config_of(options), size=24, batch_size=256)
    for count in SCALES:
        with tempfile.TemporaryDirectory() as folder:
            task = task_of(bench, device, Path(folder), count)
            epoch, before = epochs_of(task), resident()
            seconds = timed(epoch, device)
            note(
                f"epoch of {count} images at 24, batch 256",
                n=1,
                kit_s=seconds,
                us_per_image=1e6 * seconds / count,
                pixels_MB=task.images.nbytes / 1e6,
                memory_beside_pixels_MB=(resident() - before) / 1e6,
            )


def resident():
    """Bytes of memory that this process holds."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def bench_sizes(device, options, n=7):
    """What smaller images save: an epoch of them against one of whole ones, as ``--start-size``
    grows them from half the size on.
    """
    count = 32 * options.steps
    with tempfile.TemporaryDirectory() as folder:
        task = task_of(config_of(options), device, Path(folder), count)
        growing = dataclasses.replace(task.config, start_size=max(16, options.size // 2), epochs=4)
        whole = epochs_of(task)
        for size in sorted({growing.size_at(epoch) for epoch in range(4)} - {options.size}):
            config = dataclasses.replace(task.config, start_size=size)
            small = epochs_of(dataclasses.replace(task, config=config))
            compare(
                f"epoch of {count} images at {size}, then at {options.size}",
                small,
                whole,
                device,
                n,
            )


def bench_methods(device, options, n=7):
    """What a method costs: an epoch of it against one of cross-entropy, record included."""
    count = 32 * options.steps
    with tempfile.TemporaryDirectory() as folder:
        task = task_of(config_of(options), device, Path(folder), count)
        epochs = {}
        for loss in ("cross_entropy", "logit_adjusted", "malt", "elr", "ldam", "nla", "rema_c"):
            config = dataclasses.replace(task.config, loss=loss)
            epochs[loss] = epochs_of(dataclasses.replace(task, config=config))
        plain = epochs.pop("cross_entropy")
        for loss, epoch in epochs.items():
            what = f"epoch of {count} images at {options.size}, cross-entropy, then {loss}"
            compare(what, plain, epoch, device, n)


BENCHES = {
    "loss": bench_loss,
    "step": bench_step,
    "epoch": bench_epoch,
    "floor": bench_floor,
    "profile": bench_profile,
    "record": bench_record,
    "scale": bench_scale,
    "sizes": bench_sizes,
    "methods": bench_methods,
}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("benches", nargs="*", default=list(BENCHES), help=", ".join(BENCHES))
    parser.add_argument(
        "--size", type=int, default=48, help="pixels; from 100 on the network is ResNet-18"
    )
    parser.add_argument("--steps", type=int, default=40, help="of 32 images, in an epoch")
    parser.add_argument(
        "--workers", type=int, nargs="*", default=[0, 2], help="of the textbook's DataLoader"
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--compile", default="no")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    device = join_world(options.device).device
    name = (
        torch.get_device_module(device).get_device_name(device)
        if device.type != "cpu"
        else platform.processor()
    )
    threads = f"{torch.get_num_threads()} threads"
    machine = f"{name or platform.machine()}, {threads}, torch {torch.__version__}"
    print(machine)
    for bench in options.benches:
        BENCHES[bench](device, options)
    if options.out:
        table = pd.DataFrame(ROWS).assign(
            machine=machine, compile=options.compile, precision=options.precision
        )
        if options.out.exists():
            table = pd.concat([pd.read_csv(options.out), table])
        options.out.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(options.out, index=False, float_format="%.5g")


if __name__ == "__main__":
    main()

"""Augmentation in batch against one image at a time, and packing against a plain loop, in one run.

    python tests/benchmarks/bench_images.py --out bench_images.csv
    python tests/benchmarks/bench_images.py --faces 283901

The second packs so many generated faces and trains an epoch on them.

The plain pipelines do what training needs of each image, both views included, with PIL and
torchvision's transforms: ``memory`` starts from decoded images, ``jpeg`` decodes each from bytes in
memory. Repetitions alternate, so that a busy machine slows all of them; the ratio is taken within
each repetition. Spread: the quartiles. The clock ``wall`` is what a user waits; ``cpu``, the
processor's time, is the fair one on a machine that others use as well.
"""

import argparse
import io
import math
import os
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torchvision.transforms import v2

from nla import Config, fit, read_run
from nla.data import make_faces, pack, read_folder
from nla.data.images import Augmentation, augment, two_views

RECIPE = Augmentation()
PLAIN = v2.Compose(
    [
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
        v2.RandomApply(
            [v2.GaussianNoise(0.0, math.sqrt(RECIPE.noise_variance) / 255)], RECIPE.noise_p
        ),
        v2.Normalize(RECIPE.mean, RECIPE.std),
        v2.RandomHorizontalFlip(RECIPE.flip_p),
        v2.RandomErasing(RECIPE.erase_p, RECIPE.erase_area, RECIPE.erase_ratio),
    ]
)


def plain(pictures):
    """(2B, C, H, W) from a list of PIL images or of JPEG bytes, one at a time."""
    opened = (Image.open(io.BytesIO(p)) if isinstance(p, bytes) else p for p in pictures)
    views = [PLAIN(picture) for picture in opened]
    return torch.stack(views + [v2.functional.horizontal_flip(view) for view in views])


def jpeg(picture):
    stream = io.BytesIO()
    picture.save(stream, "jpeg", quality=95)
    return stream.getvalue()


def of_all_processes():
    """Seconds that the processor worked for this process and for those it has begun and ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


PACKED = {48: (2000, 900), 224: (1200,)}  # images by size; 900 are decoded by one process
CLOCKS = {"wall": time.perf_counter, "cpu": of_all_processes}


def seconds(call):
    """Seconds that passed, and seconds that the processor worked for this call: alike on an idle
    machine.
    """
    began = {clock: read() for clock, read in CLOCKS.items()}
    call()
    return {clock: read() - began[clock] for clock, read in CLOCKS.items()}


def compare(calls, repetitions, images, **facts):
    """Time the ``calls`` in turn: images per second, and how many times slower than the first, with
    quartiles.
    """
    for call in calls.values():
        call()
    times = pd.DataFrame(
        [
            {
                (clock, name): value
                for name, call in calls.items()
                for clock, value in seconds(call).items()
            }
            for _ in range(repetitions)
        ]
    )
    for clock, name in times:
        speed, ratio = (
            images / times[clock, name],
            times[clock, name] / times[clock, next(iter(calls))],
        )
        yield (
            facts
            | {"what": name, "clock": clock, "images": images, "n": repetitions}
            | {
                f"{label}{suffix}": values.quantile(q)
                for suffix, q in (("", 0.5), ("_q1", 0.25), ("_q3", 0.75))
                for label, values in (("images_per_s", speed), ("times_slower", ratio))
            }
        )


def augmentation(size, batch, repetitions):
    images = make_faces(batch, 0, size)[0]
    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
    files, generator = [jpeg(picture) for picture in pictures], torch.Generator().manual_seed(0)
    yield from compare(
        {
            "batched": lambda: two_views(augment(images, RECIPE, generator)),
            "plain, memory": lambda: plain(pictures),
            "plain, jpeg": lambda: plain(files),
        },
        repetitions,
        batch,
        part="augmentation",
        size=size,
    )


def packing(size, count, repetitions):
    """``pack`` of JPEG files, and opening the store, against decoding them one by one into an
    array.

    Packing includes the digest of each image and the file on disk, opening verifies all digests.
    """
    with tempfile.TemporaryDirectory() as folder:
        for i, image in enumerate(make_faces(count, 0, size)[0]):
            path = Path(folder, "faces", ("happy", "angry")[i % 2], f"{i}.jpg")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(jpeg(Image.fromarray(image.permute(1, 2, 0).numpy())))
        manifest, stores = read_folder(f"{folder}/faces"), iter(range(10**6))

        def loop():
            whole = np.empty((count, 3, size, size), np.uint8)
            for i, path in enumerate(manifest["path"]):
                whole[i] = np.asarray(
                    Image.open(f"{folder}/faces/{path}").convert("RGB")
                ).transpose(2, 0, 1)

        def packed(store):
            return pack(f"{folder}/faces", manifest, f"{folder}/{store}")

        packed("whole")
        yield from compare(
            {
                "plain loop": loop,
                "pack": lambda: packed(next(stores)),
                "open the store": lambda: packed("whole"),
            },
            repetitions,
            count,
            part="packing",
            size=size,
        )


def memory():
    """Resident memory in GB: of the process's own (anonymous), of mapped files, and the peak of
    both; of this process alone, not of those that decode images.
    """
    status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    now = {
        name: int(status[key].split()[0]) / 2**20
        for name, key in (("anonymous", "RssAnon"), ("files", "RssFile"))
    }
    return now | {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}


def many(count, size, folder):
    """Write ``count`` different faces as JPEG files, pack them, and train an epoch on the store,
    record and all.
    """
    drawn = make_faces(2000, 0, size)[0].permute(0, 2, 3, 1).numpy()
    for i in range(
        len(list(Path(folder).glob("faces/*/*/*"))), count
    ):  # go on where an earlier call stopped
        face = drawn[i % 2000].copy()
        face[:8, :8] = [
            i // 2000 >> 4 << 4,
            (i // 2000 & 15) << 4,
            0,
        ]  # a corner that tells the repetitions apart
        split = "train" if i % 100 else "test"
        path = Path(
            folder, "faces", split, ("happy", "angry", "sad")[i % 3], f"{i // 1000}_{i % 1000}.jpg"
        )
        if i < 300:
            path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(face).save(path, quality=95)
    steps, began = [{"step": "start"} | memory()], time.perf_counter()

    def step(name):
        nonlocal began
        steps.append({"step": name, "seconds": time.perf_counter() - began} | memory())
        began = time.perf_counter()

    began = time.perf_counter()
    manifest = read_folder(f"{folder}/faces")
    step("read")
    pack(f"{folder}/faces", manifest, f"{folder}/packed")
    step("pack")
    pack(f"{folder}/faces", manifest, f"{folder}/packed")
    step("open again, digests verified")
    config = Config(
        data="folder", root=f"{folder}/faces", cache=f"{folder}/packed", epochs=1, batch_size=256
    )
    run = fit(config, f"{folder}/run", progress=False)
    step("an epoch of training, NLA, both views")
    read_run(run.folder).samples(0)
    step("the run opened, one epoch read")
    return pd.DataFrame(steps).assign(images=count, size=size)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="a csv for the table")
    parser.add_argument("--repetitions", type=int, default=21)
    parser.add_argument("--packings", type=int, default=9)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--faces", type=int, help="measure memory with so many faces instead")
    parser.add_argument(
        "--folder", type=Path, help="with --faces: where to write them, and leave them"
    )
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count())))
    if options.faces:
        with tempfile.TemporaryDirectory() as folder:
            table = many(options.faces, 48, options.folder or folder)
    else:
        rows = []
        for size, counts in PACKED.items():
            rows += augmentation(size, options.batch, options.repetitions)
            for count in counts:
                rows += packing(size, count, options.packings)
        table = pd.DataFrame(rows)
    print(table.to_string(index=False, float_format="{:.3g}".format))
    if options.out:
        table.to_csv(options.out, index=False)


if __name__ == "__main__":
    main()

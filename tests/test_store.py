import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fake_data as fake
import numpy as np
import pandas as pd
import pytest
import torch
from filelock import FileLock
from hypothesis import HealthCheck, given, settings
from PIL import Image
from test_datasets import MUTATION, mutate, refused

from nla.data import (
    load,
    make_faces,
    pack,
    read_fer2013,
    read_folder,
    read_pixels,
    read_rafdb,
    store,
)
from nla.data.manifest import DataError


def folder_of(root, count=7, size=12):
    """A folder of pictures of happy and angry, and its manifest."""
    for i in range(count):
        fake.picture(root / ("happy", "angry")[i % 2] / f"{i}.png", i, size)
    return read_folder(root)


def one(path):
    return pd.DataFrame({"path": [path.name]})


# ------------------------------------------------------------------------------------------------ decoding


def test_pixels_belong_to_their_rows(tmp_path):
    manifest = folder_of(tmp_path)
    images = read_pixels(tmp_path, manifest)
    assert images.dtype == torch.uint8 and images.shape == (7, 3, 12, 12)
    for image, path in zip(images, manifest["path"], strict=True):
        assert np.array_equal(
            image.permute(1, 2, 0).numpy(), np.asarray(Image.open(tmp_path / path))
        )


def test_pixels_of_the_csv(tmp_path):
    fake.fer2013(tmp_path, (0, 1, 2), ("Training", "Training", "PublicTest"))
    images, manifest = load("fer2013", tmp_path)
    assert images.shape == (3, 1, 48, 48)
    for i, image in enumerate(images):
        assert image.flatten().tolist() == list(map(int, fake.fer_pixels(i).split()))
    bigger = read_pixels(tmp_path, manifest[1:], size=96, channels=3)
    assert bigger.shape == (2, 3, 96, 96) and torch.equal(bigger[:, 0], bigger[:, 2])
    assert abs(bigger[0].float().mean() - images[1].float().mean()) < 1


@pytest.mark.parametrize(
    "text, message",
    [
        ("0 " * 2303, "2303 pixels"),
        ("0 " * 2305, "2305 pixels"),
        ("0 " * 2303 + "256", "pixels up to 256"),
        ("0 " * 2303 + "-1", "not numbers"),
        ("0 " * 2303 + "x", "not numbers"),
        ("0 " * 2303 + "1.5", "not numbers"),
        ("", "not numbers"),
        ("0 " * 2303 + "9" * 30, "pixels up to"),
    ],
)
def test_wrong_pixel_strings_name_file_and_line(tmp_path, text, message):
    path = fake.fer2013(tmp_path, (0, 1), ("Training", "PublicTest"))
    lines = path.read_text().split("\n")
    path.write_text("\n".join([*lines[:2], f"1,{text},PublicTest", ""]))
    assert "fer2013.csv, line 3: not a whole image" in refused(message, load, "fer2013", tmp_path)


def test_every_mode_becomes_eight_bits(tmp_path):
    ramp = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    grey, colour = (
        Image.fromarray(ramp),
        Image.fromarray(np.stack([ramp, 255 - ramp, ramp // 2], axis=-1)),
    )
    Image.fromarray(ramp.astype(np.uint16) * 257).save(tmp_path / "16bit.png")
    grey.save(tmp_path / "grey.png")
    grey.convert("1").save(tmp_path / "bits.png")
    colour.save(tmp_path / "rgb.png")
    colour.convert("RGBA").save(tmp_path / "alpha.png")
    colour.quantize(64).save(tmp_path / "palette.png")
    Image.fromarray(ramp.astype(np.float32)).save(tmp_path / "fractions.tif")
    refused("fractions of unknown range", read_pixels, tmp_path, one(tmp_path / "fractions.tif"))
    (tmp_path / "fractions.tif").unlink()
    colour.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=100)
    read = {
        path.name: read_pixels(tmp_path, one(path))[0].numpy().astype(int)
        for path in tmp_path.iterdir()
    }
    assert np.array_equal(read["16bit.png"][0], ramp) and np.array_equal(read["grey.png"][0], ramp)
    assert set(np.unique(read["bits.png"])) == {0, 255} and read["bits.png"].shape == (1, 8, 8)
    assert np.array_equal(read["alpha.png"], read["rgb.png"]) and read["rgb.png"].shape == (3, 8, 8)
    assert abs(read["palette.png"] - read["rgb.png"]).mean() < 2
    assert abs(read["cmyk.jpg"] - read["rgb.png"]).mean() < 8
    assert read_pixels(tmp_path, one(tmp_path / "rgb.png"), channels=1).shape == (1, 1, 8, 8)
    assert read_pixels(tmp_path, one(tmp_path / "grey.png"), channels=3).shape == (1, 3, 8, 8)


def test_face_boxes_are_cut_out(tmp_path):
    pixels = np.zeros((30, 40, 3), np.uint8)
    pixels[6:16, 5:25] = 200
    Image.fromarray(pixels).save(tmp_path / "a.png")
    box = pd.DataFrame(
        {"path": ["a.png"], "box_x": 5, "box_y": 6, "box_width": 20, "box_height": 10}
    )
    assert (
        read_pixels(tmp_path, box).shape == (1, 3, 10, 20)
        and (read_pixels(tmp_path, box) == 200).all()
    )
    assert read_pixels(tmp_path, box.assign(box_width=500, box_x=-3)).shape == (1, 3, 10, 40)
    refused("a.png, row 0: .*outside the image", read_pixels, tmp_path, box.assign(box_x=40))


def test_turned_photographs_stand_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((8, 16, 3), np.uint8)).save(tmp_path / "a.jpg", exif=exif)
    assert read_pixels(tmp_path, one(tmp_path / "a.jpg")).shape == (1, 3, 16, 8)


@pytest.mark.parametrize(
    "damage",
    [
        lambda b: b"",
        lambda b: b[: len(b) // 2],
        lambda b: b"no image at all",
        lambda b: b"\0" * 20 + b[20:],
    ],
)
@pytest.mark.parametrize("name", ["3.jpg", "3.png"])
def test_damaged_images_are_refused_and_nothing_is_written(tmp_path, damage, name):
    folder_of(tmp_path / "faces", 3)
    path = fake.picture(tmp_path / "faces/angry" / name, 3)
    path.write_bytes(damage(path.read_bytes()))
    manifest = read_folder(tmp_path / "faces")
    row = manifest.index[manifest["path"] == f"angry/{name}"][0]
    message = refused("not a whole image", read_pixels, tmp_path / "faces", manifest)
    assert f"{name}, row {row}" in message
    refused("not a whole image", pack, tmp_path / "faces", manifest, tmp_path / "packed")
    assert not list((tmp_path / "packed").glob("*.npy"))


def test_a_huge_image_is_refused_before_it_is_decoded(tmp_path):
    Image.new("1", (9000, 9000)).save(tmp_path / "huge.png")
    refused("9000 x 9000 pixels is too large", read_pixels, tmp_path, one(tmp_path / "huge.png"))


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    root = tmp_path_factory.mktemp("samples")
    files = [fake.picture(root / f"0.{end}", 5, 16) for end in ("jpg", "png", "bmp", "webp", "tif")]
    return [(path, path.read_bytes()) for path in files]


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # said of damaged metadata
@given(MUTATION)
@settings(max_examples=160, deadline=None, suppress_health_check=list(HealthCheck))
def test_mutated_images_are_read_or_refused(samples, changes):
    for path, content in samples:  # five formats, so 800 inputs
        path.write_bytes(mutate(content, changes))
        try:
            images = read_pixels(path.parent, one(path))
        except DataError as error:
            assert path.name in str(error)
        else:
            assert images.dtype == torch.uint8 and images.ndim == 4 and images.shape[1] in (1, 3)


# ------------------------------------------------------------------------------------------------ the store


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(store, "BLOCK", 2)


@pytest.fixture
def decoded(monkeypatch):
    """The list of files decoded so far."""
    files, original = [], store.open_image
    monkeypatch.setattr(
        store, "open_image", lambda path, box: files.append(path) or original(path, box)
    )
    return files


def test_pack_is_read_pixels_and_happens_once(tmp_path, small_blocks, decoded):
    manifest, seen = folder_of(tmp_path / "faces"), []
    packed = pack(
        tmp_path / "faces", manifest, tmp_path / "packed", progress=lambda *done: seen.append(done)
    )
    assert torch.equal(packed[:], read_pixels(tmp_path / "faces", manifest))
    assert seen == [(2, 7), (4, 7), (6, 7), (7, 7)]
    decoded.clear()
    again, _ = load("folder", tmp_path / "faces", cache=tmp_path / "packed")
    assert torch.equal(again[:], packed[:]) and not decoded
    assert len(list((tmp_path / "packed").glob("*.npy"))) == 2  # pixels and checksums


def test_an_interrupted_pack_goes_on(tmp_path, small_blocks, decoded):
    manifest = folder_of(tmp_path / "faces")

    def stop(done, total):
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(tmp_path / "faces", manifest, tmp_path / "packed", progress=stop)
    decoded.clear()
    packed = pack(tmp_path / "faces", manifest, tmp_path / "packed")
    assert len(decoded) == 1 + 3  # the first image for the shape, then only what was missing
    assert torch.equal(packed[:], read_pixels(tmp_path / "faces", manifest))


def stored(folder):
    """The files of the stores in ``folder``: pixels, then checksums."""
    return sorted(folder.glob("*.npy"), key=lambda path: path.name.endswith(".sums.npy"))


@pytest.mark.parametrize(
    "damage, blocks",
    [
        (lambda npy, log: npy.write_bytes(npy.read_bytes()[:-1] + b"!"), 1),
        (lambda npy, log: npy.write_bytes(npy.read_bytes()[:-300]), 4),
        (lambda npy, log: npy.write_bytes(b"!" + npy.read_bytes()[1:]), 4),
        (lambda npy, log: npy.write_bytes(b""), 4),
        (lambda npy, log: log.unlink(), 4),
        (lambda npy, log: log.write_bytes(b"{"), 4),
        (lambda npy, log: np.save(log, [1]), 4),
        (lambda npy, log: log.write_bytes(log.read_bytes()[:-1] + b"!"), 1),
        (lambda npy, log: npy.unlink(), 4),
    ],
)
def test_a_damaged_store_is_mended(tmp_path, small_blocks, damage, blocks):
    manifest, seen = folder_of(tmp_path / "faces"), []
    pack(tmp_path / "faces", manifest, tmp_path / "packed")
    damage(*stored(tmp_path / "packed"))
    packed = pack(
        tmp_path / "faces", manifest, tmp_path / "packed", progress=lambda *done: seen.append(done)
    )
    assert torch.equal(packed[:], read_pixels(tmp_path / "faces", manifest)) and len(seen) == blocks


PACK = """
import sys
from nla.data import pack, read_folder
seen = []
pack(sys.argv[1], read_folder(sys.argv[1]), sys.argv[2], progress=lambda *done: seen.append(done))
print(len(seen))
"""


def test_of_two_packers_the_second_waits_and_finds_it_done(tmp_path):
    manifest = folder_of(tmp_path / "faces", 520)
    command = [sys.executable, "-c", PACK, tmp_path / "faces", tmp_path / "packed"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert sorted(process.communicate(timeout=100)[0].strip() for process in both) == ["0", "2"]
    assert len(stored(tmp_path / "packed")) == 2
    packed = pack(tmp_path / "faces", manifest, tmp_path / "packed")
    assert torch.equal(packed[:], read_pixels(tmp_path / "faces", manifest))


def test_a_locked_store_is_not_touched(tmp_path):
    manifest = folder_of(tmp_path / "faces")
    first = pack(tmp_path / "faces", manifest, tmp_path / "packed")
    with ThreadPoolExecutor() as pool, FileLock(next((tmp_path / "packed").glob("*.lock"))):
        waiting = pool.submit(pack, tmp_path / "faces", manifest, tmp_path / "packed")
        with pytest.raises(TimeoutError):
            waiting.result(timeout=0.5)
    assert torch.equal(waiting.result()[:], first[:])


def test_rows_of_the_store_are_gathered_by_any_index(tmp_path):
    manifest = folder_of(tmp_path / "faces")
    packed, rows = pack(tmp_path / "faces", manifest, tmp_path / "packed"), [5, 0, 5]
    pixels = read_pixels(tmp_path / "faces", manifest)
    for index in (torch.tensor(rows), rows, np.array(rows)):
        batch = packed[index]
        assert batch.dtype == torch.uint8 and torch.equal(batch, pixels[rows])
    assert (
        torch.equal(packed[2], pixels[2])
        and packed.shape == tuple(pixels.shape)
        and len(packed) == 7
    )
    some = packed.subset(torch.tensor([6, 4, 2]))
    assert len(some) == 3 and torch.equal(some[[0, 2]], pixels[[6, 2]])
    assert torch.equal(some.subset([1])[:], pixels[4:5])


def test_reading_batches_leaves_nothing_in_memory(tmp_path):
    manifest = folder_of(tmp_path / "faces", 40, 400)  # 19 MB of pixels
    packed = pack(tmp_path / "faces", manifest, tmp_path / "packed")
    packed[:4]

    def mapped():
        status = Path("/proc/self/status")
        if not status.exists():
            pytest.skip("memory by kind is told on Linux only")
        return int(re.search(r"RssFile:\s+(\d+)", status.read_text())[1])

    before = mapped()
    for rows in np.arange(40).reshape(10, 4):
        assert packed[rows].shape == (4, 3, 400, 400)
    assert mapped() - before < 4000  # kB


def test_a_stale_store_is_replaced(tmp_path, small_blocks):
    manifest = folder_of(tmp_path / "faces")
    first = pack(tmp_path / "faces", manifest, tmp_path / "packed")[:]
    before = set(stored(tmp_path / "packed"))
    fake.picture(tmp_path / "faces" / manifest["path"][3], 99)
    os.utime(tmp_path / "faces" / manifest["path"][3], ns=(1, 1))
    second = pack(tmp_path / "faces", manifest, tmp_path / "packed")
    assert [torch.equal(a, b) for a, b in zip(first, second[:], strict=True)] == [True] * 3 + [
        False
    ] + [True] * 3
    assert not before & set(stored(tmp_path / "packed")) and len(stored(tmp_path / "packed")) == 2
    pack(
        tmp_path / "faces", manifest, tmp_path / "packed", size=6
    )  # another size is another store, beside it
    assert len(stored(tmp_path / "packed")) == 4


def test_the_csv_is_packed_too(tmp_path, small_blocks):
    fake.fer2013(tmp_path, (0, 1, 2), ("Training", "Training", "PublicTest"))
    manifest = read_fer2013(tmp_path)
    assert torch.equal(
        pack(tmp_path, manifest, tmp_path / "packed")[:], read_pixels(tmp_path, manifest)
    )
    refused("fer2013.csv, line 9: not a whole image", read_pixels, tmp_path, manifest.assign(row=7))


def test_what_cannot_be_packed_is_explained(tmp_path, small_blocks):
    manifest = folder_of(tmp_path / "faces")
    fake.picture(tmp_path / "faces" / manifest["path"][4], 1, 13)
    refused(
        r"row 4: the image is \(3, 13, 13\).*give a size",
        pack,
        tmp_path / "faces",
        manifest,
        tmp_path / "packed",
    )
    assert pack(tmp_path / "faces", manifest, tmp_path / "packed", size=12).shape == (7, 3, 12, 12)
    os.remove(tmp_path / "faces" / manifest["path"][2])
    refused("listed but not there", pack, tmp_path / "faces", manifest, tmp_path / "packed")
    refused("not a whole image", read_pixels, tmp_path / "faces", manifest)
    (tmp_path / "faces" / manifest["path"][2]).symlink_to(tmp_path / "faces" / manifest["path"][2])
    refused("listed but not there", pack, tmp_path / "faces", manifest, tmp_path / "packed")
    fake.write(tmp_path / "file", "no folder")
    refused(
        "cannot keep the packed pixels", pack, tmp_path / "faces", manifest[:1], tmp_path / "file"
    )


def test_load_names_its_sets(tmp_path, monkeypatch):
    refused("no data set is called 'mnist'; there are rafdb", load, "mnist", tmp_path)
    fake.rafdb(tmp_path / "rafdb")
    monkeypatch.setenv("NLA_DATA_ROOT", str(tmp_path))
    images, manifest = load("rafdb", size=10)
    assert images.shape == (12, 3, 10, 10) and manifest["label"].equals(
        read_rafdb(tmp_path)["label"]
    )


def test_faces_survive_a_round_trip_through_files(tmp_path):
    images, manifest = make_faces(6, 1, size=48)
    for i, image in enumerate(images):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / f"{i}.png")
    rows = "".join(f"{i}.png,{label},train\n" for i, label in enumerate(manifest["label"]))
    fake.write(tmp_path / "list.csv", "path,label,split\n" + rows)
    read, listed = load("csv", tmp_path)
    assert torch.equal(read, images) and list(listed["label"]) == list(manifest["label"])


def test_real_fer2013(data_root):
    manifest = read_fer2013(data_root)
    assert (
        0.30 < (manifest["label"] != manifest["true_label"]).mean() < 0.40
    )  # the label noise of FER2013
    assert (
        set(manifest["kind"]) == {"clean", "ambiguous", "noisy"}
        and manifest["true_label"].max() == 6
    )
    manifest = manifest.sample(300, random_state=0)
    images = read_pixels(data_root, manifest)
    assert images.shape == (len(manifest), 1, 48, 48)
    assert (images.flatten(1).amax(1) > 0).all()  # the black images are those without a face

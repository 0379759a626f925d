import os
import pickle
import re
import signal
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import fake_data as fake
import numpy as np
import pandas as pd
import pytest
import torch
from filelock import FileLock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from test_datasets import MUTATION, mutate, refused

from nla.data import (
    decoding,
    gathering,
    load,
    make_faces,
    pack,
    pixels,
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


# --------------------------------------------------------------------------------------- decoding


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


def values_of(path, values):
    """Write integers of any size as a grey file, and read it as the kit does."""
    Image.fromarray(np.array(values)).save(path)
    return read_pixels(path.parent, one(path))[0, 0].flatten().tolist()


def test_sixteen_bits_are_made_eight_by_the_largest_value(tmp_path):
    def row(kind, *values):
        return np.array([values], kind)

    path = tmp_path / "a.png"
    assert values_of(path, row(np.uint16, 0, 255, 256, 65535)) == [0, 0, 1, 255]
    assert values_of(path, row(np.uint16, 0, 15, 16, 4096)) == [0, 0, 0, 16]
    assert values_of(path, row(np.uint16, 0, 15, 16, 4095)) == [0, 0, 1, 255]
    assert values_of(path, row(np.uint16, 0, 15, 16, 256)) == [0, 0, 1, 16]
    assert values_of(path, row(np.uint16, 0, 7, 128, 255)) == [0, 7, 128, 255]
    assert values_of(path, row(np.uint16, 0, 0, 0, 0)) == [0, 0, 0, 0]
    path = tmp_path / "a.tif"  # 32 bits
    assert values_of(path, row(np.int32, 0, 255, 256, 65535)) == [0, 0, 1, 255]
    assert values_of(path, row(np.int32, 0, 7, 128, 255)) == [0, 7, 128, 255]
    refused("from 0 to 65536, are of unknown range", values_of, path, row(np.int32, 0, 65536))
    refused("from -1 to 9, are of unknown range", values_of, path, row(np.int32, -1, 9))
    refused("fractions of unknown range", values_of, path, row(np.float32, 0, 0.5))


def deep_colour(path, values):
    """A PNG of 16 bits a colour, which Pillow reads but does not write."""

    def chunk(kind, content):
        code = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + code

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)


def test_sixteen_bits_a_colour_are_made_eight_or_refused(tmp_path):
    ramp = np.stack([np.arange(64).reshape(8, 8)] * 3, axis=-1)
    deep_colour(tmp_path / "a.png", ramp * 1040)
    image = read_pixels(tmp_path, one(tmp_path / "a.png"))[0]
    assert torch.equal(image[1].int(), torch.from_numpy(ramp[..., 1] * 1040 // 256).int())
    for largest in (255, 4095):  # 8 or 12 bits in 16: Pillow keeps only what is almost nothing
        deep_colour(tmp_path / "b.png", ramp * (largest // 63))
        refused("under a sixteenth of their range", read_pixels, tmp_path, one(tmp_path / "b.png"))


def test_how_sixteen_bits_were_taken_is_told(tmp_path):
    ramp = np.arange(64, dtype=np.uint16).reshape(8, 8)
    for i, factor in enumerate((1, 4, 60, 1000)):
        fake.picture(tmp_path / "happy" / "0.png", 0, 8, "L")
        Image.fromarray(ramp * np.uint16(factor)).save(tmp_path / "happy" / f"deep{i}.png")
    for cache in (None, tmp_path / "packed"):
        _, manifest = load("folder", tmp_path, cache=cache)
        said = next(note for note in manifest.attrs["notes"] if "16 bits" in note)
        assert said.startswith("4 images") and said.endswith("2 as 8-bit, 1 as 12-bit, 1 as 16-bit")


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
    assert read_pixels(tmp_path, box.assign(box_width=50, box_x=-3)).shape == (1, 3, 10, 40)
    refused("a.png, row 0: .*outside the image", read_pixels, tmp_path, box.assign(box_x=40))
    already_cut = box.assign(box_x=30, box_width=180)
    message = refused("largely outside the image of 40 x", read_pixels, tmp_path, already_cut)
    assert "leave the columns of the box out" in message


def test_a_box_of_the_picture_before_it_was_set_upright_is_refused(tmp_path):
    orientation = Image.Exif()
    orientation[274] = 6  # turned by a quarter
    Image.new("RGB", (100, 60)).save(tmp_path / "a.jpg", exif=orientation)
    box = pd.DataFrame(
        {"path": ["a.jpg"], "box_x": 0, "box_y": 0, "box_width": 90, "box_height": 50}
    )
    refused("a.jpg, row 0: .*fits the image as stored, 100 x 60", read_pixels, tmp_path, box)
    upright = box.assign(box_width=50, box_height=90)
    assert read_pixels(tmp_path, upright).shape == (1, 3, 90, 50)


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


# --------------------------------------------------------------------------------------- the store


@pytest.fixture(params=["one process", "processes"])
def small_parts(request, monkeypatch):
    """Images are decoded two at a time, here or, as large sets are on Linux, by other processes."""
    monkeypatch.setattr(gathering, "PART", 2)
    monkeypatch.setattr(gathering, "MANY", 1 if request.param == "processes" else 1000)


@pytest.fixture
def decoded(monkeypatch):
    """The list of files decoded so far."""
    files, original = [], decoding.read_image

    def counted(path, *where):
        files.append(path)
        return original(path, *where)

    monkeypatch.setattr(decoding, "read_image", counted)
    return files


def stored(folder):
    return sorted(folder.glob("*.npy"))


def test_pack_is_read_pixels_and_happens_once(tmp_path, small_parts, decoded):
    manifest, seen = folder_of(tmp_path / "faces"), []
    packed = pack(
        tmp_path / "faces", manifest, tmp_path / "packed", progress=lambda *done: seen.append(done)
    )
    assert torch.equal(packed[:], read_pixels(tmp_path / "faces", manifest))
    assert seen == [(2, 7), (4, 7), (6, 7), (7, 7)]
    decoded.clear()
    again, _ = load("folder", tmp_path / "faces", cache=tmp_path / "packed")
    assert torch.equal(again[:], packed[:]) and not decoded
    assert len(stored(tmp_path / "packed")) == 1
    whole = np.load(stored(tmp_path / "packed")[0])  # anybody can read it
    assert np.array_equal(whole, packed[:].numpy())


def test_an_interrupted_pack_leaves_nothing(tmp_path, small_parts):
    manifest = folder_of(tmp_path / "faces")

    def stop(done, total):
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(tmp_path / "faces", manifest, tmp_path / "packed", progress=stop)
    assert [path.suffix for path in (tmp_path / "packed").iterdir()] in ([".lock"], [])
    packed = pack(tmp_path / "faces", manifest, tmp_path / "packed")
    assert torch.equal(packed[:], read_pixels(tmp_path / "faces", manifest))


FILL = """
import resource, sys
from nla.data import DataError, gathering, pack, read_folder
gathering.MANY = int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))  # as a full disk, an error when written
try:
    pack(sys.argv[1], read_folder(sys.argv[1]), sys.argv[2])
except DataError as error:
    print(error)
"""


@pytest.mark.parametrize("many", ["1", "1000"])  # it is another process that cannot write, or not
def test_a_full_disk_is_explained_and_nothing_half_written_stays(tmp_path, many):
    folder_of(tmp_path / "faces")  # 3024 bytes of pixels
    command = [sys.executable, "-c", FILL, tmp_path / "faces", tmp_path / "packed", many]
    said = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert "cannot keep the packed pixels there (File too large); free space" in said.stdout
    assert [path for path in (tmp_path / "packed").iterdir() if path.suffix != ".lock"] == []


def flipped(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        lambda npy: flipped(npy, 200),
        lambda npy: flipped(npy, 128 + 7 * 432 - 1),  # the last pixel
        lambda npy: flipped(npy, 128 + 7 * 432 + 128 + 9),  # what is known of the first image
        lambda npy: flipped(npy, -1),
        lambda npy: flipped(npy, 0),
        lambda npy: flipped(npy, 70),
        lambda npy: npy.write_bytes(npy.read_bytes()[:-1]),
        lambda npy: npy.write_bytes(npy.read_bytes()[:-300]),
        lambda npy: npy.write_bytes(npy.read_bytes()[:1000]),
        lambda npy: npy.write_bytes(b""),
        lambda npy: npy.unlink(),
        lambda npy: np.save(npy, np.load(npy)),  # without its digests
    ],
)
def test_a_damaged_store_is_packed_anew(tmp_path, damage, decoded):
    manifest = folder_of(tmp_path / "faces")
    pack(tmp_path / "faces", manifest, tmp_path / "packed")
    damage(*stored(tmp_path / "packed"))
    decoded.clear()
    packed = pack(tmp_path / "faces", manifest, tmp_path / "packed")
    assert len(set(decoded)) == 7
    assert torch.equal(packed[:], read_pixels(tmp_path / "faces", manifest))
    decoded.clear()
    pack(tmp_path / "faces", manifest, tmp_path / "packed")
    assert not decoded


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
    assert sorted(process.communicate(timeout=100)[0].strip() for process in both) == ["0", "33"]
    assert len(stored(tmp_path / "packed")) == 1
    packed = pack(tmp_path / "faces", manifest, tmp_path / "packed")
    assert torch.equal(packed[:], read_pixels(tmp_path / "faces", manifest))


def test_what_another_packs_is_waited_for_and_what_is_whole_is_not(tmp_path):
    manifest = folder_of(tmp_path / "faces")
    first = pack(tmp_path / "faces", manifest, tmp_path / "packed")
    with ThreadPoolExecutor() as pool, FileLock(next((tmp_path / "packed").glob("*.lock"))):
        assert torch.equal(pack(tmp_path / "faces", manifest, tmp_path / "packed")[:], first[:])
        stored(tmp_path / "packed")[0].unlink()
        waiting = pool.submit(pack, tmp_path / "faces", manifest, tmp_path / "packed")
        with pytest.raises(TimeoutError):
            waiting.result(timeout=0.5)
    assert torch.equal(waiting.result()[:], read_pixels(tmp_path / "faces", manifest))


# ------------------------------------------------------------------------------- rows and digests


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The same seven images in memory and packed."""
    root = tmp_path_factory.mktemp("both")
    manifest = folder_of(root / "faces", 7, 4)
    return read_pixels(root / "faces", manifest), pack(root / "faces", manifest, root / "packed")


KINDS = {
    "list": lambda rows: rows,
    "numpy": lambda rows: np.array(rows, np.int64),
    "numpy 32": lambda rows: np.array(rows, np.int32),
    "tensor": lambda rows: torch.tensor(rows, dtype=torch.int64),
    "tensor 32": lambda rows: torch.tensor(rows, dtype=torch.int32),
    "mask": lambda rows: np.isin(np.arange(7), rows),
    "tensor mask": lambda rows: torch.isin(torch.arange(7), torch.tensor(rows).long()),
    "list mask": lambda rows: np.isin(np.arange(7), rows).tolist(),
    "slice": lambda rows: slice(*sorted(rows)[:2]) if len(rows) > 1 else slice(*rows, None),
    "one": lambda rows: rows[0] if rows else 0,
    "numpy one": lambda rows: np.int64(rows[0] if rows else 0),
    "tensor one": lambda rows: torch.tensor(rows[0] if rows else 0),
}


@given(st.lists(st.integers(-7, 6), max_size=9), st.sampled_from(sorted(KINDS)))
@settings(deadline=None)
def test_a_selection_is_the_same_in_memory_and_packed(both, rows, kind):
    images, packed = both
    index = KINDS[kind](rows)
    chosen = packed[index]
    assert chosen.dtype == torch.uint8 and torch.equal(chosen, images[index])
    if "one" not in kind:
        assert chosen.ndim == 4
        some = packed.subset(index)
        assert torch.equal(some[:], chosen) and some.shape == tuple(chosen.shape)
        assert len(some) == len(chosen)
        if len(some):
            last = torch.tensor([len(some) - 1])
            assert torch.equal(some[last], chosen[last]) and len(some.subset(last)) == 1
        assert np.array_equal(store.digests(some), store.digests(chosen))


def test_no_row_and_one_row_are_read(tmp_path):
    manifest = folder_of(tmp_path)
    assert read_pixels(tmp_path, manifest[:0]).shape[0] == 0
    assert read_pixels(tmp_path, manifest[:0], 9, 3).shape == (0, 3, 9, 9)
    assert read_pixels(tmp_path, manifest[:1]).shape == (1, 3, 12, 12)
    refused("no image to pack", pack, tmp_path, manifest[:0], tmp_path / "packed")


def test_digests_are_alike_where_pixels_are(tmp_path, both, monkeypatch):
    images, packed = both
    known = store.digests(images)
    assert known.dtype == np.uint64 and len(set(known)) == 7
    assert np.array_equal(store.digests(images[[3, 3]]), known[[3, 3]])
    np.save(tmp_path / "plain.npy", images.numpy())  # an array without digests
    assert np.array_equal(store.digests(store.Packed(tmp_path / "plain.npy")), known)
    assert store.digests(images.view(7, 3, 2, 8))[0] != known[0]  # the shape counts
    monkeypatch.setattr(pixels, "digest", None)  # from the file, without hashing
    assert np.array_equal(store.digests(packed), known)
    assert np.array_equal(store.digests(packed.subset([2, 2, 5])), known[[2, 2, 5]])


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


def test_a_stale_store_is_replaced(tmp_path, small_parts):
    manifest = folder_of(tmp_path / "faces")
    first = pack(tmp_path / "faces", manifest, tmp_path / "packed")[:]
    before = set(stored(tmp_path / "packed"))
    fake.picture(tmp_path / "faces" / manifest["path"][3], 99)
    os.utime(tmp_path / "faces" / manifest["path"][3], ns=(1, 1))
    second = pack(tmp_path / "faces", manifest, tmp_path / "packed")
    same = [torch.equal(a, b) for a, b in zip(first, second[:], strict=True)]
    assert same == [True] * 3 + [False] + [True] * 3
    assert not before & set(stored(tmp_path / "packed")) and len(stored(tmp_path / "packed")) == 1
    # another size is another store, beside it
    pack(tmp_path / "faces", manifest, tmp_path / "packed", size=6)
    assert len(stored(tmp_path / "packed")) == 2


def test_a_stale_store_that_somebody_uses_is_read_on(tmp_path):
    manifest = folder_of(tmp_path / "set")
    first = pack(tmp_path / "set", manifest, tmp_path / "cache")
    before, digests = first[:].clone(), store.digests(first)
    fake.picture(tmp_path / "set" / manifest["path"][0], 99, 12)
    second = pack(tmp_path / "set", manifest, tmp_path / "cache")
    assert os.name == "nt" or not first.path.exists()  # Windows keeps what is open
    assert not torch.equal(second[:], before)
    for again in (first, first.subset(range(7))):
        assert torch.equal(again[:], before) and (store.digests(again) == digests).all()
    copy = pickle.loads(pickle.dumps(second.subset([3, 4])))
    assert torch.equal(copy[:], second[[3, 4]])


def test_a_store_that_nobody_has_any_more_is_closed(tmp_path):
    packed = pack(tmp_path / "set", folder_of(tmp_path / "set"), tmp_path / "cache")
    number = packed.file.number
    part = packed.subset([1])
    del packed
    assert len(part[:]) == 1 and os.fstat(number)
    del part
    with pytest.raises(OSError):
        os.fstat(number)


def test_a_set_that_was_moved_keeps_its_store_unless_its_files_changed(tmp_path, decoded):
    folder_of(tmp_path / "faces")
    first, _ = load("folder", tmp_path / "faces", cache=tmp_path / "packed")
    (tmp_path / "faces").rename(tmp_path / "elsewhere")
    decoded.clear()
    moved, _ = load("folder", tmp_path / "elsewhere", cache=tmp_path / "packed")
    assert torch.equal(moved[:], first[:]) and not decoded
    os.utime(tmp_path / "elsewhere/happy/0.png", ns=(1, 1))  # as a copy has it
    again, _ = load("folder", tmp_path / "elsewhere", cache=tmp_path / "packed")
    assert torch.equal(again[:], first[:]) and len(set(decoded)) == 7


def test_two_sets_with_the_same_names_share_a_cache(tmp_path, decoded):
    manifest = folder_of(tmp_path / "one")
    folder_of(tmp_path / "other")
    other = fake.picture(tmp_path / "other" / manifest["path"][0], 99)
    os.utime(other, ns=(1, 1))
    for _ in range(2):
        for name in ("one", "other"):
            packed = pack(tmp_path / name, manifest, tmp_path / "packed")
            assert torch.equal(packed[:], read_pixels(tmp_path / name, manifest))
    assert len(stored(tmp_path / "packed")) == 2  # neither removes the other's


def test_two_versions_of_a_set_with_times_of_their_archive_are_two_sets(tmp_path):
    """The same names, sizes and times, as an archive may set them, and other pixels."""
    draw = np.random.default_rng(0)
    for name in ("first", "second"):
        for place in ("train/happy", "train/sad"):
            folder = tmp_path / name / place
            folder.mkdir(parents=True)
            pixels = draw.integers(0, 255, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "0.bmp")
            os.utime(folder / "0.bmp", ns=(0, 0))
    for name in ("first", "second"):
        packed, _ = load("folder", tmp_path / name, cache=tmp_path / "packed")
        decoded, _ = load("folder", tmp_path / name)
        assert torch.equal(packed[:], decoded)


def test_the_csv_is_packed_too(tmp_path, small_parts):
    fake.fer2013(tmp_path, (0, 1, 2), ("Training", "Training", "PublicTest"))
    manifest = read_fer2013(tmp_path)
    packed = pack(tmp_path, manifest, tmp_path / "packed")
    assert torch.equal(packed[:], read_pixels(tmp_path, manifest))
    refused("fer2013.csv, line 9: not a whole image", read_pixels, tmp_path, manifest.assign(row=7))


def test_what_cannot_be_packed_is_explained(tmp_path, small_parts):
    manifest = folder_of(tmp_path / "faces")
    fake.picture(tmp_path / "faces" / manifest["path"][4], 1, 13)
    where = (tmp_path / "faces", manifest, tmp_path / "packed")
    refused(r"row 4: the image is \(3, 13, 13\).*give a size", pack, *where)
    assert pack(*where, size=12).shape == (7, 3, 12, 12)
    os.remove(tmp_path / "faces" / manifest["path"][2])
    refused("row 2: there is no such file", pack, *where, 12)
    refused("row 2: there is no such file", read_pixels, tmp_path / "faces", manifest, 12)
    (tmp_path / "faces" / manifest["path"][2]).symlink_to(tmp_path / "faces" / manifest["path"][2])
    refused("row 2: there is no such file", pack, *where, 12)
    fake.write(tmp_path / "file", "no folder")
    refused(
        "cannot keep the packed pixels", pack, tmp_path / "faces", manifest[:1], tmp_path / "file"
    )


# -------------------------------------------------------------- grey among colour, what is missing


def mixed(root, modes, size=8):
    """A folder with images of these modes, in this order, and its manifest."""
    for i, mode in enumerate(modes):
        fake.picture(root / "happy" / f"{i:02d}.png", i, size, mode)
    return read_folder(root)


@given(
    modes=st.lists(st.sampled_from(("L", "RGB")), min_size=1, max_size=6),
    size=st.none() | st.just(5),
)
@settings(deadline=None, max_examples=40)
def test_grey_among_colour_is_rgb_whatever_the_order(tmp_path_factory, modes, size):
    root = tmp_path_factory.mktemp("mixed")
    manifest = mixed(root / "set", modes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gathering, "PART", 2)
        images, listed = load("folder", root / "set", size)
        packed, again = load("folder", root / "set", size, cache=root / "packed")
        reopened, third = load("folder", root / "set", size, cache=root / "packed")
    assert torch.equal(images, packed[:]) and torch.equal(images, reopened[:])
    assert np.array_equal(store.digests(images), store.digests(packed))
    assert listed.attrs["notes"] == again.attrs["notes"] == third.attrs["notes"]
    grey = modes.count("L")
    assert images.shape[1] == (1 if grey == len(modes) else 3)
    note = f"{grey} of {len(modes)} images are grey among colour ones: taken as RGB"
    assert (note in listed.attrs["notes"]) == (0 < grey < len(modes))
    assert torch.equal(images.expand(-1, 3, -1, -1), read_pixels(root / "set", manifest, size, 3))


def test_a_colour_image_met_late_begins_anew_and_leaves_the_random_numbers_alone(
    tmp_path, small_parts
):
    manifest = mixed(tmp_path / "set", [*"L" * 9, "RGB", *"L" * 5])
    state = torch.get_rng_state()
    images, _ = load("folder", tmp_path / "set")
    packed, _ = load("folder", tmp_path / "set", cache=tmp_path / "packed")
    assert torch.equal(torch.get_rng_state(), state)
    each = [read_pixels(tmp_path / "set", manifest[i : i + 1], channels=3)[0] for i in range(15)]
    assert torch.equal(images, torch.stack(each)) and torch.equal(packed[:], images)
    assert np.array_equal(store.digests(packed), store.digests(images))


on_linux = pytest.mark.skipif(sys.platform != "linux", reason="one process decodes elsewhere")


@on_linux
def test_a_worker_of_a_pool_which_may_have_no_processes_decodes_by_itself(tmp_path, monkeypatch):
    manifest = folder_of(tmp_path)
    monkeypatch.setattr(gathering, "MANY", 1)
    with get_context("fork").Pool(1) as pool:
        images = pool.apply_async(read_pixels, (tmp_path, manifest)).get(60)
    assert torch.equal(images, read_pixels(tmp_path, manifest))


@on_linux
def test_where_no_process_can_be_had_one_decodes_and_one_that_is_ended_is_told(
    tmp_path, monkeypatch
):
    manifest = folder_of(tmp_path)
    whole = read_pixels(tmp_path, manifest)
    monkeypatch.setattr(gathering, "MANY", 1)
    here, read = os.getpid(), decoding.read_image

    def ended(path, *where):
        if os.getpid() != here and path.endswith("3.png"):
            os.kill(os.getpid(), signal.SIGKILL)
        return read(path, *where)

    with monkeypatch.context() as patched:
        patched.setattr(decoding, "read_image", ended)
        refused("was ended by the system or by somebody", read_pixels, tmp_path, manifest)

    def refuse():
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refuse)
    assert torch.equal(read_pixels(tmp_path, manifest), whole)


def ruined(root):
    """Ten images a class and split, six of them gone or cut off; the paths of those that remain."""
    for i in range(40):
        split, name = ("train", "test")[i % 2], ("happy", "angry")[i // 2 % 2]
        fake.picture(root / split / name / f"{i}.png", i)
    manifest = read_folder(root)
    gone = [0, 7, 12, 13, 25, 39]
    for i, row in enumerate(gone):
        path = root / manifest["path"][row]
        if i % 2:
            path.write_bytes(path.read_bytes()[:200])
        else:
            path.write_bytes(b"")
    return manifest, gone


@pytest.mark.parametrize("cached", [False, True])
def test_what_cannot_be_had_is_counted_or_left_out(tmp_path, cached, small_parts):
    manifest, gone = ruined(tmp_path / "set")
    cache = tmp_path / "packed" if cached else None
    message = (
        r"6 of 40 images cannot be had: .*, row 0: not a whole image \(the file is empty\), and 5 "
        r"more; `nla data check --out FILE` lists all of them, `nla train --missing skip` leaves"
    )
    refused(message, load, "folder", tmp_path / "set", cache=cache)
    assert not cached or not stored(cache)
    images, listed = load("folder", tmp_path / "set", cache=cache, missing="skip")
    kept = manifest.drop(index=gone)
    assert listed["path"].tolist() == kept["path"].tolist() and listed.index[-1] == 33
    assert torch.equal(images[:], read_pixels(tmp_path / "set", kept))
    assert any(note.startswith("6 of 40 images are not there or") for note in listed.attrs["notes"])
    assert np.array_equal(store.digests(images), store.digests(images[:]))
    refused(message, load, "folder", tmp_path / "set", cache=cache)  # whatever was packed
    again, _ = load("folder", tmp_path / "set", cache=cache, missing="skip")
    assert torch.equal(again[:], images[:])


def listed_csv(root, rows):
    text = "".join(f"{path},{label},{split}\n" for path, label, split in rows)
    fake.write(root / "list.csv", "path,label,split\n" + text)


@pytest.mark.parametrize("cached", [False, True])
def test_files_that_are_not_there_are_left_out_until_they_are(tmp_path, cached):
    rows = [(f"{i}.png", i % 2, ("train", "test")[i // 2 % 2]) for i in range(12)]
    listed_csv(tmp_path, rows)
    for i in range(2, 12):
        fake.picture(tmp_path / f"{i}.png", i)
    cache = tmp_path / "packed" if cached else None
    refused("2 of 12 images cannot be had: .*0.png, row 0: there is", load, "csv", tmp_path)
    images, manifest = load("csv", tmp_path, cache=cache, missing="skip")
    assert len(images) == len(manifest) == 10
    for i in range(2):
        fake.picture(tmp_path / f"{i}.png", i)
    images, manifest = load("csv", tmp_path, cache=cache, missing="skip")
    assert len(images) == len(manifest) == 12
    assert not any("left out" in note for note in manifest.attrs["notes"])


def test_a_split_or_a_class_that_would_be_gone_is_refused(tmp_path):
    rows = [(f"{i}.png", i % 2, ("train", "test")[i // 2 % 2]) for i in range(8)]
    listed_csv(tmp_path, rows)
    refused("8 of 8 images cannot be had.*FILE` lists all of them$", load, "csv", tmp_path)
    refused("8 of 8 images", load, "csv", tmp_path, missing="skip")
    for i in (0, 1, 4):
        fake.picture(tmp_path / f"{i}.png", i)
    refused("the split test would be gone", load, "csv", tmp_path, missing="skip")
    for i in (2, 5):
        fake.picture(tmp_path / f"{i}.png", i)
    (tmp_path / "0.png").unlink()
    (tmp_path / "4.png").unlink()
    said = refused("training images of surprise would", load, "csv", tmp_path, missing="skip")
    assert "fear" not in said
    refused("missing is 'maybe'", load, "csv", tmp_path, missing="maybe")


def test_what_the_machine_forbids_is_not_taken_for_damage(tmp_path, monkeypatch):
    folder_of(tmp_path)

    def forbidden(path, **options):
        raise PermissionError(13, "no", path)

    monkeypatch.setattr(Image, "open", forbidden)
    for missing in ("refuse", "skip"):
        refused(
            r"1.png: cannot be read now \(Permission", load, "folder", tmp_path, missing=missing
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

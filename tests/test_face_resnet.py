"""A network that knows faces: read from dlib's file, made ready for training, used like others."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from dlib_file import parts, write_dlib
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_data import QUICK
from torch import nn

from nla import dlib_format, fit, models
from nla.data.images import Augmentation, normalize
from nla.dlib_format import FILE, PACKAGE, read_dlib
from nla.face_resnet import MEAN, SIZES, STD, FaceResNet
from nla.models import face_resnet, load_weights, model_from, resnet18, small_resnet
from nla.settling import settle
from nla.training import loop
from nla.training.config import DEMO, PAPER, Config
from nla.training.export import export
from nla.training.inference import evaluate, predict_files
from nla.training.opening import open_model
from nla.weights import WeightsError, read

GOLDEN = json.loads((Path(__file__).parent / "golden/face_descriptors.json").read_text())
FACES = Augmentation(mean=MEAN, std=STD)
SMALL = dataclasses.replace(QUICK, model="face_resnet", size=SIZES[0], loss="cross_entropy")


@pytest.fixture(scope="session")
def real_file():
    path = dlib_format.installed()
    if path is None:
        pytest.skip("no face network: the package face-recognition-models is not installed")
    return path


@pytest.fixture(scope="session")
def file(tmp_path_factory):
    return write_dlib(tmp_path_factory.mktemp("dlib") / "random.dat")


@pytest.fixture(scope="session")
def pieces():
    return parts()


def original(path, channels=3):
    """The network as the file has it, and the matrix of its descriptors."""
    model = face_resnet(7, channels)
    report = load_weights(model, path)
    assert report.matched == 1 and report.folded
    return model.eval(), read(path).tensors["descriptor"]


def formula(coefficients):
    """An image (3, 150, 150), as the golden file describes it."""
    y, x = np.mgrid[:150, :150] / 150
    channels = []
    for a in coefficients:
        slow = 60 * np.sin(6.3 * (a[0] * x + a[1] * y + a[2]))
        fast = 50 * np.cos(6.3 * (2 * a[3] * x + 2 * a[4] * y + a[5]))
        channels.append(np.round(np.clip(128 + slow + fast, 0, 255)))
    return torch.from_numpy(np.stack(channels).astype(np.uint8))


@pytest.mark.parametrize("case", GOLDEN["cases"])
def test_descriptors_are_those_of_dlib(real_file, case):
    image = formula(case["coefficients"])
    assert image.long().sum() == case["pixel_sum"]
    model, matrix = original("dlib")
    with torch.no_grad():
        found = model(normalize(image[None], FACES)).latent @ matrix
    np.testing.assert_allclose(found[0], case["descriptor"], atol=1e-5)


def test_all_numbers_of_the_file_are_in_the_network(file):
    tensors, digest = read_dlib(file)
    matrix = tensors.pop("descriptor")
    network = FaceResNet()
    assert not network.load_state_dict(tensors, strict=False).unexpected_keys
    assert matrix.shape == (256, 128) and len(digest) == 64
    convolutions = [part for part in network.modules() if isinstance(part, nn.Conv2d)]
    assert len(convolutions) == 29
    biases = sum(part.out_channels for part in convolutions)  # each in the batch norm behind it
    numbers = sum(part.numel() for part in network.parameters()) + biases + matrix.numel()
    assert 4 * numbers < file.stat().st_size < 4 * numbers + 20_000


def test_a_batch_norm_is_the_affine_map_with_the_bias_before_it(pieces, file):
    kernel = 4 * 32 * 3 * 7 * 7
    start = pieces[5].index(b"\x01\x01" * 3) + 6
    bias = np.frombuffer(pieces[5][start + kernel :][: 4 * 32], "<f4")
    start = pieces[7].index(b"\x01\x01" * 3) + 6
    gamma, beta = np.frombuffer(pieces[7][start:][: 4 * 64], "<f4").reshape(2, 32)
    tensors, _ = read_dlib(file)
    norm = nn.BatchNorm2d(32).eval()
    norm.load_state_dict(
        {name[7:]: t for name, t in tensors.items() if name.startswith("stem.1")}, False
    )
    x = torch.randn(2, 32, 3, 3)
    wanted = (x + torch.tensor(bias)[:, None, None]) * torch.tensor(gamma)[:, None, None]
    torch.testing.assert_close(norm(x), wanted + torch.tensor(beta)[:, None, None])


# Files that are not what they should be


def refused(path, match):
    with pytest.raises(WeightsError, match=match) as caught:
        read(path)
    assert str(path) in str(caught.value)


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.floats(0, 1, exclude_max=True))
def test_a_file_cut_anywhere_is_refused(file, tmp_path, share):
    data = file.read_bytes()
    cut = tmp_path / "cut.dat"
    cut.write_bytes(data[: int(share * len(data))])
    refused(cut, "cut short|empty|neither safetensors")


def test_a_file_cut_within_its_first_or_last_bytes_is_refused(file, tmp_path):
    data, cut = file.read_bytes(), tmp_path / "cut.dat"
    for length in (*range(17, 120, 7), *range(len(data) - 90, len(data), 11)):
        cut.write_bytes(data[:length])
        refused(cut, "cut short")


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_other_byte_between_the_arrays_gives_a_network_or_one_clear_error(
    pieces, tmp_path_factory, data
):
    places = [k for k, piece in enumerate(pieces) if len(piece) < 3000]
    changed = list(pieces)
    k = data.draw(st.sampled_from(places))
    place = data.draw(st.integers(0, len(pieces[k]) - 1))
    piece = bytearray(pieces[k])
    piece[place] = data.draw(st.integers(0, 255))
    changed[k] = bytes(piece)
    path = tmp_path_factory.getbasetemp() / "changed.dat"
    path.write_bytes(b"".join(changed))
    try:
        tensors, _ = read_dlib(path)
    except WeightsError as error:
        assert str(path) in str(error)
    else:
        assert tensors["descriptor"].shape == (256, 128)


def test_sizes_beyond_the_file_are_refused_before_anything_is_read(pieces, tmp_path):
    path = tmp_path / "huge.dat"
    for size in (b"\x08" + b"\xff" * 7 + b"\x7f", b"\x84\xff\xff\xff\xff"):
        huge = pieces[5].replace(b"\x02\x80\x12", size, 1)
        assert huge != pieces[5]
        path.write_bytes(b"".join([*pieces[:5], huge, *pieces[6:]]))
        refused(path, r"an array of \[-?\d+, 1, 1, 1\] .* where \[4736, 1, 1, 1\] belongs")


def test_another_network_of_dlibs_is_refused(pieces, tmp_path):
    path = tmp_path / "other.dat"
    for k, piece, match in [
        (8, pieces[5], "a layer b'con_4' where 'relu_' belongs"),
        (10, pieces[31], r"an array of .* where \[9248, 1, 1, 1\] belongs"),
        (
            5,
            pieces[5].replace(b"\x01\x07\x01\x07\x01\x02", b"\x01\x07\x01\x07\x01\x01", 1),
            "a convolution",
        ),
        (2, b"\x01\x05input", "a layer b'input' where 'input_rgb_image_sized' belongs"),
    ]:
        path.write_bytes(b"".join([*pieces[:k], piece, *pieces[k + 1 :]]))
        refused(path, match)
    path.write_bytes(b"".join(pieces) + b"\x01\x00")
    refused(path, "2 bytes behind its last layer")


def test_what_does_not_begin_as_dlibs_files_do_is_refused(tmp_path, monkeypatch):
    path = tmp_path / PACKAGE / FILE
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\x01\x01\x01\x0bmmod_loss_1" + bytes(100))
    refused(path, "neither safetensors nor a checkpoint")
    monkeypatch.setattr(dlib_format, "installed", lambda: path)
    with pytest.raises(WeightsError, match="is not dlib's face recognition network"):
        load_weights(face_resnet(), "dlib")
    path.write_bytes(b"BZh91AY&SY" + bytes(100))  # as its author hands it out
    refused(path, "packed by bzip2: unpack it")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_none_are_refused(pieces, tmp_path, value):
    damaged = bytearray(pieces[5])
    begin = pieces[5].index(b"\x01\x01" * 3) + 6  # of the numbers, behind their sizes
    damaged[begin + 40 : begin + 44] = np.float32(value).tobytes()
    path = tmp_path / "nan.dat"
    path.write_bytes(b"".join([*pieces[:5], bytes(damaged), *pieces[6:]]))
    model = face_resnet()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(WeightsError, match="NaN or infinite"):
        load_weights(model, path)
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())


def test_another_model_and_a_file_without_a_classifier_are_refused(file):
    for build in (resnet18, small_resnet):
        with pytest.raises(WeightsError, match="is for the model face_resnet"):
            load_weights(build(), file)
    with pytest.raises(WeightsError, match="another architecture"):
        torch.save(resnet18().state_dict(), file.with_name("r18.pth"))
        load_weights(face_resnet(), file.with_name("r18.pth"))
    with pytest.raises(WeightsError, match="has no classifier.*train one first"):
        model_from(file)


# The package


def test_the_package_is_looked_for_and_not_imported(file, tmp_path):
    package = tmp_path / PACKAGE
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    (package / FILE).symlink_to(file)
    code = (
        "import sys; from nla import models; model = models.face_resnet();"
        "print(models.load_weights(model, 'dlib').matched);"
        f"assert {PACKAGE!r} not in sys.modules"
    )
    path = f"{tmp_path}:{Path(__file__).parent.parent}"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.stdout.strip() == "1.0", done.stderr


def test_without_the_package_the_line_that_installs_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(dlib_format.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(WeightsError, match="pip install face-recognition-models"):
        load_weights(face_resnet(), "dlib")
    with pytest.raises(WeightsError, match="pip install face-recognition-models"):
        fit(dataclasses.replace(SMALL, weights="dlib"), tmp_path, False, pictures())


# Ready for training


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 4))
def test_settling_changes_no_output_and_sets_what_a_batch_has(seed, batches, size):
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5)
    )
    for norm in (network[1], network[4]):
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    images = 3 * torch.randn(batches, size, 3, 9, 9) + 1
    network.eval()
    wanted = network(images[0])
    settle(network.train(), images)
    assert network.training
    torch.testing.assert_close(network.eval()(images[0]), wanted, atol=1e-4, rtol=1e-4)
    seen = network[0](images.flatten(0, 1))
    torch.testing.assert_close(network[1].running_mean, seen.mean((0, 2, 3)), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        network[1].running_var, seen.var((0, 2, 3), correction=0), atol=1e-4, rtol=1e-4
    )
    if batches == 1:  # so the first batch norm's output in training is that in evaluation, too
        first = network[:2]
        in_evaluation = first(images[0])
        torch.testing.assert_close(first.train()(images[0]), in_evaluation, atol=1e-4, rtol=1e-4)


def test_settling_without_images_is_refused():
    with pytest.raises(ValueError, match="no images"):
        settle(nn.Sequential(nn.BatchNorm2d(3)), [])


def test_grey_images_give_what_three_equal_colours_give(file):
    colour, _ = original(file)
    grey, _ = original(file, channels=1)
    images = torch.randint(256, (3, 1, 70, 70), dtype=torch.uint8)
    with torch.no_grad():
        wanted = colour(normalize(images.expand(-1, 3, -1, -1), FACES)).latent
        found = grey(normalize(images, FACES)).latent
    torch.testing.assert_close(found, wanted, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("size", [64, 65, 79, 80, 96, 102, 103, 112, 150])
def test_it_takes_images_of_its_sizes(size):
    torch.manual_seed(0)
    output = face_resnet(5, 1).eval()(torch.randn(2, 1, size, size))
    assert output.latent.shape == (2, 256) and output.logits.shape == (2, 5)
    assert (output.latent[0] != output.latent[1]).any()


# Its config, its runs


def test_a_config_shows_how_the_networks_images_are_normalised():
    config = Config(model="face_resnet", size=96)
    assert config.augmentation.mean == pytest.approx(np.array([122.782, 117.001, 104.298]) / 255)
    assert config.augmentation.std == pytest.approx(np.full(3, 256 / 255))
    assert Config.parse(json.loads(json.dumps(dataclasses.asdict(config)))) == config
    other = dataclasses.replace(config, model="resnet18").augmentation
    assert (other.mean, other.std) == (PAPER.augmentation.mean, PAPER.augmentation.std)
    own = Augmentation(mean=(0.5, 0.5, 0.5))
    assert dataclasses.replace(config, augmentation=own).augmentation == own
    assert DEMO.key == "1d27a192"  # what a config without the network is called has not moved


@pytest.mark.parametrize("size", [48, 63, 151, 224])
def test_sizes_that_it_is_not_for_are_refused(size):
    with pytest.raises(ValueError, match="size must be from 64 to 150 for face_resnet"):
        Config(model="face_resnet", size=size)


def pictures(channels=1, train=24, test=6):
    """Random images of the smallest size, and their manifest."""
    from small_data import pictures as manifest_of

    generator = torch.Generator().manual_seed(1)
    shape = (train + test, channels, SMALL.size, SMALL.size)
    images = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
    return images, manifest_of(train, test)[1]


@pytest.fixture(scope="module", params=[1, 3])
def data(request):
    return pictures(request.param)


@pytest.fixture(scope="module")
def run(tmp_path_factory, data, file):
    config = dataclasses.replace(SMALL, weights=str(file), epochs=2, lr=1e-4, loss="nla")
    return fit(config, tmp_path_factory.mktemp("runs") / "faces", False, data)


def test_before_training_the_latents_are_those_of_the_original(run, data, file):
    model, _ = original(file, data[0].shape[1])
    rows = run.latents[0]["index"]
    with torch.no_grad():
        wanted = model(normalize(data[0][rows], FACES)).latent
    torch.testing.assert_close(torch.tensor(run.latents[0]["latent"]), wanted, atol=1e-3, rtol=1e-3)
    assert any("batch norms were set by 24 training images" in note for note in run.notes)
    assert any("in the file and not used: descriptor" in note for note in run.notes)
    assert run.config["augmentation"]["mean"] == list(MEAN)
    assert run.card["weights_digest"] == read_dlib(file)[1][:16]


def test_an_interrupted_run_goes_on_to_the_same_bytes(run, data, tmp_path, monkeypatch):
    steps = []

    def stopping(*arguments):
        steps.append(1)
        if len(steps) > 4:
            raise KeyboardInterrupt
        return take_step(*arguments)

    take_step = loop.take_step
    config = Config.parse(run.config)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop, "take_step", stopping)
        fit(config, tmp_path / "again", False, data)
    again = fit(config, tmp_path / "again", False, data)
    for name in ("model.safetensors", "latents/epoch_000.npz", "latents/epoch_002.npz"):
        assert (again.folder / name).read_bytes() == (run.folder / name).read_bytes(), name


def test_a_run_is_opened_evaluated_and_asked_like_any_other(run, data, tmp_path):
    from PIL import Image

    opened = open_model(run.folder)
    assert opened.config.augmentation == Config.parse(run.config).augmentation
    scores = evaluate(opened.model, *data, opened.config, classes=opened.classes)
    assert scores["overall"] == pytest.approx(run.summary()["overall"])
    Image.fromarray(data[0][0].permute(1, 2, 0).numpy().squeeze()).resize((200, 180)).save(
        tmp_path / "a.png"
    )
    assert predict_files(opened, [tmp_path / "a.png"])["error"].eq("").all()


def test_alone_its_file_says_what_network_it_is(run, tmp_path):
    alone = tmp_path / "theirs.safetensors"
    alone.write_bytes((run.folder / "model.safetensors").read_bytes())
    opened = open_model(alone)
    assert opened.config.model == "face_resnet" and opened.config.augmentation == FACES
    assert any("assumed is its network's own, 0.481" in note for note in opened.notes)
    again = fit(
        dataclasses.replace(SMALL, weights=str(alone), batch_size=12),
        tmp_path / "again",
        False,
        pictures(train=12),
    )
    assert not any("batch norms were set" in note for note in again.notes)


@pytest.mark.parametrize("data", [1], indirect=True)
@pytest.mark.parametrize("suffix", [".pt2", ".onnx", ".safetensors"])
def test_it_is_exported(run, tmp_path, suffix):
    if suffix == ".onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    opened = open_model(run.folder)
    path = tmp_path / f"m{suffix}"
    assert export(opened.model, path, SMALL.size, opened.config.augmentation) < 1e-3


def test_compilers_take_it():
    torch.manual_seed(0)
    model, x = models.face_resnet().eval(), torch.rand(2, 3, 64, 64)
    wanted = model(x)
    compiled = torch.compile(model, fullgraph=True, backend="eager")(x)
    torch.testing.assert_close(compiled.latent, wanted.latent)

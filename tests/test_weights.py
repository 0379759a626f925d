"""Outside weights: every layout that is passed around loads, and no file can do harm."""

import argparse
import collections
import datetime
import hashlib
import io
import json
import os
import pickle
import re
import resource
import struct
import subprocess
import sys
import urllib.error
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from nla.checkpoints import read_checkpoint
from nla.models import load_weights, model_from, resnet18, resnet50, small_resnet
from nla.weights import WeightsError

CHILDREN = ["conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"]


@pytest.fixture(scope="module")
def plain():
    """ResNet-18 under torchvision's names, as MS-Celeb-1M's comes, for 12 people."""
    torch.manual_seed(3)
    return {
        name.removeprefix("backbone."): tensor.clone()
        for name, tensor in resnet18(12).state_dict().items()
        if "num_batches_tracked" not in name
    }


def released(name):
    head, rest = name.split(".", 1)
    return f"features.{CHILDREN.index(head)}.{rest}" if head in CHILDREN else name


class Recorder:
    """As the field's checkpoints carry one: an object of a class that the reader does not have."""

    def __init__(self, *arguments):
        self.epoch_losses, self.total_epoch = np.zeros((3, 2), np.float32), 3


class Settings(dict):
    """A dict of a class of its own, as yacs, easydict and others have it."""


BESIDE = {
    "recorder": Recorder(),
    "best_acc": np.float64(88.26),
    "losses": collections.deque([0.5, np.float32(0.25)], maxlen=4),
    "args": argparse.Namespace(lr=0.1, folder=Path("runs"), when=datetime.datetime(2024, 5, 1)),
    "settings": Settings(lr=0.1, more=Settings(a=1)),
    "counts": collections.defaultdict(list, a=[1]),
    "criterion": torch.nn.CrossEntropyLoss(),
    "callbacks": {Recorder: {"best": 1}},
}


LAYOUTS = {
    "torchvision": lambda state: state,
    "MS-Celeb-1M": lambda state: {
        "epoch": 3,
        "arch": "resnet18",
        "best_prec1": torch.tensor(0.9),
        "state_dict": {f"module.{name}": t for name, t in state.items()},
    },
    "released": lambda state: (
        {released(name): t for name, t in state.items()} | {"embed.weight": torch.rand(4, 512)}
    ),
    "model": lambda state: {
        "model": state,
        "optimizer": {"state": {0: {"step": 4}}, "param_groups": [{"lr": 0.1}]},
    },
    "model_state_dict": lambda state: {
        "model_state_dict": {f"module.backbone.{n}": t for n, t in state.items()}
    },
    "net in net": lambda state: {"net": {"state_dict": collections.OrderedDict(state)}},
    "beside everything": lambda state: {
        "state_dict": {f"module.{n}": t for n, t in state.items()},
        "optimizer": {"state": {"conv1": {"exp_avg": torch.zeros(2, 2, 3, 3)}}},
        **BESIDE,
    },
    "another key": lambda state: {"generator": state, "head": {"weight": torch.rand(12, 512)}},
    "a prefix": lambda state: {f"encoder.q.{name}": t for name, t in state.items()},
    "a prefix of some": lambda state: (
        {f"module.encoder_q.{name}": t for name, t in state.items()}
        | {"module.queue": torch.rand(12, 5), "module.queue_ptr": torch.zeros(1)}
    ),
    "compiled": lambda state: {f"_orig_mod.{name}": t for name, t in state.items()},
    "half": lambda state: {name: t.half() for name, t in state.items()},
    "parameters": lambda state: {name: torch.nn.Parameter(t) for name, t in state.items()},
}


@pytest.fixture(scope="module")
def seven():
    return resnet18(7)


@pytest.mark.parametrize(
    "layout, zipped",
    [
        *((layout, True) for layout in LAYOUTS),
        ("MS-Celeb-1M", False),
        ("beside everything", False),
        ("half", False),
        ("parameters", False),
    ],
)
def test_checkpoints_of_every_layout(tmp_path, plain, seven, layout, zipped):
    """As written today, a zip, and as before PyTorch 1.6."""
    path, model = tmp_path / "w.pth", seven
    for tensor in model.state_dict().values():
        tensor.zero_()
    content = LAYOUTS[layout](plain)
    if layout == "beside everything" and not zipped:
        del content["criterion"]  # PyTorch's guard reads modules in today's files alone
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    report = load_weights(model, path)
    assert report.matched == 1 and not report.adapted
    assert report.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    if layout == "beside everything":
        assert set(report.aside) == {*content} - {"state_dict"}
    assert {"fc.weight", "fc.bias"} <= set(report.skipped) & set(
        report.new
    )  # 12 people do not fit 7 classes
    assert ("backbone.embed.weight" in report.skipped) == (layout == "released")
    for name, tensor in model.backbone.state_dict().items():
        if "num_batches_tracked" not in name:
            assert torch.allclose(tensor, plain[name], atol=2e-3 if layout == "half" else 0), name


def test_own_weights_come_back_whole(tmp_path):
    model, other = small_resnet(), small_resnet()
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    report = load_weights(other, tmp_path / "model.safetensors")
    assert not report.new and not report.skipped
    x = torch.rand(2, 3, 48, 48)
    assert torch.equal(model.eval()(x).logits, other.eval()(x).logits)
    (tmp_path / "model.safetensors").rename(tmp_path / "renamed.pth")
    assert load_weights(small_resnet(), tmp_path / "renamed.pth").matched == 1


def test_grey_images_get_the_sum_of_the_colours(tmp_path):
    for build in (resnet18, small_resnet):
        torch.manual_seed(0)
        colour, grey = build(7, 3).eval(), build(7, 1).eval()
        save_file(colour.state_dict(), tmp_path / "colour.safetensors")
        report = load_weights(grey, tmp_path / "colour.safetensors")
        assert report.matched == 1 and "summed over its 3 colour channels" in report.adapted[0]
        x = torch.rand(2, 1, 48, 48)
        torch.testing.assert_close(grey(x).latent, colour(x.expand(-1, 3, -1, -1)).latent)


def test_imagenet_comes_from_torchvision(tmp_path, plain, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def offline(*arguments, **options):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(torch.hub, "urlopen", offline)
    with pytest.raises(
        WeightsError,
        match=r"from https://.*resnet18-f37072fd.pth: without a network bring that file along",
    ):
        load_weights(resnet18(), "imagenet")
    for other in (small_resnet(), small_resnet(width=128)):  # of as many latents as resnet18
        with pytest.raises(WeightsError, match="resnet18 and resnet50 only"):
            load_weights(other, "imagenet")
    (tmp_path / "hub/checkpoints").mkdir(parents=True, exist_ok=True)
    torch.save(
        plain, tmp_path / "hub/checkpoints/resnet18-f37072fd.pth"
    )  # as the download leaves it
    model = resnet18()
    assert load_weights(model, "imagenet").matched == 1
    assert torch.equal(model.backbone.conv1.weight, plain["conv1.weight"])


def test_any_number_of_classes_from_two(tmp_path):
    for classes in (2, 3, 6, 100):
        save_file(small_resnet(classes, 1, 4).state_dict(), tmp_path / "m.safetensors")
        model, report = model_from(tmp_path / "m.safetensors")
        assert model.fc.out_features == classes and not report.new
    save_file(small_resnet(1, 1, 4).state_dict(), tmp_path / "m.safetensors")
    with pytest.raises(WeightsError, match="no classifier.* of 2 classes or more: train one first"):
        model_from(tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    "build, channels, classes", [(small_resnet, 1, 8), (resnet18, 3, 7), (resnet50, 1, 2)]
)
def test_a_model_from_its_file(tmp_path, build, channels, classes):
    torch.manual_seed(0)
    model = build(classes, channels).eval()
    save_file(model.state_dict(), tmp_path / "m.safetensors")
    found, report = model_from(tmp_path / "m.safetensors")
    x = torch.rand(2, channels, 48, 48)
    assert torch.equal(found(x).logits, model(x).logits)
    assert (
        not report.new
        and not report.skipped
        and found.in_channels == channels
        and not found.training
    )
    headless = {name: t for name, t in model.state_dict().items() if not name.startswith("fc.")}
    save_file(headless, tmp_path / "m.safetensors")
    with pytest.raises(WeightsError, match="has no classifier.*nla train --weights FILE"):
        model_from(tmp_path / "m.safetensors")
    save_file(headless | {"fc.weight": torch.rand(7, 13)}, tmp_path / "m.safetensors")
    with pytest.raises(WeightsError):
        model_from(tmp_path / "m.safetensors")
    one_less = {
        name: t
        for name, t in model.state_dict().items()
        if not name.endswith("body.1.bias") and name != "backbone.bn1.bias"
    }
    save_file(one_less, tmp_path / "m.safetensors")
    with pytest.raises(
        WeightsError, match=r"not hold the whole model: it lacks backbone\.(3\.body\.1|bn1)\.bias"
    ):
        model_from(tmp_path / "m.safetensors")


def test_other_architectures_are_refused(tmp_path, plain):
    path = tmp_path / "w.pth"
    torch.save(plain, path)
    model = small_resnet()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    with pytest.raises(
        WeightsError, match=r"it has 0% of the backbone's.*for example, backbone\.layer1"
    ):
        load_weights(model, path)
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    deeper = {
        f"layer1.2.{part}.weight": plain[f"layer1.1.{part}.weight"] for part in ("conv1", "conv2")
    }
    torch.save(plain | deeper, path)  # a ResNet-34 holds every name of a ResNet-18
    with pytest.raises(
        WeightsError, match=r"100%.*2 tensors of blocks that the model lacks.*layer1\.2\.conv1"
    ):
        load_weights(resnet18(), path)
    torch.save({name: t for name, t in plain.items() if "layer4" not in name}, path)
    with pytest.raises(WeightsError, match=r"it has 25% of the backbone's 11,186,112 numbers"):
        load_weights(resnet18(), path)
    torch.save(
        plain | {"conv1.weight": plain["conv1.weight"].mT[:, :, 1:], "bn1.bias": torch.arange(64)},
        path,
    )
    report = load_weights(
        resnet18(), path
    )  # a wrong shape and whole numbers: not used, and said so
    assert {"backbone.conv1.weight", "backbone.bn1.bias"} <= set(report.skipped) & set(report.new)
    behind = {f"backbone.{name}": t for name, t in plain.items()}
    torch.save(behind | {"fc.weight": plain["fc.weight"]}, path)
    with pytest.raises(WeightsError, match="holds fc.weight twice, once as fc.weight"):
        load_weights(resnet18(), path)


class Call:
    """Pickles as a call of ``function``."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def zip_with(content, compression=zipfile.ZIP_STORED, **entries):
    """A checkpoint's zip whose data.pkl is ``content``."""
    file = io.BytesIO()
    torch.save({"conv1.weight": torch.rand(3)}, file)
    changed = io.BytesIO()
    with zipfile.ZipFile(file) as source, zipfile.ZipFile(changed, "w", compression) as target:
        for entry in source.infolist():
            data = source.read(entry)
            target.writestr(
                entry.filename, content if entry.filename.endswith("data.pkl") else data
            )
        for name, data in entries.items():
            target.writestr(f"archive/data/{name}", data)
    return changed.getvalue()


def saved(content, **options):
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def larger_than_storage(zipped):
    """A tensor of 2 x 2 x 3 x 3 numbers that says it has 10^10 times as many."""
    data = saved({"conv1.weight": torch.rand(2, 2, 3, 3)}, _use_new_zipfile_serialization=zipped)
    shape, huge = b"K\x02K\x02K\x03K\x03t", b"\x8a\x05" + (2 * 10**10).to_bytes(5, "little")
    if not zipped:
        return data.replace(shape, huge + shape[2:])
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return zip_with(archive.read("archive/data.pkl").replace(shape, huge + shape[2:]))


def two_pickles():
    """A zip with two entries of one name, so that two readers may see different ones."""
    file = io.BytesIO(saved({"conv1.weight": torch.rand(2, 2, 3, 3)}))
    with warnings.catch_warnings(), zipfile.ZipFile(file, "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("archive/data.pkl", archive.read("archive/data.pkl"))
    return file.getvalue()


def cyclic():
    content = {}
    content["model"] = content
    return content


def shadowing():
    content = collections.OrderedDict(a=torch.rand(2))
    content.get = "not a method"
    return content


def hostile_files():
    """Name -> bytes; each would run code, take memory, or crash the reader."""
    mark = Call(os.mkdir, "was-run")
    files = {
        f"os.mkdir in pickle protocol {p}": pickle.dumps({"a": mark}, protocol=p) for p in range(6)
    }
    files |= {
        "os.system": b"cos\nsystem\n(S'mkdir was-run'\ntR.",
        "posix.system by INST": b"(S'mkdir was-run'\niposix\nsystem\n.",
        "builtins.eval": pickle.dumps(Call(eval, "__import__('os').mkdir('was-run')")),
        "getattr": pickle.dumps(Call(getattr, Call(__import__, "os"), "mkdir")),
        "attribute of an allowed module": b"\x80\x04\x8c\x05numpy\x8c\x12core.multiarray.os\x93.",
        "Python 2's builtins": b"c__builtin__\neval\n(S'1'\ntR.",
        "in an object array": saved({"a": np.array([mark], dtype=object)}),
        "torch zip": zip_with(pickle.dumps({"a": mark}, protocol=2)),
        "torch zip, beside the tensors": saved({"conv1.weight": torch.rand(3), "extra": mark}),
        "torch before 1.6": saved({"a": mark}, _use_new_zipfile_serialization=False),
        "torch zip in a torch zip": zip_with(
            pickle.dumps({}, protocol=2),
            **{
                "inner.pkl": pickle.dumps({"a": mark}, protocol=2),
                "inner.zip": zip_with(pickle.dumps(mark)),
            },
        ),
        "build on a class": b"\x80\x02cnumpy\nndarray\n}U\x05stateU\x01xsb.",
        "numpy's pickle": pickle.dumps({"conv1.weight": np.zeros((2, 2, 3, 3), "f4")}, protocol=2),
        "nested tuples as a key, torch": zip_with(b"\x80\x02})" + b"\x85" * 400_000 + b"Ns."),
        "text that grows": zip_with(
            b"\x80\x02c_codecs\nencode\nq\x00X\x01\x00\x00\x00aX\x06\x00\x00\x00latin1\x86Rq\x01"
            + b"0h\x00h\x01X\x05\x00\x00\x00He-x!\x86Rq\x01" * 40
            + b"."
        ),
        "a call hidden by a stand-in": saved({"a": Call(Recorder, Call(eval, "1"))}),
        "tensor larger than its storage": larger_than_storage(True),
        "tensor larger than its storage, before 1.6": larger_than_storage(False),
        "two pickles of one name": two_pickles(),
        "bytes claiming 10^12": b"\x80\x04\x8e" + struct.pack("<Q", 10**12) + b"abc.",
        "bytearray claiming 10^12": b"\x80\x05\x96" + struct.pack("<Q", 10**12) + b"abc.",
        "frame claiming 10^12": b"\x80\x04\x95" + struct.pack("<Q", 10**12) + b"N.",
        "memo of 2^31": b"\x80\x02Nr\xff\xff\xff\x7f.",
        "memo of 2^31 in text": b"Np2147483647\n.",
        "nested tuples as a key": b"\x80\x02})" + b"\x85" * 400_000 + b"Ns.",
        "storage called with 10^10": zip_with(
            b"\x80\x02ctorch\nFloatStorage\n\x8a\x05" + struct.pack("<Q", 10**10)[:5] + b"\x85R."
        ),
        "bytearray called with 10^11": zip_with(
            b"\x80\x02c__builtin__\nbytearray\n\x8a\x06" + struct.pack("<Q", 10**11)[:6] + b"\x85R."
        ),
        "tensor expanded to 10^12": saved({"conv1.weight": torch.zeros(1).expand(10**6, 10**6)}),
        "sparse tensor of 10^12": saved({"conv1.weight": torch.zeros(2, 2).to_sparse()}),
        "storage of 10^12": saved(
            {"a": torch.rand(3)}, _use_new_zipfile_serialization=False
        ).replace(b"K\x03N", b"\x8a\x06" + struct.pack("<Q", 10**12)[:6] + b"N"),
        "zip bomb": zip_with(
            pickle.dumps({}, protocol=2), zipfile.ZIP_DEFLATED, **{"big": bytes(300_000_000)}
        ),
        "zip bomb of the pickle": zip_with(bytes(300_000_000), zipfile.ZIP_DEFLATED),
        "safetensors header of 2^62": struct.pack("<Q", 2**62) + b"{" + b" " * 50,
        "safetensors header beyond the end": struct.pack("<Q", 10**6) + b"{}",
        "safetensors of 10^12": (lambda h: struct.pack("<Q", len(h)) + h)(
            json.dumps(
                {"a": {"dtype": "F32", "shape": [10**6, 10**6], "data_offsets": [0, 4 * 10**12]}}
            ).encode()
        )
        + b"abcd",
        "itself within itself": pickle.dumps(cyclic(), protocol=2),
        "itself within itself, torch": saved(cyclic()),
        "a shadowed method": saved(shadowing()),
        "empty": b"",
        "text": b"not weights\n",
        "page": b"<!DOCTYPE html><html>Quota exceeded</html>",
        "list": saved([1, 2, 3]),
        "number": pickle.dumps(5),
        "only zeros": bytes(5000),
        "git lfs pointer": b"version https://git-lfs.github.com/spec/v1\nsize 12345\n",
    }
    return files


def test_no_file_does_harm(tmp_path):
    """Each is refused by name, in a process of its own whose memory is watched; nothing is run."""
    files = hostile_files()
    for number, data in enumerate(files.values()):
        (tmp_path / f"{number}.pth").write_bytes(data)
    (tmp_path / "a-directory.pth").mkdir()
    (tmp_path / "loop.pth").symlink_to(tmp_path / "loop.pth")
    whole = saved(small_resnet(width=4).state_dict())
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    done = subprocess.run(
        [sys.executable, __file__, *sorted(p.name for p in tmp_path.iterdir())],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    verdicts = dict(line.split("\t") for line in done.stdout.splitlines())
    growth = int(verdicts.pop("growth in MB"))
    names = {f"{number}.pth": name for number, name in enumerate(files)}
    assert len(verdicts) == len(files) + 3
    for file, verdict in verdicts.items():
        assert (
            verdict.startswith(f"WeightsError {file}")
            or verdict == f"WeightsError no weights file at {file}"
        ), (names.get(file, file), verdict)
    assert not (tmp_path / "was-run").exists()
    assert growth < 60, growth


def refuse(names):
    """The body of the process above: what becomes of each file, and how the memory's peak grew."""
    model = small_resnet(width=4)
    torch.save(model.state_dict(), "fine.pth")
    load_weights(model, "fine.pth")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name in names:
        try:
            load_weights(model, name)
            print(name, "was loaded", sep="\t")
        except Exception as error:
            print(
                name,
                f"{type(error).__name__} {error}".replace("\n", " ").replace("\t", " "),
                sep="\t",
            )
    growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print("growth in MB", growth // (2**20 if sys.platform == "darwin" else 2**10), sep="\t")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_broken_numbers_are_refused_by_name(tmp_path, value):
    state = small_resnet(width=4).state_dict()
    state["backbone.4.body.3.weight"][1, 2, 0, 0] = value
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="tensor 'backbone.4.body.3.weight' holds NaN"):
        load_weights(small_resnet(width=4), tmp_path / "w.pth")


def safetensors(state):
    from safetensors.torch import save

    return save(state)


FORMATS = {
    "safetensors": safetensors,
    "torch zip": saved,
    "torch before 1.6": lambda state: saved(state, _use_new_zipfile_serialization=False),
}


def test_numbers_are_counted_not_tensors(tmp_path, plain):
    """112 of a ResNet-18's 122 tensors, with 19 % of its numbers, are not a ResNet-18."""
    largest = sorted(plain, key=lambda name: -plain[name].numel())
    without = {name: t for name, t in plain.items() if name not in largest[:10]}
    torch.save(without, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"has 1?\d% of the backbone's 11,186,112 numbers"):
        load_weights(resnet18(), tmp_path / "w.pth")


def test_the_report_says_in_a_sentence_what_is_left_random(tmp_path, plain):
    stem = {"conv1.weight": torch.rand(64, 3, 3, 3), "epoch": 3}
    torch.save({"state_dict": plain | stem, "best": 0.5}, tmp_path / "w.pth")
    report = load_weights(resnet18(7), tmp_path / "w.pth")
    assert report.matched == pytest.approx(1 - 9408 / 11_186_112)
    assert report.sentence == (
        "99.9% of the backbone's numbers are the file's; left as initialised: "
        "backbone.conv1.weight, fc.bias, fc.weight; in the file and not used: "
        "backbone.conv1.weight, fc.bias, fc.weight; beside the tensors and not looked at: "
        "best, epoch"
    )
    save_file(resnet18(7, 1).state_dict(), tmp_path / "grey.safetensors")
    report = load_weights(resnet18(7, 3), tmp_path / "grey.safetensors")
    assert report.sentence == (
        "100.0% of the backbone's numbers are the file's; backbone.conv1.weight: a third for each "
        "of 3 colours, as it was for grey images"
    )


def test_two_networks_in_a_file_are_both_named(tmp_path, plain):
    path = tmp_path / "w.pth"
    torch.save({"state_dict": plain, "ema": {"state_dict": plain | {"a": torch.ones(1)}}}, path)
    with pytest.raises(WeightsError, match=r"several networks, in state_dict and ema\.state_dict"):
        load_weights(resnet18(), path)
    both = {f"{name}.{n}": t for name in ("encoder_q", "encoder_k") for n, t in plain.items()}
    torch.save(both, path)
    with pytest.raises(WeightsError, match=r"several networks, behind 'encoder_k.' and 'encoder_q"):
        load_weights(resnet18(), path)


def exported(model):
    """A program of torch.export, as .pt2."""
    file = io.BytesIO()
    torch.export.save(torch.export.export(model, (torch.rand(1, 3, 8, 8),)), file)
    return file.getvalue()


def scripted(model):
    """A TorchScript archive."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated, and still around
        torch.jit.save(torch.jit.script(model), file)
    return file.getvalue()


def zipped(**files):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def arrays():
    """An .npz."""
    file = io.BytesIO()
    np.savez(file, a=np.zeros(3))
    return file.getvalue()


WHOLE = saved(small_resnet(width=4).state_dict())
TENSORS = safetensors(small_resnet(width=4).state_dict())
OLD = saved(small_resnet(width=4).state_dict(), _use_new_zipfile_serialization=False)
DOWNLOAD = "download or copy it again, and compare its size"
KINDS = {  # how the file comes about: its bytes, and what its error says
    "web page": (
        b"\n<!DOCTYPE html><html>Virus scan warning</html>",
        "is a web page.*download the",
    ),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer.*git lfs pull"),
    "empty": (b"", f"is empty: {DOWNLOAD}"),
    "half a zip": (
        lambda: WHOLE[: len(WHOLE) // 2],
        f"cut short, [0-9,]+ bytes are there: {DOWNLOAD}",
    ),
    "half, before 1.6": (
        lambda: OLD[: len(OLD) // 2],
        f"cut short, [0-9,]+ bytes are there: {DOWNLOAD}",
    ),
    "half a safetensors": (
        lambda: TENSORS[:-1000],
        f"has {len(TENSORS) - 1000:,} bytes, .* should have {len(TENSORS):,}: {DOWNLOAD}",
    ),
    "damaged": (
        lambda: WHOLE[:5000] + bytes(100) + WHOLE[5100:],
        rf"is damaged in .* \(wrong checksum\): {DOWNLOAD}",
    ),
    "whole model": (
        lambda: saved(resnet18()),
        r"a whole model or a module.*save\(model.state_dict\(\)",
    ),
    "whole model, before 1.6": (
        lambda: saved(small_resnet(), _use_new_zipfile_serialization=False),
        r"a whole model or a module.*save\(model.state_dict\(\)",
    ),
    "TorchScript": (
        lambda: scripted(torch.nn.Conv2d(3, 4, 3)),
        r"TorchScript.*torch.jit.load\(FILE\).state_dict",
    ),
    "torch.export": (
        lambda: exported(torch.nn.Conv2d(3, 4, 3)),
        r"\(.pt2\).*torch.export.load\(FILE\).state",
    ),
    "ONNX": (b"\x08\n\x12\x07pytorch\x1a\x0c", "a graph, as ONNX and TensorFlow write: ask for"),
    "Keras": (
        b"\x89HDF\r\n\x1a\n" + bytes(50),
        "HDF5 file, as Keras and TensorFlow write: ask for",
    ),
    "Keras 3": (
        zipped(**{"config.json": "{}", "model.weights.h5": ""}),
        "a model of Keras: ask for",
    ),
    "a zip of pictures": (zipped(**{"a.jpg": "", "b.jpg": ""}), "holds, for example, a.jpg, b.jpg"),
    "npz": (lambda: arrays(), r"arrays of numpy's \(.npz\): save them as safetensors"),
    "numpy's pickle": (
        pickle.dumps({"a": np.zeros(3)}, 2),
        "pickle of numpy's.*withdrawn by their",
    ),
    "another pickle": (pickle.dumps({"a": 1}), "pickle that torch.save has not written"),
    "gzip": (b"\x1f\x8b\x08" + bytes(50), "packed by gzip: unpack it"),
    "tar": (b"w.pth".ljust(257, b"\0") + b"ustar\x0000", "tar archive: unpack it"),
    "text": (b"not weights\n", "neither safetensors nor a checkpoint of PyTorch's"),
    "a list": (saved([1, 2]), "holds no network's tensors by name.*it is a list"),
    "a picture's tensor": (
        saved({"epoch": 3, "lr": 0.1}),
        "holds no network's.*it holds epoch, lr",
    ),
    "os.system": (
        zip_with(b"\x80\x02cos\nsystem\n."),
        r"would call os.system; it is refused.*save\(model",
    ),
    "a rebuilt sparse": (
        saved({"a": torch.zeros(2, 2).to_sparse()}),
        "would call torch._utils._rebuild_sparse_tensor; it is refused",
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_error_says_what_a_file_is_and_what_helps(tmp_path, kind):
    data, said = KINDS[kind]
    data = data() if callable(data) else data
    path = tmp_path / "w.pth"
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=f"^{re.escape(str(path))} .*{said}") as caught:
        load_weights(small_resnet(width=4), path)
    message = str(caught.value)
    assert "\n" not in message and "weights_only" not in message


def test_a_folder_and_no_file(tmp_path):
    with pytest.raises(WeightsError, match="is a folder: name the file"):
        load_weights(small_resnet(), tmp_path)
    with pytest.raises(WeightsError, match="no weights file at"):
        load_weights(small_resnet(), tmp_path / "w.pth")


def test_a_name_does_not_decide_how_a_file_is_read(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(WHOLE)
    assert load_weights(small_resnet(width=4), tmp_path / "w.safetensors").matched == 1


def test_stand_ins_are_forgotten_and_run_nothing(tmp_path):
    """An object with code of its own is left aside, and PyTorch trusts nothing more than before."""
    trusted = set(torch.serialization.get_safe_globals())
    content = {"state_dict": small_resnet(width=4).state_dict(), "made": Loud(), "bound": Loud}
    Loud.heard.clear()
    torch.save(content, tmp_path / "w.pth")
    assert read_checkpoint(tmp_path / "w.pth").aside == ["bound", "made"]
    assert not Loud.heard and set(torch.serialization.get_safe_globals()) == trusted


class Loud:
    """Tells of everything that unpickling could call."""

    heard: list[str] = []

    def __new__(cls, *arguments):
        cls.heard.append("new")
        return super().__new__(cls)

    def __setstate__(self, state):
        self.heard.append("setstate")

    def __reduce__(self):
        return Loud, (1,), {"a": 1}


@pytest.mark.parametrize("form", FORMATS)
def test_damaged_files_are_read_right_or_refused(tmp_path, form):
    """400 files with one to four bytes changed, half of them near the start, and 50 cut short."""
    torch.manual_seed(0)
    model, random = small_resnet(width=2), np.random.default_rng(0)
    state = {name: t.clone() for name, t in model.state_dict().items()}
    whole, path, refused = FORMATS[form](state), tmp_path / "w.pth", 0
    for trial in range(450):
        data, changes = bytearray(whole), int(random.integers(1, 5))
        for position in random.integers(0, len(data) if trial % 2 else 1500, changes):
            data[position] = random.integers(256)
        path.write_bytes(data if trial < 400 else whole[: random.integers(len(whole))])
        try:
            report = load_weights(model, path)
        except WeightsError:
            refused += 1
            continue
        assert report.matched >= 0.9 and all(
            t.isfinite().all() for t in model.state_dict().values()
        )
        wrong = sum(int((model.state_dict()[name] != state[name]).sum()) for name in report.loaded)
        if form in ("torch zip", "safetensors"):
            assert wrong <= changes
        load_weights(model, path)
    assert refused > 100
    path.write_bytes(whole)
    assert load_weights(model, path).matched == 1


if __name__ == "__main__":
    refuse(sys.argv[1:])

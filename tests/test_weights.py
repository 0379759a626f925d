"""Outside weights: every layout that is passed around loads, and no file can do harm."""

import collections
import io
import json
import os
import pickle
import resource
import struct
import subprocess
import sys
import urllib.error
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from nla.models import load_weights, model_from, resnet18, resnet50, small_resnet
from nla.weights import WeightsError, read

CHILDREN = ["conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"]


@pytest.fixture(scope="module")
def plain():
    """ResNet-18 under torchvision's names, as MS-Celeb-1M's comes, with a classifier of 12 people."""
    torch.manual_seed(3)
    return {
        name.removeprefix("backbone."): tensor.clone()
        for name, tensor in resnet18(12).state_dict().items()
        if "num_batches_tracked" not in name
    }


def released(name):
    head, rest = name.split(".", 1)
    return f"features.{CHILDREN.index(head)}.{rest}" if head in CHILDREN else name


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
        ("half", False),
        ("parameters", False),
    ],
)
def test_checkpoints_of_every_layout(tmp_path, plain, seven, layout, zipped):
    """As written today, a zip, and as before PyTorch 1.6."""
    path, model = tmp_path / "w.pth", seven
    for tensor in model.state_dict().values():
        tensor.zero_()
    torch.save(LAYOUTS[layout](plain), path, _use_new_zipfile_serialization=zipped)
    report = load_weights(model, path)
    assert report.matched == 1 and not report.adapted
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


class PythonTwo(pickle._Pickler):
    """Writes arrays the way Python 2 did: names of its modules, and bytes as strings."""

    dispatch = pickle._Pickler.dispatch.copy()

    def save_bytes(self, value):
        self.write(pickle.BINSTRING + struct.pack("<i", len(value)) + value)
        self.memoize(value)

    dispatch[bytes] = save_bytes

    def save_str(self, value):
        self.write(pickle.SHORT_BINSTRING + struct.pack("<B", len(value)) + value.encode())
        self.memoize(value)

    dispatch[str] = save_str

    def save_global(self, value, name=None):
        module = value.__module__.replace("numpy._core", "numpy.core")
        self.write(pickle.GLOBAL + f"{module}\n{value.__name__}\n".encode())
        self.memoize(value)

    dispatch[type(np.array)] = dispatch[type(pickle.dumps)] = dispatch[type] = save_global


def python_two(content):
    file = io.BytesIO()
    PythonTwo(file, protocol=2).dump(content)
    return file.getvalue()


PICKLES = {
    "Python 2": python_two,
    **{f"protocol {p}": lambda c, p=p: pickle.dumps(c, protocol=p) for p in range(6)},
}


@pytest.mark.parametrize("how", PICKLES)
def test_numpy_pickles_of_every_protocol(tmp_path, how):
    torch.manual_seed(1)
    model = small_resnet(width=4)
    state = {name: t.numpy() for name, t in model.state_dict().items() if "num_batches" not in name}
    state["backbone.0.weight"] = state["backbone.0.weight"].astype(">f8")
    state["backbone.3.body.0.weight"] = np.asfortranarray(state["backbone.3.body.0.weight"])
    (tmp_path / "w.pkl").write_bytes(PICKLES[how](state))
    tensors, _ = read(tmp_path / "w.pkl")
    assert set(tensors) == set(state)
    for name, array in state.items():
        assert np.array_equal(tensors[name].numpy(), array), name


def test_vggface2_is_turned_to_rgb(tmp_path):
    with torch.device("meta"):
        state = {
            name.removeprefix("backbone."): np.ones(t.shape, "f4")
            for name, t in resnet50(2).state_dict().items()
            if "num_batches" not in name
        }
    state |= {
        "fc.weight": np.zeros((8631, 2048), "f4"),
        "fc.bias": np.zeros(8631, "f4"),
        "conv1.weight": np.random.default_rng(0).random((64, 3, 7, 7), "f4"),
    }
    (tmp_path / "resnet50_ft_weight.pkl").write_bytes(pickle.dumps(state, protocol=2))
    model = resnet50(7)
    report = load_weights(model, tmp_path / "resnet50_ft_weight.pkl")
    assert report.matched == 1 and "BGR to RGB" in report.adapted[0]
    assert np.array_equal(
        model.backbone.conv1.weight.detach().numpy(), state["conv1.weight"][:, ::-1]
    )
    with pytest.raises(WeightsError, match="classifier of 8631 classes"):
        model_from(tmp_path / "resnet50_ft_weight.pkl", 7)


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
        match=r"no network.*bring https://.*resnet18-f37072fd.pth along and put it into",
    ):
        load_weights(resnet18(), "imagenet")
    with pytest.raises(WeightsError, match="resnet18 and resnet50 only"):
        load_weights(small_resnet(), "imagenet")
    (tmp_path / "hub/checkpoints").mkdir(parents=True, exist_ok=True)
    torch.save(
        plain, tmp_path / "hub/checkpoints/resnet18-f37072fd.pth"
    )  # as the download leaves it
    model = resnet18()
    assert load_weights(model, "imagenet").matched == 1
    assert torch.equal(model.backbone.conv1.weight, plain["conv1.weight"])


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
    with pytest.raises(WeightsError, match=f"classifier of {classes} classes.*one of 5 is needed"):
        model_from(tmp_path / "m.safetensors", 5)
    headless = {name: t for name, t in model.state_dict().items() if not name.startswith("fc.")}
    save_file(headless, tmp_path / "m.safetensors")
    with pytest.raises(WeightsError, match="classifier of 0 classes"):
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
        WeightsError, match=r"only 0% of the backbone's.*for example, backbone\.layer1"
    ):
        load_weights(model, path)
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    deeper = {
        f"layer1.2.{part}.weight": plain[f"layer1.1.{part}.weight"] for part in ("conv1", "conv2")
    }
    torch.save(plain | deeper, path)  # a ResNet-34 holds every name of a ResNet-18
    with pytest.raises(WeightsError, match=r"2 of its own have no place there.*layer1\.2\.conv1"):
        load_weights(resnet18(), path)
    torch.save({name: t for name, t in plain.items() if "layer4" not in name}, path)
    with pytest.raises(WeightsError, match=r"only 7\d% of the backbone"):
        load_weights(resnet18(), path)
    torch.save(
        plain | {"conv1.weight": plain["conv1.weight"].mT[:, :, 1:], "bn1.bias": torch.arange(64)},
        path,
    )
    report = load_weights(
        resnet18(), path
    )  # a wrong shape and whole numbers: not used, and said so
    assert {"backbone.conv1.weight", "backbone.bn1.bias"} <= set(report.skipped) & set(report.new)
    torch.save(
        {"a." + name: t for name, t in plain.items()}
        | {"module.conv1.weight": plain["conv1.weight"]},
        path,
    )
    with pytest.raises(WeightsError, match="only 1% of the backbone"):
        load_weights(resnet18(), path)
    torch.save(plain | {"module.conv1.weight": plain["conv1.weight"]}, path)
    with pytest.raises(WeightsError, match="holds backbone.conv1.weight twice"):
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


def array_claiming(shape, code="f4", raw=b"abcd"):
    return (
        b"\x80\x02}U\x07fc.biascnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01"
        + pickle.dumps(shape, protocol=2)[2:-1]
        + b"cnumpy\ndtype\nU\x02"
        + code.encode()
        + b"K\x00K\x01\x87R"
        b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U"
        + bytes([len(raw)])
        + raw
        + b"tbs."
    )


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
        "in an object array": pickle.dumps({"a": np.array([mark], dtype=object)}),
        "object array": pickle.dumps({"a": np.array([None, 1], dtype=object)}),
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
        "array claiming 10^12 numbers": array_claiming((10**12,)),
        "array with a negative shape": array_claiming((-5, -7)),
        "array with a huge dtype": array_claiming((1,), "V9"),
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
        "git lfs pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
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
    """The body of the process above: what becomes of each file, and by how much the peak of memory grew."""
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
    for name, data in (
        ("w.pth", saved(state)),
        ("w.pkl", pickle.dumps({n: t.numpy() for n, t in state.items()})),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(WeightsError, match="tensor 'backbone.4.body.3.weight' holds NaN"):
            load_weights(small_resnet(width=4), tmp_path / name)


def safetensors(state):
    from safetensors.torch import save

    return save(state)


FORMATS = {
    "safetensors": safetensors,
    "torch zip": saved,
    "torch before 1.6": lambda state: saved(state, _use_new_zipfile_serialization=False),
    "numpy, protocol 2": lambda state: pickle.dumps(
        {n: t.numpy() for n, t in state.items()}, protocol=2
    ),
    "numpy, protocol 4": lambda state: pickle.dumps(
        {n: t.numpy() for n, t in state.items()}, protocol=4
    ),
    "numpy, Python 2": lambda state: python_two({n: t.numpy() for n, t in state.items()}),
}


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

"""Exports compute what the model computes, on any number of uint8 images, without the kit."""

import json
import sys

import numpy as np
import pytest
import safetensors
import torch
from safetensors.torch import save_file

from nla.data.images import Augmentation, normalize
from nla.methods import build
from nla.models import model_from, resnet18, small_resnet
from nla.training import export as exporting
from nla.training.export import Deployed, ExportError, export
from nla.training.opening import open_model

OTHER = Augmentation(mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))


def trained(build, channels, seed=0):
    """A model whose batch statistics are not the initial ones."""
    torch.manual_seed(seed)
    model = build(7, channels)
    for _ in range(3):
        model(torch.randn(8, channels, 40, 40) * 2 + 1)
    return model


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("augmentation", [Augmentation(), OTHER])
def test_normalisation_inside_is_the_trainings(channels, augmentation):
    model = trained(small_resnet, channels).eval()
    images = torch.randint(256, (4, channels, 40, 40), dtype=torch.uint8)
    torch.testing.assert_close(
        Deployed(model, augmentation)(images)[0], model(normalize(images, augmentation)).logits
    )


def reader(path):
    """The export at ``path``: a function from uint8 images to logits and latents."""
    if path.suffix == ".pt2":
        return torch.export.load(path).module()
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    onnx.checker.check_model(path, full_check=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [tensor.name for tensor in session.get_outputs()] == ["logits", "latents"]
    return lambda images: session.run(["logits", "latents"], {"images": images.numpy()})


@pytest.mark.parametrize("suffix", [".pt2", ".onnx"])
@pytest.mark.parametrize(
    "build, channels",
    [(small_resnet, 1), (small_resnet, 3), pytest.param(resnet18, 3, marks=pytest.mark.slow)],
)
def test_graphs_of_any_batch(tmp_path, suffix, build, channels):
    if suffix == ".onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    model = trained(build, channels)
    difference = export(model, tmp_path / f"m{suffix}", 40, OTHER)
    assert model.training and 0 <= difference < 1e-4
    assert [path.name for path in tmp_path.iterdir()] == [f"m{suffix}"]
    exported, model = reader(tmp_path / f"m{suffix}"), model.eval()
    for batch in (1, 2, 7, 40):
        images = torch.randint(256, (batch, channels, 40, 40), dtype=torch.uint8)
        with torch.no_grad():
            wanted, found = model(normalize(images, OTHER)), exported(images)
        for w, f in zip(wanted, found, strict=True):
            np.testing.assert_allclose(f, w, atol=1e-4)


def test_safetensors_hold_the_weights(tmp_path):
    model = trained(small_resnet, 1)
    assert export(model, tmp_path / "m.safetensors", 40) == 0
    found, _ = model_from(tmp_path / "m.safetensors")
    assert all(torch.equal(t, found.state_dict()[name]) for name, t in model.state_dict().items())


NAMES = ("left eye", "right eye", "both", "neither", "ärgerlich", "F", "G")


def facts(path):
    """What a file says of itself, by nothing of the kit."""
    if path.suffix == ".safetensors":
        with safetensors.safe_open(path, "pt") as file:
            return file.metadata()
    if path.suffix == ".pt2":
        extra = {"size": "", "classes": ""}
        torch.export.load(path, extra_files=extra)
        return extra
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.get_modelmeta().custom_metadata_map


@pytest.mark.parametrize("suffix", [".pt2", ".onnx", ".safetensors"])
def test_an_export_says_its_size_and_classes(tmp_path, suffix):
    if suffix == ".onnx":
        pytest.importorskip("onnxscript")
    path = tmp_path / f"m{suffix}"
    export(small_resnet(7, 1, width=4), path, 40, classes=NAMES)
    said = facts(path)
    assert said["size"] == "40" and json.loads(said["classes"]) == list(NAMES)
    with pytest.raises(ExportError, match="2 names of classes for a model of 7"):
        export(small_resnet(7, 1, width=4), path, 40, classes=("a", "b"))


@pytest.mark.parametrize("method", ["nla", "eac", "scn", "ldam"])
def test_a_head_of_the_methods_own_is_exported_whole_or_not_at_all(tmp_path, method):
    """LDAM's logits are made from angles: a graph can hold that, weights alone cannot."""
    model = trained(small_resnet, 1)
    build(method).attach(model, torch.arange(70) % 7)
    assert export(model, tmp_path / "m.pt2", 40) < 1e-3
    path = tmp_path / "m.safetensors"
    if method != "ldam":
        assert export(model, path, 40) == 0
        return
    with pytest.raises(ExportError, match=r"from angles.*export to \.onnx or \.pt2"):
        export(model, path, 40)
    assert not path.exists()


@pytest.mark.parametrize("wrong", [1e-2, float("nan")])
def test_a_wrong_export_is_refused_and_removed(tmp_path, monkeypatch, wrong):
    def damaged(deployed, path, images, facts):
        path.write_text("a file")
        return lambda batch: [part + wrong * (len(batch) == 1) for part in deployed(batch)]

    monkeypatch.setitem(exporting.FORMATS, ".pt2", damaged)
    with pytest.raises(ExportError, match="m.pt2 computes differs by"):
        export(trained(small_resnet, 3), tmp_path / "m.pt2", 40)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_exported(tmp_path, monkeypatch):
    with pytest.raises(ExportError, match=r"the name must end in \.onnx, \.pt2, \.safetensors"):
        export(small_resnet(), tmp_path / "m.h5", 40)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ExportError, match=r"pip install 'nla-research-kit\[export\]'"):
        export(small_resnet(), tmp_path / "m.onnx", 40)
    assert not list(tmp_path.iterdir())


def test_what_an_exported_file_says_of_itself_is_known_when_it_is_opened(tmp_path):
    names = ["calm", "tense", "tired"]
    model = small_resnet(3, 3).eval()
    file = tmp_path / "mine.safetensors"
    export(model, file, size=96, classes=names, augmentation=OTHER)
    opened = open_model(file)
    assert opened.classes == tuple(names) and opened.config.size == 96
    assert opened.config.augmentation.mean == OTHER.mean
    assert opened.config.augmentation.std == OTHER.std
    assert not any("not known" in note for note in opened.notes)
    assert any("says itself what its size, order, mean, std are" in n for n in opened.notes)
    told = open_model(file, size=48, order=["a", "b", "c"])
    assert told.config.size == 48 and told.classes == ("a", "b", "c")


@pytest.mark.parametrize(
    "header",
    [
        {"format": "pt"},
        {"size": "large", "classes": "seven", "mean": "[1]", "std": "[0, 0, 0]"},
        {"size": "-3", "classes": '["a", "a"]', "mean": "[null, 1, 2]", "std": "{}"},
    ],
)
def test_a_header_that_says_something_else_is_no_fact(tmp_path, header):
    tensors = {name: t.contiguous() for name, t in small_resnet(7, 3).state_dict().items()}
    save_file(tensors, tmp_path / "theirs.safetensors", metadata=header)
    notes = open_model(tmp_path / "theirs.safetensors").notes
    assert sum("not known" in note for note in notes) == 4

import pickle

import pytest
import torch
from safetensors.torch import save_file

from nla.models import WeightsError, load_weights, resnet18, resnet50, small_resnet


@pytest.mark.parametrize("build, latent, size", [(small_resnet, 96, 48), (resnet18, 512, 64), (resnet50, 2048, 64)])
def test_output_shapes(build, latent, size):
    for channels, classes in ((3, 7), (1, 8)):
        model = build(classes, channels).eval()
        output = model(torch.rand(2, channels, size, size))
        assert output.logits.shape == (2, classes) and output.latent.shape == (2, latent)
        torch.testing.assert_close(model.fc(output.latent), output.logits)


@pytest.fixture
def plain():
    """ResNet-18 tensors under torchvision's names, recognisable values, a classifier of 12 classes."""
    state = {name.removeprefix("backbone."): torch.full_like(tensor, 0.5) if tensor.is_floating_point() else tensor
             for name, tensor in resnet18(12).state_dict().items()}
    return {name: tensor for name, tensor in state.items() if "num_batches_tracked" not in name}


def released(name):
    children = ["conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"]
    head, rest = name.split(".", 1)
    return f"features.{children.index(head)}.{rest}" if head in children else name


@pytest.mark.parametrize("layout", ["torchvision", "module", "state_dict", "released", "safetensors"])
def test_weights_of_every_layout(tmp_path, plain, layout):
    path = tmp_path / ("w.safetensors" if layout == "safetensors" else "w.pth")
    if layout == "safetensors":
        save_file(plain, path)
    else:
        rename = {"module": "module.{}".format, "released": released}.get(layout, str)
        state = {rename(name): tensor for name, tensor in plain.items()}
        torch.save({"state_dict": state} if layout == "state_dict" else state, path)
    model = resnet18(7)
    report = load_weights(model, path)
    assert report.matched == 1
    assert (model.backbone.layer3[1].conv2.weight == 0.5).all()
    assert {"fc.weight", "fc.bias"} <= set(report.skipped) & set(report.new)  # 12 classes do not fit 7


def test_own_weights_come_back_whole(tmp_path):
    model, other = small_resnet(), small_resnet()
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    report = load_weights(other, tmp_path / "model.safetensors")
    assert not report.new and not report.skipped
    x = torch.rand(2, 3, 48, 48)
    assert torch.equal(model.eval()(x).logits, other.eval()(x).logits)


class Hostile:
    def __reduce__(self):
        return (open, ("hostile-was-run", "w"))


def test_unsafe_damaged_and_unfit_files_are_refused(tmp_path, plain, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": plain, "extra": Hostile()}, "hostile.pth")
    (tmp_path / "raw.pkl").write_bytes(pickle.dumps(Hostile(), protocol=2))
    (tmp_path / "cut.pth").write_bytes((tmp_path / "hostile.pth").read_bytes()[:5000])
    (tmp_path / "bad.safetensors").write_bytes(b"\xff" * 100)
    for name in ("hostile.pth", "raw.pkl", "cut.pth", "bad.safetensors"):
        with pytest.raises(WeightsError, match="cannot be read as safetensors or as plain tensors"):
            load_weights(resnet18(), name)
    assert not (tmp_path / "hostile-was-run").exists()
    torch.save(plain, "fine.pth")
    with pytest.raises(WeightsError, match="only 0% of the backbone"):
        load_weights(small_resnet(), "fine.pth")
    torch.save(plain | {"conv1.weight": torch.full((64, 3, 7, 7), float("nan"))}, "nan.pth")
    with pytest.raises(WeightsError, match="conv1.weight' holds NaN"):
        load_weights(resnet18(), "nan.pth")
    torch.save([1, 2, 3], "list.pth")
    with pytest.raises(WeightsError, match="no named tensors"):
        load_weights(resnet18(), "list.pth")
    with pytest.raises(WeightsError, match="no weights file"):
        load_weights(resnet18(), "missing.pth")

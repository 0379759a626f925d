"""The networks: shapes, and that PyTorch's compilers take them."""

import warnings

import pytest
import torch

from nla.models import resnet18, resnet50, small_resnet


@pytest.mark.parametrize(
    "build, latent, size", [(small_resnet, 96, 48), (resnet18, 512, 64), (resnet50, 2048, 64)]
)
def test_output_shapes(build, latent, size):
    for channels, classes in ((3, 7), (1, 8)):
        model = build(classes, channels).eval()
        output = model(torch.rand(2, channels, size, size))
        assert output.logits.shape == (2, classes) and output.latent.shape == (2, latent)
        assert model.in_channels == channels
        torch.testing.assert_close(model.fc(output.latent), output.logits)


@pytest.mark.parametrize("build", [small_resnet, resnet18, resnet50])
def test_one_graph_and_script(build):
    """torch.compile sees the whole forward pass as one graph; TorchScript gives the same Output."""
    torch.manual_seed(0)
    model, x = build().eval(), torch.rand(2, 3, 48, 48)
    wanted = model(x)
    compiled = torch.compile(model, fullgraph=True, backend="eager")(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated, and still around
        scripted = torch.jit.script(model)(x)
    for found in (compiled, scripted):
        torch.testing.assert_close(found.logits, wanted.logits)
        torch.testing.assert_close(found.latent, wanted.latent)

"""A trained model for use outside the kit, checked against the model that it came from."""

import copy
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from nla.data.images import Augmentation, normalize
from nla.files import atomic
from nla.models import Classifier, model_from


class ExportError(ValueError):
    """A model that cannot be exported so, or whose export computes something else."""


class Deployed(nn.Module):
    """A classifier with its normalisation inside: uint8 (B, C, H, W), RGB or grey -> logits, latents."""

    def __init__(self, model: Classifier, augmentation: Augmentation):
        super().__init__()
        ends = (
            torch.tensor([0, 255], dtype=torch.uint8)
            .view(2, 1, 1, 1)
            .expand(-1, model.in_channels, -1, -1)
        )
        low, high = normalize(ends, augmentation)
        self.model, self.augmentation = model, augmentation
        self.register_buffer("scale", (high - low) / 255)
        self.register_buffer("shift", low.clone())

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return tuple(self.model(torch.addcmul(self.shift, images.float(), self.scale)))


def export(
    model: Classifier,
    path: str | Path,
    size: int,
    augmentation: Augmentation | None = None,
    tolerance: float = 1e-4,
) -> float:
    """Write ``model`` to ``path``, read it back, and return the largest absolute difference of any output.

    By suffix: ``.onnx`` and ``.pt2`` (torch.export) map any number of ``size`` x ``size`` uint8 images,
    normalised inside as in training, to logits (B, K) and latents (B, D); ``.safetensors`` holds the weights
    alone. Compared on random, black, white and striped images. ExportError, and no file, if the suffix is
    another, a package is missing, or the difference is above ``tolerance`` times the largest output (at least 1).
    """
    path = Path(path)
    if path.suffix not in FORMATS:
        raise ExportError(
            f"cannot export to {path.name!r}: the name must end in {', '.join(FORMATS)}"
        )
    deployed = Deployed(copy.deepcopy(model).cpu(), augmentation or Augmentation()).eval()
    images = torch.randint(
        256,
        (3, model.in_channels, size, size),
        dtype=torch.uint8,
        generator=torch.Generator().manual_seed(0),
    )
    stripes = (torch.arange(size) % 2 * 255).to(torch.uint8).expand_as(images)
    differences, largest = [], 1.0
    with atomic(path) as temporary, torch.no_grad():
        exported = FORMATS[path.suffix](deployed, temporary, images)
        for batch in (images, images[:1], 0 * images, 0 * images[:2] + 255, stripes):
            for wanted, found in zip(deployed(batch), exported(batch), strict=True):
                differences.append(float((wanted - torch.as_tensor(found)).abs().max()))
                largest = max(largest, float(wanted.abs().max()))
        difference = float(torch.tensor(differences).max())
        if not difference <= tolerance * largest:  # NaN too
            raise ExportError(
                f"what {path.name} computes differs by {difference:.2g} from the model"
            )
    return difference


def _safetensors(deployed: Deployed, path: Path, images: Tensor):
    save_file(
        {name: tensor.contiguous() for name, tensor in deployed.model.state_dict().items()}, path
    )
    return Deployed(model_from(path)[0], deployed.augmentation).eval()


def _torch_export(deployed: Deployed, path: Path, images: Tensor):
    with open(path, "wb") as file:
        torch.export.save(_program(deployed, images), file)
    with open(path, "rb") as file:
        return torch.export.load(file).module()


def _onnx(deployed: Deployed, path: Path, images: Tensor):
    try:
        import onnxruntime
        import onnxscript  # noqa: F401, which torch needs
    except ModuleNotFoundError as error:
        raise ExportError(
            f"export to ONNX needs {error.name}: pip install 'nla-research-kit[export]'"
        ) from error
    torch.onnx.export(
        _program(deployed, images),
        (),
        path,
        dynamo=True,
        external_data=False,
        verbose=False,
        input_names=["images"],
        output_names=["logits", "latents"],
    )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"images": images.numpy()})


def _program(deployed: Deployed, images: Tensor) -> torch.export.ExportedProgram:
    return torch.export.export(
        deployed, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},)
    )


FORMATS = {".onnx": _onnx, ".pt2": _torch_export, ".safetensors": _safetensors}

"""A trained model for use outside the kit, checked against the model that it came from."""

import copy
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from nla.data.images import Augmentation, normalize
from nla.files import atomic
from nla.models import Classifier, model_from

Outputs = tuple[Tensor, Tensor]
Function = Callable[[Tensor], Sequence[Tensor]]


class ExportError(ValueError):
    """A model that cannot be exported so, or whose export computes something else."""


class Deployed(nn.Module):
    """A classifier with its normalisation inside: uint8 (B, C, H, W) -> logits, latents."""

    scale: Tensor
    shift: Tensor

    def __init__(self, model: Classifier, augmentation: Augmentation):
        super().__init__()
        ends = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1)
        low, high = normalize(ends.expand(-1, model.in_channels, -1, -1), augmentation)
        self.model, self.augmentation = model, augmentation
        self.register_buffer("scale", (high - low) / 255)
        self.register_buffer("shift", low.clone())

    def forward(self, images: Tensor) -> Outputs:
        logits, latent = self.model(torch.addcmul(self.shift, images.float(), self.scale))
        return logits, latent


def export(
    model: Classifier,
    path: str | Path,
    size: int,
    augmentation: Augmentation | None = None,
    tolerance: float = 1e-4,
    classes: Sequence[str] = (),
) -> float:
    """Write ``model`` to ``path``, read it back, and return the largest difference of any output.

    By suffix: ``.onnx`` and ``.pt2`` (torch.export) map any number of ``size`` x ``size`` uint8
    images, RGB or grey, normalised inside as in training, to logits (B, K) and latents (B, D);
    ``.safetensors`` holds the weights alone. The file also says ``size``, the ``mean`` and ``std``
    of the normalisation and, if given, the ``classes`` in the order of the logits (ONNX metadata,
    torch.export's extra files, the header).

    Compared on random, black, white and striped images. ExportError, and no file, if the suffix is
    another, a package is missing, the weights alone do not say what the classifier computes, or the
    difference is above ``tolerance`` times the largest output (at least 1).
    """
    path = Path(path)
    if path.suffix not in FORMATS:
        raise ExportError(
            f"cannot export to {path.name!r}: the name must end in {', '.join(FORMATS)}"
        )
    wanted = model.fc.out_features
    if classes and len(classes) != wanted:
        raise ExportError(f"there are {len(classes)} names of classes for a model of {wanted}")
    augmentation = augmentation or Augmentation()
    facts = {"size": str(size)}
    facts |= {name: json.dumps(getattr(augmentation, name)) for name in ("mean", "std")}
    if classes:
        facts["classes"] = json.dumps(list(classes))
    deployed = Deployed(copy.deepcopy(model).cpu(), augmentation).eval()
    images = _images(model.in_channels, size)
    with atomic(path) as temporary, torch.no_grad():
        exported = FORMATS[path.suffix](deployed, temporary, images, facts)
        difference, largest = _difference(deployed, exported, images)
        if not difference <= tolerance * largest:  # NaN too
            raise ExportError(
                f"what {path.name} computes differs by {difference:.2g} from the model: export to "
                f"another of {', '.join(FORMATS)}, and please report it with your versions"
            )
    return difference


def _images(channels: int, size: int) -> Tensor:
    """Three random images."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (3, channels, size, size), dtype=torch.uint8, generator=generator)


def _difference(deployed: Deployed, exported: Function, images: Tensor) -> tuple[float, float]:
    """The largest absolute difference of an output, and the largest output, at least 1."""
    width = images.shape[-1]
    stripes = (torch.arange(width) % 2 * 255).to(torch.uint8).expand_as(images)
    black, white = 0 * images, 0 * images[:2] + 255
    differences, largest = [], 1.0
    for batch in (images, images[:1], black, white, stripes):
        for wanted, found in zip(deployed(batch), exported(batch), strict=True):
            differences.append((wanted - torch.as_tensor(found)).abs().max())
            largest = max(largest, float(wanted.abs().max()))
    return float(torch.stack(differences).max()), largest


def _safetensors(deployed: Deployed, path: Path, images: Tensor, facts: dict[str, str]) -> Function:
    fc = deployed.model.fc
    latents = torch.rand(2, fc.in_features)
    if not torch.allclose(fc(latents), F.linear(latents, fc.weight, fc.bias)):
        raise ExportError(
            "this model's method computes the logits otherwise than by the classifier's weights "
            "(LDAM: from angles), so that weights alone do not say what it predicts: export to "
            ".onnx or .pt2, which hold the computation too"
        )
    tensors = {name: tensor.contiguous() for name, tensor in deployed.model.state_dict().items()}
    save_file(tensors, path, facts)
    return Deployed(model_from(path)[0], deployed.augmentation).eval()


def _torch_export(
    deployed: Deployed, path: Path, images: Tensor, facts: dict[str, str]
) -> Function:
    with open(path, "wb") as file:
        torch.export.save(_program(deployed, images), file, extra_files=dict(facts))
    with open(path, "rb") as file:
        return torch.export.load(file).module()


def _onnx(deployed: Deployed, path: Path, images: Tensor, facts: dict[str, str]) -> Function:
    try:
        import onnxruntime
        import onnxscript  # noqa: F401, which torch needs
    except ModuleNotFoundError as error:
        raise ExportError(
            f"export to ONNX needs {error.name}: pip install 'nla-research-kit[export]'"
        ) from error
    program = torch.onnx.export(
        _program(deployed, images),
        dynamo=True,
        verbose=False,
        input_names=["images"],
        output_names=["logits", "latents"],
    )
    assert program is not None  # it is, with dynamo
    program.model.metadata_props.update(facts)
    program.save(path, external_data=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"images": images.numpy()})


def _program(deployed: Deployed, images: Tensor) -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch")
    return torch.export.export(deployed, (images,), dynamic_shapes=({0: batch},))


FORMATS = {".onnx": _onnx, ".pt2": _torch_export, ".safetensors": _safetensors}

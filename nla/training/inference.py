"""A model looks at images in evaluation mode, without augmentation: scores, predictions, latents."""

import dataclasses

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from nla import models
from nla.baselines import build
from nla.data.images import mirror, normalize
from nla.data.manifest import EXPRESSIONS, DataError
from nla.metrics import accuracies, quality
from nla.training.config import Config
from nla.training.record import Run


@torch.inference_mode()
def forward(
    model: nn.Module,
    images: Tensor,
    rows: np.ndarray,
    config: Config,
    flip: bool = False,
    batch_size: int = 256,
) -> tuple[Tensor, Tensor]:
    """Logits (N, K) and latents (N, D), float32 on the CPU, of ``rows`` of ``images`` (uint8, (., C, H, W))."""
    model.eval()
    device, outputs = next(model.parameters()).device, []
    for batch in torch.as_tensor(np.array(rows)).split(batch_size):
        x = normalize(images[batch].to(device), config.augmentation)
        x = x.expand(-1, model.in_channels, -1, -1)  # grey images for a model that knows colour
        with autocast(config, device):
            outputs.append(model(in_layout(mirror(x) if flip else x, config)))
    return tuple(torch.cat(part).float().cpu() for part in zip(*outputs, strict=True))


def predict(
    model: nn.Module, images: Tensor, rows: np.ndarray, config: Config, classes: tuple[str, ...]
) -> pd.DataFrame:
    """Prediction and probabilities of held-out rows, as a run records them."""
    probabilities = forward(model, images, rows, config)[0].softmax(1).numpy()
    return pd.DataFrame(
        {
            "index": rows,
            "prediction": probabilities.argmax(1),
            **{f"p_{name}": probabilities[:, k] for k, name in enumerate(classes)},
        }
    )


def embed(
    model: nn.Module, images: Tensor, rows: np.ndarray, config: Config
) -> dict[str, np.ndarray]:
    """A latent snapshot: logits and latents of the probe set and of its mirror images."""
    logits, latent = forward(model, images, rows, config)
    flipped_logits, flipped_latent = forward(model, images, rows, config, flip=True)
    return {
        "index": rows,
        "logits": logits.numpy(),
        "latent": latent.numpy(),
        "flipped_logits": flipped_logits.numpy(),
        "flipped_latent": flipped_latent.numpy(),
    }


def restore(run: Run, best: bool = False) -> tuple[nn.Module, Config]:
    """The model of a finished run (its last, or its best on validation), on the CPU, and its config."""
    config = dataclasses.replace(Config.parse(run.config), weights="", device="cpu")
    model = getattr(models, config.model)(len(run.classes), run.card["channels"])
    labels = torch.tensor(run.manifest.query("split == 'train'")["label"].to_numpy())
    build(config.loss).attach(model, labels)  # some methods change how the classifier computes
    models.load_weights(model, run.folder / f"{'best' if best else 'model'}.safetensors")
    return model.eval(), config


def evaluate(
    model: nn.Module, images: Tensor, manifest: pd.DataFrame, config: Config, split: str = "test"
) -> dict:
    """Percentages on a split's true labels: n, :func:`nla.metrics.quality`, and each class's accuracy.

    The index of ``manifest`` says which of ``images`` a row is. Grey images are given to a model for colour in all
    three channels. DataError if the split is empty or has classes that the model does not know.
    """
    part, classes = manifest[manifest["split"] == split], EXPRESSIONS[: model.fc.out_features]
    rows, labels = part.index.to_numpy(), part["true_label"].to_numpy()
    if not len(rows):
        raise DataError(
            f"there are no {split} images; there are {', '.join(manifest['split'].unique())}"
        )
    if labels.max() >= len(classes):
        raise DataError(
            f"the images show {EXPRESSIONS[labels.max()]}, which a model of {len(classes)} classes does "
            f"not know: choose 7 classes"
        )
    if images.shape[1] > model.in_channels:
        raise DataError("the images are in colour, and the model is for grey ones")
    p = forward(model, images, rows, config)[0].softmax(1).numpy()
    return {"n": len(rows)} | quality(labels, p, classes) | accuracies(labels, p.argmax(1), classes)


def autocast(config: Config, device: torch.device):
    """Forward passes in bf16 where asked for, or by default on a GPU; the loss is always float32."""
    enabled = config.precision == "bf16" or (config.precision == "auto" and device.type != "cpu")
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def in_layout(images: Tensor, config: Config) -> Tensor:
    return images.contiguous(
        memory_format=torch.channels_last if config.channels_last else torch.contiguous_format
    )

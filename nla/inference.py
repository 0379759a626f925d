"""A model looks at images in evaluation mode, without augmentation: scores, predictions, latents."""

import dataclasses

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from nla import models
from nla.baselines import build
from nla.config import Config
from nla.data.images import mirror, normalize
from nla.dynamics import Run


@torch.inference_mode()
def forward(model: nn.Module, images: Tensor, rows: np.ndarray, config: Config, flip: bool = False,
            batch_size: int = 256) -> tuple[Tensor, Tensor]:
    """Logits (N, K) and latents (N, D), float32 on the CPU, of ``rows`` of ``images`` (uint8, (., C, H, W))."""
    model.eval()
    device, outputs = next(model.parameters()).device, []
    for batch in torch.tensor(np.asarray(rows), device=images.device).split(batch_size):
        x = normalize(images[batch].to(device), config.augmentation)
        with autocast(config, device):
            outputs.append(model(in_layout(mirror(x) if flip else x, config)))
    return tuple(torch.cat(part).float().cpu() for part in zip(*outputs, strict=True))


def predict(model: nn.Module, images: Tensor, rows: np.ndarray, config: Config,
            classes: tuple[str, ...]) -> pd.DataFrame:
    """Prediction and probabilities of held-out rows, as a run records them."""
    probabilities = forward(model, images, rows, config)[0].softmax(1).numpy()
    return pd.DataFrame({"index": rows, "prediction": probabilities.argmax(1),
                         **{f"p_{name}": probabilities[:, k] for k, name in enumerate(classes)}})


def embed(model: nn.Module, images: Tensor, rows: np.ndarray, config: Config) -> dict[str, np.ndarray]:
    """A latent snapshot: logits and latents of the probe set and of its mirror images."""
    logits, latent = forward(model, images, rows, config)
    flipped_logits, flipped_latent = forward(model, images, rows, config, flip=True)
    return {"index": rows, "logits": logits.numpy(), "latent": latent.numpy(),
            "flipped_logits": flipped_logits.numpy(), "flipped_latent": flipped_latent.numpy()}


def restore(run: Run, best: bool = False) -> tuple[nn.Module, Config]:
    """The model of a finished run (its last, or its best on validation), on the CPU, and its config."""
    config = dataclasses.replace(Config.parse(run.config), weights="", device="cpu")
    model = getattr(models, config.model)(len(run.classes), run.card["channels"])
    labels = torch.tensor(run.manifest.query("split == 'train'")["label"].to_numpy())
    build(config.loss).attach(model, labels)  # some methods change how the classifier computes
    models.load_weights(model, run.folder / f"{'best' if best else 'model'}.safetensors")
    return model.eval(), config


def autocast(config: Config, device: torch.device):
    """Forward passes in bf16 where asked for, or by default on a GPU; the loss is always float32."""
    enabled = config.precision == "bf16" or (config.precision == "auto" and device.type != "cpu")
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def in_layout(images: Tensor, config: Config) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last if config.channels_last else torch.contiguous_format)

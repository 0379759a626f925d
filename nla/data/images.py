"""From stored pixels to what the network sees: augmentation in batch, and the two views.

Everything works on whole batches of uint8 tensors, on the device they are on, with randomness per
sample from the generator that is passed in.
"""

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor


@dataclass(frozen=True)
class Augmentation:
    """Probabilities and strengths; the defaults are the paper's recipe (its implementation details)."""

    noise_p: float = 0.5
    noise_variance: float = 30.0  # of the pixel noise, on the 0..255 scale
    flip_p: float = 0.5
    erase_p: float = 0.5
    erase_area: tuple[float, float] = (0.02, 0.30)  # fraction of the image
    erase_ratio: tuple[float, float] = (0.3, 3.3)  # height / width of the erased box
    mean: tuple[float, float, float] = (0.577, 0.4494, 0.4001)
    std: tuple[float, float, float] = (0.2628, 0.2395, 0.2383)


def normalize(images: Tensor, augmentation: Augmentation) -> Tensor:
    """uint8 (B, C, H, W) -> float32, (x / 255 - mean) / std; grey images use the channels' mean."""
    mean, std = _channel_statistics(images, augmentation)
    return (images.float() - mean) / std


def augment(images: Tensor, augmentation: Augmentation, generator: Generator) -> Tensor:
    """A training batch: pixel noise, normalisation, flip and erasing, drawn for each sample alone.

    uint8 (B, C, H, W) -> float32 of the same shape. Erased pixels are 0 after normalisation, the mean
    colour. ``generator`` must be on the images' device; it advances by the same amount for any content.
    """
    batch, device = len(images), images.device
    mean, std = _channel_statistics(images, augmentation)
    noisy, flipped, erased, area, ratio, top, left = torch.rand(7, batch, generator=generator, device=device)
    pixels = images.float()
    if augmentation.noise_p > 0:
        noise = torch.randn(images.shape, generator=generator, device=device)
        strength = math.sqrt(augmentation.noise_variance) * (noisy < augmentation.noise_p)
        pixels = torch.addcmul(pixels, noise, strength[:, None, None, None]).clamp_(0, 255)
    pixels = pixels.sub_(mean).div_(std)
    pixels = torch.where((flipped < augmentation.flip_p)[:, None, None, None], mirror(pixels), pixels)
    boxes = _boxes(area, ratio, top, left, images.shape[-2:], augmentation)
    return pixels.masked_fill_(boxes & (erased < augmentation.erase_p)[:, None, None, None], 0.0)


def mirror(images: Tensor) -> Tensor:
    """The mirror image, left and right exchanged; any (..., W)."""
    return images.flip(-1)


def two_views(images: Tensor) -> Tensor:
    """(B, C, H, W) -> (2B, C, H, W): the images, then their exact mirror images."""
    return torch.cat([images, mirror(images)])


def _channel_statistics(images: Tensor, augmentation: Augmentation) -> tuple[Tensor, Tensor]:
    """Mean and std on the 0..255 scale, (C, 1, 1)."""
    pair = torch.tensor([augmentation.mean, augmentation.std], device=images.device) * 255
    if images.shape[1] == 1:
        pair = pair.mean(1, keepdim=True)
    elif images.shape[1] != 3:
        raise ValueError(f"images must have 1 or 3 channels, got shape {tuple(images.shape)}")
    return tuple(pair[:, :, None, None])


def _boxes(area: Tensor, ratio: Tensor, top: Tensor, left: Tensor, size: tuple[int, int],
           augmentation: Augmentation) -> Tensor:
    """Boxes (B, 1, H, W), bool, from uniform numbers (B,): area uniform, aspect ratio log-uniform.

    A box longer than the image is shortened to it, so very elongated large boxes lose a little area.
    """
    height, width = size
    low, high = augmentation.erase_area
    area = (low + (high - low) * area) * height * width
    low, high = (math.log(r) for r in augmentation.erase_ratio)
    ratio = torch.exp(low + (high - low) * ratio)
    box_height = (area * ratio).sqrt().round().clamp(1, height)
    box_width = (area / ratio).sqrt().round().clamp(1, width)
    y, x = torch.arange(height, device=area.device), torch.arange(width, device=area.device)
    start_y, start_x = (top * (height - box_height + 1)).floor(), (left * (width - box_width + 1)).floor()
    rows = (y >= start_y[:, None]) & (y < (start_y + box_height)[:, None])
    columns = (x >= start_x[:, None]) & (x < (start_x + box_width)[:, None])
    return rows[:, None, :, None] & columns[:, None, None, :]

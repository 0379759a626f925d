"""From stored pixels to what the network sees: augmentation in batch, and the two views.

Everything works on whole batches of uint8 tensors, on the device they are on, with randomness per
sample from the generator that is passed in: what is drawn depends on the generator and the batch's
shape, never on the pixels.
"""

import math
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Generator, Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

from nla.files import LATER

CHUNK = 2**20
"""Values worked on at once, so that what is written is read again while still in the cache."""


Range = tuple[float, float]
Channels = tuple[float, float, float]


@dataclass(frozen=True)
class Augmentation:
    """Probabilities and strengths; the defaults are the paper's recipe (its implementation
    details).
    """

    noise_p: float = 0.5
    noise_variance: float = 30.0  # of the pixel noise, on the 0..255 scale
    # height and width of the image when the noise is added, before it is enlarged: the noise is
    # enlarged with it, and so smoother and weaker; 0: noise of the pixels as the network sees them
    noise_size: int = field(default=0, metadata=LATER)
    flip_p: float = 0.5  # of the mirror image
    erase_p: float = 0.5  # of a box that is erased
    erase_area: Range = (0.02, 0.30)  # fraction of the image
    erase_ratio: Range = (0.3, 3.3)  # height / width of the erased box
    shift: int = 0  # up to so many whole pixels each way; the border is repeated
    crop: float = 1.0  # smallest fraction of the image cut out and enlarged again; 1 cuts nothing
    mean: Channels = (0.577, 0.4494, 0.4001)
    std: Channels = (0.2628, 0.2395, 0.2383)

    def __post_init__(self) -> None:
        for name in ("noise_p", "flip_p", "erase_p"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be from 0 to 1, got {getattr(self, name)}")


def normalize(images: Tensor, augmentation: Augmentation) -> Tensor:
    """uint8 (B, C, H, W) -> float32, (x / 255 - mean) / std; grey images use the channels' mean."""
    mean, std = _statistics(augmentation, images.shape[1], images.device)
    values = images.float()
    return values.sub_(mean).div_(std)


def augment(images: Tensor, augmentation: Augmentation, generator: Generator) -> Tensor:
    """A training batch: crop and shift, pixel noise, normalisation, flip and erasing, drawn for
    each sample alone.

    uint8 (B, C, H, W) -> float32 of the same shape. Erased pixels are 0 after normalisation, the
    mean colour. ``generator`` must be on the images' device.
    """
    result = torch.empty(images.shape, device=images.device)
    step = len(images)
    if images.device.type == "cpu":
        values = images[:1].numel()
        step = max(1, CHUNK // values)
    parts = torch.split(images, step)
    for part, pixels in zip(parts, torch.split(result, step)):
        pixels.copy_(part)
        _augment(pixels, augmentation, generator)
    return result


def shrunk(images: Tensor, size: int) -> Tensor:
    """uint8 (B, C, H, W) -> uint8 (B, C, size, size): bilinear, over all pixels, as Pillow does."""
    if images.shape[-1] == size:
        return images
    small = interpolate(images.float(), (size, size), mode="bilinear", antialias=True)
    return small.round_().to(torch.uint8)


def mirror(images: Tensor) -> Tensor:
    """The mirror image, left and right exchanged; any (..., W)."""
    return images.flip(-1)


def two_views(images: Tensor) -> Tensor:
    """(B, C, H, W) -> (2B, C, H, W): the images, then their exact mirror images."""
    return torch.cat([images, mirror(images)])


def _augment(pixels: Tensor, a: Augmentation, generator: Generator) -> None:
    """In place, by products and sums of whole arrays: choosing by a mask is ten times slower."""
    mean, std = _statistics(a, pixels.shape[1], pixels.device)
    each = (len(pixels), 1, 1, 1)
    draws = torch.rand(7, *each, generator=generator, device=pixels.device)
    noisy = (draws[0] < a.noise_p).float()
    flipped = (draws[1] < a.flip_p).float()
    erased = (draws[2] < a.erase_p).float()
    if a.shift or a.crop < 1:
        pixels.copy_(_crop_and_shift(pixels, a, generator))
    if a.noise_p > 0:
        noise = _noise_as_seen(pixels.shape, a.noise_size, generator)
        deviation = math.sqrt(a.noise_variance)
        pixels.addcmul_(noise, deviation * noisy)
        pixels.clamp_(0, 255)
    pixels.sub_(mean).div_(std)
    pixels.lerp_(mirror(pixels), flipped)
    size = pixels.shape[-2:]
    rows, columns = _boxes(draws[3:], size, a)
    gone = erased * rows * columns
    pixels.mul_(1 - gone)


def _noise_as_seen(shape: torch.Size, size: int, generator: Generator) -> Tensor:
    """Noise (B, C, H, W) of variance 1 before images of ``size`` pixels were enlarged; 0: now."""
    height, width = shape[-2:]
    if not size or (size, size) == (height, width):
        return _noise(shape, generator)
    small = _noise(torch.Size((*shape[:2], size, size)), generator)
    smaller = size > min(height, width)
    return interpolate(small, (height, width), mode="bilinear", antialias=smaller)


def _noise(shape: torch.Size, generator: Generator) -> Tensor:
    """Normal noise of variance 1: each value one of its 256 quantiles, by random bytes."""
    count = math.prod(shape)
    eights = -(-count // 8)
    words = torch.empty(eights, dtype=torch.int64, device=generator.device)
    words.random_(-(2**63), None, generator=generator)
    picks = words.view(torch.uint8)[:count].int()
    quantiles = _quantiles(generator.device)
    return quantiles.index_select(0, picks).view(shape)


def _crop_and_shift(pixels: Tensor, a: Augmentation, generator: Generator) -> Tensor:
    """A part of each image, at a uniform place, enlarged bilinearly; and a uniform shift."""
    count = len(pixels)
    side, *draws = torch.rand(5, count, generator=generator, device=pixels.device)
    area = a.crop + (1 - a.crop) * side
    side = area.sqrt()
    matrix = pixels.new_zeros(count, 2, 3)
    height, width = pixels.shape[-2:]
    for axis, length in enumerate((width, height)):
        place = 2 * draws[axis] - 1
        choices = 2 * a.shift + 1
        steps = draws[2 + axis] * choices
        steps = steps.floor() - a.shift
        matrix[:, axis, axis] = side
        moved = (1 - side) * place
        matrix[:, axis, 2] = moved + 2 * steps / length
    grid = affine_grid(matrix, list(pixels.shape), align_corners=False)
    return grid_sample(pixels, grid, padding_mode="border", align_corners=False)


def _boxes(draws: Tensor, size: torch.Size, a: Augmentation) -> tuple[Tensor, Tensor]:
    """The rows (B, 1, H, 1) and the columns (B, 1, 1, W) of boxes, 1 inside and 0 outside.

    From uniform numbers (4, B, 1, 1, 1): area uniform, aspect ratio log-uniform. A box longer than
    the image is shortened to it, so very elongated large boxes lose a little area.
    """
    share, ratio, down, right = draws
    height, width = size
    smallest, largest = a.erase_area
    share = smallest + (largest - smallest) * share
    area = share * height * width
    low, high = map(math.log, a.erase_ratio)
    log_ratio = low + (high - low) * ratio
    root = torch.exp(log_ratio / 2)
    side = area.sqrt()
    rows = _span(side * root, height, down)
    columns = _span(side / root, width, right)
    return rows.transpose(-1, -2), columns


def _span(side: Tensor, length: int, place: Tensor) -> Tensor:
    """Which of ``length`` pixels lie in a run of ``side`` at ``place``: (B, 1, 1, length)."""
    side = side.round()
    side = side.clamp(1, length)
    places = length - side + 1
    start = place * places
    start = start.floor()
    at = torch.arange(length, dtype=torch.float32, device=side.device)
    end = start + side
    inside = (at >= start) & (at < end)
    return inside.float()


@lru_cache
@torch.inference_mode(False)
def _statistics(
    augmentation: Augmentation, channels: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Mean and std on the 0..255 scale, (C, 1, 1)."""
    if channels not in (1, 3):
        raise ValueError(f"images must have 1 or 3 channels, got {channels}")
    pair = torch.tensor([augmentation.mean, augmentation.std], device=device)
    pair = pair * 255
    if channels == 1:
        pair = pair.mean(1, keepdim=True)
    mean, std = pair[:, :, None, None]
    return mean, std


@lru_cache
@torch.inference_mode(False)
def _quantiles(device: torch.device) -> Tensor:
    """The 256 mid-quantiles of the normal distribution, scaled to variance 1."""
    places = torch.arange(256, dtype=torch.float64)
    middles = (places + 0.5) / 256
    table: Tensor = torch.special.ndtri(middles)
    table = table / table.std(correction=0)
    return table.float().to(device)

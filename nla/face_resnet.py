"""The face recognition network of dlib (King, "High quality face recognition with deep metric
learning", 2017), a residual network of 29 convolutions; a latent is the pooled 256 numbers.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIZES = (64, 150)  # pixels: the smallest and the largest image that it is for
SIZE = 96  # the cheapest that holds accuracy on photographs of expressions
MEAN = (122.782 / 255, 117.001 / 255, 104.298 / 255)  # of its images, on the scale 0..1
STD = (256 / 255, 256 / 255, 256 / 255)

STEM = 32  # channels of the first convolution
LATENT = 256
DESCRIPTOR = 128  # numbers that the original makes of a latent, by a matrix
KERNEL = 3  # of all convolutions but the first
BLOCKS = (
    (32, 32, 1),
    (32, 32, 1),
    (32, 32, 1),
    (32, 64, 2),
    (64, 64, 1),
    (64, 64, 1),
    (64, 64, 1),
    (64, 128, 2),
    (128, 128, 1),
    (128, 128, 1),
    (128, 256, 2),
    (256, 256, 1),
    (256, 256, 1),
    (256, 256, 2),
)
"""Channels in, channels out and stride of each block, from input to output."""


class FaceResNet(nn.Module):
    """Normalised images (B, C, H, W) -> latents (B, 256)."""

    def __init__(self, in_channels: int = 3):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, STEM, 7, stride=2, bias=False),
            nn.BatchNorm2d(STEM),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
        )
        blocks = [FaceBlock(*block) for block in BLOCKS]
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def forward(self, images: Tensor) -> Tensor:
        features = self.blocks(self.stem(images))
        latents: Tensor = self.pool(features)
        return latents


class FaceBlock(nn.Module):
    """relu(x + conv(relu(conv(x)))), where x has no projection.

    Of a block that goes down, x is pooled, 2 by 2; the convolution has no padding then, so that it
    may be smaller by one. What is smaller, or has fewer channels, is padded with zeros at the end.
    """

    def __init__(self, channels_in: int, channels: int, stride: int):
        super().__init__()
        self.down = stride == 2
        padding = 0 if self.down else 1
        self.conv1 = nn.Conv2d(channels_in, channels, KERNEL, stride, padding, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, KERNEL, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        short = x
        if self.down:
            short = halved(x)
            x = padded(x, x.shape[1], KERNEL)  # small images leave less than a kernel
        y = self.norm1(self.conv1(x))
        y = self.norm2(self.conv2(torch.relu(y)))
        size = max(y.shape[-1], short.shape[-1])
        channels = y.shape[1]
        return torch.relu(padded(short, channels, size) + padded(y, channels, size))


def halved(x: Tensor) -> Tensor:
    """Pooled 2 by 2; a map of a single number stays."""
    return x if x.shape[-1] < 2 else F.avg_pool2d(x, 2)


def padded(x: Tensor, channels: int, size: int) -> Tensor:
    """With zeros at the end of each axis where it is smaller, (B, channels, size, size)."""
    more = max(0, size - x.shape[-1])
    new = channels - x.shape[1]
    if more + new == 0:
        return x
    return F.pad(x, [0, more, 0, more, 0, new])

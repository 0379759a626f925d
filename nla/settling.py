"""Affine maps into batch norms: a network that was folded for use is made ready to be trained on.

A network for use only has each batch norm folded into gamma x + beta. To train it, each needs the
mean m and the variance v of its x again, and then, with its epsilon,

    gamma x + beta  =  w (x - m) / sqrt(v + epsilon) + b,
    w = gamma sqrt(v + epsilon),   b = beta + gamma m:

the same numbers in evaluation, and nearly the same in training, where m and v are a batch's own.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

Sums = dict[nn.BatchNorm2d, Tensor]  # (3, C) float64: how many, their sum, the sum of their squares


@torch.no_grad()
def settle(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Set each batch norm's mean and variance to what it sees of images (B, C, H, W), normalised.

    The model's outputs in evaluation mode stay as they are. ValueError if there are no images.
    """
    norms = [part for part in model.modules() if isinstance(part, nn.BatchNorm2d)]
    sums: Sums = {}
    handles = [norm.register_forward_pre_hook(partial(_count, sums)) for norm in norms]
    training = model.training
    try:
        model.eval()
        for batch in batches:
            model(batch)
    finally:
        for handle in handles:
            handle.remove()
        model.train(training)
    if len(sums) < len(norms):
        raise ValueError("there are no images to set the batch norms by")
    for norm in norms:
        _set(norm, *sums[norm])


def _count(sums: Sums, norm: nn.BatchNorm2d, inputs: tuple[Any, ...]) -> None:
    x = inputs[0].double()
    axes = (0, 2, 3)
    count = torch.ones_like(x).sum(axes)
    total = x.sum(axes)
    squares = x.square().sum(axes)
    found = torch.stack([count, total, squares])
    sums[norm] = found + sums[norm] if norm in sums else found


def _set(norm: nn.BatchNorm2d, count: Tensor, total: Tensor, squares: Tensor) -> None:
    assert norm.running_mean is not None and norm.running_var is not None  # they are kept
    mean = total / count
    variance = squares / count - mean.square()
    variance = variance.clamp(min=0)
    was = norm.running_var.double() + norm.eps
    gamma = norm.weight.double() / was.sqrt()
    beta = norm.bias.double() - gamma * norm.running_mean.double()
    deviation = (variance + norm.eps).sqrt()
    norm.weight.copy_(gamma * deviation)
    norm.bias.copy_(beta + gamma * mean)
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)

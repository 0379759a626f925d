"""Noise-aware adaptive weighting (NAW): how much each training sample counts.

A sample is a point on the plane (p_GT, p_NN): the probability of its label, and of the strongest
other class, the "nearest negative". Near the diagonal the two compete and the sample is ambiguous;
far below it the label is clean; far above it the network contradicts the label, which is how noise
looks. The weight is a bivariate normal density there,

    w* = N2((p_GT, p_NN); mu, Sigma),   (mu_T, Sigma_T(epsilon)) if p_GT >= p_NN,
                                        else (mu_F, Sigma_F),

with epsilon rising from 0 to 1 during training. Source: Lee et al., "Navigating Label Ambiguity for
Facial Expression Recognition in the Wild", AAAI 2025, section on NAW.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

Covariance = list[list[float]]


class Scores(NamedTuple):
    """Where each sample stands on the plane; three tensors of shape (B,)."""

    p_gt: Tensor  # probability of the label
    p_nn: Tensor  # largest probability among the other classes
    correct: Tensor  # bool, p_gt >= p_nn


def scores(logits: Tensor, targets: Tensor) -> Scores:
    """p_GT, p_NN and correctness from logits (B, K) and targets (B,), in float32 at least.

    ValueError as :func:`check`.
    """
    check(logits, targets)
    return scores_of(in_float32(logits).softmax(1), targets)


def scores_of(probabilities: Tensor, targets: Tensor) -> Scores:
    """As :func:`scores`, from probabilities (B, K)."""
    label = targets.long()[:, None]
    p_gt = probabilities.gather(1, label)[:, 0]
    p_nn = probabilities.scatter(1, label, -1.0).amax(1)
    return Scores(p_gt, p_nn, p_gt >= p_nn)


@dataclass(frozen=True)
class NAW:
    """The parameters of the weighting; the defaults are the paper's.

    ``std`` s and ``ratio`` r give Sigma its axes: along one diagonal of the plane the standard
    deviation is s sqrt(2), along the other s / r sqrt(2). For correct predictions the long axis
    follows epsilon, from round (epsilon = 0) to anti-diagonal (1); for wrong ones it lies along the
    diagonal, so that weight falls quickly away from it.
    """

    mu_true: tuple[float, float] = (0.5, 0.5)
    std_true: float = 0.80
    ratio_true: float = 2.0
    mu_false: tuple[float, float] = (0.30, 0.15)
    std_false: float = 0.91
    ratio_false: float = 6.0
    slope: float = -15.0

    def __post_init__(self) -> None:
        for name in ("std_true", "ratio_true", "std_false", "ratio_false"):
            value = getattr(self, name)
            if not value > 0:
                raise ValueError(f"{name} must be positive, got {value}")

    def epsilon(self, progress: float) -> float:
        """epsilon(e) = 1 - exp(slope e / E), with progress = e / E in [0, 1], else ValueError."""
        check_progress(progress)
        return 1.0 - math.exp(self.slope * progress)

    def covariances(self, progress: float) -> tuple[Covariance, Covariance]:
        """Sigma_T(epsilon) and Sigma_F, 2 x 2 nested lists, with a = s^2 + (s / r)^2 of each.

        Sigma_T = [[a, epsilon b], [epsilon b, a]],   b = (s / r)^2 - s^2
        Sigma_F = [[a, b], [b, a]],                   b = s^2 - (s / r)^2
        """
        long = self.std_true**2
        short = (self.std_true / self.ratio_true) ** 2
        a, b = long + short, self.epsilon(progress) * (short - long)
        sigma_true = [[a, b], [b, a]]
        long = self.std_false**2
        short = (self.std_false / self.ratio_false) ** 2
        a, b = long + short, long - short
        sigma_false = [[a, b], [b, a]]
        return sigma_true, sigma_false

    def weights(self, scores: Scores, progress: float, coupled: bool = False) -> Tensor:
        """w* (B,) at ``scores`` when the fraction ``progress`` of training is over.

        ``coupled``: see :func:`density`. ValueError for a progress outside [0, 1].
        """
        constants = density_constants(self, progress, scores.p_gt.dtype, scores.p_gt.device)
        return density(scores, constants, coupled)


def density(scores: Scores, constants: Tensor, coupled: bool = False) -> Tensor:
    """N2, shape (B,), at each sample's point d from mu, in the coordinates along the diagonals:

        N2 = exp(-(d_1 + d_2)^2 / 4 (a + b) - (d_1 - d_2)^2 / 4 (a - b)) / (2 pi sqrt(det Sigma))

    Correctness picks the row of ``constants`` (2, 5). ``coupled`` replaces d_j' Sigma^-1 d_j by the
    mean over i of the density at d_i' Sigma^-1 d_j: the weight of one sample then depends on its
    batch (released code, v1).
    """
    picked = constants[scores.correct.long()]
    mean_total, mean_margin, spread, narrow, scale = picked.unbind(-1)
    total = scores.p_gt + scores.p_nn
    margin = scores.p_gt - scores.p_nn
    along = total - mean_total  # d_1 + d_2
    across = margin - mean_margin  # d_1 - d_2
    if not coupled:
        exponent = along.square() / spread + across.square() / narrow
        return scale * exponent.exp()
    total_part = (total[:, None] - mean_total) * along / spread
    margin_part = (margin[:, None] - mean_margin) * across / narrow
    exponents = total_part + margin_part  # (B, B)
    return scale * exponents.exp().mean(0)


@lru_cache(maxsize=8)
@torch.inference_mode(False)
def density_constants(
    naw: NAW, progress: float, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """The densities of wrong and of correct predictions (2, 5), as the numbers that density takes.

    Sigma = [[a, b], [b, a]] has the diagonals of the plane as eigenvectors, with eigenvalues a + b
    and a - b, so the exponent of :func:`density`, and det Sigma = (a + b) (a - b).
    """
    sigma_true, sigma_false = naw.covariances(progress)
    wrong = diagonal_form(naw.mu_false, sigma_false)
    correct = diagonal_form(naw.mu_true, sigma_true)
    return torch.tensor([wrong, correct], dtype=dtype, device=device)


def diagonal_form(mu: tuple[float, float], sigma: Covariance) -> list[float]:
    """mu_1 + mu_2, mu_1 - mu_2, -4 (a + b), -4 (a - b) and 1 / (2 pi sqrt(det Sigma))."""
    a, b = sigma[0]
    along, across = a + b, a - b
    scale = 1 / (2 * math.pi * math.sqrt(along * across))
    first, second = mu
    return [
        first + second,
        first - second,
        -4 * along,
        -4 * across,
        scale,
    ]


def in_float32(logits: Tensor) -> Tensor:
    """Half precision is raised to float32; float32 and float64 stay as they are."""
    return logits if logits.dtype == torch.float64 else logits.float()


def check_progress(progress: float) -> None:
    """Raise ValueError unless ``progress`` is in [0, 1]; NaN is not."""
    if not 0 <= progress <= 1:
        raise ValueError(f"progress is a fraction: epoch / epochs, got {progress}")


def check(logits: Tensor, targets: Tensor) -> None:
    """Raise ValueError unless logits are finite (B, K >= 2) and targets integers (B,) in 0..K-1."""
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise ValueError(f"logits must have shape (batch, classes >= 2), got {tuple(logits.shape)}")
    batch, classes = logits.shape
    whole_numbers = not targets.is_floating_point() and targets.dtype != torch.bool
    if targets.shape != (batch,) or not whole_numbers:
        raise ValueError(
            f"targets must be {batch} class numbers, integers, one per row of logits; "
            f"got {targets.dtype} of shape {tuple(targets.shape)}"
        )
    outside = (targets < 0) | (targets >= classes)
    if outside.any():
        row = int(outside.nonzero()[0])
        raise ValueError(f"target {int(targets[row])} in row {row} is outside 0..{classes - 1}")
    finite = logits.isfinite().all(1)
    if not finite.all():
        row = int((~finite).nonzero()[0])
        raise ValueError(
            f"logits of row {row} are not finite: training has diverged "
            "(lower the learning rate) or the input holds NaN"
        )

"""The NLA loss: noise-aware weighted cross-entropy plus flip consistency, in three named variants.

    L = lambda * mean_i (1 + w*_i) CE_i  +  (1 - lambda) * L_reg

Source: Lee et al., AAAI 2025 (``paper``), and the authors' code as first published in March 2025
(``released_v1``) and as revised in May 2025 (``released``). The three differ as the table says.

=============  ==============================  ==========================================
variant        w*                              L_reg
=============  ==============================  ==========================================
paper          per sample, a constant          Jensen-Shannon, mean over the batch
released       per sample, gradient flows      Bhattacharyya distance, sum over the batch
released_v1    coupled over the batch,         Bhattacharyya distance, sum over the batch
               gradient flows
=============  ==============================  ==========================================
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nla.consistency import released_divergence
from nla.naw import NAW, Scores, check, in_float32, scores_of

VARIANTS = ("paper", "released", "released_v1")


class LossTerms(NamedTuple):
    """The loss of a batch and what it is made of; ``total`` is a scalar, the rest per sample (B,).

    ``total`` carries the gradient; in the ``paper`` variant the rest are plain numbers.
    """

    total: Tensor
    weight: Tensor  # w*, without the 1 that is added to it
    cross_entropy: Tensor
    divergence: Tensor
    scores: Scores

    def record(self) -> dict[str, Tensor]:
        """The per-sample facts under the names they have in a run's dynamics files, detached."""
        facts = self.scores._asdict() | {"weight": self.weight, "cross_entropy": self.cross_entropy,
                                         "divergence": self.divergence}
        return {name: value.detach() for name, value in facts.items()}


class Method(nn.Module):
    """A way to train: a loss of one or two views, and what it needs to know beside their logits.

    Simple ones define ``forward(logits, flipped_logits, targets, progress) -> LossTerms`` alone.
    """

    views = 1

    def attach(self, model: nn.Module, labels: Tensor) -> None:
        """Called once before training with the model and the training labels (N,)."""

    def on_outputs(self, first, second, targets: Tensor, progress: float, rows: Tensor) -> LossTerms:
        """The loss from the model's outputs for the two views; ``rows`` (B,) count the training samples from 0."""
        return self(first.logits, None if second is None else second.logits, targets, progress)


class PaperLoss(torch.autograd.Function):
    """The loss of the paper with its gradient in closed form, in a fraction of the operations that autograd needs.

        dL/dz  = [lambda (1 + w*) (p - 1_y) + (1 - lambda) p (g - <p, g>)] / B,    g = 1/2 log(p / m)
        dL/dz' = (1 - lambda) q (h - <q, h>) / B,    h = 1/2 log(q / m),    m = (p + q) / 2

    with p = softmax(z), q = softmax(z'), w* constant, and JSD(p, q) = <p, g> + <q, h>.
    """

    @staticmethod
    def forward(ctx, logits: Tensor, flipped_logits: Tensor, targets: Tensor, lam: float, naw: NAW, progress: float):
        size, label = len(targets), targets.long()[:, None]
        log_p = torch.stack([logits, flipped_logits]).log_softmax(2)
        p = log_p.exp()
        cross_entropy, scores = -log_p[0].gather(1, label)[:, 0], scores_of(p[0], targets)
        weight = naw.weights(scores, progress)
        gap = (log_p - torch.logaddexp(*log_p) + math.log(2)).mul_(0.5)  # g, h
        parts = (p * gap).sum(2, keepdim=True)  # <p, g>, <q, h>
        divergence, factor = parts.sum(0)[:, 0], (1 + weight) * (lam / size)
        gradient = gap.sub_(parts).mul_(p).mul_((1 - lam) / size)
        gradient[0].addcmul_(p[0], factor[:, None]).scatter_add_(1, label, -factor[:, None])
        ctx.save_for_backward(gradient)
        total = factor.dot(cross_entropy) + divergence.mean() * (1 - lam)
        ctx.mark_non_differentiable(weight, cross_entropy, divergence, *scores)
        return total, weight, cross_entropy, divergence, *scores

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, upstream: Tensor, *_):
        return *(ctx.saved_tensors[0] * upstream), None, None, None, None


class NLALoss(Method):
    """lambda (1 + w*) CE + (1 - lambda) L_reg over a batch; see the table above for the variants.

    ``checked`` verifies the inputs (ValueError on NaN, on targets out of range, on wrong shapes); on a
    GPU that waits for the device at every call, so a training loop turns it off.
    """

    views = 2

    def __init__(self, lam: float = 0.5, naw: NAW | None = None, variant: str = "paper",
                 checked: bool = True):
        super().__init__()
        if variant not in VARIANTS:
            raise ValueError(f"unknown variant {variant!r}; expected one of {', '.join(VARIANTS)}")
        if not 0 <= lam <= 1:
            raise ValueError(f"lam must be in [0, 1], got {lam}")
        self.lam, self.naw, self.variant, self.checked = lam, naw or NAW(), variant, checked

    def forward(self, logits: Tensor, flipped_logits: Tensor, targets: Tensor, progress: float) -> LossTerms:
        """Logits of both views (B, K), targets (B,) integers, progress = epoch / epochs in [0, 1]."""
        if self.checked:
            check(logits, targets)
            check(flipped_logits, targets)
        if logits.shape != flipped_logits.shape:
            raise ValueError(f"the two views' logits must have the same shape (B, K), got {tuple(logits.shape)} "
                             f"and {tuple(flipped_logits.shape)}")
        logits, flipped_logits = in_float32(logits), in_float32(flipped_logits)
        if self.variant == "paper":
            *terms, p_gt, p_nn, correct = PaperLoss.apply(logits, flipped_logits, targets, self.lam, self.naw, progress)
            return LossTerms(*terms, Scores(p_gt, p_nn, correct))
        cross_entropy = F.cross_entropy(logits, targets, reduction="none")
        scores = scores_of(logits.softmax(1), targets)
        weight = self.naw.weights(scores, progress, coupled=self.variant == "released_v1")
        divergence = released_divergence(logits, flipped_logits)
        total = self.lam * ((1 + weight) * cross_entropy).mean() + (1 - self.lam) * divergence.sum()
        return LossTerms(total, weight, cross_entropy, divergence, scores)

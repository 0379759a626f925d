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

from nla.consistency import check_views, js_divergence, released_divergence
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

    def record(self, logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """The per-sample facts (B,) under their names in a run's dynamics files, detached; logits (B, K) of view 1."""
        nearest = logits.detach().scatter(1, targets[:, None], -torch.inf).argmax(1).to(torch.uint8)  # whose p is p_nn
        facts = self.scores._asdict() | {"weight": self.weight, "cross_entropy": self.cross_entropy,
                                         "divergence": self.divergence, "nearest": nearest}
        return {name: value.detach() for name, value in facts.items()}


class Method(nn.Module):
    """What the training loop asks of a method; NLA and everything that it is compared with.

    ``views`` is 1, or 2 where the mirror images are passed through the model as well. ``checked`` verifies
    the inputs (ValueError on NaN, on targets out of range, on wrong shapes); on a GPU that waits for the
    device at every call, so a training loop turns it off.
    """

    views = 1

    def __init__(self, naw: NAW | None = None, checked: bool = True):
        super().__init__()
        self.naw, self.checked = naw or NAW(), checked

    def attach(self, model: nn.Module, labels: Tensor) -> None:
        """Called once before training, with the model and the labels (N,) of the training set.

        Here a method makes what depends on them: class counts, a memory of N samples, layers of its own.
        """

    def on_outputs(self, first, second, targets: Tensor, progress: float, rows: Tensor) -> LossTerms:
        """The loss from the model's ``Output`` on each view (``second``: None with one view).

        ``rows`` (B,) says which of the N training samples these are.
        """
        return self(first.logits, None if second is None else second.logits, targets, progress)

    def verify(self, logits: Tensor, flipped_logits: Tensor | None, targets: Tensor) -> None:
        """ValueError for input that is wrong, if ``checked``, and for views of different shapes in any case."""
        for view in (logits, flipped_logits) if self.checked else ():
            if view is not None:
                check(view, targets)
        if flipped_logits is not None:
            check_views(logits, flipped_logits)

    def observe(self, logits: Tensor, flipped_logits: Tensor | None, targets: Tensor, progress: float,
                coupled: bool = False) -> LossTerms:
        """Terms with the mean cross-entropy for a total, and with what NAW would weigh at these scores."""
        self.verify(logits, flipped_logits, targets)
        logits = in_float32(logits)
        cross_entropy = F.cross_entropy(logits, targets, reduction="none")
        scores = scores_of(logits.softmax(1), targets)
        weight = self.naw.weights(scores, progress, coupled)
        divergence = weight * torch.nan if flipped_logits is None else js_divergence(logits, flipped_logits)
        return LossTerms(cross_entropy.mean(), weight, cross_entropy, divergence, scores)


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
    """lambda (1 + w*) CE + (1 - lambda) L_reg over a batch; see the table above for the variants."""

    views = 2

    def __init__(self, lam: float = 0.5, naw: NAW | None = None, variant: str = "paper", checked: bool = True):
        super().__init__(naw, checked)
        if variant not in VARIANTS:
            raise ValueError(f"unknown variant {variant!r}; expected one of {', '.join(VARIANTS)}")
        if not 0 <= lam <= 1:
            raise ValueError(f"lam must be in [0, 1], got {lam}")
        self.lam, self.variant = lam, variant

    def forward(self, logits: Tensor, flipped_logits: Tensor, targets: Tensor, progress: float) -> LossTerms:
        """Logits of both views (B, K), targets (B,) integers, progress = epoch / epochs in [0, 1]."""
        if self.variant == "paper":
            self.verify(logits, flipped_logits, targets)
            *terms, p_gt, p_nn, correct = PaperLoss.apply(in_float32(logits), in_float32(flipped_logits), targets,
                                                          self.lam, self.naw, progress)
            return LossTerms(*terms, Scores(p_gt, p_nn, correct))
        terms = self.observe(logits, flipped_logits, targets, progress, coupled=self.variant == "released_v1")
        divergence = released_divergence(logits, flipped_logits)
        weighted = ((1 + terms.weight) * terms.cross_entropy).mean()
        return terms._replace(divergence=divergence, total=self.lam * weighted + (1 - self.lam) * divergence.sum())

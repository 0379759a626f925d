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
from nla.naw import NAW, Scores, check, density, density_constants, in_float32, scores_of

VARIANTS = ("paper", "released", "released_v1")


class LossTerms(NamedTuple):
    """The loss of a batch, a scalar that carries the gradient, and what it is made of, per sample (B,)."""

    total: Tensor
    weight: Tensor  # w*, without the 1 that is added to it
    cross_entropy: Tensor
    divergence: Tensor
    scores: Scores

    def record(self, logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """The per-sample facts (B,) under their names in a run's dynamics files, detached; logits (B, K) of view 1."""
        nearest = (
            logits.detach().scatter(1, targets[:, None], -torch.inf).argmax(1).to(torch.uint8)
        )  # whose p is p_nn
        facts = self.scores._asdict() | self._asdict() | {"nearest": nearest}
        return {
            name: value.detach() for name, value in facts.items() if name not in ("total", "scores")
        }


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
        """Called once before training, to make what depends on the model and the labels (N,) of the training set."""

    def on_outputs(
        self, first, second, targets: Tensor, progress: float, rows: Tensor
    ) -> LossTerms:
        """The loss from the model's ``Output`` on each view (``second``: None with one view) of the rows (B,)."""
        return self(first.logits, None if second is None else second.logits, targets, progress)

    def verify(self, logits: Tensor, flipped_logits: Tensor | None, targets: Tensor) -> None:
        """ValueError for input that is wrong, if ``checked``, and for views of different shapes in any case."""
        for view in (logits, flipped_logits) if self.checked else ():
            if view is not None:
                check(view, targets)
        if flipped_logits is not None:
            check_views(logits, flipped_logits)

    def observe(
        self,
        logits: Tensor,
        flipped_logits: Tensor | None,
        targets: Tensor,
        progress: float,
        coupled: bool = False,
    ) -> LossTerms:
        """Terms with the mean cross-entropy for a total, and with what NAW would weigh at these scores."""
        self.verify(logits, flipped_logits, targets)
        logits = in_float32(logits)
        cross_entropy = F.cross_entropy(logits, targets, reduction="none")
        scores = scores_of(logits.softmax(1), targets)
        weight = self.naw.weights(scores, progress, coupled)
        divergence = (
            weight * torch.nan if flipped_logits is None else js_divergence(logits, flipped_logits)
        )
        return LossTerms(cross_entropy.mean(), weight, cross_entropy, divergence, scores)


def paper_terms(
    logits: Tensor, flipped_logits: Tensor, targets: Tensor, lam: float, constants: Tensor
) -> tuple:
    """The gradient (2, B, K) of the paper's loss in closed form, and the fields of ``LossTerms``.

        dL/dz  = [lambda (1 + w*) (p - 1_y) + (1 - lambda) p (g - <p, g>)] / B,    g = 1/2 log(p / m)
        dL/dz' = (1 - lambda) q (h - <q, h>) / B,    h = 1/2 log(q / m),    m = (p + q) / 2

    with p = softmax(z), q = softmax(z'), w* constant, and JSD(p, q) = <p, g> + <q, h>.
    """
    size, label = len(targets), targets.long()[:, None]
    log_p = torch.stack([logits, flipped_logits]).log_softmax(2)
    p = log_p.exp()
    cross_entropy, scores = -log_p[0].gather(1, label)[:, 0], scores_of(p[0], targets)
    weight = density(scores, constants)
    gap = (log_p - torch.logaddexp(*log_p) + math.log(2)).mul_(0.5)  # g, h
    parts = (p * gap).sum(2, keepdim=True)  # <p, g>, <q, h>
    divergence, factor = parts.sum(0)[:, 0], (1 + weight) * (lam / size)
    gradient = gap.sub_(parts).mul_(p).mul_((1 - lam) / size)
    gradient[0].addcmul_(p[0], factor[:, None]).scatter_add_(1, label, -factor[:, None])
    total = factor.dot(cross_entropy) + divergence.mean() * (1 - lam)
    return gradient, total, weight, cross_entropy, divergence, scores


class KnownGradient(torch.autograd.Function):
    """A scalar and its gradient (2, B, K) in the logits of both views, in place of the one that autograd would find."""

    @staticmethod
    def forward(ctx, value: Tensor, gradient: Tensor, logits: Tensor, flipped_logits: Tensor):
        ctx.save_for_backward(gradient)
        return value

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, upstream: Tensor):
        return None, None, *(ctx.saved_tensors[0] * upstream)


class NLALoss(Method):
    """lambda (1 + w*) CE + (1 - lambda) L_reg over a batch; see the table above for the variants.

    ``compile``: one kernel (one thread) for the paper's, by torch.compile; on a CPU that needs a C++ compiler.
    """

    views = 2

    def __init__(self, lam: float = 0.5, variant: str = "paper", compile: bool = False, **options):
        super().__init__(**options)
        if variant not in VARIANTS:
            raise ValueError(f"unknown variant {variant!r}; expected one of {', '.join(VARIANTS)}")
        if not 0 <= lam <= 1:
            raise ValueError(f"lam must be in [0, 1], got {lam}")
        self.lam, self.variant = lam, variant
        self.terms = (
            torch.compile(paper_terms, options={"cpp.threads": 1}) if compile else paper_terms
        )

    def forward(
        self, logits: Tensor, flipped_logits: Tensor, targets: Tensor, progress: float
    ) -> LossTerms:
        """Logits of both views (B, K), targets (B,) integers, progress = epoch / epochs in [0, 1]."""
        if self.variant == "paper":
            self.verify(logits, flipped_logits, targets)
            logits, flipped_logits = in_float32(logits), in_float32(flipped_logits)
            with torch.no_grad():
                constants = density_constants(self.naw, progress, logits.dtype, logits.device)
                gradient, total, *terms = self.terms(
                    logits, flipped_logits, targets, self.lam, constants
                )
            return LossTerms(KnownGradient.apply(total, gradient, logits, flipped_logits), *terms)
        terms = self.observe(
            logits, flipped_logits, targets, progress, coupled=self.variant == "released_v1"
        )
        divergence = released_divergence(logits, flipped_logits)
        weighted = ((1 + terms.weight) * terms.cross_entropy).mean()
        return terms._replace(
            divergence=divergence, total=self.lam * weighted + (1 - self.lam) * divergence.sum()
        )

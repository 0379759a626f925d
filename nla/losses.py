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
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from nla.consistency import check_views, js_divergence, released_divergence
from nla.models import Classifier, Output
from nla.naw import NAW, Scores, check, density, density_constants, in_float32, scores_of

VARIANTS = ("paper", "released", "released_v1")
View = TypeVar("View")


class LossTerms(NamedTuple):
    """The loss of a batch, a scalar to go backward from, and what it is made of, per sample (B,).

    The terms carry gradients too, so that a loss of one's own can be made of them: all but
    ``weight`` in the paper's variant, where w* is a constant, and ``scores.correct``.
    """

    total: Tensor
    weight: Tensor  # w*, without the 1 that is added to it
    cross_entropy: Tensor
    divergence: Tensor
    scores: Scores
    factor: Tensor | None = None  # of the cross-entropy in the loss, where it is not 1 + w*

    def verify(self, count: int, method: str) -> None:
        """ValueError unless the total is one number, and all else one for each of the samples."""
        parts = {**self._asdict(), **self.scores._asdict()}
        del parts["scores"]
        for name, value in parts.items():
            expected = () if name == "total" else (count,)
            if value is None and name == "factor":
                continue
            if not isinstance(value, Tensor) or value.shape != expected:
                shape = tuple(value.shape) if isinstance(value, Tensor) else value
                raise ValueError(
                    f"{method}: {name} in its LossTerms must be a tensor of shape {expected}, got "
                    f"{shape}"
                )

    def record(self, logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """The facts (B,) under their names in a run's dynamics files, detached.

        ``logits`` (B, K) are those of the first view; ``nearest`` is the class whose p is p_nn.
        """
        label = targets.long()[:, None]
        nearest = logits.detach().scatter(1, label, -torch.inf).argmax(1)
        facts = {
            **self.scores._asdict(),
            "weight": self.weight,
            "cross_entropy": self.cross_entropy,
            "divergence": self.divergence,
            "nearest": nearest.to(torch.uint8 if logits.shape[1] <= 256 else torch.int16),
        }
        if self.factor is not None:
            facts["factor"] = self.factor
        return {name: value.detach() for name, value in facts.items()}


class Method(nn.Module):
    """What the training loop asks of a method; NLA and everything that it is compared with.

    ``views`` is 1, or 2 where the mirror images are passed through the model as well. ``weighs``:
    the loss contains w*; of every other method, w* on record is what NAW would weigh. ``checked``
    verifies the inputs (ValueError on NaN, on targets out of range, on wrong shapes); on a GPU that
    waits for the device at every call, so a training loop turns it off. A progress outside [0, 1]
    is a ValueError in any case. ``remark``: what a reader of the record has to know, a sentence.
    ``strength``: the method's own constant, its paper's value unless another is given; None where a
    method has none. ``held``: the progress (0..1) at which epsilon stays, None on its schedule.
    ``deferred``: classes are re-weighted late in training only.
    """

    views = 1
    weighs = False
    deferred = False
    remark = ""
    held: float | None = None
    strength: float | None = None
    __call__: Callable[..., LossTerms]

    def __init__(
        self, naw: NAW | None = None, checked: bool = True, strength: float | None = None
    ) -> None:
        super().__init__()
        self.naw, self.checked = naw or NAW(), checked
        if strength is not None:
            self.strength = strength

    def attach(self, model: Classifier, labels: Tensor) -> None:
        """Called once before training, with the labels (N,) of the training set.

        Makes what depends on them and on the model.
        """

    def mix(self, images: Tensor, generator: Generator) -> Tensor:
        """What the network sees (B, C, H, W) in place of the augmented images; here the same."""
        return images

    def on_outputs(
        self, first: Output, second: Output | None, targets: Tensor, progress: float, rows: Tensor
    ) -> LossTerms:
        """The loss from the model's ``Output`` on each view of the training samples ``rows`` (B,).

        ``second`` is None with one view.
        """
        flipped_logits = None if second is None else second.logits
        return self(first.logits, flipped_logits, targets, progress)

    def verify(self, logits: Tensor, flipped_logits: Tensor | None, targets: Tensor) -> None:
        """ValueError for wrong input, if ``checked``, and for views of different shapes always."""
        if self.checked:
            check(logits, targets)
        if flipped_logits is None:
            return
        check_views(logits, flipped_logits)
        if self.checked:
            check(flipped_logits, targets)

    def observe(
        self,
        logits: Tensor,
        flipped_logits: Tensor | None,
        targets: Tensor,
        progress: float,
        coupled: bool = False,
    ) -> LossTerms:
        """Terms with the mean cross-entropy for a total, and what NAW would weigh at the scores."""
        self.verify(logits, flipped_logits, targets)
        logits = in_float32(logits)
        cross_entropy = F.cross_entropy(logits, targets.long(), reduction="none")
        scores = scores_of(logits.softmax(1), targets)
        weight = self.naw.weights(scores, progress, coupled)
        if flipped_logits is None:
            divergence = weight * torch.nan
        else:
            divergence = js_divergence(logits, flipped_logits)
        return LossTerms(cross_entropy.mean(), weight, cross_entropy, divergence, scores)


def needed(second: View | None) -> View:
    """The second view, or a ValueError where there is none."""
    if second is None:
        raise ValueError("this method compares two views: give what the model says of both")
    return second


class NLALoss(Method):
    """lambda (1 + w*) CE + (1 - lambda) L_reg over a batch; see the table above for the variants.

    ``compile``: one kernel (one thread) for the paper's, by torch.compile; on a CPU that needs a
    C++ compiler.
    """

    views = 2
    weighs = True

    def __init__(
        self, lam: float = 0.5, variant: str = "paper", compile: bool = False, **options: Any
    ) -> None:
        super().__init__(**options)
        if variant not in VARIANTS:
            raise ValueError(f"unknown variant {variant!r}; expected one of {', '.join(VARIANTS)}")
        if not 0 <= lam <= 1:
            raise ValueError(f"lam must be in [0, 1], got {lam}")
        self.lam, self.variant = lam, variant
        self.terms = paper_terms
        if compile:
            self.terms = torch.compile(paper_terms, options={"cpp.threads": 1})

    def forward(
        self, logits: Tensor, flipped_logits: Tensor | None, targets: Tensor, progress: float
    ) -> LossTerms:
        """Logits of both views (B, K), targets (B,) integers, progress = epoch / epochs in [0, 1].

        ValueError as ``Method.verify``.
        """
        flipped_logits = needed(flipped_logits)
        if self.variant == "paper":
            return self.paper(logits, flipped_logits, targets, progress)
        coupled = self.variant == "released_v1"
        terms = self.observe(logits, flipped_logits, targets, progress, coupled)
        divergence = released_divergence(logits, flipped_logits)
        weighted = ((1 + terms.weight) * terms.cross_entropy).mean()
        total = self.lam * weighted + (1 - self.lam) * divergence.sum()
        return terms._replace(divergence=divergence, total=total)

    def paper(
        self, logits: Tensor, flipped_logits: Tensor, targets: Tensor, progress: float
    ) -> LossTerms:
        """The paper's variant, its gradient in closed form and not by autograd."""
        self.verify(logits, flipped_logits, targets)
        logits, flipped_logits = in_float32(logits), in_float32(flipped_logits)
        constants = density_constants(self.naw, progress, logits.dtype, logits.device)
        total, weight, cross_entropy, divergence, *scores = KnownGradient.apply(
            self.terms, self.lam, constants, targets, logits, flipped_logits
        )
        return LossTerms(total, weight, cross_entropy, divergence, Scores(*scores))


def paper_terms(
    logits: Tensor, flipped_logits: Tensor, targets: Tensor, lam: float, constants: Tensor
) -> tuple[Tensor, LossTerms]:
    """The gradient (2, B, K) of the paper's loss in closed form, and its terms.

        dL/dz  = [lambda (1 + w*) (p - 1_y) + (1 - lambda) p (g - <p, g>)] / B
        dL/dz' = (1 - lambda) q (h - <q, h>) / B

    with p = softmax(z), q = softmax(z'), m = (p + q) / 2, g = 1/2 log(p / m), h = 1/2 log(q / m),
    w* constant, and JSD(p, q) = <p, g> + <q, h>.
    """
    size, label = len(targets), targets.long()[:, None]
    log_p = torch.stack([logits, flipped_logits]).log_softmax(2)  # log p, log q
    p = log_p.exp()  # p, q
    cross_entropy = -log_p[0].gather(1, label)[:, 0]
    scores = scores_of(p[0], targets)
    weight = density(scores, constants)  # w*
    factor = (1 + weight) * (lam / size)
    gap = (log_p - torch.logaddexp(*log_p) + math.log(2)).mul_(0.5)  # g, h
    parts = (p * gap).sum(2, keepdim=True)  # <p, g>, <q, h>
    divergence = parts.sum(0)[:, 0]
    gradient = gap.sub_(parts).mul_(p).mul_((1 - lam) / size)
    gradient[0].addcmul_(p[0], factor[:, None]).scatter_add_(1, label, -factor[:, None])
    total = factor.dot(cross_entropy) + divergence.mean() * (1 - lam)
    return gradient, LossTerms(total, weight, cross_entropy, divergence, scores)


class KnownGradient(torch.autograd.Function):
    """The paper's terms; going backward from the total takes the gradient that is known already.

    That of the other terms, where somebody builds a loss on them, is left to autograd.
    """

    @staticmethod
    def forward(
        ctx: Any,
        terms_of: Callable[..., tuple[Tensor, LossTerms]],
        lam: float,
        constants: Tensor,
        targets: Tensor,
        *views: Tensor,
    ) -> tuple[Tensor, ...]:
        gradient, terms = terms_of(*views, targets, lam, constants)
        ctx.save_for_backward(gradient, targets, *views)
        ctx.set_materialize_grads(False)  # None comes back from a term that is not used
        ctx.mark_non_differentiable(terms.weight, terms.scores.correct)
        return terms.total, terms.weight, terms.cross_entropy, terms.divergence, *terms.scores

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: Any, of_total: Tensor | None, of_weight: None, *of_others: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        gradient, targets, logits, flipped_logits = ctx.saved_tensors
        flows = gradient * (0 if of_total is None else of_total)
        of_terms = of_others[:-1]  # without that of ``correct``, which has none
        if any(flow is not None for flow in of_terms):
            flows = flows + flow_by_autograd(logits, flipped_logits, targets, of_terms)
        return None, None, None, None, *flows


def flow_by_autograd(
    logits: Tensor, flipped_logits: Tensor, targets: Tensor, upstream: tuple[Tensor | None, ...]
) -> Tensor:
    """What flows back (2, B, K) where ``upstream`` (B,) each flows into CE, JSD, p_GT and p_NN."""
    views = logits.detach().requires_grad_(), flipped_logits.detach().requires_grad_()
    with torch.enable_grad():
        scores = scores_of(views[0].softmax(1), targets)
        cross_entropy = F.cross_entropy(views[0], targets.long(), reduction="none")
        terms = cross_entropy, js_divergence(*views), scores.p_gt, scores.p_nn
        used = [term @ flow for term, flow in zip(terms, upstream) if flow is not None]
        total = torch.stack(used).sum()
    return torch.stack(torch.autograd.grad(total, views, materialize_grads=True))

"""MALT (memory-gated adjusted logits from trusted counts), the kit's method for every setting.

One loss for labels that are wrong, uneven and ambiguous at once, at the price of cross-entropy: one
view of each image, and K + 1 numbers kept of it. What it takes from where: the plane and w* are
NAW's; the gate is ReMa's; the adjustment Menon et al.'s (ICLR 2021), by counts of what is trusted;
that a network is held to its own past predictions is temporal ensembling (Laine & Aila, ICLR 2017).
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nla.consistency import js_divergence
from nla.long_tail import label_counts, log_prior
from nla.losses import LossTerms, Method, needed
from nla.models import Classifier, Output
from nla.naw import scores_of
from nla.rema import DECAY, gate

SHRINK = 0.1  # c


class MALT(Method):
    """lambda g (1 + w*) CE(z + log pi, y) + (1 - lambda) JSD(p, t), a mean over the batch, with

        p = softmax(z)
        t  <- b t + (1 - b) p after the step, at first even: the memory of the sample, b = .7
        s  = the scores of the new t:  what the network has said of the label, and of the next class
        g  = 1 where s is correct, else (w*(s) / w*(d))^2,  d the foot of s on the diagonal: trust
        w* = w*(s)
        pi_k in proportion to (1 - c) sum of g + c n_k, over the samples with label k, c = .1

    In words. A label that the network has kept contradicting is hardly trusted, and pulls hardly at
    all. Each class counts by its trusted labels; with log pi added, a rare class need not shout to
    be learned, and z alone, by which faces are judged, favours none. In place of the mirror image,
    the prediction is compared with what was said of the face, often mirrored, in earlier epochs.

    Set to False, ``memory`` trusts by the last look alone, ``gate`` trusts every label, ``adjust``
    leaves pi out, ``by_trust`` counts labels as they are, ``weigh`` leaves out w*; ``mirrored``
    takes the mirror image for a partner, as NLA does, and remembers the mean of both views; without
    consistency, lambda is 1. On record, the factor is g (1 + w*(s)); the weight is w* at the scores
    of this prediction alone, as for every method.
    """

    memory: Tensor  # t (N, K)
    trust: Tensor  # g (N,) of each sample, as of its last visit
    counts: Tensor  # n (K,)
    trusted: Tensor  # (K,) the sum of g over the samples of each label

    def __init__(
        self,
        lam: float = 0.5,
        memory: bool = True,
        gate: bool = True,
        adjust: bool = True,
        by_trust: bool = True,
        weigh: bool = True,
        mirrored: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.lam, self.decay = lam, DECAY * memory
        self.gate, self.adjust, self.weigh = gate, adjust, weigh
        self.shrink = SHRINK if by_trust else 1.0
        self.views = 2 if mirrored else 1

    def attach(self, model: Classifier, labels: Tensor) -> None:
        counts = label_counts(model, labels.long()).float()
        even = (counts > 0).float()
        even = even / even.sum()
        self.register_buffer("memory", even.repeat(len(labels), 1))
        self.register_buffer("trust", torch.ones(len(labels), device=labels.device))
        self.register_buffer("counts", counts, persistent=False)
        self.register_buffer("trusted", counts.clone())

    def on_outputs(
        self, first: Output, second: Output | None, targets: Tensor, progress: float, rows: Tensor
    ) -> LossTerms:
        flipped = needed(second).logits if self.views == 2 else None
        terms = self.observe(first.logits, flipped, targets, progress)
        logits, targets = first.logits.float(), targets.long()
        prior = log_prior((1 - self.shrink) * self.trusted + self.shrink * self.counts)
        said = self.memory[rows]
        divergence = terms.divergence
        if flipped is None:
            divergence = js_divergence(logits, said.clamp(min=torch.finfo().tiny).log())
        factor = self.remember(first, second, targets, progress, rows)
        adjusted = logits + prior * self.adjust
        cross_entropy = F.cross_entropy(adjusted, targets, reduction="none")
        total = (self.lam * factor * cross_entropy + (1 - self.lam) * divergence).mean()
        return terms._replace(total=total, factor=factor)

    def remember(
        self, first: Output, second: Output | None, targets: Tensor, progress: float, rows: Tensor
    ) -> Tensor:
        """g (1 + w*) (B,), once memory, trust and its sums have taken in what is said now."""
        views = [first] if second is None else [first, second]
        p = torch.stack([view.logits.detach().float().softmax(1) for view in views]).mean(0)
        remembered = self.decay * self.memory[rows] + (1 - self.decay) * p
        scores = scores_of(remembered, targets)  # s
        trust = gate(self.naw, scores, progress) if self.gate else torch.ones_like(scores.p_gt)
        self.trusted.index_add_(0, targets, trust - self.trust[rows])
        self.memory[rows], self.trust[rows] = remembered, trust
        return trust * (1 + self.naw.weights(scores, progress) * self.weigh)

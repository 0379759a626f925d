"""ReMa (remembered margins), the kit's own method: NAW's idea, but a doubtful label counts less.

NAW never lets a label count less than cross-entropy does, and judges by one prediction. ReMa judges
by what the network has said over past epochs, measured against what it says of all samples, and
multiplies the loss by a gate in 0..1. It gains where labels are wrong at random, not on
photographs, and loses where classes are rare; ReMa-C mends the last.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nla.losses import LossTerms, Method, needed
from nla.models import Classifier, Output
from nla.naw import NAW, Scores, scores_of

DECAY = 0.7  # b


class ReMa(Method):
    """lambda g (1 + w*) 1/2 (CE(z, y) + CE(z', y)) + (1 - lambda) JSD, a mean over the batch, with

        t <- b t + (1 - b) (p + q) / 2    the sample's memory, b = .7, at first even
        s  = scores of t_k / sqrt(m_k), normalised;  m = mean of all memories
        g  = 1 where s is correct, else (w*(s) / w*(d))^2,  d the foot of s on the diagonal
        w* = w*(s)

    over the classes k that some training label has. ``memory`` and ``gate`` set to False, or
    ``balance`` to 0 (the power of m, else .5), leave one of the three out; ``relative`` (ReMa-C)
    divides g by its mean over all samples of the label. On record, the factor is g (1 + w*(s)); the
    weight is w* at the scores of this prediction alone, as for every method.
    """

    views = 2
    memory: Tensor  # t (N, K)
    trust: Tensor  # g (N,) of each sample, as of its last visit
    occurs: Tensor  # (K,) 1 or 0
    share_of_class: Tensor  # (N, K), each column sums to 1

    def __init__(
        self,
        lam: float = 0.5,
        memory: bool = True,
        balance: float = 0.5,
        gate: bool = True,
        relative: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.lam, self.decay, self.balance = lam, DECAY * memory, balance
        self.gate, self.relative = gate, relative

    def attach(self, model: Classifier, labels: Tensor) -> None:
        members = F.one_hot(labels.long(), model.fc.out_features).float()
        counts = members.sum(0)
        occurs = (counts > 0).float()
        self.register_buffer("memory", (occurs / occurs.sum()).repeat(len(labels), 1))
        self.register_buffer("trust", torch.ones_like(members[:, 0]))
        self.register_buffer("occurs", occurs, persistent=False)
        self.register_buffer("share_of_class", members / counts.clamp(min=1), persistent=False)

    def on_outputs(
        self, first: Output, second: Output | None, targets: Tensor, progress: float, rows: Tensor
    ) -> LossTerms:
        second = needed(second)
        terms = self.observe(first.logits, second.logits, targets, progress)
        views, targets = (first.logits.float(), second.logits.float()), targets.long()
        self.remember(views, rows)
        scores = self.remembered(rows, targets)
        trust = self.trusted(scores, targets, progress, rows)  # g
        factor = (1 + self.naw.weights(scores, progress)) * trust
        in_both = [F.cross_entropy(view, targets, reduction="none") for view in views]
        cross_entropy = (in_both[0] + in_both[1]) / 2
        total = (self.lam * factor * cross_entropy + (1 - self.lam) * terms.divergence).mean()
        return terms._replace(total=total, factor=factor)

    def remember(self, views: tuple[Tensor, Tensor], rows: Tensor) -> None:
        """t <- b t + (1 - b) (p + q) / 2 for the samples ``rows`` (B,), from logits (B, K)."""
        p, q = (view.detach().softmax(1) for view in views)
        prediction = (p + q) / 2
        self.memory[rows] = self.decay * self.memory[rows] + (1 - self.decay) * prediction

    def remembered(self, rows: Tensor, targets: Tensor) -> Scores:
        """s (B,) of the samples ``rows``: their memories, balanced over the classes that occur."""
        mean = self.memory.mean(0).clamp(min=torch.finfo().tiny)  # m
        balanced = self.memory[rows] * self.occurs / mean**self.balance
        return scores_of(balanced / balanced.sum(1, keepdim=True), targets)

    def trusted(self, scores: Scores, targets: Tensor, progress: float, rows: Tensor) -> Tensor:
        """g (B,), kept for ReMa-C, which divides by its mean over each label's samples."""
        trust = gate(self.naw, scores, progress) if self.gate else torch.ones_like(scores.p_gt)
        self.trust[rows] = trust
        if not self.relative:
            return trust
        mean_of_class = (self.trust @ self.share_of_class).clamp(min=1e-3)
        return trust / mean_of_class[targets]


def gate(naw: NAW, scores: Scores, progress: float) -> Tensor:
    """How far labels at ``scores`` are trusted, (B,) in 0..1: 1 where correct.

    Else the square of w* over its value on the diagonal at the same p_GT + p_NN, so that it falls
    with the margin alone.
    """
    middle = (scores.p_gt + scores.p_nn) / 2
    foot = Scores(middle, middle, scores.correct)  # d
    relative = naw.weights(scores, progress) / naw.weights(foot, progress)
    return torch.where(scores.correct, 1.0, relative.square().clamp(max=1))

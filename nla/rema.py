"""ReMa (remembered margins): a method of this kit's own, which keeps NAW's idea and lets a doubtful label count less.

NAW never lets a label count less than cross-entropy does, and judges by one prediction. ReMa judges by what the network
has said over past epochs, measured against what it says of all samples, and multiplies the loss by a gate in 0..1.
It gains where labels are wrong at random, not on photographs, and loses where classes are rare; ReMa-C mends the last.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from nla.losses import LossTerms, Method
from nla.naw import NAW, Scores, scores_of


class ReMa(Method):
    """lambda g (1 + w*) 1/2 (CE(z, y) + CE(z', y)) + (1 - lambda) JSD, a mean over the batch, with

        t <- b t + (1 - b) (p + q) / 2    the sample's memory, b = .7, at first 1 / K for each class
        s  = scores of t_k / sqrt(m_k), normalised;  m = mean of all memories
        g  = 1 where s is correct, else (w*(s) / w*(d))^2,  d the foot of s on the diagonal;   w* = w*(s)

    ``memory`` and ``gate`` set to False, or ``balance`` to 0 (the power of m, else .5), leave one of the three out;
    ``relative`` (ReMa-C) divides g by its mean over all samples of the label. The weight on record is g (1 + w*) - 1.
    """

    views = 2

    def __init__(self, lam=0.5, memory=True, balance=0.5, gate=True, relative=False, **options):
        super().__init__(**options)
        self.lam, self.decay, self.balance, self.gate, self.relative = (
            lam,
            0.7 * memory,
            balance,
            gate,
            relative,
        )

    def attach(self, model, labels):
        members = F.one_hot(labels, model.fc.out_features).float()
        self.register_buffer("memory", torch.full_like(members, 1 / members.shape[1]))
        self.register_buffer(
            "trust", torch.ones_like(members[:, 0])
        )  # g of each sample, as of its last visit
        self.register_buffer(
            "share_of_class", members / members.sum(0).clamp(min=1), persistent=False
        )

    def on_outputs(self, first, second, targets, progress, rows) -> LossTerms:
        terms = self.observe(first.logits, second.logits, targets, progress)
        views = [output.logits.float() for output in (first, second)]
        prediction = sum(view.detach().softmax(1) for view in views) / 2
        self.memory[rows] = self.decay * self.memory[rows] + (1 - self.decay) * prediction
        balanced = self.memory[rows] / self.memory.mean(0) ** self.balance
        scores = scores_of(balanced / balanced.sum(1, keepdim=True), targets)
        self.trust[rows] = trust = (
            gate(self.naw, scores, progress) if self.gate else torch.ones_like(scores.p_gt)
        )
        if self.relative:
            trust = trust / (self.trust @ self.share_of_class).clamp(min=1e-3)[targets]
        weight = (1 + self.naw.weights(scores, progress)) * trust
        cross_entropy = sum(F.cross_entropy(view, targets, reduction="none") for view in views) / 2
        total = (self.lam * weight * cross_entropy + (1 - self.lam) * terms.divergence).mean()
        return terms._replace(total=total, weight=weight - 1)


def gate(naw: NAW, scores: Scores, progress: float) -> Tensor:
    """How far labels at ``scores`` are trusted, (B,) in 0..1: 1 where correct; else the square of w* over its value
    on the diagonal at the same p_GT + p_NN, so that it falls with the margin alone."""
    middle = (scores.p_gt + scores.p_nn) / 2
    relative = naw.weights(scores, progress) / naw.weights(
        Scores(middle, middle, scores.correct), progress
    )
    return torch.where(scores.correct, 1.0, relative.square().clamp(max=1))

"""What NLA is compared with, each method after its own paper, and NLA taken apart.

All but ReMa record what NAW would weigh at the same scores, so that any run can be looked at in the same way. Symbols:
p = softmax(z) the prediction, y the label, K the number of classes, n_k how many training labels class k has.
"""

import inspect
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nla.consistency import js_divergence, released_divergence
from nla.data.images import mirror
from nla.losses import LossTerms, Method, NLALoss
from nla.rema import ReMa


class CrossEntropyLoss(Method):
    """-log p_y of the first view. Subclasses change the loss of a sample, or (``on_outputs``) that of a batch."""

    def forward(
        self, logits: Tensor, flipped_logits: Tensor | None, targets: Tensor, progress: float
    ) -> LossTerms:
        """Logits (B, K), targets (B,) integers, progress = epoch / epochs in [0, 1]."""
        terms = self.observe(logits, flipped_logits, targets, progress)
        return terms._replace(
            total=self.losses(logits.to(terms.weight.dtype), targets, progress).mean()
        )

    def losses(self, logits: Tensor, targets: Tensor, progress: float) -> Tensor:
        """The loss of each sample, (B,), from logits (B, K) in float32 or float64."""
        return F.cross_entropy(logits, targets, reduction="none")


class TwoViews(CrossEntropyLoss):
    """1/2 (CE(z, y) + CE(z', y)): what the mirror images give as mere data."""

    views = 2

    def forward(self, logits, flipped_logits, targets, progress):
        first, second = (
            super(TwoViews, self).forward(z, None, targets, progress)
            for z in (logits, flipped_logits)
        )
        return first._replace(
            total=(first.total + second.total) / 2, divergence=js_divergence(logits, flipped_logits)
        )


class LabelSmoothing(CrossEntropyLoss):
    """Cross-entropy with the target (1 - e) onehot(y) + e / K, e = .1. Szegedy et al., CVPR 2016, section 7."""

    def losses(self, logits, targets, progress):
        return F.cross_entropy(logits, targets, reduction="none", label_smoothing=0.1)


class Focal(CrossEntropyLoss):
    """-(1 - p_y)^g log p_y, g = 2. Lin et al., ICCV 2017."""

    def losses(self, logits, targets, progress):
        cross_entropy = super().losses(logits, targets, progress)
        return (1 - torch.exp(-cross_entropy)) ** 2 * cross_entropy


class GeneralizedCrossEntropy(CrossEntropyLoss):
    """(1 - p_y^q) / q, q = .7: between -log p_y (q -> 0) and 1 - p_y (q = 1). Zhang & Sabuncu, NeurIPS 2018."""

    def losses(self, logits, targets, progress):
        return (1 - torch.exp(-0.7 * super().losses(logits, targets, progress))) / 0.7


class ClassBalanced(CrossEntropyLoss):
    """c_y CE, with c_k in proportion to (1 - b) / (1 - b^n_k) and of sum K, b = .9999. Cui et al., CVPR 2019.

    A class that no training label has weighs 0.
    """

    def attach(self, model, labels):
        counts = torch.bincount(labels, minlength=model.fc.out_features).double()
        weights = torch.where(counts > 0, 1 / (1 - 0.9999**counts), 0)
        self.register_buffer("class_weights", (weights * len(weights) / weights.sum()).float())

    def losses(self, logits, targets, progress):
        return self.class_weights[targets] * super().losses(logits, targets, progress)


class LDAM(ClassBalanced):
    """CE of s (cos_k - m_k [k = y]), margins m_k in proportion to n_k^(-1/4), the largest .5, s = 30.

    cos_k is of the angle between latent and class weights; :meth:`attach` makes s cos_k the model's logits. The last
    fifth of training weighs samples as ClassBalanced does (DRW). Cao et al., NeurIPS 2019; s, fifth from their code.
    """

    def attach(self, model, labels):
        super().attach(model, labels)
        margins = torch.bincount(labels, minlength=model.fc.out_features).clamp(min=1) ** -0.25
        self.register_buffer("margins", 0.5 * margins / margins.max())
        model.fc.register_forward_hook(
            lambda fc, x, _: 30 * F.linear(F.normalize(x[0]), F.normalize(fc.weight))
        )

    def losses(self, logits, targets, progress):
        logits = logits - 30 * self.margins * F.one_hot(targets, len(self.margins))
        if progress >= 0.8:
            return super().losses(logits, targets, progress)
        return F.cross_entropy(logits, targets, reduction="none")


class ELR(CrossEntropyLoss):
    """CE + l log(1 - <p, t>), where each sample keeps a target t <- b t + (1 - b) p, b = .7, l = 3.

    Early-learning regularisation, Liu et al., NeurIPS 2020; b and l are theirs for CIFAR-10.
    """

    def attach(self, model, labels):
        self.register_buffer(
            "targets", torch.zeros(len(labels), model.fc.out_features, device=labels.device)
        )

    def on_outputs(self, first, second, targets, progress, rows):
        p = first.logits.float().softmax(1).clamp(1e-4, 1 - 1e-4)
        self.targets[rows] = 0.7 * self.targets[rows] + 0.3 * p.detach() / p.detach().sum(
            1, keepdim=True
        )
        terms = self(first.logits, None, targets, progress)
        return terms._replace(
            total=terms.total + 3 * torch.log(1 - (p * self.targets[rows]).sum(1)).mean()
        )


class SCN(CrossEntropyLoss):
    """CE of a z + max(0, .15 - (mean a of the upper 70 % - mean a of the lower 30 %)), a = sigmoid(linear(latent)).

    After a quarter of training, a sample of the lower 30 % whose prediction is .2 more probable than its label gets it
    as its label. Self-cure network, Wang et al., CVPR 2020. a > 0 changes no prediction: tests leave it out.
    """

    def attach(self, model, labels):
        self.attention = nn.Linear(model.fc.in_features, 1, device=labels.device)
        self.register_buffer("labels", labels.clone())

    def on_outputs(self, first, second, targets, progress, rows):
        attention = self.attention(first.latent.float())[:, 0].sigmoid()
        logits, own = attention[:, None] * first.logits.float(), self.labels[rows]
        high, low = attention.argsort(descending=True, stable=True).tensor_split(
            [round(0.7 * len(rows))]
        )
        gap = (
            attention[high].mean() - attention[low].mean()
            if len(low)
            else 0.15 + 0 * attention.sum()
        )
        if progress >= 0.25:
            p = logits[low].detach().softmax(1)
            top, prediction = p.max(1)
            doubtful = top - p.gather(1, own[low, None])[:, 0] > 0.2
            self.labels[rows[low]] = torch.where(doubtful, prediction, own[low])
        terms = self(first.logits, None, targets, progress)
        return terms._replace(total=F.cross_entropy(logits, own) + F.relu(0.15 - gap))


class RUL(CrossEntropyLoss):
    """1/2 (CE(m, y_i) + CE(m, y_j)) of m = (u_i z_i + u_j z_j) / (u_i + u_j): the uncertain one is more of the mixture.

    u = mean of exp(batchnorm(linear(latent))), 64 numbers; j is the next in the (shuffled) batch. Relative uncertainty
    learning, Zhang et al., NeurIPS 2021, u from their code; they mix features, the same before a linear classifier.
    """

    def attach(self, model, labels):
        self.log_u = nn.Sequential(nn.Linear(model.fc.in_features, 64), nn.BatchNorm1d(64)).to(
            labels.device
        )

    def on_outputs(self, first, second, targets, progress, rows):
        terms, logits = self(first.logits, None, targets, progress), first.logits.float()
        if len(rows) == 1:
            return terms  # nothing to mix with, and no batch statistics
        u = self.log_u(first.latent.float()).exp().mean(1, keepdim=True)
        mixed = (u * logits + u.roll(1, 0) * logits.roll(1, 0)) / (u + u.roll(1, 0))
        return terms._replace(
            total=(F.cross_entropy(mixed, targets) + F.cross_entropy(mixed, targets.roll(1))) / 2
        )


class EAC(CrossEntropyLoss):
    """CE + 5 MSE(A, mirrored A'), A (B, K, H, W) the class activation maps: pooled features weighted by fc's weights.

    Those weights count as constants; the augmentation erases. Erasing attention consistency, Zhang et al., ECCV 2022.
    """

    views = 2

    def attach(self, model, labels):
        self.weights = lambda: (
            model.fc.weight.detach().float()
        )  # a function, so that it counts as the model's alone
        pool = next(
            module for module in model.modules() if isinstance(module, nn.AdaptiveAvgPool2d)
        )
        pool.register_forward_pre_hook(lambda _, features: setattr(self, "features", features[0]))

    def on_outputs(self, first, second, targets, progress, rows):
        maps, flipped = torch.einsum("bchw,kc->bkhw", self.features.float(), self.weights()).chunk(
            2
        )
        terms = self(first.logits, second.logits, targets, progress)
        return terms._replace(total=terms.total + 5 * F.mse_loss(maps, mirror(flipped)))


class Parts(Method):
    """lambda (1 + w*) CE + (1 - lambda) R, a mean over the batch; with lambda = 1 one view is enough.

    ``weighted``: else 0 is in the place of w*; ``detach``: w* is a constant; ``held``: epsilon stays as at this
    progress; ``regularizer``: R of each sample from the logits of both views; ``options``: those of Method.
    """

    def __init__(
        self, lam=0.5, weighted=True, detach=True, held=None, regularizer=js_divergence, **options
    ):
        super().__init__(**options)
        self.lam, self.weighted, self.detach, self.held, self.regularizer = (
            lam,
            weighted,
            detach,
            held,
            regularizer,
        )
        self.views = 1 if lam == 1 else 2

    def forward(self, logits, flipped_logits, targets, progress):
        terms = self.observe(
            logits, flipped_logits, targets, progress if self.held is None else self.held
        )
        weight = (terms.weight.detach() if self.detach else terms.weight) * self.weighted
        total = self.lam * ((1 + weight) * terms.cross_entropy).mean()
        if self.views == 2:
            total = total + (1 - self.lam) * self.regularizer(logits, flipped_logits).mean()
        return terms._replace(total=total)


LOSSES = {
    "nla": NLALoss,
    "cross_entropy": CrossEntropyLoss,
    "two_views": TwoViews,
    "label_smoothing": LabelSmoothing,
    "focal": Focal,
    "class_balanced": ClassBalanced,
    "ldam": LDAM,
    "gce": GeneralizedCrossEntropy,
    "elr": ELR,
    "scn": SCN,
    "rul": RUL,
    "eac": EAC,
    "naw": partial(Parts, 1.0),
    "consistency_js": partial(Parts, weighted=False),
    "consistency_released": partial(Parts, weighted=False, regularizer=released_divergence),
    "consistency_l1": partial(
        Parts, weighted=False, regularizer=lambda z, q: (z.softmax(1) - q.softmax(1)).norm(1, 1)
    ),
    "attached": partial(Parts, detach=False),
    "epsilon_0": partial(Parts, held=0.0),
    "epsilon_1": partial(Parts, held=1.0),
    "rema": ReMa,
    "rema_c": partial(ReMa, relative=True),
    "rema_no_memory": partial(ReMa, memory=False),
    "rema_no_balance": partial(ReMa, balance=0.0),
    "rema_no_gate": partial(ReMa, gate=False),
}
TAKES = {
    loss: {*inspect.signature(method).parameters, "naw", "checked"}
    for loss, method in LOSSES.items()
}  # options


def build(loss: str, **options) -> Method:
    """The method called ``loss`` in ``LOSSES``, with those of ``options`` (lam, variant, naw, ...) that it takes."""
    return LOSSES[loss](**{name: value for name, value in options.items() if name in TAKES[loss]})

"""What NLA is compared with, each method after its own paper, and NLA taken apart.

All but ReMa record what NAW would weigh at the same scores, so that any run can be looked at in the
same way. Symbols: p = softmax(z) the prediction, y the label, K the number of classes, n_k how many
training labels class k has. A class that no training label has changes nothing for the others.
"""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nla.consistency import js_divergence, released_divergence
from nla.data.images import mirror
from nla.losses import LossTerms, Method, NLALoss, needed
from nla.models import Classifier, Output
from nla.naw import check_progress, in_float32
from nla.rema import ReMa


class CrossEntropyLoss(Method):
    """-log p_y of the first view.

    Subclasses change the loss of a sample (``losses``), or that of a batch (``on_outputs``).
    """

    def forward(
        self, logits: Tensor, flipped_logits: Tensor | None, targets: Tensor, progress: float
    ) -> LossTerms:
        """Logits (B, K), targets (B,) integers, progress = epoch / epochs in [0, 1]."""
        terms = self.observe(logits, flipped_logits, targets, progress)
        losses = self.losses(in_float32(logits), targets.long(), progress)
        return terms._replace(total=losses.mean())

    def losses(self, logits: Tensor, targets: Tensor, progress: float) -> Tensor:
        """The loss of each sample, (B,), from logits (B, K) in float32 or float64."""
        return F.cross_entropy(logits, targets, reduction="none")


class TwoViews(CrossEntropyLoss):
    """1/2 (CE(z, y) + CE(z', y)): what the mirror images give as mere data."""

    views = 2

    def forward(
        self, logits: Tensor, flipped_logits: Tensor | None, targets: Tensor, progress: float
    ) -> LossTerms:
        """Logits of both views (B, K), targets (B,) integers, progress in [0, 1]."""
        flipped_logits = needed(flipped_logits)
        first = super().forward(logits, None, targets, progress)
        second = super().forward(flipped_logits, None, targets, progress)
        divergence = js_divergence(logits, flipped_logits)
        return first._replace(total=(first.total + second.total) / 2, divergence=divergence)


class LabelSmoothing(CrossEntropyLoss):
    """Cross-entropy with the target (1 - e) onehot(y) + e / K, e = .1.

    Szegedy et al., CVPR 2016, section 7.
    """

    def losses(self, logits: Tensor, targets: Tensor, progress: float) -> Tensor:
        return F.cross_entropy(logits, targets, reduction="none", label_smoothing=0.1)


class Focal(CrossEntropyLoss):
    """-(1 - p_y)^g log p_y, g = 2. Lin et al., ICCV 2017."""

    def losses(self, logits: Tensor, targets: Tensor, progress: float) -> Tensor:
        cross_entropy = super().losses(logits, targets, progress)
        p_y = torch.exp(-cross_entropy)
        return (1 - p_y) ** 2 * cross_entropy


class GeneralizedCrossEntropy(CrossEntropyLoss):
    """(1 - p_y^q) / q, q = .7: between -log p_y (q -> 0) and 1 - p_y (q = 1).

    Zhang & Sabuncu, NeurIPS 2018.
    """

    def losses(self, logits: Tensor, targets: Tensor, progress: float) -> Tensor:
        cross_entropy = super().losses(logits, targets, progress)
        return (1 - torch.exp(-0.7 * cross_entropy)) / 0.7


class ClassBalanced(CrossEntropyLoss):
    """c_y CE, with c_k in proportion to (1 - b) / (1 - b^n_k), b = .9999. Cui et al., CVPR 2019.

    The c_k sum to the number of classes that occur; a class that no training label has weighs 0.
    """

    class_weights: Tensor  # c (K,)

    def attach(self, model: Classifier, labels: Tensor) -> None:
        counts = label_counts(model, labels)
        occurs = counts > 0
        weights = torch.where(occurs, 1 / (1 - 0.9999 ** counts.double()), 0)
        weights = weights * occurs.sum() / weights.sum()
        self.register_buffer("class_weights", weights.float())

    def losses(self, logits: Tensor, targets: Tensor, progress: float) -> Tensor:
        return self.class_weights[targets] * super().losses(logits, targets, progress)


def label_counts(model: Classifier, labels: Tensor) -> Tensor:
    """n (K,), how many of ``labels`` each class of the model has."""
    return torch.bincount(labels, minlength=model.fc.out_features)


class LDAM(ClassBalanced):
    """CE of s (cos_k - m_k [k = y]), s = 30, m_k in proportion to n_k^(-1/4), the largest .5.

    cos_k is of the angle between latent and class weights; :meth:`attach` makes s cos_k the model's
    logits. The last fifth of training weighs samples as ClassBalanced does (DRW). A class that no
    training label has gets no margin. Cao et al., NeurIPS 2019; s and the fifth from their code.
    """

    margins: Tensor  # m (K,)

    def attach(self, model: Classifier, labels: Tensor) -> None:
        super().attach(model, labels)
        counts = label_counts(model, labels)
        margins = torch.where(counts > 0, counts.clamp(min=1) ** -0.25, 0)
        self.register_buffer("margins", 0.5 * margins / margins.max())
        model.fc.register_forward_hook(scaled_cosines)

    def losses(self, logits: Tensor, targets: Tensor, progress: float) -> Tensor:
        logits = logits - 30 * self.margins * F.one_hot(targets, len(self.margins))
        if progress >= 0.8:
            return super().losses(logits, targets, progress)
        return F.cross_entropy(logits, targets, reduction="none")


def scaled_cosines(fc: nn.Linear, inputs: tuple[Tensor], logits: Tensor) -> Tensor:
    """s cos_k (B, K), s = 30, in place of what the classifier ``fc`` gives for latents (B, D)."""
    return 30 * F.linear(F.normalize(inputs[0]), F.normalize(fc.weight))


class ELR(CrossEntropyLoss):
    """CE + l log(1 - <p, t>), where each sample keeps a target t <- b t + (1 - b) p, b = .7, l = 3.

    Early-learning regularisation, Liu et al., NeurIPS 2020; b and l are theirs for CIFAR-10.
    """

    targets: Tensor  # t (N, K)

    def attach(self, model: Classifier, labels: Tensor) -> None:
        shape = len(labels), model.fc.out_features
        self.register_buffer("targets", torch.zeros(shape, device=labels.device))

    def on_outputs(
        self, first: Output, second: Output | None, targets: Tensor, progress: float, rows: Tensor
    ) -> LossTerms:
        terms = self(first.logits, None, targets, progress)
        p = first.logits.float().softmax(1).clamp(1e-4, 1 - 1e-4)
        news = 0.3 * p.detach() / p.detach().sum(1, keepdim=True)  # (1 - b) p
        self.targets[rows] = 0.7 * self.targets[rows] + news
        agreement = (p * self.targets[rows]).sum(1)  # <p, t>
        return terms._replace(total=terms.total + 3 * torch.log(1 - agreement).mean())


class SCN(CrossEntropyLoss):
    """CE of a z + max(0, .15 - (mean a of the upper 70 % - mean a of the lower 30 %)),

    a = sigmoid(linear(latent)). After a quarter of training, a sample of the lower 30 % whose
    prediction is .2 more probable than its label gets it as its label. Self-cure network, Wang et
    al., CVPR 2020. a > 0 changes no prediction: tests leave it out.
    """

    labels: Tensor  # (N,), as mended so far

    def attach(self, model: Classifier, labels: Tensor) -> None:
        self.attention = nn.Linear(model.fc.in_features, 1, device=labels.device)
        self.register_buffer("labels", labels.clone())

    def on_outputs(
        self, first: Output, second: Output | None, targets: Tensor, progress: float, rows: Tensor
    ) -> LossTerms:
        terms = self(first.logits, None, targets, progress)
        attention = self.attention(first.latent.float())[:, 0].sigmoid()  # a
        logits, labels = attention[:, None] * first.logits.float(), self.labels[rows]
        order = attention.argsort(descending=True, stable=True)
        high, low = order.tensor_split([round(0.7 * len(rows))])
        if len(low):
            gap = attention[high].mean() - attention[low].mean()
        else:
            gap = 0.15 + 0 * attention.sum()
        if progress >= 0.25:
            self.labels[rows[low]] = mended(logits[low].detach(), labels[low])
        return terms._replace(total=F.cross_entropy(logits, labels) + F.relu(0.15 - gap))


def mended(logits: Tensor, labels: Tensor) -> Tensor:
    """The predictions (B,) that are .2 more probable than the label, else the labels."""
    p = logits.softmax(1)
    top, prediction = p.max(1)
    doubtful = top - p.gather(1, labels[:, None])[:, 0] > 0.2
    return torch.where(doubtful, prediction, labels)


class RUL(CrossEntropyLoss):
    """1/2 (CE(m, y_i) + CE(m, y_j)) of the mixture m = (u_i z_i + u_j z_j) / (u_i + u_j):

    the uncertain one is more of it. u = mean of exp(batchnorm(linear(latent))), 64 numbers; j is
    the next in the (shuffled) batch. Relative uncertainty learning, Zhang et al., NeurIPS 2021, u
    from their code; they mix features, the same before a linear classifier.
    """

    def attach(self, model: Classifier, labels: Tensor) -> None:
        log_u = nn.Sequential(nn.Linear(model.fc.in_features, 64), nn.BatchNorm1d(64))
        self.log_u = log_u.to(labels.device)

    def on_outputs(
        self, first: Output, second: Output | None, targets: Tensor, progress: float, rows: Tensor
    ) -> LossTerms:
        terms, logits = self(first.logits, None, targets, progress), first.logits.float()
        if len(rows) == 1:
            return terms  # nothing to mix with, and no batch statistics
        targets = targets.long()
        u = self.log_u(first.latent.float()).exp().mean(1, keepdim=True)
        mixed = (u * logits + u.roll(1, 0) * logits.roll(1, 0)) / (u + u.roll(1, 0))  # m
        both = F.cross_entropy(mixed, targets) + F.cross_entropy(mixed, targets.roll(1))
        return terms._replace(total=both / 2)


class EAC(CrossEntropyLoss):
    """CE + 5 MSE(A, mirrored A'), A (B, K, H, W) the class activation maps:

    pooled features weighted by fc's weights, which count as constants; the augmentation erases.
    Erasing attention consistency, Zhang et al., ECCV 2022.
    """

    views = 2
    weights: Callable[[], Tensor]
    features: Tensor

    def attach(self, model: Classifier, labels: Tensor) -> None:
        # a function, so that the classifier counts as the model's alone
        self.weights = lambda: model.fc.weight.detach().float()
        pools = [module for module in model.modules() if isinstance(module, nn.AdaptiveAvgPool2d)]
        pools[0].register_forward_pre_hook(self.keep)

    def keep(self, pool: nn.Module, inputs: tuple[Tensor]) -> None:
        """Keep the features (2B, D, H, W) that the model is about to pool."""
        self.features = inputs[0]

    def on_outputs(
        self, first: Output, second: Output | None, targets: Tensor, progress: float, rows: Tensor
    ) -> LossTerms:
        terms = self(first.logits, needed(second).logits, targets, progress)
        maps = torch.einsum("bchw,kc->bkhw", self.features.float(), self.weights())
        maps, flipped_maps = maps.chunk(2)
        return terms._replace(total=terms.total + 5 * F.mse_loss(maps, mirror(flipped_maps)))


Regularizer = Callable[[Tensor, Tensor], Tensor]


class Parts(Method):
    """lambda (1 + w*) CE + (1 - lambda) R, a mean over the batch; with lambda = 1 one view will do.

    ``weighted``: else 0 is in the place of w*; ``detach``: w* is a constant; ``held``: epsilon
    stays as at this progress; ``regularizer``: R of each sample from the logits of both views;
    ``options``: those of Method.
    """

    def __init__(
        self,
        lam: float = 0.5,
        weighted: bool = True,
        detach: bool = True,
        held: float | None = None,
        regularizer: Regularizer = js_divergence,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.lam, self.weighted, self.detach = lam, weighted, detach
        self.held, self.regularizer = held, regularizer
        self.weighs = weighted
        self.views = 1 if lam == 1 else 2

    def forward(
        self, logits: Tensor, flipped_logits: Tensor | None, targets: Tensor, progress: float
    ) -> LossTerms:
        """Logits (B, K) of each view, targets (B,) integers, progress in [0, 1]."""
        check_progress(progress)
        at = progress if self.held is None else self.held
        terms = self.observe(logits, flipped_logits, targets, at)
        weight = terms.weight.detach() if self.detach else terms.weight
        weight = weight * self.weighted
        total = self.lam * ((1 + weight) * terms.cross_entropy).mean()
        if self.views == 2:
            divergence = self.regularizer(logits, needed(flipped_logits))
            total = total + (1 - self.lam) * divergence.mean()
        return terms._replace(total=total)


def l1_distance(logits: Tensor, flipped_logits: Tensor) -> Tensor:
    """|p - q|_1 (B,) of both views' predictions."""
    difference = logits.softmax(1) - flipped_logits.softmax(1)
    distance: Tensor = difference.norm(1, 1)
    return distance


LOSSES: dict[str, Callable[..., Method]] = {
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
    "consistency_l1": partial(Parts, weighted=False, regularizer=l1_distance),
    "attached": partial(Parts, detach=False),
    "epsilon_0": partial(Parts, held=0.0),
    "epsilon_1": partial(Parts, held=1.0),
    "rema": ReMa,
    "rema_c": partial(ReMa, relative=True),
    "rema_no_memory": partial(ReMa, memory=False),
    "rema_no_balance": partial(ReMa, balance=0.0),
    "rema_no_gate": partial(ReMa, gate=False),
}
TAKES = {  # the options of each
    loss: {*inspect.signature(method).parameters, "naw", "checked"}
    for loss, method in LOSSES.items()
}


def build(loss: str, **options: Any) -> Method:
    """The method called ``loss`` in ``LOSSES``, with those of ``options`` that it takes.

    Options are lam, variant, naw, ...; see ``TAKES``.
    """
    taken = {name: value for name, value in options.items() if name in TAKES[loss]}
    return LOSSES[loss](**taken)

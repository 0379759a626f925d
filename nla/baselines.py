"""What NLA is compared with, each method after its own paper; :mod:`nla.long_tail` has those
made for imbalance.

All record what NAW would weigh at the same scores, so that any run can be looked at in the same
way. Symbols: p = softmax(z) the prediction, y the label, K the number of classes.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nla.consistency import js_divergence
from nla.data.images import mirror
from nla.losses import LossTerms, Method, needed
from nla.models import Classifier, Output
from nla.naw import in_float32


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
        check_losses(losses, targets, self)
        return terms._replace(total=losses.mean())

    def losses(self, logits: Tensor, targets: Tensor, progress: float) -> Tensor:
        """The loss of each sample, (B,), from logits (B, K) in float32 or float64."""
        return F.cross_entropy(logits, targets, reduction="none")


def check_losses(losses: object, targets: Tensor, method: Method) -> None:
    """ValueError unless these are a loss for each sample, as a method has to give them."""
    shape = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
    if shape != tuple(targets.shape):
        raise ValueError(
            f"losses of {type(method).__name__} must give the loss of each sample, a tensor "
            f"({len(targets)},) and not their mean (reduction='none'); it gave {shape}"
        )


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
    """Cross-entropy with the target (1 - e) onehot(y) + e / K, ``strength`` e = .1.

    Szegedy et al., CVPR 2016, section 7.
    """

    strength = 0.1

    def losses(self, logits: Tensor, targets: Tensor, progress: float) -> Tensor:
        return F.cross_entropy(logits, targets, reduction="none", label_smoothing=self.strength)


class Focal(CrossEntropyLoss):
    """-(1 - p_y)^g log p_y, ``strength`` g = 2. Lin et al., ICCV 2017."""

    strength = 2.0

    def losses(self, logits: Tensor, targets: Tensor, progress: float) -> Tensor:
        cross_entropy = super().losses(logits, targets, progress)
        p_y = torch.exp(-cross_entropy)
        return (1 - p_y) ** self.strength * cross_entropy


class GeneralizedCrossEntropy(CrossEntropyLoss):
    """(1 - p_y^q) / q, ``strength`` q = .7: between -log p_y (q -> 0) and 1 - p_y (q = 1).

    Zhang & Sabuncu, NeurIPS 2018.
    """

    strength = 0.7

    def losses(self, logits: Tensor, targets: Tensor, progress: float) -> Tensor:
        cross_entropy = super().losses(logits, targets, progress)
        return (1 - torch.exp(-self.strength * cross_entropy)) / self.strength


class ELR(CrossEntropyLoss):
    """CE + l log(1 - <p, t>), where each sample keeps a target t <- b t + (1 - b) p, b = .7.

    Early-learning regularisation, Liu et al., NeurIPS 2020; b and the ``strength`` l = 3 are theirs
    for CIFAR-10.
    """

    strength = 3.0

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
        penalty = torch.log(1 - agreement).mean()
        return terms._replace(total=terms.total + self.strength * penalty)


class SCN(CrossEntropyLoss):
    """CE of a z + max(0, d - (mean a of the upper 70 % - mean a of the lower 30 %)),

    a = sigmoid(linear(latent)), ``strength`` d = .15. After a quarter of training, a sample of the
    lower 30 % whose prediction is .2 more probable than its label gets it as its label. Self-cure
    network, Wang et al., CVPR 2020. a > 0 changes no prediction: tests leave it out.
    """

    strength = 0.15
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
            gap = self.strength + 0 * attention.sum()
        if progress >= 0.25:
            self.labels[rows[low]] = mended(logits[low].detach(), labels[low])
        total = F.cross_entropy(logits, labels) + F.relu(self.strength - gap)
        return terms._replace(total=total)


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
    """CE + l MSE(A, mirrored A'), ``strength`` l = 5, A (B, K, H, W) the class activation maps:

    pooled features weighted by fc's weights, which count as constants; the augmentation erases.
    Erasing attention consistency, Zhang et al., ECCV 2022.
    """

    views = 2
    strength = 5.0
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
        difference = F.mse_loss(maps, mirror(flipped_maps))
        return terms._replace(total=terms.total + self.strength * difference)

"""Methods made for imbalance ("long-tailed" labels), each after its own paper.

Symbols: z the logits, y the label, K the number of classes, n_k how many training labels class k
has, pi_k = n_k / N the prior. A class that no training label has changes nothing for the others.
"""

from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from nla.baselines import CrossEntropyLoss
from nla.losses import LossTerms
from nla.models import Classifier, Output

REWEIGHTED = 0.8  # of training is over when deferred re-weighting begins
SCALE = 30.0  # s, of LDAM's cosines


def label_counts(model: Classifier, labels: Tensor) -> Tensor:
    """n (K,), how many of ``labels`` each class of the model has."""
    return torch.bincount(labels, minlength=model.fc.out_features)


def log_prior(counts: Tensor) -> Tensor:
    """log pi (K,) of counts (K,); a class that has none counts as the rarest of those that do."""
    occurs = counts > 0
    rarest = torch.where(occurs, counts, counts.max()).min()
    counts = torch.where(occurs, counts, rarest)
    prior = counts / counts.sum()
    return prior.log()


class LogitAdjusted(CrossEntropyLoss):
    """CE of z + tau log pi, ``strength`` tau = 1.

    What z says of a face is then free of how common classes are. Menon et al., "Long-tail learning
    via logit adjustment", ICLR 2021, equation 10. The same after training is
    :func:`nla.metrics.adjusted`.
    """

    strength = 1.0
    log_prior: Tensor  # log pi (K,)

    def attach(self, model: Classifier, labels: Tensor) -> None:
        counts = label_counts(model, labels).float()
        self.register_buffer("log_prior", log_prior(counts))

    def losses(self, logits: Tensor, targets: Tensor, progress: float) -> Tensor:
        return super().losses(logits + self.strength * self.log_prior, targets, progress)


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


class DeferredReweighting(ClassBalanced):
    """CE, and in the last fifth of training c_y CE: first learn the faces, then the classes.

    "CE-DRW" of Cao et al., NeurIPS 2019, section 3.3 and table 2.
    """

    deferred = True

    def losses(self, logits: Tensor, targets: Tensor, progress: float) -> Tensor:
        if progress >= REWEIGHTED:
            return super().losses(logits, targets, progress)
        return CrossEntropyLoss.losses(self, logits, targets, progress)


class LDAM(DeferredReweighting):
    """CE of s (cos_k - m_k [k = y]), s = 30, m_k in proportion to n_k^(-1/4).

    The largest m is the ``strength`` .5. cos_k is of the angle between latent and class weights;
    :meth:`attach` makes s cos_k the model's logits. The last fifth of training weighs samples as
    ClassBalanced does (DRW). A class that no training label has gets no margin. Cao et al., NeurIPS
    2019; s and the fifth from their code. ``margin`` and ``deferred`` set to False leave one of the
    two out: without both it is cross-entropy on a cosine classifier.
    """

    strength = 0.5
    margins: Tensor  # m (K,)

    def __init__(self, margin: bool = True, deferred: bool = True, **options: Any) -> None:
        super().__init__(**options)
        if not margin and options.get("strength") is not None:
            raise ValueError("without a margin there is no strength of it")
        self.margin, self.deferred = margin, deferred

    def attach(self, model: Classifier, labels: Tensor) -> None:
        super().attach(model, labels)
        counts = label_counts(model, labels)
        margins = torch.where(counts > 0, counts.clamp(min=1) ** -0.25, 0)
        largest = self.strength * self.margin
        self.register_buffer("margins", largest * margins / margins.max())
        model.fc.register_forward_hook(scaled_cosines)

    def losses(self, logits: Tensor, targets: Tensor, progress: float) -> Tensor:
        logits = logits - SCALE * self.margins * F.one_hot(targets, len(self.margins))
        if self.deferred:
            return super().losses(logits, targets, progress)
        return CrossEntropyLoss.losses(self, logits, targets, progress)


def scaled_cosines(fc: nn.Linear, inputs: tuple[Tensor], logits: Tensor) -> Tensor:
    """s cos_k (B, K), s = 30, in place of what the classifier ``fc`` gives for latents (B, D)."""
    return SCALE * F.linear(F.normalize(inputs[0]), F.normalize(fc.weight))


class MixupReweighting(DeferredReweighting):
    """l CE(z, y_i) + (1 - l) CE(z, y_j) on l x_i + (1 - l) x_j, then with the weights of CE-DRW.

    l is uniform (Beta(1, 1)), one for a batch, and j a random other sample of it. What is on record
    is of the mixed images, at the label of the first. Zhang et al., "mixup", ICLR 2018; with DRW as
    in Cao et al., NeurIPS 2019.
    """

    share: Tensor | None = None  # l
    partners: Tensor | None = None  # j (B,), places in the batch
    remark = "what is on record of a sample is of it mixed with another"

    def mix(self, images: Tensor, generator: Generator) -> Tensor:
        draws = torch.rand(1 + len(images), generator=generator, device=images.device)
        self.share = draws[0]
        self.partners = draws[1:].argsort()
        return torch.lerp(images[self.partners], images, self.share)

    def on_outputs(
        self, first: Output, second: Output | None, targets: Tensor, progress: float, rows: Tensor
    ) -> LossTerms:
        terms = self(first.logits, None, targets, progress)
        if self.share is None or self.partners is None:
            return terms  # of images that were not mixed
        others = self(first.logits, None, targets[self.partners], progress)
        total = self.share * terms.total + (1 - self.share) * others.total
        return terms._replace(total=total)

"""NLA taken apart: each of its terms left out, held or replaced, to see what it does."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from nla.consistency import js_divergence
from nla.losses import LossTerms, Method, needed
from nla.naw import check_progress

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

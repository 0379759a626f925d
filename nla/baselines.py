"""What NLA is compared with, under the same call: ``loss(logits, flipped_logits, targets, progress)``."""

from torch import Tensor
from torch.nn import functional as F

from nla.losses import LossTerms, Method
from nla.naw import NAW, check, in_float32, scores_of


class CrossEntropyLoss(Method):
    """Mean cross-entropy of the first view; the second is neither needed nor read.

    w* is what NAW would give at the same scores. It is recorded, so that a plain run can be looked at
    in the same way, and does not enter the loss. The divergence is not known and recorded as NaN.
    """

    views = 1

    def __init__(self, naw: NAW | None = None, checked: bool = True):
        super().__init__()
        self.naw, self.checked = naw or NAW(), checked

    def forward(self, logits: Tensor, flipped_logits: Tensor | None, targets: Tensor,
                progress: float) -> LossTerms:
        """Logits (B, K), targets (B,) integers, progress = epoch / epochs in [0, 1]."""
        if self.checked:
            check(logits, targets)
        logits = in_float32(logits)
        cross_entropy = F.cross_entropy(logits, targets, reduction="none")
        scores = scores_of(logits.detach().softmax(1), targets)
        weight = self.naw.weights(scores, progress)
        unknown = weight.new_full(weight.shape, float("nan"))
        return LossTerms(cross_entropy.mean(), weight, cross_entropy, unknown, scores)

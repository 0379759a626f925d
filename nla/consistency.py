"""Consistency: an image and its mirror image should get the same distribution over the classes.

Both divergences return one value a sample, in nats, from the logits of the two views.
"""

import math

from torch import Tensor, logaddexp

from nla.naw import in_float32


def js_divergence(logits: Tensor, flipped_logits: Tensor) -> Tensor:
    """Jensen-Shannon divergence of softmax(z), softmax(z'): logits (B, K) -> (B,), in [0, log 2].

        JSD(P, Q) = 1/2 KL(P || M) + 1/2 KL(Q || M),   M = (P + Q) / 2

    computed from log-probabilities, so that saturated logits stay finite. ValueError when the
    shapes differ. Source: the paper's L_reg; Lin, "Divergence measures based on the Shannon
    entropy", IEEE Trans. Inf. Theory, 1991.
    """
    log_p, log_q = log_probabilities(logits, flipped_logits)
    log_m = logaddexp(log_p, log_q) - math.log(2)
    from_p = log_p.exp() * (log_p - log_m)
    from_q = log_q.exp() * (log_q - log_m)
    return 0.5 * (from_p + from_q).sum(1)


def released_divergence(logits: Tensor, flipped_logits: Tensor) -> Tensor:
    """The divergence of the released code, logits (B, K) -> (B,); the release sums it over a batch.

        1/2 KL(M || P) + 1/2 KL(M || Q),   M = softmax of the mean of the two views' logits

    It is no Jensen-Shannon divergence: M is the normalised geometric mean of P and Q, the KL terms
    are reversed, and it has no upper bound. In closed form

        KL(M || P) + KL(M || Q) = -2 log sum_k sqrt(P_k Q_k),

    so the value is the Bhattacharyya distance. ValueError when the shapes differ. Source: released
    code, 2025.
    """
    log_p, log_q = log_probabilities(logits, flipped_logits)
    log_geometric_mean = 0.5 * (log_p + log_q)
    return -log_geometric_mean.logsumexp(1)


def log_probabilities(logits: Tensor, flipped_logits: Tensor) -> tuple[Tensor, Tensor]:
    """log P and log Q (B, K) of both views, in float32 at least. ValueError as check_views."""
    check_views(logits, flipped_logits)
    log_p = in_float32(logits).log_softmax(1)
    log_q = in_float32(flipped_logits).log_softmax(1)
    return log_p, log_q


def check_views(logits: Tensor, flipped_logits: Tensor) -> None:
    """Raise ValueError unless the logits of both views have one shape (B, K)."""
    first, second = tuple(logits.shape), tuple(flipped_logits.shape)
    if first != second or len(first) != 2:
        raise ValueError(
            f"the two views' logits must have the same shape (B, K), got {first} and {second}"
        )

"""Losses of binary masks: focal and dice.

Both are written on the mask's probabilities, which the caller computes once: at full resolution these losses are
memory-bound, and every temporary counts.
"""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

ALPHA = 0.25
"""Weight of foreground pixels in the focal loss, 1 - ALPHA of background (RetinaNet, section 4.1)."""


def focal_loss(
    logits: Float[Tensor, "p n"], probs: Float[Tensor, "p n"], targets: Float[Tensor, "p n"]
) -> Float[Tensor, " p"]:
    """Mean over pixels of `focal_terms`."""
    return focal_terms(logits, probs, targets).mean(-1)


def focal_terms(
    logits: Float[Tensor, "p n"], probs: Float[Tensor, "p n"], targets: Float[Tensor, "p n"]
) -> Float[Tensor, "p n"]:
    """alpha_t (1 - p_t)^2 (-log p_t) of every pixel (RetinaNet eq. 5, gamma 2).

    Args:
        logits: Mask logits.
        probs: sigmoid(logits).
        targets: 1 in the mask, 0 outside; then 1 - p_t = |targets - probs|.
    """
    cross_entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    weights = (1 - ALPHA) - (1 - 2 * ALPHA) * targets
    return cross_entropy * (targets - probs).square() * weights


def dice_loss(probs: Float[Tensor, "p n"], targets: Float[Tensor, "p n"]) -> Float[Tensor, " p"]:
    """1 - (2 sum(p t) + 1) / (sum p + sum t + 1) of every mask (MaskFormer, appendix A)."""
    overlap = 2 * (probs * targets).sum(-1) + 1
    return 1 - overlap / (probs.sum(-1) + targets.sum(-1) + 1)

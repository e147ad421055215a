"""Presence of a class and its mask, as one probability."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def presence_probs(
    mask_logits: Float[Tensor, "b k h w"], class_logits: Float[Tensor, "b k 2"]
) -> Float[Tensor, "b k h w"]:
    """softmax(class_logits_k)_0 * sigmoid(mask_logits_k) of every cell (thesis equation 4.4)."""
    present = class_logits.softmax(-1)[..., 0]
    return mask_logits.sigmoid() * present[..., None, None]

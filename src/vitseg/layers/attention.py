"""Multi-head attention on projected tokens."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def split_heads(x: Float[Tensor, "b n c"], num_heads: int) -> Float[Tensor, "b heads n d"]:
    """Channels to heads, head-major."""
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def merge_heads(x: Float[Tensor, "b heads n d"]) -> Float[Tensor, "b n c"]:
    """Heads back to channels."""
    return x.transpose(1, 2).flatten(2)


def attend(
    q: Float[Tensor, "b q c"],
    k: Float[Tensor, "b n c"],
    v: Float[Tensor, "b n c"],
    num_heads: int,
    dropout: float,
) -> Float[Tensor, "b q c"]:
    """Scaled dot-product attention of projected tokens; `dropout` is the rate on the attention weights."""
    q, k, v = (split_heads(x, num_heads) for x in (q, k, v))
    return merge_heads(F.scaled_dot_product_attention(q, k, v, dropout_p=dropout))

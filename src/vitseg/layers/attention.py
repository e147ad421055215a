"""Multi-head attention on projected tokens."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from vitseg.errors import ConfigError
from vitseg.layers.ragged import ragged_attention

MOST_WEIGHTS = 2**23
"""Attention weights of a block up to which they are kept for the backward pass: 16 MB in bf16."""


def split_heads(x: Float[Tensor, "b n c"], num_heads: int) -> Float[Tensor, "b heads n d"]:
    """Channels to heads, head-major."""
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def merge_heads(x: Float[Tensor, "b heads n d"]) -> Float[Tensor, "b n c"]:
    """Heads back to channels."""
    return x.transpose(1, 2).flatten(2)


def require_whole_heads(embed_dim: int, num_heads: int) -> None:
    """Raise ConfigError unless a decoder's heads get a whole number of channels each."""
    if embed_dim % num_heads:
        raise ConfigError(
            f"decoder.embed_dim {embed_dim} is not divisible by decoder.num_heads {num_heads}: "
            "choose them so that each head gets a whole number of channels."
        )


def attend_heads(
    q: Float[Tensor, "b heads m d"],
    k: Float[Tensor, "b heads n d"],
    v: Float[Tensor, "b heads n d"],
    bias: Float[Tensor, "*b #heads #m #n"] | Bool[Tensor, "*b #heads #m #n"] | None = None,
) -> Float[Tensor, "b heads m d"]:
    """`scaled_dot_product_attention`; trained in bf16 on a CPU as two products with the softmax between them.

    There torch's fused backward pass takes more than twice as long as that of the products, which run on the
    processor's bf16 instructions; it saves the memory of the weights, for which there is a limit here.

    Args:
        q: Queries.
        k: Keys.
        v: Values.
        bias: Added to the scores; or True where a query may attend to a key.
    """
    is_trained = torch.is_grad_enabled() and q.requires_grad
    is_bf16_on_cpu = q.device.type == "cpu" and q.dtype == torch.bfloat16
    # the sizes last: a graph that is traced for any size must not ask for them
    if not (is_trained and is_bf16_on_cpu and math.prod(q.shape[:3]) * k.shape[2] < MOST_WEIGHTS):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    scores = (q * q.shape[-1] ** -0.5) @ k.mT
    if bias is not None:
        is_mask = bias.dtype == torch.bool
        scores = scores.masked_fill(~bias, -torch.inf) if is_mask else scores + bias
    return scores.softmax(-1) @ v


def attend(
    q: Float[Tensor, "b q c"],
    k: Float[Tensor, "#b n c"],
    v: Float[Tensor, "#b n c"],
    num_heads: int,
    dropout: float,
    key_lengths: tuple[int, ...] | None = None,
) -> Float[Tensor, "b q c"]:
    """Scaled dot-product attention of projected tokens.

    Args:
        q: Queries.
        k: Keys.
        v: Values.
        num_heads: Heads that the channels are divided into.
        dropout: Rate on the attention weights.
        key_lengths: Keys of each image, where the keys of all images are packed into one sequence.
    """
    batch, num_queries = q.shape[:2]
    if key_lengths is not None:
        q = q.flatten(0, 1)[None]  # (1, b*q, c)
    q, k, v = (split_heads(x, num_heads) for x in (q, k, v))
    if key_lengths is None:
        return merge_heads(F.scaled_dot_product_attention(q, k, v, dropout_p=dropout))
    query_lengths = (num_queries,) * batch
    out = merge_heads(ragged_attention(q, k, v, query_lengths, key_lengths, dropout=dropout))
    return out[0].unflatten(0, (batch, num_queries))

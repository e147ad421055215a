"""Self-attention on any subset of queries, over timm's own parameters; the families (`families/`) fill it in."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vitseg.backbones.positions import TokenPositions
from vitseg.layers.attention import attend_heads, merge_heads, split_heads
from vitseg.layers.ragged import ragged_attention
from vitseg.layers.tokens import take_tokens


class SelfAttention(nn.Module):
    """Multi-head self-attention; see `attend_heads`.

    Subclasses own timm's parameters under timm's names and say what the joint projection of queries, keys and values
    is.
    """

    proj: nn.Linear
    has_bias = False
    """Whether `bias` returns one."""

    def __init__(self, num_heads: int):
        super().__init__()
        self.num_heads = num_heads

    def joint_projection(self) -> tuple[Float[Tensor, "qkv c"], Float[Tensor, " qkv"] | None]:
        """Weight and bias whose rows give queries, keys and values, in this order."""
        raise NotImplementedError

    def prepare(
        self,
        q: Float[Tensor, "b heads m d"],
        k: Float[Tensor, "b heads n d"],
        queries: TokenPositions,
        keys: TokenPositions,
    ) -> tuple[Float[Tensor, "b heads m d"], Float[Tensor, "b heads n d"]]:
        """Per-family treatment of queries and keys."""
        del queries, keys
        return q, k

    def bias(
        self, queries: TokenPositions, keys: TokenPositions
    ) -> Float[Tensor, "*b heads m n"] | None:
        """What is added to the scores of unpacked queries and keys, if the family has such a thing."""
        del queries, keys
        return None

    def finish(self, x: Float[Tensor, "b n c"]) -> Float[Tensor, "b n c"]:
        """Output projection of the merged heads."""
        return self.proj(x)

    def forward(
        self,
        x: Float[Tensor, "b n c"],
        positions: TokenPositions,
        query_index: Int[Tensor, "*b m"] | None,
        queries: Float[Tensor, "b m c"] | None = None,
        mask: Bool[Tensor, "b m n"] | None = None,
    ) -> Float[Tensor, "b m c"]:
        """Attend from the rows `query_index` of `x` (None: all) to all rows of `x` of the same image.

        Args:
            x: Tokens; packed where `positions` says so.
            positions: Where they stand.
            query_index: Rows that ask.
            queries: What asks in place of those rows of `x`.
            mask: Whether a query may attend to a token; None: to all. Not of packed tokens.
        """
        weight, bias = self.joint_projection()
        if query_index is None:
            query_positions = positions
            q, k, v = F.linear(x, weight, bias).chunk(3, dim=-1)
        else:
            query_positions = positions.select(query_index)
            width = weight.shape[0] // 3
            q_bias, kv_bias = (None, None) if bias is None else (bias[:width], bias[width:])
            queries = take_tokens(x, query_index) if queries is None else queries
            q = F.linear(queries, weight[:width], q_bias)
            k, v = F.linear(x, weight[width:], kv_bias).chunk(2, dim=-1)
        q, k, v = (split_heads(part, self.num_heads) for part in (q, k, v))
        q, k = self.prepare(q, k, query_positions, positions)
        out = self._attend(q, k.type_as(q), v.type_as(q), query_positions, positions, mask)
        return self.finish(merge_heads(out))

    def _attend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        queries: TokenPositions,
        keys: TokenPositions,
        mask: Tensor | None,
    ) -> Float[Tensor, "b heads m d"]:
        if queries.lengths is None or keys.lengths is None or len(keys.lengths) == 1:
            bias = self.bias(queries, keys)
            bias = None if bias is None else bias.to(q.dtype)
            if mask is not None:
                mask = mask[:, None]  # (b, 1, m, n)
                bias = mask if bias is None else bias.masked_fill(~mask, -torch.inf)
            return attend_heads(q, k, v, bias)
        assert mask is None
        biases = None
        if self.has_bias:
            pairs = zip(queries.by_image(), keys.by_image(), strict=True)
            biases = [cast(Tensor, self.bias(*pair)).to(q.dtype) for pair in pairs]
        return ragged_attention(q, k, v, queries.lengths, keys.lengths, biases)


def without_key_bias(
    q_bias: Float[Tensor, " c"] | None, v_bias: Float[Tensor, " c"] | None
) -> Float[Tensor, " qkv"] | None:
    """The bias of the joint projection for families whose keys have none."""
    if q_bias is None or v_bias is None:
        return None
    return torch.cat([q_bias, torch.zeros_like(q_bias), v_bias])

"""Self-attention of the ViT families, on any subset of queries, over timm's own parameters."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from timm.layers.attention import Attention, AttentionRope
from timm.models.beit import Attention as BeitAttention
from timm.models.eva import EvaAttention
from torch import Tensor, nn

from vitseg.backbones.positions import TokenPositions, relative_bias, rotate
from vitseg.errors import ConfigError
from vitseg.layers.attention import merge_heads, split_heads
from vitseg.layers.ragged import ragged_attention
from vitseg.layers.tokens import take_tokens
from vitseg.types import Size


class SelfAttention(nn.Module):
    """Multi-head self-attention through `scaled_dot_product_attention`.

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
        self, q: Tensor, k: Tensor, queries: TokenPositions, keys: TokenPositions
    ) -> tuple[Tensor, Tensor]:
        """Per-family treatment of (b, heads, n, d) queries and keys."""
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
        if queries.lengths is None or keys.lengths is None:
            bias = self.bias(queries, keys)
            bias = None if bias is None else bias.to(q.dtype)
            if mask is not None:
                mask = mask[:, None]  # (b, 1, m, n)
                bias = mask if bias is None else bias.masked_fill(~mask, -torch.inf)
            return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        assert mask is None
        biases = None
        if self.has_bias:
            pairs = zip(queries.by_image(), keys.by_image(), strict=True)
            biases = [cast(Tensor, self.bias(*pair)).to(q.dtype) for pair in pairs]
        return ragged_attention(q, k, v, queries.lengths, keys.lengths, biases)


class ViTAttention(SelfAttention):
    """timm's `Attention` (AugReg, DeiT, DeiT-3, MAE, CLIP, SigLIP, DINOv2) and its rotary kin, `AttentionRope`."""

    def __init__(self, attn: Attention | AttentionRope):
        super().__init__(attn.num_heads)
        if attn.qkv is None or attn.gate is not None:
            raise ConfigError(
                "gated attention and separate or grouped key projections are not supported here"
            )
        self.qkv = attn.qkv
        self.q_norm, self.k_norm, self.norm = attn.q_norm, attn.k_norm, attn.norm
        self.proj = attn.proj
        self.half_layout = isinstance(attn, AttentionRope) and attn.rotate_half

    def joint_projection(self):
        return self.qkv.weight, self.qkv.bias

    def prepare(self, q, k, queries, keys):
        q, k = self.q_norm(q), self.k_norm(k)
        return rotate(q, queries, self.half_layout), rotate(k, keys, self.half_layout)

    def finish(self, x):
        return self.proj(self.norm(x))


class BeitSelfAttention(SelfAttention):
    """BEiT and BEiT-v2: no key bias, a relative position bias in every block."""

    has_bias = True

    def __init__(self, attn: BeitAttention, grid: Size):
        super().__init__(attn.num_heads)
        if attn.relative_position_bias_table is None or attn.q_bias is None:
            raise ConfigError(
                "BEiT models are supported with a query bias and a relative position bias in every block"
            )
        self.table_grid = grid
        self.qkv = attn.qkv
        self.q_bias, self.v_bias = attn.q_bias, attn.v_bias
        self.relative_position_bias_table = attn.relative_position_bias_table
        self.proj = attn.proj

    def joint_projection(self):
        return self.qkv.weight, without_key_bias(self.q_bias, self.v_bias)

    def bias(self, queries, keys):
        return relative_bias(self.relative_position_bias_table, self.table_grid, queries, keys)


class EvaSelfAttention(SelfAttention):
    """EVA-02 and DINOv3: rotary positions, no key bias; the joint projection is one matrix."""

    def __init__(self, attn: EvaAttention):
        super().__init__(attn.num_heads)
        if attn.gate is not None:
            raise ConfigError("gated attention is not supported here")
        self.half_layout = attn.rotate_half
        self.q_norm, self.k_norm, self.norm = attn.q_norm, attn.k_norm, attn.norm
        self.proj = attn.proj
        self._adopt_projection(attn)

    def _adopt_projection(self, attn: EvaAttention) -> None:
        assert attn.qkv is not None
        self.qkv = attn.qkv
        self.q_bias, self.v_bias = attn.q_bias, attn.v_bias

    def joint_projection(self):
        return self.qkv.weight, without_key_bias(self.q_bias, self.v_bias)

    def prepare(self, q, k, queries, keys):
        q, k = self.q_norm(q), self.k_norm(k)
        return rotate(q, queries, self.half_layout), rotate(k, keys, self.half_layout)

    def finish(self, x):
        return self.proj(self.norm(x))


class SplitEvaSelfAttention(EvaSelfAttention):
    """EVA-02's larger models: queries, keys and values have a projection each."""

    def _adopt_projection(self, attn: EvaAttention) -> None:
        assert attn.q_proj is not None and attn.k_proj is not None and attn.v_proj is not None
        self.q_proj, self.k_proj, self.v_proj = attn.q_proj, attn.k_proj, attn.v_proj

    def joint_projection(self):
        weight = torch.cat([self.q_proj.weight, self.k_proj.weight, self.v_proj.weight])
        return weight, without_key_bias(self.q_proj.bias, self.v_proj.bias)


def without_key_bias(q_bias: Tensor | None, v_bias: Tensor | None) -> Tensor | None:
    """The bias of the joint projection for families whose keys have none."""
    if q_bias is None or v_bias is None:
        return None
    return torch.cat([q_bias, torch.zeros_like(q_bias), v_bias])

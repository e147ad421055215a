"""The layers of an attention-to-mask stage.

Source: SegViT (NeurIPS 2022), section 3 and figure 2.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vitseg.layers.attention import attend, merge_heads, split_heads


class AttentionToMask(nn.Module):
    """Cross-attention from class queries to image tokens whose scores are also masks (SegViT eq. 1-3).

    The mask logits are the mean over heads of the scaled scores before the softmax. The sum over heads of per-head
    products is the product over all channels, so they cost one matrix product and the attention itself can run fused.
    """

    def __init__(self, embed_dim: int, num_heads: int, dropout: float):
        super().__init__()
        self.num_heads = num_heads
        self.dropout = dropout
        self.q = nn.Linear(embed_dim, embed_dim)
        self.k = nn.Linear(embed_dim, embed_dim)
        self.v = nn.Linear(embed_dim, embed_dim)
        self.proj = nn.Linear(embed_dim, embed_dim)

    def forward(
        self,
        queries: Float[Tensor, "b q c"],
        keys: Float[Tensor, "#b n c"],
        values: Float[Tensor, "#b n c"] | None,
        with_mask: bool,
        lengths: tuple[int, ...] | None = None,
    ) -> tuple[Float[Tensor, "b q c"], Float[Tensor, "_ q n"] | None]:
        """Attended queries and, if asked for, mask logits.

        Args:
            queries: The class queries.
            keys: The memory, projected by `k`; or as it is, where `values` is None.
            values: The memory, projected by `v`; None: both projections are folded into the queries (`folding_pays`).
            with_mask: Whether the mask logits are wanted.
            lengths: Tokens of each image, where the images' memories are packed into one; so are then the masks.
        """
        queries = self.q(queries)
        if values is None:
            return self._folded(queries, keys, with_mask)
        mask = None
        if with_mask:
            head_dim = queries.shape[-1] // self.num_heads
            mask = products(queries * (head_dim**-0.5 / self.num_heads), keys, lengths)
        dropout = self.dropout if self.training else 0.0
        attended = attend(queries, keys, values, self.num_heads, dropout, lengths)
        return self.proj(attended), mask

    def _folded(
        self, queries: Float[Tensor, "b q c"], memory: Float[Tensor, "b n c"], with_mask: bool
    ) -> tuple[Float[Tensor, "b q c"], Float[Tensor, "b q n"] | None]:
        """The same, with q (m W)^T computed as (q W^T) m^T for every head.

        The keys' bias adds the same to all scores of a query: the softmax forgets it, the mask does not.
        """
        heads, num_queries, width = self.num_heads, *queries.shape[1:]
        scale = (width // heads) ** -0.5
        mask = None
        if with_mask:
            shared = queries * (scale / heads)
            mask = (shared @ self.k.weight) @ memory.transpose(1, 2)
            mask = mask + shared @ self.k.bias[:, None]
        of_keys = self.k.weight.unflatten(0, (heads, -1))  # (heads, d, c)
        asking = (split_heads(queries * scale, heads) @ of_keys).flatten(1, 2)  # (b, heads*q, c)
        # Written out: heads as wide as the memory suit no fused kernel, and the weights are smaller than the memory.
        weights = (asking @ memory.transpose(1, 2)).softmax(-1)
        read = F.dropout(weights, self.dropout, self.training) @ memory
        of_values = self.v.weight.unflatten(0, (heads, -1)).transpose(1, 2)  # (heads, c, d)
        attended = read.unflatten(1, (heads, num_queries)) @ of_values
        # A bias without a gradient would keep distributed training waiting; that of the keys has one, which is 0.
        bias = self.v.bias + 0 * self.k.bias
        return self.proj(merge_heads(attended) + bias), mask


def folding_pays(queries: Float[Tensor, "b q c"], num_heads: int) -> bool:
    """Whether asking the memory itself takes fewer products than projecting it to keys and values first.

    Of n tokens, a layer projects n c c twice; folded, it has heads q n c for the scores and as many for what they read.
    These run at half the rate.
    """
    return 2 * queries.shape[1] * num_heads <= queries.shape[2]


def products(
    queries: Float[Tensor, "b q c"],
    keys: Float[Tensor, "_ n c"],
    lengths: tuple[int, ...] | None,
) -> Float[Tensor, "_ q n"]:
    """Of every query with every key of its image; `lengths` where the keys are packed, and then the products, too."""
    if lengths is None or len(lengths) == 1:
        return queries @ keys.transpose(1, 2)
    images = zip(queries, keys[0].split(lengths), strict=True)
    return torch.cat([query @ key.T for query, key in images], dim=1)[None]


class QuerySelfAttention(nn.Module):
    """Self-attention among the class queries."""

    def __init__(self, embed_dim: int, num_heads: int, dropout: float):
        super().__init__()
        self.num_heads = num_heads
        self.dropout = dropout
        self.in_proj = nn.Linear(embed_dim, 3 * embed_dim)
        self.out_proj = nn.Linear(embed_dim, embed_dim)

    def forward(self, queries: Float[Tensor, "b q c"]) -> Float[Tensor, "b q c"]:
        """Every query attends to every query."""
        q, k, v = self.in_proj(queries).chunk(3, dim=-1)
        dropout = self.dropout if self.training else 0.0
        return self.out_proj(attend(q, k, v, self.num_heads, dropout))


class AtmLayer(nn.Module):
    """Post-norm decoder layer: self-attention (optional), attention-to-mask, MLP with ReLU."""

    def __init__(self, embed_dim: int, num_heads: int, dropout: float, self_attention: bool):
        super().__init__()
        self.self_attn = None
        if self_attention:
            self.self_attn = QuerySelfAttention(embed_dim, num_heads, dropout)
            self.norm1 = nn.LayerNorm(embed_dim)
        self.cross_attn = AttentionToMask(embed_dim, num_heads, dropout)
        self.norm2 = nn.LayerNorm(embed_dim)
        self.fc1 = nn.Linear(embed_dim, 4 * embed_dim)
        self.fc2 = nn.Linear(4 * embed_dim, embed_dim)
        self.norm3 = nn.LayerNorm(embed_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        queries: Float[Tensor, "b q c"],
        keys: Float[Tensor, "#b n c"],
        values: Float[Tensor, "#b n c"] | None,
        with_mask: bool,
        lengths: tuple[int, ...] | None = None,
    ) -> tuple[Float[Tensor, "b q c"], Float[Tensor, "_ q n"] | None]:
        """Updated queries and, if asked for, mask logits; see `AttentionToMask`."""
        if self.self_attn is not None:
            queries = self.norm1(queries + self.dropout(self.self_attn(queries)))
        attended, mask = self.cross_attn(queries, keys, values, with_mask, lengths)
        queries = self.norm2(queries + self.dropout(attended))
        hidden = self.dropout(F.relu(self.fc1(queries)))
        return self.norm3(queries + self.dropout(self.fc2(hidden))), mask

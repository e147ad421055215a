"""Transformer blocks of the ViT families: timm's parameters, our forward pass.

timm's own blocks run every token against every token. Ours take the same submodules, under the same parameter names,
and can also run with fewer queries than keys and on any subset of the tokens.
"""

from __future__ import annotations

from typing import Any

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vitseg.backbones.attention import SelfAttention
from vitseg.backbones.positions import TokenPositions
from vitseg.layers.drop_path import DropPath
from vitseg.layers.tokens import take_tokens


class ViTBlock(nn.Module):
    """Pre-norm block: x + attention(norm1(x)), then x + mlp(norm2(x)), with optional layer scale.

    Drop path acts on the MLP branch only, as in the published SegViT training.
    """

    def __init__(
        self,
        norm1: nn.Module,
        attn: SelfAttention,
        norm2: nn.Module,
        mlp: nn.Module,
        drop_path: float,
    ):
        super().__init__()
        self.norm1 = norm1
        self.attn = attn
        self.norm2 = norm2
        self.mlp = mlp
        self.drop_path = DropPath(drop_path)

    def scale_attention(self, x: Float[Tensor, "b m c"]) -> Float[Tensor, "b m c"]:
        """Layer scale of the attention branch."""
        return x

    def scale_mlp(self, x: Float[Tensor, "b m c"]) -> Float[Tensor, "b m c"]:
        """Layer scale of the MLP branch."""
        return x

    def forward(
        self,
        x: Float[Tensor, "b n c"],
        positions: TokenPositions,
        query_index: Int[Tensor, "*b m"] | None = None,
        queries: Float[Tensor, "b m c"] | None = None,
        mask: Bool[Tensor, "b m n"] | None = None,
    ) -> Float[Tensor, "b m c"]:
        """The rows `query_index` of `x`, updated by attention to all of `x`.

        Args:
            x: Tokens; they are the keys and values.
            positions: Where these tokens stand; its subset is that of `x`.
            query_index: Rows of `x` that are the queries and the residual stream (one list for the batch or one per
                image). None: every token. With fewer queries than keys only those rows come out, and
                `positions.select(query_index)` are their positions.
            queries: What takes the place of those rows as queries and residual stream; its tokens stand on their
                positions.
            mask: Whether a query may attend to a token; None: to all. Not of packed tokens.
        """
        normed = None if queries is None else self.norm1(queries)
        attended = self.attn(self.norm1(x), positions, query_index, normed, mask)
        attended = self.scale_attention(attended)
        lengths = positions.lengths
        if query_index is not None:
            x = take_tokens(x, query_index) if queries is None else queries
            lengths = positions.select(query_index).lengths
        x = x + attended
        return x + self.drop_path(self.scale_mlp(self.mlp(self.norm2(x))), lengths)


class LayerScaleParameterBlock(ViTBlock):
    """Blocks of timm's `Beit` and `Eva`: layer scale in parameters `gamma_1`, `gamma_2`."""

    gamma_1: nn.Parameter | None
    gamma_2: nn.Parameter | None

    def __init__(self, block: Any, attn: SelfAttention, drop_path: float):
        super().__init__(block.norm1, attn, block.norm2, block.mlp, drop_path)
        self.gamma_1, self.gamma_2 = block.gamma_1, block.gamma_2

    def scale_attention(self, x):
        return x if self.gamma_1 is None else x * self.gamma_1

    def scale_mlp(self, x):
        return x if self.gamma_2 is None else x * self.gamma_2

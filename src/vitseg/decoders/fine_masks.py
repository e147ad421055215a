"""What is added to masks of patches where these are too coarse: products with features at a quarter of the image."""

from __future__ import annotations

import torch
from jaxtyping import Float
from timm.layers import LayerNorm2d
from torch import Tensor, nn

from vitseg.layers.resize import resize_for_gradients
from vitseg.types import spatial_size

CELLS = 4
"""Cells that a token becomes, along each side."""


class FineMasks(nn.Module):
    """A learned 4 x 4 patch of every token plus the detail map, mixed by two convolutions; queries times these.

    What a query asks with starts at zero, so that the masks start as those of the patches alone: random features beside
    them would have to be unlearnt first.

    Args:
        embed_dim: Width of the tokens and queries.
        width: Of the detail map.
    """

    def __init__(self, embed_dim: int, width: int):
        super().__init__()
        self.spread = nn.ConvTranspose2d(embed_dim, width, kernel_size=CELLS, stride=CELLS)
        self.norm = LayerNorm2d(width)
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.act = nn.GELU()
        self.pointwise = nn.Conv2d(width, width, 1)
        self.last_norm = LayerNorm2d(width)
        self.ask = nn.Linear(embed_dim, width)
        nn.init.zeros_(self.ask.weight)
        nn.init.zeros_(self.ask.bias)

    def forward(
        self,
        queries: Float[Tensor, "b q c"],
        tokens: Float[Tensor, "b c h w"],
        detail: Float[Tensor, "b d H W"],
    ) -> Float[Tensor, "b q H W"]:
        """Mask logits to be added; the detail map's size is that of the result."""
        spread = self.spread(tokens)
        if spread.shape[-2:] != detail.shape[-2:]:  # patches of another size than 16
            spread = resize_for_gradients(spread, spatial_size(detail))
        x = self.norm(spread + detail)
        x = self.last_norm(x + self.pointwise(self.act(self.depthwise(x))))
        return torch.einsum("bqd,bdhw->bqhw", self.ask(queries), x)

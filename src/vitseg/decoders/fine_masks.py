"""Tokens and a detail map of the image to features that are finer than patches; masks are products with them."""

from __future__ import annotations

from jaxtyping import Float
from timm.layers import LayerNorm2d
from torch import Tensor, nn

from vitseg.layers.resize import resize_map
from vitseg.types import spatial_size

CELLS = 4
"""Cells that a token becomes, along each side."""


class FineFeatures(nn.Module):
    """A learned 4 x 4 patch of every token, plus the detail map; then one depthwise and one pointwise convolution.

    Args:
        embed_dim: Width of the tokens.
        width: Of the detail map, and of what is returned.
    """

    def __init__(self, embed_dim: int, width: int):
        super().__init__()
        self.spread = nn.ConvTranspose2d(embed_dim, width, kernel_size=CELLS, stride=CELLS)
        self.norm = LayerNorm2d(width)
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.act = nn.GELU()
        self.pointwise = nn.Conv2d(width, width, 1)
        self.last_norm = LayerNorm2d(width)

    def forward(
        self, tokens: Float[Tensor, "b c h w"], detail: Float[Tensor, "b d H W"]
    ) -> Float[Tensor, "b d H W"]:
        """Run it; the detail map's size is that of the result."""
        spread = self.spread(tokens)
        if spread.shape[-2:] != detail.shape[-2:]:  # patches of another size than 16
            spread = resize_map(spread, spatial_size(detail))
        x = self.norm(spread + detail)
        return self.last_norm(x + self.pointwise(self.act(self.depthwise(x))))

"""Patches to tokens: timm's parameters and names."""

from __future__ import annotations

from jaxtyping import Float
from timm.layers.hybrid_embed import HybridEmbed
from torch import Tensor, nn


class PatchEmbed(nn.Module):
    """Patches to tokens, row by row; timm's parameters and names."""

    def __init__(self, proj: nn.Module, norm: nn.Module):
        super().__init__()
        self.proj = proj
        self.norm = norm

    def forward(self, images: Float[Tensor, "b channels H W"]) -> Float[Tensor, "b n c"]:
        """Images whose sides are multiples of the patch."""
        return self._tokens(images)

    def _tokens(self, maps: Float[Tensor, "b _ H W"]) -> Float[Tensor, "b n c"]:
        tokens = self.proj(maps).flatten(2).transpose(1, 2)
        # Left as it is, every residual sum would keep the convolution's channels-first strides: 5 % slower.
        return self.norm(tokens.contiguous())


class HybridPatchEmbed(PatchEmbed):
    """Features of a CNN as patches: a token per cell of its last stage, or per patch of them; timm's names."""

    def __init__(self, embed: HybridEmbed):
        super().__init__(embed.proj, nn.Identity())
        self.backbone = embed.backbone

    def forward(self, images: Float[Tensor, "b channels H W"]) -> Float[Tensor, "b n c"]:
        """Images whose sides are multiples of the CNN's stride times the patch."""
        features = self.backbone(images)  # (b, c, h, w), or such maps of several stages
        return self._tokens(features[-1] if isinstance(features, (list, tuple)) else features)

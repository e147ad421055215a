"""What patches are too coarse for: a few convolutions on the image itself, beside a plain ViT.

Ours; shallow convolutions beside a ViT are an old thought (ViT-Adapter's spatial prior, ICLR 2023, is the best known),
here without anything that returns to the tokens. The pretrained ViT stays what it is.
"""

from __future__ import annotations

from jaxtyping import Float
from timm.layers import LayerNorm2d
from torch import Tensor, nn

from vitseg.backbones.vit import PlainViT

STRIDE = 4
"""Pixels per cell of the detail map, along each side."""


class DetailStem(nn.Module):
    """An image to a map at a quarter of its size: two 3 x 3 convolutions of stride 2, LayerNorm and GELU between.

    Args:
        in_channels: Channels of the image.
        width: Channels of the map.
    """

    def __init__(self, in_channels: int, width: int):
        super().__init__()
        self.first = nn.Conv2d(in_channels, width // 2, 3, stride=2, padding=1)
        self.norm = LayerNorm2d(width // 2)
        self.act = nn.GELU()
        self.second = nn.Conv2d(width // 2, width, 3, stride=2, padding=1)

    def forward(self, images: Float[Tensor, "b _ H W"]) -> Float[Tensor, "b d _ _"]:
        """Run it."""
        return self.second(self.act(self.norm(self.first(images))))


def add_detail(vit: PlainViT, width: int) -> None:
    """Let a ViT give a detail map of the image, too (`Features.detail`).

    Args:
        vit: The backbone.
        width: Channels of the map.
    """
    channels = vit.config.channels
    vit.own("detail", DetailStem(3 if channels is None else len(channels), width))

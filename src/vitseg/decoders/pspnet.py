"""PSPNet: pyramid pooling of the deepest map, and a classifier.

Source: PSPNet (CVPR 2017), section 3, in the form of the segmentation toolkits.
"""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from vitseg.decoders.pyramid_decoder import PyramidDecoder, PyramidDecoderConfig
from vitseg.features import Features
from vitseg.layers.pyramid_pooling import PyramidPooling


class PspNetDecoderConfig(PyramidDecoderConfig):
    """Configuration of `PspNetDecoder`."""

    embed_dim: int = Field(default=512, ge=1, description="width of the pooling")
    pool_sizes: tuple[int, ...] = Field(
        default=(1, 2, 3, 6),
        min_length=1,
        description="side of each grid, in cells, that the deepest map is pooled to",
    )


class PspNetDecoder(PyramidDecoder):
    """Class logits of the deepest map's cells.

    Args:
        in_channels: Width of each feature map, shallow to deep.
        num_classes: Classes.
        config: See `PspNetDecoderConfig`.
    """

    def __init__(self, in_channels: Sequence[int], num_classes: int, config: PspNetDecoderConfig):
        super().__init__(in_channels, num_classes, config)
        self.pooling = PyramidPooling(in_channels[-1], config.embed_dim, config.pool_sizes)
        self.dropout = nn.Dropout2d(config.dropout)
        self.classifier = nn.Conv2d(config.embed_dim, num_classes, 1)

    def classify(self, features: Features) -> Float[Tensor, "b k h w"]:
        """Class logits at the size of the deepest map."""
        return self.classifier(self.dropout(self.pooling(features.maps[-1])))

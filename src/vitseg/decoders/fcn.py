"""FCN: convolutions on the deepest map, and a classifier.

Source: FCN (CVPR 2015), in the form of the segmentation toolkits: two 3 x 3 convolutions, and a third that reads the
backbone's map again beside what they made of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from vitseg.decoders.pyramid_decoder import PyramidDecoder, PyramidDecoderConfig
from vitseg.features import Features
from vitseg.layers.fcn_head import FcnHead


class FcnDecoderConfig(PyramidDecoderConfig):
    """Configuration of `FcnDecoder`."""

    embed_dim: int = Field(default=512, ge=1, description="width of the convolutions")
    num_convs: int = Field(
        default=2, ge=1, description="convolutions in front of the one that reads the map again"
    )


class FcnDecoder(PyramidDecoder):
    """Class logits of the deepest map's cells.

    Args:
        in_channels: Width of each feature map, shallow to deep.
        num_classes: Classes.
        config: See `FcnDecoderConfig`.
    """

    def __init__(self, in_channels: Sequence[int], num_classes: int, config: FcnDecoderConfig):
        super().__init__(in_channels, num_classes, config)
        self.head = FcnHead(
            in_channels[-1],
            config.embed_dim,
            num_classes,
            config.dropout,
            config.num_convs,
            joins_input=True,
        )

    def classify(self, features: Features) -> Float[Tensor, "b k h w"]:
        """Class logits at the size of the deepest map."""
        return self.head(features.maps[-1])

"""DUC: dense upsampling convolution, one convolution whose channels are the pixels of its cell.

Source: Understanding Convolution for Semantic Segmentation (WACV 2018), section 3.1. As the paper has it, the channels
are the classes of every pixel (`embed_dim: null`, `result_stride: 1`, on a dilated backbone). The default is the
decoder of the thesis on NRD (table 3.2), on an undilated backbone: 64 channels per cell of stride 4 and a classifier,
which gives the multiply-adds published there, and the parameters but for a convolution that is not run.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from vitseg.decoders.pyramid_decoder import PyramidDecoder, PyramidDecoderConfig, cut_to_padded
from vitseg.features import Features
from vitseg.layers.conv_norm import ConvBatchNormRelu


class DucDecoderConfig(PyramidDecoderConfig):
    """Configuration of `DucDecoder`."""

    embed_dim: int | None = Field(
        default=64,
        ge=1,
        description="channels of every cell of the result, which a classifier reads; null: the classes themselves",
    )
    result_stride: int = Field(
        default=4, ge=1, description="side of a cell of the result in pixels; 1: full resolution"
    )


class DucDecoder(PyramidDecoder):
    """A 3 x 3 convolution, depth to space and, but where it gives the classes themselves, a classifier.

    Args:
        in_channels: Width of each feature map, shallow to deep.
        num_classes: Classes.
        config: See `DucDecoderConfig`.
        stride: Of the deepest map, in pixels, a multiple of the result's.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        config: DucDecoderConfig,
        stride: int = 32,
    ):
        super().__init__(in_channels, num_classes, config)
        assert stride % config.result_stride == 0
        self.result_stride = config.result_stride
        self.factor = stride // config.result_stride
        self.dropout = nn.Dropout2d(config.dropout)
        deepest, width = in_channels[-1], config.embed_dim
        if width is None:
            self.expand: nn.Module = nn.Conv2d(deepest, num_classes * self.factor**2, 3, padding=1)
            self.classifier: nn.Module = nn.Identity()
        else:
            self.expand = ConvBatchNormRelu(deepest, width * self.factor**2, 3)
            self.classifier = nn.Conv2d(width, num_classes, 1)

    def classify(self, features: Features) -> Float[Tensor, "b k h w"]:
        """Class logits at the result's stride."""
        x = self.expand(self.dropout(features.maps[-1]))
        x = cut_to_padded(F.pixel_shuffle(x, self.factor), features.padded_size, self.result_stride)
        return self.classifier(x)

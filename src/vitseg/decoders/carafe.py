"""CARAFE: a map is enlarged by weighted means of neighbourhoods, whose weights its content predicts.

Source: CARAFE (ICCV 2019), section 3. As a whole decoder it is in the thesis on NRD (table 3.2): the parameters and
multiply-adds published there are those of `factors: [8]` and `reassemble: logits`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from vitseg.decoders.deeplab import default_dilations
from vitseg.decoders.pyramid_decoder import PyramidDecoder, PyramidDecoderConfig, cut_to_padded
from vitseg.features import Features
from vitseg.layers.aspp import AtrousSpatialPyramidPooling
from vitseg.layers.conv_norm import ConvBatchNormRelu

RESULT_STRIDE = 4
"""That doublings go up to, in pixels."""


class CarafeDecoderConfig(PyramidDecoderConfig):
    """Configuration of `CarafeDecoder`."""

    context: Literal["conv", "aspp"] = Field(
        default="conv",
        description="what the deepest map goes through first: a 3 x 3 convolution, or DeepLabV3+'s pooling",
    )
    embed_dim: int = Field(default=512, ge=1, description="width of the convolution or pooling")
    factors: tuple[int, ...] | None = Field(
        default=None,
        min_length=1,
        description="how many times as large each reassembly makes the map; null: doublings up to stride 4",
    )
    reassemble: Literal["features", "logits"] = Field(
        default="features", description="what is enlarged: the features, or their class logits"
    )
    compressed_dim: int = Field(
        default=64, ge=1, description="channels that the weights are predicted from"
    )
    neighbourhood: int = Field(
        default=5,
        ge=3,
        description="side of a neighbourhood, odd, in cells; the weights are predicted from a side of 2 less",
    )

    @model_validator(mode="after")
    def _sizes_are_possible(self) -> CarafeDecoderConfig:
        if self.neighbourhood % 2 == 0:
            raise ValueError(
                f"neighbourhood {self.neighbourhood} must be odd, to have a middle: 3, 5 or 7"
            )
        if any(factor < 2 for factor in self.factors or ()):
            raise ValueError(f"factors must be 2 or more, got {list(self.factors or ())}")
        return self


class ContentAwareReassembly(nn.Module):
    """One enlargement: every new cell is a weighted mean of the old cells around the one that it lies in.

    Args:
        in_channels: Of the map.
        factor: How many times as large.
        compressed_dim: Channels that the weights are predicted from.
        neighbourhood: Side of a neighbourhood, odd, in old cells.
    """

    def __init__(self, in_channels: int, factor: int, compressed_dim: int, neighbourhood: int):
        super().__init__()
        self.factor = factor
        self.compress = nn.Conv2d(in_channels, compressed_dim, 1)
        side = neighbourhood - 2  # as the paper pairs them
        self.encode = nn.Conv2d(
            compressed_dim, (factor * neighbourhood) ** 2, side, padding=side // 2
        )

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c H W"]:
        """The larger map."""
        scores = F.pixel_shuffle(self.encode(self.compress(x)), self.factor)  # (b, n*n, H, W)
        return reassemble(x, scores.softmax(1), self.factor)


def reassemble(
    x: Float[Tensor, "b c h w"], weights: Float[Tensor, "b nn H W"], factor: int
) -> Float[Tensor, "b c H W"]:
    """Sum of every new cell's old neighbours, each times its weight (CARAFE eq. 2); beyond the map lie zeros.

    One batched matrix product over the cells per row of a neighbourhood. All n x n neighbours at once would take
    twice the memory and 3 times as long, one at a time a third of the memory and 2.5 times as long (PyTorch on a CPU,
    n = 5, factor 2).

    Args:
        x: The old map.
        weights: By neighbour, row by row, for every new cell.
        factor: How many times as large the new map is.
    """
    batch, channels, height, width = x.shape
    side = math.isqrt(weights.shape[1])
    weights = weights.unflatten(3, (width, factor)).unflatten(2, (height, factor))
    weights = weights.unflatten(1, (side, side)).permute(1, 0, 3, 5, 2, 4, 6)
    weights = weights.reshape(side, -1, side, factor**2)  # (n, b*h*w, n, f*f)
    padded = F.pad(x, (side // 2,) * 4).permute(0, 2, 3, 1)
    total = x.new_zeros(())
    for row, row_weights in enumerate(weights):
        neighbours = padded[:, row : row + height].unfold(2, side, 1)  # (b, h, w, c, n)
        total = torch.baddbmm(total, neighbours.reshape(-1, channels, side), row_weights)
    cells = total.reshape(batch, height, width, channels, factor, factor)
    return cells.permute(0, 3, 1, 4, 2, 5).reshape(batch, channels, height * factor, width * factor)


class CarafeDecoder(PyramidDecoder):
    """The deepest map, or its class logits, enlarged step by step.

    Args:
        in_channels: Width of each feature map, shallow to deep.
        num_classes: Classes.
        config: See `CarafeDecoderConfig`.
        stride: Of the deepest map, in pixels.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        config: CarafeDecoderConfig,
        stride: int = 32,
    ):
        super().__init__(in_channels, num_classes, config)
        deepest, width = in_channels[-1], config.embed_dim
        self.context: nn.Module = (
            AtrousSpatialPyramidPooling(deepest, width, default_dilations(stride), True)
            if config.context == "aspp"
            else ConvBatchNormRelu(deepest, width, 3)
        )
        factors = config.factors or doublings(stride)
        assert stride % math.prod(factors) == 0
        self.dropout = nn.Dropout2d(config.dropout)
        self.enlarges_logits = config.reassemble == "logits"
        channels = num_classes if self.enlarges_logits else width
        self.enlarge = nn.Sequential(
            *(
                ContentAwareReassembly(
                    channels, factor, config.compressed_dim, config.neighbourhood
                )
                for factor in factors
            )
        )
        self.classifier = nn.Conv2d(width, num_classes, 1)
        self.result_stride = stride // math.prod(factors)

    def classify(self, features: Features) -> Float[Tensor, "b k h w"]:
        """Class logits at the stride that the factors lead to."""
        x = self.dropout(self.context(features.maps[-1]))
        steps = (self.enlarge, self.classifier)
        for step in reversed(steps) if self.enlarges_logits else steps:
            x = step(x)
        return cut_to_padded(x, features.padded_size, self.result_stride)


def doublings(stride: int) -> tuple[int, ...]:
    """As many factors 2 as lead from `stride`, in pixels, to `RESULT_STRIDE`."""
    return (2,) * ((stride // RESULT_STRIDE).bit_length() - 1)

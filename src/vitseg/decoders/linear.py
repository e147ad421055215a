"""The linear probe: what a backbone's features tell of the classes without any decoder.

Source: DINOv2 (2023), its protocol for semantic segmentation: one linear layer on the last tokens, or on those of the
last four blocks concatenated ("+ms", which also tests at several scales), behind a batch normalisation. The backbone is
frozen there.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from vitseg.features import Features
from vitseg.layers.conv_norm import require_variance
from vitseg.layers.resize import resize_map
from vitseg.outputs import ClassLogits
from vitseg.types import spatial_size

INIT_STD = 0.01
"""Spread of the classifier's first weights, that of mmsegmentation's heads."""


class LinearConfig(BaseModel):
    """Configuration of `LinearDecoder`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    norm: Literal["batch", "none"] = Field(
        default="batch",
        description="in front of the linear layer: batch normalisation (DINOv2's protocol), which brings the channels "
        "of any backbone to one scale, or nothing",
    )
    dropout: float = Field(
        default=0.0, ge=0, lt=1, description="rate at which whole channels are dropped in training"
    )


class LinearDecoder(nn.Module):
    """All maps, concatenated at the size of the finest, normalised, and one linear layer per position.

    Args:
        in_channels: Width of each feature map.
        num_classes: Classes.
        config: See `LinearConfig`.
    """

    def __init__(self, in_channels: tuple[int, ...], num_classes: int, config: LinearConfig):
        super().__init__()
        width = sum(in_channels)
        self.norm = nn.BatchNorm2d(width) if config.norm == "batch" else nn.Identity()
        self.dropout = nn.Dropout2d(config.dropout)
        self.classifier = nn.Conv2d(width, num_classes, 1)
        nn.init.normal_(self.classifier.weight, std=INIT_STD)
        assert self.classifier.bias is not None
        nn.init.zeros_(self.classifier.bias)

    def forward(self, features: Features) -> ClassLogits:
        """Class logits at the size of the finest map.

        Raises:
            ConfigError: In training, one image of one token.
        """
        x = self._joined(features)
        require_variance(self.norm, x)
        logits = self.classifier(self.dropout(self.norm(x)))
        return ClassLogits(logits, *features.sizes)

    def _joined(self, features: Features) -> Float[Tensor, "b _ h w"]:
        size = spatial_size(features.maps[0])
        return torch.cat([resize_map(level, size) for level in features.maps], dim=1)

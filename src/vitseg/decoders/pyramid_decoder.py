"""What the convolutional decoders of a pyramid share: class logits of a map, and an auxiliary head in training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from vitseg.features import Features
from vitseg.layers.fcn_head import FcnHead
from vitseg.layers.grid import whole_cells
from vitseg.outputs import ClassLogits
from vitseg.types import Size


class PyramidDecoderConfig(BaseModel):
    """What every `PyramidDecoder` is configured by."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dropout: float = Field(
        default=0.1, ge=0, lt=1, description="rate at which whole channels are dropped in training"
    )
    auxiliary_dim: int | None = Field(
        default=256,
        ge=1,
        description="width of the auxiliary head of training, on the second deepest level; null: none",
    )


class PyramidDecoder(nn.Module, ABC):
    """A decoder whose output is class logits of the cells of one map.

    The auxiliary head's output is among the extras as "auxiliary", in training only.

    Args:
        in_channels: Width of each feature map, shallow to deep.
        num_classes: Classes.
        config: See `PyramidDecoderConfig`.
    """

    def __init__(self, in_channels: Sequence[int], num_classes: int, config: PyramidDecoderConfig):
        super().__init__()
        self.auxiliary = None
        if config.auxiliary_dim is not None:
            self.auxiliary = FcnHead(
                in_channels[-2], config.auxiliary_dim, num_classes, config.dropout
            )

    @abstractmethod
    def classify(self, features: Features) -> Float[Tensor, "b k h w"]:
        """Class logits over `features.padded_size`."""

    def forward(self, features: Features) -> ClassLogits:
        """Class logits; the auxiliary ones in training.

        Raises:
            ConfigError: In training, one image of which a layer leaves one value per channel, as pooling does.
        """
        logits = self.classify(features)
        extras = {}
        if self.training and self.auxiliary is not None:
            extras["auxiliary"] = ClassLogits(self.auxiliary(features.maps[-2]), *features.sizes)
        return ClassLogits(logits, *features.sizes, extras=extras)


def cut_to_padded(
    x: Float[Tensor, "b c _ _"], padded_size: Size, stride: int
) -> Float[Tensor, "b c _ _"]:
    """A map without the cells that lie beyond the padded image, to which a Swin's deeper maps reach.

    Args:
        x: The map.
        padded_size: In pixels.
        stride: Of the map, in pixels.
    """
    height, width = (whole_cells(side, stride) for side in padded_size)
    return x[..., :height, :width]

"""DUC (WACV 2018): a pyramid backbone, and dense upsampling convolution of its deepest map."""

from __future__ import annotations

from pydantic import Field, model_validator
from torch import nn

from vitseg.decoders.duc import DucDecoder, DucDecoderConfig
from vitseg.methods.pyramid import PyramidMethod


class DucConfig(PyramidMethod):
    """The sections of a DUC recipe."""

    decoder: DucDecoderConfig = Field(
        default=DucDecoderConfig(), description="convolution, its shape and the auxiliary head"
    )

    @model_validator(mode="after")
    def _result_divides_the_stride(self) -> DucConfig:
        stride = self.deepest_stride
        if stride % self.decoder.result_stride:
            raise ValueError(
                f"decoder.result_stride {self.decoder.result_stride} must divide the stride of the deepest level, "
                f"{stride}: give 1, 2, 4 or 8"
            )
        return self

    def make_decoder(self, channels: tuple[int, ...], num_classes: int) -> nn.Module:
        return DucDecoder(channels, num_classes, self.decoder, self.deepest_stride)

"""What methods on a pyramid declare of its levels: those that their decoder reads, and no others."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from vitseg.backbones import PyramidConfig
from vitseg.decoders.pyramid_decoder import PyramidDecoderConfig
from vitseg.methods.method import PixelMethod

FIRST_STRIDE = 4
"""Of stage 0, in pixels."""


class PyramidMethod(PixelMethod):
    """A decoder of the deepest level, with an auxiliary head on the second deepest."""

    backbone: PyramidConfig = Field(
        description="the pyramid; levels: one for the auxiliary head and the deepest, as [2, 3]"
    )
    decoder: Any  # of a subclass: a PyramidDecoderConfig

    @property
    def reads_shallowest(self) -> bool:
        """Whether the decoder joins the deepest level with the shallowest."""
        return False

    @property
    def deepest_stride(self) -> int:
        """Stride of the deepest level that is read, in pixels: 32 of stage 3, unless the backbone is dilated."""
        return min(FIRST_STRIDE << self.backbone.levels[-1], self.backbone.output_stride)

    @model_validator(mode="after")
    def _levels_are_read(self) -> PyramidMethod:
        self.require_levels()
        return self

    def require_levels(self) -> None:
        """Raise ValueError if a level is missing, or is not read and so would be computed for nothing."""
        levels, decoder = self.backbone.levels, self.decoder
        assert isinstance(decoder, PyramidDecoderConfig)
        names, has_auxiliary = list(levels), decoder.auxiliary_dim is not None
        if self.reads_shallowest and len(levels) < 2:
            raise ValueError(
                f"the decoder joins the deepest level with a shallow one, but backbone.levels is {names}: add 0, as in "
                "[0, 2, 3]"
            )
        if has_auxiliary and len(levels) < 2:
            raise ValueError(
                f"the auxiliary head reads the second deepest level, but backbone.levels is {names}: add one, as in "
                "[2, 3], or set decoder.auxiliary_dim: null"
            )
        read = {levels[-1]}
        if self.reads_shallowest:
            read.add(levels[0])
        if has_auxiliary:
            read.add(levels[-2])
        unread = sorted(set(levels) - read)
        if unread:
            raise ValueError(
                f"backbone.levels is {names}, of which only {sorted(read)} are read: leave {unread} out"
            )


def require_all_levels(backbone: PyramidConfig) -> None:
    """Raise ValueError unless the levels are 0, 1 and so on: each has half the cells of the one before."""
    levels = list(backbone.levels)
    if levels != list(range(len(levels))) or backbone.output_stride != 32:
        raise ValueError(
            f"the decoder doubles every level as often as it was halved, but backbone.levels is {levels} with "
            f"output_stride {backbone.output_stride}: give all from 0, as [0, 1, 2, 3], and leave output_stride out"
        )

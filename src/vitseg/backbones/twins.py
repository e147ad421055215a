"""Twins-SVT and Twins-PCPVT as segmentation uses them, of timm's layers.

Source: Twins (NeurIPS 2021), sections 3.1 and 3.2: blocks in turn attend within windows of 7 x 7 cells and to a summary
of the whole map. Parameter names are timm's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from jaxtyping import Float
from timm.models.twins import Twins
from torch import Tensor, nn

from vitseg.backbones.config import PyramidConfig
from vitseg.backbones.pyramid import Pyramid
from vitseg.layers.checkpointing import run_block

SUMMARY_STRIDE = 32
"""Pixels between the cells of the summary in every stage, so that images are padded to whole ones."""


class TwinsPyramid(Pyramid):
    """timm's `Twins`, with a LayerNorm on every map; timm's final norm is not used."""

    def __init__(self, net: Twins, config: PyramidConfig):
        widths = [int(stage["num_chs"]) for stage in net.feature_info]
        strides = [int(stage["reduction"]) for stage in net.feature_info]
        super().__init__(config, widths, strides, normalised=True, multiple=SUMMARY_STRIDE)
        built = len(self.strides)
        self.patch_embeds = net.patch_embeds[:built]
        self.blocks = net.blocks[:built]
        self.pos_block = net.pos_block[:built]
        self.freeze()

    def stage_modules(self, level: int) -> Sequence[nn.Module]:
        return [self.patch_embeds[level], self.blocks[level], self.pos_block[level]]

    def run_stage(
        self, level: int, x: Float[Tensor, "b _ _ _"], recompute: bool
    ) -> Float[Tensor, "b _ _ _"]:
        x, size = self.patch_embeds[level](x)  # (b, h*w, c)
        for index, block in enumerate(cast(nn.ModuleList, self.blocks[level])):
            x = run_block(block, x, size, recompute=recompute)
            if index == 0:
                x = self.pos_block[level](x, size)  # positions enter behind the first block
        return x.transpose(1, 2).unflatten(2, size)  # (b, c, h, w)

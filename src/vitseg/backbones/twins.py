"""Twins-SVT and Twins-PCPVT as segmentation uses them, of timm's layers.

Source: Twins (NeurIPS 2021), sections 3.1 and 3.2: blocks in turn attend within windows of 7 x 7 cells and to a summary
of the whole map. Parameter names are timm's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch.nn.functional as F
from jaxtyping import Float
from timm.models.twins import LocallyGroupedAttn, Twins
from torch import Tensor, nn

from vitseg.backbones.config import PyramidConfig
from vitseg.backbones.pyramid import Pyramid
from vitseg.layers.attention import merge_heads, split_heads
from vitseg.layers.checkpointing import run_block
from vitseg.layers.windows import from_windows, padded_to_windows, to_windows
from vitseg.types import Size

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
        for stage in self.blocks:
            for block in cast(nn.ModuleList, stage):
                if isinstance(block.attn, LocallyGroupedAttn):
                    block.attn = GroupedAttention(block.attn)
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


class GroupedAttention(nn.Module):
    """timm's `LocallyGroupedAttn` with the windows of all images as one batch, which fused attention takes.

    Args:
        attention: timm's layer, whose layers become this one's.
    """

    def __init__(self, attention: LocallyGroupedAttn):
        super().__init__()
        side = cast(int, attention.ws)
        self.window: Size = (side, side)
        self.num_heads = cast(int, attention.num_heads)
        self.qkv = cast(nn.Linear, attention.qkv)
        self.proj = cast(nn.Linear, attention.proj)

    def forward(self, x: Float[Tensor, "b n c"], size: Size) -> Float[Tensor, "b n c"]:
        """Attend within each window; cells beyond the map are zeros, and are attended to."""
        height, width = padded_to_windows(size, self.window)
        x = F.pad(x.unflatten(1, size), (0, 0, 0, width - size[1], 0, height - size[0]))
        windows = to_windows(x, self.window)  # (b, windows, cells, c)
        parts = self.qkv(windows.flatten(0, 1)).chunk(3, dim=-1)
        q, k, v = (split_heads(part, self.num_heads) for part in parts)
        attended = merge_heads(F.scaled_dot_product_attention(q, k, v))
        x = from_windows(attended.unflatten(0, windows.shape[:2]), (height, width), self.window)
        return self.proj(x[:, : size[0], : size[1]].flatten(1, 2))

"""Swin as segmentation uses it: timm's parameters and names, any image size.

Source: Swin Transformer (ICCV 2021), section 3, in the form of the segmentation toolkits. It differs from timm's
classifier, which has fixed sizes: maps are padded to whole windows after normalisation, then shifted; the shift stays
where a map is no larger than a window; every level that is read has a LayerNorm of its own (timm's final norm is not
used).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from timm.layers import DropPath, PatchEmbed
from timm.models.swin_transformer import PatchMerging, SwinTransformer, SwinTransformerStage
from timm.models.swin_transformer import SwinTransformerBlock as TimmBlock
from timm.models.swin_transformer import WindowAttention as TimmAttention
from torch import Tensor, nn

from vitseg.backbones.config import PyramidConfig
from vitseg.errors import ConfigError
from vitseg.features import Features
from vitseg.layers.checkpointing import run_block
from vitseg.layers.grid import whole_cells
from vitseg.layers.windows import from_windows, padded_to_windows, to_windows
from vitseg.types import Size, spatial_size

MASKED = -100.0
"""Added to the scores of tokens that the cyclic shift made neighbours; the published models use no infinity here."""


class WindowAttention(nn.Module):
    """Self-attention within windows, with a bias by relative position (Swin eq. 4)."""

    relative_position_index: Tensor

    def __init__(self, attention: TimmAttention):
        super().__init__()
        self.window = cast(Size, attention.window_size)
        self.num_heads = attention.num_heads
        self.qkv = attention.qkv
        self.relative_position_bias_table = attention.relative_position_bias_table
        index = cast(Tensor, attention.relative_position_index)
        self.register_buffer("relative_position_index", index, persistent=False)
        self.proj = attention.proj

    def forward(
        self, x: Float[Tensor, "b w n c"], shift_mask: Float[Tensor, "w n n"] | None
    ) -> Float[Tensor, "b w n c"]:
        """Attend within each of the w windows.

        Args:
            x: Tokens by window.
            shift_mask: Added to the scores, see `shift_mask`.
        """
        q, k, v = (
            self.qkv(x)
            .unflatten(-1, (3, self.num_heads, -1))
            .permute(3, 0, 1, 4, 2, 5)  # (3, b, w, heads, n, d)
            .flatten(1, 2)  # (3, b*w, heads, n, d)
        )
        bias = self.relative_position_bias_table[self.relative_position_index]  # (n, n, heads)
        bias = bias.permute(2, 0, 1)[None]  # (1, heads, n, n)
        if shift_mask is not None:
            bias = (bias + shift_mask[:, None]).repeat(x.shape[0], 1, 1, 1)  # (b*w, heads, n, n)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.proj(attended.transpose(1, 2).flatten(2).unflatten(0, x.shape[:2]))


class SwinBlock(nn.Module):
    """Pre-norm block: attention within windows, MLP.

    Args:
        block: timm's block, whose layers become this one's.
        is_shifted: Whether the windows are shifted by half a window.
        drop_path: Rate of stochastic depth, both branches.
    """

    def __init__(self, block: TimmBlock, is_shifted: bool, drop_path: float):
        super().__init__()
        self.norm1 = block.norm1
        self.attn = WindowAttention(block.attn)
        self.norm2 = block.norm2
        self.mlp = block.mlp
        self.drop_path = DropPath(drop_path)
        height, width = self.attn.window
        self.shift: Size = (height // 2, width // 2) if is_shifted else (0, 0)

    def forward(
        self, x: Float[Tensor, "b h w c"], shift_mask: Float[Tensor, "windows n n"] | None
    ) -> Float[Tensor, "b h w c"]:
        """Run the block; `shift_mask` is used by shifted blocks alone."""
        x = x + self.drop_path(self._attend(self.norm1(x), shift_mask))
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def _attend(self, x: Tensor, shift_mask: Tensor | None) -> Float[Tensor, "b h w c"]:
        size = x.shape[1], x.shape[2]
        height, width = padded_to_windows(size, self.attn.window)
        # Padding follows the norm: padded tokens are zero, and are attended to like any other.
        x = F.pad(x, (0, 0, 0, width - size[1], 0, height - size[0]))
        down, right = self.shift
        is_shifted = down > 0 or right > 0
        if is_shifted:
            x = x.roll((-down, -right), (1, 2))
        windows = self.attn(to_windows(x, self.attn.window), shift_mask if is_shifted else None)
        x = from_windows(windows, (height, width), self.attn.window)
        if is_shifted:
            x = x.roll((down, right), (1, 2))
        return x[:, : size[0], : size[1]]


def merge_patches(x: Float[Tensor, "b H W c"], merging: PatchMerging) -> Float[Tensor, "b h w d"]:
    """What timm's layer makes of every 2 x 2 tokens, zeros beyond odd maps; its sizes are simple enough to be traced.

    Args:
        x: The tokens.
        merging: The layer.
    """
    height, width = whole_cells(x.shape[1], 2), whole_cells(x.shape[2], 2)
    x = F.pad(x, (0, 0, 0, 2 * width - x.shape[2], 0, 2 * height - x.shape[1]))
    x = x.unflatten(2, (width, 2)).unflatten(1, (height, 2))  # (b, h, 2, w, 2, c)
    return merging.reduction(merging.norm(x.permute(0, 1, 3, 4, 2, 5).flatten(3)))


class SwinStage(nn.Module):
    """One level of the pyramid: patch merging (but in the first) and blocks, every second one shifted."""

    def __init__(self, stage: SwinTransformerStage, rates: list[float]):
        super().__init__()
        self.downsample = cast(PatchMerging | nn.Identity, stage.downsample)
        self.blocks = nn.ModuleList(
            SwinBlock(cast(TimmBlock, block), is_shifted=index % 2 == 1, drop_path=rate)
            for index, (block, rate) in enumerate(zip(stage.blocks, rates, strict=True))
        )

    def forward(self, x: Float[Tensor, "b H W d"], recompute: bool) -> Float[Tensor, "b h w c"]:
        """Run the stage; `recompute` trades time for memory in the backward pass."""
        if isinstance(self.downsample, PatchMerging):
            x = merge_patches(x, self.downsample)
        mask = None
        for module in self.blocks:
            block = cast(SwinBlock, module)
            if mask is None and block.shift != (0, 0):
                mask = shift_mask((x.shape[1], x.shape[2]), block.attn.window, block.shift, x)
            x = run_block(block, x, mask, recompute=recompute)
        return x


class Swin(nn.Module):
    """timm's `SwinTransformer` as a pyramid backbone. Built by `create_backbone`; parameter names are timm's.

    Attributes:
        channels: Width of each returned map.
        layers: Stages up to the deepest level; later ones are not built.
        norms: LayerNorm of each level, by its number.
        widths: Of all stages that are built.
        semantic: SeMask's layers behind the blocks of each stage, which `add_semantic_layers` sets; None: there are
            none. Each returns the tokens and a map, one of `Features.semantic`.
    """

    semantic: nn.ModuleList | None

    def __init__(self, swin: SwinTransformer, config: PyramidConfig):
        super().__init__()
        self.config = config
        self.semantic = None
        stages = [cast(SwinTransformerStage, stage) for stage in cast(nn.Sequential, swin.layers)]
        if config.levels[-1] >= len(stages):
            raise ConfigError(
                f"backbone.levels names stage {config.levels[-1]}, but {config.name} has stages 0-{len(stages) - 1}."
            )
        self.patch_embed = cast(PatchEmbed, swin.patch_embed)
        self.patch_size = cast(Size, self.patch_embed.patch_size)
        depths = [len(stage.blocks) for stage in stages]
        rates = [config.drop_path * i / max(1, sum(depths) - 1) for i in range(sum(depths))]
        ends = [0, *(sum(depths[: index + 1]) for index in range(len(depths)))]
        built = list(zip(stages, pairwise(ends), strict=True))[: config.levels[-1] + 1]
        self.layers = nn.ModuleList(
            SwinStage(stage, rates[start:end]) for stage, (start, end) in built
        )
        self.window = cast(SwinBlock, cast(SwinStage, self.layers[0]).blocks[0]).attn.window
        self.widths = tuple(int(info["num_chs"]) for info in swin.feature_info[: len(built)])
        self.channels = tuple(self.widths[level] for level in config.levels)
        self.norms = nn.ModuleDict(
            {
                str(level): nn.LayerNorm(width)
                for level, width in zip(config.levels, self.channels, strict=True)
            }
        )

    def pretrained_modules(self) -> Iterator[nn.Module]:
        """Its modules but for those that no pretrained weights have: the norms of its levels, and semantic layers."""
        yield self.patch_embed
        yield self.layers

    def forward(self, images: Float[Tensor, "b channels H W"]) -> Features:
        """Normalised outputs of the levels.

        A map covers the image padded on the bottom and right, the deeper the more: odd maps gain a row or a column
        before they are halved. `padded_size` is what the shallowest returned map covers.

        Args:
            images: Normalised images of any height and width.
        """
        size = spatial_size(images)
        height, width = padded_to_windows(size, self.patch_size)
        images = F.pad(images, (0, width - size[1], 0, height - size[0]))
        x = self.patch_embed.proj(images).permute(0, 2, 3, 1)
        x = self.patch_embed.norm(x.contiguous())  # (b, h, w, c)
        maps, semantic = [], []
        for level, stage in enumerate(self.layers):
            x = stage(x, recompute=self.config.gradient_checkpointing and self.training)
            if self.semantic is not None:
                x, of_stage = self.semantic[level](x)
                semantic.append(of_stage)
            if level in self.config.levels:
                maps.append(self.norms[str(level)](x).permute(0, 3, 1, 2))  # (b, c, h, w)
        stride = 2 ** self.config.levels[0]
        height, width = (
            cells * patch * stride
            for cells, patch in zip(spatial_size(maps[0]), self.patch_size, strict=True)
        )
        sizes = (size, (height, width))
        return Features(tuple(maps), *sizes, semantic=tuple(semantic))


def shift_mask(
    size: Size, window: Size, shift: Size, like: Shaped[Tensor, "..."]
) -> Float[Tensor, "w n n"]:
    """0 between tokens that are neighbours in the map, `MASKED` between those that the cyclic shift has joined.

    Args:
        size: Of the map before its padding to whole windows.
        window: Of a window.
        shift: By how much the map is rolled up and left.
        like: A tensor of the wanted device and dtype.
    """
    regions = []
    for side, cells, step in zip(padded_to_windows(size, window), window, shift, strict=True):
        position = torch.arange(side, device=like.device)
        regions.append((position >= side - cells).long() + (position >= side - step).long())
    region = 3 * regions[0][:, None] + regions[1]  # (H, W)
    labels = to_windows(region[None, :, :, None], window)[0, :, :, 0]  # (w, n)
    differs = labels[:, :, None] != labels[:, None, :]
    return differs.to(like.dtype) * MASKED

"""SETR's heads: Naive, progressive upsampling (PUP) and multi-level aggregation (MLA), with their auxiliary heads.

Source: SETR (CVPR 2021), section 3.3 and figure 1, as the published weights compute them. mmsegmentation's weights are
of other heads in part: `SetrHeadConfig.form`. What every head does last, the bilinear resize of its logits to the
image, is left to the output's `scores`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from vitseg.features import Features
from vitseg.layers.conv_norm import ConvBatchNormRelu
from vitseg.outputs import ClassLogits

HEAD_WIDTH = 256
"""Channels of the convolutions of Naive, PUP and all auxiliary heads."""

MLA_WIDTH = 128
"""Channels per level in the head of MLA."""

NORM_EPS = 1e-6


class SetrHeadConfig(BaseModel):
    """Which head, and where the auxiliary heads of training sit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["naive", "pup", "mla"] = Field(
        description="naive: 1 x 1 convolutions and one resize; pup: 3 x 3 convolutions between doublings; mla: the "
        "features of all taps, aggregated by a neck in front of the head"
    )
    form: Literal["setr", "mmsegmentation"] = Field(
        default="setr",
        description="whose published weights it computes. mmsegmentation's Naive upsamples by 4 twice, not by 16 at "
        "once; its MLA upsamples without aligned corners, has a 1 x 1 classifier, not 3 x 3, and biases in the "
        "auxiliary heads. For PUP they are the same function",
    )
    auxiliary: tuple[int, ...] = Field(
        default=(),
        description="blocks, among backbone.taps, that have an auxiliary head in training; with mla the neck's maps of "
        "these blocks have them",
    )
    auxiliary_convs: int = Field(
        default=1,
        ge=1,
        le=2,
        description="convolutions of an auxiliary head of naive and pup; mmsegmentation's weights for ADE20K, and all "
        "its PUP weights, have 2",
    )

    @model_validator(mode="after")
    def _fields_belong_to_kind(self) -> SetrHeadConfig:
        if self.kind == "pup" and self.form != "setr":
            raise ValueError('form makes no difference to kind "pup": leave it out')
        if self.auxiliary_convs != 1 and (self.kind == "mla" or not self.auxiliary):
            raise ValueError(
                'auxiliary_convs belongs to auxiliary heads of kind "naive" or "pup": leave it out, or set auxiliary'
            )
        if len(set(self.auxiliary)) != len(self.auxiliary):
            raise ValueError(f"auxiliary names a block twice: {list(self.auxiliary)}")
        return self


class UpsamplingHead(nn.Module):
    """LayerNorm, convolutions with an upsampling behind each, and a linear classifier.

    Naive, PUP and their auxiliary heads are made of it. The classifier stands before the last upsampling: both are
    linear and mix different axes, so their order is free, and here the classifier has fewer pixels.

    Args:
        in_channels: Width of the tokens.
        num_classes: Classes.
        kernel_size: Side of the kernels.
        scales: Factor of the bilinear upsampling after each convolution.
    """

    def __init__(self, in_channels: int, num_classes: int, kernel_size: int, scales: Sequence[int]):
        super().__init__()
        self.scales = tuple(scales)
        self.norm = nn.LayerNorm(in_channels, eps=NORM_EPS)
        widths = [in_channels, *[HEAD_WIDTH] * len(scales)]
        self.convs = nn.ModuleList(
            ConvBatchNormRelu(before, after, kernel_size, bias=True)
            for before, after in pairwise(widths)
        )
        self.classifier = nn.Conv2d(HEAD_WIDTH, num_classes, 1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k _ _"]:
        """Raw tokens of a block, as a map, to class logits."""
        x = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # (b, c, h, w)
        for conv, scale in zip(self.convs[:-1], self.scales[:-1], strict=True):
            x = upsample(conv(x), scale)
        return upsample(self.classifier(self.convs[-1](x)), self.scales[-1])


class MlaHead(nn.Module):
    """Two convolutions per level, a fourfold upsampling, and one classifier of all levels together."""

    def __init__(self, channels: Sequence[int], num_classes: int, form: str):
        super().__init__()
        self.align_corners = form == "setr"
        self.branches = nn.ModuleList(
            nn.Sequential(
                ConvBatchNormRelu(width, MLA_WIDTH, 3), ConvBatchNormRelu(MLA_WIDTH, MLA_WIDTH, 3)
            )
            for width in channels
        )
        kernel_size = 3 if form == "setr" else 1
        self.classifier = nn.Conv2d(
            MLA_WIDTH * len(channels), num_classes, kernel_size, padding=kernel_size // 2
        )

    def forward(self, maps: Sequence[Float[Tensor, "b _ h w"]]) -> Float[Tensor, "b k _ _"]:
        """The neck's maps, shallow to deep, to class logits."""
        levels = [
            upsample(branch(level), 4, self.align_corners)
            for branch, level in zip(self.branches, maps, strict=True)
        ]
        return self.classifier(torch.cat(levels, dim=1))


class SetrDecoder(nn.Module):
    """The head of a kind, and in training the auxiliary heads.

    Naive and PUP read the deepest tap; MLA reads all maps of its neck. Auxiliary outputs are extras named after
    their block, in training only: `block_9`.

    Args:
        channels: Width of each feature map.
        taps: The block that each map is of.
        num_classes: Classes.
        config: See `SetrHeadConfig`; its `auxiliary` blocks are among `taps`.
    """

    def __init__(
        self,
        channels: Sequence[int],
        taps: Sequence[int],
        num_classes: int,
        config: SetrHeadConfig,
    ):
        super().__init__()
        self.config = config
        self.auxiliary_levels = {block: list(taps).index(block) for block in config.auxiliary}
        kernel_size = 1 if config.kind == "naive" else 3
        naive_scale = 1 if config.form == "setr" else 4
        if config.kind == "mla":
            self.head = MlaHead(channels, num_classes, config.form)
        else:
            scales = (naive_scale,) if config.kind == "naive" else (2, 2, 2, 1)  # the reader: x 2
            self.head = UpsamplingHead(channels[-1], num_classes, kernel_size, scales)
        self.auxiliary = nn.ModuleList()
        for level in self.auxiliary_levels.values():
            if config.kind == "mla":
                bias = config.form == "mmsegmentation"
                head = nn.Conv2d(channels[level], num_classes, 1, bias=bias)
            else:
                scale = naive_scale if config.kind == "naive" else 4
                scales = (scale,) * config.auxiliary_convs
                head = UpsamplingHead(channels[level], num_classes, kernel_size, scales)
            self.auxiliary.append(head)

    def forward(self, features: Features) -> ClassLogits:
        """Class logits at the head's own resolution; auxiliary ones in training."""
        maps = features.maps
        logits = self.head(maps if self.config.kind == "mla" else maps[-1])
        extras = {}
        if self.training:
            for (block, level), head in zip(
                self.auxiliary_levels.items(), self.auxiliary, strict=True
            ):
                extras[f"block_{block}"] = ClassLogits(head(maps[level]), *features.sizes)
        return ClassLogits(logits, *features.sizes, extras=extras)


def upsample(
    x: Float[Tensor, "b c h w"], scale: int, align_corners: bool = False
) -> Float[Tensor, "b c _ _"]:
    """Bilinear, by a whole factor."""
    if scale == 1:
        return x
    return F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=align_corners)

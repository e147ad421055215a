"""SETR: semantic segmentation as a sequence-to-sequence task (CVPR 2021).

A plain ViT, or a CNN with a ViT on its features, and one of three convolutional heads. Auxiliary heads on earlier
blocks help in training and are not run afterwards. Those of kind naive judge single tokens: DToP can prune such a model
as it is.
"""

from __future__ import annotations

import re

from pydantic import Field, model_validator

from vitseg.backbones import BackboneConfig, PlainViT
from vitseg.backbones.setr_mla import MlaBackbone
from vitseg.decoders.setr import SetrDecoder, SetrHeadConfig
from vitseg.decoders.token_heads import TokenHeadsConfig
from vitseg.errors import ConfigError
from vitseg.methods.dtop import DtopConfig
from vitseg.methods.method import Encoder, PixelMethod
from vitseg.methods.model import SegmentationModel
from vitseg.types import Size, StateDict

_AUXILIARY = re.compile(r"^decoder\.auxiliary\.(\d+)\.(.+)$")


class SetrConfig(PixelMethod):
    """The sections of a SETR recipe."""

    block_fields = (("decoder", "auxiliary"),)

    backbone: BackboneConfig = Field(
        description="the ViT; its taps are the blocks that the heads read (naive and pup: the deepest and those of the "
        "auxiliary heads; mla: the levels)"
    )
    decoder: SetrHeadConfig = Field(description="the head and its auxiliary heads")

    @model_validator(mode="after")
    def _every_tap_is_read(self) -> SetrConfig:
        taps, auxiliary = self.backbone.taps, self.decoder.auxiliary
        untapped = [block for block in auxiliary if block not in taps]
        if untapped:
            raise ValueError(
                f"decoder.auxiliary names block {untapped[0]}, which is not among backbone.taps {list(taps)}: add it "
                "there, or leave it out"
            )
        unread = [block for block in taps[:-1] if block not in auxiliary]
        if self.decoder.kind != "mla" and unread:
            raise ValueError(
                f"backbone.taps names block {unread[0]}, which no head reads: kind {self.decoder.kind!r} reads the "
                "deepest and those in decoder.auxiliary"
            )
        return self

    def build_on(self, encoder: Encoder, num_classes: int, image_size: Size) -> SegmentationModel:
        del image_size
        assert isinstance(encoder, PlainViT)
        backbone = MlaBackbone(encoder) if self.decoder.kind == "mla" else encoder
        decoder = SetrDecoder(backbone.channels, self.backbone.taps, num_classes, self.decoder)
        return SegmentationModel(backbone, decoder, self.fresh_parts)

    def prunable(self, state: StateDict) -> tuple[DtopConfig, StateDict]:
        """The DToP model whose heads are this one's; at threshold 1 it is this SETR.

        The head of the deepest block, if it has an auxiliary one too, is left out: SETR runs it in training only.
        """
        head, taps = self.decoder, self.backbone.taps
        if head.kind != "naive" or head.form != "setr" or head.auxiliary_convs != 1:
            raise ConfigError(
                f"decoder.kind {head.kind} (form {head.form}, auxiliary_convs {head.auxiliary_convs}) mixes "
                "neighbouring tokens in its heads, so that none can be judged alone. Prunable is kind naive of form "
                "setr with auxiliary_convs 1; or train method dtop."
            )
        if (
            len(taps) < 2
        ):  # the recipe's rules see to it that every earlier tap has an auxiliary head
            raise ConfigError(
                "the model has no auxiliary heads, by which tokens could leave: train it with decoder.auxiliary and "
                "those blocks in backbone.taps, or train method dtop."
            )
        exits = {head.auxiliary.index(block): number for number, block in enumerate(taps[:-1])}
        dtop = DtopConfig(
            backbone=self.backbone,
            decoder=TokenHeadsConfig(kind="fcn", auxiliary="fcn"),
            pixel_loss=self.loss,
        )
        renamed: StateDict = {}
        for name, value in state.items():
            match = _AUXILIARY.match(name)
            if match is None:
                renamed[re.sub(r"^decoder\.head\.", "decoder.head.head.", name)] = value
            elif int(match[1]) in exits:
                renamed[f"decoder.exits.{exits[int(match[1])]}.head.{match[2]}"] = value
        return dtop, renamed

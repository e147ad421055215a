"""The pretrained part of a model: where it is, and which of its modules are whose."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, cast

from torch import nn

from vitseg.backbones import PlainViT, Pyramid, Swin
from vitseg.backbones.swin import SwinStage
from vitseg.methods.model import SegmentationModel

ENCODERS = (PlainViT, Swin, Pyramid)
"""What starts from pretrained weights; a method may wrap one of them in layers of its own (SETR-MLA's neck)."""


def encoder_of(model: SegmentationModel) -> PlainViT | Swin | Pyramid:
    """The pretrained part of a model's backbone: all of it, unless a method wraps it."""
    (encoder,) = (part for part in model.backbone.modules() if isinstance(part, ENCODERS))
    return encoder


def pretrained_modules(encoder: PlainViT | Swin | Pyramid) -> Iterator[nn.Module]:
    """What of an encoder can be frozen: all modules but those that start afresh in it.

    These are what a method has put into it, and the norms of a pyramid's levels.
    """
    if isinstance(encoder, PlainViT) and not encoder.is_encoder:
        # It itself stays in training mode, by which exits and queries know that they are trained.
        return encoder.pretrained_modules()
    parts = list(encoder.pretrained_modules())
    known = {id(value) for part in parts for value in part.parameters()}
    known |= {id(value) for value in encoder.parameters(recurse=False)}
    has_fresh = any(id(value) not in known for value in encoder.parameters())
    return iter(parts if has_fresh else (encoder,))


def freeze_pretrained(model: SegmentationModel) -> None:
    """Let no gradient be taken of what came with pretrained weights."""
    encoder = encoder_of(model)
    for part in pretrained_modules(encoder):
        part.requires_grad_(False)
    for parameter in encoder.parameters(recurse=False):
        parameter.requires_grad_(False)


class Blocks(NamedTuple):
    """The transformer blocks of an encoder, and what stands before and between them.

    Attributes:
        blocks: By the beginning of their parameters' names in the model, shallow to deep.
        between: Beginning of the names of what stands in front of a block, other than the first -> index of that block.
        front: Beginnings of the names of what stands in front of the first block.
    """

    blocks: dict[str, nn.Module]
    between: dict[str, int]
    front: tuple[str, ...]


def blocks_of(model: SegmentationModel) -> Blocks | None:
    """The blocks of a plain ViT or a Swin; None: the encoder is of another kind."""
    encoder = encoder_of(model)
    (home,) = (name for name, part in model.named_modules() if part is encoder)
    if isinstance(encoder, PlainViT):
        named = {f"{home}.blocks.{index}.": block for index, block in enumerate(encoder.blocks)}
        front = ("patch_embed.", "cls_token", "dist_token", "reg_token", "pos_embed", "norm_pre.")
        return Blocks(named, {}, (*(f"{home}.{name}" for name in front), f"{home}.rope."))
    if isinstance(encoder, Swin):
        named, between = {}, {}
        for number, stage in enumerate(encoder.layers):
            between[f"{home}.layers.{number}.downsample."] = len(named)
            for index, block in enumerate(cast(SwinStage, stage).blocks):
                named[f"{home}.layers.{number}.blocks.{index}."] = block
        return Blocks(named, between, (f"{home}.patch_embed.",))
    return None

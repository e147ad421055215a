"""Checkpoints of the published SegViT on Swin (mmcv dictionaries) in our parameter names.

Source: the parameter names and shapes of the published model: three levels of a Swin, a neck of a 1 x 1 convolution and
a GroupNorm per level, and the ATM cascade without a projection of its own. Our stages hold their level's neck.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from vitseg.checkpoint.architecture import IMAGENET, Architecture
from vitseg.checkpoint.reference_names import count, is_left_out, rename_all, shape_of
from vitseg.checkpoint.segvit_names import segvit_name
from vitseg.checkpoint.swin_reference import convert_swin
from vitseg.errors import CheckpointError
from vitseg.types import StateDict

SWINS: dict[tuple[int, tuple[int, ...]], str] = {(96, (2, 2, 6, 2)): "swin_tiny_patch4_window7_224"}
"""timm's name of the Swin with a width and numbers of blocks, as the published models use them."""

LEVELS = (1, 2, 3)

CROP = 512
"""Crop of the published model in pixels; a Swin's parameters do not depend on it."""

_NECK = re.compile(r"^neck\.input_proj\.(\d+)\.([01])\.(.+)$")
_NECK_PARTS = {"0": "input_proj", "1": "input_norm"}


def is_segvit_swin(names: Iterable[str]) -> bool:
    """Whether the parameter names are those of the published SegViT on Swin."""
    names = set(names)
    return {"decode_head.q.weight", "backbone.patch_embed.projection.weight"} <= names and any(
        name.startswith("backbone.stages.0.blocks.0.attn.w_msa.") for name in names
    )


def segvit_swin_name(name: str) -> str | None:
    """Our name of a parameter of neck or head; None if the model does not have it."""
    neck = _NECK.match(name)
    if neck:
        stage = len(LEVELS) - 1 - int(neck[1])  # the neck counts from the shallowest level
        return f"decoder.stages.{stage}.{_NECK_PARTS[neck[2]]}.{neck[3]}"
    return segvit_name(name) if name.startswith("decode_head.") else None


def convert_segvit_swin(state: StateDict) -> StateDict:
    """A reference state dictionary in our names.

    Raises:
        CheckpointError: It holds parameters that SegViT on Swin does not have.
    """
    prefix = "backbone."
    head = {name: value for name, value in state.items() if not name.startswith(prefix)}
    swin = {
        name.removeprefix(prefix): value.float()
        for name, value in state.items()
        if name.startswith(prefix) and not is_left_out(name)
    }
    renamed = rename_all(head, segvit_swin_name, "SegViT on Swin")
    return renamed | {prefix + name: value for name, value in convert_swin(swin).items()}


def segvit_swin_architecture(state: StateDict) -> Architecture:
    """The model of a reference state dictionary.

    Raises:
        CheckpointError: Its size is that of no published model.
    """
    width = shape_of(state, "backbone.patch_embed.projection.weight", 4)[0]
    stages = range(count(state, r"backbone\.stages\.(\d+)\."))
    depths = tuple(count(state, rf"backbone\.stages\.{i}\.blocks\.(\d+)\.") for i in stages)
    if (width, depths) not in SWINS:
        raise CheckpointError(
            f"no published SegViT on Swin has width {width} and {depths} blocks. Known: {', '.join(SWINS.values())}."
        )
    num_classes, embed_dim = shape_of(state, "decode_head.q.weight", 2)
    config = {
        "backbone": {"name": SWINS[width, depths], "pretrained": False, "levels": LEVELS},
        "decoder": {
            "embed_dim": embed_dim,
            "num_layers": count(state, r"decode_head\.decoder_1\.layers\.(\d+)\."),
            "projection": "conv_groupnorm",
        },
    }
    return Architecture(config, num_classes, (CROP, CROP), IMAGENET)

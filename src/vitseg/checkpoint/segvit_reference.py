"""Checkpoints of the published SegViT models (mmcv dictionaries) in our parameter names.

Source: the parameter names of the published files. Plain SegViT is covered: a plain ViT without class token in the
blocks, and the ATM cascade.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from vitseg.errors import CheckpointError

_RENAMES = (
    (r"^backbone\.patch_embed\.projection\.", "backbone.patch_embed.proj."),
    (r"^backbone\.layers\.(\d+)\.ln([12])\.", r"backbone.blocks.\1.norm\2."),
    (r"^backbone\.layers\.(\d+)\.attn\.attn\.in_proj_", r"backbone.blocks.\1.attn.qkv."),
    (r"^backbone\.layers\.(\d+)\.attn\.attn\.out_proj\.", r"backbone.blocks.\1.attn.proj."),
    (r"^backbone\.layers\.(\d+)\.ffn\.layers\.0\.0\.", r"backbone.blocks.\1.mlp.fc1."),
    (r"^backbone\.layers\.(\d+)\.ffn\.layers\.1\.", r"backbone.blocks.\1.mlp.fc2."),
    (r"^decode_head\.q\.", "decoder.query_embed."),
    (r"^decode_head\.class_embed\.", "decoder.class_embed."),
)
_UNCHANGED = ("backbone.cls_token", "backbone.pos_embed")
_STAGE = re.compile(r"^decode_head\.(input_proj|proj_norm|decoder)_(\d+)\.(.+)$")
_LAYER_RENAMES = (
    ("self_attn.in_proj_", "self_attn.in_proj."),
    ("multihead_attn.", "cross_attn."),
    ("linear1.", "fc1."),
    ("linear2.", "fc2."),
)

LEFT_OUT = re.compile(r"(^|\.)loss_decode\.criterion\.empty_weight$")
"""Entries that are no parameters: the class weights of the loss, stored as a buffer."""


def segvit_name(name: str) -> str | None:
    """Our name of a reference parameter; None if it is not one of plain SegViT."""
    if name in _UNCHANGED:
        return name
    for pattern, replacement in _RENAMES:
        renamed, count = re.subn(pattern, replacement, name)
        if count:
            return renamed
    match = _STAGE.match(name)
    if not match:
        return None
    part, stage, rest = match.groups()
    prefix = f"decoder.stages.{int(stage) - 1}."
    if part == "input_proj":
        return f"{prefix}input_proj.{rest}"
    if part == "proj_norm":
        return f"{prefix}input_norm.{rest}"
    for old, new in _LAYER_RENAMES:
        rest = rest.replace(old, new)
    return prefix + rest


def convert_segvit(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A reference state dictionary in our names.

    Raises:
        CheckpointError: It holds parameters that plain SegViT does not have.
    """
    converted: dict[str, Tensor] = {}
    unknown = []
    for name, value in state.items():
        if LEFT_OUT.search(name):
            continue
        ours = segvit_name(name)
        if ours is None:
            unknown.append(name)
        else:
            converted[ours] = value.float()
    if unknown or not is_segvit(state):
        shown = ", ".join(unknown[:3]) or "no decode_head.q.weight and decoder_1"
        raise CheckpointError(
            f"this is no checkpoint of plain SegViT ({shown}): only ViT backbones with the ATM cascade "
            "in the published parameter names can be converted."
        )
    return converted


def is_segvit(names: Iterable[str]) -> bool:
    """Whether the parameter names are those of a published plain SegViT model."""
    names = set(names)
    return "decode_head.q.weight" in names and any(
        name.startswith("decode_head.decoder_1.layers.0.multihead_attn.q.") for name in names
    )

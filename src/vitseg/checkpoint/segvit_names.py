"""Our names of the parameters of SegViT in mmcv dictionaries.

A plain ViT without class token in the blocks, and the ATM cascade. Source: the names in the
published files. Other published models have the same ViT or cascade in part.
"""

from __future__ import annotations

import re

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


def segvit_name(name: str) -> str | None:
    """Our name of a reference parameter; None if it is not one of plain SegViT."""
    if name in _UNCHANGED:
        return name
    for pattern, replacement in _RENAMES:
        renamed, changed = re.subn(pattern, replacement, name)
        if changed:
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

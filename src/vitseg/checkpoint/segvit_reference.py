"""Checkpoints of the published SegViT models on a plain ViT (mmcv dictionaries) in our parameter names.

Source: the parameter names and shapes of the published files; taps and normalisation are those of the SegViT paper's
code, which the file does not state. A plain ViT without class token in the blocks, and the ATM cascade.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from vitseg.checkpoint.reference_names import count, rename_all, shape_of
from vitseg.errors import CheckpointError
from vitseg.images.preprocess import Preprocessing
from vitseg.types import StateDict

PLAIN_VITS = {
    (192, 12): "vit_tiny_patch16_384",
    (384, 12): "vit_small_patch16_384",
    (768, 12): "vit_base_patch16_384",
    (1024, 24): "vit_large_patch16_384",
}
"""timm's name of the ViT with a width and a depth, as the published models use them (patch 16)."""

TAPS = {
    (12, 1): (11,),
    (12, 2): (5, 11),
    (12, 3): (5, 7, 11),
    (12, 4): (2, 5, 8, 11),
    (24, 1): (23,),
    (24, 3): (7, 15, 23),
}
"""Taps of the published cascades, by the depth of the ViT and the number of stages."""

PATCH = 16

IMAGENET = Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
HALF = Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))

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


class Architecture(NamedTuple):
    """What the shapes of a checkpoint say.

    Attributes:
        config: The method's configuration.
        num_classes: Number of its classes.
        crop: Side of the square training images in pixels.
        preprocessing: How its images were normalised, by which pretrained weights it started from.
    """

    config: dict[str, Any]
    num_classes: int
    crop: int
    preprocessing: Preprocessing


def is_segvit(names: Iterable[str]) -> bool:
    """Whether the parameter names are those of a published SegViT on a plain ViT."""
    names = set(names)
    return {"decode_head.q.weight", "backbone.pos_embed"} <= names and any(
        name.startswith("decode_head.decoder_1.layers.0.multihead_attn.q.") for name in names
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


def convert_segvit(state: StateDict) -> StateDict:
    """A reference state dictionary in our names.

    Raises:
        CheckpointError: It holds parameters that plain SegViT does not have.
    """
    return rename_all(state, segvit_name, "SegViT on a plain ViT")


def segvit_architecture(state: StateDict) -> Architecture:
    """The model of a reference state dictionary.

    Raises:
        CheckpointError: Its size is that of no published model.
    """
    name, depth, crop = read_plain_vit(state)
    num_stages = count(state, r"decode_head\.decoder_(\d+)\.")
    if (depth, num_stages) not in TAPS:
        known = ", ".join(str(stages) for blocks, stages in TAPS if blocks == depth)
        raise CheckpointError(
            f"no published SegViT of {depth} blocks has {num_stages} stages. Known: {known}."
        )
    num_classes, embed_dim = shape_of(state, "decode_head.q.weight", 2)
    config = {
        "backbone": plain_vit_config(name, TAPS[depth, num_stages]),
        "decoder": {
            "embed_dim": embed_dim,
            "num_layers": count(state, r"decode_head\.decoder_1\.layers\.(\d+)\."),
        },
    }
    return Architecture(config, num_classes, crop, normalisation(name))


def read_plain_vit(
    state: StateDict, model: str = "SegViT", blocks: str = "layers"
) -> tuple[str, int, int]:
    """The name with timm of a checkpoint's plain ViT, its number of blocks and its crop in pixels.

    Args:
        state: The reference's parameters.
        model: Whose checkpoint it is, for the error.
        blocks: What the reference calls the blocks.

    Raises:
        CheckpointError: No published model has this ViT, or its position embeddings are of no square grid.
    """
    _, num_tokens, embed_dim = shape_of(state, "backbone.pos_embed", 3)
    depth = count(state, rf"backbone\.{blocks}\.(\d+)\.")
    if (embed_dim, depth) not in PLAIN_VITS:
        raise CheckpointError(
            f"no published {model} has width {embed_dim} and {depth} blocks. Known: {', '.join(PLAIN_VITS.values())}."
        )
    side = round((num_tokens - 1) ** 0.5)
    if side * side != num_tokens - 1:
        raise CheckpointError(
            f"backbone.pos_embed has {num_tokens} entries, but a published one has one for the class token and those "
            "of a square grid: 1025 for crops of 512, 1601 for 640, 901 for 480."
        )
    return PLAIN_VITS[embed_dim, depth], depth, PATCH * side


def plain_vit_config(name: str, taps: tuple[int, ...]) -> dict[str, Any]:
    """The configuration of a published model's ViT."""
    return {
        "name": name,
        "pretrained": False,
        "taps": taps,
        "prefix_tokens": "drop",
        "pos_embed_interpolation": "bicubic",
    }


def normalisation(name: str) -> Preprocessing:
    """Normalisation of a published model: the author names ImageNet's for ViT-B; ViT-L used 0.5."""
    return IMAGENET if name.startswith("vit_base") else HALF

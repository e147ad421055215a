"""Checkpoints of mmsegmentation's Segmenter (mmcv and mmengine dictionaries) in our parameter names.

Source: the parameter names and shapes that its models have. The function is that of the Segmenter repository; what its
configuration sets otherwise is that the LayerNorms of the ViT have an epsilon of 1e-6, those of the decoder 1e-5, and
that position embeddings are resampled bicubically. The patch embedding has no bias from version 1 on: ours is 0 then.
The linear decoder is mmsegmentation's FCN head without convolutions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from vitseg.checkpoint.architecture import HALF, Architecture
from vitseg.checkpoint.plain_vits import read_plain_vit
from vitseg.checkpoint.reference_names import count, rename_all, shape_of
from vitseg.checkpoint.segvit_names import segvit_name
from vitseg.types import Size, StateDict

_CLASSIFIER = "decode_head.conv_seg."

_RENAMES = (
    (r"^backbone\.ln1\.", "backbone.norm."),
    (r"^decode_head\.cls_emb$", "decoder.cls_emb"),
    (r"^decode_head\.dec_proj\.", "decoder.proj_dec."),
    (r"^decode_head\.patch_proj\.", "decoder.proj_patch."),
    (r"^decode_head\.classes_proj\.", "decoder.proj_classes."),
    (r"^decode_head\.(decoder_norm|mask_norm)\.", r"decoder.\1."),
    (r"^decode_head\.conv_seg\.", "decoder.head."),
)
_LAYER = re.compile(r"^decode_head\.layers\.")


def is_segmenter_mmseg(names: Iterable[str]) -> bool:
    """Whether the parameter names are those of mmsegmentation's Segmenter."""
    names = set(names)
    if "backbone.ln1.weight" not in names or "backbone.pos_embed" not in names:
        return False
    head = {name for name in names if name.startswith("decode_head.")}
    return "decode_head.cls_emb" in head or (
        bool(head) and all(name.startswith(_CLASSIFIER) for name in head)
    )


def segmenter_mmseg_name(name: str) -> str | None:
    """Our name of a reference parameter; None if Segmenter does not have it."""
    for pattern, replacement in _RENAMES:
        ours, changed = re.subn(pattern, replacement, name)
        if changed:
            return ours
    if _LAYER.match(name):  # the blocks of the decoder are those of the ViT
        ours = segvit_name(_LAYER.sub("backbone.layers.", name))
        return ours and ours.replace("backbone.blocks.", "decoder.blocks.", 1)
    return segvit_name(name) if name.startswith("backbone.") else None


def convert_segmenter_mmseg(state: StateDict) -> StateDict:
    """A reference state dictionary in our names.

    Raises:
        CheckpointError: It holds parameters that a Segmenter does not have.
    """
    converted = rename_all(state, segmenter_mmseg_name, "mmsegmentation's Segmenter")
    weight = converted.get("backbone.patch_embed.proj.weight")
    if weight is not None:
        converted.setdefault("backbone.patch_embed.proj.bias", weight.new_zeros(len(weight)))
    return converted


def segmenter_mmseg_architecture(state: StateDict, grid: Size | None = None) -> Architecture:
    """The model of a reference state dictionary.

    Args:
        state: Parameters by the reference's names.
        grid: Token grid of the position embeddings; square where not given.

    Raises:
        CheckpointError: Its size is that of no published model.
    """
    name, depth, image_size = read_plain_vit(state, "Segmenter", grid=grid)
    decoder: dict[str, Any] = {"kind": "linear"}
    if "decode_head.cls_emb" in state:
        num_classes = shape_of(state, "decode_head.cls_emb", 3)[1]
        width, _ = shape_of(state, "decode_head.dec_proj.weight", 2)
        num_layers = count(state, r"decode_head\.layers\.(\d+)\.")
        decoder = {"kind": "mask", "embed_dim": width, "num_layers": num_layers}
    else:
        num_classes = shape_of(state, f"{_CLASSIFIER}weight", 4)[0]
    config = {
        "backbone": {
            "name": name,
            "pretrained": False,
            "taps": (depth - 1,),
            "tap_norm": True,
            "pos_embed_interpolation": "bicubic",
        },
        "decoder": decoder,
    }
    return Architecture(config, num_classes, image_size, HALF)

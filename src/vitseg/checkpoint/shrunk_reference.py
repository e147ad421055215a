"""Checkpoints of the published SegViT-Shrunk models (version 1, mmcv dictionaries) in our parameter names.

Source: the parameter names and shapes of the published files. The ViT is SegViT's; its block with query down-sampling
has no parameters of its own. The head up-samples with standard decoder layers, whose cross-attention is packed, and
ends in an ATM of one stage.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from vitseg.checkpoint.architecture import Architecture
from vitseg.checkpoint.plain_vits import PATCH, normalisation, plain_vit_config, read_plain_vit
from vitseg.checkpoint.reference_names import count, rename_all, shape_of
from vitseg.checkpoint.segvit_names import segvit_name
from vitseg.errors import CheckpointError
from vitseg.types import Size, StateDict

SHRUNK_BLOCK = {12: 6, 24: 8}
"""0-based block in which the published models down-sample, by the depth of the ViT."""

_PACKED = re.compile(
    r"^(decode_head\.decoder_\d+\.layers\.\d+\.multihead_attn)\.in_proj_(weight|bias)$"
)


def is_shrunk(names: Iterable[str]) -> bool:
    """Whether the parameter names are those of a published Shrunk model."""
    return {"decode_head.q.weight", "decode_head.atm.q.weight", "backbone.pos_embed"} <= set(names)


def shrunk_name(name: str) -> str | None:
    """Our name of a reference parameter, its cross-attention unpacked; None if Shrunk does not have it."""
    if name == "decode_head.q.weight":
        return "decoder.upsample.query_embed"
    if name.startswith("decode_head.atm."):
        ours = segvit_name(name.replace(".atm.", ".", 1))
        return ours and ours.replace("decoder.", "decoder.atm.", 1)
    ours = segvit_name(name.replace("multihead_attn.out_proj.", "multihead_attn.proj."))
    if ours is None or ours.startswith("backbone."):
        return ours
    if not ours.startswith("decoder.stages."):
        return None
    return ours.replace("decoder.", "decoder.upsample.", 1)


def convert_shrunk(state: StateDict) -> StateDict:
    """A reference state dictionary in our names.

    Raises:
        CheckpointError: It holds parameters that Shrunk does not have.
    """
    unpacked: StateDict = {}
    for name, value in state.items():
        match = _PACKED.match(name)
        if match:
            parts = zip("qkv", value.chunk(3), strict=False)  # of another shape: fill() says so
            unpacked |= {f"{match[1]}.{part}.{match[2]}": rows.clone() for part, rows in parts}
        else:
            unpacked[name] = value
    return rename_all(unpacked, shrunk_name, "SegViT-Shrunk")


def shrunk_architecture(state: StateDict, grid: Size | None = None) -> Architecture:
    """The model of a reference state dictionary.

    Args:
        state: Parameters by the reference's names.
        grid: Token grid of the position embeddings; square where not given.

    Raises:
        CheckpointError: Its size is that of no published model, or its queries are not for its crop.
    """
    name, depth, image_size = read_plain_vit(state, grid=grid)
    height, width = image_size[0] // PATCH, image_size[1] // PATCH
    num_queries, embed_dim = shape_of(state, "decode_head.q.weight", 2)
    if num_queries != height * width:
        raise CheckpointError(
            f"decode_head.q.weight has {num_queries} queries, but backbone.pos_embed is for a grid of {height} x "
            f"{width} (crop {image_size[0]}), which needs {height * width}: the two are not of one model."
        )
    num_classes, _ = shape_of(state, "decode_head.atm.q.weight", 2)
    config = {
        "backbone": plain_vit_config(name, (depth - 1,)),
        "shrink": {"block": SHRUNK_BLOCK[depth]},
        "upsample": {"num_layers": count(state, r"decode_head\.decoder_1\.layers\.(\d+)\.")},
        "decoder": {
            "embed_dim": embed_dim,
            "num_layers": count(state, r"decode_head\.atm\.decoder_1\.layers\.(\d+)\."),
            "projection": "none",
            "supervise": "layers",
        },
    }
    return Architecture(config, num_classes, image_size, normalisation(name))

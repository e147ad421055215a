"""Checkpoints of DToP's repository (SegViT with exits, mmengine dictionaries) in our parameter names.

Source: the parameter names and shapes of its models. A plain ViT, a head at two exits, and the last head, each one
stage of SegViT's decoder. The thresholds are no parameters: a converted model has those of the pruned models.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from vitseg.checkpoint.architecture import Architecture
from vitseg.checkpoint.plain_vits import TAPS, normalisation, plain_vit_config, read_plain_vit
from vitseg.checkpoint.reference_names import LEFT_OUT, count, rename_all, shape_of
from vitseg.checkpoint.segvit_names import segvit_name
from vitseg.errors import CheckpointError
from vitseg.types import Size, StateDict

NUM_EXITS = 2

THRESHOLDS = {"vit_base_patch16_384": 0.9}
"""Threshold of the pruned models, by the ViT; all others have 0.95."""

ADE20K_CLASSES = 150

_HEAD = re.compile(r"^(decode_head|auxiliary_head\.(\d+))\.(.+)$")
_STAGE_PART = re.compile(r"^(input_proj|proj_norm|decoder)\.")
_LEFT_OUT = tuple(pattern for pattern in LEFT_OUT if not pattern.startswith("^auxiliary_head"))


def is_dtop(names: Iterable[str]) -> bool:
    """Whether the parameter names are those of DToP on SegViT."""
    wanted = {"decode_head.decoder.layers.0.multihead_attn.q.weight", "auxiliary_head.0.q.weight"}
    return wanted | {"backbone.pos_embed"} <= set(names)


def dtop_name(name: str) -> str | None:
    """Our name of a reference parameter; None if DToP does not have it."""
    match = _HEAD.match(name)
    if match is None:
        return segvit_name(name)
    _, number, rest = match.groups()
    head = "decoder.head." if number is None else f"decoder.exits.{number}."
    ours = segvit_name("decode_head." + _STAGE_PART.sub(r"\1_1.", rest))
    if ours is None:
        return None
    return ours.replace("decoder.stages.0.", "decoder.stage.").replace("decoder.", head, 1)


def convert_dtop(state: StateDict) -> StateDict:
    """A reference state dictionary in our names.

    Raises:
        CheckpointError: It holds parameters that DToP does not have.
    """
    return rename_all(state, dtop_name, "DToP", _LEFT_OUT)


def dtop_architecture(state: StateDict, grid: Size | None = None) -> Architecture:
    """The model of a reference state dictionary.

    Args:
        state: Parameters by the reference's names.
        grid: Token grid of the position embeddings; square where not given.

    Raises:
        CheckpointError: Its size is that of no published model.
    """
    name, depth, image_size = read_plain_vit(state, "DToP", grid=grid)
    num_exits = count(state, r"auxiliary_head\.(\d+)\.")
    if num_exits != NUM_EXITS:
        raise CheckpointError(
            f"this DToP has {num_exits} auxiliary heads, but the published ones have {NUM_EXITS}."
        )
    num_classes, embed_dim = shape_of(state, "decode_head.q.weight", 2)
    # 64 channels each for ADE20K, 32 for the other data sets; no parameter's shape says so.
    head_dim = 64 if num_classes == ADE20K_CLASSES else 32
    config = {
        "backbone": plain_vit_config(name, TAPS[depth, NUM_EXITS + 1]),
        "pruning": {"threshold": THRESHOLDS.get(name, 0.95)},
        "decoder": {
            "embed_dim": embed_dim,
            "num_heads": max(1, embed_dim // head_dim),
            "num_layers": count(state, r"decode_head\.decoder\.layers\.(\d+)\."),
        },
    }
    return Architecture(config, num_classes, image_size, normalisation(name))

"""Checkpoints of the published SegViT models on a plain ViT (mmcv dictionaries) in our parameter names.

Source: the parameter names and shapes of the published files.
"""

from __future__ import annotations

from collections.abc import Iterable

from vitseg.checkpoint.architecture import Architecture
from vitseg.checkpoint.plain_vits import TAPS, normalisation, plain_vit_config, read_plain_vit
from vitseg.checkpoint.reference_names import count, rename_all, shape_of
from vitseg.checkpoint.segvit_names import segvit_name
from vitseg.errors import CheckpointError
from vitseg.types import Size, StateDict


def is_segvit(names: Iterable[str]) -> bool:
    """Whether the parameter names are those of a published SegViT on a plain ViT."""
    names = set(names)
    return {"decode_head.q.weight", "backbone.pos_embed"} <= names and any(
        name.startswith("decode_head.decoder_1.layers.0.multihead_attn.q.") for name in names
    )


def convert_segvit(state: StateDict) -> StateDict:
    """A reference state dictionary in our names.

    Raises:
        CheckpointError: It holds parameters that plain SegViT does not have.
    """
    return rename_all(state, segvit_name, "SegViT on a plain ViT")


def segvit_architecture(state: StateDict, grid: Size | None = None) -> Architecture:
    """The model of a reference state dictionary.

    Args:
        state: Parameters by the reference's names.
        grid: Token grid of the position embeddings; square where not given.

    Raises:
        CheckpointError: Its size is that of no published model.
    """
    name, depth, image_size = read_plain_vit(state, grid=grid)
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
    return Architecture(config, num_classes, image_size, normalisation(name))

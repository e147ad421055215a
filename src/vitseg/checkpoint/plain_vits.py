"""The plain ViTs of published models: their names with timm, taps and normalisation, found by shapes.

Source: shapes of the published files; taps and normalisation are those of the SegViT paper's code, which the files do
not state.
"""

from __future__ import annotations

from typing import Any

from vitseg.checkpoint.architecture import HALF, IMAGENET
from vitseg.checkpoint.reference_names import count, shape_of
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
"""Side of the patches in pixels."""


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

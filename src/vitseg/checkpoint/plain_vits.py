"""The plain ViTs of published models: their names with timm, taps and normalisation, found by shapes.

Source: shapes of the published files; taps and normalisation are those of the SegViT paper's code, which the files do
not state.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from vitseg.checkpoint.architecture import HALF, IMAGENET
from vitseg.checkpoint.reference_names import count, shape_of
from vitseg.errors import CheckpointError
from vitseg.images.preprocess import Preprocessing
from vitseg.types import Size, StateDict

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

_PATCHES = re.compile(r"patch_embed\.proj(ection)?\.weight$")

PATCH = 16
"""Side of the patches in pixels."""


def read_plain_vit(
    state: StateDict, model: str = "SegViT", blocks: str = "layers", grid: Size | None = None
) -> tuple[str, int, Size]:
    """The name with timm of a checkpoint's plain ViT, its number of blocks and the size of its crops in pixels.

    Args:
        state: The reference's parameters.
        model: Whose checkpoint it is, for the error.
        blocks: What the reference calls the blocks.
        grid: Token grid of its position embeddings; that of a square crop where not given.

    Raises:
        CheckpointError: No published model has this ViT, or its position embeddings are of another grid.
    """
    _, num_tokens, embed_dim = shape_of(state, "backbone.pos_embed", 3)
    depth = count(state, rf"backbone\.{blocks}\.(\d+)\.")
    if (embed_dim, depth) not in PLAIN_VITS:
        raise CheckpointError(
            f"no published {model} has width {embed_dim} and {depth} blocks. Known: {', '.join(PLAIN_VITS.values())}."
        )
    height, width = grid_of_tokens("backbone.pos_embed", num_tokens, 1, grid)
    return PLAIN_VITS[embed_dim, depth], depth, (PATCH * height, PATCH * width)


def grid_of_tokens(name: str, num_tokens: int, num_prefix: int, grid: Size | None) -> Size:
    """The token grid of position embeddings.

    Args:
        name: What the reference calls them.
        num_tokens: How many there are.
        num_prefix: How many of them are for tokens in front of the grid.
        grid: What the user says; square where not given.

    Raises:
        CheckpointError: The user's grid has another number of cells, or their number is no square and nobody says what
            they are.
    """
    cells = num_tokens - num_prefix
    if grid is not None:
        if grid[0] * grid[1] != cells:
            raise CheckpointError(
                f"{name} has {num_tokens} entries, {num_prefix} in front and {cells} of a grid, but --grid "
                f"{grid[0]},{grid[1]} has {grid[0] * grid[1]} cells: give the height and the width of the crops of "
                "its training in patches."
            )
        return grid
    side = round(max(0, cells) ** 0.5)
    if side < 1 or side * side != cells:
        raise CheckpointError(
            f"{name} has {num_tokens} entries, but a published one has {num_prefix} in front and those of a square "
            f"grid: 1025 for crops of 512, 1601 for 640, 901 for 480 of 16-pixel patches. {factors(cells)} Give the "
            "grid with --grid HEIGHT,WIDTH, in patches of the crops of its training."
        )
    return side, side


def stated_grid(state: StateDict, sizes: Iterable[Size]) -> Size | None:
    """The grid of a checkpoint's position embeddings that a size of crops says; None where none fits.

    Args:
        state: The reference's parameters.
        sizes: (height, width) in pixels, as the file's own configuration says.

    Raises:
        CheckpointError: Sizes of different grids fit.
    """
    tables = {v.shape[1] for n, v in state.items() if n.endswith("pos_embed") and v.ndim == 3}
    patches = {tuple(v.shape[2:]) for n, v in state.items() if _PATCHES.search(n) and v.ndim == 4}
    if len(tables) != 1 or len(patches) != 1:
        return None
    (number,), ((down, right),) = tables, patches
    grids = {(-(-height // down), -(-width // right)) for height, width in sizes}
    # Behind up to two tokens in front of the grid.
    fitting = sorted(grid for grid in grids if 0 <= number - grid[0] * grid[1] <= 2)
    if len(fitting) > 1:
        listed = " and ".join(f"{height} x {width}" for height, width in fitting)
        raise CheckpointError(
            f"its position embeddings have {number} entries, and its configuration names crops of {listed} patches: "
            "say which with --grid HEIGHT,WIDTH."
        )
    return fitting[0] if fitting else None


def factors(cells: int) -> str:
    """The grids of a number of cells, those nearest to a square, in a sentence."""
    found = [
        f"{height} x {cells // height}"
        for height in range(int(max(0, cells) ** 0.5), 1, -1)
        if cells % height == 0
    ]
    if not found:
        return f"{cells} cells are no grid."
    return f"{cells} cells may be a grid of {', '.join(found[:3])} or the same upright."


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

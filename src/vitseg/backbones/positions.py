"""Where tokens stand, and the three ways in which ViT families use it.

Absolute position embeddings are added once, resampled to the image's grid. Rotary tables and relative position biases
enter every attention layer, so they must follow the tokens when only some of them run (Shrunk, token pruning): both are
looked up by the tokens' coordinates here, never by their row in the sequence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import cast

import torch
from jaxtyping import Float, Int
from timm.layers.pos_embed_sincos import (
    RotaryEmbeddingCat,
    RotaryEmbeddingDinoV3,
    apply_rot_embed_cat,
)
from torch import Tensor

from vitseg.layers import products
from vitseg.layers.ragged import RaggedTokens, images_of, lengths_of
from vitseg.types import Size

Rope = RotaryEmbeddingCat | RotaryEmbeddingDinoV3

HALVINGS = 19
"""Of an interval of 0.49 until it is shorter than 1e-6, as in BEiT."""


@dataclass(frozen=True)
class TokenPositions:
    """Positions of the tokens of a sequence.

    Position p < num_prefix_tokens is a prefix token (class, register); the others are the grid's cells, row by row.

    Attributes:
        grid: (height, width) of the whole token grid.
        num_prefix_tokens: Prefix tokens in front of the grid.
        index: Position of every token, one list for the batch or one per image; None: all positions in order.
        rotary: Concatenated sine and cosine by position, for families with rotary embeddings.
        lengths: Tokens of each image, where the images' sequences are packed into one (then b = 1 and `index` is one
            list); None: every image has a sequence of its own, and all are equally long.
        has_strays: Whether tokens that stand nowhere (index -1) are among them: means of others. Only families whose
            attention knows no positions take such.
    """

    grid: Size
    num_prefix_tokens: int
    index: Int[Tensor, "*b n"] | None = None
    rotary: Float[Tensor, "p d"] | None = None
    lengths: tuple[int, ...] | None = None
    has_strays: bool = False

    def select(self, rows: Int[Tensor, "*b m"]) -> TokenPositions:
        """The positions of some rows of this sequence (of packed sequences: in increasing order)."""
        if self.index is None:
            return replace(self, index=rows)
        if self.lengths is not None:
            images = images_of(self.lengths, rows.device)[rows]
            lengths = lengths_of(images, len(self.lengths))
            return replace(self, index=self.index[rows], lengths=lengths)
        if self.index.ndim == 1:
            return replace(self, index=self.index[rows])
        rows = rows.expand(self.index.shape[0], -1)
        return replace(self, index=self.index.gather(1, rows))

    def packed(self, batch_size: int, device: torch.device) -> TokenPositions:
        """Of a batch whose images have these positions each: the positions of its packed sequences."""
        index = self.indices(device)
        if index.ndim == 1:
            index = index.expand(batch_size, -1)
        return replace(self, index=index.flatten(), lengths=(index.shape[1],) * batch_size)

    def by_image(self) -> list[TokenPositions]:
        """The positions of each of the packed sequences."""
        assert self.index is not None and self.lengths is not None
        parts = self.index.split(self.lengths)
        return [replace(self, index=part, lengths=None) for part in parts]

    def rows_of(self, table: Float[Tensor, "p d"]) -> Float[Tensor, "*b n d"]:
        """The entries of a by-position table for the tokens of this sequence."""
        return table if self.index is None else table[self.index]

    def indices(self, device: torch.device) -> Int[Tensor, "*b n"]:
        """`index`, written out where it stands for all positions."""
        if self.index is not None:
            return self.index
        height, width = self.grid
        return torch.arange(self.num_prefix_tokens + height * width, device=device)


def grid_tokens(x: Float[Tensor, "1 m c"], positions: TokenPositions) -> RaggedTokens:
    """Of packed sequences: the tokens that stand on the grid's cells."""
    assert positions.index is not None and positions.lengths is not None
    if not positions.num_prefix_tokens and not positions.has_strays:
        return RaggedTokens(x[0], positions.index, positions.lengths)
    on_grid = (positions.index >= positions.num_prefix_tokens).nonzero()[:, 0]
    kept = positions.select(on_grid)
    assert kept.index is not None and kept.lengths is not None
    return RaggedTokens(x[0][on_grid], kept.index - positions.num_prefix_tokens, kept.lengths)


def rotate(
    x: Float[Tensor, "b heads n d"], positions: TokenPositions, half_layout: bool
) -> Float[Tensor, "b heads n d"]:
    """Apply the rotary embedding of the tokens' positions (prefix tokens are not rotated)."""
    if positions.rotary is None:
        return x
    table = positions.rows_of(positions.rotary)  # (n, 2d) or (b, n, 2d)
    if table.ndim == 3:
        table = table[:, None]  # (b, 1, n, 2d)
    return apply_rot_embed_cat(x, table, half=half_layout)


def rotary_table(rope: Rope, grid: Size) -> Float[Tensor, "n d"]:
    """Sine and cosine of the cells of a grid, row by row."""
    if products.are_asked() and isinstance(rope, RotaryEmbeddingDinoV3):
        return _dinov3_table(rope, grid)
    return rope.get_embed(shape=list(grid))


def _dinov3_table(rope: RotaryEmbeddingDinoV3, grid: Size) -> Float[Tensor, "n d"]:
    """What timm makes of a grid, with sizes that stay symbols in a graph: timm's own are the example's there."""
    periods = cast(Tensor, rope.periods)
    bounds = {"min": torch.sym_min, "max": torch.sym_max}
    bound = bounds.get(rope.normalize_coords)
    y, x = (
        (torch.arange(cells, device=periods.device) + 0.5 + rope.grid_offset)
        / (cells if bound is None else cast(int, bound(*grid)))
        for cells in grid
    )
    axes = [y[:, None].expand(grid), x.expand(grid)]
    coords = torch.stack(axes if rope.grid_indexing == "ij" else axes[::-1], -1).flatten(0, 1)
    angles = 2 * math.pi * (2 * coords - 1)[:, :, None] / periods
    waves = (angles.flatten(1).sin(), angles.flatten(1).cos())
    if rope.rotate_half:
        return torch.cat([waves[0], waves[0], waves[1], waves[1]], -1)
    return torch.cat([wave.repeat_interleave(2, -1) for wave in waves], -1)


def with_unrotated_prefix(
    table: Float[Tensor, "n d"], num_prefix_tokens: int
) -> Float[Tensor, "p d"]:
    """A rotary table extended in front by prefix tokens, which keep their direction (sine 0, cosine 1)."""
    if num_prefix_tokens == 0:
        return table
    sine = table.new_zeros(num_prefix_tokens, table.shape[1] // 2)
    return torch.cat([torch.cat([sine, sine + 1], dim=-1), table])


def relative_bias(
    table: Float[Tensor, "entries heads"],
    table_grid: Size,
    queries: TokenPositions,
    keys: TokenPositions,
) -> Float[Tensor, "... heads q n"]:
    """BEiT's relative position bias between tokens, for any grid and any subset of it.

    The table holds (2h-1)(2w-1) displacements and three entries for the class token (token to class, class to token,
    class to class). Another grid than the table's is served by BEiT's geometric resampling of the displacements.
    """
    spatial, special = table[:-3], table[-3:]
    grid = keys.grid
    if products.are_asked() or grid != table_grid:
        heads = table.shape[1]
        rows, columns = (weights.to(table) for weights in _resampling(table_grid, grid))
        spatial = spatial.reshape(2 * table_grid[0] - 1, 2 * table_grid[1] - 1, heads)
        spatial = torch.einsum("iy,jx,yxh->ijh", rows, columns, spatial).reshape(-1, heads)
    entries = torch.cat([spatial, special])
    index = _displacement_index(queries.indices(table.device), keys.indices(table.device), keys)
    return entries[index].movedim(-1, -3)


def _displacement_index(
    queries: Int[Tensor, "... q"], keys: Int[Tensor, "... n"], positions: TokenPositions
) -> Int[Tensor, "... q n"]:
    height, width = positions.grid
    prefix = positions.num_prefix_tokens
    queries, keys = queries[..., :, None] - prefix, keys[..., None, :] - prefix
    rows = queries // width, keys // width
    down = rows[0] - rows[1] + height - 1
    # not `%`, of which ONNX has no form where the width is of any size
    right = (queries - rows[0] * width) - (keys - rows[1] * width) + width - 1
    index = down * (2 * width - 1) + right
    first_special = (2 * height - 1) * (2 * width - 1)
    index = torch.where(queries < 0, first_special, index)  # the class token asks
    index = torch.where(keys < 0, first_special + 1, index)  # the class token is asked
    return torch.where((queries < 0) & (keys < 0), first_special + 2, index)


def _resampling(
    old: Size, new: Size
) -> tuple[Float[Tensor, "new_down old_down"], Float[Tensor, "new_right old_right"]]:
    """Weights for both axes; in a graph, which may meet the old grid again, those that leave it as it is then."""
    if not products.are_asked():
        return _cached_weights(old[0], new[0]), _cached_weights(old[1], new[1])
    height, width = (torch.scalar_tensor(cells, dtype=torch.long) for cells in new)
    is_same = (height == old[0]) & (width == old[1])
    down, right = (
        torch.where(
            is_same,
            (torch.arange(1 - cells, cells)[:, None] == torch.arange(1 - known, known)).float(),
            _displacement_weights(known, cells),
        )
        for known, cells in zip(old, new, strict=True)
    )
    return down, right


def _displacement_weights(
    old: int, new: int
) -> Float[Tensor, "new_displacements old_displacements"]:
    """Linear interpolation weights from the displacements of an `old`-cell axis to those of a `new`-cell axis.

    As in BEiT, the old displacements are laid out in a geometric progression that spans the new ones, so that short
    distances keep their resolution. The interpolation is separable and linear in the table, hence a matrix per axis.
    """
    low, high = (torch.tensor(bound, dtype=torch.float64) for bound in (1.01, 1.5))
    ratio = low
    for _ in range(HALVINGS):
        ratio = (low + high) / 2
        is_far = (1 - ratio ** (old - 1)) / (1 - ratio) > new - 1
        low, high = torch.where(is_far, low, ratio), torch.where(is_far, ratio, high)
    reach = (ratio ** torch.arange(old - 1)).cumsum(0)
    source = torch.cat([-reach.flip(0), torch.zeros(1, dtype=torch.float64), reach])
    target = torch.arange(1 - new, new).double()[:, None]
    right = (source <= target).sum(1, keepdim=True).clamp(1, 2 * old - 2)  # source of the next
    share = (target - source[right - 1]) / (source[right] - source[right - 1])
    place = torch.arange(2 * old - 1)
    weights = torch.where(place == right, share, 0) + torch.where(place == right - 1, 1 - share, 0)
    return weights.float()


_cached_weights = lru_cache(maxsize=64)(_displacement_weights)

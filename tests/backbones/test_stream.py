"""Where the tokens of a halved grid stand, packed or not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.backbones.test_shrunk import plain
from vitseg.backbones.steps.exit import pruned
from vitseg.backbones.steps.exit_rules import PruningConfig
from vitseg.backbones.steps.halve import Halve
from vitseg.backbones.steps.shrink import Shrink, ShrinkConfig
from vitseg.backbones.stream import TokenStream

GRIDS = [(4, 6), (5, 7), (5, 4), (2, 3), (1, 5), (1, 1), (16, 9)]
BATCH = 2


def marked(grid: tuple[int, int], prefix_tokens: str) -> TokenStream:
    """Tokens whose first channel is the cell that they stand on; prefix tokens have -1."""
    vit = plain(prefix_tokens=prefix_tokens)
    stream = vit.start(torch.zeros(BATCH, 3, 16 * grid[0], 16 * grid[1]))
    cells = torch.arange(grid[0] * grid[1]).float()
    marks = torch.cat([torch.full((vit.num_prefix_tokens,), -1.0), cells])
    x = torch.zeros_like(stream.x)
    x[..., 0] = marks
    return replace(stream, x=x)


def shrunk(stream: TokenStream) -> TokenStream:
    return Shrink(ShrinkConfig(block=0, method="nearest_qkv"), None)(stream)


def halved(stream: TokenStream) -> TokenStream:
    return Halve("nearest", None)(stream)


@torch.no_grad()
@pytest.mark.parametrize("halve", [shrunk, halved])
@pytest.mark.parametrize("prefix_tokens", ["keep", "drop"])
@pytest.mark.parametrize("grid", GRIDS)
def test_tokens_that_leave_a_halved_grid_leave_its_cells(grid, prefix_tokens, halve):
    """By hand: the cell of the token at (y, x), both even, is (y / 2, x / 2) of the halved grid."""
    stream = halve(marked(grid, prefix_tokens))
    rows, columns = range(0, grid[0], 2), range(0, grid[1], 2)
    half = (len(rows), len(columns))
    assert stream.cover.grid == half
    assert stream.cover.padded_size == (32 * half[0], 32 * half[1])
    owners = torch.tensor([[grid[1] * y + x for x in columns] for y in rows]).float()
    assert torch.equal(stream.as_map(stream.x)[:, 0], owners.expand(BATCH, -1, -1))

    num_cells = half[0] * half[1]
    probs = torch.full((BATCH * num_cells, 3), 0.1)
    leaves = torch.rand(BATCH * num_cells, generator=torch.Generator().manual_seed(0)) < 0.5
    leaves[-1] = True  # of the last image at least one, and not all of any
    leaves[[0, num_cells]] = num_cells == 1
    probs[leaves, 1] = 0.9
    left = pruned(
        stream, probs, (num_cells,) * BATCH, PruningConfig(threshold=0.5, rule="remove").build()
    )
    stays = ~leaves if num_cells > 1 else torch.ones(BATCH, dtype=torch.bool)  # one always stays
    assert left.is_packed == (num_cells > 1)
    tokens = left.grid_tokens(left.x)
    where = stays.nonzero()[:, 0]
    assert torch.equal(tokens.rows(num_cells), where)
    assert tokens.lengths == tuple(part.sum().item() for part in stays.view(BATCH, -1))
    assert torch.equal(tokens.tokens[:, 0], owners.flatten().repeat(BATCH)[where])


@torch.no_grad()
@pytest.mark.parametrize("grid", GRIDS)
def test_unpacked_tokens_are_packed_cell_by_cell(grid):
    stream = shrunk(marked(grid, "keep"))
    tokens = stream.grid_tokens(stream.x)
    num_cells = stream.cover.grid[0] * stream.cover.grid[1]
    assert tokens.lengths == (num_cells,) * BATCH
    assert tokens.cells.tolist() == [*range(num_cells)] * BATCH
    assert torch.equal(tokens.tokens[:, 0], stream.as_map(stream.x)[:, 0].flatten())

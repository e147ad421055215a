"""What runs through the blocks of a plain ViT: tokens, where they stand, and what was read of them on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from jaxtyping import Bool, Float, Int
from torch import Tensor

from vitseg.backbones.positions import TokenPositions, grid_tokens
from vitseg.features import AliveTokens, ExitCells, Features, GridCover
from vitseg.layers.grid import whole_cells
from vitseg.layers.ragged import RaggedTokens, packed_map
from vitseg.outputs import SegOutput
from vitseg.types import Size

Step = Callable[["TokenStream"], "TokenStream"]
"""One thing that happens to the tokens: a block, a tap, or what a method puts beside them (`backbones/steps`)."""


@dataclass(frozen=True)
class TokenStream:
    """Tokens of a batch at some depth of a plain ViT. Steps replace what they change.

    Attributes:
        x: Tokens of every image, prefix tokens first; where images have different numbers of them, all in one packed
            sequence (then b = 1 and `positions.lengths` says how many are whose).
        positions: Where they stand.
        input_size: Of the images, in pixels.
        padded_size: Pixels that the whole token grid covers.
        cover: The grid that the tokens of an unpacked sequence fill, and what it covers; that of `positions` until
            tokens are dropped everywhere alike.
        training: Whether the backbone is in training mode.
        rows: For the next block: rows of `x` that it returns; None: all.
        asking: For the next block: what takes the place of those rows as queries and residual stream.
        mask: For the next block: which tokens each may attend to; None: all.
        num_queries: Queries in front of the prefix tokens.
        is_edge: Cells whose tokens are kept where others are dropped; None: no head has looked.
        maps: Taps of unpacked tokens.
        ragged: Taps of packed tokens.
        queries: The queries behind the last block.
        stages: See `Features`, as are the following.
        settled: What was said at the last exit at which tokens could leave.
        extras: Other things that the backbone is trained by.
        exits: The tokens that arrived at each exit.
    """

    x: Float[Tensor, "_ n c"]
    positions: TokenPositions
    input_size: Size
    padded_size: Size
    cover: GridCover
    training: bool
    rows: Int[Tensor, "... m"] | None = None
    asking: Float[Tensor, "_ m c"] | None = None
    mask: Bool[Tensor, "_ n n"] | None = None
    num_queries: int = 0
    is_edge: Bool[Tensor, "_ cells"] | None = None
    maps: tuple[Float[Tensor, "_ c _ _"], ...] = ()
    ragged: tuple[RaggedTokens, ...] = ()
    queries: Float[Tensor, "_ q c"] | None = None
    stages: tuple[SegOutput, ...] = ()
    settled: SegOutput | None = None
    extras: Mapping[str, SegOutput] = field(default_factory=dict)
    exits: tuple[ExitCells, ...] = ()

    @property
    def is_packed(self) -> bool:
        """Whether all images' tokens stand in one sequence."""
        return self.positions.lengths is not None

    @property
    def batch_size(self) -> int:
        """Images."""
        lengths = self.positions.lengths
        return len(self.x) if lengths is None else len(lengths)

    def as_map(self, x: Float[Tensor, "b n c"]) -> Float[Tensor, "b c h w"]:
        """Tokens that stand where those of this unpacked stream do, without the prefix, as a map (a view, no copy)."""
        assert not self.is_packed
        return (
            x[:, self.positions.num_prefix_tokens :].transpose(1, 2).unflatten(-1, self.cover.grid)
        )

    def grid_tokens(self, x: Float[Tensor, "b n c"]) -> RaggedTokens:
        """Tokens that stand where those of this stream do, without the prefix, packed; by the cells of `cover`."""
        if not self.is_packed:
            return packed_map(self.as_map(x))
        found = grid_tokens(x, self.positions)
        if self.cover.grid == self.positions.grid:
            return found
        return replace(found, cells=_coarser(found.cells, self.positions.grid, self.cover.grid))

    def alive(self, x: Float[Tensor, "b n c"]) -> AliveTokens:
        """The tokens on the grid, as a head reads them."""
        return AliveTokens(self.grid_tokens(x), self.input_size, self.cover)

    def tapped(self, x: Float[Tensor, "b n c"]) -> TokenStream:
        """The stream, with a feature that was read here."""
        if self.is_packed:
            return replace(self, ragged=(*self.ragged, self.grid_tokens(x)))
        queries = x[:, : self.num_queries] if self.num_queries else None
        return replace(self, maps=(*self.maps, self.as_map(x)), queries=queries)

    def features(self) -> Features:
        """What leaves the backbone."""
        return Features(
            self.maps,
            self.input_size,
            self.padded_size,
            ragged=self.ragged,
            cover=self.cover,
            queries=self.queries,
            stages=self.stages,
            settled=self.settled,
            extras=self.extras,
            exits=self.exits,
        )


def _coarser(cells: Int[Tensor, " n"], fine: Size, coarse: Size) -> Int[Tensor, " n"]:
    """Cells of a grid as those of another that has the top-left one of every few."""
    down, right = map(whole_cells, fine, coarse)
    return (cells // fine[1] // down) * coarse[1] + cells % fine[1] // right

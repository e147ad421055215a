"""What a backbone gives: the one type that leaves it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor

from vitseg.layers.ragged import RaggedTokens, packed_map
from vitseg.outputs import SegOutput
from vitseg.types import Size, spatial_size


class GridCover(NamedTuple):
    """A token grid, and the pixels that it covers."""

    grid: Size
    padded_size: Size


@dataclass(frozen=True)
class AliveTokens:
    """The tokens that are left at some depth, behind the backbone's norm.

    Attributes:
        tokens: Those of the grid, of all images, in the order of their cells.
        input_size: Of the images, in pixels.
        cover: The grid that their cells count.
    """

    tokens: RaggedTokens
    input_size: Size
    cover: GridCover


@dataclass(frozen=True)
class ExitCells:
    """The tokens that arrived at an exit of token pruning.

    Attributes:
        block: The block behind which the exit stands.
        cells: The tokens' cells, counted over all images of the batch, row by row.
    """

    block: int
    cells: Int[Tensor, " n"]


@dataclass(frozen=True)
class Features:
    """Features of a backbone, shallow to deep.

    `maps` cover `padded_size`, which is `input_size` padded on the bottom and right to a multiple of the patch; of a
    pyramid, the shallowest covers it and the deeper ones may reach further.

    Attributes:
        maps: Feature maps.
        input_size: Of the images, in pixels.
        padded_size: Pixels that the maps cover.
        ragged: Taps of a backbone that drops some of an image's tokens: those that it kept, deeper than all maps.
        cover: Grid of the deepest tap's cells and what it covers, where that is not `padded_size`: a grid with an odd
            side that was halved reaches further.
        queries: Queries that went through the last blocks beside the tokens, behind the final norm.
        semantic: Semantic maps of a pyramid's stages (SeMask), shallow to deep; each covers what a map of its size
            covers.
        stages: Predictions of heads inside the backbone, first to last: outputs of the same classes, for deep
            supervision. The last one at which tokens could leave is `settled`.
        settled: What exits have said of tokens that are gone; None: none could go.
        extras: Other things that the backbone itself is trained by, by name.
        exits: The tokens that arrived at each exit whose head was run.
    """

    maps: tuple[Float[Tensor, "b _ _ _"], ...]
    input_size: Size
    padded_size: Size
    ragged: tuple[RaggedTokens, ...] = ()
    cover: GridCover | None = None
    queries: Float[Tensor, "b q c"] | None = None
    semantic: tuple[Float[Tensor, "b k _ _"], ...] = ()
    stages: tuple[SegOutput, ...] = ()
    settled: SegOutput | None = None
    extras: Mapping[str, SegOutput] = field(default_factory=dict)
    exits: tuple[ExitCells, ...] = ()

    @property
    def sizes(self) -> tuple[Size, Size]:
        """`input_size` and `padded_size`, as outputs take them."""
        return self.input_size, self.padded_size

    @property
    def deepest(self) -> GridCover:
        """The grid of the deepest tap, and the pixels that it covers."""
        return self.cover or GridCover(spatial_size(self.maps[-1]), self.padded_size)

    @property
    def alive(self) -> AliveTokens:
        """The tokens of the deepest tap."""
        if self.ragged:
            return AliveTokens(self.ragged[-1], self.input_size, self.deepest)
        return AliveTokens(packed_map(self.maps[-1]), self.input_size, self.deepest)

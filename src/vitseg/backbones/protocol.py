"""The contracts through which everything else touches a backbone."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vitseg.backbones.positions import TokenPositions
from vitseg.types import Features, Size


@runtime_checkable
class Backbone(Protocol):
    """What plain ViTs and pyramids have in common."""

    @property
    def channels(self) -> tuple[int, ...]:
        """Width of each returned map, shallow to deep."""
        ...

    def __call__(self, images: Float[Tensor, "b 3 H W"]) -> Features:
        """Images to feature maps."""
        ...


@runtime_checkable
class PlainBlock(Protocol):
    """One transformer block that can be run on any subset of the tokens."""

    def __call__(
        self,
        x: Float[Tensor, "b n c"],
        positions: TokenPositions,
        query_index: Int[Tensor, "*b m"] | None = None,
        queries: Float[Tensor, "b m c"] | None = None,
        mask: Bool[Tensor, "b m n"] | None = None,
    ) -> Float[Tensor, "b m c"]:
        """Run the block.

        Args:
            x: Tokens; they are the keys and values.
            positions: Where these tokens stand; its subset is that of `x`.
            query_index: Rows of `x` that are the queries and the residual stream (one list for the batch or one per
                image). None: every token. With fewer queries than keys only those rows come out, and
                `positions.select(query_index)` are their positions.
            queries: What takes the place of those rows as queries and residual stream; its tokens stand on their
                positions.
            mask: Whether a query may attend to a token; None: to all. Not of packed tokens.
        """
        ...


@runtime_checkable
class PlainBackbone(Protocol):
    """A plain ViT. A method may call it whole, or drive `embed`, `blocks` and `norm` itself."""

    embed_dim: int
    patch_size: Size
    num_prefix_tokens: int
    blocks: nn.ModuleList
    """Of `PlainBlock`."""
    norm: nn.Module

    def embed(
        self, images: Float[Tensor, "b 3 H W"]
    ) -> tuple[Float[Tensor, "b n c"], TokenPositions]:
        """Pad, embed patches, add positions and prefix tokens: what block 0 receives."""
        ...

    def __call__(self, images: Float[Tensor, "b 3 H W"]) -> Features:
        """Images to the tapped features."""
        ...

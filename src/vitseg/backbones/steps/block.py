"""The steps of every plain ViT: its blocks, and the taps behind some of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from vitseg.backbones.stream import TokenStream
from vitseg.layers.checkpointing import run_block

if TYPE_CHECKING:
    from vitseg.backbones.vit import PlainViT


class RunBlock:
    """Runs a block on all tokens, or as an earlier step has asked; in training by gradient checkpointing if configured.

    Args:
        vit: The backbone.
        index: 0-based index of the block, looked up in every run.
    """

    def __init__(self, vit: PlainViT, index: int):
        self.vit = vit
        self.index = index

    def __call__(self, stream: TokenStream) -> TokenStream:
        """The stream behind the block; what was asked of this block alone is done with."""
        block, positions = self.vit.blocks[self.index], stream.positions
        recompute = self.vit.config.gradient_checkpointing and block.training
        asked = (stream.rows, stream.asking, stream.mask)
        x = run_block(block, stream.x, positions, *asked, recompute=recompute)
        if stream.rows is not None:
            positions = positions.select(stream.rows)
        return replace(stream, x=x, positions=positions, rows=None, asking=None, mask=None)


class Tap:
    """Reads the tokens, behind the final norm where `tap_norm` asks for it."""

    def __init__(self, vit: PlainViT):
        self.vit = vit

    def __call__(self, stream: TokenStream) -> TokenStream:
        """The stream with one more map, or ragged tokens."""
        return stream.tapped(self.vit.norm(stream.x))

"""Layer-wise decay of the learning rate: the deeper a block, the nearer its rate to the optimiser's.

Source: ELECTRA (ICLR 2020), as BEiT (ICLR 2022) has it for ViTs: of L blocks, block i has decay^(L - i), and patches,
tokens and positions in front of them decay^(L + 1); what stands behind the blocks, such as the final norm, has 1.
"""

from __future__ import annotations

from collections.abc import Mapping

from vitseg.errors import ConfigError
from vitseg.methods.model import SegmentationModel
from vitseg.training.encoder import blocks_of


def layer_scales(model: SegmentationModel, decay: float) -> dict[str, float]:
    """The rates over the optimiser's, by the beginnings of the names of their parameters.

    A Swin's blocks are counted through all stages; a merging of patches has the rate of the block that it feeds.

    Args:
        model: Whose backbone learns at them; blocks are those that it has, up to its deepest tap.
        decay: Rate of a block over that of the next deeper one.

    Raises:
        ConfigError: The backbone is neither a plain ViT nor a Swin, or no block is trained.
    """
    found = blocks_of(model)
    if found is None:
        raise ConfigError(
            "optimizer.layer_decay is for the blocks of plain ViTs and of Swin, but the backbone is of another kind: "
            "leave it out."
        )
    depth = len(found.blocks)
    if not any(p.requires_grad for block in found.blocks.values() for p in block.parameters()):
        raise ConfigError(
            "optimizer.layer_decay says how fast the backbone's blocks learn, but none is trained: leave it out."
        )
    of_blocks = {start: decay ** (depth - index) for index, start in enumerate(found.blocks)}
    of_merging = {start: decay ** (depth - index) for start, index in found.between.items()}
    return {**of_blocks, **of_merging, **dict.fromkeys(found.front, decay ** (depth + 1))}


def scale_of(name: str, scales: Mapping[str, float]) -> float:
    """That of one parameter; 1 where none of the beginnings fits."""
    return next((scale for start, scale in scales.items() if name.startswith(start)), 1.0)

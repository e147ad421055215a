"""What a family of plain ViTs is to us: a class of timm, and how its parts become ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import nn

from vitseg.backbones.blocks import ViTBlock
from vitseg.backbones.positions import Rope
from vitseg.types import Size


class Embeddings(NamedTuple):
    """What stands in front of the blocks, beside the patches.

    Attributes:
        cls_token: (1, 1, c), where there is one; the tokens run in this order.
        dist_token: Likewise.
        reg_token: (1, n, c), likewise.
        pos_embed: (1, n, c) absolute position embeddings, of the prefix tokens first, where these have some.
        norm_pre: Runs behind them.
        rope: Makes the rotary table of a grid.
        prefix_has_pos_embed: Whether `pos_embed` has entries for the prefix tokens.
    """

    cls_token: nn.Parameter | None
    dist_token: nn.Parameter | None
    reg_token: nn.Parameter | None
    pos_embed: nn.Parameter | None
    norm_pre: nn.Module
    rope: Rope | None
    prefix_has_pos_embed: bool


@dataclass(frozen=True)
class Family:
    """A family of plain ViTs.

    Attributes:
        timm_class: timm's class.
        timm_module: The module of timm that makes it.
        options: What timm's constructor is told.
        adopt_block: (block, native token grid, drop-path rate) to a block of ours over the same parameters; None: the
            block is of a kind that we do not run (post-norm, parallel, differential, ...).
        embeddings: (model, timm name) to its embeddings; raises ConfigError where we do not run them.
    """

    timm_class: type[nn.Module]
    timm_module: str
    options: Mapping[str, Any]
    adopt_block: Callable[[nn.Module, Size, float], ViTBlock | None]
    embeddings: Callable[[nn.Module, str], Embeddings]

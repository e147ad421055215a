"""Dynamic token pruning: a plain ViT whose tokens leave as soon as a head is sure of them.

Source: DToP (ICCV 2023), section 3; thesis section 5.2. The heads are not the backbone's: at every exit it asks its
reader for the class probabilities of the tokens that are left, and drops some by a rule (`PruningConfig`). The tokens
of all images run as one packed sequence from then on: linear layers once over all, attention within an image. The
reference runs image by image instead.

With several images none waits for another: an image that keeps all its tokens is packed as well, once any other has
lost one. While nobody has lost one, nothing is packed.

Our choices, where neither text nor code says anything: prefix tokens never leave; the means of rule "average" are
tokens without a place, which stay to the end, are attended to and are read by no head; a symmetric rule halves the grid
behind the only exit, and an odd grid is padded with zeros ("conv"), loses nothing ("nearest") or averages what there is
("average_pool").
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from vitseg.backbones.blocks import ViTBlock
from vitseg.backbones.plain_vit import PlainViT
from vitseg.backbones.positions import TokenPositions, grid_tokens
from vitseg.backbones.pruning import PruningConfig, leaving_tokens
from vitseg.errors import ConfigError
from vitseg.layers.ragged import RaggedTokens, images_of
from vitseg.types import Size, spatial_size


@dataclass(frozen=True)
class AliveTokens:
    """The tokens that are left at some depth.

    Attributes:
        tokens: Those of the grid, of all images, in the order of their cells.
        grid: Token grid that the cells count.
        input_size: Of the images.
        padded_size: Pixels that the grid covers.
    """

    tokens: RaggedTokens
    grid: Size
    input_size: Size
    padded_size: Size


ExitReader = Callable[[int, AliveTokens], Float[Tensor, "n k"]]
"""(number of the exit, the tokens left) to the probabilities by which tokens leave."""


class PrunedViT(nn.Module):
    """A plain ViT with exits behind all its taps but the last.

    Args:
        vit: The backbone.
        config: See `PruningConfig`.

    Raises:
        ConfigError: There is no exit, or the rule does not fit the backbone.
    """

    def __init__(self, vit: PlainViT, config: PruningConfig):
        super().__init__()
        taps = list(vit.config.taps)
        if len(taps) < 2:
            raise ConfigError(
                f"backbone.taps {taps} leave no exit: name the blocks behind which tokens may leave, and then the one "
                "that the last head reads."
            )
        if config.is_symmetric and len(taps) != 2:
            raise ConfigError(
                f"pruning.rule {config.rule} halves the grid once, but backbone.taps {taps} have {len(taps) - 1} "
                "exits: name two blocks."
            )
        require_known_exits(config, len(taps) - 1)
        knows_positions = vit.rope is not None or any(
            cast(ViTBlock, block).attn.has_bias for block in vit.blocks
        )
        if config.rule == "average" and knows_positions:
            raise ConfigError(
                f"pruning.rule average makes tokens that stand nowhere, but the attention of {vit.config.name} asks "
                "where its tokens stand: choose another rule, or a ViT with absolute positions."
            )
        self.vit = vit
        self.config = config
        self.conv = nn.Conv2d(vit.embed_dim, vit.embed_dim, 2, 2) if config.rule == "conv" else None
        self.embed_dim = vit.embed_dim
        self.patch_size = vit.patch_size
        self.channels = vit.channels

    def forward(self, images: Float[Tensor, "b 3 H W"], read: ExitReader | None) -> AliveTokens:
        """What is left behind the last block.

        Args:
            images: Normalised images of any height and width.
            read: Called at every exit, in evaluation only where tokens can leave; None: nobody leaves.
        """
        x, positions = self.vit.embed(images)
        exits = {block: number for number, block in enumerate(self.vit.config.taps[:-1])}
        halvings = 0
        for index, block in enumerate(self.vit.blocks):
            x = self.vit.run(block, x, positions)
            if index not in exits:
                continue
            may_leave = self.config.acts_at(exits[index])
            if read is not None and (may_leave or self.training):
                alive = self._alive(x, positions, images, halvings)
                probs = read(exits[index], alive)
                if may_leave:
                    x, positions = self._pruned(x, positions, probs, alive.tokens.lengths)
            if self.config.is_symmetric:
                x, positions = self._halved(x, positions)
                halvings += 1
        return self._alive(x, positions, images, halvings)

    def _alive(
        self, x: Tensor, positions: TokenPositions, images: Tensor, halvings: int
    ) -> AliveTokens:
        x = self.vit.norm(x)
        if positions.lengths is None:
            batch = len(x)
            cells = torch.arange(positions.grid[0] * positions.grid[1], device=x.device)
            tokens = x[:, positions.num_prefix_tokens :].flatten(0, 1)
            alive = RaggedTokens(tokens, cells.repeat(batch), (len(cells),) * batch)
        else:
            alive = grid_tokens(x, positions)
        height, width = self.vit.padded_size(positions.grid)
        padded_size = (height << halvings, width << halvings)
        return AliveTokens(alive, positions.grid, spatial_size(images), padded_size)

    def _pruned(
        self,
        x: Tensor,
        positions: TokenPositions,
        probs: Float[Tensor, "n k"],
        lengths: tuple[int, ...],
    ) -> tuple[Tensor, TokenPositions]:
        """The tokens that stay; as they came where all do.

        Args:
            x: All tokens.
            positions: Where they stand.
            probs: Class probabilities of those on the grid.
            lengths: Those of each image.
        """
        batch = len(x)
        packed = positions
        if positions.lengths is None:
            packed = positions.packed(batch, x.device)
        assert packed.index is not None
        on_grid = packed.index >= packed.num_prefix_tokens
        leaves, classes = leaving_tokens(probs.detach(), lengths, self.config)
        if not leaves.any():
            return x, positions
        stays = torch.ones_like(on_grid)
        stays[on_grid] = ~leaves
        rows = stays.nonzero()[:, 0]
        x = x.flatten(0, 1)[None]  # (1, n, c)
        kept = x[:, rows], packed.select(rows)
        if self.config.rule != "average":
            return kept
        gone = x[0][on_grid][leaves]
        groups = (images_of(lengths, x.device) * probs.shape[1] + classes)[leaves]
        return _with_means(*kept, gone, groups, probs.shape[1])

    def _halved(self, x: Tensor, positions: TokenPositions) -> tuple[Tensor, TokenPositions]:
        """The tokens on half the grid, rounded up, each at the place of its top-left one."""
        prefix = positions.num_prefix_tokens
        grid = self.vit.as_map(x, positions)
        height, width = positions.grid
        if self.conv is not None:
            grid = self.conv(F.pad(grid, (0, width % 2, 0, height % 2)))
        elif self.config.rule == "average_pool":
            grid = F.avg_pool2d(grid, 2, ceil_mode=True, count_include_pad=False)
        else:
            grid = grid[..., ::2, ::2]
        half = spatial_size(grid)
        x = torch.cat([x[:, :prefix], grid.flatten(2).transpose(1, 2)], dim=1)
        rotary = positions.rotary
        if rotary is not None:
            cells = torch.arange(height * width, device=x.device).view(height, width)[::2, ::2]
            rotary = torch.cat([rotary[:prefix], rotary[prefix:][cells.flatten()]])
        return x, replace(positions, grid=half, rotary=rotary)


def require_known_exits(config: PruningConfig, num_exits: int) -> None:
    """Raise ConfigError unless a ViT with this many exits has all that are named."""
    if config.exits is not None and config.exits[-1] >= num_exits:
        raise ConfigError(
            f"pruning.exits {list(config.exits)} goes past the depth: backbone.taps make {num_exits} exits, numbered "
            f"from 0 to {num_exits - 1}."
        )


def _with_means(
    x: Float[Tensor, "1 n c"],
    positions: TokenPositions,
    gone: Float[Tensor, "m c"],
    groups: Int[Tensor, " m"],
    num_classes: int,
) -> tuple[Float[Tensor, "1 _ c"], TokenPositions]:
    """Packed tokens, and behind those of each image the means of what left it, by class.

    Args:
        x: The tokens that stay.
        positions: Where they stand.
        gone: The tokens that leave.
        groups: Image times `num_classes` plus class of each of them.
        num_classes: Classes.
    """
    assert positions.index is not None and positions.lengths is not None
    names, group = groups.unique(return_inverse=True)
    sums = gone.new_zeros(len(names), gone.shape[1]).index_add_(0, group, gone)
    means = sums / group.bincount()[:, None]
    images = torch.cat([images_of(positions.lengths, x.device), names // num_classes])
    order = images.argsort(stable=True)
    index = torch.cat([positions.index, names.new_full(names.shape, -1)])[order]
    lengths = tuple(images.bincount(minlength=len(positions.lengths)).tolist())
    x = torch.cat([x[0], means])[order][None]
    return x, replace(positions, index=index, lengths=lengths, has_strays=True)

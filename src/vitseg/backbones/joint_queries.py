"""A plain ViT whose last blocks take queries beside the tokens.

Source: EoMT (CVPR 2025), section 3: learned queries are concatenated to the tokens in front of the last blocks and go
through them like tokens. No reference code was used; what the text leaves open is said where it is decided.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vitseg.backbones.plain_vit import PlainViT
from vitseg.backbones.positions import TokenPositions, with_unrotated_prefix
from vitseg.errors import ConfigError
from vitseg.types import Size, spatial_size


@dataclass(frozen=True)
class JointTokens:
    """What queries and patches are at some depth, behind the backbone's final norm.

    Attributes:
        queries: The queries.
        patches: The patches as a map over `padded_size`.
        input_size: Of the images.
        padded_size: Of the images padded to whole patches.
    """

    queries: Float[Tensor, "b q c"]
    patches: Float[Tensor, "b c h w"]
    input_size: Size
    padded_size: Size


Reader = Callable[[int, JointTokens], Bool[Tensor, "b q n"] | None]
"""(number of a joint block, the tokens in front of it) to the patches that each query may attend to; None: all."""


class JointQueryViT(nn.Module):
    """Runs the last blocks of a ViT on its tokens and on queries together.

    Queries stand where no patch does, as prefix tokens do: rotary positions do not turn them, and BEiT's relative bias
    treats them as class tokens.

    Args:
        vit: The ViT; its final norm is applied wherever tokens are read.
        num_blocks: Blocks, the last ones, that take queries.

    Raises:
        ConfigError: The ViT has fewer blocks.
    """

    def __init__(self, vit: PlainViT, num_blocks: int):
        super().__init__()
        if num_blocks > len(vit.blocks):
            raise ConfigError(
                f"decoder.num_blocks is {num_blocks}, but the backbone has {len(vit.blocks)} blocks up to its tap: "
                "choose no more than these."
            )
        self.vit = vit
        self.first_joint = len(vit.blocks) - num_blocks

    def forward(
        self,
        images: Float[Tensor, "b 3 H W"],
        queries: Float[Tensor, "q c"],
        read: Reader | None = None,
    ) -> JointTokens:
        """Queries and patches after the last block.

        Args:
            images: Normalised images of any height and width.
            queries: The same for every image.
            read: Called in front of every joint block; it says what the queries may attend to there.
        """
        x, positions = self.vit.embed(images)
        for block in self.vit.blocks[: self.first_joint]:
            x = self.vit.run(block, x, positions)
        x = torch.cat([queries.to(x.dtype).expand(len(x), -1, -1), x], dim=1)
        positions = _with_queries(positions, len(queries))
        for number, block in enumerate(self.vit.blocks[self.first_joint :]):
            mask = None
            if read is not None:
                allowed = read(number, self._joint_tokens(x, positions, len(queries), images))
                mask = None if allowed is None else _joint_mask(allowed, positions)
            x = self.vit.run(block, x, positions, None, None, mask)
        return self._joint_tokens(x, positions, len(queries), images)

    def _joint_tokens(
        self, x: Tensor, positions: TokenPositions, num_queries: int, images: Tensor
    ) -> JointTokens:
        x = self.vit.norm(x)
        patches = self.vit.as_map(x, positions)
        padded_size = self.vit.padded_size(positions.grid)
        return JointTokens(x[:, :num_queries], patches, spatial_size(images), padded_size)


def _with_queries(positions: TokenPositions, num_queries: int) -> TokenPositions:
    """Positions of the sequence with queries in front."""
    rotary = positions.rotary
    return replace(
        positions,
        num_prefix_tokens=positions.num_prefix_tokens + num_queries,
        rotary=None if rotary is None else with_unrotated_prefix(rotary, num_queries),
    )


def _joint_mask(allowed: Bool[Tensor, "b q n"], positions: TokenPositions) -> Bool[Tensor, "b m m"]:
    """Who may attend to whom in the whole sequence: only from queries to patches is anything forbidden.

    The prefix tokens and the other queries stay open to a query, so that one whose mask is empty still sees something.
    """
    batch, num_queries, num_patches = allowed.shape
    length = positions.num_prefix_tokens + num_patches
    mask = torch.ones(batch, length, length, dtype=torch.bool, device=allowed.device)
    mask[:, :num_queries, positions.num_prefix_tokens :] = allowed
    return mask

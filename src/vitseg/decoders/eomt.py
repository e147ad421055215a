"""EoMT's mask module: queries that went through the backbone's last blocks to classes and masks.

Source: EoMT (CVPR 2025), section 3. There is no transformer decoder and no pixel decoder: a linear layer gives a
query's class, an MLP of three layers what its mask is the product with, and the patches are brought to a quarter of the
image by transposed convolutions. No reference code was used; choices of ours are said where they are made.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from pydantic import BaseModel, ConfigDict, Field
from timm.layers import LayerNorm2d
from torch import Tensor, nn

from vitseg.backbones.steps.joint_queries import JointTokens
from vitseg.features import Features
from vitseg.layers.progress import TrainingProgress
from vitseg.layers.resize import resize_map
from vitseg.outputs import MixedMasks, QueryMasks, SegOutput
from vitseg.types import Size, spatial_size

TARGET_STRIDE = 4
"""Pixels per cell of the masks, as near as doublings of the token grid come to it."""

ANNEALING_POWER = 0.9


class EomtDecoderConfig(BaseModel):
    """Queries, and how many blocks they go through."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_queries: int = Field(
        default=100, ge=1, description="learned queries (the paper: 100 for semantic segmentation)"
    )
    num_blocks: int = Field(
        default=3,
        ge=1,
        description="last blocks of the backbone that take the queries (the paper: 3 of ViT-S and B, 4 of L, 5 of g)",
    )


class JointDecoder(nn.Module):
    """Class and mask of every query that went through the last blocks beside the patches.

    In training there is a prediction in front of every joint block, too, named "block_0" and so on: it is supervised,
    and with `masked_attention` the queries attend to the patches of their predicted masks alone, with a probability
    that falls to 0.

    Args:
        embed_dim: Width of the backbone's tokens.
        num_queries: Learned queries.
        num_logits: Class logits of a query.
        num_blocks: Joint blocks.
        doublings: How often the patches' resolution is doubled before the masks are the products with them.
        masked_attention: Whether queries are held to their masks in training.
    """

    reading: type[QueryMasks] = MixedMasks

    def __init__(
        self,
        embed_dim: int,
        num_queries: int,
        num_logits: int,
        num_blocks: int,
        doublings: int,
        masked_attention: bool,
    ):
        super().__init__()
        self.num_blocks = num_blocks
        self.masked_attention = masked_attention
        self.query_embed = nn.Embedding(num_queries, embed_dim)
        self.class_embed = nn.Linear(embed_dim, num_logits)
        self.mask_embed = nn.Sequential(
            nn.Linear(embed_dim, embed_dim),
            nn.GELU(),
            nn.Linear(embed_dim, embed_dim),
            nn.GELU(),
            nn.Linear(embed_dim, embed_dim),
        )
        self.upscale = nn.Sequential(*(Doubling(embed_dim) for _ in range(doublings)))
        self.masking = MaskAnnealing(num_blocks)

    def forward(self, features: Features) -> QueryMasks:
        """Classes and masks of the queries and patches behind the last block."""
        assert features.queries is not None
        tokens = JointTokens(features.queries, features.maps[-1], *features.sizes)
        return self.predict(tokens)

    def predict(self, tokens: JointTokens) -> QueryMasks:
        """Classes and masks."""
        pixels = self.upscale(tokens.patches)
        masks = torch.einsum("bqc,bchw->bqhw", self.mask_embed(tokens.queries), pixels)
        class_logits = self.class_embed(tokens.queries)
        return self.reading(masks, tokens.input_size, tokens.padded_size, class_logits=class_logits)

    def queries(self) -> Float[Tensor, "q c"]:
        return self.query_embed.weight

    def read(
        self, number: int, tokens: JointTokens
    ) -> tuple[QueryMasks, Bool[Tensor, "b q n"] | None]:
        """See `vitseg.backbones.steps.joint_queries.JointHead`."""
        output = replace(self.predict(tokens), name=f"block_{number}")
        if not self.masked_attention or not self.masking.is_on[number]:
            return output, None
        probability = self.masking.probabilities[number]
        return output, masked_patches(output, spatial_size(tokens.patches), probability)


class EomtDecoder(JointDecoder):
    """EoMT's: queries that classes are matched with, and masks at about a quarter of the image.

    Args:
        embed_dim: Width of the backbone's tokens.
        patch_size: (height, width) of a patch in pixels.
        num_classes: Classes.
        config: See `EomtDecoderConfig`.
    """

    def __init__(
        self, embed_dim: int, patch_size: Size, num_classes: int, config: EomtDecoderConfig
    ):
        doublings = max(0, round(math.log2(min(patch_size) / TARGET_STRIDE)))
        super().__init__(
            embed_dim,
            config.num_queries,
            num_classes + 1,
            config.num_blocks,
            doublings,
            masked_attention=True,
        )


class Doubling(nn.Module):
    """Twice the resolution: transposed convolution, GELU, depthwise 3 x 3 convolution, LayerNorm over the channels."""

    def __init__(self, width: int):
        super().__init__()
        self.up = nn.ConvTranspose2d(width, width, kernel_size=2, stride=2)
        self.act = nn.GELU()
        self.conv = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
        self.norm = LayerNorm2d(width)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c _ _"]:
        """Run it."""
        return self.norm(self.conv(self.act(self.up(x))))


class MaskAnnealing(TrainingProgress):
    """With which probability the queries of each joint block are held to their masks, see `masking_probability`.

    The probabilities are a tensor, so that a compiled step takes them as they come: it is compiled anew only where a
    block begins to need no masks.

    Attributes:
        probabilities: Of every joint block.
        is_on: Whether that of a block is above 0.
    """

    probabilities: Float[Tensor, " blocks"]

    def __init__(self, num_blocks: int):
        super().__init__()
        self.register_buffer("probabilities", torch.ones(num_blocks), persistent=False)
        self.is_on = (True,) * num_blocks

    def hear(self, fraction: float) -> None:
        super().hear(fraction)
        count = len(self.is_on)
        values = [masking_probability(block, count, fraction) for block in range(count)]
        self.probabilities.copy_(torch.tensor(values))
        self.is_on = tuple(value > 0 for value in values)


@torch.no_grad()
def masked_patches(
    output: SegOutput, grid: Size, probability: float | Float[Tensor, ""]
) -> Bool[Tensor, "b q n"]:
    """Patches that queries may attend to in training: those of their masks, or all.

    Args:
        output: The prediction in front of a block.
        grid: Of the patches.
        probability: That a query is held to its mask, drawn for each anew.
    """
    in_mask = resize_map(output.mask_logits.float(), grid).flatten(2) > 0  # (b, q, n)
    is_free = torch.rand(in_mask.shape[:2], device=in_mask.device) >= probability
    return in_mask | is_free[..., None]


def masking_probability(block: int, num_blocks: int, fraction: float) -> float:
    """The share of queries that are held to their masks (section 3, "mask annealing").

    It falls from 1 to 0 as (1 - t)^0.9, in one block after the other, so that the finished model needs no masks. The
    times are our choice: the training is cut into num_blocks + 2 equal parts; block i falls in part i + 1, and in the
    last part none has masks.

    Args:
        block: Number of the joint block, from 0.
        num_blocks: Joint blocks.
        fraction: Of the training that is over, in [0, 1].
    """
    t = fraction * (num_blocks + 2) - (block + 1)
    return (1 - min(max(t, 0.0), 1.0)) ** ANNEALING_POWER

"""Transformer blocks of the ViT families: timm's parameters, our forward pass.

timm's own blocks run every token against every token. Ours take the same submodules, under the same parameter names,
and can also run with fewer queries than keys and on any subset of the tokens.
"""

from __future__ import annotations

from jaxtyping import Bool, Float, Int
from timm.layers.attention import Attention, AttentionRope
from timm.models.beit import Beit
from timm.models.beit import Block as TimmBeitBlock
from timm.models.eva import Eva, EvaAttention, EvaBlock
from timm.models.vision_transformer import Block as TimmViTBlock
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from vitseg.backbones.attention import (
    BeitSelfAttention,
    EvaSelfAttention,
    SelfAttention,
    SplitEvaSelfAttention,
    ViTAttention,
)
from vitseg.backbones.positions import TokenPositions
from vitseg.errors import ConfigError
from vitseg.layers.drop_path import DropPath
from vitseg.layers.tokens import take_tokens
from vitseg.types import Size

TimmViT = VisionTransformer | Beit | Eva


class ViTBlock(nn.Module):
    """Pre-norm block: x + attention(norm1(x)), then x + mlp(norm2(x)), with optional layer scale.

    Drop path acts on the MLP branch only, as in the published SegViT training.
    """

    def __init__(
        self,
        norm1: nn.Module,
        attn: SelfAttention,
        norm2: nn.Module,
        mlp: nn.Module,
        drop_path: float,
    ):
        super().__init__()
        self.norm1 = norm1
        self.attn = attn
        self.norm2 = norm2
        self.mlp = mlp
        self.drop_path = DropPath(drop_path)

    def scale_attention(self, x: Tensor) -> Tensor:
        """Layer scale of the attention branch."""
        return x

    def scale_mlp(self, x: Tensor) -> Tensor:
        """Layer scale of the MLP branch."""
        return x

    def forward(
        self,
        x: Float[Tensor, "b n c"],
        positions: TokenPositions,
        query_index: Int[Tensor, "*b m"] | None = None,
        queries: Float[Tensor, "b m c"] | None = None,
        mask: Bool[Tensor, "b m n"] | None = None,
    ) -> Float[Tensor, "b m c"]:
        """See `PlainBlock`: the rows `query_index` of `x`, updated by attention to all of `x`."""
        normed = None if queries is None else self.norm1(queries)
        attended = self.attn(self.norm1(x), positions, query_index, normed, mask)
        attended = self.scale_attention(attended)
        lengths = positions.lengths
        if query_index is not None:
            x = take_tokens(x, query_index) if queries is None else queries
            lengths = positions.select(query_index).lengths
        x = x + attended
        return x + self.drop_path(self.scale_mlp(self.mlp(self.norm2(x))), lengths)


class LayerScaleModuleBlock(ViTBlock):
    """Blocks of timm's `VisionTransformer`: layer scale in submodules `ls1`, `ls2`."""

    def __init__(self, block: TimmViTBlock, attn: SelfAttention, drop_path: float):
        super().__init__(block.norm1, attn, block.norm2, block.mlp, drop_path)
        self.ls1, self.ls2 = block.ls1, block.ls2

    def scale_attention(self, x):
        return self.ls1(x)

    def scale_mlp(self, x):
        return self.ls2(x)


class LayerScaleParameterBlock(ViTBlock):
    """Blocks of timm's `Beit` and `Eva`: layer scale in parameters `gamma_1`, `gamma_2`."""

    def __init__(self, block: TimmBeitBlock | EvaBlock, attn: SelfAttention, drop_path: float):
        super().__init__(block.norm1, attn, block.norm2, block.mlp, drop_path)
        self.gamma_1, self.gamma_2 = block.gamma_1, block.gamma_2

    def scale_attention(self, x):
        return x if self.gamma_1 is None else x * self.gamma_1

    def scale_mlp(self, x):
        return x if self.gamma_2 is None else x * self.gamma_2


def adopt_block(block: nn.Module, grid: Size, drop_path: float, name: str) -> ViTBlock:
    """Take over the parameters of one timm block.

    Args:
        block: The block of a timm model.
        grid: Native token grid of the model.
        drop_path: Drop-path rate of this block.
        name: timm name of the model, for the error.

    Raises:
        ConfigError: The block is of a kind that we do not run (post-norm, parallel, differential, ...).
    """
    attn = block.attn
    if type(block) is TimmViTBlock and isinstance(attn, (Attention, AttentionRope)):
        return LayerScaleModuleBlock(block, ViTAttention(attn), drop_path)
    if type(block) is TimmBeitBlock:
        return LayerScaleParameterBlock(block, BeitSelfAttention(block.attn, grid), drop_path)
    if type(block) is EvaBlock and isinstance(attn, EvaAttention):
        family = SplitEvaSelfAttention if attn.qkv is None else EvaSelfAttention
        return LayerScaleParameterBlock(block, family(attn), drop_path)
    if type(block) is EvaBlock and isinstance(attn, AttentionRope):
        return LayerScaleParameterBlock(block, ViTAttention(attn), drop_path)
    raise ConfigError(
        f"backbone {name} is built of {type(block).__name__} with {type(block.attn).__name__}, which vitseg does not "
        "run. Choose a pre-norm ViT: vit_*, deit*, beit*, eva02_* (DINOv2, DINOv3, SigLIP and CLIP among them)."
    )

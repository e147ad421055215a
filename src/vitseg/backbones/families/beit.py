"""timm's `Beit`: BEiT and BEiT-v2."""

from __future__ import annotations

from typing import cast

from timm.models.beit import Attention as BeitAttention
from timm.models.beit import Beit, Block
from torch import nn

from vitseg.backbones.attention import SelfAttention, without_key_bias
from vitseg.backbones.blocks import LayerScaleParameterBlock, ViTBlock
from vitseg.backbones.families.family import Embeddings, Family
from vitseg.backbones.positions import relative_bias
from vitseg.errors import ConfigError
from vitseg.types import Size


class BeitSelfAttention(SelfAttention):
    """BEiT and BEiT-v2: no key bias, a relative position bias in every block."""

    has_bias = True

    def __init__(self, attn: BeitAttention, grid: Size):
        super().__init__(attn.num_heads)
        if attn.relative_position_bias_table is None or attn.q_bias is None:
            raise ConfigError(
                "BEiT models are supported with a query bias and a relative position bias in every block"
            )
        self.table_grid = grid
        self.qkv = attn.qkv
        self.q_bias, self.v_bias = attn.q_bias, attn.v_bias
        self.relative_position_bias_table = attn.relative_position_bias_table
        self.proj = attn.proj

    def joint_projection(self):
        return self.qkv.weight, without_key_bias(self.q_bias, self.v_bias)

    def bias(self, queries, keys):
        return relative_bias(self.relative_position_bias_table, self.table_grid, queries, keys)


def adopt_block(block: nn.Module, grid: Size, drop_path: float) -> ViTBlock | None:
    """See `Family`."""
    if type(block) is Block:
        return LayerScaleParameterBlock(block, BeitSelfAttention(block.attn, grid), drop_path)
    return None


def embeddings(vit: nn.Module, name: str) -> Embeddings:
    """See `Family`."""
    vit = cast(Beit, vit)
    if vit.rel_pos_bias is not None:
        raise ConfigError(
            f"backbone {name} shares one relative position bias over all blocks, which vitseg does "
            "not run. Choose another ViT, for example beitv2_base_patch16_224."
        )
    return Embeddings(
        cls_token=vit.cls_token,
        dist_token=None,
        reg_token=None,
        pos_embed=vit.pos_embed,
        norm_pre=nn.Identity(),
        rope=None,
        prefix_has_pos_embed=True,
    )


BEIT = Family(
    Beit, "beit", {}, adopt_block, embeddings
)  # it has no switch for other sizes; ours takes any anyway

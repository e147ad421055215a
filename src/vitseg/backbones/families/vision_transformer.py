"""timm's `VisionTransformer`: AugReg, DeiT, DeiT-3, MAE, CLIP, SigLIP and SigLIP-2, DINOv2, TIPSv2."""

from __future__ import annotations

from typing import cast

from timm.layers.attention import Attention, AttentionRope
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import Block, VisionTransformer
from torch import nn

from vitseg.backbones.attention import SelfAttention
from vitseg.backbones.blocks import ViTBlock
from vitseg.backbones.families.family import Embeddings, Family
from vitseg.backbones.positions import rotate
from vitseg.errors import ConfigError
from vitseg.types import Size


class ViTAttention(SelfAttention):
    """timm's `Attention` (AugReg, DeiT, DeiT-3, MAE, CLIP, SigLIP, DINOv2) and its rotary kin, `AttentionRope`."""

    def __init__(self, attn: Attention | AttentionRope):
        super().__init__(attn.num_heads)
        if attn.qkv is None or attn.gate is not None:
            raise ConfigError(
                "gated attention and separate or grouped key projections are not supported here"
            )
        self.qkv = attn.qkv
        self.q_norm, self.k_norm, self.norm = attn.q_norm, attn.k_norm, attn.norm
        self.proj = attn.proj
        self.half_layout = isinstance(attn, AttentionRope) and attn.rotate_half

    def joint_projection(self):
        return self.qkv.weight, self.qkv.bias

    def prepare(self, q, k, queries, keys):
        q, k = self.q_norm(q), self.k_norm(k)
        return rotate(q, queries, self.half_layout), rotate(k, keys, self.half_layout)

    def finish(self, x):
        return self.proj(self.norm(x))


class LayerScaleModuleBlock(ViTBlock):
    """Blocks of timm's `VisionTransformer`: layer scale in submodules `ls1`, `ls2`."""

    def __init__(self, block: Block, attn: SelfAttention, drop_path: float):
        super().__init__(block.norm1, attn, block.norm2, block.mlp, drop_path)
        self.ls1, self.ls2 = block.ls1, block.ls2

    def scale_attention(self, x):
        return self.ls1(x)

    def scale_mlp(self, x):
        return self.ls2(x)


def adopt_block(block: nn.Module, grid: Size, drop_path: float) -> ViTBlock | None:
    """See `Family`."""
    del grid
    if type(block) is Block and isinstance(block.attn, (Attention, AttentionRope)):
        return LayerScaleModuleBlock(block, ViTAttention(block.attn), drop_path)
    return None


def embeddings(vit: nn.Module, name: str) -> Embeddings:
    """See `Family`."""
    del name
    vit = cast(VisionTransformer, vit)
    return Embeddings(
        cls_token=vit.cls_token,
        dist_token=vit.dist_token if isinstance(vit, VisionTransformerDistilled) else None,
        reg_token=vit.reg_token,
        pos_embed=vit.pos_embed,
        norm_pre=vit.norm_pre,
        rope=None,
        prefix_has_pos_embed=not vit.no_embed_class,
    )


VISION_TRANSFORMER = Family(
    VisionTransformer, "vision_transformer", {"dynamic_img_size": True}, adopt_block, embeddings
)

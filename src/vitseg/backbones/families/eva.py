"""timm's `Eva`: EVA-02, DINOv3, LingBot-Vision and the Perception Encoders."""

from __future__ import annotations

from typing import cast

import torch
from timm.layers.attention import AttentionRope
from timm.layers.pos_embed_sincos import RotaryEmbeddingCat, RotaryEmbeddingDinoV3
from timm.models.eva import Eva, EvaAttention, EvaBlock
from torch import nn

from vitseg.backbones.attention import SelfAttention, without_key_bias
from vitseg.backbones.blocks import LayerScaleParameterBlock, ViTBlock
from vitseg.backbones.families.family import Embeddings, Family
from vitseg.backbones.families.vision_transformer import ViTAttention
from vitseg.backbones.positions import rotate
from vitseg.errors import ConfigError
from vitseg.types import Size


class EvaSelfAttention(SelfAttention):
    """EVA-02 and DINOv3: rotary positions, no key bias; the joint projection is one matrix."""

    def __init__(self, attn: EvaAttention):
        super().__init__(attn.num_heads)
        if attn.gate is not None:
            raise ConfigError("gated attention is not supported here")
        self.half_layout = attn.rotate_half
        self.q_norm, self.k_norm, self.norm = attn.q_norm, attn.k_norm, attn.norm
        self.proj = attn.proj
        self._adopt_projection(attn)

    def _adopt_projection(self, attn: EvaAttention) -> None:
        assert attn.qkv is not None
        self.qkv = attn.qkv
        self.q_bias, self.v_bias = attn.q_bias, attn.v_bias

    def joint_projection(self):
        return self.qkv.weight, without_key_bias(self.q_bias, self.v_bias)

    def prepare(self, q, k, queries, keys):
        q, k = self.q_norm(q), self.k_norm(k)
        return rotate(q, queries, self.half_layout), rotate(k, keys, self.half_layout)

    def finish(self, x):
        return self.proj(self.norm(x))


class SplitEvaSelfAttention(EvaSelfAttention):
    """EVA-02's larger models: queries, keys and values have a projection each."""

    def _adopt_projection(self, attn: EvaAttention) -> None:
        assert attn.q_proj is not None and attn.k_proj is not None and attn.v_proj is not None
        self.q_proj, self.k_proj, self.v_proj = attn.q_proj, attn.k_proj, attn.v_proj

    def joint_projection(self):
        weight = torch.cat([self.q_proj.weight, self.k_proj.weight, self.v_proj.weight])
        return weight, without_key_bias(self.q_proj.bias, self.v_proj.bias)


def adopt_block(block: nn.Module, grid: Size, drop_path: float) -> ViTBlock | None:
    """See `Family`."""
    del grid
    if type(block) is not EvaBlock:
        return None
    attn = block.attn
    if isinstance(attn, EvaAttention):
        adopted = (SplitEvaSelfAttention if attn.qkv is None else EvaSelfAttention)(attn)
    elif isinstance(attn, AttentionRope):
        adopted = ViTAttention(attn)
    else:
        return None
    return LayerScaleParameterBlock(block, adopted, drop_path)


def embeddings(vit: nn.Module, name: str) -> Embeddings:
    """See `Family`."""
    vit = cast(Eva, vit)
    if vit.rope is not None and not isinstance(
        vit.rope, (RotaryEmbeddingCat, RotaryEmbeddingDinoV3)
    ):
        raise ConfigError(
            f"backbone {name} has {type(vit.rope).__name__}, which vitseg does not run. Choose "
            "another ViT, for example vit_base_patch16_dinov3."
        )
    return Embeddings(
        cls_token=vit.cls_token,
        dist_token=None,
        reg_token=vit.reg_token,
        pos_embed=vit.pos_embed,
        norm_pre=cast(nn.Module, vit.norm_pre),
        rope=vit.rope,
        prefix_has_pos_embed=not vit.no_embed_class,
    )


EVA = Family(Eva, "eva", {"dynamic_img_size": True}, adopt_block, embeddings)

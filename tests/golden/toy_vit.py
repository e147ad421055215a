"""The ViT of SegViT's golden files, and their labels."""

from __future__ import annotations

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from vitseg.backbones import BackboneConfig, PlainViT
from vitseg.backbones.families.vision_transformer import VISION_TRANSFORMER
from vitseg.classes import IGNORE_INDEX


def toy_vit(taps: tuple[int, ...], image_size: int = 128) -> PlainViT:
    """Six blocks, 64 wide, four heads."""
    vit = VisionTransformer(
        img_size=image_size,
        embed_dim=64,
        depth=6,
        num_heads=4,
        num_classes=0,
        dynamic_img_size=True,
    )
    config = BackboneConfig(
        name="vit_toy",
        taps=taps,
        prefix_tokens="drop",
        pos_embed_interpolation="bicubic",
        pretrained=False,
    )
    return PlainViT(vit, VISION_TRANSFORMER, config)


def our_labels(labels: Tensor) -> Tensor:
    """The reference's labels, whose 255 is to be ignored, with our index for that."""
    return torch.where(labels == 255, IGNORE_INDEX, labels)

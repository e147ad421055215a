"""The toy SETR models of the golden files, with the references' weights loaded through the importers."""

from __future__ import annotations

from typing import Literal

from timm.models.vision_transformer import VisionTransformer

from tests.golden.reference import Golden
from vitseg.backbones import BackboneConfig, PlainViT
from vitseg.backbones.families.vision_transformer import VISION_TRANSFORMER
from vitseg.checkpoint.setr_mmseg import convert_setr_mmseg
from vitseg.checkpoint.setr_reference import convert_setr
from vitseg.decoders.setr import SetrHeadConfig
from vitseg.methods.model import SegmentationModel
from vitseg.methods.setr import SetrConfig

NUM_CLASSES = 7
CASES = {
    "setr_naive_tiny": SetrHeadConfig(kind="naive", auxiliary=(1, 3, 5)),
    "setr_pup_tiny": SetrHeadConfig(kind="pup", auxiliary=(1, 3, 5, 7)),
    "setr_mla_tiny": SetrHeadConfig(kind="mla", auxiliary=(1, 3, 5, 7)),
    "setr_mmseg_naive": SetrHeadConfig(
        kind="naive", form="mmsegmentation", auxiliary=(1, 3, 5), auxiliary_convs=2
    ),
}


def tiny_vit(prefix_tokens: Literal["keep", "drop"]) -> PlainViT:
    """The references' toy ViT: width 96, 8 blocks, 3 heads, images of 64."""
    vit = VisionTransformer(
        img_size=64, embed_dim=96, depth=8, num_heads=3, num_classes=0, dynamic_img_size=True
    )
    config = BackboneConfig(
        name="vit_toy",
        pretrained=False,
        taps=(1, 3, 5, 7),
        prefix_tokens=prefix_tokens,
        pos_embed_interpolation="bilinear",
    )
    return PlainViT(vit, VISION_TRANSFORMER, config)


def tiny_setr(golden: Golden, config: SetrHeadConfig) -> SegmentationModel:
    vit = tiny_vit("drop" if config.kind == "mla" else "keep")
    setr = SetrConfig(backbone=vit.config, decoder=config)
    model = setr.build_on(vit, NUM_CLASSES, (64, 64))
    state = golden.state_dict()
    is_mmseg = "backbone.layers.0.ln1.weight" in state
    model.load_state_dict((convert_setr_mmseg if is_mmseg else convert_setr)(state))
    return model.eval()

"""Image tensors to `Features`. Plain ViTs and pyramids with the weights and names of timm or transformers."""

from vitseg.backbones.config import AnyBackboneConfig, BackboneConfig, PyramidConfig
from vitseg.backbones.create import create_backbone
from vitseg.backbones.plain_vit import PlainViT
from vitseg.backbones.protocol import Backbone, PlainBackbone
from vitseg.backbones.pyramid import Pyramid
from vitseg.backbones.swin import Swin

__all__ = [
    "AnyBackboneConfig",
    "Backbone",
    "BackboneConfig",
    "PlainBackbone",
    "PlainViT",
    "Pyramid",
    "PyramidConfig",
    "Swin",
    "create_backbone",
]

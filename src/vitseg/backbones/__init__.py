"""Image tensors to `Features`. Plain ViTs and pyramids with the weights and names of timm or transformers."""

from vitseg.backbones.config import AnyBackboneConfig, BackboneConfig, PyramidConfig
from vitseg.backbones.create import create_backbone
from vitseg.backbones.pyramid import Pyramid
from vitseg.backbones.swin import Swin
from vitseg.backbones.vit import PlainViT

__all__ = [
    "AnyBackboneConfig",
    "BackboneConfig",
    "PlainViT",
    "Pyramid",
    "PyramidConfig",
    "Swin",
    "create_backbone",
]

"""Image tensors to `Features`. Plain ViTs with timm's weights and parameter names."""

from vitseg.backbones.config import BackboneConfig
from vitseg.backbones.create import create_backbone
from vitseg.backbones.plain_vit import PlainViT
from vitseg.backbones.protocol import PlainBackbone

__all__ = ["BackboneConfig", "PlainBackbone", "PlainViT", "create_backbone"]

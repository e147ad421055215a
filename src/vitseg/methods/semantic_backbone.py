"""A pyramid with SeMask's semantic layers, or without."""

from __future__ import annotations

from pydantic import BaseModel

from vitseg.backbones import PyramidConfig, Swin, create_backbone
from vitseg.backbones.pyramid import Pyramid
from vitseg.backbones.semantic_swin import SemanticLayersConfig, add_semantic_layers
from vitseg.config import given_fields
from vitseg.errors import ConfigError
from vitseg.types import Size


def create_semantic_backbone(
    config: PyramidConfig,
    semantic: SemanticLayersConfig | None,
    num_classes: int,
    image_size: Size,
    load_pretrained: bool,
    otherwise: str,
) -> Pyramid | Swin:
    """The backbone.

    Args:
        config: Its configuration.
        semantic: Its semantic layers; None: none.
        num_classes: Classes, of the semantic layers.
        image_size: Size of the training images in pixels.
        load_pretrained: False builds the architecture alone, for weights from a model directory.
        otherwise: What to do for another backbone than a Swin, for the error.

    Raises:
        ConfigError: Semantic layers are wanted, and the backbone is no Swin, or has no stage that they name.
    """
    backbone = create_backbone(config, image_size, load_pretrained)
    if semantic is not None:
        if not isinstance(backbone, Swin):
            raise ConfigError(
                f"SeMask's semantic layers are for the stages of a Swin, but backbone.name is {config.name}: "
                f"give a swin_*, or {otherwise}."
            )
        add_semantic_layers(backbone, semantic, num_classes)
    return backbone


def require_semantic(config: BaseModel, semantic: SemanticLayersConfig | None) -> None:
    """Raise ValueError if a recipe weighs semantic maps that it does not make."""
    if semantic is None and "semantic_weight" in given_fields(config):
        raise ValueError("semantic_weight belongs to semantic: set it, as {}, or leave both out")

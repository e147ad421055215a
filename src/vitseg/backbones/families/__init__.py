"""Families of plain ViTs, one a file."""

from timm.models.beit import Beit
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from vitseg.backbones.families.beit import BEIT
from vitseg.backbones.families.eva import EVA
from vitseg.backbones.families.family import Embeddings, Family
from vitseg.backbones.families.vision_transformer import VISION_TRANSFORMER

__all__ = ["FAMILIES", "Embeddings", "Family", "TimmViT", "family_of"]

TimmViT = VisionTransformer | Beit | Eva

FAMILIES: tuple[Family, ...] = (
    VISION_TRANSFORMER,
    EVA,
    BEIT,
)


def family_of(vit: nn.Module) -> Family | None:
    """The family of a model of timm; None: it is no plain ViT."""
    return next((family for family in FAMILIES if isinstance(vit, family.timm_class)), None)

"""One training step as a module: images, or features kept from earlier, to loss terms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from vitseg.backbones import PlainViT, Pyramid, Swin
from vitseg.methods.model import SegmentationModel
from vitseg.training.feature_cache import FeatureCache

ENCODERS = (PlainViT, Swin, Pyramid)
"""What starts from pretrained weights; a method may wrap one of them in layers of its own (SETR-MLA's neck)."""


def encoder_of(model: SegmentationModel) -> nn.Module:
    """The pretrained part of a model's backbone: all of it, unless a method wraps it."""
    (encoder,) = (part for part in model.backbone.modules() if isinstance(part, ENCODERS))
    return encoder


def pretrained_modules(encoder: nn.Module) -> Iterator[nn.Module]:
    """What of an encoder can be frozen: all modules but those that a method has put into it."""
    if isinstance(encoder, PlainViT) and not encoder.is_encoder:
        # It itself stays in training mode, by which exits and queries know that they are trained.
        return encoder.pretrained_modules()
    return iter((encoder,))


class LossOfModel(nn.Module):
    """Inputs and labels to loss terms: one module, so that distributed training sees the whole step.

    Args:
        model: The model.
        criterion: (SegOutput, labels) to weighted terms by name.
        freeze_backbone: Whether the encoder stays as it is: without gradients, and in evaluation mode, so that neither
            drop path nor the statistics of normalisations act. No gradient is then computed through it.

    Attributes:
        cache: Where the features come from; None: from the backbone.
    """

    def __init__(
        self, model: SegmentationModel, criterion: nn.Module, freeze_backbone: bool = False
    ):
        super().__init__()
        self.model = model
        self.criterion = criterion
        self.freeze_backbone = freeze_backbone
        self.cache: FeatureCache | None = None
        if freeze_backbone:
            for part in pretrained_modules(encoder_of(model)):
                part.requires_grad_(False)
            for parameter in encoder_of(model).parameters(recurse=False):
                parameter.requires_grad_(False)

    def train(self, mode: bool = True) -> LossOfModel:
        """As of every module, but a frozen encoder stays in evaluation mode."""
        super().train(mode)
        if self.freeze_backbone:
            for part in pretrained_modules(encoder_of(self.model)):
                part.eval()
        return self

    def forward(self, inputs: Tensor | Sequence[Tensor], labels: Tensor) -> dict[str, Tensor]:
        """Weighted loss terms by name.

        Args:
            inputs: (b, 3, H, W) images; with a cache, the maps that it holds of them.
            labels: (b, H, W).
        """
        if self.cache is None:
            return self.criterion(self.model(inputs), labels)
        assert not isinstance(inputs, Tensor)
        return self.criterion(self.model.decoder(self.cache.features(inputs)), labels)

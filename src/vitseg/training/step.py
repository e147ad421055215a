"""One training step as a module: images, or features kept from earlier, to loss terms."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float, Int
from torch import Tensor, nn

from vitseg.methods.model import SegmentationModel
from vitseg.training.encoder import encoder_of, freeze_pretrained, pretrained_modules
from vitseg.training.feature_cache import FeatureCache


class LossOfModel(nn.Module):
    """Inputs and labels to loss terms: one module, so that distributed training sees the whole step.

    Args:
        model: The model.
        criterion: (SegOutput, labels) to weighted terms by name.
        freeze_backbone: Whether what of the encoder is pretrained stays as it is: without gradients, and in evaluation
            mode, so that neither drop path nor the statistics of normalisations act. What starts afresh in it (the
            norms of a pyramid's levels, what a method adds) is trained.
    """

    def __init__(
        self, model: SegmentationModel, criterion: nn.Module, freeze_backbone: bool = False
    ):
        super().__init__()
        self.model = model
        self.criterion = criterion
        self.freeze_backbone = freeze_backbone
        if freeze_backbone:
            freeze_pretrained(model)

    def train(self, mode: bool = True) -> LossOfModel:
        """Set the mode of every part, but a frozen encoder stays in evaluation mode."""
        super().train(mode)
        if self.freeze_backbone:
            for part in pretrained_modules(encoder_of(self.model)):
                part.eval()
        return self

    def forward(
        self, images: Float[Tensor, "b channels H W"], labels: Int[Tensor, "b H W"]
    ) -> dict[str, Float[Tensor, ""]]:
        """Weighted loss terms by name.

        Args:
            images: (b, 3, H, W).
            labels: (b, H, W).
        """
        return self.criterion(self.model(images), labels)


class LossOfFeatures(LossOfModel):
    """The same of a frozen backbone, on features of it that are kept.

    All of the backbone stays as it is, the norms of a pyramid's levels too: the features are behind them.

    Args:
        model: The model.
        criterion: See `LossOfModel`.
        cache: Where the features are kept.
    """

    def __init__(self, model: SegmentationModel, criterion: nn.Module, cache: FeatureCache):
        super().__init__(model, criterion, freeze_backbone=True)
        model.backbone.requires_grad_(False)
        self.cache = cache

    def forward(
        self, maps: Sequence[Float[Tensor, "b _ _ _"]], labels: Int[Tensor, "b H W"]
    ) -> dict[str, Float[Tensor, ""]]:
        """Weighted loss terms by name.

        Args:
            maps: What the cache holds of a batch of images.
            labels: (b, H, W).
        """
        return self.criterion(self.model.decoder(self.cache.features(maps)), labels)

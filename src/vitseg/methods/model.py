"""The shape of every model: a backbone and a decoder."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from vitseg.types import SegOutput


class SegmentationModel(nn.Module):
    """Normalised images to `SegOutput`, the same type in training and in evaluation."""

    def __init__(self, backbone: nn.Module, decoder: nn.Module):
        super().__init__()
        self.backbone = backbone
        self.decoder = decoder

    def forward(self, images: Float[Tensor, "b 3 H W"]) -> SegOutput:
        """Run the model on images of any size."""
        return self.decoder(self.backbone(images))

    def set_progress(self, fraction: float) -> None:
        """Hear before every training step how far the training is, in [0, 1); only some models change by it."""

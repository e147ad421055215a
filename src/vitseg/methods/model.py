"""The shape of every model: a backbone and a decoder."""

from __future__ import annotations

from dataclasses import replace

from jaxtyping import Float
from torch import Tensor, nn

from vitseg.layers.progress import TrainingProgress
from vitseg.outputs import SegOutput


class SegmentationModel(nn.Module):
    """Normalised images to an output, the same type in training and in evaluation.

    Args:
        backbone: Images to `Features`.
        decoder: `Features` to an output.
        fresh_parts: See `MethodConfig`.
    """

    def __init__(
        self, backbone: nn.Module, decoder: nn.Module, fresh_parts: tuple[str, ...] = ("decoder.",)
    ):
        super().__init__()
        self.backbone = backbone
        self.decoder = decoder
        self.fresh_parts = fresh_parts

    def forward(self, images: Float[Tensor, "b channels H W"]) -> SegOutput:
        """Run the model on images of any size; what heads in the backbone said goes along for the loss."""
        features = self.backbone(images)
        output: SegOutput = self.decoder(features)
        if not features.stages and not features.extras:
            return output
        stages = (*features.stages, *output.stages)
        return replace(output, stages=stages, extras={**features.extras, **output.extras})

    def set_progress(self, fraction: float) -> None:
        """Hear before every training step how far the training is, in [0, 1); only some layers change by it."""
        for module in self.modules():
            if isinstance(module, TrainingProgress):
                module.hear(fraction)

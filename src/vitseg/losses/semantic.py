"""A loss, and the cross-entropy of SeMask's summed semantic maps (SeMask, ICCV workshops 2023)."""

from __future__ import annotations

from dataclasses import replace

from jaxtyping import Int
from torch import Tensor, nn

from vitseg.decoders.semantic_fpn import SEMANTIC
from vitseg.losses.cross_entropy import PixelLoss, PixelLossConfig
from vitseg.types import SegOutput


class WithSemanticMaps(nn.Module):
    """The terms of another loss, and the cross-entropy of the output "semantic", a mean over labelled pixels.

    Args:
        loss: Of the output and all other earlier ones.
        weight: Of the cross-entropy.
        class_weights: (k,) weight of every class in it; None: all alike.
    """

    def __init__(self, loss: nn.Module, weight: float, class_weights: Tensor | None = None):
        super().__init__()
        self.loss = loss
        self.weight = weight
        self.pixels = PixelLoss(PixelLossConfig(mean_over="labelled"), class_weights)

    def forward(self, output: SegOutput, labels: Int[Tensor, "b H W"]) -> dict[str, Tensor]:
        """Weighted terms by name; their sum is the loss.

        Args:
            output: What the model returned.
            labels: Class indices or IGNORE_INDEX, at the size of the images.

        Returns:
            The terms of the other loss, and `loss_semantic` of an output in training.
        """
        stages = {name: aux for name, aux in output.aux.items() if name != SEMANTIC}
        terms = self.loss(replace(output, aux=stages), labels)
        if SEMANTIC in output.aux:
            (loss,) = self.pixels(output.aux[SEMANTIC], labels).values()
            terms["loss_semantic"] = self.weight * loss
        return terms

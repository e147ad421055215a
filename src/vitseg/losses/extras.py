"""The loss of an output together with those of its extras."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from jaxtyping import Float, Int
from torch import Tensor, nn

from vitseg.losses.cross_entropy import PixelLoss
from vitseg.outputs import SegOutput
from vitseg.supervision import PixelLossConfig


class WithExtras(nn.Module):
    """The terms of a loss, and of the losses that some of the extras have of their own.

    Args:
        loss: Of the output, its stages, and all other extras.
        extras: Losses by the name of their extra.
    """

    def __init__(self, loss: nn.Module, extras: Mapping[str, nn.Module]):
        super().__init__()
        self.loss = loss
        self.extras = nn.ModuleDict(extras)

    def forward(
        self, output: SegOutput, labels: Int[Tensor, "b H W"]
    ) -> dict[str, Float[Tensor, ""]]:
        """Weighted terms by name; their sum is the loss.

        Args:
            output: What the model returned; an extra may be missing, as some are in evaluation.
            labels: Class indices or IGNORE_INDEX, at the size of the images.
        """
        others = {name: extra for name, extra in output.extras.items() if name not in self.extras}
        terms = self.loss(replace(output, extras=others), labels)
        for name, loss in self.extras.items():
            if name in output.extras:
                terms |= loss(output.extras[name], labels)
        return terms


class SemanticLoss(nn.Module):
    """The cross-entropy of summed semantic maps, a mean over labelled pixels (SeMask, ICCV workshops 2023).

    Args:
        weight: Of the cross-entropy.
        class_weights: (k,) weight of every class in it; None: all alike.
    """

    def __init__(self, weight: float, class_weights: Tensor | None = None):
        super().__init__()
        self.weight = weight
        self.pixels = PixelLoss(PixelLossConfig(mean_over="labelled"), class_weights)

    def forward(
        self, output: SegOutput, labels: Int[Tensor, "b H W"]
    ) -> dict[str, Float[Tensor, ""]]:
        """`loss_semantic` of the output of the semantic maps; see `PixelLoss`."""
        return {"loss_semantic": self.weight * self.pixels(output, labels)["loss_pixel"]}

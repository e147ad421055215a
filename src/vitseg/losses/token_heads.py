"""The loss of heads that classify tokens: that of attention-to-mask models, or cross-entropy of the pixels."""

from __future__ import annotations

from dataclasses import replace

from jaxtyping import Float, Int
from torch import Tensor, nn

from vitseg.losses.atm import AtmLoss
from vitseg.losses.cross_entropy import PixelLoss
from vitseg.outputs import CellPresence, SegOutput
from vitseg.supervision import AtmLossConfig, PixelLossConfig


class TokenHeadsLoss(nn.Module):
    """Every head's loss, by the kind of its output; the exits' heads may be of another kind than the last.

    Args:
        atm: Of the heads of kind atm.
        pixels: Of the heads of kind fcn.
        class_weights: (k,) weight of every class; None: all alike.
    """

    def __init__(
        self, atm: AtmLossConfig, pixels: PixelLossConfig, class_weights: Tensor | None = None
    ):
        super().__init__()
        self.atm = AtmLoss(atm, class_weights)
        self.pixels = PixelLoss(pixels, class_weights)

    def forward(
        self, output: SegOutput, labels: Int[Tensor, "b H W"]
    ) -> dict[str, Float[Tensor, ""]]:
        """Weighted terms by name; their sum is the loss.

        Args:
            output: What the model returned.
            labels: Class indices or IGNORE_INDEX, at the size of the images.

        Returns:
            The terms of `AtmLoss` or of `PixelLoss`; those of an exit with its name appended.
        """
        alike = tuple(stage for stage in output.stages if type(stage) is type(output))
        terms = self._loss(output)(replace(output, stages=alike), labels)
        for stage in output.stages:
            if type(stage) is type(output):
                continue
            # An exit alone is no auxiliary output of anything, so that the weight of these is still to come.
            is_mask = isinstance(stage, CellPresence)
            weight = 1.0 if is_mask else self.pixels.config.auxiliary_weight
            alone = replace(stage, name="", extras={})
            for term, value in self._loss(stage)(alone, labels).items():
                terms[f"{term}_{stage.name}"] = weight * value
        return terms

    def _loss(self, output: SegOutput) -> AtmLoss | PixelLoss:
        return self.atm if isinstance(output, CellPresence) else self.pixels

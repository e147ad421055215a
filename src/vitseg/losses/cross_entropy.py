"""Cross-entropy of every pixel, for outputs whose masks are class logits.

Source: SETR (CVPR 2021), section 4.1: cross-entropy of the head and, with weight 0.4, of each auxiliary head.
"""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from vitseg.classes import IGNORE_INDEX
from vitseg.losses.whole_step import mean_over_step, step_labels
from vitseg.outputs import SegOutput
from vitseg.supervision import MeanOver, PixelLossConfig
from vitseg.types import spatial_size


class PixelLoss(nn.Module):
    """The cross-entropy of an output, and of each of its stages and extras, which are auxiliary here.

    Where gradients are accumulated, means are over all micro-batches of a step; `hardest_pixels` are chosen in each by
    itself.

    Args:
        config: See `PixelLossConfig`.
        class_weights: (k,) weight of every class, whose pixels then count as so many in the mean; None: all 1.
    """

    def __init__(self, config: PixelLossConfig, class_weights: Tensor | None = None):
        super().__init__()
        self.config = config
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", class_weights, persistent=False)

    def forward(
        self, output: SegOutput, labels: Int[Tensor, "b H W"]
    ) -> dict[str, Float[Tensor, ""]]:
        """Weighted terms by name; their sum is the loss.

        Args:
            output: What the decoder returned.
            labels: Class indices or IGNORE_INDEX, at the size of the images.

        Returns:
            `loss_pixel` of the output, and of each auxiliary output with its name appended.
        """
        terms = {"loss_pixel": self._term(output, labels, self.config.hardest_pixels)}
        stages = {stage.name: stage for stage in output.stages}
        for name, auxiliary in {**stages, **output.extras}.items():
            term = self.config.auxiliary_weight * self._term(auxiliary, labels)
            terms[f"loss_pixel_{name}"] = term
        return terms

    def _term(
        self, output: SegOutput, labels: Int[Tensor, "b H W"], hardest: int | None = None
    ) -> Float[Tensor, ""]:
        assert spatial_size(labels) == output.input_size
        mean_over, weights = self.config.mean_over, self.class_weights
        whole = step_labels(labels)
        return pixel_cross_entropy(output.scores(), labels, mean_over, weights, hardest, whole)


def pixel_cross_entropy(
    logits: Float[Tensor, "b k H W"],
    labels: Int[Tensor, "b H W"],
    mean_over: MeanOver,
    class_weights: Float[Tensor, " k"] | None = None,
    hardest: int | None = None,
    whole: Int[Tensor, "B H W"] | None = None,
) -> Float[Tensor, ""]:
    """Mean cross-entropy of the pixels; 0 where nothing is labelled.

    Args:
        logits: Class logits at pixel size.
        labels: Class indices or IGNORE_INDEX, whose pixels add 0.
        mean_over: See `PixelLossConfig`.
        class_weights: Weight of every class in sum and mean; ignored pixels weigh 1 in a mean over all.
        hardest: Pixels per image, of highest loss in the batch, that count in the sum; None: all.
        whole: Labels of all micro-batches of the step, over which the mean is; None: these are all.
    """
    reduction = "sum" if hardest is None else "none"
    total = F.cross_entropy(
        logits.float(), labels, class_weights, ignore_index=IGNORE_INDEX, reduction=reduction
    )
    if hardest is not None:
        total = total.flatten().topk(min(hardest * len(labels), labels.numel())).values.sum()
    if class_weights is None and mean_over == "all":  # as many in every batch and process
        return total / labels.numel()
    whole = labels if whole is None else whole
    is_labelled = whole != IGNORE_INDEX
    if class_weights is None:
        return total / mean_over_step(is_labelled.sum(), labels, whole, at_least=1.0)
    ignored_weight = 1.0 if mean_over == "all" else 0.0
    known = whole.where(is_labelled, 0)
    count = class_weights[known].where(is_labelled, ignored_weight).sum()
    return total / mean_over_step(count, labels, whole)

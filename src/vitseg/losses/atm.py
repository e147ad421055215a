"""SegViT's loss: every class has its own query, so nothing is matched.

Source: SegViT (NeurIPS 2022), section 3.2, eq. 4, with the weights of thesis eq. 4.5: class cross-entropy 1 (no-object
weight 0.1), focal 20, dice 1; the same for every stage. Kind "pixels" is the row "ATM, CE loss" of thesis table 4.4.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vitseg.classes import IGNORE_INDEX
from vitseg.losses.cross_entropy import pixel_cross_entropy
from vitseg.losses.mask import focal_and_dice, labelled_focal_and_dice
from vitseg.losses.processes import mean_over_processes
from vitseg.outputs import QueryMasks, SegOutput
from vitseg.supervision import AtmLossConfig
from vitseg.types import spatial_size

MIN_SCORE = 1e-6
"""Below this a class score has no gradient in the cross-entropy of pixels."""


class AtmLoss(nn.Module):
    """The loss of an ATM decoder's output and of its earlier stages.

    Only classes that occur in an image have a mask loss there. Pixels with the ignore label are negatives of every
    mask: the reference does not leave them out, and the published weights were trained so. With `ignored` "left_out"
    they are in no sum and in no mean, and an image of nothing else has no class loss either. A class that is not
    labelled in an image that has labels counts as absent in both.

    Kind "pixels" takes the output's scores as the logits of an ordinary cross-entropy, without a class loss of
    its own: the ablation is of supervising classes and masks jointly. It is the mean over all pixels, in which those
    with the ignore label are 0, as in the toolkit of the papers; or, left out, over the labelled ones.

    Args:
        config: Kind, and weights of the terms.
        class_weights: (k,) weight of every class in all terms, which become weighted means; None: all 1, as in the
            paper.
    """

    def __init__(self, config: AtmLossConfig, class_weights: Tensor | None = None):
        super().__init__()
        self.config = config
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", class_weights, persistent=False)

    def forward(
        self,
        output: SegOutput,
        labels: Int[Tensor, "b H W"],
        unlabelled: Bool[Tensor, "b H W"] | None = None,
    ) -> dict[str, Float[Tensor, ""]]:
        """Weighted terms by name; their sum is the loss.

        Args:
            output: What the decoder returned.
            labels: Class indices or IGNORE_INDEX, at the size of the images.
            unlabelled: Pixels that are left out where `ignored` says so; None: those with the ignore label. A part that
                has the ignore label for the classes of others gives those that nobody has labelled.

        Returns:
            `loss_ce`, `loss_mask` (focal) and `loss_dice` of the final output, or of kind "pixels" `loss_pixel`, and
            of each earlier stage with its name appended.
        """
        assert spatial_size(labels) == output.input_size
        if self.config.kind == "pixels":
            return {
                f"loss_pixel{name}": self._pixel_loss(stage, labels)
                for name, stage in output.supervised()
            }
        if self.config.ignored == "negatives":
            unlabelled = None
        elif unlabelled is None:
            unlabelled = labels == IGNORE_INDEX
        present = present_classes(labels, output.num_classes)  # (b, k)
        # (b,): what is in an image without any label is not known
        known = None if unlabelled is None else ~unlabelled.flatten(1).all(1)
        stages, compared = list(output.supervised()), present
        if self.config.pixel_step > 1:
            stages, labels, unlabelled = self._thinned(stages, labels, unlabelled)
            compared = present_classes(labels, output.num_classes)
        weights = self._weights(present)  # (b, k), of which absent ones count in the class loss
        total = mean_over_processes((weights * compared).sum()).clamp(min=1)
        image, cls = compared.nonzero(as_tuple=True)
        pair_weights = weights[image, cls]  # (pairs,)
        # Half as wide, the labels are gathered for every pair in half the time.
        targets = (labels.int()[image] == cls[:, None, None]).flatten(1)  # (pairs, H*W)
        terms: dict[str, Float[Tensor, ""]] = {}
        for name, stage in stages:
            assert isinstance(stage, QueryMasks)
            class_loss = self._class_loss(stage, present, weights, known)
            terms["loss_ce" + name] = self.config.class_weight * class_loss
            masks = stage.at_pixels(stage.mask_logits[image, cls][:, None]).flatten(1)
            of_masks = (
                focal_and_dice(masks, targets)
                if unlabelled is None
                else labelled_focal_and_dice(masks, targets, ~unlabelled.flatten(1)[image])
            )
            focal, dice = ((losses * pair_weights).sum() / total for losses in of_masks)
            terms["loss_mask" + name] = self.config.focal_weight * focal
            terms["loss_dice" + name] = self.config.dice_weight * dice
            if self.config.pixel_weight:
                competing = self._competing_loss(stage, labels)
                terms["loss_pixel" + name] = self.config.pixel_weight * competing
        return terms

    def _thinned(
        self,
        stages: list[tuple[str, SegOutput]],
        labels: Int[Tensor, "b H W"],
        unlabelled: Bool[Tensor, "b H W"] | None,
    ) -> tuple[list[tuple[str, SegOutput]], Int[Tensor, "b _ _"], Bool[Tensor, "b _ _"] | None]:
        """Every n-th pixel of everything; a class in none of these has no mask loss in this step."""
        step, device = self.config.pixel_step, labels.device
        rows, columns = (every(step, length).to(device) for length in labels.shape[1:])
        few = [(name, stage.at(rows, columns)) for name, stage in stages]
        labels = labels[:, rows][:, :, columns]
        return few, labels, None if unlabelled is None else unlabelled[:, rows][:, :, columns]

    def _class_loss(
        self,
        output: QueryMasks,
        present: Bool[Tensor, "b k"],
        weights: Float[Tensor, "b k"],
        known: Bool[Tensor, " b"] | None,
    ) -> Float[Tensor, ""]:
        """The mean of the queries' cross-entropies, weighted by the classes that are their targets."""
        targets = output.class_targets(present)  # (b, q)
        terms = F.cross_entropy(
            output.class_logits.float().flatten(0, 1), targets.flatten(), reduction="none"
        )
        weights = torch.where(present, weights, self.config.no_object_weight)  # (b, q)
        if known is not None:
            weights = weights * known[:, None]
        weights = weights.flatten()
        total = mean_over_processes(weights.sum())
        return (terms * weights).sum() / total.where(total > 0, 1.0)

    def _pixel_loss(self, output: SegOutput, labels: Int[Tensor, "b H W"]) -> Float[Tensor, ""]:
        mean_over = "all" if self.config.ignored == "negatives" else "labelled"
        return pixel_cross_entropy(output.scores(), labels, mean_over, self.class_weights)

    def _competing_loss(
        self, output: QueryMasks, labels: Int[Tensor, "b H W"]
    ) -> Float[Tensor, ""]:
        """The cross-entropy of every labelled pixel's class probabilities: scores over their sum."""
        logits = output.scores().clamp_min(MIN_SCORE).log()
        return pixel_cross_entropy(logits, labels, "labelled", self.class_weights)

    def _weights(self, present: Bool[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        if self.class_weights is None:
            return torch.ones(present.shape, device=present.device)
        return self.class_weights.float().expand(present.shape)


def every(step: int, length: int) -> Int[Tensor, " n"]:
    """Every n-th line of an axis, from a random one of the first n; an offset that is no constant of a graph."""
    first = torch.randint(min(step, length), ())
    count = length // step if length % step == 0 else (length - int(first) + step - 1) // step
    return first + step * torch.arange(count)


def present_classes(labels: Int[Tensor, "b H W"], num_classes: int) -> Bool[Tensor, "b k"]:
    """Which classes occur in which image."""
    counted = torch.where(labels == IGNORE_INDEX, num_classes, labels).flatten(1)
    present = torch.zeros(len(labels), num_classes + 1, dtype=torch.bool, device=labels.device)
    return present.scatter_(1, counted, True)[:, :num_classes]

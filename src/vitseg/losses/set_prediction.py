"""The loss of queries that belong to no class: each is matched with a class of the image, or with none.

Source: Mask2Former (CVPR 2022), section 3: class cross-entropy 2, binary cross-entropy of the masks 5, dice 5; "no
object" counts 0.1 among the classes. MaskFormer (NeurIPS 2021), section 3.2, has 1, focal 20 and dice 1.

Masks are compared either at every cell of the predictions, which have about a quarter of the image's size, with the
label at its middle: no sampling noise, and objects that are smaller than a cell may get lost. Or, as in Mask2Former, at
points of the full-size image (`mask_points.py`). Pixels with the ignore label and padding count neither in the matching
nor in the losses.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from vitseg.classes import IGNORE_INDEX
from vitseg.losses.atm import present_classes
from vitseg.losses.mask import dice_loss, focal_terms
from vitseg.losses.mask_points import (
    draw_points,
    labels_at_points,
    logits_at_points,
    uncertain_points,
)
from vitseg.losses.matching import Costs, ImageTargets, match, targets_at
from vitseg.losses.whole_step import mean_over_step, step_labels
from vitseg.outputs import MixedMasks
from vitseg.supervision import SetPredictionLossConfig
from vitseg.types import Size, spatial_size


class SetPredictionLoss(nn.Module):
    """The loss of an output and of its earlier ones, each matched for itself.

    Where gradients are accumulated, means are over all micro-batches of a step. With class weights, and more classes in
    an image than there are queries, which of them find one is not known of other micro-batches: all count in part.

    Args:
        config: Weights of the terms.
        class_weights: (k,) weight of every class in all terms, which become weighted means; None: all 1.
    """

    def __init__(self, config: SetPredictionLossConfig, class_weights: Tensor | None = None):
        super().__init__()
        self.config = config
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", class_weights, persistent=False)

    def forward(
        self, output: MixedMasks, labels: Int[Tensor, "b H W"]
    ) -> dict[str, Float[Tensor, ""]]:
        """Weighted terms by name; their sum is the loss.

        Args:
            output: What the decoder returned; earlier outputs have masks of the same size.
            labels: Class indices or IGNORE_INDEX, at the size of the images.

        Returns:
            `loss_ce`, `loss_mask` (cross-entropy or focal) and `loss_dice` of the final output, and of each earlier one
            with its name appended.
        """
        assert spatial_size(labels) == output.input_size
        stages = [(name, cast(MixedMasks, stage)) for name, stage in output.supervised()]
        targets, matched = self.matched([stage for _, stage in stages], labels)
        weights = self._class_weights(output)  # (k1,)
        whole = step_labels(labels)
        known = None if whole is labels else self._totals(whole, output, weights)
        terms: dict[str, Float[Tensor, ""]] = {}
        for (name, stage), queries in zip(stages, matched, strict=True):
            ce, mask, dice = self._losses(stage, labels, targets, queries, weights, known)
            terms["loss_ce" + name] = self.config.class_weight * ce
            terms["loss_mask" + name] = self.config.mask_weight * mask
            terms["loss_dice" + name] = self.config.dice_weight * dice
        return terms

    def matched(
        self, outputs: list[MixedMasks], labels: Int[Tensor, "b H W"]
    ) -> tuple[ImageTargets, Int[Tensor, "s b t"]]:
        """The classes of the images, and the query of each in every output; -1 where there is none.

        All outputs are compared at the same places.
        """
        config, first = self.config, outputs[0]
        if config.points is None:
            cells = labels_at_cells(labels, first.padded_size, spatial_size(first.mask_logits))
            targets = targets_at(cells.flatten(1), present_classes(cells, first.num_classes))
            places = [output.mask_logits.flatten(2) for output in outputs]  # (b, q, n)
        else:
            points = draw_points(len(labels), config.points, first.input_size, labels)
            image = torch.arange(len(labels), device=labels.device)
            found = labels_at_points(labels, image, points)
            targets = targets_at(found, present_classes(labels, first.num_classes))
            places = [
                logits_at_points(output.mask_logits.detach(), points, first.padded_size)
                for output in outputs
            ]
        classes = [output.class_logits for output in outputs]
        costs = Costs(config.class_weight, config.mask_weight, config.dice_weight, config.mask_loss)
        return targets, match(list(zip(places, classes, strict=True)), targets, costs)

    def _losses(
        self,
        output: MixedMasks,
        labels: Int[Tensor, "b H W"],
        targets: ImageTargets,
        queries: Int[Tensor, "b t"],
        weights: Float[Tensor, " k1"],
        known: tuple[Tensor, Tensor] | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Class, mask and dice loss of one output whose `queries` are those of the targets, -1 for none.

        `known` is what the losses are divided by where there are more micro-batches, see `_totals`.
        """
        whole = step_labels(labels)
        image, target = (queries >= 0).nonzero(as_tuple=True)  # of every pair
        query, classes = queries[image, target], targets.classes[image, target]
        wanted = torch.full_like(output.class_logits[..., 0], len(weights) - 1, dtype=torch.long)
        wanted[image, query] = classes
        wanted = wanted.flatten()
        ce = F.cross_entropy(
            output.class_logits.float().flatten(0, 1), wanted, weights, reduction="sum"
        )
        of_queries = weights[wanted].sum() if known is None else known[0]
        ce = ce / mean_over_step(of_queries, labels, whole)
        mask_logits = output.mask_logits[image, query].float()  # (pairs, h, w)
        if self.config.points is None:
            logits = mask_logits.flatten(1)  # (pairs, n)
            masks, labelled = targets.masks[image, target], targets.labelled[image]
        else:
            logits, found = self._at_points(mask_logits, labels, image, output.padded_size)
            masks = (found == classes[:, None]).float()
            labelled = (found != IGNORE_INDEX).float()
        probs = logits.sigmoid()
        if self.config.mask_loss == "focal":
            terms = focal_terms(logits, probs, masks)
        else:
            terms = F.binary_cross_entropy_with_logits(logits, masks, reduction="none")
        mask = (terms * labelled).sum(-1) / labelled.sum(-1).clamp(min=1)
        dice = dice_loss(probs * labelled, masks)
        pair_weights = weights[classes]
        of_pairs = pair_weights.sum() if known is None else known[1]
        total = mean_over_step(of_pairs, labels, whole, at_least=1.0)
        return ce, (mask * pair_weights).sum() / total, (dice * pair_weights).sum() / total

    def _totals(
        self, labels: Int[Tensor, "B H W"], output: MixedMasks, weights: Float[Tensor, " k1"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """The weights of all queries, and of those with a class, as labels tell them without a matching."""
        if self.config.points is None:
            labels = labels_at_cells(labels, output.padded_size, spatial_size(output.mask_logits))
        present = present_classes(labels, output.num_classes)  # (B, k)
        counts, queries = present.sum(1), output.class_logits.shape[1]
        matched = (queries / counts.clamp(min=1)).clamp(max=1)  # of an image's classes
        pairs = ((present * weights[:-1]).sum(1) * matched).sum()
        return pairs + ((queries - counts).clamp(min=0) * weights[-1]).sum(), pairs

    def _at_points(
        self,
        mask_logits: Float[Tensor, "p h w"],
        labels: Int[Tensor, "b H W"],
        image: Int[Tensor, " p"],
        padded_size: Size,
    ) -> tuple[Float[Tensor, "p n"], Int[Tensor, "p n"]]:
        """Logits and labels at points of each pair's own."""
        config = self.config
        assert config.points is not None
        points = uncertain_points(
            mask_logits,
            labels,
            image,
            padded_size,
            config.points,
            config.oversample,
            config.importance,
        )
        logits = logits_at_points(mask_logits[:, None], points, padded_size)[:, 0]
        return logits, labels_at_points(labels, image, points)

    def _class_weights(self, output: MixedMasks) -> Float[Tensor, " k1"]:
        weights = torch.ones(output.num_classes + 1, device=output.mask_logits.device)
        if self.class_weights is not None:
            weights[:-1] = self.class_weights
        weights[-1] = self.config.no_object_weight
        return weights


def labels_at_cells(
    labels: Int[Tensor, "b H W"], padded_size: Size, grid: Size
) -> Int[Tensor, "b h w"]:
    """The label at the middle of every cell of a grid over the padded image; padding has the ignore label."""
    down, right = padded_size[0] - labels.shape[1], padded_size[1] - labels.shape[2]
    padded = F.pad(labels, (0, right, 0, down), value=IGNORE_INDEX)
    rows, columns = (
        ((torch.arange(cells, device=labels.device) + 0.5) * (side / cells)).long()
        for cells, side in zip(grid, padded_size, strict=True)
    )
    return padded[:, rows][:, :, columns]

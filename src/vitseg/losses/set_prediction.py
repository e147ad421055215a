"""The loss of queries that belong to no class: each is matched with a class of the image, or with none.

Source: Mask2Former (CVPR 2022), section 3, with DETR's bipartite matching (ECCV 2020, section 3.1): class cross-entropy
2, binary cross-entropy of the masks 5, dice 5; "no object" counts 0.1 among the classes. In semantic segmentation the
targets of an image are its classes, one mask each.

Mask2Former draws points of the full-size masks, to save memory. We take every cell of the predicted masks, which have
about a quarter of the image's size, and the label at its middle: no sampling noise, and objects that are smaller than a
cell may get lost. Pixels with the ignore label count neither in the matching nor in the losses.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict, Field
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from vitseg.classes import IGNORE_INDEX
from vitseg.losses.atm import present_classes
from vitseg.losses.mask import dice_loss
from vitseg.losses.processes import mean_over_processes
from vitseg.types import SegOutput, Size, spatial_size


class SetPredictionLossConfig(BaseModel):
    """Weights of the terms, in the matching and in the loss."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    class_weight: float = Field(default=2.0, ge=0, description="weight of the class cross-entropy")
    mask_weight: float = Field(
        default=5.0, ge=0, description="weight of the masks' binary cross-entropy"
    )
    dice_weight: float = Field(default=5.0, ge=0, description="weight of the dice mask loss")
    no_object_weight: float = Field(
        default=0.1,
        gt=0,
        description="weight of unmatched queries within the class cross-entropy",
    )


@dataclass(frozen=True)
class ImageTargets:
    """The classes of every image as masks over the cells of the predictions; t is the most that an image has.

    Attributes:
        classes: Class of each mask; without meaning beyond an image's `counts`.
        counts: Masks of each image.
        masks: 1 where the class is, else 0; of all 0 beyond an image's `counts`.
        labelled: 1 where a cell has a label, 0 where that is the ignore label or padding.
    """

    classes: Int[Tensor, "b t"]
    counts: Int[Tensor, " b"]
    masks: Float[Tensor, "b t n"]
    labelled: Float[Tensor, "b n"]


class SetPredictionLoss(nn.Module):
    """The loss of an output and of its earlier ones, each matched for itself.

    Args:
        config: Weights of the terms.
        class_weights: (k,) weight of every class in all terms, which become weighted means; None: all 1.
    """

    def __init__(self, config: SetPredictionLossConfig, class_weights: Tensor | None = None):
        super().__init__()
        self.config = config
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", class_weights, persistent=False)

    def forward(self, output: SegOutput, labels: Int[Tensor, "b H W"]) -> dict[str, Tensor]:
        """Weighted terms by name; their sum is the loss.

        Args:
            output: What the decoder returned; earlier outputs have masks of the same size.
            labels: Class indices or IGNORE_INDEX, at the size of the images.

        Returns:
            `loss_ce`, `loss_mask` (binary cross-entropy) and `loss_dice` of the final output, and of each earlier one
            with its name appended.
        """
        stages = {"": output, **{f"_{name}": stage for name, stage in output.aux.items()}}
        targets = image_targets(labels, output)
        matched = match(list(stages.values()), targets, self.config)  # (s, b, t)
        weights = self._class_weights(output)  # (k1,)
        terms: dict[str, Tensor] = {}
        for (name, stage), queries in zip(stages.items(), matched, strict=True):
            ce, mask, dice = self._losses(stage, targets, queries, weights)
            terms["loss_ce" + name] = self.config.class_weight * ce
            terms["loss_mask" + name] = self.config.mask_weight * mask
            terms["loss_dice" + name] = self.config.dice_weight * dice
        return terms

    def _losses(
        self,
        output: SegOutput,
        targets: ImageTargets,
        queries: Int[Tensor, "b t"],
        weights: Float[Tensor, " k1"],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Class, mask and dice loss of one output whose `queries` are those of the targets, -1 for none."""
        assert output.class_logits is not None
        image, target = (queries >= 0).nonzero(as_tuple=True)  # of every pair
        query, classes = queries[image, target], targets.classes[image, target]
        wanted = torch.full_like(output.class_logits[..., 0], len(weights) - 1, dtype=torch.long)
        wanted[image, query] = classes
        ce = F.cross_entropy(output.class_logits.float().flatten(0, 1), wanted.flatten(), weights)
        logits = output.mask_logits[image, query].float().flatten(1)  # (pairs, n)
        masks, labelled = targets.masks[image, target], targets.labelled[image]
        terms = F.binary_cross_entropy_with_logits(logits, masks, reduction="none") * labelled
        mask = terms.sum(-1) / labelled.sum(-1).clamp(min=1)
        dice = dice_loss(logits.sigmoid() * labelled, masks)
        pair_weights = weights[classes]
        total = mean_over_processes(pair_weights.sum()).clamp(min=1)
        return ce, (mask * pair_weights).sum() / total, (dice * pair_weights).sum() / total

    def _class_weights(self, output: SegOutput) -> Float[Tensor, " k1"]:
        weights = torch.ones(output.num_classes + 1, device=output.mask_logits.device)
        if self.class_weights is not None:
            weights[:-1] = self.class_weights
        weights[-1] = self.config.no_object_weight
        return weights


def image_targets(labels: Int[Tensor, "b H W"], output: SegOutput) -> ImageTargets:
    """The classes of every image as masks over the cells of an output.

    Args:
        labels: Class indices or IGNORE_INDEX, at the size of the images.
        output: Whose cells.
    """
    assert spatial_size(labels) == output.input_size
    cells = labels_at_cells(labels, output.padded_size, spatial_size(output.mask_logits))
    present = present_classes(cells, output.num_classes)
    counts = present.sum(1)
    most = int(counts.max())
    classes = present.int().argsort(dim=1, descending=True, stable=True)[:, :most]
    flat = cells.flatten(1)
    is_target = torch.arange(most, device=labels.device) < counts[:, None]  # (b, t)
    masks = (flat[:, None] == classes[..., None]) & is_target[..., None]
    return ImageTargets(classes, counts, masks.float(), (flat != IGNORE_INDEX).float())


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


@torch.no_grad()
def match(
    outputs: list[SegOutput], targets: ImageTargets, config: SetPredictionLossConfig
) -> Int[Tensor, "s b t"]:
    """The query of every target in every output, by the least sum of costs; -1 where there is none.

    An image of more classes than queries leaves some of its classes without one.
    """
    costs = torch.stack([_costs(output, targets, config) for output in outputs])  # (s, b, q, t)
    # A diverged model has no numbers to compare: it is let through to its loss, which the training loop looks at.
    costs = costs.nan_to_num(0.0).cpu().numpy()  # one wait for the device
    matched = torch.full(targets.classes.shape, -1).repeat(len(outputs), 1, 1)
    for stage, of_stage in enumerate(costs):
        for image, count in enumerate(targets.counts.tolist()):
            queries, chosen = linear_sum_assignment(of_stage[image, :, :count])
            matched[stage, image, torch.from_numpy(chosen)] = torch.from_numpy(queries)
    return matched.to(targets.classes.device)


def _costs(
    output: SegOutput, targets: ImageTargets, config: SetPredictionLossConfig
) -> Float[Tensor, "b q t"]:
    """What each query would cost as each target: minus its class' probability, and the two mask losses."""
    assert output.class_logits is not None
    probs = output.class_logits.float().softmax(-1)
    classes = targets.classes[:, None].expand(-1, probs.shape[1], -1)  # (b, q, t)
    cost = -config.class_weight * probs.gather(2, classes)
    logits = output.mask_logits.float().flatten(2)  # (b, q, n)
    labelled = targets.labelled[:, None]  # (b, 1, n)
    masks = targets.masks.transpose(1, 2)  # (b, n, t)
    # The cross-entropy of a logit x with a target y is softplus(x) - x y: its sum over cells is a matrix product.
    entropy = (F.softplus(logits) * labelled).sum(-1, keepdim=True) - logits @ masks
    cost += config.mask_weight * entropy / labelled.sum(-1, keepdim=True).clamp(min=1)
    inside = logits.sigmoid() * labelled
    overlap = 2 * inside @ masks + 1
    dice = 1 - overlap / (inside.sum(-1, keepdim=True) + masks.sum(1)[:, None] + 1)
    return cost + config.dice_weight * dice

"""Which query is which class of an image: the bipartite matching of set prediction.

Source: DETR (ECCV 2020), section 3.1; the costs are those of Mask2Former (CVPR 2022), section 3, and, with the focal
loss, of MaskFormer (NeurIPS 2021), section 3.2. In semantic segmentation the targets of an image are its classes, one
mask each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from vitseg.classes import IGNORE_INDEX
from vitseg.losses.mask import ALPHA
from vitseg.supervision import MaskLoss


@dataclass(frozen=True)
class ImageTargets:
    """The classes of every image as masks over places: cells of the predictions, or points.

    t is the most classes that an image has, and two at least where the model knows more.

    Attributes:
        classes: Class of each mask; without meaning beyond an image's `counts`.
        counts: Masks of each image.
        masks: 1 where the class is, else 0; of all 0 beyond an image's `counts`.
        labelled: 1 where a place has a label, 0 where that is the ignore label or padding.
    """

    classes: Int[Tensor, "b t"]
    counts: Int[Tensor, " b"]
    masks: Float[Tensor, "b t n"]
    labelled: Float[Tensor, "b n"]


@dataclass(frozen=True)
class Costs:
    """Weights of the costs of a query as a class, and which loss the second is of."""

    class_weight: float
    mask_weight: float
    dice_weight: float
    mask_loss: MaskLoss


def targets_at(labels: Int[Tensor, "b n"], present: Bool[Tensor, "b k"]) -> ImageTargets:
    """The classes of every image as masks.

    Args:
        labels: Of the places.
        present: Classes that are targets; one without any place has an empty mask.
    """
    counts, num_classes = present.sum(1), present.shape[1]
    most = num_classes
    if num_classes > 2:  # two at least: compilers ask whether it is one, which they cannot know
        most = int(counts.max().clamp(min=2))
        torch._check(most >= 2)
        torch._check(most <= num_classes)
    classes = present.int().argsort(dim=1, descending=True, stable=True)[:, :most]
    is_target = torch.arange(most, device=labels.device) < counts[:, None]  # (b, t)
    masks = (labels[:, None] == classes[..., None]) & is_target[..., None]
    return ImageTargets(classes, counts, masks.float(), (labels != IGNORE_INDEX).float())


@torch.no_grad()
def match(
    outputs: Sequence[tuple[Float[Tensor, "b q n"], Float[Tensor, "b q k1"]]],
    targets: ImageTargets,
    weights: Costs,
) -> Int[Tensor, "s b t"]:
    """The query of every target in every output, by the least sum of costs; -1 where there is none.

    An image of more classes than queries leaves some of its classes without one.

    Args:
        outputs: Mask logits at the places of the targets, and class logits, of each output.
        targets: The images' classes.
        weights: Of the costs.
    """
    costs = torch.stack([_costs(*output, targets, weights) for output in outputs])  # (s, b, q, t)
    # A diverged model has no numbers to compare: it is let through to its loss, which the training loop looks at.
    return _assigned(costs.nan_to_num(0.0), targets.counts)


@torch.library.custom_op(
    "vitseg::assign", mutates_args=(), schema="(Tensor costs, Tensor counts) -> Tensor"
)
def _assigned(costs: Float[Tensor, "s b q t"], counts: Int[Tensor, " b"]) -> Int[Tensor, "s b t"]:
    """The query of every target, found on the processor: `torch.compile` takes it as one operation, as it is."""
    found = costs.cpu().numpy()  # one wait for the device
    matched = torch.full((*found.shape[:2], found.shape[3]), -1)
    for stage, of_stage in enumerate(found):
        for image, count in enumerate(counts.tolist()):
            queries, chosen = linear_sum_assignment(of_stage[image, :, :count])
            matched[stage, image, torch.from_numpy(chosen)] = torch.from_numpy(queries)
    return matched.to(costs.device)


@_assigned.register_fake
def _assigned_shape(costs, counts):
    del counts
    stages, images, _, targets = costs.shape
    return costs.new_empty((stages, images, targets), dtype=torch.long)


def _costs(
    mask_logits: Float[Tensor, "b q n"],
    class_logits: Float[Tensor, "b q k1"],
    targets: ImageTargets,
    weights: Costs,
) -> Float[Tensor, "b q t"]:
    """What each query would cost as each target: minus its class' probability, and the two mask losses."""
    probs = class_logits.float().softmax(-1)
    classes = targets.classes[:, None].expand(-1, probs.shape[1], -1)  # (b, q, t)
    cost = -weights.class_weight * probs.gather(2, classes)
    logits = mask_logits.float()
    labelled = targets.labelled[:, None]  # (b, 1, n)
    masks = targets.masks.transpose(1, 2)  # (b, n, t)
    probs = logits.sigmoid()
    # A place costs `outside` where the target is 0 and `outside` + `more` where it is 1: sums are matrix products.
    outside, more = F.softplus(logits), -logits
    if weights.mask_loss == "focal":
        inside = ALPHA * (1 - probs).square() * (outside + more)
        outside = (1 - ALPHA) * probs.square() * outside
        more = inside - outside
    total = (outside * labelled).sum(-1, keepdim=True) + more @ masks
    cost += weights.mask_weight * total / labelled.sum(-1, keepdim=True).clamp(min=1)
    within = probs * labelled
    overlap = 2 * within @ masks + 1
    dice = 1 - overlap / (within.sum(-1, keepdim=True) + masks.sum(1)[:, None] + 1)
    return cost + weights.dice_weight * dice

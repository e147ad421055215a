"""SegViT's loss: every class has its own query, so nothing is matched.

Source: SegViT (NeurIPS 2022), section 3.2, eq. 4, with the weights of thesis eq. 4.5: class cross-entropy 1 (no-object
weight 0.1), focal 20, dice 1; the same for every stage.
"""

from __future__ import annotations

import torch
import torch.distributed
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from vitseg.classes import IGNORE_INDEX
from vitseg.losses.mask import dice_loss, focal_loss
from vitseg.types import SegOutput, Size, spatial_size


class AtmLossConfig(BaseModel):
    """Weights of the terms."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    class_weight: float = Field(default=1.0, ge=0, description="weight of the class cross-entropy")
    focal_weight: float = Field(default=20.0, ge=0, description="weight of the focal mask loss")
    dice_weight: float = Field(default=1.0, ge=0, description="weight of the dice mask loss")
    no_object_weight: float = Field(
        default=0.1, gt=0, description="weight of absent classes within the cross-entropy"
    )


class AtmLoss(nn.Module):
    """Class and mask losses of an ATM decoder's output and of its earlier stages.

    Only classes that occur in an image have a mask loss there. Pixels with the ignore label are negatives of every
    mask: the reference does not leave them out, and the published weights were trained so.

    Args:
        config: Weights of the terms.
        class_weights: (k,) weight of every class in all terms, which become weighted means; None: all 1, as in the
            paper.
    """

    def __init__(self, config: AtmLossConfig, class_weights: Tensor | None = None):
        super().__init__()
        self.config = config
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", class_weights, persistent=False)

    def forward(self, output: SegOutput, labels: Int[Tensor, "b H W"]) -> dict[str, Tensor]:
        """Weighted terms by name; their sum is the loss.

        Args:
            output: What the decoder returned.
            labels: Class indices or IGNORE_INDEX, at the size of the images.

        Returns:
            `loss_ce`, `loss_mask` (focal) and `loss_dice` of the final output, and of each earlier stage with its
            name appended.
        """
        present = present_classes(labels, output.num_classes)  # (b, k)
        weights = self._weights(
            present
        )  # (b, k), of which absent classes count in the class loss alone
        total = _mean_over_processes((weights * present).sum()).clamp(min=1)
        image, cls = present.nonzero(as_tuple=True)
        pair_weights = weights[image, cls]  # (pairs,)
        targets = (labels[image] == cls[:, None, None]).flatten(1).float()  # (pairs, H*W)
        terms: dict[str, Tensor] = {}
        for name, stage in {"": output, **{f"_{n}": s for n, s in output.aux.items()}}.items():
            logits = stage.class_logits
            assert logits is not None
            terms["loss_ce" + name] = self.config.class_weight * self._class_loss(
                logits, present, weights
            )
            masks = upsample_masks(
                stage.mask_logits[image, cls], stage, spatial_size(labels)
            ).flatten(1)
            probs = masks.sigmoid()
            focal = (focal_loss(masks, probs, targets) * pair_weights).sum() / total
            dice = (dice_loss(probs, targets) * pair_weights).sum() / total
            terms["loss_mask" + name] = self.config.focal_weight * focal
            terms["loss_dice" + name] = self.config.dice_weight * dice
        return terms

    def _class_loss(
        self,
        class_logits: Float[Tensor, "b q k1"],
        present: Bool[Tensor, "b k"],
        weights: Float[Tensor, "b k"],
    ) -> Float[Tensor, ""]:
        """The mean of the queries' cross-entropies, weighted by the classes that are their targets."""
        num_logits = class_logits.shape[-1]
        index = torch.arange(present.shape[1], device=present.device)
        here = torch.zeros_like(index) if num_logits == 2 else index
        targets = torch.where(present, here, num_logits - 1)  # (b, q)
        terms = F.cross_entropy(
            class_logits.float().flatten(0, 1), targets.flatten(), reduction="none"
        )
        weights = torch.where(present, weights, self.config.no_object_weight).flatten()  # (b*q,)
        return (terms * weights).sum() / weights.sum()

    def _weights(self, present: Bool[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        if self.class_weights is None:
            return torch.ones(present.shape, device=present.device)
        return self.class_weights.float().expand(present.shape)


def present_classes(labels: Int[Tensor, "b H W"], num_classes: int) -> Bool[Tensor, "b k"]:
    """Which classes occur in which image."""
    counted = torch.where(labels == IGNORE_INDEX, num_classes, labels).flatten(1)
    present = torch.zeros(len(labels), num_classes + 1, dtype=torch.bool, device=labels.device)
    return present.scatter_(1, counted, True)[:, :num_classes]


def upsample_masks(
    mask_logits: Float[Tensor, "p h w"], output: SegOutput, size: Size
) -> Float[Tensor, "p H W"]:
    """Mask logits over the padded image, bilinearly at pixel size, padding cut off."""
    masks = F.interpolate(
        mask_logits[:, None].float(), output.padded_size, mode="bilinear", align_corners=False
    )
    masks = masks[..., : output.input_size[0], : output.input_size[1]]
    if output.input_size != size:
        masks = F.interpolate(masks, size, mode="bilinear", align_corners=False)
    return masks[:, 0]  # (p, H, W)


def _mean_over_processes(value: Tensor) -> Float[Tensor, ""]:
    value = value.float()
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(value)
        value = value / torch.distributed.get_world_size()
    return value

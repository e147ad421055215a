"""SegViT's loss: every class has its own query, so nothing is matched.

Source: SegViT (NeurIPS 2022), section 3.2, eq. 4, with the weights of thesis eq. 4.5: class cross-entropy 1 (no-object
weight 0.1), focal 20, dice 1; the same for every stage. Kind "pixels" is the row "ATM, CE loss" of thesis table 4.4.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from vitseg.classes import IGNORE_INDEX
from vitseg.config import given_fields
from vitseg.losses.cross_entropy import pixel_cross_entropy
from vitseg.losses.mask import focal_and_dice
from vitseg.losses.pixel_scores import full_scores, upsample_masks
from vitseg.losses.processes import mean_over_processes
from vitseg.types import SegOutput, spatial_size


class AtmLossConfig(BaseModel):
    """What is supervised, and the weights of the terms."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["masks", "pixels"] = Field(
        default="masks",
        description="masks: class and mask of every query, each on its own (the paper's); pixels: cross-entropy of the "
        "class scores of every pixel, in which the two are one",
    )
    class_weight: float = Field(default=1.0, ge=0, description="weight of the class cross-entropy")
    focal_weight: float = Field(default=20.0, ge=0, description="weight of the focal mask loss")
    dice_weight: float = Field(default=1.0, ge=0, description="weight of the dice mask loss")
    no_object_weight: float = Field(
        default=0.1, gt=0, description="weight of absent classes within the cross-entropy"
    )

    @model_validator(mode="after")
    def _weights_belong_to_masks(self) -> AtmLossConfig:
        given = given_fields(self, but=("kind",))
        if self.kind == "pixels" and given:
            raise ValueError(
                f'{", ".join(given)} belong to kind "masks": set it, or leave them out'
            )
        return self


class AtmLoss(nn.Module):
    """The loss of an ATM decoder's output and of its earlier stages.

    Only classes that occur in an image have a mask loss there. Pixels with the ignore label are negatives of every
    mask: the reference does not leave them out, and the published weights were trained so.

    Kind "pixels" takes the scores Y of `SegOutput` as the logits of an ordinary cross-entropy, without a class loss of
    its own: the ablation is of supervising classes and masks jointly. It is the mean over all pixels, in which those
    with the ignore label are 0, as in the toolkit of the papers.

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

    def forward(self, output: SegOutput, labels: Int[Tensor, "b H W"]) -> dict[str, Tensor]:
        """Weighted terms by name; their sum is the loss.

        Args:
            output: What the decoder returned.
            labels: Class indices or IGNORE_INDEX, at the size of the images.

        Returns:
            `loss_ce`, `loss_mask` (focal) and `loss_dice` of the final output, or of kind "pixels" `loss_pixel`, and
            of each earlier stage with its name appended.
        """
        stages = {"": output, **{f"_{name}": stage for name, stage in output.aux.items()}}
        if self.config.kind == "pixels":
            return {
                f"loss_pixel{name}": self._pixel_loss(stage, labels)
                for name, stage in stages.items()
            }
        present = present_classes(labels, output.num_classes)  # (b, k)
        weights = self._weights(
            present
        )  # (b, k), of which absent classes count in the class loss alone
        total = mean_over_processes((weights * present).sum()).clamp(min=1)
        image, cls = present.nonzero(as_tuple=True)
        pair_weights = weights[image, cls]  # (pairs,)
        # Half as wide, the labels are gathered for every pair in half the time.
        targets = (labels.int()[image] == cls[:, None, None]).flatten(1)  # (pairs, H*W)
        terms: dict[str, Tensor] = {}
        for name, stage in stages.items():
            logits = stage.class_logits
            assert logits is not None
            terms["loss_ce" + name] = self.config.class_weight * self._class_loss(
                logits, present, weights
            )
            masks = upsample_masks(
                stage.mask_logits[image, cls], stage, spatial_size(labels)
            ).flatten(1)
            focal, dice = (
                (losses * pair_weights).sum() / total for losses in focal_and_dice(masks, targets)
            )
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

    def _pixel_loss(self, output: SegOutput, labels: Int[Tensor, "b H W"]) -> Float[Tensor, ""]:
        scores = full_scores(output, spatial_size(labels))
        return pixel_cross_entropy(scores, labels, "all", self.class_weights)

    def _weights(self, present: Bool[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        if self.class_weights is None:
            return torch.ones(present.shape, device=present.device)
        return self.class_weights.float().expand(present.shape)


def present_classes(labels: Int[Tensor, "b H W"], num_classes: int) -> Bool[Tensor, "b k"]:
    """Which classes occur in which image."""
    counted = torch.where(labels == IGNORE_INDEX, num_classes, labels).flatten(1)
    present = torch.zeros(len(labels), num_classes + 1, dtype=torch.bool, device=labels.device)
    return present.scatter_(1, counted, True)[:, :num_classes]

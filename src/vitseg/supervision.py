"""What recipes say of their losses; the losses themselves (`losses/`) are imported in training alone."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from vitseg.config import given_fields

MeanOver = Literal["all", "labelled"]
MaskLoss = Literal["cross_entropy", "focal"]
Ignored = Literal["negatives", "left_out"]


class AtmLossConfig(BaseModel):
    """What is supervised, and the weights of the terms."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["masks", "pixels"] = Field(
        default="masks",
        description="masks: class and mask of every query, each on its own (the paper's); pixels: cross-entropy of the "
        "class scores of every pixel, in which the two are one (learns late unless decoder.classifier is presence)",
    )
    class_weight: float = Field(default=1.0, ge=0, description="weight of the class cross-entropy")
    focal_weight: float = Field(default=20.0, ge=0, description="weight of the focal mask loss")
    dice_weight: float = Field(default=1.0, ge=0, description="weight of the dice mask loss")
    pixel_weight: float = Field(
        default=0.0,
        ge=0,
        description="weight of a cross-entropy of every pixel's class probabilities besides, in which classes compete",
    )
    pixel_step: int = Field(
        default=1,
        ge=1,
        description="every n-th pixel along height and width is compared with the masks, from a place drawn anew in "
        "every step: n * n times less work on masks, which is much of a small model's step",
    )
    no_object_weight: float = Field(
        default=0.1, gt=0, description="weight of absent classes within the cross-entropy"
    )
    ignored: Ignored = Field(
        default="negatives",
        description="what pixels with the ignore label are: negatives of every mask (the papers'; in kind pixels, "
        "zeros in the mean over all pixels), or left out of every term, and images of nothing else as well; left out "
        "is for sparse labels",
    )

    @property
    def learns_absence(self) -> bool:
        """Whether an image without any label teaches that no class is in it."""
        return self.kind == "masks" and self.ignored == "negatives"

    @model_validator(mode="after")
    def _weights_belong_to_masks(self) -> AtmLossConfig:
        given = given_fields(self, but=("kind", "ignored"))
        if self.kind == "pixels" and given:
            raise ValueError(
                f'{", ".join(given)} belong to kind "masks": set it, or leave them out'
            )
        return self


class PixelLossConfig(BaseModel):
    """The mean, and the weight of auxiliary outputs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean_over: MeanOver = Field(
        default="all",
        description="what the sum over labelled pixels is divided by: all pixels, those with the ignore label too (as "
        "mmsegmentation and so SETR do), or the labelled ones alone (as torch does)",
    )
    auxiliary_weight: float = Field(
        default=0.4, ge=0, description="weight of each auxiliary output; the main one has 1"
    )
    hardest_pixels: int | None = Field(
        default=None,
        ge=1,
        description="pixels per image, of highest loss in the batch, that count in the main output's sum (OHEM, in "
        "some SeMask recipes), of each micro-batch where gradients are accumulated; the mean is still over what "
        "mean_over says; null: all",
    )


class SetPredictionLossConfig(BaseModel):
    """Weights of the terms, in the matching and in the loss, and where masks are compared."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    class_weight: float = Field(default=2.0, ge=0, description="weight of the class cross-entropy")
    mask_weight: float = Field(default=5.0, ge=0, description="weight of mask_loss")
    dice_weight: float = Field(default=5.0, ge=0, description="weight of the dice mask loss")
    no_object_weight: float = Field(
        default=0.1,
        gt=0,
        description="weight of unmatched queries within the class cross-entropy",
    )
    mask_loss: MaskLoss = Field(
        default="cross_entropy",
        description="binary cross-entropy of the masks' pixels, or the focal loss (MaskFormer)",
    )
    points: int | None = Field(
        default=None,
        ge=1,
        description="points per mask at which masks are compared, drawn anew in every step; null: all cells of the "
        "predicted masks",
    )
    oversample: float = Field(
        default=3.0, ge=1, description="with points: candidates per point of the loss"
    )
    importance: float = Field(
        default=0.75,
        ge=0,
        le=1,
        description="with points: share of the loss' points that are the least certain candidates",
    )

    @model_validator(mode="after")
    def _sampling_belongs_to_points(self) -> SetPredictionLossConfig:
        given = [name for name in given_fields(self) if name in ("oversample", "importance")]
        if self.points is None and given:
            raise ValueError(
                f"{' and '.join(given)} belong to points: give it a number, or leave them out"
            )
        return self


class Mask2FormerLossConfig(SetPredictionLossConfig):
    """The same, at points, as Mask2Former was trained."""

    points: int | None = Field(
        default=12544, ge=1, description="points per mask (112 x 112); null: all cells of the masks"
    )


class MaskFormerLossConfig(SetPredictionLossConfig):
    """The same with MaskFormer's weights, and its focal loss."""

    class_weight: float = Field(default=1.0, ge=0, description="weight of the class cross-entropy")
    mask_weight: float = Field(default=20.0, ge=0, description="weight of mask_loss")
    dice_weight: float = Field(default=1.0, ge=0, description="weight of the dice mask loss")
    mask_loss: MaskLoss = Field(
        default="focal", description="focal loss of the masks' pixels, or binary cross-entropy"
    )


class EdgeLossConfig(BaseModel):
    """Weight and target of the edge loss."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weight: float = Field(default=1.0, ge=0, description="weight of the edge cross-entropy")
    width: int = Field(
        default=1, ge=1, description="pixels on each side of a boundary that count as edge"
    )

"""The training steps of the baselines: what a batch's loss is made of beyond the model's output."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.func import functional_call

from vitseg.losses.cross_entropy import PixelLoss
from vitseg.methods.model import SegmentationModel
from vitseg.studies.continual.growing import linear_decoder, num_classes
from vitseg.studies.continual.losses.local_pod import local_pod
from vitseg.studies.continual.losses.pseudo_labels import pseudo_labelled, weighted_cross_entropy
from vitseg.studies.continual.losses.unbiased import unbiased_cross_entropy, unbiased_distillation
from vitseg.training.step import LossOfModel

Inputs = Tensor | Sequence[Tensor]


class MibConfig(BaseModel):
    """MiB's weight (CVPR 2020, equation 2)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    distillation: float = Field(
        default=1.0,
        ge=0,
        description="weight of the unbiased distillation, a sum over classes and a mean over pixels; the paper chooses "
        "it for each data set, 1 is our choice",
    )


class PlopConfig(BaseModel):
    """PLOP's weights (CVPR 2021, equation 10 and the supplement)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    features: float = Field(
        default=0.01, ge=0, description="weight of Local POD on the backbone's taps"
    )
    logits: float = Field(
        default=0.0005, ge=0, description="weight of Local POD on the logits of earlier classes"
    )
    squared: bool = Field(
        default=False,
        description="square the distances of Local POD, as the equations do; see losses/local_pod.py",
    )


class LinearRowsLoss(LossOfModel):
    """The loss of a model of which only the classifier's new rows are trained.

    The earlier rows take part without gradients. With no weight decay on the classifier, an optimiser then leaves them
    bit by bit as they are. The normalisation in front keeps its statistics.
    """

    def __init__(
        self, model: SegmentationModel, criterion: nn.Module, freeze_backbone: bool, num_old: int
    ):
        super().__init__(model, criterion, freeze_backbone)
        self.num_old = num_old

    def train(self, mode: bool = True) -> LinearRowsLoss:
        super().train(mode)
        linear_decoder(self.model).norm.eval()
        return self

    def forward(self, inputs: Inputs, labels: Int[Tensor, "b H W"]) -> dict[str, Float[Tensor, ""]]:
        decoder = linear_decoder(self.model)
        features = self.model.backbone(inputs)
        rows = {
            f"classifier.{name}": torch.cat(
                [rows[: self.num_old].detach(), rows[self.num_old :]], dim=0
            )
            for name, rows in decoder.classifier.named_parameters()
        }
        return self.criterion(functional_call(decoder, rows, (features,)), labels)


class TaughtLoss(LossOfModel):
    """A training step in which the earlier model, frozen and in evaluation mode, sees the same images."""

    def __init__(
        self,
        model: SegmentationModel,
        criterion: nn.Module,
        freeze_backbone: bool,
        teacher: SegmentationModel,
        config: BaseModel,
    ):
        super().__init__(model, criterion, freeze_backbone)
        self.config = config
        self.teacher = teacher.requires_grad_(False).eval()
        self.num_old = num_classes(teacher)

    def train(self, mode: bool = True) -> TaughtLoss:
        super().train(mode)
        self.teacher.eval()
        return self


class MibLoss(TaughtLoss):
    """MiB (Cermelli et al., CVPR 2020): unbiased cross-entropy and unbiased distillation (equation 2)."""

    config: MibConfig

    def forward(self, inputs: Inputs, labels: Int[Tensor, "b H W"]) -> dict[str, Float[Tensor, ""]]:
        scores = self.model(inputs).scores()
        with torch.no_grad():
            old_scores = self.teacher(inputs).scores()
        assert isinstance(self.criterion, PixelLoss)
        mean_over = self.criterion.config.mean_over
        distillation = unbiased_distillation(scores, old_scores, labels)
        return {
            "loss_pixel": unbiased_cross_entropy(scores, labels, self.num_old, mean_over),
            "loss_distillation": self.config.distillation * distillation,
        }


class PlopLoss(TaughtLoss):
    """PLOP (Douillard et al., CVPR 2021): pseudo-labels, and Local POD of feature maps and logits (equation 10).

    The distillation is weighted by the square root of (classes seen / classes of the step) beside its constant. The
    maps are the backbone's taps; of the logits, those of the earlier model's classes. That a softmax model has its
    background among them, and which logits are compared, the paper leaves open.

    Args:
        model: What is trained.
        criterion: Unused: the loss of equation 9 takes its place.
        freeze_backbone: See `LossOfModel`.
        teacher: The earlier model.
        config: Weights.
        thresholds: Largest entropy of a pseudo-label, in nats, by class of the earlier model.
    """

    config: PlopConfig

    def __init__(
        self,
        model: SegmentationModel,
        criterion: nn.Module,
        freeze_backbone: bool,
        teacher: SegmentationModel,
        config: PlopConfig,
        thresholds: Float[Tensor, " k0"],
    ):
        super().__init__(model, criterion, freeze_backbone, teacher, config)
        self.thresholds: Tensor
        self.register_buffer("thresholds", thresholds, persistent=False)
        seen = num_classes(model) - 1  # without the background
        self.growth = (seen / (seen + 1 - self.num_old)) ** 0.5

    def forward(self, inputs: Inputs, labels: Int[Tensor, "b H W"]) -> dict[str, Float[Tensor, ""]]:
        features = self.model.backbone(inputs)
        output = self.model.decoder(features)
        with torch.no_grad():
            old_features = self.teacher.backbone(inputs)
            old_output = self.teacher.decoder(old_features)
            old_scores = old_output.scores()
            pseudo, weights = pseudo_labelled(labels, old_scores, self.thresholds)
        logits = output.mask_logits[:, : self.num_old]
        squared = self.config.squared
        of_features = local_pod(features.maps, old_features.maps, squared=squared)
        of_logits = local_pod([logits], [old_output.mask_logits], squared=squared)
        scores = output.scores()
        return {
            "loss_pixel": weighted_cross_entropy(scores, pseudo, labels, weights),
            "loss_pod": self.config.features * self.growth * of_features,
            "loss_pod_logits": self.config.logits * self.growth * of_logits,
        }

"""SegViT's loss: every class has its own query, so nothing is matched.

Source: SegViT (NeurIPS 2022), section 3.2, eq. 4, with the weights of thesis eq. 4.5: class cross-entropy 1 (no-object
weight 0.1), focal 20, dice 1; the same for every stage. Kind "pixels" is the row "ATM, CE loss" of thesis table 4.4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vitseg.classes import IGNORE_INDEX
from vitseg.losses.cross_entropy import pixel_cross_entropy
from vitseg.losses.mask import focal_and_dice, labelled_focal_and_dice
from vitseg.losses.whole_step import mean_over_step, step_labels
from vitseg.outputs import QueryMasks, SegOutput
from vitseg.supervision import AtmLossConfig
from vitseg.types import spatial_size

MIN_SCORE = 1e-6
"""Below this a class score has no gradient in the cross-entropy of pixels."""


@dataclass(frozen=True)
class AtmTargets:
    """What an `AtmLoss` compares an output with.

    Attributes:
        labels: Class indices or IGNORE_INDEX, at the size of the images.
        unlabelled: Pixels that are left out of everything; None: none.
    """

    labels: Int[Tensor, "b H W"]
    unlabelled: Bool[Tensor, "b H W"] | None

    def present(self, num_classes: int) -> Bool[Tensor, "b k"]:
        """Which classes occur in which image."""
        return present_classes(self.labels, num_classes)

    def known(self) -> Bool[Tensor, " b"] | None:
        """Images that have a label at all: what is in others is not known; None: all of them."""
        return None if self.unlabelled is None else ~self.unlabelled.flatten(1).all(1)

    def at(self, rows: Int[Tensor, " r"], columns: Int[Tensor, " c"]) -> AtmTargets:
        """Some of the pixels, by rows and columns."""
        left_out = None if self.unlabelled is None else self.unlabelled[:, rows][:, :, columns]
        return AtmTargets(self.labels[:, rows][:, :, columns], left_out)


class AtmLoss(nn.Module):
    """The loss of an ATM decoder's output and of its earlier stages.

    Only classes that occur in an image have a mask loss there. Pixels with the ignore label are negatives of every
    mask: the reference does not leave them out, and the published weights were trained so. With `ignored` "left_out"
    they are in no sum and in no mean, and an image of nothing else has no class loss either. A class that is not
    labelled in an image that has labels counts as absent in both.

    Kind "pixels" takes the output's scores as the logits of an ordinary cross-entropy, without a class loss of
    its own: the ablation is of supervising classes and masks jointly. It is the mean over all pixels, in which those
    with the ignore label are 0, as in the toolkit of the papers; or, left out, over the labelled ones.

    Where gradients are accumulated, means are over all micro-batches of a step; with `pixel_step` each of them draws
    places of its own.

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
        self, output: SegOutput, labels: Int[Tensor, "b H W"]
    ) -> dict[str, Float[Tensor, ""]]:
        """Weighted terms by name; their sum is the loss.

        Args:
            output: What the decoder returned.
            labels: Class indices or IGNORE_INDEX, at the size of the images.

        Returns:
            `loss_ce`, `loss_mask` (focal) and `loss_dice` of the final output, or of kind "pixels" `loss_pixel`, and
            of each earlier stage with its name appended.
        """
        own, whole = self.targets(labels), step_labels(labels)
        return self.terms(output, own, own if whole is labels else self.targets(whole))

    def targets(
        self, labels: Int[Tensor, "b H W"], unlabelled: Bool[Tensor, "b H W"] | None = None
    ) -> AtmTargets:
        """What an output is compared with.

        Args:
            labels: Class indices or IGNORE_INDEX, at the size of the images.
            unlabelled: Pixels that are left out where `ignored` says so; None: those with the ignore label. A part that
                has the ignore label for the classes of others gives those that nobody has labelled.
        """
        if self.config.ignored == "negatives":
            return AtmTargets(labels, None)
        return AtmTargets(labels, labels == IGNORE_INDEX if unlabelled is None else unlabelled)

    def terms(
        self, output: SegOutput, own: AtmTargets, whole: AtmTargets
    ) -> dict[str, Float[Tensor, ""]]:
        """Weighted terms by name; see `forward`.

        Args:
            output: What the decoder returned.
            own: What it is compared with.
            whole: That of all micro-batches of the step, of which the means are; the same object where there is one.
        """
        assert spatial_size(own.labels) == output.input_size
        if self.config.kind == "pixels":
            return {
                f"loss_pixel{name}": self._pixel_loss(stage, own.labels, whole.labels)
                for name, stage in output.supervised()
            }
        present, of_all = _present(own, whole, output.num_classes)  # (b, k)
        known = own.known()  # (b,)
        class_total = self._query_weights(of_all, whole.known()).sum()
        class_total = mean_over_step(class_total, own.labels, whole.labels)
        stages, compared = list(output.supervised()), present
        if self.config.pixel_step > 1:
            kept, stages = self._thinned(stages, own.labels)
            few = own.at(*kept)
            own, whole = few, few if whole is own else whole.at(*kept)
            compared, of_all = _present(own, whole, output.num_classes)
        total = (self._weights(of_all) * of_all).sum()
        total = mean_over_step(total, own.labels, whole.labels, at_least=1.0)
        image, cls = compared.nonzero(as_tuple=True)
        pair_weights = self._weights(compared)[image, cls]  # (pairs,)
        # Half as wide, the labels are gathered for every pair in half the time.
        targets = (own.labels.int()[image] == cls[:, None, None]).flatten(1)  # (pairs, H*W)
        terms: dict[str, Float[Tensor, ""]] = {}
        for name, stage in stages:
            assert isinstance(stage, QueryMasks)
            class_loss = self._class_loss(stage, present, known) / class_total
            terms["loss_ce" + name] = self.config.class_weight * class_loss
            masks = stage.at_pixels(stage.mask_logits[image, cls][:, None]).flatten(1)
            of_masks = (
                focal_and_dice(masks, targets)
                if own.unlabelled is None
                else labelled_focal_and_dice(masks, targets, ~own.unlabelled.flatten(1)[image])
            )
            focal, dice = ((losses * pair_weights).sum() / total for losses in of_masks)
            terms["loss_mask" + name] = self.config.focal_weight * focal
            terms["loss_dice" + name] = self.config.dice_weight * dice
            if self.config.pixel_weight:
                competing = self._competing_loss(stage, own.labels, whole.labels)
                terms["loss_pixel" + name] = self.config.pixel_weight * competing
        return terms

    def _thinned(
        self, stages: list[tuple[str, SegOutput]], labels: Int[Tensor, "b H W"]
    ) -> tuple[tuple[Int[Tensor, " r"], Int[Tensor, " c"]], list[tuple[str, SegOutput]]]:
        """Which lines are kept, every n-th, and the outputs there; a class in none has no mask loss in this step."""
        step, device = self.config.pixel_step, labels.device
        rows, columns = (every(step, length).to(device) for length in labels.shape[1:])
        return (rows, columns), [(name, stage.at(rows, columns)) for name, stage in stages]

    def _class_loss(
        self, output: QueryMasks, present: Bool[Tensor, "b k"], known: Bool[Tensor, " b"] | None
    ) -> Float[Tensor, ""]:
        """The sum of the queries' cross-entropies, weighted by the classes that are their targets."""
        targets = output.class_targets(present)  # (b, q)
        terms = F.cross_entropy(
            output.class_logits.float().flatten(0, 1), targets.flatten(), reduction="none"
        )
        return (terms * self._query_weights(present, known).flatten()).sum()

    def _query_weights(
        self, present: Bool[Tensor, "b k"], known: Bool[Tensor, " b"] | None
    ) -> Float[Tensor, "b q"]:
        """Weight of every query in the class loss; absent classes count less."""
        weights = torch.where(present, self._weights(present), self.config.no_object_weight)
        return weights if known is None else weights * known[:, None]

    def _pixel_loss(
        self, output: SegOutput, labels: Int[Tensor, "b H W"], whole: Int[Tensor, "B H W"]
    ) -> Float[Tensor, ""]:
        mean_over = "all" if self.config.ignored == "negatives" else "labelled"
        return pixel_cross_entropy(
            output.scores(), labels, mean_over, self.class_weights, whole=whole
        )

    def _competing_loss(
        self, output: QueryMasks, labels: Int[Tensor, "b H W"], whole: Int[Tensor, "B H W"]
    ) -> Float[Tensor, ""]:
        """The cross-entropy of every labelled pixel's class probabilities: scores over their sum."""
        logits = output.scores().clamp_min(MIN_SCORE).log()
        return pixel_cross_entropy(logits, labels, "labelled", self.class_weights, whole=whole)

    def _weights(self, present: Bool[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        if self.class_weights is None:
            return torch.ones(present.shape, device=present.device)
        return self.class_weights.float().expand(present.shape)


def _present(
    own: AtmTargets, whole: AtmTargets, num_classes: int
) -> tuple[Bool[Tensor, "b k"], Bool[Tensor, "B k"]]:
    """Which classes occur in which image, of the micro-batch and of the step."""
    present = own.present(num_classes)
    return present, present if whole is own else whole.present(num_classes)


def every(step: int, length: int) -> Int[Tensor, " n"]:
    """Every n-th line of an axis, from a random one of the first n: each is as likely as any other.

    Where the length is no multiple of n, some lie one nearer to each other, so that there are always as many: their
    number is a constant of a graph, the place from which they are counted is none.
    """
    count = math.ceil(length / step)
    if length % step == 0:
        return torch.randint(step, ()) + step * torch.arange(count)
    return (torch.randint(length, ()) + length * torch.arange(count)) // count


def present_classes(labels: Int[Tensor, "b H W"], num_classes: int) -> Bool[Tensor, "b k"]:
    """Which classes occur in which image."""
    counted = torch.where(labels == IGNORE_INDEX, num_classes, labels).flatten(1)
    present = torch.zeros(len(labels), num_classes + 1, dtype=torch.bool, device=labels.device)
    return present.scatter_(1, counted, True)[:, :num_classes]

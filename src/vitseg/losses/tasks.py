"""The loss of decoders that were learnt one after the other: each on its own classes."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vitseg.classes import IGNORE_INDEX
from vitseg.losses.atm import AtmLoss, AtmTargets
from vitseg.losses.whole_step import step_labels
from vitseg.outputs import Joined
from vitseg.supervision import AtmLossConfig


class TasksLoss(nn.Module):
    """The attention-to-mask loss of decoders that were learnt one after the other, each on its own classes.

    Pixels of other parts' classes are to a part negatives of its masks, and of no class (thesis section 4.2.3: labels
    of other tasks are background). What pixels without any label are, the configuration says.

    Args:
        config: Weights of the terms, the same for all parts.
        sizes: Classes of each part.
        class_weights: (k,) of all classes, see `AtmLoss`.
    """

    def __init__(
        self, config: AtmLossConfig, sizes: tuple[int, ...], class_weights: Tensor | None = None
    ):
        super().__init__()
        self.sizes = sizes
        weights = [None] * len(sizes) if class_weights is None else class_weights.split(list(sizes))
        self.losses = nn.ModuleList(AtmLoss(config, weight) for weight in weights)

    def forward(self, output: Joined, labels: Int[Tensor, "b H W"]) -> dict[str, Float[Tensor, ""]]:
        """Weighted terms by name, those of part t with `_task_t` appended; their sum is the loss.

        Args:
            output: What the decoders returned.
            labels: Class indices or IGNORE_INDEX, at the size of the images.
        """
        terms: dict[str, Float[Tensor, ""]] = {}
        whole, first = step_labels(labels), 0
        for task, (part, loss, size) in enumerate(
            zip(output.parts, self.losses, self.sizes, strict=True)
        ):
            assert isinstance(loss, AtmLoss)
            classes = range(first, first + size)
            own = _of_task(loss, labels, classes)
            of_step = own if whole is labels else _of_task(loss, whole, classes)
            for name, value in loss.terms(part, own, of_step).items():
                terms[f"{name}_task_{task}"] = value
            first += size
        return terms


def _of_task(loss: AtmLoss, labels: Int[Tensor, "b H W"], classes: range) -> AtmTargets:
    """The targets of a part: its classes counted from 0, those of others not labelled."""
    own = (labels >= classes.start) & (labels < classes.stop)
    of_task = torch.where(own, labels - classes.start, IGNORE_INDEX)
    return loss.targets(of_task, labels == IGNORE_INDEX)

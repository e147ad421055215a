"""Losses of two processes, each with half of a batch: their mean, and that of the gradients, are those of one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from vitseg.classes import IGNORE_INDEX
from vitseg.losses.atm import AtmLoss
from vitseg.losses.cross_entropy import PixelLoss
from vitseg.losses.edges import edge_loss
from vitseg.losses.set_prediction import SetPredictionLoss
from vitseg.losses.tasks import TasksLoss
from vitseg.outputs import ClassLogits, Joined, MixedMasks, SegOutput
from vitseg.supervision import (
    AtmLossConfig,
    EdgeLossConfig,
    PixelLossConfig,
    SetPredictionLossConfig,
)

SIZE, CLASSES, BATCH = (16, 24), 3, 4
WEIGHTS = torch.tensor([0.5, 1.0, 2.0])

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(mask logits, class logits, labels) to one number."""


def mixed(masks: Tensor, classes: Tensor) -> MixedMasks:
    return MixedMasks(masks, SIZE, SIZE, class_logits=classes)


def total(terms: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(terms.values())).sum()


def of_output(loss: nn.Module, build: Callable[[Tensor, Tensor], SegOutput]) -> Loss:
    return lambda masks, classes, labels: total(loss(build(masks, classes), labels))


def joined(masks: Tensor, classes: Tensor) -> Joined:
    """Two parts: classes 0 and 1, and class 2."""
    return Joined.of(
        (mixed(masks[:, :2], classes[:, :2, :3]), mixed(masks[:, 2:], classes[:, 2:, 2:]))
    )


def logits(masks: Tensor, classes: Tensor) -> ClassLogits:
    return ClassLogits(masks, SIZE, SIZE)


def edges(masks: Tensor, classes: Tensor, labels: Tensor) -> Tensor:
    return edge_loss(ClassLogits(masks[:, :2], SIZE, SIZE), labels, EdgeLossConfig())


LOSSES: dict[str, Loss] = {
    "atm": of_output(AtmLoss(AtmLossConfig()), mixed),
    "atm, weights": of_output(AtmLoss(AtmLossConfig(), WEIGHTS), mixed),
    "atm, left out": of_output(AtmLoss(AtmLossConfig(ignored="left_out", pixel_weight=1)), mixed),
    "atm, pixels": of_output(AtmLoss(AtmLossConfig(kind="pixels")), mixed),
    "pixels": of_output(PixelLoss(PixelLossConfig(mean_over="all")), logits),
    "labelled pixels": of_output(PixelLoss(PixelLossConfig(mean_over="labelled")), logits),
    "weighted pixels": of_output(PixelLoss(PixelLossConfig(mean_over="labelled"), WEIGHTS), logits),
    "sets": of_output(SetPredictionLoss(SetPredictionLossConfig()), mixed),
    "sets, weights": of_output(SetPredictionLoss(SetPredictionLossConfig(), WEIGHTS), mixed),
    "sets, focal": of_output(SetPredictionLoss(SetPredictionLossConfig(mask_loss="focal")), mixed),
    "tasks": of_output(TasksLoss(AtmLossConfig(), (2, 1)), joined),
    "tasks, left out": of_output(TasksLoss(AtmLossConfig(ignored="left_out"), (2, 1)), joined),
    "edges": edges,
}


def batch() -> tuple[Tensor, Tensor, Tensor]:
    """Images of which the first half has few classes and many pixels without label, the second others."""
    generator = torch.Generator().manual_seed(0)
    masks = torch.randn(BATCH, CLASSES, 4, 6, generator=generator)
    classes = torch.randn(BATCH, CLASSES, CLASSES + 1, generator=generator)
    labels = torch.randint(0, CLASSES, (BATCH, *SIZE), generator=generator)
    labels[0] = 0
    labels[0, 3:] = IGNORE_INDEX
    labels[1, :, 5:] = IGNORE_INDEX
    return masks, classes, labels


def loss_and_gradients(name: str, part: slice) -> tuple[Tensor, Tensor]:
    masks, classes, labels = (tensor[part] for tensor in batch())
    masks, classes = masks.clone().requires_grad_(), classes.clone().requires_grad_()
    loss = LOSSES[name](masks, classes, labels)
    loss.backward()
    found = (masks.grad, torch.zeros_like(classes) if classes.grad is None else classes.grad)
    return loss.detach(), torch.cat([each.flatten(1) for each in found if each is not None], 1)


def half(rank: int, place: str, folder: str) -> None:
    """What one of the processes does."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", init_method=f"file://{place}", rank=rank, world_size=2)
    own = slice(rank * BATCH // 2, (rank + 1) * BATCH // 2)
    found = {name: loss_and_gradients(name, own) for name in LOSSES}
    torch.save(found, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_have_the_loss_and_gradients_of_one(tmp_path):
    torch.multiprocessing.spawn(half, (str(tmp_path / "meeting"), str(tmp_path)), 2)
    halves = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    for name in LOSSES:
        (first, of_first), (second, of_second) = (each[name] for each in halves)
        whole, gradients = loss_and_gradients(name, slice(None))
        torch.testing.assert_close((first + second) / 2, whole, atol=1e-5, rtol=1e-5, msg=name)
        parts = torch.cat([of_first, of_second]) / 2
        torch.testing.assert_close(parts, gradients, atol=1e-6, rtol=1e-4, msg=name)

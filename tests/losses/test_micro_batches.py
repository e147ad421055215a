"""A batch in micro-batches: the mean of their losses, and the sum of their gradients, are those of the whole."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.losses.test_processes import BATCH, CLASSES, LOSSES, SIZE, batch
from vitseg.classes import IGNORE_INDEX
from vitseg.losses.cross_entropy import PixelLoss
from vitseg.losses.whole_step import mean_over_step, micro_batches_of, step_labels
from vitseg.outputs import ClassLogits
from vitseg.studies.continual.losses.pseudo_labels import weighted_cross_entropy
from vitseg.studies.continual.losses.unbiased import unbiased_cross_entropy, unbiased_distillation
from vitseg.supervision import PixelLossConfig

OF_STUDIES = {
    "mib": lambda scores, _, labels: unbiased_cross_entropy(scores, labels, 2),
    "mib, distilled": lambda scores, old, labels: unbiased_distillation(
        scores, old.mean(1)[:, :2, None, None].expand(-1, -1, *SIZE), labels
    ),
    "plop": lambda scores, _, labels: weighted_cross_entropy(
        scores, labels, labels, torch.full((len(labels),), 0.5)
    ),
}


def at_pixels(masks: Tensor) -> Tensor:
    return torch.nn.functional.interpolate(masks, SIZE)


def loss_of(name: str, masks: Tensor, classes: Tensor, labels: Tensor) -> Tensor:
    if name in OF_STUDIES:
        return OF_STUDIES[name](at_pixels(masks), classes, labels)
    return LOSSES[name](masks, classes, labels)


def in_parts(name: str, number: int, labels: Tensor) -> tuple[float, Tensor]:
    """The loss of a batch in some micro-batches, and its gradients."""
    masks, classes, _ = (tensor.clone() for tensor in batch())
    masks.requires_grad_()
    classes.requires_grad_()
    size, total = BATCH // number, 0.0
    with micro_batches_of(labels):
        for first in range(0, BATCH, size):
            part = slice(first, first + size)
            loss = loss_of(name, masks[part], classes[part], labels[part]) / number
            loss.backward()
            total += loss.item()
    found = [each.grad.flatten(1) for each in (masks, classes) if each.grad is not None]
    return total, torch.cat(found, 1)


def few_labels() -> Tensor:
    """One class in one image, and nothing else: most micro-batches have nothing to divide by."""
    labels = torch.full((BATCH, *SIZE), IGNORE_INDEX)
    labels[0, :5] = 1
    return labels


@pytest.mark.parametrize("name", [*LOSSES, *OF_STUDIES])
@pytest.mark.parametrize("number", [2, 4])
@pytest.mark.parametrize("labels", [batch()[2], few_labels()], ids=["labels", "few labels"])
def test_micro_batches_have_the_loss_and_gradients_of_the_whole(name, number, labels):
    whole, gradients = in_parts(name, 1, labels)
    loss, summed = in_parts(name, number, labels)
    assert loss == pytest.approx(whole, rel=1e-5)
    torch.testing.assert_close(summed, gradients, atol=1e-6, rtol=1e-5)


def test_means_of_each_micro_batch_would_be_another_loss():
    """What the normalisers are for: images of few labelled pixels would count more."""
    masks, _, labels = batch()
    loss = PixelLoss(PixelLossConfig(mean_over="labelled"))
    parts = [
        loss(ClassLogits(masks[part], SIZE, SIZE), labels[part])["loss_pixel"]
        for part in (slice(0, 2), slice(2, 4))
    ]
    whole = loss(ClassLogits(masks, SIZE, SIZE), labels)["loss_pixel"]
    assert abs(sum(parts) / 2 - whole) > 1e-3


def test_more_classes_than_queries_count_in_part():
    """Of other micro-batches it is known that as many classes as queries find one."""
    labels = torch.arange(CLASSES).repeat_interleave(8).expand(BATCH, 16, 24).contiguous()
    masks, classes, _ = batch()
    few = slice(0, 2)
    name = "sets"
    whole = LOSSES[name](masks[:, few], classes[:, few], labels)
    with micro_batches_of(labels):
        parts = [
            LOSSES[name](masks[part, few], classes[part, few], labels[part])
            for part in (slice(0, 2), slice(2, 4))
        ]
    assert sum(parts).item() / 2 == pytest.approx(whole.item(), rel=1e-5)


def test_a_mean_is_over_all_micro_batches_and_never_0():
    labels = torch.zeros(2, 1, 1, dtype=torch.long)
    assert step_labels(labels) is labels
    assert mean_over_step(torch.tensor(6), labels, labels.repeat(3, 1, 1)) == 2
    assert mean_over_step(torch.tensor(0.0), labels, labels) == 1
    assert mean_over_step(torch.tensor(0.5), labels, labels, at_least=1.0) == 1
    whole = labels.repeat(4, 1, 1)
    assert mean_over_step(torch.tensor(0.5), labels, whole, at_least=1.0) == 0.25
    with micro_batches_of(whole):
        assert step_labels(labels) is whole
    assert step_labels(labels) is labels

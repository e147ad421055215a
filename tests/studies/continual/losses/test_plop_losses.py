"""Local POD and pseudo-labels against hand numbers and a loop over regions."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from vitseg.classes import IGNORE_INDEX
from vitseg.studies.continual.losses.local_pod import local_pod
from vitseg.studies.continual.losses.pseudo_labels import (
    entropy_of,
    pseudo_labelled,
    weighted_cross_entropy,
)


def test_local_pod_by_hand():
    """Rows have means 2 and 0, columns 1 and 1; at scale 2 every entry is a region of its own, counted twice."""
    new = torch.tensor([[[[1.0, 3.0], [1.0, -1.0]]]])
    old = torch.zeros_like(new)
    one, two = 4 + 0 + 1 + 1, 2 * (1 + 9 + 1 + 1)
    for squared in (False, True):
        power = 1 if squared else 0.5
        first = local_pod([new], [old], (1,), squared)
        assert first.item() == pytest.approx(one**power)
        assert local_pod([new], [old], (2,), squared).item() == pytest.approx(two**power)
        both = local_pod([new, old], [old, old], (1, 2), squared)  # the second is no distance
        assert both.item() == pytest.approx((one + two) ** power / 2)


def test_local_pod_of_equal_maps_has_no_gradient():
    new = torch.ones(2, 3, 4, 4, requires_grad=True)
    local_pod([new], [torch.ones(2, 3, 4, 4)]).backward()
    assert new.grad is not None
    assert new.grad.abs().max() == 0


def test_local_pod_is_the_papers_regions():
    new, old = torch.randn(2, 2, 3, 4, 8)
    expected = 0.0
    for scale in (1, 2, 4):
        height, width = 4 // scale, 8 // scale
        for i in range(scale):
            for j in range(scale):
                place = (
                    ...,
                    slice(i * height, (i + 1) * height),
                    slice(j * width, (j + 1) * width),
                )
                region = (new - old)[place]
                expected += region.mean(-1).square().sum() + region.mean(-2).square().sum()
    torch.testing.assert_close(local_pod([new], [old], squared=True), expected / 2)


def test_pseudo_labels_by_hand():
    # Pixels: sure of class 1, unsure, sure of the background, of the current class, ignored.
    probs = torch.tensor(
        [[0.01, 0.98, 0.01], [0.4, 0.35, 0.25], [0.97, 0.02, 0.01], [0.01, 0.98, 0.01], [0.4, 0.3, 0.3]]
    )  # fmt: skip
    logits = probs.log().T[None, :, None]  # (1, 3, 1, 5)
    labels = torch.tensor([[[0, 0, 0, 3, IGNORE_INDEX]]])
    found, weights = pseudo_labelled(labels, logits, torch.tensor([0.5, 0.5, 0.5]))
    assert found.tolist() == [[[1, IGNORE_INDEX, 0, 3, IGNORE_INDEX]]]
    assert weights.tolist() == pytest.approx([2 / 3])
    # A threshold belongs to the class that is predicted.
    found, weights = pseudo_labelled(labels, logits, torch.tensor([9.0, 0.0, 0.0]))
    assert found.tolist() == [[[IGNORE_INDEX, 0, 0, 3, IGNORE_INDEX]]]
    found, weights = pseudo_labelled(labels.clamp(min=3), logits, torch.zeros(3))
    assert weights.tolist() == [1.0]  # nothing in doubt


def test_entropy():
    assert entropy_of(torch.tensor([0.5, 0.5, 0.0])[:, None, None]).item() == pytest.approx(
        math.log(2)
    )


def test_weighted_cross_entropy_by_hand():
    logits = torch.randn(2, 3, 2, 2)
    labels = torch.tensor([[[0, 0], [2, IGNORE_INDEX]], [[0, 2], [2, 2]]])
    pseudo = torch.tensor([[[1, IGNORE_INDEX], [2, IGNORE_INDEX]], [[0, 2], [2, 2]]])
    first = F.cross_entropy(logits[:1], pseudo[:1], ignore_index=IGNORE_INDEX, reduction="sum")
    second = F.cross_entropy(logits[1:], pseudo[1:], reduction="sum")
    loss = weighted_cross_entropy(logits, pseudo, labels, torch.tensor([0.5, 0.25]))
    torch.testing.assert_close(loss, (0.5 * first + 0.25 * second) / 7)

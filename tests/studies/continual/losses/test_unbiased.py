"""MiB's losses against hand numbers."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from vitseg.classes import IGNORE_INDEX
from vitseg.studies.continual.losses.unbiased import unbiased_cross_entropy, unbiased_distillation

# Background, one old class, one new class; the last pixel is ignored.
PROBS = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.7, 0.2], [0.6, 0.1, 0.3], [0.2, 0.2, 0.6]])
LOGITS = PROBS.log().T[None, :, None] + 3.0  # (1, 3, 1, 4); a shift changes nothing
LABELS = torch.tensor([[[0, 0, 2, IGNORE_INDEX]]])
TERMS = [-math.log(0.75), -math.log(0.8), -math.log(0.3)]


def test_background_is_any_old_class():
    loss = unbiased_cross_entropy(LOGITS, LABELS, num_old=2)
    assert loss.item() == pytest.approx(sum(TERMS) / 3)
    over_all = unbiased_cross_entropy(LOGITS, LABELS, 2, "all")
    assert over_all.item() == pytest.approx(sum(TERMS) / 4)


def test_without_old_classes_it_is_the_ordinary_cross_entropy():
    logits = torch.randn(2, 4, 3, 5)
    labels = torch.randint(0, 4, (2, 3, 5))
    torch.testing.assert_close(
        unbiased_cross_entropy(logits, labels, 1), F.cross_entropy(logits, labels)
    )


def test_the_old_background_is_any_new_class():
    old = torch.tensor([[0.8, 0.2], [0.3, 0.7], [0.5, 0.5], [0.9, 0.1]])
    folded = [(0.75, 0.25), (0.3, 0.7), (0.9, 0.1)]
    terms = [
        -(p[0] * math.log(q[0]) + p[1] * math.log(q[1]))
        for p, q in zip(old.tolist(), folded, strict=False)
    ]
    loss = unbiased_distillation(LOGITS, old.log().T[None, :, None], LABELS)
    assert loss.item() == pytest.approx(sum(terms) / 3)


def test_distillation_is_least_where_the_folded_model_is_the_old_one():
    """Its gradient vanishes there, and nowhere else: new classes may take the old background's probability."""
    logits = torch.randn(1, 5, 2, 2, dtype=torch.float64).requires_grad_()
    probs = logits.detach().softmax(1)
    old = torch.cat([probs[:, :1] + probs[:, 3:].sum(1, keepdim=True), probs[:, 1:3]], 1).log()
    labels = torch.zeros(1, 2, 2, dtype=torch.long)
    (gradient,) = torch.autograd.grad(unbiased_distillation(logits, old, labels), logits)
    assert gradient.abs().max() < 1e-6
    (gradient,) = torch.autograd.grad(unbiased_distillation(logits, 2 * old, labels), logits)
    assert gradient.abs().max() > 1e-3


def test_everything_ignored_is_zero():
    labels = torch.full((1, 1, 4), IGNORE_INDEX)
    assert unbiased_cross_entropy(LOGITS, labels, 2).item() == 0
    assert unbiased_distillation(LOGITS, LOGITS[:, :2], labels).item() == 0

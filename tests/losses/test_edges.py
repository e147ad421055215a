"""The edge loss against hand-made label maps and a plain loop."""

from __future__ import annotations

import math

import pytest
import torch

from vitseg.classes import IGNORE_INDEX
from vitseg.losses.edges import edge_loss, edge_pixels, edge_tokens
from vitseg.outputs import ClassLogits
from vitseg.supervision import EdgeLossConfig

VOID = IGNORE_INDEX


def plain_edges(labels: list[list[int]], width: int) -> list[list[bool]]:
    rows, columns = len(labels), len(labels[0])

    def other(y: int, x: int, v: int, u: int) -> bool:
        if not (0 <= v < rows and 0 <= u < columns):
            return False
        return labels[v][u] not in (labels[y][x], VOID) and labels[y][x] != VOID

    return [
        [
            any(
                other(y, x, y + d, x) or other(y, x, y, x + d)
                for d in range(-width, width + 1)
                if d
            )
            for x in range(columns)
        ]
        for y in range(rows)
    ]


@pytest.mark.parametrize("width", [1, 2, 9])
def test_edge_pixels(width):
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (2, 5, 7), generator=generator).masked_fill(
        torch.rand(2, 5, 7, generator=generator) < 0.2, VOID
    )
    expected = [plain_edges(image.tolist(), width) for image in labels]
    assert edge_pixels(labels, width).tolist() == expected


def test_a_boundary_between_two_patches_marks_both():
    labels = torch.zeros(1, 4, 8, dtype=torch.long)
    labels[:, :, 4:] = 1
    tokens = edge_tokens(labels, (4, 8), (2, 4), EdgeLossConfig())
    assert tokens.tolist() == [[[0, 1, 1, 0]] * 2]


def test_tokens_without_a_label_have_no_target_and_void_makes_no_edge():
    labels = torch.zeros(1, 4, 6, dtype=torch.long)
    labels[..., 2:] = VOID
    tokens = edge_tokens(labels, (4, 8), (2, 4), EdgeLossConfig())
    assert tokens.tolist() == [[[0, VOID, VOID, VOID]] * 2]


def test_the_loss_is_the_mean_over_tokens_with_a_target():
    labels = torch.zeros(1, 2, 6, dtype=torch.long)
    labels[..., 1] = 1
    labels[..., 4:] = VOID
    logits = torch.tensor([[0.0, 1.0, 5.0], [2.0, 0.0, 5.0]])[None, :, None]  # (1, 2, 1, 3)
    output = ClassLogits(logits, (2, 6), (2, 6))
    edge = math.log(1 + math.exp(-2.0))  # token 0 holds an edge
    plain = math.log(1 + math.exp(1.0))  # token 1 touches the boundary, too: its target is edge
    loss = edge_loss(output, labels, EdgeLossConfig(weight=2.0))
    assert loss.item() == pytest.approx(2 * (edge + plain) / 2, rel=1e-5)
    void = torch.full_like(labels, VOID)
    assert edge_loss(output, void, EdgeLossConfig()).item() == 0

"""Outputs as plain tensors, and back."""

from __future__ import annotations

import pytest
import torch

from vitseg.outputs import CellPresence, ClassLogits, Joined, MixedMasks, PresenceMasks
from vitseg.runtimes.layout import OutputLayout, tensors

SIZES = (21, 30), (24, 32)


def output_of(reading, num_classes=3):
    masks = torch.randn(2, num_classes, 3, 4, generator=torch.Generator().manual_seed(0))
    if reading is ClassLogits:
        return ClassLogits(masks, *SIZES)
    logits = torch.randn(2, num_classes, num_classes + 1 if reading is MixedMasks else 2)
    return reading(masks, *SIZES, class_logits=logits)


READINGS = [ClassLogits, MixedMasks, PresenceMasks, CellPresence]


@pytest.mark.parametrize("reading", READINGS)
def test_an_output_comes_back_from_its_tensors(reading):
    output = output_of(reading)
    layout = OutputLayout.model_validate_json(OutputLayout.of(output).model_dump_json())
    found = layout.output(dict(zip(layout.names(), tensors(output), strict=True)), *SIZES)
    assert type(found) is reading
    torch.testing.assert_close(found.scores(), output.scores(), rtol=0, atol=0)


def test_joined_outputs_come_back_part_by_part():
    output = Joined.of([output_of(MixedMasks), output_of(PresenceMasks, 2)])
    layout = OutputLayout.of(output)
    assert len(set(layout.names())) == len(tensors(output)) == 4
    found = layout.output(dict(zip(layout.names(), tensors(output), strict=True)), *SIZES)
    torch.testing.assert_close(found.scores(), output.scores(), rtol=0, atol=0)
    assert found.num_classes == 5

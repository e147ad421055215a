"""Gradient checkpointing changes no loss and no gradient of any method, with LoRA and without, in bf16 as in fp32."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from tests.contracts.test_methods import CONFIGS, build, images_of, labels_of
from vitseg.backbones import PlainViT, Swin, conv_pyramids
from vitseg.errors import ConfigError
from vitseg.layers import checkpointing
from vitseg.methods.model import SegmentationModel
from vitseg.training.encoder import encoder_of
from vitseg.training.lora import LoraConfig, LowRank, add_lora

SIZE = (48, 64)
FAST = ("segvit", "dtop", "semaskvit")


def cases(fast: tuple[str, ...]) -> list:
    return [n if n in fast else pytest.param(n, marks=pytest.mark.slow) for n in CONFIGS]


def gradients(
    model: SegmentationModel, config, recompute: bool, bf16: bool
) -> tuple[dict[str, float], dict[str, Tensor], dict[str, Tensor]]:
    """Losses, gradients and what a step leaves in the buffers."""
    model = copy.deepcopy(model).train()
    for part in model.modules():
        if hasattr(part, "config") and hasattr(part.config, "gradient_checkpointing"):
            part.config = part.config.model_copy(update={"gradient_checkpointing": recompute})
    torch.manual_seed(3)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        terms = config.criterion()(model(images_of(SIZE)), labels_of(SIZE))
    sum(terms.values()).backward()
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {name: term.item() for name, term in terms.items()}, found, dict(model.named_buffers())


def require_same(model: SegmentationModel, config, bf16: bool, monkeypatch) -> None:
    calls = []

    def counted(*arguments, **options):
        calls.append(arguments[0])
        return checkpoint(*arguments, **options)

    for module in (checkpointing, conv_pyramids):
        monkeypatch.setattr(module, "checkpoint", counted)
    losses, expected, buffers = gradients(model, config, False, bf16)
    assert not calls
    found_losses, found, found_buffers = gradients(model, config, True, bf16)
    assert len(calls) > 1  # blocks
    assert found_losses == losses
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-7, msg=name)
    for name, buffer in buffers.items():
        torch.testing.assert_close(found_buffers[name], buffer, rtol=0, atol=0, msg=name)


@pytest.mark.parametrize("case", cases(FAST))
def test_it_changes_no_gradient(case, monkeypatch):
    _, config, model = build(case)
    require_same(model, config, False, monkeypatch)


@pytest.mark.parametrize("case", cases(FAST[:2]))
def test_nor_with_pairs_on_the_attention_in_bf16(case, monkeypatch):
    _, config, model = build(case)
    model = copy.deepcopy(model)
    try:
        add_lora(model, LoraConfig(rank=2))
    except ConfigError:
        assert not isinstance(encoder_of(model), PlainViT | Swin)
        return
    with torch.no_grad():
        for part in model.modules():
            if isinstance(part, LowRank):
                part.up.normal_(std=0.05)
    require_same(model, config, True, monkeypatch)

"""Attention of heads as products where torch's own kernel is slow to train."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from vitseg.layers import attention as attention_module
from vitseg.layers.attention import attend_heads


def heads(dtype: torch.dtype, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(2, 3, n, 8, generator=generator).to(dtype).requires_grad_() for n in (5, 7, 7)
    ]


def biases() -> dict[str, torch.Tensor | None]:
    generator = torch.Generator().manual_seed(1)
    allowed = torch.rand(2, 1, 5, 7, generator=generator) < 0.6
    allowed[..., 0] = True
    return {
        "none": None,
        "mask": allowed,
        "bias": torch.randn(3, 5, 7, generator=generator).bfloat16(),
    }


@pytest.mark.parametrize("kind", ["none", "mask", "bias"])
def test_training_in_bf16_on_a_cpu_attends_as_torch_does(monkeypatch, kind):
    bias, (ours, theirs) = biases()[kind], (heads(torch.bfloat16), heads(torch.float32))
    found = attend_heads(*ours, bias)
    as_float = bias.float() if kind == "bias" else bias
    expected = F.scaled_dot_product_attention(*theirs, attn_mask=as_float)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=0.03, atol=0.03)
    found.float().square().sum().backward()
    expected.square().sum().backward()
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad.float(), other.grad, rtol=0.05, atol=0.1)
    monkeypatch.setattr(F, "scaled_dot_product_attention", None)  # which it did not need
    attend_heads(*ours, bias)


def test_elsewhere_it_is_torchs_own(monkeypatch):
    """In float32, in prediction, and where the weights would take much memory."""
    called: list[int] = []

    def torchs_own(q, *_, **__):
        called.append(1)
        return torch.zeros_like(q)

    monkeypatch.setattr(F, "scaled_dot_product_attention", torchs_own)
    attend_heads(*heads(torch.float32))
    with torch.no_grad():
        attend_heads(*heads(torch.bfloat16))
    monkeypatch.setattr(attention_module, "MOST_WEIGHTS", 2 * 3 * 5 * 7)
    attend_heads(*heads(torch.bfloat16))
    assert len(called) == 3

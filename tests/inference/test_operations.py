from __future__ import annotations

import logging
import math

import jaxtyping
import pytest
import torch
import torch.nn.functional as F
from fvcore.nn import FlopCountAnalysis
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from tests.tiny import make_model
from vitseg.inference import scores
from vitseg.inference.operations import count_operations, peak_memory
from vitseg.inference.scores import OutputScores, label_map
from vitseg.methods import METHODS

PRODUCTS = ("linear", "conv", "matmul", "bmm", "einsum")
"""fvcore's names of what torch's counter counts, too."""

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")


class ReadOut(nn.Module):
    """A model up to its scores, for fvcore, which takes modules and leaves out what no output needs."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        output = self.model(images)
        return output.scores(), [stage.class_logits for stage in output.stages]


def plain_attention(q, k, v, attn_mask=None, dropout_p=0.0, scale=None):
    """The textbook form, whose products fvcore sees."""
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    scores = q @ k.transpose(-2, -1) * scale
    return (scores if attn_mask is None else scores + attn_mask).softmax(-1) @ v


@pytest.fixture
def fvcore_macs(monkeypatch):
    """Multiply-adds of a model's products, counted by fvcore."""
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    monkeypatch.setattr(F, "scaled_dot_product_attention", plain_attention)
    # fvcore traces, and in a trace sizes are tensors.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)

    def run(model, images) -> float:
        with torch.no_grad():
            analysis = FlopCountAnalysis(ReadOut(model), images).unsupported_ops_warnings(False)
            counts = analysis.by_operator()
        return sum(counts[name] for name in PRODUCTS)

    return run


def count(model, images):
    return count_operations(model, lambda: label_map(OutputScores(model(images))))


def total(operations) -> int:
    return sum(sum(part.values()) for part in operations.macs.values())


def segvit(num_classes=7, image_size=(64, 96), decoder=None, **backbone):
    sections = {"name": "test_vit", "pretrained": False, "taps": [1, 3, 5], **backbone}
    raw = {"backbone": sections, "decoder": decoder or {}}
    config = METHODS["segvit"].model_validate(raw)
    return config.build(num_classes, image_size).eval()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({}, (64, 96)),
        ({"prefix_tokens": "drop"}, (96, 64)),
        ({"taps": [2]}, (50, 71)),
        ({"name": "beit_base_patch16_224", "taps": [0], "patch_size": 32}, (224, 224)),
    ],
    ids=["three taps", "no class token", "padded", "attention with a bias"],
)
def test_multiply_adds_are_fvcores(options, size, request):
    model, images = segvit(**options), torch.randn(1, 3, *size)
    found = count(model, images)  # before fvcore's fixture replaces the attention
    expected = request.getfixturevalue("fvcore_macs")(model, images)
    assert total(found) == pytest.approx(expected, rel=1e-3)
    assert set(found.macs["backbone"]) == {"attention", "convolution", "linear"}
    assert set(found.macs["decoder"]) == {"attention", "linear", "matrix product"}


@pytest.mark.slow
def test_multiply_adds_of_vit_base_are_fvcores_and_the_papers(request):
    options = {"name": "vit_base_patch16_384", "taps": [5, 7, 11], "prefix_tokens": "drop"}
    model, images = segvit(150, (512, 512), **options), torch.randn(1, 3, 512, 512)
    found = count(model, images)
    expected = request.getfixturevalue("fvcore_macs")(model, images)
    assert total(found) == pytest.approx(expected, rel=1e-3)
    assert total(found) == pytest.approx(120.9e9, rel=0.01)  # SegViT, table 2


def test_attention_counts_its_two_products():
    tokens, width, queries = 4 * 6 + 1, 64, 40
    model = segvit(queries, taps=[0], decoder={"num_layers": 1, "self_attention": False})
    found = count(model, torch.randn(1, 3, 64, 96))
    assert found.macs["backbone"]["attention"] == 2 * tokens * tokens * width
    assert found.macs["decoder"]["attention"] == 2 * queries * 4 * 6 * width // 2


def test_attention_is_counted_whatever_its_kernel():
    model, images = segvit(), torch.randn(1, 3, 64, 96)
    fused = count(model, images)
    with sdpa_kernel(SDPBackend.MATH):  # two batched products
        assert count(model, images) == fused


def test_mixing_the_classes_belongs_to_the_decoder():
    model, images = segvit(taps=[0]), torch.randn(1, 3, 64, 96)
    whole = count(model, images).macs["decoder"]["matrix product"]
    without = count_operations(model, lambda: model(images)).macs["decoder"]["matrix product"]
    assert whole - without == 7 * 7 * 64 * 96


def test_parameters_that_no_prediction_uses_are_left_out():
    model = make_model()
    model.decoder.auxiliary_head = nn.Linear(10, 10)  # as of a method with a head for training only
    stored = sum(parameter.numel() for parameter in model.parameters())
    unused = 110 + 64  # the tiny model drops its class token
    assert count(model, torch.randn(1, 3, 64, 64)).used_parameters == stored - unused


class Transposed(nn.Module):
    """Uses one weight by an attribute, and of another only the shape."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Identity()
        self.weight = nn.Parameter(torch.ones(5, 3))
        self.shape_only = nn.Parameter(torch.ones(100))

    def forward(self, x):
        return self.backbone(x) @ self.weight.T * self.shape_only.size(0) * len(self.shape_only)


def test_an_attribute_of_a_parameter_is_a_use_and_its_shape_is_none():
    model = Transposed()
    assert count_operations(model, lambda: model(torch.ones(2, 3))).used_parameters == 15


def test_several_runs_are_added_up():
    model, small, large = make_model(), torch.randn(1, 3, 32, 32), torch.randn(1, 3, 64, 96)
    both = count_operations(model, lambda: [model(small), model(large)])
    alone = [count_operations(model, lambda image=image: model(image)) for image in (small, large)]
    assert total(both) == sum(map(total, alone))
    assert both.used_parameters == alone[0].used_parameters


def test_counting_changes_nothing():
    model, images = make_model(), torch.randn(1, 3, 64, 64)
    before = {name: p.requires_grad for name, p in model.named_parameters()}
    expected = model(images).mask_logits
    count(model, images)
    assert {name: p.requires_grad for name, p in model.named_parameters()} == before
    assert any(before.values())
    assert torch.equal(model(images).mask_logits, expected)


def test_peak_memory_is_that_of_the_tensors_alive_at_once():
    x = torch.zeros(1000)  # held before: does not count

    def run():
        a = x + 1  # 4000 bytes
        b = a * 2  # 8000
        del a  # 4000
        c = b.view(10, 100).t()  # a view
        c.add_(1)  # in place
        return torch.cat([b, b])  # 12000

    cpu = torch.device("cpu")
    assert peak_memory(run, cpu) == 12_000
    assert peak_memory(lambda: x.view(10, 100), cpu) == 0
    assert peak_memory(lambda: [x + 1 for _ in range(5)], cpu) == 20_000
    assert peak_memory(lambda: [(x + 1).sum() for _ in range(5)], cpu) == 4_000 + 5 * 4


def test_strips_keep_the_peak_below_one_score_map(monkeypatch):
    monkeypatch.setattr(scores, "STRIP_ELEMENTS", 100_000)
    model = make_model()
    output = model(torch.randn(1, 3, 512, 512))
    cpu = torch.device("cpu")
    with torch.no_grad():
        whole = peak_memory(lambda: output.scores(), cpu)
        strips = peak_memory(lambda: label_map(OutputScores(output)), cpu)
    assert whole >= 3 * 512 * 512 * 4
    assert strips < whole / 2

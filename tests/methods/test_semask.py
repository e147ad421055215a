"""SeMask: sizes of its models, what its layers compute, and that they can learn."""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F

from tests.shapes_alone import shapes_alone
from vitseg.backbones.semantic_swin import SemanticLayer
from vitseg.config import parse
from vitseg.errors import ConfigError
from vitseg.inference.operations import count_operations, peak_memory
from vitseg.layers import semantic_attention
from vitseg.layers.semantic_attention import SemanticAttention, attend_alike
from vitseg.methods.fpn import FpnConfig
from vitseg.methods.model import SegmentationModel
from vitseg.methods.semask import SeMaskConfig

NAMES = {
    "T": "swin_tiny_patch4_window7_224",
    "S": "swin_small_patch4_window7_224",
    "B": "swin_base_patch4_window12_384",
    "L": "swin_large_patch4_window12_384",
}


def semask_of(name: str, num_classes: int, levels=(0, 1, 2, 3), **sections) -> SegmentationModel:
    backbone = {"name": name, "pretrained": False, "levels": levels}
    config = parse(SeMaskConfig, {"backbone": backbone, **sections})
    return config.build(num_classes, (64, 64), False)


def fpn_of(name: str, num_classes: int) -> SegmentationModel:
    backbone = {"name": name, "pretrained": False, "levels": (0, 1, 2, 3)}
    config = parse(FpnConfig, {"backbone": backbone})
    return config.build(num_classes, (64, 64), False)


def size_of(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.golden
@pytest.mark.parametrize("variant", NAMES)
def test_parameters_are_the_references(shared, variant):
    published = json.loads((shared / "golden" / "semask_params.json").read_text())
    for num_classes in (150, 19, 171):
        counts = published[f"{variant}-{num_classes}"]
        with shapes_alone():
            model = semask_of(NAMES[variant], num_classes)
        assert size_of(model) == counts["semask_total"]
        assert size_of(model.backbone) == counts["backbone"]
        assert size_of(model.backbone.get_submodule("semantic")) == counts["semantic_layers"]
    with shapes_alone():
        assert size_of(fpn_of(NAMES[variant], 171)) == counts["swin_fpn_total"]


UNCOUNTED = ("layer_norm", "batch_norm", "upsample_bilinear2d")
"""Operators whose elements the reference's count has and ours has not."""

CROPS = {"512x512": (512, 512), "640x640": (640, 640), "768x768": (768, 768)}


@pytest.mark.slow
@pytest.mark.golden
def test_multiply_adds_are_the_references(shared):
    published = json.loads((shared / "golden" / "semask_flops.json").read_text())
    assert len(published) >= 8
    for key, counts in published.items():
        kind, variant, num_classes, crop = key.split("-")
        make = semask_of if kind == "semask" else fpn_of
        with shapes_alone():
            model = make(NAMES[variant], int(num_classes)).eval()
            image = torch.empty(1, 3, *CROPS[crop])
        found = count_operations(model, lambda m=model, i=image: m(i)).total / 1e9
        wanted = counts["gmacs"] - sum(counts["by_op"][name] for name in UNCOUNTED)
        assert found == pytest.approx(wanted, rel=0.01), key
        assert found == pytest.approx(counts["gmacs"], rel=0.02), key


def layer_of(window, dim=6, num_classes=4) -> SemanticLayer:
    torch.manual_seed(0)
    layer = SemanticLayer(dim, num_classes, window).eval()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(torch.randn_like(parameter))
    return layer


def by_hand(attention: SemanticAttention, tokens: torch.Tensor) -> torch.Tensor:
    """Of (n, c) normalised tokens, one at a time."""
    q, k, v = (layer(tokens) for layer in (attention.query, attention.key, attention.value))
    mixed = torch.stack([(k @ row).softmax(0) @ v for row in q])
    return tokens + attention.gamma * attention.proj(mixed)


@torch.inference_mode()
@pytest.mark.parametrize("size", [(5, 7), (1, 1), (4, 4)])
def test_a_global_layer_attends_to_the_whole_map(size):
    layer = layer_of(None)
    x = torch.randn(2, *size, 6)
    found, semantic = layer(x)
    for image, result, scores in zip(x, found, semantic, strict=True):
        tokens = layer.attention.norm(image).flatten(0, 1)
        torch.testing.assert_close(result.flatten(0, 1), by_hand(layer.attention, tokens))
        torch.testing.assert_close(scores.flatten(1).T, layer.attention.query(tokens))


@torch.inference_mode()
@pytest.mark.parametrize("size", [(6, 5), (8, 4), (1, 1), (3, 9)])
def test_a_windowed_layer_attends_within_padded_windows(size):
    """Maps that are no multiple of the window of 4, and maps smaller than it; every window by hand."""
    layer = layer_of((4, 4))
    x = torch.randn(2, *size, 6)
    found, semantic = layer(x)
    assert found.shape == x.shape
    assert semantic.shape == (2, 4, *size)
    height, width = (-(-side // 4) * 4 for side in size)
    for image, result, scores in zip(x, found, semantic, strict=True):
        normed = layer.attention.norm(image)
        torch.testing.assert_close(scores.permute(1, 2, 0), layer.attention.query(normed))
        padded = F.pad(normed, (0, 0, 0, width - size[1], 0, height - size[0]))
        expected = torch.empty_like(padded)
        for top in range(0, height, 4):
            for left in range(0, width, 4):
                window = padded[top : top + 4, left : left + 4].flatten(0, 1)
                mixed = by_hand(layer.attention, window).view(4, 4, 6)
                expected[top : top + 4, left : left + 4] = mixed
        torch.testing.assert_close(result, expected[: size[0], : size[1]])


@torch.inference_mode()
def test_few_queries_at_a_time_give_the_same(monkeypatch):
    q, k, v = torch.randn(2, 11, 3), torch.randn(2, 11, 3), torch.randn(2, 11, 5)
    whole = attend_alike(q, k, v)
    monkeypatch.setattr(semantic_attention, "SCORE_ELEMENTS", 25)
    torch.testing.assert_close(attend_alike(q, k, v), whole)


def test_the_scores_of_all_pairs_are_never_held():
    num_tokens = 4096
    q, k, v = (torch.randn(1, num_tokens, width) for width in (4, 4, 4))
    peak = peak_memory(lambda: attend_alike(q, k, v), torch.device("cpu"))
    scores = 4 * semantic_attention.SCORE_ELEMENTS  # bytes; twice, before and behind the softmax
    assert peak <= 2 * scores + 4 * 2 * v.numel()
    assert 2 * scores < 4 * num_tokens**2


@pytest.mark.parametrize("window", [None, (2, 2)])
def test_the_branch_can_learn(window):
    """Of the published Mask2Former form nothing but queries ever gets a gradient (gamma and projection both 0)."""
    torch.manual_seed(0)
    layer = SemanticLayer(6, 4, window).train()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    x, target = torch.randn(2, 3, 3, 6), torch.randn(2, 3, 3, 6)
    for step in range(2):
        optimizer.zero_grad()
        F.mse_loss(layer(x)[0], target).backward()
        gradients = {name: p.grad.abs().max().item() for name, p in layer.named_parameters()}
        assert gradients["attention.gamma"] > 0
        if step:  # behind a first step gamma is not 0
            assert all(gradients[f"attention.{name}.weight"] > 0 for name in ("proj", "value"))
            assert all(gradients[f"attention.{name}.weight"] > 0 for name in ("query", "key"))
        optimizer.step()


@pytest.mark.parametrize(
    ("name", "num_classes", "expected"),
    [("T", 150, [0, 1]), ("T", 19, [0, 1, 2, 3]), ("B", 171, [0, 1, 2, 3]), ("L", 20, [0, 1])],
)
def test_the_published_rule_of_windows(name, num_classes, expected):
    with shapes_alone():
        model = semask_of(NAMES[name], num_classes)
    layers = model.backbone.get_submodule("semantic")
    windowed = [level for level, layer in enumerate(layers.children()) if layer.window is not None]
    assert windowed == expected
    assert all(layer.window in (None, model.backbone.window) for layer in layers.children())


def test_windows_can_be_chosen():
    with shapes_alone():
        model = semask_of(NAMES["T"], 5, (0, 1), semantic={"window_levels": [1], "window": 3})
    layers = list(model.backbone.get_submodule("semantic").children())
    assert [layer.window for layer in layers] == [None, (3, 3)]


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"semantic": {"window_levels": [2]}},
            "names stage 2, but backbone.levels ends with stage 1",
        ),
        ({"semantic": {"window_levels": [-1]}}, r"increasing stages from 0, got \[-1\]"),
        ({"semantic": {"window_levels": [1, 1]}}, r"increasing stages from 0, got \[1, 1\]"),
        ({"semantic": {"num_classes": 150}}, r"semantic\.num_classes is not a field"),
        ({"backbone": {"name": NAMES["T"], "levels": [1, 2]}}, r"backbone.levels is \[1, 2\]"),
        ({"backbone": {"name": "resnet18", "levels": [0, 1]}}, "but backbone.name is resnet18"),
    ],
)
def test_contradictions_are_named(sections, message):
    backbone = {"name": NAMES["T"], "levels": [0, 1]}
    raw = {"backbone": backbone, **sections}
    raw["backbone"] = {**raw["backbone"], "pretrained": False}
    with pytest.raises(ConfigError, match=message), shapes_alone():
        parse(SeMaskConfig, raw).build(3, (64, 64), False)


@pytest.fixture(scope="module")
def models() -> dict[int, SegmentationModel]:
    """With all stages, by the number of classes: windows everywhere, and whole maps in the deep stages."""
    models = {count: semask_of(NAMES["T"], count, decoder={"embed_dim": 8}) for count in (3, 20)}
    for model in models.values():
        for layer in model.backbone.semantic:
            torch.nn.init.ones_(layer.attention.gamma)
    return models


SMALL_AND_ODD = {
    (1, 1): [(1, 1), (1, 1), (1, 1), (1, 1)],
    (65, 66): [(17, 17), (9, 9), (5, 5), (3, 3)],  # odd at every stage, the last below a window
    (1, 70): [(1, 18), (1, 9), (1, 5), (1, 3)],
}


@torch.inference_mode()
@pytest.mark.parametrize("num_classes", [3, 20])
@pytest.mark.parametrize("size", SMALL_AND_ODD)
def test_small_and_odd_images(models, num_classes, size):
    model = models[num_classes].eval()
    images = torch.randn(2, 3, *size)
    features = model.backbone(images)
    for maps in (features.maps, features.semantic):
        assert [tuple(m.shape[2:]) for m in maps] == SMALL_AND_ODD[size]
    output = model(images)
    scores = output.scores()
    assert scores.shape == (2, num_classes, *size)
    assert scores.isfinite().all()
    assert output.stages == ()
    assert output.extras == {}
    alone = model(images[:1]).scores()
    torch.testing.assert_close(alone, scores[:1], atol=1e-4, rtol=1e-4)
    trained = model.train()(images)
    assert trained.extras["semantic"].mask_logits.shape == output.mask_logits.shape


def test_training_on_one_pixel_is_refused(models):
    with pytest.raises(ConfigError, match="one image of one token, which has no variance"):
        models[3].train()(torch.randn(1, 3, 1, 1))

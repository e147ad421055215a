"""Mask2Former and MaskFormer as methods: published sizes, SeMask's branch, bad input, small and odd images."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.shapes_alone import shapes_alone
from vitseg.classes import IGNORE_INDEX
from vitseg.config import parse
from vitseg.errors import ConfigError
from vitseg.methods import METHODS
from vitseg.methods.model import SegmentationModel
from vitseg.training.optimizer import parameter_groups
from vitseg.training.recipe import load_recipe

SWIN = {"name": "swin_tiny_patch4_window7_224", "pretrained": False, "levels": [0, 1, 2, 3]}
RESNET = {**SWIN, "name": "resnet18c"}
SMALL = {"embed_dim": 64, "num_queries": 6, "feedforward_dim": 32, "num_layers": 2}
FORMS = ["mask2former", "maskformer"]


@pytest.fixture(autouse=True)
def _library():
    pytest.importorskip("transformers")


def raw_of(method: str, **sections) -> dict:
    decoder = {**SMALL, **({"num_pixel_layers": 1} if method == "mask2former" else {})}
    loss = {"points": 128} if method == "mask2former" else {}
    return {"backbone": SWIN, "decoder": decoder, "loss": loss, **sections}


def model_of(method: str, num_classes: int = 4, **sections):
    config = parse(METHODS[method], raw_of(method, **sections))
    torch.manual_seed(0)
    return config.build(num_classes, (64, 64)), config


def size_of(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("name", "parameters", "millions"),
    [
        ("mask2former-swin_large_patch4_window12_384", 215_488_779, 216),
        ("mask2former-swin_large_patch4_window12_384-semask", 222_632_383, 222),
        ("mask2former-swin_large_patch4_window12_384-semask-fapn", 223_888_279, 224),
        ("maskformer-swin_large_patch4_window12_384", 211_575_627, 212),
        ("maskformer-swin_large_patch4_window12_384-semask", 218_719_231, 219),
    ],
)
def test_recipes_have_the_published_sizes(name, parameters, millions):
    """Published to the million; ours differ by less than one."""
    recipe = load_recipe(f"ade20k/{name}")
    with shapes_alone():
        model = recipe.model.build(150, (640, 640), False)
    assert size_of(model) == parameters
    assert parameters / 1e6 == pytest.approx(millions, abs=0.7)


@pytest.mark.parametrize("method", FORMS)
def test_recipes_decay_no_norm_and_no_embedding(method):
    recipe = load_recipe(f"ade20k/{method}-swin_large_patch4_window12_384-semask")
    with shapes_alone():
        model = recipe.model.build(150, (640, 640), False)
    kinds = (torch.nn.LayerNorm, torch.nn.GroupNorm, torch.nn.Embedding)
    exempt = tuple(f"{name}." for name, m in model.named_modules() if isinstance(m, kinds))
    for group in parameter_groups(model, recipe.optimizer):
        if group["weight_decay"]:
            assert [name for name in group["names"] if name.startswith(exempt)] == []


def gradients(model: SegmentationModel) -> dict[str, float]:
    branch = model.backbone.get_submodule("semantic")
    return {
        name: 0.0 if p.grad is None else p.grad.abs().max().item()
        for name, p in branch.named_parameters()
    }


@pytest.mark.slow
@pytest.mark.parametrize("method", FORMS)
def test_the_semantic_branch_learns(method):
    """With a gamma and a projection that both start at 0, as published, only queries would ever get a gradient."""
    model, config = model_of(method, semantic={"window_levels": [0, 1, 2]})
    model.train()
    criterion = config.criterion()
    images, labels = torch.randn(2, 3, 64, 64), torch.randint(4, (2, 64, 64))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    for step in range(2):
        optimizer.zero_grad()
        terms = criterion(model(images), labels)
        terms["loss_semantic"].backward(retain_graph=True)
        supervised = gradients(model)
        for stage in range(4):
            assert (
                supervised[f"{stage}.attention.query.weight"] > 0
            )  # the maps alone, from the first step on
        sum(term for name, term in terms.items() if name != "loss_semantic").backward()
        found = gradients(model)
        for stage in range(4):
            assert found[f"{stage}.attention.gamma"] > 0
            if step:  # behind a first step gamma is not 0
                for part in ("key", "value", "proj"):
                    assert found[f"{stage}.attention.{part}.weight"] > 0, (stage, part)
        optimizer.step()


@pytest.mark.parametrize("method", FORMS)
def test_semantic_maps_cover_the_image_and_weigh_what_the_recipe_says(method):
    model, config = model_of(method, semantic={})
    output = model.train()(torch.randn(2, 3, 33, 47))
    semantic = output.extras["semantic"]
    assert semantic.mask_logits.shape == (2, 4, 36, 48)
    labels = torch.randint(4, (2, 33, 47))
    labels[0] = IGNORE_INDEX  # half of the pixels: the mean is over the others
    terms = config.criterion()(output, labels)
    scores = semantic.mask_logits[1:, :, :33, :47]
    expected = 0.4 * torch.nn.functional.cross_entropy(scores, labels[1:])
    torch.testing.assert_close(terms["loss_semantic"], expected)
    assert "semantic" not in model.eval()(torch.randn(1, 3, 33, 47)).extras


def test_without_semantic_layers_there_is_no_such_loss():
    model, config = model_of("mask2former")
    output = model.train()(torch.randn(1, 3, 32, 32))
    terms = config.criterion()(output, torch.zeros(1, 32, 32).long())
    assert {name.partition("_layer")[0] for name in terms} == {"loss_ce", "loss_mask", "loss_dice"}


def loss_of(method: str, num_classes: int, labels: Tensor, **sections) -> Tensor:
    model, config = model_of(method, num_classes, **sections)
    images = torch.randn(len(labels), 3, *labels.shape[1:])
    terms = config.criterion()(model.train()(images), labels)
    total = torch.stack(list(terms.values())).sum()
    total.backward()
    return total


@pytest.mark.slow
@pytest.mark.parametrize("method", FORMS)
@pytest.mark.parametrize("size", [(1, 1), (5, 7), (33, 47)])
@pytest.mark.parametrize("semantic", [None, {"window_levels": [0]}])
def test_small_and_odd_images(method, size, semantic):
    model, _ = model_of(method, semantic=semantic)
    assert model.eval()(torch.randn(1, 3, *size)).scores().shape == (1, 4, *size)
    assert loss_of(method, 4, torch.randint(4, (1, *size)), semantic=semantic).isfinite()


@pytest.mark.slow
@pytest.mark.parametrize("method", FORMS)
@pytest.mark.parametrize("backbone", [SWIN, RESNET, {**SWIN, "name": "mit_b0"}])
@pytest.mark.parametrize("case", ["one class", "more classes than queries", "one image ignored"])
def test_classes_of_any_number(method, backbone, case):
    num_classes = {"one class": 1, "more classes than queries": 20}.get(case, 3)
    torch.manual_seed(0)
    labels = torch.randint(num_classes, (2, 32, 40))
    if case == "one image ignored":
        labels[1] = IGNORE_INDEX
    assert loss_of(method, num_classes, labels, backbone=backbone).isfinite()


def test_a_dilated_backbone():
    backbone = {**RESNET, "output_stride": 16}
    assert loss_of("mask2former", 3, torch.randint(3, (2, 64, 64)), backbone=backbone).isfinite()


def test_a_training_repeats_itself():
    labels = torch.randint(4, (2, 40, 48), generator=torch.Generator().manual_seed(0))
    totals = []
    for _ in range(2):
        torch.manual_seed(5)
        totals.append(loss_of("mask2former", 4, labels))
    assert totals[0] == totals[1]


@pytest.mark.parametrize(
    ("method", "sections", "message"),
    [
        (
            "mask2former",
            {"backbone": {**SWIN, "levels": [1, 2, 3]}},
            r"reads strides 4, 8, 16 and 32, but backbone.levels is \[1, 2, 3\]: give \[0, 1, 2, 3\]",
        ),
        (
            "maskformer",
            {"backbone": {**SWIN, "levels": [3]}},
            r"two or more levels, from 0 without gaps, but backbone.levels is \[3\]",
        ),
        ("maskformer", {"backbone": {**SWIN, "levels": [0, 2]}}, "without gaps"),
        (
            "mask2former",
            {"backbone": RESNET, "semantic": {}},
            "backbone.name is resnet18c: give a swin_.*, or leave semantic out",
        ),
        ("maskformer", {"semantic": {"window_levels": [4]}}, "names stage 4"),
        ("mask2former", {"semantic_weight": 0.2}, "semantic_weight belongs to semantic"),
        ("mask2former", {"decoder": {"embed_dim": 96}}, "multiple of 64"),
        ("mask2former", {"loss": {"points": 0}}, "greater than or equal to 1"),
        ("maskformer", {"loss": {"mask_loss": "hinge"}}, "'cross_entropy' or 'focal'"),
        ("maskformer", {"loss": {"oversample": 2.0}}, "oversample belong to points"),
    ],
)
def test_contradictions_are_named(method, sections, message):
    with pytest.raises(ConfigError, match=message), shapes_alone():
        model_of(method, **sections)

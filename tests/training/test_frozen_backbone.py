"""What a frozen backbone leaves to train: all that no pretrained weights have."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.tiny import tiny_recipe
from vitseg.errors import ConfigError
from vitseg.methods import METHODS
from vitseg.training.caching import open_cache
from vitseg.training.feature_cache import FeatureCache
from vitseg.training.recipe import parse_recipe
from vitseg.training.step import LossOfFeatures, LossOfModel

SWIN = {"name": "swin_tiny_patch4_window7_224", "levels": [0, 1]}
CASES = {
    "semask": ("semask", SWIN, {"backbone.semantic.", "backbone.norms."}),
    "swin": ("fpn", SWIN, {"backbone.norms."}),
    "convnext": ("fpn", {"name": "convnext_atto", "levels": [0, 1]}, {"backbone.norms."}),
    "twins": ("fpn", {"name": "twins_svt_small", "levels": [0, 1]}, {"backbone.norms."}),
    "resnet": ("fpn", {"name": "resnet18", "levels": [0, 1]}, set()),
}
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
LABELS = torch.randint(0, 3, (2, 64, 64), generator=torch.Generator().manual_seed(1))


def config_of(method: str, backbone: dict):
    random = {"pretrained": False, "drop_path": 0.9, **backbone}
    return METHODS[method].model_validate({"backbone": random})


@pytest.mark.parametrize("case", CASES)
def test_what_starts_afresh_in_a_pyramid_is_trained(case):
    method, backbone, fresh = CASES[case]
    config = config_of(method, backbone)
    model = config.build(3, (64, 64))
    for layer in getattr(model.backbone, "semantic", None) or ():
        torch.nn.init.ones_(layer.attention.gamma)  # else its gradients begin at 0
    step = LossOfModel(model, config.criterion(), freeze_backbone=True).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    sum(step(IMAGES, LABELS).values()).backward()
    learning = {name for name, value in model.named_parameters() if value.requires_grad}
    assert learning == {name for name, value in model.named_parameters() if value.grad is not None}
    of_backbone = {name for name in learning if name.startswith("backbone.")}
    assert {".".join(name.split(".")[:2]) + "." for name in of_backbone} == fresh
    torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1).step()
    after = model.state_dict()
    kept = [n for n in before if n.startswith("backbone.") and not n.startswith(tuple(fresh))]
    assert all(torch.equal(before[name], after[name]) for name in kept)  # statistics, too


@pytest.mark.parametrize("case", CASES)
def test_what_is_pretrained_stays_in_evaluation_mode(case):
    method, backbone, fresh = CASES[case]
    config = config_of(method, backbone)
    model = config.build(3, (64, 64))
    LossOfModel(model, config.criterion(), freeze_backbone=True).train()
    frozen = [
        part
        for name, part in model.named_modules()
        if name.startswith("backbone.") and not f"{name}.".startswith(tuple(fresh))
    ]
    assert not any(part.training for part in frozen)
    for name in fresh:
        assert model.get_submodule(name.rstrip(".")).training
    assert model.decoder.training


def test_kept_features_are_behind_norms_that_stay():
    config = config_of("fpn", SWIN)
    model = config.build(3, (64, 64))
    cache = FeatureCache.__new__(FeatureCache)  # nothing of it is read
    step = LossOfFeatures(model, config.criterion(), cache)
    assert all(
        n.startswith("model.decoder.") for n, p in step.named_parameters() if p.requires_grad
    )


def test_features_of_semantic_layers_are_not_kept():
    raw = tiny_recipe(freeze_backbone=True)
    raw |= {"method": "semask", "backbone": {"pretrained": False, **SWIN}, "decoder": {}}
    recipe = parse_recipe(raw)
    model = recipe.model.build(3, (64, 64))
    with pytest.raises(ConfigError, match="method semask trains or drives layers within its back"):
        open_cache(Path("cache"), recipe, model, None, None)  # type: ignore[arg-type]

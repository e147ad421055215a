"""The families of 2026 under every kind of step and training option: they run, or are refused with a reason."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from tests.backbones.test_families import DEPTH, build, build_timm
from vitseg.backbones import BackboneConfig, PlainViT
from vitseg.backbones.create import pretrained_mean_std
from vitseg.backbones.families import family_of
from vitseg.backbones.weights import load_weight_file
from vitseg.errors import ConfigError
from vitseg.methods import METHODS
from vitseg.methods.model import SegmentationModel

LINGBOT = "vit_small_patch16_lingbot"
TIPS = "vit_base_patch14_reg1_tipsv2"
PE = "vit_pe_spatial_tiny_patch16_512"
SIGLIP = "vit_so400m_patch14_siglip_378.v2_webli"
NAMES = (LINGBOT, TIPS, PE, SIGLIP)
NUM_CLASSES = 3
SIZE = (75, 92)  # no multiple of 14 or 16

ATM = {"num_layers": 1}
SECTIONS: dict[str, dict[str, Any]] = {
    "segvit": {"decoder": {"num_layers": 2}},
    "linear": {},
    "dtop": {"pruning": {"threshold": 0.34}, "decoder": {"kind": "fcn", "auxiliary": "fcn"}},
    "shrunk": {"shrink": {"block": 2}, "decoder": ATM},
    "semaskvit": {"semantic": {"blocks": [0, 2]}},
    "eomt": {"decoder": {"num_blocks": 1, "num_queries": 4}},
}


def model_of(name: str, method: str, **options: Any) -> SegmentationModel:
    taps = {"segvit": (0, 2), "dtop": (0, 2)}.get(method, (2,))
    vit = build(name, taps=taps, tap_norm=method in ("linear", "eomt", "semaskvit"), **options)
    sections = {"backbone": vit.config, **SECTIONS[method]}
    config = METHODS[method].model_validate(sections)
    torch.manual_seed(0)
    return config.build_on(vit, NUM_CLASSES, SIZE)


@pytest.mark.parametrize("method", SECTIONS)
@pytest.mark.parametrize("name", NAMES)
def test_methods_train_and_predict_on_any_size(name, method):
    """Joint queries, exits at which tokens leave, fewer queries than keys, semantic layers; drop path in training."""
    model = model_of(name, method, drop_path=0.3)
    images = torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    output = model.train()(images)
    total = sum(stage.scores().mean() for stage in (output, *output.stages))
    total.backward()
    first = model.backbone.blocks[0].attn.joint_projection()[0]
    learns = [p.grad for p in model.backbone.blocks[0].attn.parameters() if p.grad is not None]
    assert first.requires_grad
    assert any(bool(gradient.abs().sum()) for gradient in learns)
    with torch.inference_mode():
        assert model.eval()(images).scores().shape[:2] == (2, NUM_CLASSES)


@pytest.mark.parametrize("name", NAMES)
def test_gradient_checkpointing_changes_no_gradient(name):
    images = torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    gradients = []
    for checkpointing in (False, True):
        backbone = build(name, gradient_checkpointing=checkpointing).train()
        backbone(images).maps[-1].square().mean().backward()
        gradients.append(backbone.patch_embed.proj.weight.grad)
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", [LINGBOT, PE])
def test_tokens_without_a_place_are_refused_where_positions_turn_them(name):
    with pytest.raises(ConfigError, match="asks where its tokens stand"):
        model_of_rule(name, "average")


@pytest.mark.parametrize("name", [TIPS, SIGLIP])
def test_tokens_without_a_place_run_where_positions_are_added_once(name):
    model = model_of_rule(name, "average").eval()
    with torch.inference_mode():
        assert model(torch.randn(1, 3, *SIZE)).scores().isfinite().all()


def model_of_rule(name: str, rule: str) -> SegmentationModel:
    vit = build(name, taps=(0, 2))
    pruning = {"rule": rule, "threshold": 0.34}
    heads = {"kind": "fcn", "auxiliary": "fcn"}
    sections = {"backbone": vit.config, "pruning": pruning, "decoder": heads}
    return METHODS["dtop"].model_validate(sections).build_on(vit, NUM_CLASSES, SIZE)


def test_the_class_token_alone_is_refused_where_there_is_none():
    with pytest.raises(ConfigError, match="has no class token: set prefix_tokens to keep or drop"):
        build(SIGLIP, prefix_tokens="class")


@torch.inference_mode()
@pytest.mark.parametrize("name", [LINGBOT, TIPS, PE])
def test_the_class_token_alone(name):
    backbone = build(name, prefix_tokens="class")
    x, positions = backbone.embed(torch.randn(1, 3, *SIZE))
    assert (backbone.num_prefix_tokens, positions.num_prefix_tokens) == (1, 1)
    assert x.shape[1] == 1 + positions.grid[0] * positions.grid[1]
    kept, _ = build(name).embed(torch.zeros(1, 3, *SIZE))
    alone, _ = backbone.embed(torch.zeros(1, 3, *SIZE))
    torch.testing.assert_close(alone[:, :1], kept[:, :1])


@pytest.mark.parametrize("name", NAMES)
def test_weight_files_of_timm_fit_strictly(tmp_path, name):
    """All of timm's parameters, pooling heads among them, as they come from the hub."""
    theirs = build_timm(name)
    save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    fresh = build_timm(name)
    for parameter in fresh.parameters():
        torch.nn.init.zeros_(parameter)
    grid = load_weight_file(fresh, tmp_path / "model.safetensors", "bicubic_antialias")
    assert all(
        torch.equal(fresh.state_dict()[n], value) for n, value in theirs.state_dict().items()
    )
    family = family_of(fresh)
    assert family is not None
    backbone = PlainViT(
        fresh, family, BackboneConfig(name=name, pretrained=False, taps=(DEPTH - 1,))
    )
    assert grid == backbone.grid
    assert not any(
        part in n for n in backbone.state_dict() for part in ("attn_pool", "head", "fc_norm")
    )


@pytest.mark.parametrize(
    ("name", "mean", "std"),
    [
        (LINGBOT, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        (TIPS, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        (PE, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        (SIGLIP, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        ("vit_small_patch14_reg4_dinov2", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ],
)  # fmt: skip
def test_images_are_normalised_as_the_weights_were_trained(name, mean, std):
    assert pretrained_mean_std(BackboneConfig(name=name, taps=(0,))) == (mean, std)
    stated = timm.get_pretrained_cfg(name)
    assert stated is not None
    assert (stated.mean, stated.std) == (mean, std)

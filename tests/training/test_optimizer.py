"""SGD, and which parameters decay."""

from __future__ import annotations

import pytest
import torch

from vitseg.errors import ConfigError
from vitseg.methods import METHODS
from vitseg.methods.model import SegmentationModel
from vitseg.training.optimizer import OptimizerConfig, build_optimizer, parameter_groups
from vitseg.training.schedule import ScheduleConfig, lr_at


def test_sgd_as_setr_has_it():
    """No weight decay anywhere, the head at ten times the rate, the neck at the backbone's, one least rate for all."""
    config = METHODS["setr"].model_validate(
        {
            "backbone": {"name": "test_vit", "pretrained": False, "taps": [1, 3]},
            "decoder": {"kind": "mla", "auxiliary": [1, 3]},
        }
    )
    model = config.build(3, (32, 32))
    optimizer = OptimizerConfig(kind="sgd", lr=0.01, momentum=0.8, weight_decay=0)
    built = build_optimizer(model, optimizer)
    assert isinstance(built, torch.optim.SGD)
    assert all(g["momentum"] == 0.8 and g["weight_decay"] == 0 for g in built.param_groups)
    rates = {
        name: group["lr"] for group in parameter_groups(model, optimizer) for name in group["names"]
    }
    assert rates["backbone.projections.0.conv.weight"] == 0.01
    assert rates["decoder.head.classifier.weight"] == pytest.approx(0.1)
    assert rates["decoder.auxiliary.1.weight"] == pytest.approx(0.1)
    schedule = ScheduleConfig(power=0.9, warmup_iterations=0, min_lr=1e-4)
    for base in (0.01, 0.1):
        assert lr_at(100, base, 100, schedule) == pytest.approx(1e-4)


def test_backbone_norms_of_every_kind_do_not_decay():
    config = METHODS["setr"].model_validate(
        {
            "backbone": {"name": "test_vit", "pretrained": False, "taps": [1, 3]},
            "decoder": {"kind": "mla"},
        }
    )
    model = config.build(3, (32, 32))
    groups = parameter_groups(model, OptimizerConfig(weight_decay=0.05))
    decays = {name: group["weight_decay"] for group in groups for name in group["names"]}
    assert decays["backbone.norms.0.weight"] == 0
    assert decays["backbone.smoothings.0.norm.bias"] == 0
    assert decays["backbone.smoothings.0.conv.weight"] == 0.05
    assert decays["decoder.head.branches.0.0.norm.weight"] == 0.05
    everything = OptimizerConfig(weight_decay=0.05, decay_backbone_norms=True)
    assert {group["weight_decay"] for group in parameter_groups(model, everything)} == {0.05}


def test_fused_adamw_takes_the_same_steps():
    config = METHODS["segvit"].model_validate(
        {"backbone": {"name": "test_vit", "pretrained": False, "taps": [5]}}
    )
    optimizer, after = OptimizerConfig(lr=1e-2, weight_decay=0.1), []
    for fused in (False, True):
        torch.manual_seed(0)
        model = config.build(3, (32, 32))
        model.backbone.requires_grad_(False)
        built = build_optimizer(model, optimizer, fused)
        for _ in range(3):
            for parameter in model.decoder.parameters():
                parameter.grad = torch.randn_like(parameter)
            built.step()
        after.append(model.state_dict())
    torch.testing.assert_close(after[0], after[1])


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"momentum": 0.5}, 'momentum belongs to kind "sgd"'),
        ({"kind": "sgd", "betas": (0.9, 0.95)}, 'betas belongs to kind "adamw"'),
    ],
)
def test_fields_of_the_other_optimiser_are_refused(fields, expected):
    with pytest.raises(ValueError, match=expected):
        OptimizerConfig(**fields)


@torch.inference_mode()
def test_synchronised_norms_have_the_same_parameters():
    """What the loop does with several GPUs, in place: the optimiser and the files stay those of the model."""
    config = METHODS["setr"].model_validate(
        {
            "backbone": {"name": "test_vit", "pretrained": False, "taps": [1, 3]},
            "decoder": {"kind": "mla", "auxiliary": [3]},
        }
    )
    model = config.build(3, (32, 32)).eval()
    images = torch.randn(1, 3, 32, 48)
    expected, before = model(images).mask_logits, dict(model.named_parameters())
    torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)
    assert not any(type(module) is torch.nn.BatchNorm2d for module in model.modules())
    after = dict(model.named_parameters())
    assert before.keys() == after.keys()
    assert all(before[name] is after[name] for name in after)
    torch.testing.assert_close(model(images).mask_logits, expected)


def edge_aware() -> SegmentationModel:
    config = METHODS["shrunk"].model_validate(
        {
            "backbone": {"name": "test_vit", "pretrained": False, "taps": [5]},
            "shrink": {"block": 0},
            "edges": {},
        }
    )
    return config.build(4, (64, 64))


def test_the_edge_head_learns_at_the_rate_of_the_decoder():
    model = edge_aware()
    groups = parameter_groups(model, OptimizerConfig(lr=1e-4, head_lr_ratio=10))
    rate = {name: group["lr"] for group in groups for name in group["names"]}
    assert rate["backbone.edge_head.fc1.weight"] == rate["decoder.upsample.query_embed"] == 1e-3
    assert rate["backbone.blocks.0.attn.qkv.weight"] == 1e-4


def test_parts_can_have_a_rate_of_their_own():
    model = edge_aware()
    ratios = {"decoder.upsample.": 1, "decoder.upsample.stages.1.": 2, "backbone.pos_embed": 3}
    config = OptimizerConfig(lr=1e-4, head_lr_ratio=10, lr_ratios=ratios)
    groups = parameter_groups(model, config)
    rate = {name: round(group["lr"], 9) for group in groups for name in group["names"]}
    assert rate["decoder.upsample.query_embed"] == 1e-4
    assert rate["decoder.upsample.stages.1.layers.0.fc1.weight"] == 2e-4
    assert rate["decoder.atm.class_embed.weight"] == 1e-3
    assert rate["backbone.pos_embed"] == 3e-4
    with pytest.raises(
        ConfigError, match=r"'decoder.upsampling.', but no parameter .* decoder.upsample."
    ):
        parameter_groups(model, OptimizerConfig(lr_ratios={"decoder.upsampling.": 1}))
    with pytest.raises(ValueError, match="must be above 0"):
        OptimizerConfig(lr_ratios={"decoder.": 0})


def test_parts_of_names_are_exempt_from_decay():
    model = edge_aware()
    groups = parameter_groups(model, OptimizerConfig(no_decay=("pos_embed", "fc1.bias")))
    exempt = {n for group in groups if not group["weight_decay"] for n in group["names"]}
    assert {"backbone.pos_embed", "backbone.edge_head.fc1.bias"} <= exempt
    assert "backbone.edge_head.fc1.weight" not in exempt
    with pytest.raises(ConfigError, match="no_decay names 'bias_table', but no parameter"):
        parameter_groups(model, OptimizerConfig(no_decay=("bias_table",)))

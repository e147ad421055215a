"""What holds of every pyramid but Swin: padding, levels, frozen stages, and timm's own maps."""

from __future__ import annotations

import copy
from functools import cache

import pytest
import timm
import torch
import torch.nn.functional as F
from timm.models.resnet import BasicBlock, ResNet
from timm.models.twins import Twins
from torch import Tensor, nn

from vitseg.backbones import BackboneConfig, Pyramid, PyramidConfig, create_backbone
from vitseg.backbones.conv_pyramids import ResNetPyramid
from vitseg.backbones.create import pretrained_mean_std
from vitseg.backbones.twins import TwinsPyramid
from vitseg.errors import CheckpointError, ConfigError
from vitseg.methods.method import Encoder

CHANNELS = {
    "resnet18c": (16, 32, 48, 64),
    "convnext_atto": (40, 80, 160, 320),
    "twins_svt_small": (16, 32, 48, 64),
    "mit_b0": (32, 64, 160, 256),
}
ALL = (0, 1, 2, 3)
NARROW = {
    "resnet18c": {"stem_type": "deep", "stem_width": 8, "channels": (16, 32, 48, 64)},
    "twins_svt_small": {
        "embed_dims": (16, 32, 48, 64),
        "num_heads": (1, 2, 3, 4),
        "depths": (2, 2, 3, 2),
        "wss": (7, 7, 7, 7),
    },
}
"""Of names of wide models, what timm makes a small one of."""

IN_TIMM = [name for name in CHANNELS if name != "mit_b0"]


def randomise(module: nn.Module) -> nn.Module:
    """Change what is 0 or 1 at first, so that every layer matters."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                noise = 0.1 * torch.randn(value.shape, generator=generator)
                value.copy_(value + (noise.abs() if name.endswith("running_var") else noise))
    return module


@cache
def built(name: str, **options) -> Pyramid:
    torch.manual_seed(0)
    config = PyramidConfig(name=name, pretrained=False, **{"levels": ALL} | options)
    rate, shape = config.drop_path, NARROW.get(name, {})
    if name == "resnet18c":
        net = ResNet(
            BasicBlock,
            (2, 2, 2, 2),
            output_stride=config.output_stride,
            drop_path_rate=rate,
            **shape,
        )
        backbone = ResNetPyramid(net, config)
    elif name == "twins_svt_small":
        backbone = TwinsPyramid(Twins(drop_path_rate=rate, **shape), config)
    else:
        backbone = create_backbone(config, (64, 64))
    assert isinstance(backbone, Pyramid)
    return randomise(backbone).eval()


def build(name: str, **options) -> Pyramid:
    return copy.deepcopy(built(name, **options))


def images_of(*size: int, batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(1))


@pytest.fixture(params=list(CHANNELS))
def name(request) -> str:
    if request.param == "mit_b0":
        pytest.importorskip("transformers")
    return request.param


@torch.inference_mode()
@pytest.mark.parametrize("size", [(64, 32), (37, 70), (1, 1), (33, 65)])
def test_maps_cover_the_padded_image(name, size):
    backbone = build(name)
    features = backbone(images_of(*size))
    padded = tuple(-(-side // 32) * 32 for side in size)
    assert features.input_size == size
    assert features.padded_size == padded
    assert isinstance(backbone, Encoder)
    assert backbone.channels == CHANNELS[name]
    for level, feature_map in enumerate(features.maps):
        stride = 4 * 2**level
        expected = (2, CHANNELS[name][level], padded[0] // stride, padded[1] // stride)
        assert feature_map.shape == expected


@torch.inference_mode()
def test_padding_is_zeros_on_the_bottom_and_right(name):
    images = images_of(37, 40)
    backbone = build(name)
    padded = backbone(F.pad(images, (0, 24, 0, 27)))
    for ours, whole in zip(backbone(images).maps, padded.maps, strict=True):
        torch.testing.assert_close(ours, whole, atol=0, rtol=0)


@torch.inference_mode()
def test_a_batch_equals_its_images(name):
    images = images_of(40, 70)
    backbone = build(name)
    for level, feature_map in enumerate(backbone(images).maps):
        single = torch.cat([backbone(image[None]).maps[level] for image in images])
        torch.testing.assert_close(feature_map, single, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_stages_below_the_deepest_level_are_not_built(name):
    whole, part = build(name), build(name, levels=(0, 2))
    assert part.channels == CHANNELS[name][::2]
    assert part.state_dict().keys() < whole.state_dict().keys()
    part.load_state_dict({n: v for n, v in whole.state_dict().items() if n in part.state_dict()})
    images = images_of(32, 64)
    expected = whole(images).maps
    features = part(images)
    assert features.padded_size == (32, 64)
    for ours, theirs in zip(features.maps, expected[::2], strict=True):
        torch.testing.assert_close(ours, theirs)


@torch.inference_mode()
@pytest.mark.parametrize(
    ("name", "multiple"), [("resnet18c", 4), ("convnext_atto", 4), ("twins_svt_small", 32)]
)
def test_only_attention_to_a_summary_pads_more_than_the_deepest_level_asks(name, multiple):
    features = build(name, levels=(0,))(images_of(9, 33))
    padded = tuple(-(-side // multiple) * multiple for side in (9, 33))
    assert features.padded_size == padded
    assert features.maps[0].shape[2:] == (padded[0] // 4, padded[1] // 4)


@torch.inference_mode()
@pytest.mark.parametrize("name", IN_TIMM)
def test_maps_are_timms(name):
    """Where timm has no norm for a map, ours has one of its own; the parameters have timm's names."""
    net = timm.create_model(name.rstrip("c"), num_classes=0, **NARROW.get(name, {})).eval()
    backbone = build(name)
    state = backbone.state_dict()
    norms = {n for n in state if n.startswith("norms.")}
    left_out = {n for n in net.state_dict() if n.startswith(("norm.", "head."))}
    assert state.keys() - norms == net.state_dict().keys() - left_out
    net.load_state_dict({**net.state_dict(), **{n: v for n, v in state.items() if n not in norms}})
    images = images_of(64, 96)
    theirs = net.forward_intermediates(images, intermediates_only=True)
    for level, (ours, expected) in enumerate(zip(backbone(images).maps, theirs[-4:], strict=True)):
        if norms:
            weight, bias = state[f"norms.{level}.weight"], state[f"norms.{level}.bias"]
            expected = F.layer_norm(
                expected.permute(0, 2, 3, 1), weight.shape, weight, bias, eps=1e-6
            ).permute(0, 3, 1, 2)
        torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)


def test_frozen_stages_do_not_change(name):
    backbone = build(name, frozen_stages=2, drop_path=0.5).train()
    before = copy.deepcopy(backbone.state_dict())
    maps = backbone(images_of(64, 64)).maps
    sum(feature_map.square().mean() for feature_map in maps).backward()
    frozen = {
        id(p) for level in (0, 1) for m in backbone.stage_modules(level) for p in m.parameters()
    }
    assert frozen
    for parameter_name, parameter in backbone.named_parameters():
        assert (parameter.grad is None) == (id(parameter) in frozen), parameter_name
    torch.manual_seed(5)
    again = backbone(images_of(64, 64)).maps
    for level in (0, 1):  # in spite of drop path
        torch.testing.assert_close(again[level], maps[level], atol=0, rtol=0)
    changed = {n for n, v in backbone.state_dict().items() if not torch.equal(v, before[n])}
    assert bool(changed) == (name == "resnet18c")
    assert all(n.startswith(("layer3.", "layer4.")) for n in changed)


@pytest.mark.parametrize("frozen", [0, 1])
def test_gradient_checkpointing_changes_nothing_but_memory(name, frozen):
    """Nor do the statistics of normalisations move twice."""
    images = images_of(33, 32)
    results = []
    for checkpointing in (False, True):
        options = {"gradient_checkpointing": checkpointing, "frozen_stages": frozen}
        backbone = build(name, **options).train()
        sum(feature_map.square().mean() for feature_map in backbone(images).maps).backward()
        results.append((backbone.state_dict(), [p.grad for p in backbone.parameters()]))
    for plain, recomputed in zip(*results, strict=True):
        torch.testing.assert_close(plain, recomputed)


def test_drop_path_rises_to_the_last_block(name):
    rates = [
        module.drop_prob
        for module in build(name, drop_path=0.4).modules()
        if type(module).__name__.endswith("DropPath")
    ]
    assert rates == sorted(rates)
    assert rates[-1] == pytest.approx(0.4)
    assert 0 < rates[0] < 0.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "resnet18e"}, r"'resnet18e' is not a known pyramid\. Did you mean 'resnet18\w?'"),
        ({"name": "resnet51c"}, r"List them with: timm\.list_models\('resnet\*'\)"),
        ({"name": "mit_b6"}, r"Did you mean 'mit_b\d'"),
        ({"name": "mit_b0.in1k"}, "mit_b0 has no weight tags"),
        ({"name": "resnet18.none"}, "weight tag of resnet18"),
        ({"name": "efficientnet_b0"}, r"no pyramid\. Allowed .* mit_b0"),
        ({"name": "resnet18c", "levels": (4,)}, r"names stage 4, but resnet18c has stages 0-3"),
        ({"name": "resnet18c", "levels": (0, 1), "frozen_stages": 3}, "at most 2 stages"),
        (
            {"name": "mit_b0", "output_stride": 16},
            r"output_stride is 16, but mit_b0 can have 32 only",
        ),
        ({"name": "twins_svt_small", "output_stride": 8}, "can have 32 only"),
        ({"name": "convnext_atto", "output_stride": 8}, "can have 32 or 16 only"),
    ],
)
def test_wrong_names_and_fields_are_refused(options, message):
    config = PyramidConfig(**{"pretrained": False, "levels": ALL} | options)
    with pytest.raises(ConfigError, match=message), torch.device("meta"):
        create_backbone(config, (64, 64))


def test_a_name_of_a_pyramid_without_levels_says_what_levels_are_for():
    with pytest.raises(ConfigError, match=r"with backbone\.levels resnet\*"):
        create_backbone(BackboneConfig(name="resnet18", pretrained=False, taps=(1,)), (64, 64))


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("twins_svt_large", (128, 256, 512, 1024)),
        ("twins_pcpvt_small", (64, 128, 320, 512)),
        ("convnext_tiny.fb_in1k", (96, 192, 384, 768)),
        ("convnextv2_nano", (80, 160, 320, 640)),
        ("resnet50", (256, 512, 1024, 2048)),
        ("resnext101_64x4d", (256, 512, 1024, 2048)),
        ("resnet34c", (64, 128, 256, 512)),
    ],
)
def test_names(name, channels):
    with torch.device("meta"):
        config = PyramidConfig(name=name, pretrained=False, levels=ALL)
        backbone = create_backbone(config, (64, 64)).eval()
        features = backbone(torch.empty(1, 3, 33, 65))
    assert backbone.channels == channels
    assert [m.shape[1:] for m in features.maps] == [
        (width, 64 // stride, 96 // stride)
        for width, stride in zip(channels, (4, 8, 16, 32), strict=True)
    ]


@pytest.mark.parametrize("stride", [4, 64, 12])
def test_other_output_strides_are_refused(stride):
    with pytest.raises(ValueError, match="output_stride"):
        PyramidConfig(name="resnet18c", levels=(3,), output_stride=stride)


def test_resnets_that_timm_has_no_weights_of_say_so():
    config = PyramidConfig(name="resnet18c", levels=(3,))
    with pytest.raises(
        CheckpointError, match=r"no weights of resnet18c: pass a file with backbone\.weights"
    ):
        create_backbone(config, (64, 64))
    assert isinstance(create_backbone(config, (64, 64), load_pretrained=False), Pyramid)


@pytest.mark.parametrize("name", [*CHANNELS, "resnet101c", "resnext101_64x4d.tv_in1k"])
def test_mean_and_std_are_imagenets(name):
    mean, std = pretrained_mean_std(PyramidConfig(name=name, levels=(3,)))
    assert mean == (0.485, 0.456, 0.406)
    assert std == (0.229, 0.224, 0.225)

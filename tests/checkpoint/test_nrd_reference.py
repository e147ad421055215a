"""Checkpoints of NRD: every listed parameter has its place, and values arrive where they belong."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import pytest
import torch
from torch import Tensor

from tests.checkpoint.test_published import read_list
from tests.shapes_alone import shapes_alone
from vitseg.checkpoint.detect import recognise
from vitseg.checkpoint.model_dir import fill
from vitseg.checkpoint.nrd_reference import convert_nrd, is_nrd, nrd_architecture, nrd_name
from vitseg.checkpoint.protocols import NRD
from vitseg.config import parse
from vitseg.errors import CheckpointError
from vitseg.inference.config import InferenceConfig
from vitseg.methods.model import SegmentationModel
from vitseg.methods.nrd import NrdConfig

NAMES = {
    "backbone.stem.0.weight": "backbone.conv1.0.weight",
    "backbone.stem.4.running_mean": "backbone.conv1.4.running_mean",
    "backbone.stem.7.bias": "backbone.bn1.bias",
    "backbone.layer3.5.bn2.weight": "backbone.layer3.5.bn2.weight",
    "backbone.layer1.0.downsample.0.weight": "backbone.layer1.0.downsample.0.weight",
    "decode_head.image_pool.1.conv.weight": "decoder.context.pooled.conv.weight",
    "decode_head.aspp_modules.0.bn.bias": "decoder.context.point.norm.bias",
    "decode_head.aspp_modules.1.depthwise_conv.conv.weight": "decoder.context.dilated.0.depthwise.conv.weight",
    "decode_head.aspp_modules.3.pointwise_conv.bn.weight": "decoder.context.dilated.2.pointwise.norm.weight",
    "decode_head.bottleneck.bn.running_var": "decoder.context.bottleneck.norm.running_var",
    "decode_head.classifier.classifier.0.conv.weight": "decoder.controller.conv.conv.weight",
    "decode_head.classifier.classifier.1.bias": "decoder.controller.generate.bias",
    "decode_head.c1_bottleneck.0.bn.weight": "decoder.guidance.0.norm.weight",
    "decode_head.c1_bottleneck.1.conv.bias": "decoder.guidance.1.bias",
    "decode_head.cat_norm.weight": "decoder.norm.weight",
    "auxiliary_head.convs.0.conv.weight": "decoder.auxiliary.convs.0.conv.weight",
    "auxiliary_head.conv_seg.bias": "decoder.auxiliary.classifier.bias",
}
BLOCKS = (3, 4, 6, 3)
NUM_CLASSES = 7


def shapes_of_a_file(**changes: tuple[int, ...] | None) -> dict[str, Tensor]:
    """What the architecture is read from, of a small head; None leaves one out."""
    widths = 18 * 8 + 8 + 8 * 8 + 8 + 8 * NUM_CLASSES + NUM_CLASSES
    shapes: dict[str, tuple[int, ...] | None] = {
        f"backbone.layer{stage}.{block}.conv1.weight": (4, 4, 1, 1)
        for stage, blocks in enumerate(BLOCKS, start=1)
        for block in range(blocks)
    }
    shapes |= {
        "backbone.stem.0.weight": (32, 3, 3, 3),
        "decode_head.conv_seg.weight": (NUM_CLASSES, 32, 1, 1),
        "decode_head.bottleneck.conv.weight": (32, 160, 3, 3),
        "decode_head.classifier.classifier.1.weight": (widths, 16, 1, 1),
        "decode_head.c1_bottleneck.0.conv.weight": (12, 256, 3, 3),
        "decode_head.c1_bottleneck.1.conv.weight": (16, 12, 1, 1),
        "decode_head.cat_norm.weight": (18,),
        "auxiliary_head.conv_seg.weight": (NUM_CLASSES, 24, 1, 1),
    }
    shapes |= changes
    return {n: torch.empty(s, device="meta") for n, s in shapes.items() if s is not None}


@cache
def model_of(backbone: str, num_classes: int) -> SegmentationModel:
    sections = {"name": backbone, "pretrained": False, "levels": (0, 2, 3)}
    with shapes_alone():
        return parse(NrdConfig, {"backbone": sections}).build(num_classes, (512, 512), False)


@pytest.mark.golden
@pytest.mark.parametrize(
    ("name", "backbone", "num_classes", "parameters"),
    [
        ("keys_nrd_r101_ade20k", "resnet101c", 150, 66_183_254),
        ("keys_nrd_r50_cityscapes", "resnet50c", 19, 45_947_805),
    ],
)
def test_a_published_list_fits_its_model(shared, name, backbone, num_classes, parameters):
    state = read_list(shared, name)
    assert recognise(state).name == "NRD"
    assert set(NAMES) <= set(state)
    architecture = nrd_architecture(state)
    assert (architecture.num_classes, architecture.crop) == (num_classes, 512)
    config = parse(NrdConfig, architecture.config)
    expected = {"name": backbone, "pretrained": False, "levels": (0, 2, 3)}
    assert config == parse(NrdConfig, {"backbone": expected})  # all else are our defaults
    model = model_of(backbone, num_classes)
    converted = convert_nrd(state)
    shapes = {n: tuple(v.shape) for n, v in model.state_dict().items()}
    assert {n: tuple(v.shape) for n, v in converted.items()} == shapes
    assert len(converted) == len(state) - 2  # the classifier that the head does not use
    unused = sum(state[f"decode_head.conv_seg.{part}"].numel() for part in ("weight", "bias"))
    assert sum(p.numel() for p in model.parameters()) + unused == parameters


def test_names():
    assert {name: nrd_name(name) for name in NAMES} == NAMES
    assert set(NAMES.values()) <= set(model_of("resnet50c", 19).state_dict())


def test_values_arrive_as_they_are():
    """Those of the classifier that the head does not use are left out."""
    state = {name: torch.full((2,), index) for index, name in enumerate(NAMES)}
    converted = convert_nrd(state | {"decode_head.conv_seg.weight": torch.ones(2)})
    assert {n: v.tolist() for n, v in converted.items()} == {
        ours: [index] * 2 for index, ours in enumerate(NAMES.values())
    }


@pytest.mark.parametrize(
    "name",
    ["decode_head.psp.weight", "backbone.conv1.weight", "auxiliary_head.convs.1.conv.weight"],
)
def test_a_parameter_of_another_model_is_refused(name):
    with pytest.raises(CheckpointError, match=f"of NRD, but also holds {name}"):
        convert_nrd({name: torch.zeros(1)})


def test_a_missing_parameter_is_refused():
    model = model_of("resnet50c", 19)
    state: Mapping[str, Tensor] = dict(model.state_dict())
    del state["decoder.norm.weight"]
    with pytest.raises(CheckpointError, match=r"decoder\.norm\.weight"):
        fill(model, state, "it does not fit NRD")


def test_options_are_read_from_the_shapes():
    state = shapes_of_a_file()
    assert is_nrd(state)
    architecture = nrd_architecture(state)
    assert architecture.num_classes == NUM_CLASSES
    assert architecture.config["decoder"] == {
        "embed_dim": 32,
        "controller_reduction": 2,
        "hidden_dim": 8,
        "guidance_dim": 16,
        "guidance_hidden_dim": 12,
        "use_coordinates": True,
        "auxiliary_dim": 24,
    }
    parse(NrdConfig, architecture.config)


def test_a_file_without_its_auxiliary_head():
    config = nrd_architecture(shapes_of_a_file(**{"auxiliary_head.conv_seg.weight": None})).config
    assert config["decoder"]["auxiliary_dim"] is None
    parse(NrdConfig, config)  # no level is left over


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"backbone.layer2.4.conv1.weight": (4, 4, 1, 1)}, "have 3, 5, 6, 3 blocks"),
        ({"backbone.stem.0.weight": None}, "its stem is of another kind"),
        ({"decode_head.conv_seg.weight": None}, r"decode_head\.conv_seg\.weight is missing"),
        (
            {"decode_head.classifier.classifier.1.weight": (300, 16, 1, 1)},
            "generates 300 parameters for a cell, but no network",
        ),
        (
            {"decode_head.classifier.classifier.1.weight": (287, 15, 1, 1)},
            "the controller is 15 wide, which does not divide the 32 channels",
        ),
    ],
)
def test_contradictory_shapes_are_refused(changes, expected):
    with pytest.raises(CheckpointError, match=expected):
        nrd_architecture(shapes_of_a_file(**changes))


@pytest.mark.parametrize(
    ("dataset", "resize"),
    [
        ("ade20k", (2048, 512)),
        ("cityscapes", (2048, 1024)),
        ("pascal_context_60", (520, 520)),
        (None, (2048, 512)),
    ],
)
def test_whole_images_are_predicted(dataset, resize):
    protocol = NRD.protocol(512, dataset)
    assert protocol == {"mode": "whole", "resize": resize}
    InferenceConfig.model_validate(protocol)

"""The convolutional methods on pyramids: levels, published sizes, real backbones."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.shapes_alone import shapes_alone
from vitseg.backbones import PyramidConfig
from vitseg.config import parse
from vitseg.errors import ConfigError
from vitseg.inference.operations import count_operations
from vitseg.methods.carafe import CarafeConfig
from vitseg.methods.deeplab import DeepLabConfig
from vitseg.methods.duc import DucConfig
from vitseg.methods.fcn import FcnConfig
from vitseg.methods.model import SegmentationModel
from vitseg.methods.pspnet import PspNetConfig
from vitseg.methods.pyramid import PyramidMethod

METHODS: dict[str, type[PyramidMethod]] = {
    "deeplab": DeepLabConfig,
    "pspnet": PspNetConfig,
    "fcn": FcnConfig,
    "carafe": CarafeConfig,
    "duc": DucConfig,
}


def model_of(
    method: str, backbone: dict[str, Any], decoder: dict[str, Any], num_classes: int
) -> SegmentationModel:
    sections = {"backbone": {"pretrained": False, **backbone}, "decoder": decoder}
    return parse(METHODS[method], sections).build(num_classes, (64, 64), False)


CLASSIFIER_AT_STRIDE_4 = 512 * 19 * (256 * 512 - 32 * 64) / 1e9
"""What the thesis' count of the bilinear decoder has more: its classifier runs behind a resize."""

CITYSCAPES, ADE20K = ((1024, 2048), 19), ((512, 512), 150)
SIZES = [
    ("deeplab", [0, 2, 3], 32, {}, CITYSCAPES, 290.6),
    ("deeplab", [2, 3], 32, {"kind": "bilinear"}, CITYSCAPES, 215.5 - CLASSIFIER_AT_STRIDE_4),
    ("carafe", [2, 3], 32, {"factors": [8], "reassemble": "logits"}, CITYSCAPES, 203.0),
    ("duc", [2, 3], 32, {}, CITYSCAPES, 336.1),
    ("pspnet", [2, 3], 8, {}, CITYSCAPES, 1427.47),
    ("deeplab", [0, 2, 3], 8, {}, CITYSCAPES, 1410.86),
    ("pspnet", [2, 3], 8, {}, ADE20K, 178.8),
    ("deeplab", [0, 2, 3], 8, {}, ADE20K, 177.5),
]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "levels", "stride", "decoder", "data", "gmacs"), SIZES)
def test_published_multiply_adds_with_resnet_50(method, levels, stride, decoder, data, gmacs):
    """Tables 3.1, 3.2, 3.5 and 3.8 of the thesis on NRD, which count normalisations and resizes too."""
    size, num_classes = data
    backbone = {"name": "resnet50c", "levels": levels, "output_stride": stride}
    with shapes_alone():
        model = model_of(method, backbone, decoder, num_classes).eval()
        image = torch.empty(1, 3, *size)
    operations = count_operations(model, lambda: model(image).scores())
    assert operations.total / 1e9 == pytest.approx(gmacs, rel=0.005)


UNUSED_CONVOLUTION = 2048 * 512 * 9
"""DUC's published count holds the convolution in front of CARAFE and NRD, which its multiply-adds do not."""


@pytest.mark.parametrize(
    ("method", "decoder", "millions"),
    [("carafe", {"factors": [8], "reassemble": "logits"}, 36.3), ("duc", {}, 110.8)],
)
def test_published_parameters_with_resnet_50(method, decoder, millions):
    with shapes_alone():
        model = model_of(method, {"name": "resnet50c", "levels": [2, 3]}, decoder, 19)
    count = sum(parameter.numel() for parameter in model.parameters())
    count += UNUSED_CONVOLUTION if method == "duc" else 0
    assert round(count / 1e6, 1) == millions


NARROW = {"embed_dim": 8, "auxiliary_dim": 8}


SWIN = "swin_tiny_patch4_window7_224"
ON_SWIN = [
    ("deeplab", SWIN),
    ("carafe", SWIN),
    ("duc", SWIN),
]  # those that read its rule of padding


@torch.inference_mode()
@pytest.mark.parametrize(
    ("method", "backbone"), [*((method, "resnet18c") for method in METHODS), *ON_SWIN]
)
def test_images_of_any_size(method, backbone):
    """Levels that end at stride 16: what lies deeper would only take time."""
    levels = [0, 1, 2] if method == "deeplab" else [1, 2]
    model = model_of(method, {"name": backbone, "levels": levels}, NARROW, 3).eval()
    for size in [(37, 70), (1, 40)]:
        output = model(torch.randn(1, 3, *size))
        assert output.scores().shape == (1, 3, *size)
        if method in ("carafe", "duc"):
            assert tuple(output.mask_logits.shape[2:]) == tuple(
                side // 4 for side in output.padded_size
            )


@pytest.mark.parametrize(
    ("levels", "output_stride", "expected"),
    [((0, 2, 3), 32, 32), ((2, 3), 16, 16), ((2, 3), 8, 8), ((0, 1), 32, 8), ((0, 1), 8, 8)],
)
def test_the_stride_of_the_deepest_level(levels, output_stride, expected):
    backbone = PyramidConfig(name="resnet18c", levels=levels, output_stride=output_stride)
    config = DeepLabConfig(backbone=backbone)
    assert config.deepest_stride == expected


@pytest.mark.parametrize(
    ("method", "levels", "decoder", "expected"),
    [
        ("pspnet", [3], {}, "set decoder.auxiliary_dim: null"),
        ("deeplab", [3], {"auxiliary_dim": None}, "joins the deepest level with a shallow one"),
        ("fcn", [0, 2, 3], {}, r"only \[2, 3\] are read: leave \[0\] out"),
        ("deeplab", [0, 1, 2, 3], {}, r"only \[0, 2, 3\] are read: leave \[1\] out"),
        ("deeplab", [0, 2, 3], {"kind": "v3"}, r"leave \[0\] out"),
        ("deeplab", [0, 2, 3], {"auxiliary_dim": None}, r"only \[0, 3\] are read"),
        ("carafe", [2, 3], {"factors": [3]}, r"\[3\] make the deepest level 3 times as large"),
        ("duc", [2, 3], {"result_stride": 3}, "result_stride 3 must divide the stride"),
    ],
)
def test_contradictions_are_named(method, levels, decoder, expected):
    raw = {"backbone": {"name": "resnet18c", "levels": levels}, "decoder": decoder}
    with pytest.raises(ConfigError, match=expected):
        parse(METHODS[method], raw)


@pytest.mark.parametrize("method", METHODS)
def test_the_loss_has_the_auxiliary_term(method):
    levels = [0, 1, 2] if method == "deeplab" else [1, 2]
    sections = {"backbone": {"name": "resnet18c", "pretrained": False, "levels": levels}}
    parsed = parse(METHODS[method], {**sections, "decoder": NARROW})
    model = parsed.build(3, (64, 64)).train()
    labels = torch.randint(3, (2, 40, 64))
    terms = parsed.criterion()(model(torch.randn(2, 3, 40, 64)), labels)
    assert set(terms) == {"loss_pixel", "loss_pixel_auxiliary"}
    torch.stack(list(terms.values())).sum().backward()
    assert all(
        parameter.grad is not None and parameter.grad.isfinite().all()
        for parameter in model.parameters()
    )

"""SETR's heads: sizes, auxiliary heads, configuration."""

from __future__ import annotations

import json

import pytest
import torch

from tests.shapes_alone import shapes_alone
from vitseg.config import parse
from vitseg.errors import ConfigError
from vitseg.inference.operations import count_operations
from vitseg.layers.conv_norm import ConvBatchNormRelu
from vitseg.methods.model import SegmentationModel
from vitseg.methods.setr import SetrConfig

BLOCKS = {  # taps and auxiliary heads
    ("naive", "large"): ((9, 14, 19, 23), (9, 14, 19)),
    ("pup", "large"): ((9, 14, 19, 23), (9, 14, 19, 23)),
    ("mla", "large"): ((5, 11, 17, 23), (5, 11, 17, 23)),
    ("naive", "base"): ((2, 5, 8, 11), (2, 5, 8)),
    ("pup", "base"): ((4, 7, 9, 11), (4, 7, 9, 11)),
    ("mla", "base"): ((2, 5, 8, 11), (2, 5, 8, 11)),
}
CROPS = {150: 512, 19: 768, 60: 480}

ADE20K = [  # table 2 of the paper; fvcore's multiply-adds without normalisation and resizing
    ("naive", "large", 305_669_296, 362.29),
    ("pup", "large", 318_307_292, 417.65),
    ("mla", "large", 310_568_836, 378.21),
    ("naive", "base", 87_690_672, 107.27),
    ("pup", "base", 97_641_180, 162.09),
    ("mla", "base", 92_590_212, 123.26),
]

TINY = {"name": "test_vit", "pretrained": False, "taps": [1, 3, 5]}


def build(kind: str, size: str, num_classes: int) -> SegmentationModel:
    """A published model without values."""
    taps, auxiliary = BLOCKS[kind, size]
    backbone = {
        "name": f"vit_{size}_patch16_384",
        "taps": taps,
        "prefix_tokens": "drop" if kind == "mla" else "keep",
    }
    config = SetrConfig.model_validate(
        {"backbone": backbone, "decoder": {"kind": kind, "auxiliary": auxiliary}}
    )
    crop = CROPS[num_classes]
    with shapes_alone():
        return config.build(num_classes, (crop, crop), load_pretrained=False)


def unused_classifiers(kind: str, size: str, num_classes: int) -> int:
    """Parameters of the reference's layers that no head runs: one per head, 1 x 1 from 512 channels."""
    return (512 + 1) * num_classes * (1 + len(BLOCKS[kind, size][1]))


def num_parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "size", "parameters", "gmacs"), ADE20K)
def test_published_sizes(kind, size, parameters, gmacs):
    model = build(kind, size, 150).eval()
    assert num_parameters(model) + unused_classifiers(kind, size, 150) == parameters
    image = torch.empty(1, 3, 512, 512, device="meta")
    operations = count_operations(model, lambda: model(image).scores())
    macs = sum(sum(part.values()) for part in operations.macs.values())
    assert macs / 1e9 == pytest.approx(gmacs, rel=1e-3)
    unused = num_parameters(model.decoder.auxiliary) + (
        model.backbone.vit.cls_token.numel() if kind == "mla" else 0
    )
    assert operations.used_parameters == num_parameters(model) - unused


@pytest.mark.golden
@pytest.mark.parametrize("num_classes", CROPS)
@pytest.mark.parametrize(("kind", "size"), BLOCKS)
def test_parameters_of_every_part(shared, kind, size, num_classes):
    golden = json.loads((shared / "golden" / "setr_params.json").read_text())
    expected = golden[f"{kind}-{size}-{num_classes}"]
    model = build(kind, size, num_classes)
    one = 513 * num_classes
    assert one == expected["unused_conv_seg"]
    assert num_parameters(model.backbone) == expected["backbone"]
    assert num_parameters(model.decoder.head) + one == expected["decode_head"]
    heads = [num_parameters(head) + one for head in model.decoder.auxiliary]
    assert heads == expected["aux"]
    unused = unused_classifiers(kind, size, num_classes)
    assert num_parameters(model) + unused == expected["total"]


def tiny(**decoder) -> SegmentationModel:
    config = SetrConfig.model_validate({"backbone": TINY, "decoder": decoder})
    torch.manual_seed(0)
    return config.build(4, (64, 64))


@pytest.mark.parametrize(
    ("decoder", "side"),
    [
        ({"kind": "naive", "auxiliary": (1, 3)}, 4),
        ({"kind": "naive", "auxiliary": (1, 3), "form": "mmsegmentation"}, 16),
        ({"kind": "pup", "auxiliary": (1, 3, 5)}, 32),
        ({"kind": "mla", "auxiliary": (5, 1)}, 16),
        ({"kind": "mla", "form": "mmsegmentation"}, 16),
    ],
)
def test_auxiliary_heads_run_in_training_only(decoder, side):
    model = tiny(**decoder)
    images = torch.randn(2, 3, 64, 64)
    output = model.train()(images)
    assert list(output.extras) == [f"block_{block}" for block in decoder.get("auxiliary", ())]
    assert output.stages == ()
    assert output.mask_logits.shape == (2, 4, side, side)
    assert all(extra.num_classes == 4 for extra in output.extras.values())
    output = model.eval()(images)
    assert (output.stages, output.extras) == ((), {})


def test_auxiliary_heads_read_their_own_blocks():
    """Of MLA in any order: the neck's map of block 1 holds all deeper taps, that of block 5 itself alone."""
    model = tiny(kind="mla", auxiliary=(5, 1)).train()
    images = torch.randn(2, 3, 64, 64)
    deep, shallow = model(images).extras.values()
    with torch.no_grad():
        model.backbone.norms[0].bias += torch.randn(64)
    changed_deep, changed_shallow = model(images).extras.values()
    torch.testing.assert_close(deep.mask_logits, changed_deep.mask_logits)
    assert not torch.allclose(shallow.mask_logits, changed_shallow.mask_logits)


def refusal(decoder: dict, **backbone) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(SetrConfig, {"backbone": TINY | backbone, "decoder": decoder})
    return str(caught.value)


@pytest.mark.parametrize(
    ("decoder", "expected"),
    [
        ({"kind": "dpt"}, "decoder.kind is 'dpt': input should be 'naive', 'pup' or 'mla'"),
        ({"auxiliary": [1]}, "decoder.kind is missing"),
        ({"kind": "mla", "auxiliary": [2]}, "names block 2, which is not among backbone.taps [1, 3, 5]"),
        ({"kind": "pup", "auxiliary": [3]}, "backbone.taps names block 1, which no head reads"),
        ({"kind": "pup", "auxiliary": [1, 3, 1]}, "auxiliary names a block twice"),
        ({"kind": "pup", "form": "mmsegmentation"}, 'no difference to kind "pup"'),
        ({"kind": "mla", "auxiliary_convs": 2}, "auxiliary_convs belongs to"),
        ({"kind": "naive", "auxiliary_convs": 2}, "auxiliary_convs belongs to"),
        ({"kind": "naive", "auxiliary": [1, 3], "auxiliary_convs": 3}, "decoder.auxiliary_convs is 3"),
    ],
)  # fmt: skip
def test_contradictions_are_refused(decoder, expected):
    message = refusal(decoder)
    assert expected in message
    assert "\n" not in message


def test_one_value_has_no_variance():
    layer = ConvBatchNormRelu(3, 4, 3)
    with pytest.raises(ConfigError, match="one image of one token"):
        layer(torch.randn(1, 3, 1, 1))
    assert layer(torch.randn(2, 3, 1, 1)).shape == (2, 4, 1, 1)
    assert layer.eval()(torch.randn(1, 3, 1, 1)).shape == (1, 4, 1, 1)

"""NRD as a whole: its levels, dilated backbones, any image, published sizes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.shapes_alone import shapes_alone
from vitseg.classes import IGNORE_INDEX
from vitseg.config import parse
from vitseg.decoders.nrd import NrdDecoder
from vitseg.errors import ConfigError
from vitseg.inference.operations import count_operations
from vitseg.methods.model import SegmentationModel
from vitseg.methods.nrd import NrdConfig

NARROW = {"embed_dim": 16, "guidance_hidden_dim": 8, "auxiliary_dim": 8}


def config_of(name: str = "resnet18c", decoder: dict | None = None, **backbone) -> NrdConfig:
    sections: dict[str, Any] = {"name": name, "pretrained": False, "levels": [0, 2, 3]}
    return parse(NrdConfig, {"backbone": sections | backbone, "decoder": decoder or {}})


def on_meta(config: NrdConfig, num_classes: int = 5) -> SegmentationModel:
    with shapes_alone():
        return config.build(num_classes, (64, 64), load_pretrained=False)


def images_of(height: int, width: int, batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(0))


def test_the_loss_is_the_published_one():
    loss = config_of().criterion().config
    assert (loss.mean_over, loss.auxiliary_weight) == ("all", 0.4)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"levels": [0]}, r"backbone\.levels is \[0\], whose cells are no larger than a pixel"),
        ({"levels": [1, 2, 3]}, r"read from stage 0, but backbone\.levels is \[1, 2, 3\]: add 0"),
        ({"levels": [3]}, r"or set decoder\.guidance_dim: null"),
        ({"levels": [0, 1, 2, 3]}, r"only \[0, 2, 3\] are read: leave \[1\] out"),
        ({"levels": [3], "decoder": {"guidance_dim": None}}, r"set decoder\.auxiliary_dim: null"),
        (
            {"levels": [0, 3], "decoder": {"guidance_dim": None, "auxiliary_dim": None}},
            r"only \[3\] are read: leave \[0\] out",
        ),
        ({"taps": [1]}, r"taps is not a field"),
    ],
)
def test_levels_that_do_not_fit_are_named(fields, expected):
    with pytest.raises(ConfigError, match=expected):
        config_of(**fields)


@pytest.mark.parametrize(
    ("fields", "cell_side", "grid"),
    [
        ({}, 8, (16, 24)),
        ({"output_stride": 16}, 4, (16, 20)),
        ({"output_stride": 8}, 2, (14, 18)),
        ({"levels": [0, 1]}, 2, (14, 18)),
        ({"levels": [0, 1], "output_stride": 16}, 2, (14, 18)),
        ({"levels": [3], "decoder": {"guidance_dim": None, "auxiliary_dim": None}}, 8, (16, 24)),
        ({"name": "swin_tiny_patch4_window7_224"}, 8, (13, 18)),  # its cells reach further
    ],
)
def test_a_cell_is_as_large_as_the_deepest_stride(fields, cell_side, grid):
    """The image is 50 x 71, which no stride divides."""
    config = config_of(**fields)
    model = on_meta(config).eval()
    assert isinstance(model.decoder, NrdDecoder)
    assert model.decoder.cell_side == cell_side
    output = model(images_of(50, 71).to("meta"))
    assert output.mask_logits.shape == (2, 5, *grid)
    assert output.padded_size == (4 * grid[0], 4 * grid[1])
    assert output.scores().shape == (2, 5, 50, 71)


@pytest.mark.parametrize(("size", "num_classes"), [((33, 70), 300), ((5, 9), 1)])
def test_forward_and_backward_of_any_image(size, num_classes):
    """Also of one smaller than a cell."""
    config = config_of(decoder=NARROW)
    torch.manual_seed(0)
    model = config.build(num_classes, (64, 64)).train()
    labels = torch.randint(0, num_classes, (2, *size))
    labels[0, :2] = IGNORE_INDEX
    terms = config.criterion()(model(images_of(*size)), labels)
    assert set(terms) == {"loss_pixel", "loss_pixel_auxiliary"}
    torch.stack(list(terms.values())).sum().backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None]
    assert missing == []
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    scores = model.eval()(images_of(*size)).scores()
    assert scores.shape == (2, num_classes, *size)
    assert scores.isfinite().all()


def test_a_batch_of_one_cannot_be_trained_on():
    model = on_meta(config_of(decoder=NARROW)).train()
    with pytest.raises(ConfigError, match=r"use a training\.batch_size of 2 or more"):
        model(images_of(64, 64, batch=1).to("meta"))


R18 = {"embed_dim": 256, "guidance_hidden_dim": 12}
HALF = {"controller_reduction": 2}


@pytest.mark.parametrize(
    ("name", "num_classes", "size", "decoder", "expected", "parameters"),
    [  # of the thesis, tables 3.1 and 3.5 to 3.7; of the parameters, the reference's without its unused classifier
        ("resnet101c", 150, (512, 512), {}, 49.0, 66_183_254 - 150 * 513),
        ("resnext101_64x4d", 150, (512, 512), {}, 87.9, None),
        ("resnet101c", 60, (480, 480), {}, 42.9, None),
        ("resnet18c", 19, (1024, 2048), R18, 95.7, None),
        ("resnet50c", 19, (1024, 2048), {}, 234.6, 45_947_805 - 19 * 513),
        ("resnet101c", 19, (1024, 2048), {}, 390.0, None),
        ("mit_b1", 150, (512, 512), HALF, 14.7, None),
        pytest.param("mit_b2", 150, (512, 512), HALF, 24.5, None, marks=pytest.mark.slow),
        pytest.param("mit_b5", 150, (640, 640), HALF, 124.2, None, marks=pytest.mark.slow),
    ],
)
def test_published_models_have_their_size(name, num_classes, size, decoder, expected, parameters):
    """GMACs; which options the small models have is not published: these give their figures."""
    model = on_meta(config_of(name, decoder), num_classes).eval()
    images = torch.empty(1, 3, *size, device="meta")
    total = count_operations(model, lambda: model(images)).total
    assert total / 1e9 == pytest.approx(expected, rel=0.01)
    if parameters is not None:
        assert sum(p.numel() for p in model.parameters()) == parameters

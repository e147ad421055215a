"""Backbones of other channels than red, green and blue."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vitseg.backbones import create_backbone
from vitseg.backbones.channels import inflated, take_channels
from vitseg.backbones.config import BackboneConfig, PyramidConfig
from vitseg.errors import ConfigError

KERNELS = torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(0))
MEAN = KERNELS.mean(1)
SUM = KERNELS.sum(1)


@pytest.mark.parametrize(
    ("channels", "expected"),
    [
        (["other"], [SUM]),
        (["red", "green", "blue"], [*KERNELS.unbind(1)]),
        (["blue", "green", "red"], [*KERNELS.flip(1).unbind(1)]),
        (["other", "other"], [SUM / 2, SUM / 2]),
        (
            ["other", "blue", "green", "red"],
            [0.75 * MEAN, *(0.75 * KERNELS.flip(1)).unbind(1)],
        ),
        (["other"] * 4, [*(0.75 * KERNELS).unbind(1), 0.75 * MEAN]),
    ],
)
def test_kernels_by_hand(channels, expected):
    torch.testing.assert_close(inflated(KERNELS, channels), torch.stack(expected, 1))


@pytest.mark.parametrize("number", [1, 2, 4, 7])
def test_the_response_to_grey_stays(number):
    grey = torch.rand(1, 1, 8, 8)
    before = nn.functional.conv2d(grey.expand(-1, 3, -1, -1), KERNELS)
    channels = (
        (["red", "green", "blue"] + ["other"] * 4)[:number] if number > 3 else ["other"] * number
    )
    after = nn.functional.conv2d(grey.expand(-1, number, -1, -1), inflated(KERNELS, channels))
    torch.testing.assert_close(after, before)


@pytest.mark.parametrize(
    "name",
    [
        *("test_vit", "resnet18", "resnet18c", "convnext_atto", "swin_tiny_patch4_window7_224"),
        pytest.param("mit_b0", marks=pytest.mark.slow),  # the import of its library alone
    ],
)
def test_every_kind_takes_four_bands(name):
    kind = {"taps": [0]} if name == "test_vit" else {"levels": [0]}
    config = (BackboneConfig if "taps" in kind else PyramidConfig).model_validate(
        {"name": name, "pretrained": False, "channels": ["red", "green", "blue", "other"], **kind}
    )
    backbone = create_backbone(config, (64, 64)).eval()
    with torch.no_grad():
        maps = backbone(torch.randn(1, 4, 64, 96)).maps
    assert maps[0].isfinite().all()


def test_patches_larger_than_the_backbones_images_are_refused():
    config = BackboneConfig(name="test_vit", pretrained=False, taps=(0,), patch_size=1000)
    with pytest.raises(ConfigError, match=r"patch_size is 1000, .* test_vit have 160 x 160 pixels"):
        create_backbone(config, (64, 64))


def test_a_backbone_without_such_a_beginning_is_refused():
    with pytest.raises(ConfigError, match="does not begin with one convolution"):
        take_channels(nn.Linear(3, 4), ["other"], "odd")

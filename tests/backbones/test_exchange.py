"""Another backbone in the place of a configuration's own."""

from __future__ import annotations

import pytest

from vitseg.backbones.config import BackboneConfig, PyramidConfig
from vitseg.backbones.create import num_blocks
from vitseg.backbones.exchange import scaled_blocks, with_backbone
from vitseg.errors import ConfigError

TINY = BackboneConfig(name="vit_tiny_patch16_224.augreg_in21k", taps=(5, 7, 11), tap_norm=True)


@pytest.mark.parametrize(
    ("name", "depth"),
    [("test_vit", 6), ("vit_tiny_patch16_224", 12), ("vit_large_patch14_dinov2", 24)],
)
def test_depth_of_a_backbone(name, depth):
    assert num_blocks(name) == depth


@pytest.mark.parametrize(
    ("blocks", "depths", "expected"),
    [
        ((5, 7, 11), (12, 24), (11, 15, 23)),
        ((7, 15, 23), (24, 12), (3, 7, 11)),
        ((5, 7, 11), (12, 6), (2, 3, 5)),
        ((0,), (12, 6), (0,)),
        ((11,), (12, 40), (39,)),
        ((5, 7, 11), (12, 12), (5, 7, 11)),
    ],
)
def test_taps_keep_their_fraction_of_the_depth(blocks, depths, expected):
    assert scaled_blocks(blocks, *depths) == expected


def test_only_name_and_taps_change():
    other = with_backbone(TINY, "vit_large_patch14_dinov2.lvd142m")
    assert other.taps == (11, 15, 23)
    assert other.model_dump(exclude={"name", "taps"}) == TINY.model_dump(exclude={"name", "taps"})
    assert with_backbone(TINY, TINY.name) is TINY
    swin = PyramidConfig(name="swin_tiny_patch4_window7_224", levels=(1, 2, 3))
    assert with_backbone(swin, "swin_base_patch4_window7_224").levels == (1, 2, 3)


@pytest.mark.parametrize(
    ("config", "name", "words"),
    [
        (TINY, "vit_tiny_patch16_242", "not a known timm ViT"),
        (TINY, "resnet50", "is no plain ViT"),
        (
            TINY.model_copy(update={"taps": (3, 4, 5, 6)}),
            "test_vit",
            "test_vit has too few blocks for the 4 taps [3, 4, 5, 6]",
        ),
        (
            TINY.model_copy(update={"mean": (0.5,) * 3, "std": (0.5,) * 3}),
            "test_vit",
            "backbone.mean belongs to vit_tiny",
        ),
    ],
)
def test_what_cannot_be_exchanged_is_refused(config, name, words):
    with pytest.raises(ConfigError) as error:
        with_backbone(config, name)
    assert words in str(error.value)

"""Building a backbone from its configuration."""

from __future__ import annotations

from typing import Any, cast, overload

import timm
import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import nn

from vitseg.backbones.channels import take_channels
from vitseg.backbones.config import BackboneConfig, CommonConfig, PyramidConfig, Triple
from vitseg.backbones.create_pyramid import (
    ALLOWED_PYRAMIDS,
    OTHERS,
    check_pyramid_name,
    create_pyramid,
)
from vitseg.backbones.families import FAMILIES, Family, TimmViT, family_of
from vitseg.backbones.pretrained import check_name, create_timm, module_of
from vitseg.backbones.pyramid import Pyramid
from vitseg.backbones.swin import Swin
from vitseg.backbones.vit import PlainViT
from vitseg.backbones.weights import load_weight_file
from vitseg.errors import ConfigError
from vitseg.types import Size


@overload
def create_backbone(
    config: BackboneConfig, image_size: Size, load_pretrained: bool = True
) -> PlainViT: ...


@overload
def create_backbone(
    config: PyramidConfig, image_size: Size, load_pretrained: bool = True
) -> Swin | Pyramid: ...


def create_backbone(
    config: BackboneConfig | PyramidConfig, image_size: Size, load_pretrained: bool = True
) -> PlainViT | Swin | Pyramid:
    """Build a backbone.

    Args:
        config: Which model, which weights, which features.
        image_size: Size of the training images in pixels; a plain ViT stores its absolute position embeddings for it.
        load_pretrained: False builds the architecture alone, for weights that come from a model directory.

    Raises:
        ConfigError: Unknown name, or a model of another kind than the configuration.
        CheckpointError: The pretrained weights cannot be had or do not fit.
    """
    download = load_pretrained and config.pretrained and not config.weights
    if isinstance(config, PyramidConfig):
        pyramid = create_pyramid(config, download, load_pretrained)
        take_channels(pyramid, config.channels, config.name)
        return pyramid
    vit, family = _create_vit(config, download)
    grid = None
    if load_pretrained and config.weights is not None:
        net, way = cast(TimmViT, vit), config.pos_embed_interpolation
        grid = load_weight_file(net, config.weights, way, image_size, config.weights_grid)
    backbone = PlainViT(vit, family, config)
    backbone.grid = grid or backbone.grid
    backbone.resample_grid(image_size)
    take_channels(backbone, config.channels, config.name)
    return backbone


def num_blocks(name: str) -> int:
    """Transformer blocks of a plain ViT by its timm name; no weights are made.

    Raises:
        ConfigError: Unknown name, or no plain ViT.
    """
    return len(cast(nn.ModuleList, outline(name).blocks))


def outline(name: str) -> TimmViT:
    """The plain ViT of a name of timm, without any weights: names and shapes alone; errors as for `num_blocks`."""
    with torch.device("meta"):
        vit, _ = _create_vit(BackboneConfig(name=name, pretrained=False, taps=(0,)), download=False)
    return cast(TimmViT, vit)


def pretrained_mean_std(config: CommonConfig) -> tuple[Triple, Triple]:
    """Input mean and standard deviation in [0, 1]: the configured ones, else those of the named weights."""
    if config.mean is not None and config.std is not None:
        return config.mean, config.std
    if isinstance(config, PyramidConfig):
        check_pyramid_name(config.name)
        if config.name in OTHERS:
            return IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD  # all of these are trained with
    else:
        _check_plain_name(config.name)
    pretrained = timm.get_pretrained_cfg(config.name)
    if pretrained is None:
        raise ConfigError(
            f"timm states no mean and std for {config.name}: set backbone.mean and backbone.std."
        )
    red, green, blue = pretrained.mean
    red_std, green_std, blue_std = pretrained.std
    return (red, green, blue), (red_std, green_std, blue_std)


def _check_plain_name(name: str) -> None:
    check_name(name, "timm ViT", _PLAIN_MODULES, "timm.list_models('vit_*')")


def _create_vit(config: BackboneConfig, download: bool) -> tuple[nn.Module, Family]:
    _check_plain_name(config.name)
    module = module_of(config.name)
    own = (family.options for family in FAMILIES if family.timm_module == module)
    options: dict[str, Any] = {"num_classes": 0, **next(own, FAMILIES[0].options)}
    if config.patch_size is not None:
        options["patch_size"] = config.patch_size
    try:
        vit = create_timm(config.name, download, options)
    except TypeError as error:
        raise ConfigError(
            f"backbone {config.name} is no plain ViT ({error}). {_ALLOWED}"
        ) from error
    family = family_of(vit)
    if family is None:
        raise ConfigError(
            f"backbone {config.name} is a {type(vit).__name__}, no plain ViT. {_ALLOWED}"
        )
    embed = cast(TimmViT, vit).patch_embed
    if 0 in (embed.grid_size or ()):
        size = " x ".join(str(side) for side in cast(Size, embed.img_size))
        raise ConfigError(
            f"backbone.patch_size is {config.patch_size}, but the images of {config.name} have {size} pixels, less "
            "than one patch: give a smaller one."
        )
    return vit, family


_PLAIN_MODULES = tuple(family.timm_module for family in FAMILIES)

_ALLOWED = (
    "Allowed with backbone.taps are timm's vit_*, deit*, beit*, eva02_* and their CLIP, SigLIP, DINOv2 and DINOv3 kin; "
    f"with backbone.levels {ALLOWED_PYRAMIDS}."
)

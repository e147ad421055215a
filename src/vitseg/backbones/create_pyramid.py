"""Building a pyramid backbone from its configuration."""

from __future__ import annotations

from typing import Any

from timm.models.convnext import ConvNeXt
from timm.models.resnet import ResNet
from timm.models.swin_transformer import SwinTransformer
from timm.models.twins import Twins
from torch import nn

from vitseg.backbones.config import PyramidConfig
from vitseg.backbones.conv_pyramids import ConvNeXtPyramid, ResNetPyramid
from vitseg.backbones.mix_transformer import (
    VARIANTS,
    MixTransformer,
    create_stages,
    published_file,
)
from vitseg.backbones.pretrained import check_name, create_timm, module_of
from vitseg.backbones.pyramid import Pyramid
from vitseg.backbones.pyramid_weights import (
    CONVNEXT,
    MIX_TRANSFORMER,
    RESNET,
    TWINS,
    load_pyramid_file,
    load_swin_file,
)
from vitseg.backbones.swin import Swin
from vitseg.backbones.twins import TwinsPyramid
from vitseg.errors import CheckpointError, ConfigError

V1C = {"resnet18c": "resnet18", "resnet34c": "resnet34"}
"""ResNets with the v1c stem that timm has not, and those that they are otherwise. timm has resnet50c and 101c."""

V1C_STEM = {"stem_type": "deep", "stem_width": 32}

SWIN_MODULE = "swin_transformer"
STRIDES = {"resnet": (32, 16, 8), "convnext": (32, 16), SWIN_MODULE: (32,), "twins": (32,)}
"""Output strides by timm's modules. At 8 timm shifts the last map of a ConvNeXt by a cell to the bottom right: it pads
the dilated 2 x 2 kernel on both sides."""

LAYOUTS = {ResNet: RESNET, ConvNeXt: CONVNEXT, Twins: TWINS}
"""Parameter names in files by timm's classes; those of a Swin are a matter of their own."""

ALLOWED_PYRAMIDS = "resnet*, resnext*, convnext*, swin_* and twins_* of timm, resnet18c, resnet34c, mit_b0 ... mit_b5"

OTHERS = (*V1C, *VARIANTS)
"""Names that are not timm's."""


def create_pyramid(config: PyramidConfig, download: bool, load_weights: bool) -> Swin | Pyramid:
    """Build a pyramid.

    Args:
        config: Which model, which levels.
        download: Whether it gets its published weights.
        load_weights: Whether it gets those of the file that the configuration names, if it names one.

    Raises:
        ConfigError: An unknown name, a model of another kind, or a field that the model has no use for.
        CheckpointError: The weights cannot be had or do not fit.
    """
    check_pyramid_name(config.name)
    _check_fields(config)
    path = config.weights if load_weights else None
    if config.name in VARIANTS:
        stages = create_stages(config)
        path = published_file(config.name) if download else path
        if path is not None:
            load_pyramid_file(nn.ModuleDict({"stages": stages}), path, MIX_TRANSFORMER)
        return MixTransformer(stages, config)
    net = _create_timm_pyramid(config, download)
    if isinstance(net, SwinTransformer):
        if path is not None:
            load_swin_file(net, path)
        return Swin(net, config)
    if path is not None:
        load_pyramid_file(net, path, LAYOUTS[type(net)])
    if isinstance(net, ResNet):
        return ResNetPyramid(net, config)
    if isinstance(net, ConvNeXt):
        return ConvNeXtPyramid(net, config)
    return TwinsPyramid(net, config)


def check_pyramid_name(name: str) -> None:
    """Refuse what is no name of a pyramid.

    Raises:
        ConfigError: An unknown name, an unknown weight tag, or a model that is no pyramid.
    """
    architecture, _, tag = name.partition(".")
    if architecture in OTHERS:
        if tag:
            raise ConfigError(
                f"backbone.name {name}: {architecture} has no weight tags, write it alone."
            )
        return
    listing = "timm.list_models('resnet*'), or 'resnext*', 'convnext*', 'swin_*', 'twins_*'"
    check_name(name, "pyramid", STRIDES, listing, OTHERS)
    if module_of(name) not in STRIDES:
        raise ConfigError(
            f"backbone {name} is no pyramid. Allowed with backbone.levels are {ALLOWED_PYRAMIDS}."
        )


def _check_fields(config: PyramidConfig) -> None:
    """Refuse fields that a backbone of this known name has no use for."""
    module = _module(config.name)
    strides = STRIDES.get(module, (32,))
    if config.output_stride not in strides:
        allowed = " or ".join(map(str, strides))
        raise ConfigError(
            f"backbone.output_stride is {config.output_stride}, but {config.name} can have {allowed} only: take that, "
            "or another backbone. ResNets and ResNeXts can have 32, 16 and 8, ConvNeXts 32 and 16."
        )
    if config.frozen_stages and module == SWIN_MODULE:
        raise ConfigError(
            f"backbone.frozen_stages is {config.frozen_stages}, but stages of a Swin cannot be frozen: leave it at 0, "
            "or freeze the whole backbone with training.freeze_backbone."
        )


def _module(name: str) -> str:
    """Of timm, the module that makes a pyramid of this known name; "" of a Mix Transformer."""
    return "" if name in VARIANTS else module_of(V1C.get(name, name))


def _create_timm_pyramid(
    config: PyramidConfig, download: bool
) -> ResNet | ConvNeXt | Twins | SwinTransformer:
    options: dict[str, Any] = {"num_classes": 0}
    name = V1C.get(config.name, config.name)
    if config.name in V1C:
        if download:
            raise CheckpointError(
                f"timm has no weights of {config.name}: pass a file with backbone.weights=FILE (in timm's or in "
                "mmsegmentation's names), or start from random weights with backbone.pretrained=false."
            )
        options |= V1C_STEM
    module = _module(config.name)
    if module != SWIN_MODULE:  # ours sets its rates itself
        options["drop_path_rate"] = config.drop_path
    if len(STRIDES[module]) > 1:
        options["output_stride"] = config.output_stride
    net = create_timm(name, download, options)
    assert isinstance(net, (ResNet, ConvNeXt, Twins, SwinTransformer))
    return net

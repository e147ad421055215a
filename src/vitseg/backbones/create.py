"""Building a backbone from its configuration."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, overload

import timm
import torch
from timm.models.beit import Beit
from timm.models.eva import Eva
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from vitseg.backbones.blocks import TimmViT
from vitseg.backbones.config import BackboneConfig, CommonConfig, PyramidConfig, Triple
from vitseg.backbones.hub import offline_if_unreachable
from vitseg.backbones.plain_vit import PlainViT
from vitseg.backbones.pyramid_weights import load_swin_file
from vitseg.backbones.swin import Swin
from vitseg.backbones.weights import load_weight_file
from vitseg.errors import CheckpointError, ConfigError, unknown_name
from vitseg.types import Size


@overload
def create_backbone(
    config: BackboneConfig, image_size: Size, load_pretrained: bool = True
) -> PlainViT: ...


@overload
def create_backbone(
    config: PyramidConfig, image_size: Size, load_pretrained: bool = True
) -> Swin: ...


def create_backbone(
    config: BackboneConfig | PyramidConfig, image_size: Size, load_pretrained: bool = True
) -> PlainViT | Swin:
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
        return _create_swin(config, download, load_pretrained)
    vit = _create_vit(config, download)
    if load_pretrained and config.weights is not None:
        load_weight_file(vit, config.weights, config.pos_embed_interpolation)
    backbone = PlainViT(vit, config)
    backbone.resample_grid(image_size)
    return backbone


def num_blocks(name: str) -> int:
    """Transformer blocks of a plain ViT by its timm name; no weights are made.

    Raises:
        ConfigError: Unknown name, or no plain ViT.
    """
    with torch.device("meta"):
        vit = _create_vit(BackboneConfig(name=name, pretrained=False, taps=(0,)), download=False)
    return len(vit.blocks)


def pretrained_mean_std(config: CommonConfig) -> tuple[Triple, Triple]:
    """Input mean and standard deviation in [0, 1]: the configured ones, else those of the named weights."""
    if config.mean is not None and config.std is not None:
        return config.mean, config.std
    _check_name(config)
    pretrained = timm.get_pretrained_cfg(config.name)
    if pretrained is None:
        raise ConfigError(
            f"timm states no mean and std for {config.name}: set backbone.mean and backbone.std."
        )
    red, green, blue = pretrained.mean
    red_std, green_std, blue_std = pretrained.std
    return (red, green, blue), (red_std, green_std, blue_std)


def _check_name(config: CommonConfig) -> None:
    name = config.name
    architecture = name.partition(".")[0]
    if not timm.is_model(architecture):
        kind, modules, pattern = _PYRAMIDS if isinstance(config, PyramidConfig) else _PLAIN
        names = [known for module in modules for known in timm.list_models(module=module)]
        near = unknown_name(f"timm {kind}", architecture, names).partition(" Known:")[0]
        raise ConfigError(f"backbone.name {near} List them with: timm.list_models('{pattern}').")
    tag = name.partition(".")[2]
    if tag and not timm.is_model_pretrained(name):
        tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{architecture}.*")]
        raise ConfigError(
            f"backbone.name {unknown_name(f'weight tag of {architecture}', tag, tags)}"
        )


def _create_vit(config: BackboneConfig, download: bool) -> TimmViT:
    _check_name(config)
    options: dict[str, Any] = {"num_classes": 0}
    if config.patch_size is not None:
        options["patch_size"] = config.patch_size
    if _module_of(config.name) != "beit":
        options["dynamic_img_size"] = True  # BEiT has no such switch; ours takes any size anyway
    try:
        vit = _create_timm(config.name, download, options)
    except TypeError as error:
        raise ConfigError(
            f"backbone {config.name} is no plain ViT ({error}). {_ALLOWED}"
        ) from error
    if not isinstance(vit, (VisionTransformer, Beit, Eva)):
        raise ConfigError(
            f"backbone {config.name} is a {type(vit).__name__}, no plain ViT. {_ALLOWED}"
        )
    return vit


def _create_swin(config: PyramidConfig, download: bool, load_pretrained: bool) -> Swin:
    _check_name(config)
    if _module_of(config.name) != "swin_transformer":
        raise ConfigError(f"backbone {config.name} is no Swin. {_ALLOWED}")
    swin = _create_timm(config.name, download, {"num_classes": 0})
    if not isinstance(swin, SwinTransformer):
        raise ConfigError(f"backbone {config.name} is a {type(swin).__name__}. {_ALLOWED}")
    if load_pretrained and config.weights is not None:
        load_swin_file(swin, config.weights)
    return Swin(swin, config)


def _module_of(name: str) -> str:
    return timm.models.model_entrypoint(name.partition(".")[0]).__module__.rpartition(".")[2]


def _create_timm(name: str, download: bool, options: dict[str, Any]) -> nn.Module:
    try:
        with offline_if_unreachable() if download else nullcontext():
            return timm.create_model(name, pretrained=download, **options)
    except (OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"the pretrained weights of {name} could not be downloaded ({reason}). Pass a local "
            "file with backbone.weights=FILE, or start from random weights with backbone.pretrained=false."
        ) from error


_PLAIN = ("ViT", ("vision_transformer", "eva", "beit"), "vit_*")
_PYRAMIDS = ("Swin", ("swin_transformer",), "swin_*")
"""What each kind is called, timm's modules that hold it, and a pattern for its names."""

_ALLOWED = (
    "Allowed with backbone.taps are timm's vit_*, deit*, beit*, eva02_* and their CLIP, SigLIP, DINOv2 and DINOv3 kin; "
    "with backbone.levels swin_*."
)

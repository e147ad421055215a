"""Building a backbone from its configuration."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import timm
from timm.models.beit import Beit
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer

from vitseg.backbones.blocks import TimmViT
from vitseg.backbones.config import BackboneConfig, Triple
from vitseg.backbones.hub import offline_if_unreachable
from vitseg.backbones.plain_vit import PlainViT
from vitseg.backbones.weights import load_weight_file
from vitseg.errors import CheckpointError, ConfigError, unknown_name
from vitseg.types import Size


def create_backbone(
    config: BackboneConfig, image_size: Size, load_pretrained: bool = True
) -> PlainViT:
    """Build a plain ViT.

    Args:
        config: Which ViT, which weights, which taps.
        image_size: Size of the training images in pixels; the absolute position embeddings are stored for it.
        load_pretrained: False builds the architecture alone, for weights that come from a model directory.

    Raises:
        ConfigError: Unknown name, or a model that is no plain ViT.
        CheckpointError: The pretrained weights cannot be had or do not fit.
    """
    vit = _create_timm(
        config, download=load_pretrained and config.pretrained and not config.weights
    )
    if load_pretrained and config.weights is not None:
        load_weight_file(vit, config.weights, config.pos_embed_interpolation)
    backbone = PlainViT(vit, config)
    backbone.resample_grid(image_size)
    return backbone


def pretrained_mean_std(config: BackboneConfig) -> tuple[Triple, Triple]:
    """Input mean and standard deviation in [0, 1]: the configured ones, else those of the named weights."""
    if config.mean is not None and config.std is not None:
        return config.mean, config.std
    _check_name(config.name)
    pretrained = timm.get_pretrained_cfg(config.name)
    if pretrained is None:
        raise ConfigError(
            f"timm states no mean and std for {config.name}: set backbone.mean and backbone.std."
        )
    red, green, blue = pretrained.mean
    red_std, green_std, blue_std = pretrained.std
    return (red, green, blue), (red_std, green_std, blue_std)


def _check_name(name: str) -> None:
    architecture = name.partition(".")[0]
    if not timm.is_model(architecture):
        names = timm.list_models(module="vision_transformer") + timm.list_models(module="eva")
        names += timm.list_models(module="beit")
        near = unknown_name("timm ViT", architecture, names).partition(" Known:")[0]
        raise ConfigError(f"backbone.name {near} List them with: timm.list_models('vit_*').")
    tag = name.partition(".")[2]
    if tag and not timm.is_model_pretrained(name):
        tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{architecture}.*")]
        raise ConfigError(
            f"backbone.name {unknown_name(f'weight tag of {architecture}', tag, tags)}"
        )


def _create_timm(config: BackboneConfig, download: bool) -> TimmViT:
    _check_name(config.name)
    options: dict[str, Any] = {"num_classes": 0}
    if config.patch_size is not None:
        options["patch_size"] = config.patch_size
    architecture = config.name.partition(".")[0]
    if timm.models.model_entrypoint(architecture).__module__.rpartition(".")[2] != "beit":
        options["dynamic_img_size"] = True  # BEiT has no such switch; ours takes any size anyway
    try:
        with offline_if_unreachable() if download else nullcontext():
            vit = timm.create_model(config.name, pretrained=download, **options)
    except TypeError as error:
        raise ConfigError(
            f"backbone {config.name} is no plain ViT ({error}). {_ALLOWED}"
        ) from error
    except (OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"the pretrained weights of {config.name} could not be downloaded ({reason}). Pass a local "
            "file with backbone.weights=FILE, or start from random weights with backbone.pretrained=false."
        ) from error
    if not isinstance(vit, (VisionTransformer, Beit, Eva)):
        raise ConfigError(
            f"backbone {config.name} is a {type(vit).__name__}, no plain ViT. {_ALLOWED}"
        )
    return vit


_ALLOWED = (
    "Allowed are timm's vit_*, deit*, beit*, eva02_* and their CLIP, SigLIP, DINOv2 and DINOv3 kin."
)

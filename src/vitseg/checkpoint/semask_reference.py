"""Checkpoints of SeMask-FPN, and of Swin with Semantic FPN, in our parameter names.

Source: the parameter names and shapes of SeMask's models (mmcv dictionaries), which are those of the Swin authors'
repository with semantic layers, and mmsegmentation's names of a Swin with the same head. The number of classes is read
from the weights, of the semantic layers as of the head.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from vitseg.checkpoint.architecture import IMAGENET, Architecture
from vitseg.checkpoint.reference_names import rename_all, shape_of
from vitseg.checkpoint.swin_reference import LEVELS, has_swin, split_swin, swin_config
from vitseg.errors import CheckpointError
from vitseg.types import StateDict

CITYSCAPES_CLASSES, CITYSCAPES_CROP = 19, 768
LARGE, LARGE_CROP = "swin_large", 640
"""Crops in pixels: of all models on Cityscapes, and of Swin-L elsewhere; 512 of the others."""

_SEMANTIC = re.compile(r"^backbone\.layers\.(\d)\.semantic_layer\.(.+)$")
_SEMANTIC_LAYERS = (
    ("norm1.", "norm."),
    ("class_injection.0.gamma", "gamma"),
    ("class_injection.0.mlp_cls_q.", "query."),
    ("class_injection.0.mlp_cls_k.", "key."),
    ("class_injection.0.mlp_v.", "value."),
    ("class_injection.0.mlp_res.", "proj."),
)
_HEAD = re.compile(r"^decode_head\.scale_heads\.(\d)\.([024])\.(conv|bn)\.(.+)$")


def is_swin_fpn(names: Iterable[str]) -> bool:
    """Whether the parameter names are those of a Swin with Semantic FPN, with semantic layers or without."""
    names = set(names)
    return has_swin(names) and "decode_head.scale_heads.0.0.conv.weight" in names


def is_semask(names: Iterable[str]) -> bool:
    """Whether the parameter names are those of SeMask-FPN."""
    names = set(names)
    return (
        is_swin_fpn(names) and "backbone.layers.0.semantic_layer.class_injection.0.gamma" in names
    )


def swin_fpn_name(name: str) -> str | None:
    """Our name of a reference parameter of semantic layers or head; None if neither model has it."""
    if match := _SEMANTIC.match(name):
        for theirs, ours in _SEMANTIC_LAYERS:
            if match[2].startswith(theirs):
                rest = ours + match[2].removeprefix(theirs)
                return f"backbone.semantic.{match[1]}.attention.{rest}"
        return None
    if match := _HEAD.match(name):  # doublings stand between the convolutions there
        layer = {"conv": "conv", "bn": "norm"}[match[3]]
        return f"decoder.levels.{match[1]}.{int(match[2]) // 2}.{layer}.{match[4]}"
    if name.startswith("decode_head.conv_seg."):
        return name.replace("decode_head.conv_seg", "decoder.classifier")
    return None


def convert_swin_fpn(state: StateDict) -> StateDict:
    """A reference state dictionary in our names.

    Raises:
        CheckpointError: It holds parameters that these models do not have.
    """
    semantic = {name: value for name, value in state.items() if _SEMANTIC.match(name)}
    backbone, head = split_swin({n: v for n, v in state.items() if n not in semantic})
    return backbone | rename_all(semantic | head, swin_fpn_name, "Swin with Semantic FPN")


def swin_fpn_architecture(state: StateDict) -> Architecture:
    """The model of a reference state dictionary.

    Raises:
        CheckpointError: Its size is that of no Swin.
    """
    num_classes, embed_dim = shape_of(state, "decode_head.conv_seg.weight", 4)[:2]
    backbone = swin_config(state)
    crop = LARGE_CROP if backbone["name"].startswith(LARGE) else 512
    if num_classes == CITYSCAPES_CLASSES:
        crop = CITYSCAPES_CROP
    config = {"backbone": backbone, "decoder": {"embed_dim": embed_dim}}
    return Architecture(config, num_classes, (crop, crop), IMAGENET)


def semask_architecture(state: StateDict) -> Architecture:
    """As `swin_fpn_architecture`, of SeMask.

    Raises:
        CheckpointError: Also where the semantic layers and the head know different numbers of classes.
    """
    architecture = swin_fpn_architecture(state)
    for stage in LEVELS:
        for part in ("q", "k"):
            name = f"backbone.layers.{stage}.semantic_layer.class_injection.0.mlp_cls_{part}.weight"
            num_semantic = shape_of(state, name, 2)[0]
            if num_semantic != architecture.num_classes:
                raise CheckpointError(
                    f"the semantic layers of this checkpoint know {num_semantic} classes, but its head knows "
                    f"{architecture.num_classes} ({name}): it was trained with backbone.num_cls of another data set, "
                    "and its semantic maps mean nothing for these classes. Allowed are equal numbers."
                )
    return architecture

"""Checkpoints of SeMask-FPN, and of Swin with Semantic FPN in the names of the Swin authors, in our parameter names.

Source: the parameter names and shapes of SeMask's models (mmcv dictionaries). The number of classes is read from the
weights, of the semantic layers as of the head.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from vitseg.checkpoint.reference_names import count, rename_all, shape_of
from vitseg.checkpoint.segvit_reference import IMAGENET, Architecture
from vitseg.errors import CheckpointError

SWINS: dict[tuple[int, tuple[int, ...], int], str] = {
    (96, (2, 2, 6, 2), 7): "swin_tiny_patch4_window7_224",
    (96, (2, 2, 18, 2), 7): "swin_small_patch4_window7_224",
    (128, (2, 2, 18, 2), 7): "swin_base_patch4_window7_224",
    (128, (2, 2, 18, 2), 12): "swin_base_patch4_window12_384",
    (192, (2, 2, 18, 2), 7): "swin_large_patch4_window7_224",
    (192, (2, 2, 18, 2), 12): "swin_large_patch4_window12_384",
}
"""timm's name of the Swin with a width, numbers of blocks and side of a window."""

LEVELS = (0, 1, 2, 3)

CITYSCAPES_CLASSES, CITYSCAPES_CROP = 19, 768
LARGE_WIDTH, LARGE_CROP = 192, 640
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
_SWIN = re.compile(
    r"^backbone\.(patch_embed\.(proj|norm)\.|layers\.\d\.blocks\.\d+\.(norm|attn|mlp)).+$"
)
_MERGING = re.compile(r"^backbone\.layers\.(\d)\.downsample\.(.+)$")
_NORM = re.compile(r"^backbone\.norm(\d)\.(.+)$")
_HEAD = re.compile(r"^decode_head\.scale_heads\.(\d)\.([024])\.(conv|bn)\.(.+)$")


def is_swin_fpn(names: Iterable[str]) -> bool:
    """Whether the parameter names are those of a Swin with Semantic FPN, with semantic layers or without."""
    return {
        "backbone.layers.0.blocks.0.attn.qkv.weight",
        "decode_head.scale_heads.0.0.conv.weight",
    } <= set(names)


def is_semask(names: Iterable[str]) -> bool:
    """Whether the parameter names are those of SeMask-FPN."""
    names = set(names)
    return (
        is_swin_fpn(names) and "backbone.layers.0.semantic_layer.class_injection.0.gamma" in names
    )


def swin_fpn_name(name: str) -> str | None:
    """Our name of a reference parameter; None if neither model has it."""
    if match := _SEMANTIC.match(name):
        for theirs, ours in _SEMANTIC_LAYERS:
            if match[2].startswith(theirs):
                rest = ours + match[2].removeprefix(theirs)
                return f"backbone.semantic.{match[1]}.attention.{rest}"
        return None
    if _SWIN.match(name):
        return name
    if match := _MERGING.match(name):  # there at the end of a stage, here at the start of the next
        return f"backbone.layers.{int(match[1]) + 1}.downsample.{match[2]}"
    if match := _NORM.match(name):
        return f"backbone.norms.{match[1]}.{match[2]}"
    if match := _HEAD.match(name):  # doublings stand between the convolutions there
        layer = {"conv": "conv", "bn": "norm"}[match[3]]
        return f"decoder.levels.{match[1]}.{int(match[2]) // 2}.{layer}.{match[4]}"
    if name.startswith("decode_head.conv_seg."):
        return name.replace("decode_head.conv_seg", "decoder.classifier")
    return None


def convert_swin_fpn(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A reference state dictionary in our names. Patch merging has timm's order of neighbours already.

    Raises:
        CheckpointError: It holds parameters that these models do not have.
    """
    return rename_all(state, swin_fpn_name, "Swin with Semantic FPN")


def swin_fpn_architecture(state: Mapping[str, Tensor]) -> Architecture:
    """The model of a reference state dictionary.

    Raises:
        CheckpointError: Its size is that of no Swin, or semantic layers and head know different numbers of classes.
    """
    width = shape_of(state, "backbone.patch_embed.proj.weight", 4)[0]
    depths = tuple(
        count(state, rf"backbone\.layers\.{stage}\.blocks\.(\d+)\.") for stage in range(4)
    )
    table = shape_of(state, "backbone.layers.0.blocks.0.attn.relative_position_bias_table", 2)
    window = (round(table[0] ** 0.5) + 1) // 2
    if (width, depths, window) not in SWINS:
        raise CheckpointError(
            f"no known Swin has width {width}, {depths} blocks and windows of {window}. Known: "
            f"{', '.join(SWINS.values())}."
        )
    num_classes = shape_of(state, "decode_head.conv_seg.weight", 4)[0]
    config = {
        "backbone": {"name": SWINS[width, depths, window], "pretrained": False, "levels": LEVELS},
        "decoder": {"embed_dim": shape_of(state, "decode_head.conv_seg.weight", 4)[1]},
    }
    crop = LARGE_CROP if width == LARGE_WIDTH else 512
    if num_classes == CITYSCAPES_CLASSES:
        crop = CITYSCAPES_CROP
    return Architecture(config, num_classes, crop, IMAGENET)


def semask_architecture(state: Mapping[str, Tensor]) -> Architecture:
    """As `swin_fpn_architecture`, of SeMask.

    Raises:
        CheckpointError: Also where the semantic layers and the head know different numbers of classes.
    """
    architecture = swin_fpn_architecture(state)
    semantic = "backbone.layers.0.semantic_layer.class_injection.0.mlp_cls_q.weight"
    num_semantic = shape_of(state, semantic, 2)[0]
    if num_semantic != architecture.num_classes:
        raise CheckpointError(
            f"the semantic layers of this checkpoint know {num_semantic} classes, but its head knows "
            f"{architecture.num_classes}: it was trained with backbone.num_cls of another data set, and its semantic "
            "maps mean nothing for these classes. Allowed are equal numbers."
        )
    return architecture

"""Checkpoints of NRD's repository (mmcv dictionaries) in our parameter names.

Source: the parameter names and shapes of its models on ResNet-50 and 101 with the deep stem (v1c); the distances of
the pooling are theirs, which no shape says. The head inherits a classifier that it does not use: it is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from vitseg.checkpoint.architecture import IMAGENET, Architecture
from vitseg.checkpoint.reference_names import count, rename_all, shape_of
from vitseg.decoders.nrd import num_parameters
from vitseg.errors import CheckpointError
from vitseg.types import StateDict

RESNETS: dict[tuple[int, ...], str] = {(3, 4, 6, 3): "resnet50c", (3, 4, 23, 3): "resnet101c"}
"""timm's name of the ResNet with numbers of blocks, as the published models use them."""

LEVELS = (0, 2, 3)
"""For the guidance, for the auxiliary head, and the cells."""

CROPS = {59: 480, 60: 480}
"""Crops of PASCAL-Context in pixels, by the number of classes; 512 of all others (Cityscapes: 512 x 1024)."""

LEFT_OUT = (r"^decode_head\.conv_seg\.",)

_RENAMES = (
    (r"^backbone\.stem\.([01346])\.", r"backbone.conv1.\1."),
    (r"^backbone\.stem\.7\.", "backbone.bn1."),
    (r"^backbone\.(layer[1-4])\.", r"backbone.\1."),
    (r"^decode_head\.image_pool\.1\.", "decoder.context.pooled."),
    (r"^decode_head\.aspp_modules\.0\.", "decoder.context.point."),
    (r"^decode_head\.bottleneck\.", "decoder.context.bottleneck."),
    (r"^decode_head\.classifier\.classifier\.0\.", "decoder.controller.conv."),
    (r"^decode_head\.classifier\.classifier\.1\.", "decoder.controller.generate."),
    (r"^decode_head\.c1_bottleneck\.0\.", "decoder.guidance.0."),
    (r"^decode_head\.c1_bottleneck\.1\.conv\.", "decoder.guidance.1."),
    (r"^decode_head\.cat_norm\.", "decoder.norm."),
    (r"^auxiliary_head\.convs\.0\.", "decoder.auxiliary.convs.0."),
    (r"^auxiliary_head\.conv_seg\.", "decoder.auxiliary.classifier."),
)
_DILATED = re.compile(r"^decode_head\.aspp_modules\.([1-9])\.(depthwise|pointwise)_conv\.(.+)$")


def is_nrd(names: Iterable[str]) -> bool:
    """Whether the parameter names are those of NRD."""
    wanted = {
        "decode_head.classifier.classifier.1.weight",
        "decode_head.c1_bottleneck.0.conv.weight",
        "decode_head.cat_norm.weight",
    }
    return wanted <= set(names)


def nrd_name(name: str) -> str | None:
    """Our name of a reference parameter; None if NRD does not have it."""
    dilated = _DILATED.match(name)
    if dilated:
        branch, part, rest = dilated.groups()
        ours = f"decoder.context.dilated.{int(branch) - 1}.{part}.{rest}"
        return ours.replace(".bn.", ".norm.")
    for pattern, replacement in _RENAMES:
        ours, changed = re.subn(pattern, replacement, name)
        if changed:
            return ours.replace(".bn.", ".norm.") if ours.startswith("decoder.") else ours
    return None


def convert_nrd(state: StateDict) -> StateDict:
    """A reference state dictionary in our names, the auxiliary head included.

    Raises:
        CheckpointError: It holds parameters that NRD does not have.
    """
    return rename_all(state, nrd_name, "NRD", LEFT_OUT)


def nrd_architecture(state: StateDict) -> Architecture:
    """The model of a reference state dictionary.

    Raises:
        CheckpointError: Its size is that of no published model, or its head's shapes contradict each other.
    """
    blocks = tuple(count(state, rf"backbone\.layer{stage}\.(\d+)\.") for stage in range(1, 5))
    if blocks not in RESNETS or "backbone.stem.0.weight" not in state:
        raise CheckpointError(
            f"only NRD on {' and '.join(RESNETS.values())} can be converted, but layer1 to layer4 of this backbone "
            f"have {', '.join(map(str, blocks))} blocks and its stem is "
            f"{'deep' if 'backbone.stem.0.weight' in state else 'of another kind'}."
        )
    num_classes = shape_of(state, "decode_head.conv_seg.weight", 4)[0]
    embed_dim = shape_of(state, "decode_head.bottleneck.conv.weight", 4)[0]
    generated, controller_dim = shape_of(state, "decode_head.classifier.classifier.1.weight", 4)[:2]
    guidance_dim, guidance_hidden_dim = shape_of(
        state, "decode_head.c1_bottleneck.1.conv.weight", 4
    )[:2]
    num_inputs = shape_of(state, "decode_head.cat_norm.weight", 1)[0]
    if embed_dim % controller_dim:
        raise CheckpointError(
            f"the controller is {controller_dim} wide, which does not divide the {embed_dim} channels that it reads."
        )
    has_auxiliary = "auxiliary_head.conv_seg.weight" in state
    config = {
        "backbone": {
            "name": RESNETS[blocks],
            "pretrained": False,
            "levels": LEVELS if has_auxiliary else (LEVELS[0], LEVELS[-1]),
        },
        "decoder": {
            "embed_dim": embed_dim,
            "controller_reduction": embed_dim // controller_dim,
            "hidden_dim": _hidden_dim(num_inputs, num_classes, generated),
            "guidance_dim": guidance_dim,
            "guidance_hidden_dim": guidance_hidden_dim,
            "use_coordinates": num_inputs > guidance_dim,
            "auxiliary_dim": shape_of(state, "auxiliary_head.conv_seg.weight", 4)[1]
            if has_auxiliary
            else None,
        },
    }
    crop = CROPS.get(num_classes, 512)
    return Architecture(config, num_classes, (crop, crop), IMAGENET)


def _hidden_dim(num_inputs: int, num_classes: int, generated: int) -> int:
    """Width of the cells' networks, by the number of their parameters.

    Raises:
        CheckpointError: No width has so many.
    """
    for width in range(1, generated):
        if num_parameters((num_inputs, width, width, num_classes)) == generated:
            return width
    raise CheckpointError(
        f"decode_head.classifier.classifier.1 generates {generated} parameters for a cell, but no network of three "
        f"layers from {num_inputs} inputs to {num_classes} classes has so many."
    )

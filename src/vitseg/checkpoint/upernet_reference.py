"""Checkpoints of Swin with UPerNet (mmcv dictionaries) in our parameter names.

Source: the parameter names and shapes of mmsegmentation's models and of the Swin authors', which differ in the names of
the backbone and in its order of channels. The auxiliary head is converted, too, where the file has one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from vitseg.checkpoint.architecture import IMAGENET, Architecture
from vitseg.checkpoint.reference_names import rename_all, shape_of
from vitseg.checkpoint.swin_reference import has_swin, split_swin, swin_config
from vitseg.types import StateDict

CROP = 512
"""Crop of the published models in pixels; no parameter depends on it."""

_RENAMES = (
    (r"^decode_head\.psp_modules\.(\d)\.1\.", r"decoder.pooling.projections.\1."),
    (r"^decode_head\.bottleneck\.", "decoder.pooling.bottleneck."),
    (r"^decode_head\.lateral_convs\.(\d)\.", r"decoder.laterals.\1."),
    (r"^decode_head\.fpn_convs\.(\d)\.", r"decoder.outputs.\1."),
    (r"^decode_head\.fpn_bottleneck\.", "decoder.fuse."),
    (r"^decode_head\.conv_seg\.", "decoder.classifier."),
    (r"^auxiliary_head\.convs\.0\.", "decoder.auxiliary.convs.0."),
    (r"^auxiliary_head\.conv_seg\.", "decoder.auxiliary.classifier."),
)


def is_swin_upernet(names: Iterable[str]) -> bool:
    """Whether the parameter names are those of a Swin with UPerNet."""
    names = set(names)
    wanted = {"decode_head.psp_modules.0.1.conv.weight", "decode_head.fpn_bottleneck.conv.weight"}
    return has_swin(names) and wanted <= names


def upernet_name(name: str) -> str | None:
    """Our name of a reference parameter of the heads; None if UPerNet does not have it."""
    for pattern, replacement in _RENAMES:
        ours, changed = re.subn(pattern, replacement, name)
        if changed:
            return ours.replace(".bn.", ".norm.")
    return None


def convert_swin_upernet(state: StateDict) -> StateDict:
    """A reference state dictionary in our names.

    Raises:
        CheckpointError: It holds parameters that this model does not have.
    """
    backbone, heads = split_swin(state)
    return backbone | rename_all(heads, upernet_name, "Swin with UPerNet", left_out=())


def swin_upernet_architecture(state: StateDict) -> Architecture:
    """The model of a reference state dictionary.

    Raises:
        CheckpointError: Its size is that of no Swin.
    """
    num_classes, embed_dim = shape_of(state, "decode_head.conv_seg.weight", 4)[:2]
    auxiliary_dim = None
    if "auxiliary_head.conv_seg.weight" in state:
        auxiliary_dim = shape_of(state, "auxiliary_head.conv_seg.weight", 4)[1]
    config = {
        "backbone": swin_config(state),
        "decoder": {"embed_dim": embed_dim, "auxiliary_dim": auxiliary_dim},
    }
    return Architecture(config, num_classes, (CROP, CROP), IMAGENET)

"""Checkpoints of SegFormer, of the transformers library, of SegFormer's authors and of mmsegmentation, in our names.

Source: the parameter names and shapes of the library's models and of the published files. The names of the encoder are
those of `backbones.mix_transformer_names`. mmsegmentation's head is another function: every level has a normalisation
and a ReLU of its own, and the levels are concatenated from shallow to deep, where the others go from deep to shallow.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import torch

from vitseg.backbones.mix_transformer import VARIANTS
from vitseg.backbones.mix_transformer_names import rename_mix_transformer
from vitseg.checkpoint.architecture import IMAGENET, Architecture
from vitseg.checkpoint.reference_names import count, rename_all, shape_of
from vitseg.errors import CheckpointError
from vitseg.types import StateDict

CROP = 512
"""Crop of the published models in pixels; no parameter depends on it."""

LEVELS = (0, 1, 2, 3)

CLASSIFIERS = ("decode_head.classifier.weight", "decode_head.linear_pred.weight")
"""Of the library and of the authors."""

MMSEG_CLASSIFIER = "decode_head.conv_seg.weight"

LEFT_OUT = (r"^decode_head\.conv_seg\.",)
"""A classifier that the authors' head inherits and does not use."""

_ENCODER = ("segformer.", "backbone.")
_RENAMES = (
    (r"^decode_head\.(?:linear_c|linear_projections)\.(\d)\.proj\.", r"decoder.projections.\1."),
    (r"^decode_head\.linear_fuse\.(?:conv\.)?weight$", "decoder.fuse.conv.weight"),
    (r"^decode_head\.(?:batch_norm|linear_fuse\.bn)\.", "decoder.fuse.norm."),
    (r"^decode_head\.(?:classifier|linear_pred)\.", "decoder.classifier."),
)
_MMSEG_RENAMES = (
    (r"^decode_head\.convs\.(\d)\.conv\.", r"decoder.projections.\1.conv."),
    (r"^decode_head\.convs\.(\d)\.bn\.", r"decoder.projections.\1.norm."),
    (r"^decode_head\.fusion_conv\.conv\.", "decoder.fuse.conv."),
    (r"^decode_head\.fusion_conv\.bn\.", "decoder.fuse.norm."),
    (r"^decode_head\.conv_seg\.", "decoder.classifier."),
)
_MMSEG_FUSION = "decode_head.fusion_conv.conv.weight"
_AUTHORS_LEVEL = re.compile(r"^decode_head\.linear_c([1-4])\.")


def is_segformer(names: Iterable[str]) -> bool:
    """Whether the parameter names are those of a SegFormer with its head."""
    names = set(names)
    if {_MMSEG_FUSION, "decode_head.convs.0.conv.weight"} <= names:
        return True
    return "decode_head.linear_fuse.weight" in names or (
        "decode_head.linear_fuse.conv.weight" in names and "decode_head.linear_pred.weight" in names
    )


def _mmseg_head_name(name: str) -> str | None:
    """The same of mmsegmentation's head."""
    for pattern, replacement in _MMSEG_RENAMES:
        ours, changed = re.subn(pattern, replacement, name)
        if changed:
            return ours
    return None


def _head_name(name: str) -> str | None:
    """Our name of a reference parameter of the head; None if SegFormer does not have it."""
    name = _AUTHORS_LEVEL.sub(lambda match: f"decode_head.linear_c.{int(match[1]) - 1}.", name)
    for pattern, replacement in _RENAMES:
        ours, changed = re.subn(pattern, replacement, name)
        if changed:
            return ours
    return None


def convert_segformer(state: StateDict) -> StateDict:
    """A reference state dictionary in our names and shapes.

    Raises:
        CheckpointError: It holds parameters that a SegFormer does not have.
    """
    encoder, head = _parts(state)
    if _MMSEG_FUSION in head:
        converted = rename_all(head, _mmseg_head_name, "mmsegmentation's SegFormer")
        weight = converted["decoder.fuse.conv.weight"]  # (out, 4 * in, 1, 1)
        if weight.shape[1] % len(LEVELS) == 0:
            levels = weight.chunk(len(LEVELS), dim=1)
            converted["decoder.fuse.conv.weight"] = torch.cat(levels[::-1], dim=1)
    else:
        converted = rename_all(head, _head_name, "SegFormer", LEFT_OUT)
    for level in LEVELS:
        name = f"decoder.projections.{level}.weight"
        if name in converted and converted[name].ndim == 2:  # a linear layer is a 1 x 1 convolution
            converted[name] = converted[name][..., None, None]
    return {f"backbone.{name}": value.float() for name, value in encoder.items()} | converted


def segformer_architecture(state: StateDict) -> Architecture:
    """The model of a reference state dictionary.

    Raises:
        CheckpointError: Its encoder is none of SegFormer's.
    """
    encoder, _ = _parts(state)
    widths = tuple(
        shape_of(encoder, f"stages.{stage}.patch_embeddings.proj.weight", 4)[0] for stage in LEVELS
    )
    depths = tuple(count(encoder, rf"stages\.{stage}\.blocks\.(\d+)\.") for stage in LEVELS)
    name = next((n for n, variant in VARIANTS.items() if variant == (widths, depths)), None)
    if name is None:
        raise CheckpointError(
            f"no published SegFormer has stages {', '.join(map(str, widths))} wide of {', '.join(map(str, depths))} "
            f"blocks. Known: {', '.join(VARIANTS)}."
        )
    is_mmseg = _MMSEG_FUSION in state
    names = (MMSEG_CLASSIFIER,) if is_mmseg else CLASSIFIERS
    classifier = next((n for n in names if n in state), names[0])
    num_classes, embed_dim = shape_of(state, classifier, 4)[:2]
    config = {
        "backbone": {"name": name, "pretrained": False, "levels": LEVELS},
        "decoder": {"embed_dim": embed_dim, "projection": "convolution" if is_mmseg else "linear"},
    }
    return Architecture(config, num_classes, (CROP, CROP), IMAGENET)


def _parts(state: StateDict) -> tuple[StateDict, StateDict]:
    """The encoder in the library's names, and all else as it is."""
    inner: StateDict = {}
    for name, value in state.items():
        for prefix in _ENCODER:
            if name.startswith(prefix):
                inner[name.removeprefix(prefix)] = value
    others = {name: value for name, value in state.items() if not name.startswith(_ENCODER)}
    return rename_mix_transformer(inner), others

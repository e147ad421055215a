"""Checkpoints of the SETR repository (mmcv dictionaries) in our parameter names.

Source: the parameter names and shapes that its models have; blocks of the heads are those of its configurations. The
class token of an MLA model, which reaches no output, is taken over like any other parameter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from vitseg.checkpoint.architecture import IMAGENET, Architecture
from vitseg.checkpoint.plain_vits import read_plain_vit
from vitseg.checkpoint.reference_names import count, rename_all, shape_of
from vitseg.errors import CheckpointError
from vitseg.types import Size, StateDict

LEFT_OUT = {
    r"^(decode_head|auxiliary_head\.\d+)\.conv_seg\.": "a classifier that every head inherits and none runs"
}

LEVELS = {12: (2, 5, 8, 11), 24: (5, 11, 17, 23)}
"""Blocks that MLA reads, by the depth of the ViT."""

AUXILIARY = {
    ("naive", 12): (2, 5, 8),
    ("naive", 24): (9, 14, 19),
    ("pup", 12): (4, 7, 9, 11),
    ("pup", 24): (9, 14, 19, 23),
}
"""Blocks with an auxiliary head, by kind and depth; the published T-Base and DeiT-B have the same."""

CLASSIFIERS = {"naive": "decode_head.conv_1", "pup": "decode_head.conv_4", "mla": "decode_head.cls"}

_BACKBONE = re.compile(r"^backbone\.(cls_token|pos_embed|patch_embed\.proj\..+|blocks\..+)$")
_HEAD = re.compile(
    r"^(decode_head|auxiliary_head\.\d+)\.(?:(norm)|(conv|syncbn_fc)_(\d+))\.([^.]+)$"
)
_MLA = (
    (r"^backbone\.norm_(\d)\.", r"backbone.norms.\1."),
    (r"^decode_head\.cls\.", "decoder.head.classifier."),
    (r"^auxiliary_head\.(\d)\.aux\.", r"decoder.auxiliary.\1."),
)
_MLA_NECK = re.compile(r"^backbone\.mla\.mla_p(\d)(_1x1)?\.([01])\.(.+)$")
_MLA_HEAD = re.compile(r"^decode_head\.mlahead\.head(\d)\.([0134])\.(.+)$")


def is_setr(names: Iterable[str]) -> bool:
    """Whether the parameter names are those of the SETR repository."""
    names = set(names)
    return "backbone.blocks.0.attn.qkv.weight" in names and any(
        name.startswith(("decode_head.syncbn_fc_0.", "decode_head.mlahead.")) for name in names
    )


def convert_setr(state: StateDict) -> StateDict:
    """A reference state dictionary in our names.

    Raises:
        CheckpointError: It holds parameters that SETR does not have.
    """
    is_mla = any(name.startswith("decode_head.mlahead.") for name in state)

    def rename(name: str) -> str | None:
        return _mla_name(name) if is_mla else _upsampling_name(name, state)

    return rename_all(state, rename, "SETR", LEFT_OUT)


def _upsampling_name(name: str, state: StateDict) -> str | None:
    """Our name of a parameter of Naive or PUP; the convolution without a norm behind it is the classifier."""
    if _BACKBONE.match(name):
        return name
    match = _HEAD.match(name)
    if not match:
        return None
    head, norm, part, index, rest = match.groups()
    ours = "decoder.head" if head == "decode_head" else f"decoder.auxiliary.{head.split('.')[1]}"
    if norm:
        return f"{ours}.norm.{rest}"
    if part == "conv" and f"{head}.syncbn_fc_{index}.weight" not in state:
        return f"{ours}.classifier.{rest}"
    return f"{ours}.convs.{index}.{'conv' if part == 'conv' else 'norm'}.{rest}"


def _mla_name(name: str) -> str | None:
    """Our name of a parameter of MLA, whose levels the reference counts from 2."""
    if _BACKBONE.match(name):
        return name.replace("backbone.", "backbone.vit.", 1)
    neck, head = _MLA_NECK.match(name), _MLA_HEAD.match(name)
    if neck:
        level, narrow, part, rest = neck.groups()
        group = "projections" if narrow else "smoothings"
        return f"backbone.{group}.{int(level) - 2}.{_part(part)}.{rest}"
    if head:
        level, part, rest = head.groups()
        branch = f"decoder.head.branches.{int(level) - 2}.{int(part) // 3}"
        return f"{branch}.{_part(str(int(part) % 3))}.{rest}"
    for pattern, replacement in _MLA:
        renamed, changed = re.subn(pattern, replacement, name)
        if changed:
            return renamed
    return None


def _part(index: str) -> str:
    return "conv" if index == "0" else "norm"


def setr_architecture(state: StateDict, grid: Size | None = None) -> Architecture:
    """The model of a reference state dictionary.

    Args:
        state: Parameters by the reference's names.
        grid: Token grid of the position embeddings; square where not given.

    Raises:
        CheckpointError: Its size is that of no published model, or its Naive head is the older one.
    """
    name, depth, image_size = read_plain_vit(state, "SETR", "blocks", grid)
    kind = _kind(state)
    num_classes = shape_of(state, CLASSIFIERS[kind] + ".weight", 4)[0]
    config = setr_config(state, name, depth, kind)
    return Architecture(config, num_classes, image_size, IMAGENET)


def _kind(state: StateDict) -> str:
    if any(name.startswith("decode_head.mlahead.") for name in state):
        return "mla"
    num_convs = count(state, r"decode_head\.conv_(\d+)\.weight")
    if num_convs not in (2, 5):
        raise CheckpointError(
            f"the head has {num_convs} convolutions, but SETR-Naive has 2 and SETR-PUP 5."
        )
    if num_convs == 5:
        return "pup"
    if shape_of(state, "decode_head.conv_0.weight", 4)[-1] != 1:
        raise CheckpointError(
            "this is the older SETR-Naive, whose heads have a 3 x 3 convolution by mistake (decode_head.conv_0; "
            "corrected in April 2021): only those with the paper's 1 x 1 convolution can be converted. Take a later "
            "checkpoint."
        )
    return "naive"


def setr_config(
    state: StateDict,
    name: str,
    depth: int,
    kind: str,
    auxiliary_blocks: Mapping[tuple[str, int], tuple[int, ...]] = AUXILIARY,
    **decoder: Any,
) -> dict[str, Any]:
    """The configuration of a published model.

    Args:
        state: Parameters of the checkpoint; a file without auxiliary heads gives a model without.
        name: timm's name of its ViT.
        depth: Blocks of its ViT.
        kind: Kind of the head.
        auxiliary_blocks: Blocks that published auxiliary heads are on, by kind and depth.
        decoder: Other fields of the head's configuration.

    Raises:
        CheckpointError: No published model has so many auxiliary heads.
    """
    blocks = LEVELS[depth] if kind == "mla" else auxiliary_blocks[kind, depth]
    num_heads = count(state, r"auxiliary_head\.(\d+)\.")
    if num_heads not in (0, len(blocks)):
        raise CheckpointError(
            f"the checkpoint has {num_heads} auxiliary heads, but SETR-{kind.upper()} of {depth} blocks has "
            f"{len(blocks)}, or none where they were taken out."
        )
    auxiliary = blocks if num_heads else ()
    return {
        "backbone": {
            "name": name,
            "pretrained": False,
            "taps": LEVELS[depth] if kind == "mla" else sorted({*auxiliary, depth - 1}),
            "prefix_tokens": "drop" if kind == "mla" else "keep",
            "pos_embed_interpolation": "bilinear",
        },
        "decoder": {"kind": kind, "auxiliary": auxiliary, **decoder},
    }

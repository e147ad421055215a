"""Checkpoints of mmsegmentation's SETR (mmcv and mmengine dictionaries) in our parameter names.

Source: the parameter names and shapes that its models have. They differ from those of the SETR repository, and so do
the functions of Naive and MLA: `SetrHeadConfig.form`. Three things are brought to our form here:

- Its convolutions in front of a batch normalisation have no bias: ours is 0.
- Version 1 has no bias in the patch embedding, either, and drops the one of a file of version 0 without a word. Here it
  is kept where the file has one, and 0 where it has none.
- MLA's maps are in the order deep to shallow: ours is shallow to deep, in the classifier's channels too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import torch

from vitseg.checkpoint.architecture import IMAGENET, Architecture
from vitseg.checkpoint.plain_vits import read_plain_vit
from vitseg.checkpoint.reference_names import count, rename_all, shape_of
from vitseg.checkpoint.segvit_names import segvit_name
from vitseg.checkpoint.setr_reference import setr_config
from vitseg.errors import CheckpointError
from vitseg.types import Size, StateDict

AUXILIARY = {
    ("naive", 12): (2, 5, 8),
    ("naive", 24): (9, 14, 19),
    ("pup", 12): (2, 5, 8),
    ("pup", 24): (9, 14, 19),
}
"""Blocks with an auxiliary head, by kind and depth. Only ViT-L is published; for 12 blocks SETR-Naive's are taken."""

NUM_LEVELS = 4

BIASED = ("patch_embed.proj.weight", ".conv.weight")
"""Ends of the names of our weights that have a bias and here need not. MLA's convolutions have none with us, either."""

_HEAD = re.compile(
    r"^(decode_head|auxiliary_head\.\d+)\.(?:(norm|conv_seg)|up_convs\.(\d+)\.0\.(conv|bn))\.(.+)$"
)
_NECK = re.compile(r"^neck\.(?:(norm)|mla\.(channel_proj|feat_extract))\.(\d)\.(.+)$")
_MLA_HEAD = re.compile(r"^decode_head\.up_convs\.(\d)\.([01])\.(conv|bn)\.(.+)$")
_MLA_AUXILIARY = re.compile(r"^auxiliary_head\.(\d)\.conv_seg\.(.+)$")
_PARTS = {"conv": "conv", "bn": "norm", "norm": "norm", "conv_seg": "classifier"}


def is_setr_mmseg(names: Iterable[str]) -> bool:
    """Whether the parameter names are those of mmsegmentation's SETR."""
    names = set(names)
    return "backbone.layers.0.attn.attn.in_proj_weight" in names and any(
        name.startswith("decode_head.up_convs.0.") for name in names
    )


def convert_setr_mmseg(state: StateDict) -> StateDict:
    """A reference state dictionary in our names and order.

    Raises:
        CheckpointError: It holds parameters that mmsegmentation's SETR does not have.
    """
    is_mla = _is_mla(state)
    rename = _mla_name if is_mla else _upsampling_name
    converted = rename_all(state, rename, "mmsegmentation's SETR", left_out=())
    classifier = "decoder.head.classifier.weight"
    if is_mla and classifier in converted:
        levels = converted[classifier].chunk(NUM_LEVELS, dim=1)
        converted[classifier] = torch.cat(levels[::-1], dim=1)
    biased = BIASED[:1] if is_mla else BIASED
    zeros = {
        name.removesuffix("weight") + "bias": value.new_zeros(value.shape[:1])
        for name, value in converted.items()
        if name.endswith(biased)
    }
    return zeros | converted


def _is_mla(names: Iterable[str]) -> bool:
    return any(name.startswith("neck.mla.") for name in names)


def _upsampling_name(name: str) -> str | None:
    """Our name of a parameter of Naive or PUP."""
    if name.startswith("backbone."):
        return segvit_name(name)
    match = _HEAD.match(name)
    if not match:
        return None
    head, whole, index, part, rest = match.groups()
    ours = "decoder.head" if head == "decode_head" else f"decoder.auxiliary.{head.split('.')[1]}"
    if whole:
        return f"{ours}.{_PARTS[whole]}.{rest}"
    return f"{ours}.convs.{index}.{_PARTS[part]}.{rest}"


def _mla_name(name: str) -> str | None:
    """Our name of a parameter of MLA; what follows the neck is counted from the deepest level there."""
    if name.startswith("backbone."):
        ours = segvit_name(name)
        return ours and ours.replace("backbone.", "backbone.vit.", 1)
    if name.startswith("decode_head.conv_seg."):
        return name.replace("decode_head.conv_seg.", "decoder.head.classifier.")
    neck, head, auxiliary = (p.match(name) for p in (_NECK, _MLA_HEAD, _MLA_AUXILIARY))
    if neck:
        norm, group, level, rest = neck.groups()
        if norm:
            return f"backbone.norms.{level}.{rest}"
        part, _, rest = rest.partition(".")
        if part not in _PARTS:
            return None
        if group == "channel_proj":
            return f"backbone.projections.{level}.{_PARTS[part]}.{rest}"
        return f"backbone.smoothings.{_from_deepest(level)}.{_PARTS[part]}.{rest}"
    if head:
        level, index, part, rest = head.groups()
        branch = f"decoder.head.branches.{_from_deepest(level)}.{index}"
        return f"{branch}.{_PARTS[part]}.{rest}"
    if auxiliary:
        return f"decoder.auxiliary.{_from_deepest(auxiliary[1])}.{auxiliary[2]}"
    return None


def _from_deepest(level: str) -> int:
    return NUM_LEVELS - 1 - int(level)


def setr_mmseg_architecture(state: StateDict, grid: Size | None = None) -> Architecture:
    """The model of a reference state dictionary.

    Args:
        state: Parameters by the reference's names.
        grid: Token grid of the position embeddings; square where not given.

    Raises:
        CheckpointError: Its size is that of no published model.
    """
    name, depth, image_size = read_plain_vit(state, "SETR", grid=grid)
    num_classes = shape_of(state, "decode_head.conv_seg.weight", 4)[0]
    if _is_mla(state):
        config = setr_config(state, name, depth, "mla", form="mmsegmentation")
        return Architecture(config, num_classes, image_size, IMAGENET)
    num_convs = count(state, r"decode_head\.up_convs\.(\d+)\.")
    if num_convs not in (1, 4):
        raise CheckpointError(
            f"the head has {num_convs} convolutions, but mmsegmentation's SETR-Naive has 1 and its SETR-PUP 4."
        )
    convs_each = count(state, r"auxiliary_head\.0\.up_convs\.(\d+)\.")
    if convs_each not in (0, 1, 2):
        raise CheckpointError(
            f"its auxiliary heads have {convs_each} convolutions, but those of mmsegmentation's SETR have 1 or 2."
        )
    kind = "naive" if num_convs == 1 else "pup"
    form = "mmsegmentation" if kind == "naive" else "setr"  # PUP is the same function
    convs = max(1, convs_each)
    config = setr_config(state, name, depth, kind, AUXILIARY, form=form, auxiliary_convs=convs)
    return Architecture(config, num_classes, image_size, IMAGENET)

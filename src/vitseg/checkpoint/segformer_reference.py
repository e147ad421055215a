"""Checkpoints of SegFormer, of the transformers library and of SegFormer's authors, in our parameter names.

Source: the parameter names and shapes of the library's models and of the published files. The names of the encoder are
those of `backbones.mix_transformer_names`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from vitseg.backbones.mix_transformer import VARIANTS
from vitseg.backbones.mix_transformer_names import rename_mix_transformer
from vitseg.checkpoint.architecture import IMAGENET, Architecture
from vitseg.checkpoint.reference_names import count, rename_all, shape_of
from vitseg.errors import CheckpointError
from vitseg.types import StateDict

CROP = 512
"""Crop of the published models in pixels; no parameter depends on it."""

LEVELS = (0, 1, 2, 3)

LEFT_OUT = (r"^decode_head\.conv_seg\.",)
"""A classifier that the authors' head inherits and does not use."""

_ENCODER = ("segformer.", "backbone.")
_RENAMES = (
    (r"^decode_head\.(?:linear_c|linear_projections)\.(\d)\.proj\.", r"decoder.projections.\1."),
    (r"^decode_head\.linear_fuse\.(?:conv\.)?weight$", "decoder.fuse.conv.weight"),
    (r"^decode_head\.(?:batch_norm|linear_fuse\.bn)\.", "decoder.fuse.norm."),
    (r"^decode_head\.(?:classifier|linear_pred)\.", "decoder.classifier."),
)
_AUTHORS_LEVEL = re.compile(r"^decode_head\.linear_c([1-4])\.")


def is_segformer(names: Iterable[str]) -> bool:
    """Whether the parameter names are those of a SegFormer with its head."""
    names = set(names)
    return "decode_head.linear_fuse.weight" in names or (
        "decode_head.linear_fuse.conv.weight" in names and "decode_head.linear_pred.weight" in names
    )


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
    classifier = next(
        (
            n
            for n in ("decode_head.classifier.weight", "decode_head.linear_pred.weight")
            if n in state
        ),
        "decode_head.classifier.weight",
    )
    num_classes, embed_dim = shape_of(state, classifier, 4)[:2]
    config = {
        "backbone": {"name": name, "pretrained": False, "levels": LEVELS},
        "decoder": {"embed_dim": embed_dim},
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

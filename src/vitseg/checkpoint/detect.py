"""Which method a foreign checkpoint is of, by the names of its parameters."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from vitseg.checkpoint.architecture import Architecture
from vitseg.checkpoint.dtop_reference import convert_dtop, dtop_architecture, is_dtop
from vitseg.checkpoint.nrd_reference import convert_nrd, is_nrd, nrd_architecture
from vitseg.checkpoint.protocols import (
    DTOP,
    NRD,
    SEGFORMER,
    SEGMENTER,
    SEGMENTER_MMSEG,
    SEGVIT,
    SEMASK,
    SETR,
    SETR_MMSEG,
    UPERNET,
    Published,
)
from vitseg.checkpoint.segformer_reference import (
    convert_segformer,
    is_segformer,
    segformer_architecture,
)
from vitseg.checkpoint.segmenter_mmseg import (
    convert_segmenter_mmseg,
    is_segmenter_mmseg,
    segmenter_mmseg_architecture,
)
from vitseg.checkpoint.segmenter_reference import (
    convert_segmenter,
    is_segmenter,
    segmenter_architecture,
)
from vitseg.checkpoint.segvit_reference import convert_segvit, is_segvit, segvit_architecture
from vitseg.checkpoint.segvit_swin_reference import (
    convert_segvit_swin,
    is_segvit_swin,
    segvit_swin_architecture,
)
from vitseg.checkpoint.semask_reference import (
    convert_swin_fpn,
    is_semask,
    is_swin_fpn,
    semask_architecture,
    swin_fpn_architecture,
)
from vitseg.checkpoint.setr_mmseg import (
    convert_setr_mmseg,
    is_setr_mmseg,
    setr_mmseg_architecture,
)
from vitseg.checkpoint.setr_reference import convert_setr, is_setr, setr_architecture
from vitseg.checkpoint.shrunk_reference import (
    convert_shrunk,
    is_shrunk,
    shrunk_architecture,
)
from vitseg.checkpoint.upernet_reference import (
    convert_swin_upernet,
    is_swin_upernet,
    swin_upernet_architecture,
)
from vitseg.errors import CheckpointError
from vitseg.types import StateDict


class Dialect(NamedTuple):
    """A kind of checkpoint that can be converted.

    Attributes:
        name: What people call it.
        method: A key of METHODS.
        matches: Whether parameter names are of this kind.
        architecture: The model that the reference's parameters are of.
        convert: Function from the reference's parameters to ours.
        published: Inference protocols and licence of the published models.
        has_grid: Whether it stores position embeddings, of a grid that `architecture` can be told.
    """

    name: str
    method: str
    matches: Callable[[Iterable[str]], bool]
    architecture: Callable[..., Architecture]
    convert: Callable[[StateDict], StateDict]
    published: Published
    has_grid: bool = True


DIALECTS = (
    Dialect("SegViT-Shrunk", "shrunk", is_shrunk, shrunk_architecture, convert_shrunk, SEGVIT),
    Dialect("SegViT", "segvit", is_segvit, segvit_architecture, convert_segvit, SEGVIT),
    Dialect(
        "SegViT on Swin",
        "segvit",
        is_segvit_swin,
        segvit_swin_architecture,
        convert_segvit_swin,
        SEGVIT,
        has_grid=False,
    ),
    Dialect("DToP", "dtop", is_dtop, dtop_architecture, convert_dtop, DTOP),
    Dialect("SETR", "setr", is_setr, setr_architecture, convert_setr, SETR),
    Dialect(
        "mmsegmentation's SETR",
        "setr",
        is_setr_mmseg,
        setr_mmseg_architecture,
        convert_setr_mmseg,
        SETR_MMSEG,
    ),
    Dialect(
        "Segmenter",
        "segmenter",
        is_segmenter,
        segmenter_architecture,
        convert_segmenter,
        SEGMENTER,
    ),
    Dialect(
        "mmsegmentation's Segmenter",
        "segmenter",
        is_segmenter_mmseg,
        segmenter_mmseg_architecture,
        convert_segmenter_mmseg,
        SEGMENTER_MMSEG,
    ),
    Dialect(
        "SegFormer",
        "segformer",
        is_segformer,
        segformer_architecture,
        convert_segformer,
        SEGFORMER,
        has_grid=False,
    ),
    Dialect(
        "SeMask",
        "semask",
        is_semask,
        semask_architecture,
        convert_swin_fpn,
        SEMASK,
        has_grid=False,
    ),
    Dialect(
        "Swin with Semantic FPN",
        "fpn",
        is_swin_fpn,
        swin_fpn_architecture,
        convert_swin_fpn,
        SEMASK,
        has_grid=False,
    ),
    Dialect(
        "Swin with UPerNet",
        "upernet",
        is_swin_upernet,
        swin_upernet_architecture,
        convert_swin_upernet,
        UPERNET,
        has_grid=False,
    ),
    Dialect("NRD", "nrd", is_nrd, nrd_architecture, convert_nrd, NRD, has_grid=False),
)

_NOT_YET = "it cannot be converted yet"
_BACKBONE_ONLY = "it has no decoder to convert; to train from it, name the file in backbone.weights"

STRANGERS = (
    (r"backbone\.layers\.\d+\.semantic_layer\.", "SeMask with another decoder than FPN", _NOT_YET),
    (r"decode_head\.", "another model of mmsegmentation", _NOT_YET),
    (
        r"decoder\.(query_embed|atm\.query_embed)\.",
        "vitseg itself",
        "it needs no conversion: use its model directory as it is",
    ),
    (r"(backbone\.)?(blocks|layers|stages)\.0\.", "a backbone alone", _BACKBONE_ONLY),
)
"""Checkpoints that are told by a name, in this order: a pattern at its start, whose it is, and why it is refused."""


_MOST_FRAMES = 2
"""Beginnings that all names share and that are tried without."""


def recognised(state: StateDict) -> tuple[Dialect, StateDict, str]:
    """The dialect of a checkpoint, its parameters by that dialect's names, and what stood in front of all of them.

    A training frame may have put a name of its own there ("seg_model.backbone..."), which tells itself by this: without
    it, the names are those of a dialect.

    Raises:
        CheckpointError: As for `recognise`.
    """
    inner, frame = state, ""
    for _ in range(_MOST_FRAMES + 1):
        dialect = next((each for each in DIALECTS if each.matches(inner)), None)
        if dialect is not None:
            return dialect, inner, frame
        first = {name.partition(".")[0] for name in inner}
        if len(first) != 1 or not all("." in name for name in inner):
            break
        start = f"{first.pop()}."
        inner, frame = {name.removeprefix(start): v for name, v in inner.items()}, frame + start
    return recognise(state), state, ""


def recognise(names: Iterable[str]) -> Dialect:
    """The dialect of a checkpoint.

    Args:
        names: Names of its parameters.

    Raises:
        CheckpointError: None of `DIALECTS`; says of which method it is, where that can be told.
    """
    names = list(names)
    for dialect in DIALECTS:
        if dialect.matches(names):
            return dialect
    known = (
        f"Allowed are published checkpoints of {', '.join(dialect.name for dialect in DIALECTS)}."
    )
    for pattern, owner, reason in STRANGERS:
        told_by = next((name for name in names if re.match(pattern, name)), None)
        if told_by is not None:
            raise CheckpointError(
                f"this is a checkpoint of {owner} (it has {told_by}): {reason}. {known}"
            )
    raise CheckpointError(
        f"this is no checkpoint of a known method (it has {', '.join(names[:3])}). {known}"
    )

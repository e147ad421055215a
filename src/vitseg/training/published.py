"""What is published of the shipped recipes: scores, sizes and multiply-adds, with their sources; read without torch."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

from vitseg.training.recipe_files import shipped_table

PUBLISHED = "published.csv"
"""In the folder of the recipes; entered by hand."""


class PublishedRow(NamedTuple):
    """A published row of a table; None, or an empty text: not stated.

    Attributes:
        miou: In percent, at one scale.
        miou_multi_scale: The same with flips and several scales.
        parameters_m: Parameters in 10^6, of the network that is trained, as papers count them.
        gmacs: Multiply-adds of one image in 10^9, which papers call GFLOPs.
        height: Of that image in pixels; None: it is the crop.
        width: Likewise.
        code_parameters_m: Parameters in 10^6 that were counted on the authors' code.
        code_gmacs: Multiply-adds that were counted on the authors' code, on the crop unless `height` says otherwise.
        source: Paper and table.
        differs: Why the size of our model is another one.
        unsaid: What the source leaves open.
    """

    miou: float | None
    miou_multi_scale: float | None
    parameters_m: float | None
    gmacs: float | None
    height: int | None
    width: int | None
    code_parameters_m: float | None
    code_gmacs: float | None
    source: str
    differs: str
    unsaid: str


_TEXTS = frozenset({"source", "differs", "unsaid"})
_WHOLE = frozenset({"height", "width"})


@functools.cache
def read_published() -> Mapping[str, PublishedRow]:
    """The published rows by the recipes' names; recipes of which nothing is published are left out."""
    return {
        name: PublishedRow(**{column: _value(column, text) for column, text in cells.items()})
        for name, cells in shipped_table(PUBLISHED).items()
    }


def _value(column: str, text: str) -> Any:
    if column in _TEXTS:
        return text
    if not text:
        return None
    return int(text) if column in _WHOLE else float(text)

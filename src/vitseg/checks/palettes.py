"""Index masks with palettes: whether they show a number in one colour throughout, and greys as their numbers.

A program that shrinks files numbers the colours of each anew. Where it has changed some masks, a number means a class
in one file and another in the next.
"""

from __future__ import annotations

from collections.abc import Mapping

from vitseg.classes import IGNORE_INDEX
from vitseg.data.formats.mask_kind import is_colorful
from vitseg.data.labels import LabelTable

DIFFER, OF_GREYS = "palettes-differ", "palette-of-greys"
"""Codes of the two faults. The second is one only where other masks are grey and have no palette."""


class PaletteTally:
    """The colours of all masks by number.

    Args:
        labels: What the numbers mean.

    Attributes:
        has_grey: Whether some mask has no palette.
    """

    def __init__(self, labels: LabelTable) -> None:
        self.has_grey = False
        self._classes = {raw for raw, index in labels.mapping.items() if index != IGNORE_INDEX}
        self._first: dict[int, tuple[int, str]] = {}

    def add(self, mask: str, colors: Mapping[int, int] | None) -> tuple[str, str] | None:
        """Look at one mask; the code of its fault, and what it is; None if it has none.

        Args:
            mask: Its name.
            colors: Number -> 0xRRGGBB, of a palette; None: it is grey, without one.
        """
        if colors is None:
            self.has_grey = True
            return None
        for raw, color in colors.items():
            first, other = self._first.setdefault(raw, (color, mask))
            if first != color:
                return DIFFER, f"{raw} is #{color:06x}, but #{first:06x} in {other}"
        greys = {raw: color & 0xFF for raw, color in colors.items() if not is_colorful(color)}
        wrong = next((raw for raw, grey in greys.items() if raw != grey), None)
        if (
            wrong is None
            or len(greys) < len(colors)
            or not self._classes.issuperset(greys.values())
        ):
            return None
        return OF_GREYS, f"{wrong} is the grey {greys[wrong]}"

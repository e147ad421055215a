"""Faults of single annotations, gathered into one finding per kind while a file is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from vitseg.data.finding import MAX_FILES, Finding, Severity

_NAMED_IN_MESSAGE = 3


class FaultKind(NamedTuple):
    """What findings of one kind say.

    Attributes:
        severity: How bad it is, see `finding.Severity`.
        what: What is wrong, a sentence without full stop, before the places: "Annotations have no segmentation".
        fix: What to do about it, a whole sentence.
        grave_if_many: Whether it is an error where much of all that was read has it, and is left out for it.
        warning_if_most: Whether it is a fact of single images, but a warning where most images have it.
    """

    severity: Severity
    what: str
    fix: str
    grave_if_many: bool = False
    warning_if_most: bool = False


class Faults:
    """Counts faults by kind and keeps the first places of each: its size is independent of how many there are.

    Args:
        kinds: Code of a finding -> what it says.
    """

    def __init__(self, kinds: Mapping[str, FaultKind]) -> None:
        self._kinds = kinds
        self._places: dict[str, list[str]] = {}
        self._counts: dict[str, int] = {}

    def add(self, code: str, place: str) -> None:
        """Note one fault.

        Args:
            code: Kind of the fault.
            place: Where the fault is, for people: "annotation 12", "labels/a.txt:3".
        """
        assert code in self._kinds, code
        self._counts[code] = self._counts.get(code, 0) + 1
        places = self._places.setdefault(code, [])
        if len(places) < MAX_FILES:
            places.append(place)

    def count(self, code: str) -> int:
        """How often a fault of this kind was noted."""
        return self._counts.get(code, 0)

    @property
    def left_out(self) -> int:
        """Number of annotations that cannot be used."""
        return sum(count for code, count in self._counts.items() if self._kinds[code].grave_if_many)

    def findings(
        self, total: int | None = None, most: float = 0.5, num_images: int | None = None
    ) -> tuple[Finding, ...]:
        """One finding per kind that occurred, in the order of the kinds.

        Args:
            total: How many annotations were read; a few that are left out are a warning, many of them, and all of all
                kinds together, an error.
            most: The share of them that is many.
            num_images: How many images there are, of which more than half are most.
        """
        least = None if total is None else most * total if self.left_out < total else 0
        return tuple(
            self._finding(code, least, num_images) for code in self._kinds if code in self._counts
        )

    def _finding(self, code: str, least: float | None, num_images: int | None) -> Finding:
        kind, count, places = self._kinds[code], self._counts[code], self._places[code]
        severity = kind.severity
        if kind.grave_if_many and least is not None and count >= least:
            severity = "error"
        elif kind.warning_if_most and num_images is not None and 2 * count > num_images:
            severity = "warning"
        named = ", ".join(places[:_NAMED_IN_MESSAGE])
        more = f", ... ({count} in all)" if count > _NAMED_IN_MESSAGE else ""
        message = f"{kind.what}: {named}{more}."
        return Finding(code, severity, message, kind.fix, tuple(places), count)

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
    """

    severity: Severity
    what: str
    fix: str


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

    def findings(self) -> tuple[Finding, ...]:
        """One finding per kind that occurred, in the order of the kinds."""
        return tuple(self._finding(code) for code in self._kinds if code in self._counts)

    def _finding(self, code: str) -> Finding:
        kind, count, places = self._kinds[code], self._counts[code], self._places[code]
        named = ", ".join(places[:_NAMED_IN_MESSAGE])
        more = f", ... ({count} in all)" if count > _NAMED_IN_MESSAGE else ""
        message = f"{kind.what}: {named}{more}."
        return Finding(code, kind.severity, message, kind.fix, tuple(places), count)

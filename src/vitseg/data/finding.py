"""What is wrong, or notable, about a data set: one finding, with its files and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "info"]
"""error: training would fail or learn something wrong; warning: look at it; info: a fact worth knowing."""

MAX_FILES = 20
"""Files that a finding names."""


@dataclass(frozen=True)
class Finding:
    """One kind of fault, however many files have it.

    Attributes:
        code: Kind of fault, in hyphened words: a stable name for programs ("image-without-mask").
        severity: How bad it is, see `Severity`.
        message: What was found, a whole sentence.
        fix: What to do about it, a whole sentence.
        files: Some of the files or entries that have the fault, up to `MAX_FILES`.
        count: Number of files or entries that have the fault.
    """

    code: str
    severity: Severity
    message: str
    fix: str
    files: tuple[str, ...] = ()
    count: int = 0

    @classmethod
    def of(
        cls, code: str, severity: Severity, message: str, fix: str, files: Iterable[object]
    ) -> Finding:
        """A finding about these files; the first `MAX_FILES` are kept."""
        named = [str(file) for file in files]
        return cls(code, severity, message, fix, tuple(named[:MAX_FILES]), len(named))

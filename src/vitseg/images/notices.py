"""What was decided about the pixels of pictures, said once: of many pictures in a line for each kind."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from vitseg.errors import first_names
from vitseg.images.pixel_source import Notice
from vitseg.images.value_range import ValueRange

_NAMES = 3  # that a line has

_log = logging.getLogger("vitseg")


def about(picture: str, notice: Notice | None = None) -> dict[str, object]:
    """What a log record is given as `extra` so that `grouped` may join it with the same of other pictures.

    Args:
        picture: Name of the picture; empty where the record is about none in particular.
        notice: What it says, where that is one.
    """
    return {"picture": picture, "notice": notice}


def say_notices(name: str, notices: Sequence[Notice]) -> None:
    """Log what was decided about the pixels of a picture, a line each."""
    for notice in notices:
        _log.warning("%s: %s.", name, notice.text, extra=about(name, notice))


@contextmanager
def grouped() -> Iterator[None]:
    """Within it, what is logged about single pictures is held back; at its end comes a line for each kind."""
    tally = NoticeTally()

    def hold_back(record: logging.LogRecord) -> bool:
        picture = getattr(record, "picture", None)
        if not isinstance(picture, str):
            return True
        notice = getattr(record, "notice", None)
        if isinstance(notice, Notice):
            tally.add(picture, [notice])
        else:
            tally.add_line(picture, str(record.msg), record.getMessage())
        return False

    _log.addFilter(hold_back)
    try:
        yield
    finally:
        _log.removeFilter(hold_back)
        for line in tally.lines():
            _log.warning("%s", line)


class NoticeTally:
    """Collects the notices of many pictures, in the order in which their kinds come."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str], _Group | _Lines] = {}

    def add(self, name: str, notices: Sequence[Notice]) -> None:
        """Take the notices of a picture."""
        for notice in notices:
            of_many = notice.of_many or notice.text
            group = self._groups.setdefault((notice.kind, of_many), _Group(of_many))
            assert isinstance(group, _Group)
            group.add(name, notice)

    def add_line(self, name: str, kind: str, line: str) -> None:
        """Take a whole sentence.

        Args:
            name: The picture; empty where the sentence is about none in particular.
            kind: The same for all pictures of which the same is said.
            line: The sentence.
        """
        group = self._groups.setdefault(("", kind), _Lines(line))
        assert isinstance(group, _Lines)
        group.names += [name] if name else []

    def lines(self) -> Iterator[str]:
        """One line for all pictures of which the same is to be said."""
        for group in self._groups.values():
            yield group.line()


class _Lines:
    """Pictures of which the same sentence is said."""

    def __init__(self, line: str) -> None:
        self._line = line  # of the first
        self.names: list[str] = []

    def line(self) -> str:
        others = self.names[1:]
        return f"{self._line} The same of {first_names(others, _NAMES)}." if others else self._line


class _Group:
    """Pictures that have notices of one kind."""

    def __init__(self, of_many: str) -> None:
        self._of_many = of_many
        self._names: list[str] = []
        self._texts: dict[str, None] = {}
        self._least: ValueRange | None = None
        self._most: ValueRange | None = None

    def add(self, name: str, notice: Notice) -> None:
        self._names.append(name)
        if len(self._texts) < 2:  # to know whether there is one
            self._texts[notice.text] = None
        limits = notice.limits
        if limits is not None:
            self._least = min(self._least or limits, limits, key=_white)
            self._most = max(self._most or limits, limits, key=_white)

    def line(self) -> str:
        first = next(iter(self._texts))
        if len(self._names) == 1:
            return f"{self._names[0]}: {first}."
        text = first if len(self._texts) == 1 else self._of_many
        if len(self._texts) > 1 and self._least is not None and self._most is not None:
            text += f"; black to white is {self._least.words()} in the darkest, {self._most.words()} in the brightest"
        return f"{len(self._names):,} images ({first_names(self._names, _NAMES)}): {text}."


def _white(limits: ValueRange) -> float:
    return limits.high

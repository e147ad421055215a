"""How much of its time a training waits for data."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from vitseg.training.state import Progress

Batch = TypeVar("Batch")

_KEPT = 0.95
"""Weight of what was in the smoothed share, against the newest iteration."""


class WaitingClock:
    """Measures iterations and the waiting within them.

    An iteration is from asking for its batch to the end of its step: validations and saves do not count, nor does the
    first batch, for which the loader processes have to start.

    Args:
        progress: Where the minutes are added up, over the whole run.
    """

    def __init__(self, progress: Progress):
        self.progress = progress
        self._asked = self._got = 0.0
        self._count = 0
        self._smoothed = (0.0, 0.0)

    def timed(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The same batches, with a look at the clock before and behind each.

        Args:
            batches: Of the run.
        """
        source = iter(batches)
        while True:
            self._asked = time.monotonic()
            try:
                batch = next(source)
            except StopIteration:
                return
            self._got = time.monotonic()
            yield batch

    def stepped(self) -> float:
        """Say that the step on the newest batch is done; returns the smoothed share of the waiting, in [0, 1]."""
        self._count += 1
        if self._count == 1:
            return 0.0
        waited, whole = self._got - self._asked, time.monotonic() - self._asked
        self.progress.waiting_minutes += waited / 60
        self.progress.step_minutes += whole / 60
        before, all_before = self._smoothed
        self._smoothed = (_KEPT * before + waited, _KEPT * all_before + whole)
        return self._smoothed[0] / max(self._smoothed[1], 1e-9)

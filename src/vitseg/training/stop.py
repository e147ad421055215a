"""Stopping a run cleanly on Ctrl-C or SIGTERM."""

from __future__ import annotations

import signal
from types import FrameType


class StopSignals:
    """Within the `with` block the first SIGINT or SIGTERM is noted instead of raised; the second acts as usual.

    A signal that is ignored stays ignored.

    Attributes:
        received: Number of the signal, 0 for none.
    """

    def __init__(self) -> None:
        self.received = 0
        self._previous: dict[int, object] = {}

    def __enter__(self) -> StopSignals:
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is signal.SIG_IGN:
                continue  # whoever started this process in the background wants it so
            self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._previous = {}


def ignore_interrupts(worker: int) -> None:
    """For loader processes: signals reach the whole process group, but only the main process shall act on them."""
    for number in (signal.SIGINT, signal.SIGTERM):  # Ctrl-C; job schedulers and service managers
        signal.signal(number, signal.SIG_IGN)

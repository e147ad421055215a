"""Stopping a run cleanly on Ctrl-C or SIGTERM."""

from __future__ import annotations

import signal
from types import FrameType


class StopSignals:
    """Within the `with` block the first SIGINT or SIGTERM is noted instead of raised; the second SIGINT acts as usual.

    A repeated SIGTERM is no more than the first: a scheduler signals all processes of a job, and torchrun then passes
    its own signal on to them once more, while they save. Who wants the end at once sends SIGKILL.

    A signal that is ignored stays ignored.

    Attributes:
        received: Number of the first signal, 0 for none.
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
        for number in list(self._previous):
            self._restore(number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = self.received or number
        if number == signal.SIGINT:
            self._restore(number)

    def _restore(self, number: int) -> None:
        signal.signal(number, self._previous.pop(number))  # type: ignore[arg-type]


def ignore_interrupts(worker: int) -> None:
    """For loader processes: signals reach the whole process group, but only the main process shall act on them."""
    for number in (signal.SIGINT, signal.SIGTERM):  # Ctrl-C; job schedulers and service managers
        signal.signal(number, signal.SIG_IGN)

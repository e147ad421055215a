"""Ctrl-C in a process of the command: one line and exit code 130, at whatever moment it comes.

Python raises KeyboardInterrupt wherever it happens to be. In the middle of an import that leaves half a module behind:
what comes then is a traceback of the import system, an endless recursion in a library's hooks, or the end of the
process by C++, which cannot catch it. So the handler here raises it only within a verb and outside of imports, where
`frame.framed` ends it; at all other moments there is nothing to be tidied up, and the process ends at once.

This file is the first that the command imports, and imports as little as it can: before it, while Python itself starts
and reads its .pth files, Ctrl-C is Python's.
"""

from __future__ import annotations

import atexit
import os

TYPE_CHECKING = False  # `typing` takes longer to import than all of this file
if not TYPE_CHECKING:
    import _signal as signal  # what `signal` gives names to, which takes as long again
else:
    import signal
    from collections.abc import Iterator
    from types import FrameType

INTERRUPTED = 130
"""Exit code of Ctrl-C: 128 and the number of SIGINT."""

LINE = "Interrupted."
"""What is said of it."""

_IMPORTING = ("<frozen importlib._bootstrap>", "<frozen importlib._bootstrap_external>")

_process = 0  # the process that set the handler; its children end as they always did
_runs = 0  # runs of the command that have not ended
_verbs = 0  # verbs in them that have not ended


class Handled:
    """Around a run of the command: Ctrl-C is handled as this file says, also in the teardown of the process.

    In a process that ignores it, as a shell's script starts those in the background, it stays ignored.
    """

    def __enter__(self) -> None:
        global _process, _runs
        _process = os.getpid()
        _runs += 1
        self._previous: object = signal.default_int_handler
        if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
            return
        try:
            self._previous = signal.signal(signal.SIGINT, _on_interrupt)
        except ValueError:  # signals are the main thread's
            return
        atexit.unregister(_ignore)  # once, however often a process comes here
        atexit.register(_ignore)

    def __exit__(self, *exception: object) -> None:
        global _runs
        _runs -= 1
        if self._previous is not signal.default_int_handler:
            signal.signal(signal.SIGINT, self._previous)  # type: ignore[arg-type]


class Raised:
    """Around the work of a verb: Ctrl-C raises KeyboardInterrupt."""

    def __enter__(self) -> None:
        global _verbs
        _verbs += 1

    def __exit__(self, *exception: object) -> None:
        global _verbs
        _verbs -= 1


def _on_interrupt(number: int, frame: FrameType | None) -> None:
    stack = list(_stack(frame))
    if os.getpid() != _process:
        is_raised = True
    elif _runs:
        is_raised = _verbs > 0 and not any(each.f_code.co_filename in _IMPORTING for each in stack)
    else:  # the run has ended: in code that called it as a function, or in the teardown of the process
        is_raised = bool(stack) and stack[-1].f_code.co_name == "<module>"
    if is_raised:
        signal.default_int_handler(number, frame)
    end_now()


def end_now() -> None:
    """Say that it was interrupted, and end the process without any teardown."""
    show_cursor = "\x1b[?25h" if os.isatty(2) else ""  # progress bars hide it
    try:
        os.write(2, f"{show_cursor}{LINE}\n".encode())
    finally:  # stderr may be closed
        os._exit(INTERRUPTED)


def _stack(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _ignore() -> None:
    """The work is done and told: what is left is the teardown of libraries, which Ctrl-C cannot improve."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

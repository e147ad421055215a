"""States that are written beside the training, in a thread: the loop waits for the copy alone."""

from __future__ import annotations

import threading
from pathlib import Path

from vitseg.training.run_parts import RunParts, scaler_of
from vitseg.training.state import RunIdentity, snapshot, write_state


class StateWriter:
    """Writes the states of a run, one at a time.

    While one is written, its copy takes memory: model, optimiser and average once more.

    Args:
        out: Folder of the run.
        identity: What the run is told by.

    Attributes:
        error: What went wrong in writing; None: nothing. The state that was there before is whole, then.
    """

    def __init__(self, out: Path, identity: RunIdentity):
        self._out, self._identity = out, identity
        self._thread: threading.Thread | None = None
        self.error: Exception | None = None

    def save(self, parts: RunParts) -> None:
        """Copy the state and begin to write it, once the one before is written.

        Args:
            parts: Of the run, as they are behind a step.
        """
        self.wait()
        scaler = scaler_of(parts.fabric)
        state = snapshot(
            parts.model,
            parts.optimizer,
            parts.progress,
            self._identity,
            None if scaler is None else scaler.state_dict(),
            None if parts.average is None else parts.average.state,
        )
        # a daemon: when the process is told to end at once, half a file is as good as none
        self._thread = threading.Thread(target=self._write, args=(state,), daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait until what was given is written, or `error` says why not."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _write(self, state: dict[str, object]) -> None:
        try:
            write_state(self._out, state)
        except Exception as error:
            self.error = error

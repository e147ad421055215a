"""Loggers that fail: a training neither ends by them nor waits for them."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Mapping
from typing import TypeVar

from vitseg.errors import first_line
from vitseg.training.loggers.logger import Logger

_log = logging.getLogger(__name__)

MOST_WAITING = 10_000
"""Rows that wait for a service: those of 100,000 iterations."""

RETRY_SECONDS = 30.0
"""Until a service that has failed is asked again."""

CLOSE_SECONDS = 30.0
"""How long the end of a run waits for a service to take the last rows."""

Row = tuple[str, int, Mapping[str, float]]
Result = TypeVar("Result")


class Tolerant:
    """A logger whose first failure is told, and which is done without from then on.

    Args:
        name: What recipes call it.
        logger: The logger.
    """

    def __init__(self, name: str, logger: Logger):
        self._name = name
        self._logger: Logger | None = logger

    def write(self, group: str, iteration: int, values: Mapping[str, float]) -> None:
        """See `Logger`."""
        self._do(lambda logger: logger.write(group, iteration, values))

    def close(self, failed: bool) -> None:
        """See `Logger`."""
        self._do(lambda logger: logger.close(failed))
        self._logger = None

    def _do(self, action: Callable[[Logger], None]) -> None:
        if self._logger is None:
            return
        try:
            action(self._logger)
        except Exception as error:  # whatever a library raises
            self._logger = None
            _log.warning(
                "%s fails (%s): the run goes on without it.", self._name, first_line(error)
            )


class InBackground:
    """A logger in a thread of its own, so that nobody waits for its service.

    A service that fails is told once and asked again every `RETRY_SECONDS`, and meanwhile rows wait. What it has not
    taken `CLOSE_SECONDS` after the end of the run is lost.

    Args:
        name: What recipes call it.
        open_logger: Makes the logger, in that thread: to begin may take long, too.
    """

    def __init__(self, name: str, open_logger: Callable[[], Logger]):
        self._name = name
        self._open_logger = open_logger
        self._rows: queue.Queue[Row | None] = queue.Queue(MOST_WAITING)
        self._ends = threading.Event()
        self._failed = False
        self._told: set[str] = set()
        self._thread = threading.Thread(target=self._run, name=f"vitseg {name}", daemon=True)
        self._thread.start()

    def write(self, group: str, iteration: int, values: Mapping[str, float]) -> None:
        """See `Logger`."""
        if not self._thread.is_alive():
            return
        try:
            self._rows.put_nowait((group, iteration, dict(values)))
        except queue.Full:
            self._tell("lost", f"takes no more of the {MOST_WAITING} rows that wait: some are lost")

    def close(self, failed: bool) -> None:
        """See `Logger`."""
        self._failed = failed
        self._ends.set()
        try:
            self._rows.put(None, timeout=CLOSE_SECONDS)
            self._thread.join(CLOSE_SECONDS)
        except queue.Full:
            pass
        if self._thread.is_alive():
            self._tell("end", f"has not taken the last rows within {CLOSE_SECONDS:.0f} seconds")

    def _run(self) -> None:
        try:
            logger = self._stubborn(self._open_logger)
            while (row := self._rows.get()) is not None:
                self._stubborn(lambda taken=row: logger.write(*taken))
            self._stubborn(lambda: logger.close(self._failed))
        except Exception as error:
            self._tell("end", f"fails ({first_line(error)}): its rows are lost")

    def _stubborn(self, action: Callable[[], Result]) -> Result:
        """Try until it works; when the run is over, once more."""
        while True:
            is_last = self._ends.is_set()
            try:
                return action()
            except Exception as error:  # whatever a library raises
                if is_last:
                    raise
                self._tell(
                    "fails", f"fails ({first_line(error)}): the run goes on, and it is asked again"
                )
                self._ends.wait(RETRY_SECONDS)

    def _tell(self, kind: str, what: str) -> None:
        """Warn, once of every kind."""
        if kind not in self._told:
            self._told.add(kind)
            _log.warning("%s %s.", self._name, what)

"""The log of a run: its tables, and the loggers that the recipe names."""

from __future__ import annotations

import csv
import io
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from vitseg import parsing
from vitseg.files import whole_file
from vitseg.runs import TRAIN_LOG, VAL_LOG
from vitseg.training.loggers.logger import LoggedRun, LoggerName
from vitseg.training.loggers.table import open_loggers

_log = logging.getLogger(__name__)

LOGS = {"train": TRAIN_LOG, "val": VAL_LOG}


class RunLog:
    """Appends rows to `train.csv` and `val.csv` and gives the same numbers to the loggers.

    Args:
        out: Folder of the run.
        first_iteration: Where the run starts; rows from there on, left by an interrupted run, are cut off.
        loggers: What takes the numbers, too.
        config: What loggers are told of the run: its recipe, without paths of this machine.

    Raises:
        ConfigError: The folder of a logger cannot be written.
    """

    def __init__(
        self,
        out: Path,
        first_iteration: int,
        loggers: Sequence[LoggerName] = ("tensorboard",),
        config: Mapping[str, Any] | None = None,
    ):
        self.out = out
        self._columns: dict[str, list[str]] = {}
        seen = {name: _cut_rows(out / file, first_iteration) for name, file in LOGS.items()}
        self.loggers = open_loggers(loggers, LoggedRun(out, first_iteration, config or {}, seen))

    def write(self, name: str, iteration: int, values: Mapping[str, float]) -> None:
        """One row of a file; every call for a name has the same keys.

        A table that an older version has begun keeps its columns.

        Args:
            name: "train" or "val"; loggers group the numbers by it, too.
            iteration: Optimiser steps so far.
            values: Numbers by name.
        """
        path = self.out / LOGS[name]
        columns = self._columns.setdefault(name, _header(path) or ["iteration", *values])
        row = {"iteration": iteration, **{key: f"{value:.6g}" for key, value in values.items()}}
        is_new = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, restval="", extrasaction="ignore")
            if is_new:
                writer.writeheader()
            writer.writerow(row)
        for logger in self.loggers:
            logger.write(name, iteration, values)

    def close(self, failed: bool = False) -> None:
        """Flush and close.

        Args:
            failed: Whether an error ended the run.
        """
        for logger in self.loggers:
            logger.close(failed)
        self.loggers = []

    def __enter__(self) -> RunLog:
        """The log, closed behind the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close(failed=kind is not None)


def _header(path: Path) -> list[str]:
    """The columns of a table that is there, which `_cut_rows` has seen; none where it is not."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return next(csv.reader(file))


def _cut_rows(path: Path, first_iteration: int) -> int:
    """Leave out the rows behind an iteration, and those that a killed process or an editor damaged.

    A file that is no such table is put aside: a run is not lost with its log.

    Returns:
        The last iteration that was in it.
    """
    if not path.exists():
        return 0
    try:
        rows = parsing.parse_csv(parsing.read_text(path))
    except parsing.UnreadableError:
        rows = []
    if not rows or rows[0][0] != "iteration":
        aside = path.with_name(f"{path.name}.damaged")
        os.replace(path, aside)
        _log.warning("%s is damaged: it is now %s, and a new one is begun.", path, aside.name)
        return 0
    header = rows[0]
    kept = [row for row in rows[1:] if len(row) == len(header) and row[0].isdecimal()]
    text = io.StringIO(newline="")
    csv.writer(text).writerows([header, *(row for row in kept if int(row[0]) <= first_iteration)])
    with whole_file(path) as partial:
        partial.write_bytes(text.getvalue().encode())
    return max((int(row[0]) for row in kept), default=0)

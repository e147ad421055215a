"""CSV and TensorBoard logs of a run."""

from __future__ import annotations

import csv
import io
import logging
import os
from collections.abc import Mapping
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from vitseg import parsing
from vitseg.files import whole_file
from vitseg.runs import BOARD, TRAIN_LOG, VAL_LOG

_log = logging.getLogger(__name__)

LOGS = {"train": TRAIN_LOG, "val": VAL_LOG}


class RunLog:
    """Appends rows to `train.csv` and `val.csv` and the same numbers to TensorBoard.

    Args:
        out: Folder of the run.
        first_iteration: Where the run starts; rows from there on, left by an interrupted run, are cut off.
    """

    def __init__(self, out: Path, first_iteration: int):
        self.out = out
        for name in LOGS.values():
            _cut_rows(out / name, first_iteration)
        self._columns: dict[str, list[str]] = {}
        self.board = SummaryWriter(str(out / BOARD), purge_step=first_iteration)

    def write(self, name: str, iteration: int, values: Mapping[str, float]) -> None:
        """One row of a file; every call for a name has the same keys.

        A table that an older version has begun keeps its columns.

        Args:
            name: "train" or "val"; TensorBoard groups the numbers by it, too.
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
        for key, value in values.items():
            self.board.add_scalar(f"{name}/{key}", value, iteration)

    def close(self) -> None:
        """Flush and close."""
        self.board.close()


def _header(path: Path) -> list[str]:
    """The columns of a table that is there, which `_cut_rows` has seen; none where it is not."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return next(csv.reader(file))


def _cut_rows(path: Path, first_iteration: int) -> None:
    """Leave out the rows behind an iteration, and those that a killed process or an editor damaged.

    A file that is no such table is put aside: a run is not lost with its log.
    """
    if not path.exists():
        return
    try:
        rows = parsing.parse_csv(parsing.read_text(path))
    except parsing.UnreadableError:
        rows = []
    if not rows or rows[0][0] != "iteration":
        aside = path.with_name(f"{path.name}.damaged")
        os.replace(path, aside)
        _log.warning("%s is damaged: it is now %s, and a new one is begun.", path, aside.name)
        return
    header = rows[0]
    kept = [row for row in rows[1:] if len(row) == len(header) and row[0].isdecimal()]
    text = io.StringIO(newline="")
    csv.writer(text).writerows([header, *(row for row in kept if int(row[0]) <= first_iteration)])
    with whole_file(path) as partial:
        partial.write_bytes(text.getvalue().encode())

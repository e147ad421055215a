"""CSV and TensorBoard logs of a run."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from vitseg.runs import BOARD, TRAIN_LOG, VAL_LOG

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
        self.board = SummaryWriter(str(out / BOARD), purge_step=first_iteration)

    def write(self, name: str, iteration: int, values: Mapping[str, float]) -> None:
        """One row of a file; every call for a name has the same keys.

        Args:
            name: "train" or "val"; TensorBoard groups the numbers by it, too.
            iteration: Optimiser steps so far.
            values: Numbers by name.
        """
        path = self.out / LOGS[name]
        is_new = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if is_new:
                writer.writerow(["iteration", *values])
            writer.writerow([iteration, *(f"{value:.6g}" for value in values.values())])
        for key, value in values.items():
            self.board.add_scalar(f"{name}/{key}", value, iteration)

    def close(self) -> None:
        """Flush and close."""
        self.board.close()


def _cut_rows(path: Path, first_iteration: int) -> None:
    if not path.exists():
        return
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = list(csv.reader(file))
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [header, *(row for row in rows if int(row[0]) <= first_iteration)]
        )

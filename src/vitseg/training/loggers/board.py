"""TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping

from torch.utils.tensorboard import SummaryWriter

from vitseg.runs import BOARD
from vitseg.training.loggers.logger import LoggedRun


class Board:
    """Event files in the run's folder; TensorBoard leaves out what is written twice."""

    def __init__(self, run: LoggedRun):
        # everything from this step on, which an interrupted run has left, is to be hidden
        self._writer = SummaryWriter(str(run.out / BOARD), purge_step=run.first_iteration + 1)

    def write(self, group: str, iteration: int, values: Mapping[str, float]) -> None:
        for key, value in values.items():
            self._writer.add_scalar(f"{group}/{key}", value, iteration)

    def close(self, failed: bool) -> None:
        del failed
        self._writer.close()

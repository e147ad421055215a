"""The loggers that recipes can name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from vitseg.runs import BOARD
from vitseg.training.loggers.board import Board
from vitseg.training.loggers.logger import LoggedRun, Logger, LoggerName, require_writable
from vitseg.training.loggers.mlflow_run import MlflowRun, prepare_mlflow, require_mlflow
from vitseg.training.loggers.patience import InBackground, Tolerant
from vitseg.training.loggers.wandb_run import WandbRun, prepare_wandb, require_wandb


class _Service(NamedTuple):
    """A logger whose service may be slow, or not there.

    Attributes:
        require: Raises ConfigError where it cannot be used at all.
        prepare: Raises ConfigError where the run's folder does not take its files.
        begin: Makes the logger.
    """

    require: Callable[[], None]
    prepare: Callable[[LoggedRun], None]
    begin: Callable[[LoggedRun], Logger]


SERVICES = {
    "wandb": _Service(require_wandb, prepare_wandb, WandbRun),
    "mlflow": _Service(require_mlflow, prepare_mlflow, MlflowRun),
}


def require_loggers(names: Sequence[LoggerName]) -> None:
    """Raise ConfigError unless the packages of the loggers are there."""
    for name in names:
        if name in SERVICES:
            SERVICES[name].require()


def open_loggers(names: Sequence[LoggerName], run: LoggedRun) -> list[Logger]:
    """The loggers of a run.

    Args:
        names: As the recipe has them.
        run: What they are told.

    Raises:
        ConfigError: A folder cannot be written.
    """
    for name in names:
        if name in SERVICES:
            SERVICES[name].prepare(run)
        else:
            require_writable(run.out / BOARD, name)
    return [
        InBackground(name, partial(SERVICES[name].begin, run))
        if name in SERVICES
        else Tolerant(name, Board(run))
        for name in names
    ]

"""What a logger is, and the run that it is told of."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from vitseg.errors import ConfigError

LoggerName = Literal["tensorboard", "wandb", "mlflow"]

RUN_ID = "run_id"
"""Within the folder that a logger has in that of a run: the name by which its service knows the run."""


class Logger(Protocol):
    """Takes the numbers of a run."""

    def write(self, group: str, iteration: int, values: Mapping[str, float]) -> None:
        """Take one row.

        Args:
            group: "train" or "val".
            iteration: Optimiser steps so far.
            values: Numbers by name.
        """
        ...

    def close(self, failed: bool) -> None:
        """Hand over what is still to be written; the run is over.

        Args:
            failed: Whether an error ended it.
        """
        ...


@dataclass(frozen=True)
class LoggedRun:
    """A run as its loggers are told of it.

    Attributes:
        out: Its folder.
        first_iteration: Where it starts, or goes on.
        config: Its recipe, without paths of this machine.
        seen: The last iteration of every group that was logged before; an interrupted run may have gone on for some
            after its last save, which are done again.
    """

    out: Path
    first_iteration: int = 0
    config: Mapping[str, Any] = field(default_factory=dict)
    seen: Mapping[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What people call it: the name of its folder."""
        return self.out.resolve().name

    def known_id(self, folder: str) -> str | None:
        """The id of the run that goes on; None where it begins, or where the logger is new to it.

        Args:
            folder: The logger's, within the run's.
        """
        path = self.out / folder / RUN_ID
        if not self.first_iteration or not path.is_file():
            return None
        return path.read_text(encoding="utf-8").strip() or None

    def keep_id(self, folder: str, run_id: str) -> None:
        """Note an id for the resume; arguments as for `known_id`."""
        path = self.out / folder / RUN_ID
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{run_id}\n", encoding="utf-8")


def require_writable(folder: Path, name: str) -> None:
    """Raise ConfigError unless files can be written into a folder, which is made where it is not there.

    Args:
        folder: The folder.
        name: The logger that writes there, as recipes call it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(
            f"training.loggers has {name}, but its folder {folder} cannot be written ({error.strerror}): make it "
            f"writable, or leave {name} out."
        ) from error

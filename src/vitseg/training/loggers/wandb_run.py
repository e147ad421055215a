"""Weights & Biases.

The library's own variables rule: WANDB_MODE=offline keeps everything in the run's folder until `wandb sync`,
WANDB_PROJECT and WANDB_NAME name it.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping

from vitseg.errors import ConfigError
from vitseg.runs import WANDB
from vitseg.runtimes.extra import import_extra
from vitseg.training.loggers.logger import LoggedRun, require_writable
from vitseg.training.loggers.patience import CLOSE_SECONDS

PROJECT = "vitseg"
"""The project where WANDB_PROJECT names none."""


def require_wandb() -> None:
    """Raise ConfigError unless the package is there, and knows who its user is."""
    wandb = import_extra("wandb", "Weights & Biases (wandb)", "wandb")
    is_online = os.environ.get("WANDB_MODE", "online") == "online"
    if is_online and not wandb.login(prompt=False):
        raise ConfigError(
            "training.loggers has wandb, but nobody is logged in: run `wandb login`, or set WANDB_API_KEY, or "
            "WANDB_MODE=offline to keep the numbers in the run's folder."
        )


def prepare_wandb(run: LoggedRun) -> None:
    """Raise ConfigError unless the run's folder takes the files."""
    require_writable(run.out / WANDB, "wandb")


class WandbRun:
    """A run there. W&B takes no row back: those that it has been given before are not given again."""

    def __init__(self, run: LoggedRun):
        import wandb

        known = run.known_id(WANDB)
        run_id = known or os.environ.get("WANDB_RUN_ID") or secrets.token_hex(4)
        # no file names, arguments and user names of this machine; use of processor, memory and GPU is kept
        settings = wandb.Settings(
            console="off",
            x_disable_meta=True,
            disable_code=True,
            disable_git=True,
            quiet=True,
            finish_timeout=CLOSE_SECONDS,
        )
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=os.environ.get("WANDB_NAME", run.name),
            dir=os.environ.get("WANDB_DIR", str(run.out)),
            id=run_id,
            resume="allow",
            config=dict(run.config),
            settings=settings,
            reinit="create_new",
        )
        run.keep_id(WANDB, run_id)
        self._seen = run.seen if known else {}

    def write(self, group: str, iteration: int, values: Mapping[str, float]) -> None:
        if iteration > self._seen.get(group, 0):
            named = {f"{group}/{key}": value for key, value in values.items()}
            self._run.log(named, step=iteration)

    def close(self, failed: bool) -> None:
        self._run.finish(exit_code=int(failed))

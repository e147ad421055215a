"""MLflow: a database in the run's folder, or the server that MLFLOW_TRACKING_URI names.

MLFLOW_EXPERIMENT_NAME or MLFLOW_EXPERIMENT_ID say which experiment the run belongs to, as the library has it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from typing import Any

from vitseg.runs import MLFLOW
from vitseg.runtimes.extra import import_extra
from vitseg.training.loggers.logger import LoggedRun, require_writable

EXPERIMENT = "vitseg"
"""The experiment where the environment names none."""

URI = "MLFLOW_TRACKING_URI"

STORE = "mlflow.db"

_MOST_PARAMS, _LONGEST_PARAM = 100, 6000
"""What MLflow takes at a time."""


def require_mlflow() -> None:
    """Raise ConfigError unless the packages are there."""
    import_extra("mlflow", "MLflow", "mlflow")
    if URI not in os.environ:
        for module in ("sqlalchemy", "alembic"):
            import_extra(module, f"{module}, with which MLflow keeps its database,", "mlflow")


def prepare_mlflow(run: LoggedRun) -> None:
    """Raise ConfigError unless the run's folder takes the files."""
    require_writable(run.out / MLFLOW, "mlflow")


class MlflowRun:
    """A run there. MLflow takes no row back: those that it has already are not given again."""

    def __init__(self, run: LoggedRun):
        from mlflow import MlflowClient

        local = run.out.resolve() / MLFLOW
        self._client = MlflowClient(tracking_uri=os.environ.get(URI, f"sqlite:///{local / STORE}"))
        known = run.known_id(MLFLOW)
        self._goes_on = known is not None
        self._last: dict[str, int] = {}
        if known is None:
            files = None if URI in os.environ else (local / "artifacts").as_uri()
            created = self._client.create_run(self._experiment(files), run_name=run.name)
            self._id = created.info.run_id
            run.keep_id(MLFLOW, self._id)
            self._log_params(run.config)
        else:
            self._id = known
            self._client.update_run(known, status="RUNNING")

    def _experiment(self, files: str | None) -> str:
        if given := os.environ.get("MLFLOW_EXPERIMENT_ID"):
            return given
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return found.experiment_id
        return self._client.create_experiment(name, artifact_location=files)

    def _log_params(self, config: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        params = [Param(name, str(value)[:_LONGEST_PARAM]) for name, value in _fields(config)]
        for first in range(0, len(params), _MOST_PARAMS):
            self._client.log_batch(self._id, params=params[first : first + _MOST_PARAMS])

    def write(self, group: str, iteration: int, values: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        if self._goes_on and group not in self._last:
            known = self._client.get_metric_history(self._id, f"{group}/{next(iter(values))}")
            self._last[group] = max((metric.step for metric in known), default=0)
        if iteration <= self._last.get(group, 0):
            return
        now = int(time.time() * 1000)
        metrics = [Metric(f"{group}/{key}", value, now, iteration) for key, value in values.items()]
        self._client.log_batch(self._id, metrics=metrics)

    def close(self, failed: bool) -> None:
        self._client.set_terminated(self._id, status="FAILED" if failed else "FINISHED")


def _fields(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The fields of nested sections by their dotted names."""
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _fields(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value

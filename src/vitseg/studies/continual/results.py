"""Results of runs, side by side: tables 4.11 and 4.12, and figure 4.8 of the thesis."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitseg.errors import ConfigError
from vitseg.evaluation.measures import plain
from vitseg.runs import read_own
from vitseg.studies.continual.metrics import (
    ContinualScores,
    Ious,
    Reduction,
    base_curve,
    continual_scores,
    forgetting,
    mean_forgetting,
    reduction,
)
from vitseg.studies.continual.recipe import ContinualRecipe

RESULT = "continual.json"

COLUMNS = ("old", "new", "all", "average")
REDUCED = COLUMNS[:3]
"""What is compared with the joint training, which has no steps to average over."""


@dataclass(frozen=True)
class RunResult:
    """A run, finished or as far as it is.

    Attributes:
        approach: How classes were added; "joint" is an oracle.
        method: Method of its models; a joint training is the oracle of the runs of its own method.
        tasks: Classes of every step, as they are scored.
        history: IoU by class after each step; of a joint training, of its only one.
        content: All that the run's `continual.json` says.
    """

    approach: str
    method: str
    tasks: tuple[tuple[str, ...], ...]
    history: tuple[Ious, ...]
    content: dict[str, Any]

    @classmethod
    def of_run(
        cls,
        recipe: ContinualRecipe,
        tasks: Sequence[Sequence[str]],
        steps: Sequence[dict[str, Any]],
    ) -> RunResult:
        """A run, put together from the `scores.json` of its steps."""
        config = recipe.continual
        content = {
            **config.model_dump(mode="json"),
            "method": recipe.first.method,
            "tasks": [list(task) for task in tasks],
            "seeds": [step["seed"] for step in steps],
            "training_minutes": [step["training_minutes"] for step in steps],
            "steps": list(steps),
        }
        return cls.of_json(content)

    @classmethod
    def of_json(cls, content: dict[str, Any]) -> RunResult:
        history = tuple(
            {name: math.nan if iou is None else iou for name, iou in step["iou"].items()}
            for step in content["steps"]
        )
        tasks = tuple(tuple(task) for task in content["tasks"])
        return cls(content["approach"], content["method"], tasks, history, content)

    @classmethod
    def read(cls, run: Path) -> RunResult:
        """Read a finished run from its folder.

        Raises:
            ConfigError: The folder holds no finished run.
        """
        path = run / RESULT
        if not path.is_file():
            raise ConfigError(
                f"--beside {run} has no {RESULT}: give the --out of a finished `vitseg continual`."
            )
        return cls.of_json(read_own(path))

    @property
    def label(self) -> str:
        """The approach, and what the new stages started from unless that was random weights."""
        stages = self.content.get("new_stages", "fresh")
        if self.approach != "segvit_cl" or stages == "fresh":
            return self.approach
        return f"{self.approach}:{stages}"

    @property
    def name(self) -> str:
        return f"{self.label} ({self.method})"

    @property
    def iterations(self) -> int:
        """Iterations of the last step so far; they tell runs of one approach apart."""
        return self.content["steps"][-1]["iterations"]

    def whose(self) -> dict[str, Any]:
        """The first columns of a row: which run it belongs to."""
        return {"approach": self.label, "method": self.method, "iterations": self.iterations}

    @property
    def is_joint(self) -> bool:
        return self.approach == "joint"

    @property
    def done(self) -> tuple[tuple[str, ...], ...]:
        """The tasks that are learnt so far."""
        return self.tasks if self.is_joint else self.tasks[: len(self.history)]

    @property
    def scores(self) -> ContinualScores:
        """Scores after the last step so far."""
        return continual_scores(self.history, self.done)

    def with_tasks(self, tasks: tuple[tuple[str, ...], ...]) -> RunResult:
        """A joint training as the oracle of another split of its classes."""
        return RunResult(self.approach, self.method, tasks, self.history, self.content)

    def summary(self) -> str:
        """The scores so far in a line."""
        return "mIoU % " + ", ".join(
            f"{name} {percent(value)}"
            for name, value in zip(COLUMNS, self.scores, strict=True)
            if not math.isnan(value)
        )

    def to_json(self) -> dict[str, Any]:
        """All that is known, with the numbers of both tables and of the curve."""
        content = dict(self.content)
        content["scores"] = {
            name: plain(value) for name, value in zip(COLUMNS, self.scores, strict=True)
        }
        if not self.is_joint:
            columns = forgetting(self.history, self.done)
            content["forgetting"] = [
                {"first": plain(c.first), "last": plain(c.last), "lost": plain(c.lost)}
                for c in [*columns, mean_forgetting(columns)]
            ]  # the mean over later steps comes last
            content["base_curve"] = [plain(v) for v in base_curve(self.history, self.tasks)]
        return content


def side_by_side(run: RunResult, others: Sequence[RunResult]) -> list[RunResult]:
    """The run and others on the same classes and images, oracles last.

    Raises:
        ConfigError: Another run has other classes, other steps or other validation images.
    """
    found = [run]
    for other in others:
        if other.is_joint or run.is_joint:
            theirs, ours = ({name for task in one.tasks for name in task} for one in (other, run))
        else:
            theirs, ours = other.tasks, run.tasks
        if theirs != ours:
            raise ConfigError(
                f"--beside: the run {other.name} learnt other classes, or in other steps, than {run.name}. Compare "
                "runs of one split and order; a joint training may be of any split of the same classes."
            )
        if _val_hash(other) != _val_hash(run):
            raise ConfigError(
                f"--beside: the run {other.name} was scored on other images than {run.name}: compare runs on one data "
                "set."
            )
        found.append(other)
    tasks = next((one.tasks for one in found if not one.is_joint), run.tasks)
    found = [one.with_tasks(tasks) if one.is_joint else one for one in found]
    return sorted(found, key=lambda one: one.is_joint)


def _val_hash(run: RunResult) -> str:
    return run.content["steps"][0]["evaluation"]["content_hash"]


def reductions(run: RunResult, runs: Sequence[RunResult]) -> list[Reduction] | None:
    """How far old, new and all stay below the joint training of the same method; None if that is not among the runs."""
    oracle = next((one for one in runs if one.is_joint and one.method == run.method), None)
    if oracle is None or run.is_joint:
        return None
    pairs = list(zip(run.scores, oracle.scores, strict=True))[: len(REDUCED)]
    return [reduction(score, best) for score, best in pairs]


def score_rows(runs: Sequence[RunResult]) -> list[dict[str, Any]]:
    """Table 4.11: scores in [0, 1], and their reductions in points (of 1) and as shares; None where unknown."""
    rows = []
    for run in runs:
        row: dict[str, Any] = run.whose()
        row |= {name: plain(value) for name, value in zip(COLUMNS, run.scores, strict=True)}
        if run.is_joint:
            row["average"] = None  # there are no steps to average over
        drops = reductions(run, runs) or [Reduction(math.nan, math.nan)] * len(REDUCED)
        for name, drop in zip(REDUCED, drops, strict=True):
            row[f"{name}_reduction"] = plain(drop.points)
            row[f"{name}_reduction_share"] = plain(drop.share)
        row["training_minutes"] = round(sum(run.content["training_minutes"]), 1)
        rows.append(row)
    return rows


def forgetting_rows(runs: Sequence[RunResult]) -> list[dict[str, Any]]:
    """Table 4.12 for every run in steps: a line for each task, and the mean over the later ones."""
    rows = []
    for run in runs:
        if run.is_joint:
            continue
        columns = forgetting(run.history, run.done)
        names = [f"step {number}" for number in range(len(columns))]
        for name, column in zip(
            [*names, "mean of later"], [*columns, mean_forgetting(columns)], strict=True
        ):
            values = {"first": column.first, "last": column.last, "lost": column.lost}
            rows.append(
                run.whose() | {"task": name} | {key: plain(value) for key, value in values.items()}
            )
    return rows


def curve_rows(runs: Sequence[RunResult]) -> list[dict[str, Any]]:
    """Figure 4.8: mIoU of the base classes after every step."""
    return [
        run.whose() | {"step": step, "old": plain(value)}
        for run in runs
        for step, value in enumerate(base_curve(run.history, run.tasks))
    ]


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    """Rows of the same keys as the text of a CSV file; empty cells where nothing is known."""
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def as_text(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as aligned columns, scores in percent; without the reductions as shares, which the CSV file has."""
    head = [name for name in (rows[0] if rows else ()) if not name.endswith("_share")]
    lines = [head, *([_cell(name, row[name]) for name in head] for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(head))]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        + "\n"
        for line in lines
    )


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "-"
    return percent(value) if isinstance(value, float) and name != "training_minutes" else str(value)


def percent(value: float) -> str:
    """A share in percent with two digits, or a dash."""
    return "-" if math.isnan(value) else f"{100 * value:.2f}"

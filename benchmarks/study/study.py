"""The results of a study as what is compared: scores of rows by seed, with their draws."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from bootstrap import Difference, Interval, Measured, difference, draws, interval, ious, mean_iou
from results import Result
from row import RowList

MEASURES = {
    "miou": "mIoU",
    "trimap": "mIoU within 4 pixels of a boundary",
    "old": "mIoU of the first step's classes",
    "new": "mIoU of later steps' classes",
    "kept": "change of the first step's mIoU by all steps after it",
    "later_kept": "mean change of later steps' mIoU by the steps after them",
}


FOUND = 0.01
"""IoU below which a class is nowhere found."""

UNLEARNT = 0.5
"""Share of classes that are nowhere found, above which a training says how a model starts, not what it learns."""


class Summary(NamedTuple):
    """A row's scores.

    Attributes:
        mean: Over seeds.
        spread: Standard deviation over seeds; None: there is one.
        interval: Over images.
        by_seed: Of each seed.
    """

    mean: float
    spread: float | None
    interval: Interval
    by_seed: tuple[float, ...]


class Study:
    """All results, by row and seed.

    Args:
        rows: The list that they belong to.
        results: What there is.
    """

    def __init__(self, rows: RowList, results: Iterable[Result]):
        self.rows = rows
        self.results: dict[str, dict[int, Result]] = {}
        for result in results:
            self.results.setdefault(result.row.name, {})[result.seed] = result
        self._measured: dict[tuple[str, int, str], Measured] = {}

    def seeds(self, *names: str) -> list[int]:
        """Seeds of which all of some rows have results."""
        found = [set(self.results.get(name, {})) for name in names]
        return sorted(set.intersection(*found))

    def missing(self, *names: str) -> list[str]:
        """Rows without any result."""
        return [name for name in names if name not in self.results]

    def measured(self, name: str, seed: int, measure: str = "miou") -> Measured:
        """A score of one training.

        Raises:
            KeyError: There is no such result, or it was not measured.
        """
        key = (name, seed, measure)
        if key not in self._measured:
            self._measured[key] = _measure(self.results[name][seed], measure)
        return self._measured[key]

    def summary(self, name: str, measure: str = "miou") -> Summary:
        seeds = self.seeds(name)
        found = [self.measured(name, seed, measure) for seed in seeds]
        values = tuple(each.value for each in found)
        drawn = np.mean([each.drawn for each in found], axis=0)
        spread = statistics.stdev(values) if len(values) > 1 else None
        return Summary(statistics.mean(values), spread, interval(drawn), values)

    def difference(self, one: str, other: str, measure: str = "miou") -> Difference | None:
        """How far a row is ahead of another on the seeds that both have; None: there are none."""
        seeds = self.seeds(one, other)
        if not seeds:
            return None
        both = ([self.measured(name, seed, measure) for seed in seeds] for name in (one, other))
        return difference(*both, is_within=self._training_of(one) == self._training_of(other))

    def _training_of(self, name: str) -> str | None:
        """The row whose training made the model of a row."""
        row = self.rows.row(name)
        return row.start if row is not None and row.kind == "look" else name

    def unlearnt(self, name: str, measure: str = "miou") -> str:
        """That a row's trainings have not learnt, in words: most classes are nowhere found. Empty: they have.

        Of a row in steps each class counts when it was learnt: what is forgotten later was learnt nevertheless.

        Args:
            name: Of the row.
            measure: One of `MEASURES`; the classes that it is of are asked about.
        """
        for seed, result in self.results.get(name, {}).items():
            found = _when_learnt(result)[_places_of(result, measure)]
            known = found[~np.isnan(found)]
            lost = int((known < FOUND).sum())
            if lost > UNLEARNT * len(known):
                return f"{name} has not learnt: {lost} of {len(known)} classes of seed {seed} are below 1 %"
        return ""

    def gmacs(self, name: str, seeds: Iterable[int] | None = None) -> float | None:
        """Multiply-adds of an image in 10⁹, over the seeds (all where none are given); None: they were not counted."""
        of_row = self.results.get(name, {})
        found = [of_row[seed].gmacs for seed in (of_row if seeds is None else seeds)]
        known = [value for value in found if value is not None]
        return statistics.mean(known) if known else None

    def minutes(self, name: str) -> float | None:
        found = [result.minutes for result in self.results.get(name, {}).values()]
        known = [value for value in found if value is not None]
        return statistics.mean(known) if known else None


def _measure(result: Result, measure: str) -> Measured:
    last = _counts(result, "trimap" if measure == "trimap" else "last")
    weights = draws(len(last))
    if measure in ("miou", "trimap"):
        return Measured(float(mean_iou(ious(last))), mean_iou(ious(last, weights)))
    if measure in ("old", "new"):
        chosen = _places_of(result, measure)
        return Measured(float(mean_iou(ious(last), chosen)), mean_iou(ious(last, weights), chosen))
    learnt = _counts(result, "learnt")
    groups = [_places_of(result, measure)] if measure == "kept" else _places_of_tasks(result)[1:]
    now, then = ((ious(each), ious(each, weights)) for each in (last, learnt))
    kept = [
        [mean_iou(a, g) - mean_iou(b, g) for a, b in zip(now, then, strict=True)] for g in groups
    ]
    value, drawn = (np.mean([each[place] for each in kept], axis=0) for place in (0, 1))
    return Measured(float(value), drawn)


def _when_learnt(result: Result) -> np.ndarray:
    """IoU of each class when it was learnt, at the end where there are no steps; NaN where it is not known."""
    counts = result.counts("learnt") if result.row.kind == "steps" else None
    if counts is not None:
        return ious(counts)
    known = result.content["per_class"].values()
    return np.array([np.nan if iou is None else iou for iou in known])


def _counts(result: Result, name: str):
    counts = result.counts(name)
    if counts is None:
        raise KeyError(f"{result.row.name} has no counts {name!r}")
    return counts


def _places_of(result: Result, measure: str) -> list[int]:
    """The classes that a measure is of, by their places."""
    if measure in ("miou", "trimap"):
        return list(range(len(result.content["per_class"])))
    first, *later = _places_of_tasks(result)
    return first if measure in ("old", "kept") else [place for task in later for place in task]


def _places_of_tasks(result: Result) -> list[list[int]]:
    names = list(result.content["per_class"])
    return [[names.index(name) for name in task] for task in result.content["tasks"]]

"""What a model that learnt its classes in steps has kept: pure functions of the IoU of every class after every step.

Source: thesis section 4.3.6, tables 4.11 and 4.12; the average over steps is that of Douillard et al. (PLOP, CVPR
2021). All scores are shares in [0, 1]. A class that neither occurs nor is predicted has IoU NaN and is left out of
means.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

Ious = Mapping[str, float]
"""IoU in [0, 1], or NaN, by class name."""


class ContinualScores(NamedTuple):
    """A line of table 4.11.

    Attributes:
        old: MIoU of the classes of the first step: rigidity.
        new: MIoU of the classes of all further steps: plasticity.
        all: MIoU of all classes.
        average: Mean over the steps, the first too, of the mIoU over all classes learnt by then.
    """

    old: float
    new: float
    all: float
    average: float


class Forgetting(NamedTuple):
    """A column of table 4.12.

    Attributes:
        first: MIoU of a step's classes right after that step.
        last: MIoU of the same classes after the last step.
    """

    first: float
    last: float

    @property
    def lost(self) -> float:
        """What was forgotten; negative where the classes have gained."""
        return self.first - self.last


def mean_iou(iou: Ious, classes: Iterable[str]) -> float:
    """MIoU over some classes; NaN where none of them is defined."""
    known = [iou[name] for name in classes if not math.isnan(iou[name])]
    return sum(known) / len(known) if known else math.nan


def continual_scores(history: Sequence[Ious], tasks: Sequence[Sequence[str]]) -> ContinualScores:
    """The line of a run.

    Args:
        history: IoU of the classes learnt so far, after each step. A joint training has one step with all classes: its
            average is that step's.
        tasks: Classes of each step.
    """
    last = history[-1]
    ends = [len(tasks)] if len(history) == 1 else range(1, len(history) + 1)
    known = [_joined(tasks[:end]) for end in ends]
    each = [mean_iou(iou, classes) for iou, classes in zip(history, known, strict=True)]
    return ContinualScores(
        old=mean_iou(last, tasks[0]),
        new=mean_iou(last, _joined(tasks[1:])),
        all=each[-1],
        average=sum(each) / len(each),
    )


def _joined(tasks: Sequence[Sequence[str]]) -> list[str]:
    return [name for task in tasks for name in task]


def forgetting(history: Sequence[Ious], tasks: Sequence[Sequence[str]]) -> list[Forgetting]:
    """What became of the classes of each step; arguments as for `continual_scores`, with a step for each task."""
    return [
        Forgetting(mean_iou(iou, task), mean_iou(history[-1], task))
        for iou, task in zip(history, tasks, strict=True)
    ]


def mean_forgetting(columns: Sequence[Forgetting]) -> Forgetting:
    """The column "avg" of table 4.12: the mean over the steps behind the first, NaN where there is none."""
    later = columns[1:]
    if not later:
        return Forgetting(math.nan, math.nan)
    firsts, lasts = zip(*later, strict=True)
    return Forgetting(sum(firsts) / len(later), sum(lasts) / len(later))


def base_curve(history: Sequence[Ious], tasks: Sequence[Sequence[str]]) -> list[float]:
    """MIoU of the first step's classes after every step (figure 4.8)."""
    return [mean_iou(iou, tasks[0]) for iou in history]


class Reduction(NamedTuple):
    """How far a score stays below the oracle's. Table 4.11 prints points in most lines and shares in some.

    Attributes:
        points: Oracle less score, in [0, 1].
        share: The points over the oracle's score.
    """

    points: float
    share: float


def reduction(score: float, oracle: float) -> Reduction:
    """The reduction against the score of the joint training; NaN where the oracle's is 0."""
    points = oracle - score
    return Reduction(points, points / oracle if oracle else math.nan)

"""A short training at each of two scales where the sizes of the images leave it open which is better."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vitseg.data.picked import picked, spread_indices
from vitseg.errors import InterruptedRunError
from vitseg.plan.choose import Times
from vitseg.plan.scale import Scale
from vitseg.runs import read_result
from vitseg.training.loop import train
from vitseg.training.recipe import Recipe
from vitseg.training.task import TrainingTask

SHARE = 0.12
"""Share of the whole time for each training."""

FEWEST = 60
"""Iterations of each below which its score says nothing."""

MOST_SCORED = 24
"""Images that each is scored on."""


@dataclass(frozen=True)
class Trial:
    """What came of it.

    Attributes:
        scales: What was tried.
        scores: mIoU of each, in [0, 1].
        iterations: Of each.
    """

    scales: tuple[Scale, ...]
    scores: tuple[float, ...]
    iterations: int

    @property
    def best(self) -> int:
        """Number of the better one; of equal ones the likelier, which is first."""
        return max(range(len(self.scores)), key=lambda each: (self.scores[each], -each))

    def words(self) -> str:
        """Both figures."""
        figures = " and ".join(
            f"{100 * score:.1f} mIoU {'at their own size' if scale.kind == 'own' else 'brought to one size'}"
            for scale, score in zip(self.scales, self.scores, strict=True)
        )
        return f"a trial of {self.iterations} iterations each gave {figures}"


def trial_iterations(seconds: float, times: Sequence[Times], num_val: int) -> int:
    """Iterations of each training within its share of the whole time; 0: too few to say anything.

    Args:
        seconds: The whole time.
        times: What things take at each scale.
        num_val: Images to validate on.
    """
    scored = min(MOST_SCORED, num_val)
    fewest = min((SHARE * seconds - scored * each.image) / each.step for each in times)
    return int(fewest) if fewest >= FEWEST else 0


def try_scales(
    scales: Sequence[Scale],
    recipes: Sequence[Recipe],
    tasks: Sequence[TrainingTask],
    iterations: int,
    folder: Path,
) -> Trial:
    """Train at every scale, in one process, and compare; nothing of the models is kept.

    Args:
        scales: What is tried.
        recipes: The recipe of each.
        tasks: The data of each.
        iterations: Of each; schedules are those of so short a run.
        folder: Where the runs are written, and removed again.

    Raises:
        InterruptedRunError: Ctrl-C or SIGTERM.
    """
    scores = []
    shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed
    try:
        for number, (recipe, task) in enumerate(zip(recipes, tasks, strict=True)):
            assert task.val_set is not None
            some = picked(task.val_set, spread_indices(len(task.val_set), MOST_SCORED))
            run = folder / str(number)
            train(_shortened(recipe, iterations), run, task=replace(task, val_set=some))
            scores.append(float(read_result(run)["final"]["miou"] or 0.0))
    except InterruptedRunError as stopped:
        raise InterruptedRunError(
            "stopped while the scale was tried out: nothing is trained yet. Begin again with the same command.",
            stopped.signal_number,
        ) from stopped
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Trial(tuple(scales), tuple(scores), iterations)


def _shortened(recipe: Recipe, iterations: int) -> Recipe:
    recipe = recipe.of_one_process()
    share = recipe.schedule.warmup_iterations / recipe.training.iterations
    warmup = min(iterations - 1, round(share * iterations))
    return recipe.model_copy(
        update={
            "schedule": recipe.schedule.model_copy(update={"warmup_iterations": warmup}),
            "training": recipe.training.model_copy(
                update={
                    "iterations": iterations,
                    "val_interval": iterations,
                    "save_interval": iterations,
                }
            ),
        }
    )

"""A run of all steps: train, score, go on to the next. It can be resumed after any step and inside each."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vitseg.changes import changed_fields, changed_recipe
from vitseg.claims import claim_folder
from vitseg.errors import ConfigError, DataError
from vitseg.evaluation.measures import plain
from vitseg.evaluation.provenance import content_hash
from vitseg.files import write_json
from vitseg.inference.predictor import load
from vitseg.launch import is_repeating, require_one_start
from vitseg.runs import (
    BOARD,
    MLFLOW,
    RECIPE,
    RESULT,
    SHARDS,
    STATE,
    WANDB,
    read_own,
    read_result,
    write_recipe,
)
from vitseg.studies.continual.approaches import APPROACHES, Step, train_first
from vitseg.studies.continual.datasets import StepData
from vitseg.studies.continual.recipe import ContinualRecipe
from vitseg.studies.continual.results import RunResult
from vitseg.studies.continual.scoring import score_step
from vitseg.studies.continual.splits import make_steps
from vitseg.training.children import wait_for_first
from vitseg.training.display import Display
from vitseg.training.owner import owned
from vitseg.training.recipe import Recipe
from vitseg.training.task import TrainingTask, open_splits
from vitseg.training.value_range import with_value_range

PLAN, SCORES = "plan.json", "scores.json"

NewDisplay = Callable[[], Display]


def run_continual(
    recipe: ContinualRecipe,
    out: Path,
    resume: bool = False,
    new_display: NewDisplay = lambda: Display(quiet=True),
    say: Callable[[str], object] = lambda line: None,
    first_of: Path | None = None,
) -> RunResult:
    """Train and score all steps.

    Args:
        recipe: The run.
        out: Its folder: `recipe.yaml`, `plan.json`, and for every step `step_N/model` (the training) and
            `step_N/scores.json`.
        resume: Go on with an interrupted run. Steps that are scored are not repeated; a training that was stopped goes
            on where it was saved.
        new_display: Makes what shows the progress of a training.
        say: Called with a line before and after each step.
        first_of: Folder of another run whose first step is taken instead of being trained; it must have been the same.

    Raises:
        ConfigError: The folder holds another run or this one and `resume` is not given, the recipe names no data set,
            the split does not fit the data set, the first step of the other run is another, another process works in
            the folder, or another launcher has started this one several times.
        DataError: The data set cannot be read, has changed, or a step has no image.
        InterruptedRunError: Ctrl-C or SIGTERM; the state is saved.
    """
    require_one_start("a run of steps")
    with owned(out):
        run = _begun(recipe, out, resume, new_display, first_of)
        if is_repeating():
            say = _nothing
        history: list[dict[str, Any]] = []
        previous: Path | None = None
        for number in range(len(run.data.steps)):
            say(run.heading(number))
            folder = out / f"step_{number}"
            scores = run.step(number, folder, previous)
            previous = folder / scores["model"]
            history.append(scores)
            say(run.summary(history))
        return run.result(history)


def _begun(
    recipe: ContinualRecipe,
    out: Path,
    resume: bool,
    new_display: NewDisplay,
    first_of: Path | None,
) -> _Run:
    """The run, with its recipe and plan in its folder: further processes of its trainings find them there."""
    if is_repeating():
        return _Run(recipe, new_display)
    _check_out(recipe, out, resume)
    run = _Run(recipe, new_display)
    plan = run.plan()  # what does not fit is found before anything is written
    if not resume:
        write_recipe(out, json.loads(json.dumps(recipe.to_mapping())))
    _keep_plan(out / PLAN, plan, run.hash_of_train_split)
    if first_of is not None:
        run.take_first(first_of, out / "step_0")
    return run


def _nothing(line: str) -> None:
    pass


class _Run:
    """What all steps of a run share."""

    def __init__(self, recipe: ContinualRecipe, new_display: NewDisplay):
        self.recipe, self.new_display = recipe, new_display
        data, config = recipe.first.data, recipe.continual
        train_set, val_set = open_splits(data)
        if train_set.bands is not None:
            raise ConfigError(
                "bands are chosen, but the continual protocol trains on red, green and blue only: leave them out, or "
                "learn new classes with `vitseg extend`."
            )
        whole = TrainingTask(train_set, val_set)  # all steps read pixels alike
        first, whole = with_value_range(recipe.first, whole, new_display())
        self.recipe = recipe.model_copy(update={"first": first})
        train_set, val_set = whole.train_set, whole.val_set or val_set
        self.steps = make_steps(
            train_set.classes.names,
            config.split,
            config.order,
            config.order_seed,
            config.classes,
            config.background,
        )
        self.is_joint = config.approach == "joint"
        trained = self.steps.joint() if self.is_joint else self.steps
        with new_display().counting(len(train_set)) as advance:
            self.data = StepData(
                train_set, val_set, trained, config.setting, data.num_workers, advance
            )

    def hash_of_train_split(self) -> str:
        return content_hash(self.data.train_split)

    def plan(self) -> dict[str, Any]:
        """Which classes and images every step has."""
        steps = [
            {"classes": list(names), **self._images(number)}
            for number, names in enumerate(self.data.steps.steps)
        ]
        return {"setting": self.recipe.continual.setting, "steps": steps}

    def _images(self, number: int) -> dict[str, Any]:
        ids = [self.data.train_split.ids[index] for index in self.data.indices(number)]
        digest = hashlib.sha256("\n".join(ids).encode(errors="surrogateescape")).hexdigest()[:16]
        return {"images": len(ids), "image_ids_hash": digest}

    def training_recipe(self, number: int) -> Recipe:
        if self.is_joint:
            return self.recipe.of_joint()
        if number == 0:
            return self.recipe.first
        return APPROACHES[self.recipe.continual.approach].adapt(self.recipe.later())

    def heading(self, number: int) -> str:
        names = self.data.steps.steps[number]
        count = f"{len(names)} class{'es' if len(names) > 1 else ''}"
        return f"step {number} ({number + 1} of {len(self.data.steps)}): {count}"

    def facts(self, number: int) -> dict[str, Any]:
        """What a step's model depends on besides the model before it."""
        return {
            "recipe": self.training_recipe(number).without_paths().to_mapping(),
            "classes": list(self.data.steps.steps[number]),
            "background": self.data.steps.background,
            **self._images(number),
        }

    def step(self, number: int, folder: Path, previous: Path | None) -> dict[str, Any]:
        """Train and score a step, unless that is done; returns what its `scores.json` says."""
        path = folder / SCORES
        if path.is_file():
            return read_own(path)
        approach = APPROACHES[self.recipe.continual.approach]
        step = Step(
            number,
            self.training_recipe(number),
            self.recipe.continual,
            self.data,
            folder,
            previous,
            self.new_display(),
        )
        began = time.monotonic()
        model = (train_first if number == 0 else approach.train)(step)
        minutes = (time.monotonic() - began) / 60
        if is_repeating():
            wait_for_first(path)
            return read_own(path)
        dataset = self.data.val_set(number)
        with step.display.scoring(len(dataset)) as advance:
            result = score_step(load(model), dataset, self.data.steps.background, advance)
        iou = dict(zip(result.classes.names, result.scores.iou.tolist(), strict=True))
        scores = {
            "step": number,
            **self.facts(number),
            "seed": step.recipe.training.seed,
            "iterations": step.recipe.training.iterations,
            "training_minutes": _training_minutes(step.out, minutes),
            "model": Path(os.path.relpath(model, folder)).as_posix(),
            "iou": {name: plain(value) for name, value in iou.items()},
            "evaluation": result.to_json(),
        }
        write_json(path, scores)
        return read_own(path)

    def take_first(self, other: Path, folder: Path) -> None:
        """Copy the first step of another run, unless this run has one."""
        if (folder / SCORES).is_file():
            return
        source = other / folder.name
        path = source / SCORES
        if not path.is_file():
            raise ConfigError(
                f"--first-of {other} has no {folder.name}/{SCORES}: give the --out of a run whose first step is scored."
            )
        theirs = read_own(path)
        ours = json.loads(json.dumps(self.facts(0)))
        changed = sorted(changed_fields({name: theirs.get(name) for name in ours}, ours))
        if changed:
            raise ConfigError(
                f"--first-of {other} began with another first step: {', '.join(changed[:4])} differ. Train the first "
                "step of this run, or give a run that began with the same."
            )
        shutil.rmtree(folder, ignore_errors=True)
        fresh = folder.with_name(f".{folder.name}.copying")
        shutil.rmtree(fresh, ignore_errors=True)
        left_out = shutil.ignore_patterns(STATE, SHARDS, BOARD, WANDB, MLFLOW)
        shutil.copytree(source, fresh, ignore=left_out)
        fresh.rename(folder)

    def result(self, history: list[dict[str, Any]]) -> RunResult:
        return RunResult.of_run(self.recipe, self._tasks(), history)

    def summary(self, history: list[dict[str, Any]]) -> str:
        return RunResult.of_run(self.recipe, self._tasks(), history).summary()

    def _tasks(self) -> list[list[str]]:
        """The classes of every step as they are scored; of the joint training, those of the split."""
        tasks = [list(names) for names in self.steps.steps]
        if self.recipe.continual.score_background:
            tasks[0].insert(0, self.steps.background_name)
        return tasks


def _training_minutes(training: Path, elapsed: float) -> float:
    """Of the whole training, also of a resumed one, where its result says so."""
    if (training / RESULT).is_file():
        return read_result(training)["training_minutes"]
    return round(elapsed, 1)


def _check_out(recipe: ContinualRecipe, out: Path, resume: bool) -> None:
    """See that the folder is new, or that it holds a run of the same recipe to go on with."""
    claim_folder(out, may_hold=None)
    if (out / RECIPE).is_file():
        changed = changed_recipe(out, recipe.to_mapping())
        if changed:
            raise ConfigError(
                f"--out {out} holds a run of another recipe ({', '.join(changed[:4])} changed): give another --out. "
                "Nothing was changed."
            )
        if not resume:
            raise ConfigError(
                f"--out {out} holds this run already: pass --resume to go on with it, or give another --out. Nothing "
                "was changed."
            )
        return
    if resume:
        raise ConfigError(
            f"--out {out} holds no run to go on with ({RECIPE} is missing): leave --resume out to begin one."
        )
    claim_folder(out)


def _keep_plan(path: Path, plan: dict[str, Any], train_hash: Callable[[], str]) -> None:
    """Write the plan of a new run, with the hash of its training split; see that a resumed one has the same."""
    if not path.is_file():
        write_json(path, {**plan, "train_content_hash": train_hash()})
        return
    earlier = read_own(path)
    if not isinstance(earlier, dict) or {name: earlier.get(name) for name in plan} != plan:
        raise DataError(
            f"the data set is not the one that the run in {path.parent} began with: its steps have other images or "
            "classes now. Restore it, or begin a new run in another --out."
        )

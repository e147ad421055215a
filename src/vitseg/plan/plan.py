"""From a request to the recipe that is run: one road through the survey, the choice, the measurements and the trial."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vitseg.data.catalog import require_one_table
from vitseg.errors import ConfigError, DataError
from vitseg.files import write_json, write_whole
from vitseg.plan import choose, words
from vitseg.plan.bench import Bench, Candidate
from vitseg.plan.choose import Schedule
from vitseg.plan.data_facts import DataFacts, survey
from vitseg.plan.device_facts import device_facts
from vitseg.plan.heads import head_of
from vitseg.plan.recipe_text import recipe_text
from vitseg.plan.request import Request
from vitseg.plan.scale import Scale, possible_scales
from vitseg.plan.scale_trial import Trial, trial_iterations, try_scales
from vitseg.plan.split import Split, SplitMaker
from vitseg.plan.vits import choose_vit
from vitseg.runs import PLAN, RECIPE
from vitseg.training.recipe import Recipe
from vitseg.training.run_data import check_before_training

PLAN_FILE = "plan.json"
"""Within the folder of the plan: what was asked, found, measured and said."""

_SURVEY = 0.04  # of the whole time, for the masks; as much again, twice, for a split that is made
_SCALE_FIELDS = ("data.augment", "inference")


@dataclass(frozen=True)
class Plan:
    """What is run.

    Attributes:
        recipe: All of it.
        lines: The five lines on what was chosen and why, and the notes.
    """

    recipe: Recipe
    lines: tuple[str, ...]


@dataclass(frozen=True)
class _Budget:
    """The time for everything.

    Attributes:
        seconds: As given, or as the data ask for.
        why: Which of the two, in words.
        began: `time.monotonic()` at the beginning.
    """

    seconds: float
    why: str
    began: float

    @property
    def passed(self) -> float:
        return time.monotonic() - self.began


def make_plan(
    request: Request, out: Path, began: float, say: Callable[[str], object] = lambda line: None
) -> Plan:
    """Plan a run, and write its recipe and what it rests on into its folder.

    Args:
        request: What the user wants.
        out: Folder of the run.
        began: `time.monotonic()` at the beginning of the command, from which on the minutes are counted.
        say: Called with lines on what is going on.

    Raises:
        CheckpointError: There are no pretrained weights, or they do not fit.
        ConfigError: The request contradicts itself, or the time is too short.
        DataError: The data cannot be trained on.
    """
    given = request.given
    if request.method is not None:
        head_of(request.method)  # before anything is read
    device = device_facts()
    pretrained = _at(given, "backbone", "pretrained") is not False
    vit = choose_vit(device, request.minutes, request.backbone, request.weights, pretrained)
    seed = _at(given, "training", "seed") or 0

    say("looking at the data")
    patience = 30.0 if request.minutes is None else max(2.0, _SURVEY * 60 * request.minutes)
    maker = SplitMaker(request.spec, given.get("data", {}), out / PLAN, seed, patience)
    split, check = _checked(maker, given)
    data = survey(split.train_set, split.val_set, split.num_unpaired, patience)
    _require_contrast(data)
    method, why_method = choose.choose_method(data)
    if request.method is not None:
        method, why_method = request.method, "as --method says"

    bench = Bench(request, data, device, vit, method, split, seed, say)
    scales = possible_scales(data, device)
    is_ruled = request.has(*_SCALE_FIELDS)
    best, precision = bench.with_precision(bench.measured(scales[0]))
    best = _slower_start(best, check)
    budget = _budget(request, data, best, bench, began)
    most = choose.most_to_validate(budget.seconds, best.times)
    if len(split.val_set) > most:
        split = bench.split = maker.fewer_to_validate(split, most)
        data = bench.data = replace(data, num_val=most)
        task = replace(best.task, val_set=split.val_set)
        best = replace(best, task=bench.reading_alike(task, best.recipe))
    trial = None
    if len(scales) > 1 and not is_ruled:
        best, trial = _tried(bench, best, scales, budget, check, out / PLAN / "trial")
    schedule = _schedule(request, data, best, budget)
    recipe = bench.recipe(best.scale, schedule)
    schedule = replace(
        schedule,
        iterations=recipe.training.iterations,
        val_interval=recipe.training.val_interval,
    )
    lines = (
        words.data_line(data, split),
        words.model_line(recipe, vit, device, why_method, precision),
        words.scale_line(recipe, best.scale, _why_scale(best.scale, len(scales), trial, is_ruled)),
        words.learning_line(recipe, data),
        words.time_line(budget.seconds, budget.why, budget.passed, best.times, schedule),
        *words.notes(data, split, recipe),
    )
    _write(out, request, recipe, lines, data, best, trial)
    return Plan(recipe, lines)


def _checked(maker: SplitMaker, given: Mapping[str, Any]) -> tuple[Split, float]:
    """The split, found sound by the check before every training; and the seconds that this check took.

    Raises:
        DataError: It is not, or it has one class.
    """
    split = maker.make(_at(given, "data", "train_split"), _at(given, "data", "val_split"))
    require_one_table([split.train_set, split.val_set])
    if split.train_set.classes.num_classes < 2:
        raise DataError(
            f"{split.train_set.classes.names[0]!r} is the only class of {maker.spec}, so there is nothing to tell "
            "apart: every model is right everywhere. If the other pixels are something else, let them be a class of "
            "their own, such as background."
        )
    began = time.monotonic()
    check_before_training(split.train_set, split.val_set)
    return split, time.monotonic() - began


def _require_contrast(data: DataFacts) -> None:
    """Raise DataError if all masks show one class alone."""
    shown = [each.name for each in data.shown]
    if len(shown) < 2 and data.num_counted == data.num_train:
        raise DataError(
            f"all labelled pixels of the {data.num_train} training masks are {shown[0]}: there is nothing "
            "to tell apart. `vitseg data check` shows what the masks hold; other pixels need a class of their own."
        )


def _slower_start(found: Candidate, seconds: float) -> Candidate:
    return replace(found, times=replace(found.times, start=found.times.start + seconds))


def _budget(
    request: Request, data: DataFacts, found: Candidate, bench: Bench, began: float
) -> _Budget:
    passed = time.monotonic() - began
    if request.has("training.iterations"):
        last = choose.last(found.recipe.training.iterations, found.times, data.num_val)
        return _Budget(passed + last.seconds, "as long as the given iterations take", began)
    if request.minutes is not None:
        return _Budget(60 * request.minutes, "as given", began)
    batch = found.recipe.training.batch_size
    minutes = choose.default_minutes(data, bench.device, found.times, batch, passed)
    return _Budget(60 * minutes, "by the number of images and the speed", began)


def _tried(
    bench: Bench,
    first: Candidate,
    scales: list[Scale],
    budget: _Budget,
    check: float,
    folder: Path,
) -> tuple[Candidate, Trial | None]:
    """The better of two scales, where the time allows to try both; else the likelier."""
    if not trial_iterations(budget.seconds, [first.times], bench.data.num_val):
        return first, None
    other = _slower_start(bench.measured(scales[1]), check)
    both = [first, other]
    times = [each.times for each in both]
    iterations = trial_iterations(budget.seconds, times, bench.data.num_val)
    if not iterations:
        return first, None
    bench.say(f"trying the images at two scales, {iterations} iterations each")
    trial = try_scales(
        [each.scale for each in both],
        [each.recipe for each in both],
        [each.task for each in both],
        iterations,
        folder,
    )
    return both[trial.best], trial


def _schedule(request: Request, data: DataFacts, found: Candidate, budget: _Budget) -> Schedule:
    """How long is trained.

    Raises:
        ConfigError: The time is too short to learn anything.
    """
    if request.has("training.iterations"):
        return choose.last(found.recipe.training.iterations, found.times, data.num_val)
    left = budget.seconds - budget.passed
    schedule = choose.fit(left, found.times, data.num_val)
    if schedule.iterations >= choose.FEWEST_ITERATIONS:
        return schedule
    needed = (
        budget.passed + choose.last(choose.FEWEST_ITERATIONS, found.times, data.num_val).seconds
    )
    raise ConfigError(
        f"{budget.seconds / 60:g} minutes leave time for {schedule.iterations} iterations of {found.times.step:.2f} "
        f"seconds, but nothing is learnt in fewer than {choose.FEWEST_ITERATIONS}: give --minutes "
        f"{int(1.2 * needed / 60) + 1} or more, or a smaller --backbone. Nothing was trained."
    )


def _why_scale(scale: Scale, possible: int, trial: Trial | None, is_ruled: bool) -> str:
    if is_ruled:
        return "as the overrides say"
    if trial is not None:
        return trial.words()
    return f"{scale.why}, and there is no time to try another" if possible > 1 else scale.why


def _write(
    out: Path,
    request: Request,
    recipe: Recipe,
    lines: tuple[str, ...],
    data: DataFacts,
    found: Candidate,
    trial: Trial | None,
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    head = (
        *lines,
        "Chosen by vitseg train. The same run again, without choosing: vitseg train THIS_FILE --out NEW_FOLDER",
    )
    write_whole(out / RECIPE, recipe_text(recipe.to_mapping(), head, words.remarks(recipe)))
    facts = {
        "options": request.options(),
        "lines": list(lines),
        "data": {
            name: getattr(data, name)
            for name in ("num_train", "num_val", "num_unpaired", "num_counted", "ignored", "median")
        },
        "classes": [dataclasses.asdict(each) for each in data.classes],
        "seconds": dataclasses.asdict(found.times),
        "trial": None
        if trial is None
        else {
            "iterations": trial.iterations,
            "miou": {
                each.kind: score for each, score in zip(trial.scales, trial.scores, strict=True)
            },
        },
    }
    write_json(out / PLAN / PLAN_FILE, facts)


def _at(given: Mapping[str, Any], section: str, field: str) -> Any:
    found = given.get(section)
    return found.get(field) if isinstance(found, Mapping) else None

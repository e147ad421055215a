"""`vitseg train NAME:ROOT`: a training for which everything is chosen, and its report page."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer

from vitseg.cli import frame
from vitseg.errors import ConfigError
from vitseg.launch import is_first_process, is_repeating, require_one_start

if TYPE_CHECKING:
    from vitseg.plan.request import Request
    from vitseg.training.recipe import Recipe

REPORT = "report"
"""Folder of the page within that of the run."""


class Wanted(NamedTuple):
    """Options of a training without a recipe."""

    minutes: float | None
    method: str | None
    backbone: str | None
    weights: Path | None


def require_unused(recipe: str, wanted: Wanted) -> None:
    """Raise ConfigError if a training by a recipe is given options of one without."""
    fields = {
        "minutes": "training.iterations=N",
        "method": "another recipe",
        "backbone": "backbone.name=NAME",
        "weights": "backbone.weights=FILE",
    }
    for option, instead in fields.items():
        if getattr(wanted, option) is not None:
            raise ConfigError(
                f"--{option} belongs to a training without a recipe (vitseg train NAME:ROOT), but {recipe} is a "
                f"recipe: give {instead}."
            )


def require_no_recipe_options(spec: str, data: str | None, cache: Path | None, fit: bool) -> None:
    """Raise ConfigError if a training without a recipe is given options of one with."""
    if data is not None:
        raise ConfigError(
            f"--data {data} is given beside {spec}: without a recipe, the first argument is the data set."
        )
    if cache is not None:
        raise ConfigError(
            f"--cache-features belongs to a recipe with a frozen backbone, but {spec} is a data set: leave it out."
        )
    if fit:
        raise ConfigError(
            f"--fit changes a recipe, but {spec} is a data set, for which all is chosen by the device's memory and the "
            "time of a step: leave it out, or give the recipe.yaml of such a run."
        )


def train(spec: str, overrides: list[str], out: Path, resume: bool, wanted: Wanted) -> None:
    """Plan a run, train it, and write its report page.

    Further processes of its training take the plan of the first one.

    Args:
        spec: `NAME:ROOT`.
        overrides: `section.field=value` each.
        out: Folder of the run.
        resume: Whether to go on with the run in it, as it was planned.
        wanted: The options.
    """
    began = time.monotonic()
    from vitseg.plan.request import Request

    request = Request.of(spec, *wanted, overrides)
    is_planned = resume or is_repeating()
    if not is_planned:
        require_one_start("a training without a recipe")
    recipe = _again(request, out) if is_planned else _planned(request, out, began)

    from vitseg.training.display import Display
    from vitseg.training.loop import train as run_training

    run_training(recipe, out, resume, Display())
    if not is_first_process():
        return
    page = _report(out, recipe)
    typer.echo(f"report: {page}")


def _planned(request: Request, out: Path, began: float) -> Recipe:
    from vitseg.plan.plan import make_plan
    from vitseg.runs import RECIPE

    # it tells of the precision each time that something is measured; imported, it has set its own level
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    plan = make_plan(request, out, began, frame.say)
    for line in plan.lines:
        typer.echo(line)
    typer.echo(f"recipe: {out / RECIPE}")
    return plan.recipe


def _again(request: Request, out: Path) -> Recipe:
    """The recipe of a planned run that goes on; nothing is planned anew."""
    from vitseg.plan.resume import planned_recipe

    return planned_recipe(request, out)


def _report(out: Path, recipe: Recipe) -> Path:
    """Score the best model once more, with all measures, for the page; returns its path."""
    from vitseg.cli.evaluate import WORST, ReportPages, show_scores
    from vitseg.evaluation.measures import MEASURES
    from vitseg.inference.predictor import load
    from vitseg.runs import BEST
    from vitseg.training.task import open_splits

    predictor = load(out / BEST)
    _, dataset = open_splits(recipe.data)
    dataset = dataset.read_as(predictor.preprocessing.bands, predictor.preprocessing.limits)
    pages = ReportPages(WORST, dataset, out)
    return pages.write(out / REPORT, show_scores(predictor, dataset, MEASURES, pages))

"""`vitseg train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vitseg.cli import fitting, options, places
from vitseg.cli.places import Before
from vitseg.errors import ConfigError


def train(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE|NAME:ROOT",
            help="A recipe (.yaml), the name of a shipped one, or data (folder:...) for which everything is chosen.",
        ),
        Before(places.require_recipe_or_data),
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="section.field=value, as in optimizer.lr=3e-5")
    ] = None,
    *,
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
    data: options.OptionalData = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an interrupted run exactly.")
    ] = False,
    cache_features: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Keep the features of a frozen backbone here and train on them.",
        ),
    ] = None,
    fit: Annotated[
        bool,
        typer.Option(
            "--fit",
            help="Measure a step, and change what it takes to fit the memory; this is said.",
        ),
    ] = False,
    max_memory: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="With --fit: the memory that a step may take, as in 8GB; what is at hand if not given.",
        ),
        Before(lambda size, given: fitting.require_memory(size, given)),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(help="Without a recipe: the time for everything; by the data if not given."),
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="Without a recipe: the method, such as segvit.")
    ] = None,
    backbone: Annotated[
        str | None, typer.Option(help="Without a recipe: timm's name of the plain ViT.")
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Without a recipe: the pretrained weights; they also say which ViT it is.",
        ),
    ] = None,
) -> None:
    """Train a model from a recipe, or from data alone; the best and the last model are kept.

    Given data instead of a recipe, it looks at them and at the machine, chooses everything, says what and why, and
    ends with a report page. Ctrl-C and SIGTERM save everything and exit with 130 and 143; --resume continues.
    """
    from vitseg.claims import claim_folder, claim_run
    from vitseg.cli import planned
    from vitseg.runs import goes_on
    from vitseg.training.owner import owned

    resume = resume or goes_on(out)
    claim_run(out, resume)
    if cache_features is not None:
        claim_folder(cache_features, may_hold=None, option="--cache-features")
    wanted = planned.Wanted(minutes, method, backbone, weights)
    if places.is_data(recipe):
        planned.require_no_recipe_options(recipe, data, cache_features, fit)
        with owned(out):
            planned.train(recipe, overrides or [], out, resume, wanted)
        return
    planned.require_unused(recipe, wanted)
    if fit and cache_features is not None:
        raise ConfigError(
            "--fit measures a step with the backbone, which --cache-features does not run: leave one of them out."
        )

    from vitseg.training.display import Display
    from vitseg.training.loop import train as run_training
    from vitseg.training.recipe import load_recipe

    wanted_run = load_recipe(recipe, overrides or [], data)
    with owned(out):
        if fit:
            wanted_run = fitting.fitted(wanted_run, overrides or [], out, resume, max_memory)
        run_training(wanted_run, out, resume, Display(), cache_features)

"""`vitseg train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vitseg.cli import options


def train(
    recipe: options.Recipe,
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
) -> None:
    """Train a model from a recipe; the best and the last model are kept.

    Ctrl-C and SIGTERM save everything and exit with 130 and 143; --resume continues.
    """
    from vitseg.runs import claim_folder, claim_run

    claim_run(out, resume)
    if cache_features is not None:
        claim_folder(cache_features, may_hold=None, option="--cache-features")

    from vitseg.training.display import Display
    from vitseg.training.loop import train as run_training
    from vitseg.training.recipe import load_recipe

    run_training(load_recipe(recipe, overrides or [], data), out, resume, Display(), cache_features)

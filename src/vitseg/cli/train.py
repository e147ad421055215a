"""`vitseg train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe (.yaml), or the name of a shipped one.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="section.field=value, as in optimizer.lr=3e-5")
    ] = None,
    *,
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
    data: Annotated[
        str | None, typer.Option(help="The data set, as NAME:ROOT (camvid:..., folder:...).")
    ] = None,
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
    from vitseg.training.display import Display
    from vitseg.training.loop import train as run_training
    from vitseg.training.recipe import load_recipe
    from vitseg.training.stop import InterruptedRunError

    display = Display()
    try:
        loaded = load_recipe(recipe, overrides or [], data)
        run_training(loaded, out, resume, display, cache_features)
    except InterruptedRunError as stopped:
        typer.echo(str(stopped), err=True)
        raise typer.Exit(128 + stopped.signal_number) from stopped

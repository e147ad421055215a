"""The commands: what `vitseg` is made of. The process itself is in `main.py`."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from vitseg.cli import frame
from vitseg.cli.data import data_app
from vitseg.cli.recipes import recipes_app

VERBS = (
    "demo",
    "train",
    "evaluate",
    "compare",
    "continual",
    "reproduce",
    "tune",
    "extend",
    "classes",
    "predict",
    "video",
    "explain",
    "suggest",
    "profile",
    "convert",
    "export",
    "serve",
    "push",
    "doctor",
)
"""Commands, in the order of the help: each is a function in the file of its name."""

app = typer.Typer(
    name="vitseg",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich's help pages take twice as long to import as to read
    help="Semantic segmentation with vision transformers, from a folder of masks to a served model.",
)
for name in VERBS:
    frame.add_verb(app, name)
app.add_typer(data_app)
app.add_typer(recipes_app)


def _show_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"vitseg {version('vitseg')}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the full traceback of an error.")
    ] = False,
    _: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", callback=_show_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Options before the verb."""
    frame.set_debugging(debug)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logging.getLogger("vitseg").handlers = [handler]  # one, however often a process calls this
    logging.getLogger("vitseg").setLevel(logging.INFO)

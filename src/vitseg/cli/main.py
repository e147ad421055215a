"""The `vitseg` command."""

from __future__ import annotations

import errno
import logging
import sys
from typing import Annotated

import typer

from vitseg.cli import frame
from vitseg.cli.data import data_app
from vitseg.errors import VitsegError

VERBS = (
    "demo",
    "train",
    "evaluate",
    "compare",
    "continual",
    "tune",
    "extend",
    "classes",
    "predict",
    "video",
    "explain",
    "profile",
    "convert",
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

PLACE_ERRORS = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.ENOTDIR, errno.ENAMETOOLONG,
}  # fmt: skip
"""Errors of the operating system that the user mends by another path or more room."""


@app.callback()
def options(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the full traceback of an error.")
    ] = False,
) -> None:
    """Options before the verb."""
    frame.set_debugging(debug)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logging.getLogger("vitseg").handlers = [handler]  # one, however often a process calls this
    logging.getLogger("vitseg").setLevel(logging.INFO)


def run() -> None:
    """Entry point: errors of the user exit with 2, ours with 1, each with one clear line."""
    try:
        app(prog_name="vitseg")
    except VitsegError as error:
        if frame.is_debugging():
            raise
        _say(f"{type(error).__name__}: {error}")
        sys.exit(2)
    except Exception as error:
        if frame.is_debugging():
            raise
        if isinstance(error, OSError) and error.errno in PLACE_ERRORS:
            _say(
                f"{error.strerror}: {error.filename or 'the output'}. Give a place that can be read and written."
            )
            sys.exit(2)
        reason = " ".join(str(error).split()) or "no message"
        _say(
            f"internal error, {type(error).__name__}: {reason}. Please report it with: vitseg --debug ..."
        )
        sys.exit(1)


def _say(line: str) -> None:
    print(line, file=sys.stderr)

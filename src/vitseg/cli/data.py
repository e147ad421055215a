"""`vitseg data`: verbs about data sets."""

from __future__ import annotations

import typer

from vitseg.cli import frame

data_app = typer.Typer(
    name="data",
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Show, check, preview, prepare and shard data sets.",
)
for name in ("show", "check", "prepare", "preview", "shard"):
    frame.add_verb(data_app, f"data_{name}", name)

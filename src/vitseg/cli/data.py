"""`vitseg data`: verbs about data sets."""

from __future__ import annotations

import typer

from vitseg.cli.data_check import check
from vitseg.cli.data_prepare import prepare
from vitseg.cli.data_preview import preview
from vitseg.cli.data_show import show

data_app = typer.Typer(
    name="data",
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Show, check, preview and prepare data sets.",
)
for verb in (show, check, prepare, preview):
    data_app.command()(verb)

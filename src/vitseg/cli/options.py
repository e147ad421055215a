"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[
    Path, typer.Argument(help="A model directory, or the --out folder of a training.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Data = Annotated[str, typer.Option(help="The data set, as NAME:ROOT (camvid:..., folder:...).")]

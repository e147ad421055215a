"""`vitseg convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def convert(
    file: Annotated[Path, typer.Argument(help="A published SegViT checkpoint (.pth).")],
    *,
    out: Annotated[Path, typer.Option(help="The model directory to write.")],
    classes: Annotated[
        Path | None, typer.Option(help="A classes.json with the names (see the data docs).")
    ] = None,
) -> None:
    """Turn a published checkpoint into a model directory."""
    from vitseg.checkpoint.convert import convert_checkpoint
    from vitseg.checkpoint.model_dir import save_model
    from vitseg.data.class_files import read_labels
    from vitseg.errors import ConfigError

    if out.exists():
        raise ConfigError(f"--out {out} exists already: give a new folder. Nothing was changed.")
    table = read_labels(classes).classes if classes is not None else None
    model, record = convert_checkpoint(file, table)
    save_model(out, model, record)
    num_classes = record.classes.num_classes
    backbone = record.architecture["backbone"]["name"]
    typer.echo(
        f"{record.method} on {backbone}, {num_classes} classes, crop {record.image_size[0]} -> {out}"
    )
    if table is None:
        typer.echo(
            "The file names no classes: they are numbered. Pass --classes classes.json to name them."
        )
    if record.license:
        typer.echo(f"licence: {record.license}")

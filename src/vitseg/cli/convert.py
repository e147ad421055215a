"""`vitseg convert`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitseg.errors import ConfigError

if TYPE_CHECKING:
    from vitseg.classes import ClassTable

CLASS_TABLES = {
    19: ("cityscapes", "cityscapes_train_ids"),
    21: ("voc2012", "voc2012"),
    59: ("pascal_context_59", "pascal_context_59"),
    60: ("pascal_context_60", "pascal_context_60"),
    150: ("ade20k", "ade20k"),
    171: ("coco_stuff_10k", "coco_stuff_10k"),
}
"""Published data set and its table, by the number of classes."""


def convert(
    file: Annotated[
        str,
        typer.Argument(
            help="A published checkpoint (.pth) of SegViT, Shrunk, SETR or Segmenter, or "
            "hf://user/repository/FILE."
        ),
    ],
    *,
    out: Annotated[Path, typer.Option(help="The model directory to write.")],
    classes: Annotated[
        Path | None,
        typer.Option(
            help="A classes.json with the names (see the data docs), where they are not those of the published data "
            "set with so many classes."
        ),
    ] = None,
) -> None:
    """Turn a published checkpoint into a model directory."""
    from vitseg.checkpoint.convert import convert_checkpoint, read_checkpoint
    from vitseg.checkpoint.hub import fetch_file, hub_address
    from vitseg.checkpoint.model_dir import save_model
    from vitseg.data.class_files import read_labels
    from vitseg.runs import claim_new

    claim_new(out)
    given = None if classes is None else read_labels(classes).classes
    address = hub_address(file)
    path = Path(file) if address is None else fetch_file(address)
    checkpoint = read_checkpoint(path, str(address or ""))
    num_classes = checkpoint.architecture.num_classes
    dataset, table = None, given
    if table is None:
        dataset, table = published_classes(num_classes, checkpoint.name)
    model, record = convert_checkpoint(checkpoint, table, dataset)
    save_model(out, model, record)

    backbone = record.architecture["backbone"]["name"]
    crop = record.image_size[0]
    typer.echo(f"{record.method} on {backbone}, {num_classes} classes, crop {crop} -> {out}")
    source = f"{dataset}, by their number; --classes FILE gives others" if dataset else str(classes)
    typer.echo(f"classes: {source}")
    typer.echo(f"input: mean {record.preprocessing.mean}, std {record.preprocessing.std}")
    typer.echo("inference: " + ", ".join(f"{k} {v}" for k, v in record.inference.items()))
    typer.echo(f"licence: {record.license}")


def published_classes(num_classes: int, name: str) -> tuple[str, ClassTable]:
    """Name and classes of the published data set with so many classes.

    Raises:
        ConfigError: There is none.
    """
    from vitseg.data.official.tables import read_table

    if num_classes not in CLASS_TABLES:
        known = ", ".join(f"{count} ({dataset})" for count, (dataset, _) in CLASS_TABLES.items())
        raise ConfigError(
            f"{name} has {num_classes} classes, as no published data set has. Known: {known}. Pass "
            "--classes classes.json with their names."
        )
    dataset, table = CLASS_TABLES[num_classes]
    return dataset, read_table(table, hint="").classes

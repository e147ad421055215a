"""`vitseg convert`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitseg.cli import places
from vitseg.cli.places import Before
from vitseg.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    from vitseg.backbones.wrappers import WeightsOf
    from vitseg.checkpoint.convert import ForeignCheckpoint
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


DATASETS = {dataset: (count, table) for count, (dataset, table) in CLASS_TABLES.items()}


def convert(
    file: Annotated[
        str,
        typer.Argument(
            help="A checkpoint (.pth, .safetensors) of SegViT, Shrunk, SETR, Segmenter, SegFormer and others, or "
            "hf://user/repository/FILE."
        ),
        Before(places.require_weights),
    ],
    *,
    out: Annotated[Path, typer.Option(help="The model directory to write.")],
    classes: Annotated[
        Path | None,
        typer.Option(
            help="A classes.json with the names (see the data docs), where the file does not carry them."
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help=f"The published data set that it was trained on ({', '.join(DATASETS)}): its class names, where "
            "nothing else gives any, and its inference protocol.",
        ),
    ] = None,
    weights_of: Annotated[
        str | None,
        typer.Option(
            metavar="SET",
            help="Which weights to take from a file of several: model, ema, teacher or student.",
        ),
    ] = None,
    license_text: Annotated[
        str | None,
        typer.Option(
            "--license",
            help="Licence of the weights, where the file does not state it: apache-2.0, a sentence, or 'published' for "
            "that of the weights that the method's authors publish.",
        ),
    ] = None,
    grid: Annotated[
        str | None,
        typer.Option(
            metavar="H,W",
            help="Token grid of the position embeddings: the training crop in patches, where that is not square.",
        ),
    ] = None,
) -> None:
    """Turn a checkpoint of another program into a model directory."""
    from vitseg.checkpoint.hub import fetch_file, hub_address
    from vitseg.claims import claim_new
    from vitseg.data.class_labels import read_labels

    claim_new(out)
    size, address = parsed_grid(grid), hub_address(file)
    if dataset is not None and dataset not in DATASETS:
        raise ConfigError(f"--dataset: {unknown_name('data set', dataset, DATASETS)}")
    given = None if classes is None else read_labels(classes).classes

    from vitseg.checkpoint.convert import convert_checkpoint, read_checkpoint
    from vitseg.checkpoint.model_dir import save_model

    wanted = known_set(weights_of)
    path = Path(file) if address is None else fetch_file(address)
    checkpoint = read_checkpoint(path, str(address or ""), wanted, size)
    table, source, dataset = chosen_table(checkpoint, given, classes, dataset)
    published = checkpoint.dialect.published.license
    if license_text == "published":
        license_text = published
    model, record = convert_checkpoint(checkpoint, table, dataset, license_text)
    save_model(out, model, record)

    backbone = record.architecture["backbone"]["name"]
    height, width = record.image_size
    crop = f"{height}" if height == width else f"{height} x {width}"
    typer.echo(f"{record.method} on {backbone}, {table.num_classes} classes, crop {crop} -> {out}")
    if checkpoint.taken:
        typer.echo(f"weights: {checkpoint.taken}")
    typer.echo(f"classes: {source}")
    typer.echo(f"input: mean {record.preprocessing.mean}, std {record.preprocessing.std}")
    protocol = ", ".join(f"{k} {v}" for k, v in record.inference.items())
    typer.echo(f"inference: {protocol}{window_source(checkpoint)}")
    unknown = (
        f"not known, since the file does not state it: --license gives it. If these are published weights, "
        f"'--license published' keeps what holds for them: {published}"
    )
    typer.echo(f"licence: {record.license or unknown}")
    if checkpoint.grid_source:
        size = f"{height} x {width} pixels"
        typer.echo(f"position embeddings: of crops of {size}, {checkpoint.grid_source}")


def window_source(checkpoint: ForeignCheckpoint) -> str:
    """Who says the windows of a model, to be told behind its protocol."""
    if checkpoint.facts.config.window is not None:
        return " (windows as the file's own configuration says)"
    published = checkpoint.dialect.published
    crop = checkpoint.architecture.crop
    if published.mode == "slide" and crop not in published.strides:
        return " (windows two thirds of the crop apart, since nothing says how far)"
    return ""


def known_set(name: str | None) -> WeightsOf | None:
    """A set of weights by its name.

    Raises:
        ConfigError: There is none of that name.
    """
    from vitseg.backbones.wrappers import SETS

    if name is None:
        return None
    for each in SETS:
        if each == name:
            return each
    raise ConfigError(f"--weights-of: {unknown_name('set of weights', name, SETS)}")


def parsed_grid(text: str | None) -> tuple[int, int] | None:
    """A grid written H,W or HxW.

    Raises:
        ConfigError: It is written otherwise.
    """
    if text is None:
        return None
    parts = text.lower().replace("x", ",").split(",")
    numbers = [int(part) for part in parts if part.strip().isascii() and part.strip().isdigit()]
    if len(parts) != 2 or len(numbers) != 2 or not all(0 < number < 10**5 for number in numbers):
        raise ConfigError(
            f"--grid is {text!r}, but it is two numbers of patches, HEIGHT,WIDTH: --grid 32,64 for crops of 512 x 1024 "
            "and patches of 16."
        )
    return numbers[0], numbers[1]


def chosen_table(
    checkpoint: ForeignCheckpoint, given: ClassTable | None, path: Path | None, dataset: str | None
) -> tuple[ClassTable, str, str | None]:
    """Classes of a checkpoint's model, where they are from, and the published data set that they are of.

    What the user names goes before what the file says. A number of classes alone says nothing.

    Args:
        checkpoint: What was read.
        given: Classes of the user's class file.
        path: That file.
        dataset: The published data set that the user names.

    Raises:
        ConfigError: Nobody names the classes, or the data set has another number of them.
    """
    count, name = checkpoint.architecture.num_classes, checkpoint.name
    published = None if dataset is None else published_classes(dataset, count, name)
    if given is not None:
        return given, str(path), dataset
    carried = checkpoint.facts.table(count)
    if carried is not None:
        same = dataset or same_names(carried)
        source = "named in the file" + (f", those of {same}" if same and not dataset else "")
        return carried, source, same
    if published is not None:
        return published, f"those of {dataset}, as --dataset says", dataset
    named = checkpoint.facts.names
    has = f"names {len(named)} classes, but has {count}" if named else f"has {count} classes"
    likely = CLASS_TABLES.get(count)
    hint = (
        f"or --dataset {likely[0]}, if it was trained on that"
        if likely
        else f"since no published data set has so many. Known to --dataset: {_known()}"
    )
    raise ConfigError(
        f"{name} {has}{'' if named else ' and does not name them'}: give --classes classes.json with their names, "
        f"{hint}."
    )


def same_names(table: ClassTable) -> str | None:
    """The published data set whose class names these are, all of them in this order."""
    from vitseg.data.official.tables import read_table

    found = CLASS_TABLES.get(table.num_classes)
    if found is None:
        return None
    theirs = read_table(found[1], hint="").classes.names
    return found[0] if _plain(theirs) == _plain(table.names) else None


def _plain(names: Sequence[str]) -> list[str]:
    return [name.lower().replace("_", " ").strip() for name in names]


def _known() -> str:
    return ", ".join(f"{name} ({count})" for name, (count, _) in DATASETS.items())


def published_classes(dataset: str, num_classes: int, name: str) -> ClassTable:
    """Classes of a published data set, for a model of so many.

    Raises:
        ConfigError: It has another number of classes.
    """
    from vitseg.data.official.tables import read_table

    count, table = DATASETS[dataset]
    if count != num_classes:
        raise ConfigError(
            f"{name} has {num_classes} classes, but --dataset {dataset} has {count}. Known: {_known()}. For any other, "
            "give --classes classes.json with their names."
        )
    return read_table(table, hint="").classes

"""Options that several verbs share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vitseg.cli import frame, places
from vitseg.cli.places import Before
from vitseg.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    from vitseg.classes import ClassTable

Model = Annotated[
    Path,
    typer.Argument(help="A model directory, the --out folder of a training, or hf://user/name."),
    Before(places.require_model),
]
PredictingModel = Annotated[
    Path,
    typer.Argument(
        help="A model directory, the --out folder of a training, hf://user/name, or what vitseg export wrote."
    ),
    Before(places.require_predicting_model),
]
Readers = Annotated[
    int | None,
    typer.Option("--workers", help="Processes that read files; else one per processor.", min=0),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Data = Annotated[
    str,
    typer.Option(help="The data set, as NAME:ROOT (camvid:..., folder:...)."),
    Before(places.require_data),
]
HeldOutSplit = Annotated[
    str | None,
    typer.Option(
        "--split",
        help="Split of the data set, or a text file of names; else val or, of data without one, the images that the "
        "model's training held out.",
    ),
]
OptionalData = Annotated[
    str | None,
    typer.Option("--data", help="The data set, as NAME:ROOT (camvid:..., folder:...)."),
    Before(places.require_data),
]
Protocol = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Change the model's inference protocol: flip=true, scales=[0.5,1.0]. Repeatable.",
        metavar="FIELD=VALUE",
    ),
]
ValueRange = Annotated[
    tuple[float, float] | None,
    typer.Option(
        "--value-range",
        help="Black and white of images of more than 8 bits, in place of what the model and the files say.",
        metavar="LOW HIGH",
    ),
]
Dtype = Annotated[
    Literal["fp32", "bf16"],
    typer.Option(
        help="Numbers: bf16 computes products in bfloat16, faster where the processor has instructions for it."
    ),
]
JsonFile = Annotated[
    Path | None,
    typer.Option("--json", help="Also write everything to this file."),
    Before(lambda file, given: frame.require_place("--json", file)),
]
DataArgument = Annotated[
    str,
    typer.Argument(metavar="NAME:ROOT", help="The data set (camvid:..., folder:...)."),
    Before(places.require_data),
]
Merge = Annotated[
    list[str] | None,
    typer.Option(help='Join classes: "vehicle=car,bus". Repeatable.', metavar="NAME=CLASS,..."),
]
Ignore = Annotated[
    list[str] | None,
    typer.Option(help="A class whose pixels are ignored. Repeatable.", metavar="CLASS"),
]


def require_range(pair: tuple[float, float] | None) -> None:
    """Raise ConfigError for a `--value-range` that is none, before anything else is done."""
    from vitseg.images.value_range import parse_range

    if pair is not None:
        parse_range(pair)


def parse_merge(merge: list[str] | None) -> dict[str, tuple[str, ...]]:
    """The joint classes of `--merge`.

    Raises:
        ConfigError: An entry is not written NAME=CLASS,CLASS, or a name comes twice.
    """
    joint: dict[str, tuple[str, ...]] = {}
    for entry in merge or []:
        name, equals, members = entry.partition("=")
        name, names = name.strip(), tuple(part.strip() for part in members.split(","))
        if not equals or not name or not all(names):
            raise ConfigError(
                f"--merge {entry!r} is not written NAME=CLASS,CLASS: for example vehicle=car,bus."
            )
        if name in joint:
            raise ConfigError(f"--merge names {name!r} twice: list all its classes in one.")
        joint[name] = names
    return joint


def find_classes(text: str, table: ClassTable) -> list[int]:
    """Indices of the classes of `--classes`, as in "road, tree".

    Raises:
        ConfigError: A name that the model does not know, or no name at all.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise ConfigError(f"--classes {text!r} names no class: for example --classes road,tree.")
    for name in names:
        if name not in table.names:
            raise ConfigError(f"--classes: {unknown_name('class', name, table.names)}")
    return [table.names.index(name) for name in names]


def parse_size(text: str) -> tuple[int, int]:
    """(height, width) of "512x1024".

    Raises:
        ConfigError: It is not written so, or larger than an image may be.
    """
    from vitseg.images.decode import MAX_PIXELS

    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if match is None:
        raise ConfigError(
            f"--size {text!r} is not written HEIGHTxWIDTH, in pixels: for example 512x512."
        )
    height, width = int(match[1]), int(match[2])
    if height * width > MAX_PIXELS:
        raise ConfigError(
            f"--size {text} has more pixels than an image may have ({MAX_PIXELS:,}): give a smaller one."
        )
    return height, width

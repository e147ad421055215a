"""`vitseg profile`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from vitseg.cli import frame, options, places
from vitseg.cli.places import Before
from vitseg.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from torch import Tensor

    from vitseg.images.preprocess import Preprocessing
    from vitseg.inference.profile import Profile
    from vitseg.methods.model import SegmentationModel
    from vitseg.runtimes.graph_model import GraphModel

DEFAULT_CLASSES = 150
"""Classes of ADE20K, for which papers state their costs."""


def profile(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="RECIPE|MODEL", help="A recipe, a model directory, or what vitseg export wrote."
        ),
        Before(places.require_recipe_or_model),
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="section.field=value of the recipe.")
    ] = None,
    *,
    size: Annotated[
        str, typer.Option(metavar="HxW", help="Height and width of the images in pixels.")
    ],
    classes: Annotated[
        int | None, typer.Option(help="Classes, for a recipe; else 150.", min=1)
    ] = None,
    batch: Annotated[
        int, typer.Option(help="Images per run, measured beside single images.", min=1)
    ] = 1,
    dtype: Annotated[
        Literal["fp32", "bf16"], typer.Option(help="Precision; bf16 is autocast.")
    ] = "fp32",
    compiled: Annotated[
        bool, typer.Option("--compile", help="Time the model through torch.compile.")
    ] = False,
    images: Annotated[
        Path | None,
        typer.Option(help="Run on the photos of this folder, and average; else on noise."),
        Before(places.require_images),
    ] = None,
    runs: Annotated[
        int | None,
        typer.Option(help="Timed runs; else 20, or as many as take every photo.", min=1),
    ] = None,
    json_file: options.JsonFile = None,
    device: options.Device = "auto",
) -> None:
    """Parameters, multiply-adds, memory and speed of a model on this device.

    A recipe is built with random weights. Times and multiply-adds are of whole images, up to the label map. Of an
    exported file there are times alone.
    """
    height, width = options.parse_size(size)

    import torch

    from vitseg.checkpoint.versions import package_versions
    from vitseg.evaluation.evaluate import device_name
    from vitseg.files import write_json
    from vitseg.inference.predictor import device_for
    from vitseg.inference.profile import profile_graph, profile_model
    from vitseg.runtimes.graph_model import GraphModel

    chosen = device_for(model, device)
    built, preprocessing, num_classes = _model(
        model, overrides or [], classes, (height, width), chosen
    )
    inputs = _inputs(images, (height, width), preprocessing)
    runtime, numbers = "torch", str(dtype)
    if isinstance(built, GraphModel):
        if compiled or dtype != "fp32":
            raise ConfigError(
                f"{model} is an exported file, whose runtime and numbers were chosen when it was written: leave "
                "--dtype and --compile out."
            )
        result = profile_graph(built, inputs, chosen, batch, runs)
        runtime, numbers = built.session.name, built.record.precision
    else:
        result = profile_model(built, inputs, chosen, batch, dtype, compiled, runs)
    settings = {
        "model": str(model),
        "overrides": overrides or [],
        "size": [height, width],
        "classes": num_classes,
        "dtype": numbers,
        "compiled": compiled,
        "runtime": runtime,
        "device": device_name(chosen),
        "threads": torch.get_num_threads(),
        "images": None if images is None else str(images),
        "num_images": len(inputs),
    }
    frame.show(*_tables(result, settings))
    if json_file is not None:
        content = {**result.to_json(), "settings": settings, "versions": package_versions()}
        write_json(json_file, content)


def _model(
    path: Path,
    overrides: list[str],
    num_classes: int | None,
    size: tuple[int, int],
    device: torch.device,
) -> tuple[SegmentationModel | GraphModel, Preprocessing, int]:
    """The model, how its inputs are normalised, and its number of classes."""
    from vitseg.checkpoint.hub import hub_address
    from vitseg.checkpoint.model_dir import load_model
    from vitseg.runtimes.places import is_exported

    if path.is_dir() or is_exported(path) or hub_address(path) is not None:
        if num_classes is not None or overrides:
            raise ConfigError(
                f"{path} is a model, which has its classes and its configuration: leave --classes and "
                "overrides out, or give a recipe."
            )
        if is_exported(path) and not path.is_dir():
            from vitseg.runtimes.open_graph import load_graph

            graph, told = load_graph(path, device)
            return graph, told.preprocessing, told.model.classes.num_classes
        model, record = load_model(path)
        return model, record.preprocessing, record.classes.num_classes

    from vitseg.training.recipe import load_recipe

    recipe = load_recipe(path, overrides)
    if num_classes is None:
        num_classes = DEFAULT_CLASSES
        typer.echo(f"a recipe names no classes: {num_classes} are taken (--classes)", err=True)
    model = recipe.model.build(num_classes, size, load_pretrained=False)
    return model, recipe.preprocessing(), num_classes


def _inputs(
    folder: Path | None, size: tuple[int, int], preprocessing: Preprocessing
) -> Sequence[Tensor]:
    import torch

    from vitseg.cli.inputs import find_inputs, left_out
    from vitseg.inference.profile import PhotoInputs

    if folder is None:
        return [
            torch.randn(
                1, preprocessing.num_channels, *size, generator=torch.Generator().manual_seed(0)
            )
        ]
    for line in left_out([str(folder)]):
        frame.say(line)
    return PhotoInputs([path for path, _ in find_inputs([str(folder)])], size, preprocessing)


def _tables(result: Profile, settings: dict[str, Any]):
    """Rich tables: the model, its operators, its speed."""
    from rich.table import Table

    height, width = settings["size"]
    of_images = "" if settings["images"] is None else f", mean of {settings['num_images']} images"
    if result.parameters is not None and result.stored_parameters is not None:
        yield _parameters(result.parameters, result.stored_parameters, settings)

    if result.macs is not None:
        yield _macs(result, height, width, of_images)

    mode = "compiled" if settings["compiled"] else "eager"
    how = mode if settings["runtime"] == "torch" else settings["runtime"]
    where = f"{settings['device']}, {settings['threads']} threads, {settings['dtype']}, {how}"
    speed = Table(title="images to label maps", caption=where)
    for name in ("batch", "p50 ms", "p95 ms", "images/s", "peak MB above weights"):
        speed.add_column(name, justify="right")
    for entry in result.speeds:
        latency = (f"{entry.latency_ms(0.5):.1f}", f"{entry.latency_ms(0.95):.1f}")
        memory = "-" if entry.peak_memory is None else f"{entry.peak_memory / 1e6:.0f}"
        speed.add_row(str(entry.batch_size), *latency, f"{entry.images_per_second:.2f}", memory)
    yield speed


def _macs(result: Profile, height: int, width: int, of_images: str):
    from rich.table import Table

    assert result.macs is not None
    macs = Table(title=f"GMACs of one {height}x{width} image{of_images}")
    for name in ("operator", "backbone", "decoder", "both"):
        macs.add_column(name, justify="left" if name == "operator" else "right")
    backbone, decoder = result.macs["backbone"], result.macs["decoder"]
    for name in sorted({*backbone, *decoder}, key=lambda n: -_sum(result, n)):
        cells = (backbone.get(name, 0.0), decoder.get(name, 0.0), _sum(result, name))
        macs.add_row(name, *(f"{cell / 1e9:.2f}" for cell in cells))
    macs.add_section()
    totals = [sum(counts.values()) for counts in (backbone, decoder)]
    macs.add_row("all", *(f"{total / 1e9:.2f}" for total in (*totals, sum(totals))))
    return macs


def _parameters(used: int, stored: int, settings: dict[str, Any]):
    from rich.table import Table

    table = Table(title=f"{settings['model']}, {settings['classes']} classes")
    table.add_column("parameters")
    table.add_column("millions", justify="right")
    table.add_row("used in a prediction", f"{used / 1e6:.2f}")
    table.add_row("with those of training only", f"{stored / 1e6:.2f}")
    return table


def _sum(result: Profile, operator: str) -> float:
    return sum(counts.get(operator, 0.0) for counts in (result.macs or {}).values())

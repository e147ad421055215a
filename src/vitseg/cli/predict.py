"""`vitseg predict`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from vitseg.cli import frame, options


def predict(
    model: options.PredictingModel,
    inputs: Annotated[list[str], typer.Argument(help="Images, folders or globs.")],
    *,
    out: Annotated[Path, typer.Option(help="Folder for masks, overlays and the list.")],
    protocol: options.Protocol = None,
    value_range: options.ValueRange = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "fp32",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace predictions that are already in --out.")
    ] = False,
    tiles: Annotated[
        bool,
        typer.Option(
            "--tiles",
            help="Run large images window by window, in bounded memory; an interrupted run continues. Images of more "
            "than 150 million pixels always are, and of more than 64 million where the model runs images whole.",
        ),
    ] = False,
    max_memory: Annotated[
        str, typer.Option(help="With --tiles: most memory above the loaded model (500MB, 2GiB).")
    ] = "4GB",
    blend: Annotated[
        str,
        typer.Option(help="With --tiles: cosine fades windows into each other, mean averages."),
    ] = "cosine",
    polygons: Annotated[
        bool, typer.Option("--polygons", help="With --tiles: write GeoJSON polygons, too.")
    ] = False,
) -> None:
    """Segment images: indexed masks, overlays with a legend and one JSON line per image.

    An image that cannot be segmented is reported and left out; the exit code is then 2. The same command goes on with
    what is missing, after an interruption, too.
    """
    from vitseg.cli.inputs import find_inputs, left_out
    from vitseg.cli.predict_run import Run
    from vitseg.cli.predict_tiles import Tiling
    from vitseg.images.notices import grouped
    from vitseg.inference.prediction_folder import PredictionFolder, without_predictions
    from vitseg.runtimes.places import find_model

    options.require_range(value_range)
    tiling = Tiling.checked(max_memory, blend, polygons, asked_for=tiles)
    targets = without_predictions(find_inputs(inputs), out)
    found = find_model(model)
    settings = {**tiling.settings(), **model_settings(found, protocol or ())}
    if value_range is not None:
        settings["value range"] = list(value_range)
    if dtype != "fp32":
        settings["dtype"] = dtype
    folder = PredictionFolder(out, settings, targets, overwrite)

    from vitseg.inference.predictor import (
        load,  # torch is imported here, after all that may be refused
    )

    predictor = load(found, device, protocol or (), value_range, dtype)
    with frame.kept("What is finished stays; the same command goes on."), folder, grouped():
        run = Run(predictor, folder, tiling)
        run.all(targets)
    typer.echo(f"{run.num_finished} of {len(targets)} images -> {out}")
    for line in (*run.closing_lines(), *left_out(inputs)):
        typer.echo(line, err=True)
    if run.failures.count:
        raise typer.Exit(run.failures.exit_code)


def model_settings(model: Path, protocol: Sequence[str]) -> dict[str, Any]:
    """What predictions depend on beside their images and `--tiles`: hashes of the model, protocol, our version.

    Raises:
        CheckpointError: A file of the model is missing.
    """
    from importlib.metadata import version

    from vitseg.runtimes.places import hashes

    return {
        "model": hashes(model),
        "set": sorted(protocol),
        "vitseg version": version("vitseg"),
    }

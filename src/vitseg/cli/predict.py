"""`vitseg predict`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from vitseg.cli import frame, options


def predict(
    model: options.PredictingModel,
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Images, folders, globs, lists (.txt), Parquet files of encoded images, or addresses (s3://bucket/*.jpg)."
        ),
    ],
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
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(help="ray: by Ray Data, on this machine or the cluster of RAY_ADDRESS."),
    ] = "local",
    workers: Annotated[
        int | None,
        typer.Option(
            help="With ray: copies of the model; else one for each GPU, or for each machine.", min=1
        ),
    ] = None,
) -> None:
    """Segment images: indexed masks, overlays with a legend and one JSON line per image.

    An image that cannot be segmented is reported and left out; the exit code is then 2. The same command goes on with
    what is missing, after an interruption, too.
    --engine ray needs: pip install 'vitseg[ray]'.
    """
    from vitseg.cli.inputs import left_out
    from vitseg.cli.predict_inputs import find_targets, require_files
    from vitseg.cli.predict_run import Run
    from vitseg.cli.predict_tiles import Tiling
    from vitseg.images.notices import grouped
    from vitseg.inference.prediction_folder import PredictionFolder, without_predictions
    from vitseg.runtimes.places import find_model

    options.require_range(value_range)
    tiling = Tiling.checked(max_memory, blend, polygons, asked_for=tiles)
    require_engine(engine, workers, device, out)
    targets = without_predictions(find_targets(inputs), out)
    if tiles:
        require_files(targets)
    found = find_model(model)
    settings = {**tiling.settings(), **model_settings(found, protocol or ())}
    if value_range is not None:
        settings["value range"] = list(value_range)
    if dtype != "fp32":
        settings["dtype"] = dtype
    folder = PredictionFolder(out, settings, targets, overwrite)

    # torch, or Ray, is imported here, after all that may be refused
    if engine == "ray":
        from vitseg.cli.predict_ray import on_ray
        from vitseg.cli.predict_worker import Job

        job = Job(
            found, device, tuple(protocol or ()), value_range, dtype, tiling, out, folder.settings
        )
        chosen = on_ray(job, workers)
    else:
        from vitseg.cli.predict_image import ImageWriter
        from vitseg.cli.predict_run import in_this_process
        from vitseg.inference.predictor import load

        predictor = load(found, device, protocol or (), value_range, dtype)
        chosen = in_this_process(ImageWriter(predictor, tiling, out, folder.settings))
    with frame.kept("What is finished stays; the same command goes on."), folder, grouped():
        run = Run(chosen, folder)
        run.all(targets)
    typer.echo(f"{run.num_finished} of {len(targets)} images -> {out}")
    for line in (*run.closing_lines(), *left_out(inputs)):
        typer.echo(line, err=True)
    if run.failures.count:
        raise typer.Exit(run.failures.exit_code)


def require_engine(engine: str, workers: int | None, device: str, out: Path) -> None:
    """See that an engine can do what it is asked for, and that its packages are there.

    Raises:
        ConfigError: It cannot, they are not, or `--out` is an address.
    """
    from vitseg.errors import ConfigError
    from vitseg.inference.remote_images import is_address

    if is_address(out):
        raise ConfigError(
            f"--out {out} is an address, but predictions are written to a folder: give one, and copy it there."
        )
    if engine == "local":
        if workers is not None:
            raise ConfigError("--workers needs --engine ray: there is one copy of the model else.")
        return
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(
            f"--device {device} with --engine ray: give auto, cpu or cuda, and Ray chooses which for each worker."
        )
    from vitseg.runtimes.extra import import_extra
    from vitseg.serve.ray_environment import prepare

    prepare()
    import_extra("ray.data", "Ray Data", "ray")


def model_settings(model: Path, protocol: Sequence[str]) -> dict[str, Any]:
    """What predictions depend on beside their images and `--tiles`: hashes of the model, protocol, our version.

    Raises:
        CheckpointError: A file of the model is missing.
    """
    from importlib.metadata import version

    from vitseg.inference.prediction_folder import EXTRA_IMAGES
    from vitseg.runtimes.places import extra_images, hashes

    settings: dict[str, Any] = {
        "model": hashes(model),
        "set": sorted(protocol),
        "vitseg version": version("vitseg"),
    }
    folders = extra_images(model)
    return {**settings, EXTRA_IMAGES: folders} if folders else settings

"""`vitseg predict`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitseg.cli import frame, options
from vitseg.errors import DataError

if TYPE_CHECKING:
    from vitseg.inference.record import PredictionRecord
    from vitseg.inference.segmentation import Segmentation


def predict(
    model: options.Model,
    inputs: Annotated[list[str], typer.Argument(help="Images, folders or globs.")],
    *,
    out: Annotated[Path, typer.Option(help="Folder for masks, overlays and the list.")],
    protocol: options.Protocol = None,
    device: options.Device = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace predictions that are already in --out.")
    ] = False,
    tiles: Annotated[
        bool,
        typer.Option(
            "--tiles",
            help="Run large images window by window, in bounded memory; an interrupted run continues. Images of more "
            "than 150 million pixels always are.",
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

    An image that cannot be read is reported and left out; the exit code is then 2.
    """
    from vitseg.cli.inputs import find_inputs
    from vitseg.cli.predict_tiles import Tiling, has_interrupted, is_large
    from vitseg.inference.predictor import load
    from vitseg.inference.record import PredictionRecord, read_records
    from vitseg.runs import MASKS, PREDICTIONS, claim_predictions

    tiling = Tiling.checked(max_memory, blend, polygons, asked_for=tiles)
    targets = find_inputs(inputs)
    continues = has_interrupted(out / MASKS)
    earlier = read_records(out) if continues else {}
    if not continues:
        claim_predictions(out, overwrite)
    predictor = load(model, device, protocol or ())
    out.mkdir(parents=True, exist_ok=True)
    failures = 0
    with frame.progress() as bars, (out / PREDICTIONS).open("w", encoding="utf-8") as lines:
        task = bars.add_task("predict", total=len(targets))
        for path, name in targets:
            start = time.perf_counter()
            try:
                if tiles or is_large(path):
                    record = tiling.write(predictor, path, out, name, earlier, bars)
                    if not tiles:
                        frame.say(
                            f"{path} is too large to be decoded whole: segmented in tiles (--tiles)."
                        )
                else:
                    record = _write(predictor(path), path, out, name)
            except DataError as error:
                failures += 1
                frame.say(f"DataError: {error}", style="red")
                record = PredictionRecord(image=str(path), error=str(error))
            lines.write(record.timed(time.perf_counter() - start).to_line())
            lines.flush()
            bars.advance(task)
    typer.echo(f"{len(targets) - failures} of {len(targets)} images -> {out}")
    if failures:
        raise typer.Exit(2)


def _write(segmentation: Segmentation, path: Path, out: Path, name: str) -> PredictionRecord:
    """Mask and overlay of an image; returns their record."""
    from vitseg.inference.record import PredictionRecord
    from vitseg.runs import MASKS, OVERLAYS

    mask, overlay = out / MASKS / f"{name}.png", out / OVERLAYS / f"{name}.jpg"
    segmentation.save(mask)
    overlay.parent.mkdir(parents=True, exist_ok=True)
    segmentation.overlay().save(overlay, quality=92)
    height, width = segmentation.size
    return PredictionRecord(
        image=str(path),
        mask=str(mask.relative_to(out)),
        overlay=str(overlay.relative_to(out)),
        height=height,
        width=width,
        areas=segmentation.class_areas,
    )

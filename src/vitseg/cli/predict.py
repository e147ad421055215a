"""`vitseg predict`."""

from __future__ import annotations

import glob
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vitseg.cli import options
from vitseg.errors import ConfigError, DataError

if TYPE_CHECKING:
    from vitseg.types import Segmentation

LIST = "predictions.jsonl"


def predict(
    model: options.Model,
    inputs: Annotated[list[str], typer.Argument(help="Images, folders or globs.")],
    *,
    out: Annotated[Path, typer.Option(help="Folder for masks, overlays and the list.")],
    device: options.Device = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace predictions that are already in --out.")
    ] = False,
) -> None:
    """Segment images: indexed masks, overlays with a legend and one JSON line per image.

    An image that cannot be read is reported and left out; the exit code is then 2.
    """
    from rich.console import Console
    from rich.progress import Progress

    from vitseg.inference.predictor import load

    targets = find_inputs(inputs)
    if (out / LIST).exists() and not overwrite:
        raise ConfigError(
            f"--out {out} holds predictions already ({LIST}): give a new folder, or pass --overwrite."
        )
    predictor = load(model, device)
    out.mkdir(parents=True, exist_ok=True)
    console = Console(stderr=True)
    failures = 0
    with Progress(console=console) as progress, (out / LIST).open("w", encoding="utf-8") as lines:
        task = progress.add_task("predict", total=len(targets))
        for path, name in targets:
            start = time.perf_counter()
            try:
                entry = _write(predictor(path), out, name)
            except DataError as error:
                failures += 1
                console.print(f"DataError: {error}", style="red", highlight=False, soft_wrap=True)
                entry = {"error": str(error)}
            seconds = round(time.perf_counter() - start, 3)
            lines.write(json.dumps({"image": str(path), **entry, "seconds": seconds}) + "\n")
            lines.flush()
            progress.advance(task)
    typer.echo(f"{len(targets) - failures} of {len(targets)} images -> {out}")
    if failures:
        raise typer.Exit(2)


def _write(segmentation: Segmentation, out: Path, name: str) -> dict[str, Any]:
    mask, overlay = out / "masks" / f"{name}.png", out / "overlays" / f"{name}.jpg"
    segmentation.save(mask)
    overlay.parent.mkdir(parents=True, exist_ok=True)
    segmentation.overlay().save(overlay, quality=92)
    height, width = segmentation.size
    areas = {key: round(share, 6) for key, share in segmentation.class_areas.items()}
    return {
        "mask": str(mask.relative_to(out)),
        "overlay": str(overlay.relative_to(out)),
        "height": height,
        "width": width,
        "areas": areas,
    }


def find_inputs(inputs: list[str]) -> list[tuple[Path, str]]:
    """Image files with the names of their predictions (path below a given folder, without suffix).

    Raises:
        DataError: An input does not exist, a folder holds no image, or two images would get the same name.
    """
    from vitseg.images.decode import IMAGE_SUFFIXES

    found: dict[Path, Path] = {}
    for text in inputs:
        path = Path(text)
        if path.is_dir():
            images = [p for p in sorted(path.rglob("*")) if p.suffix.lower() in IMAGE_SUFFIXES]
            if not images:
                raise DataError(f"{path} holds no image ({', '.join(IMAGE_SUFFIXES)}).")
            found.update({image: image.relative_to(path) for image in images})
        elif path.is_file():
            found[path] = Path(path.name)
        else:
            matches = [Path(match) for match in sorted(glob.glob(text, recursive=True))]
            if not matches:
                raise DataError(f"{text} is no file, no folder, and matches nothing as a pattern.")
            found.update({match: Path(match.name) for match in matches if match.is_file()})
    return _named(found)


def _named(found: dict[Path, Path]) -> list[tuple[Path, str]]:
    stems = [str(relative.with_suffix("")) for relative in found.values()]
    named: dict[str, Path] = {}
    for (path, relative), stem in zip(found.items(), stems, strict=True):
        name = str(relative) if stems.count(stem) > 1 else stem
        if name in named:
            raise DataError(
                f"{named[name]} and {path} would both be written as {name}: give the folder that holds both, or run "
                "them into two --out folders."
            )
        named[name] = path
    return [(path, name) for name, path in named.items()]

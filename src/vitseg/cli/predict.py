"""`vitseg predict`."""

from __future__ import annotations

import contextlib
import glob
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vitseg.cli import options
from vitseg.errors import ConfigError, DataError

if TYPE_CHECKING:
    from vitseg.inference.segmentation import Segmentation

LIST, MASKS, OVERLAYS = "predictions.jsonl", "masks", "overlays"


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
    from rich.console import Console
    from rich.progress import Progress

    from vitseg.cli.predict_tiles import Tiling, has_interrupted, is_large
    from vitseg.inference.predictor import load

    tiling = Tiling.checked(max_memory, blend, polygons, asked_for=tiles)
    targets = find_inputs(inputs)
    continues = has_interrupted(out / MASKS)
    earlier = _listed(out) if continues else {}
    if not continues:
        _check_out(out, overwrite)
    predictor = load(model, device, protocol or ())
    out.mkdir(parents=True, exist_ok=True)
    console = Console(stderr=True)
    failures = 0
    with Progress(console=console) as progress, (out / LIST).open("w", encoding="utf-8") as lines:
        task = progress.add_task("predict", total=len(targets))
        for path, name in targets:
            start = time.perf_counter()
            try:
                if tiles or is_large(path):
                    entry = tiling.write(predictor, path, out, name, earlier, progress)
                    if not tiles:
                        line = f"{path} is too large to be decoded whole: segmented in tiles (--tiles)."
                        console.print(line, markup=False, highlight=False, soft_wrap=True)
                else:
                    entry = _write(predictor(path), out, name)
            except DataError as error:
                failures += 1
                line = f"DataError: {error}"
                console.print(line, style="red", markup=False, highlight=False, soft_wrap=True)
                entry = {"error": str(error)}
            seconds = round(time.perf_counter() - start, 3)
            lines.write(json.dumps({"image": str(path), **entry, "seconds": seconds}) + "\n")
            lines.flush()
            progress.advance(task)
    typer.echo(f"{len(targets) - failures} of {len(targets)} images -> {out}")
    if failures:
        raise typer.Exit(2)


def _listed(out: Path) -> dict[str, Any]:
    """The entries of an earlier list, by image; a line that was cut off is left out."""
    entries: dict[str, Any] = {}
    lines = (out / LIST).read_text(encoding="utf-8").splitlines() if (out / LIST).exists() else []
    for line in lines:
        with contextlib.suppress(ValueError):
            entry = json.loads(line)
            entries[entry["image"]] = entry
    return entries


def _check_out(out: Path, overwrite: bool) -> None:
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out} is a file: give a folder.")
    if (out / LIST).exists() and (out / LIST).stat().st_size:
        if not overwrite:
            raise ConfigError(
                f"--out {out} holds predictions already ({LIST}): give a new folder, or pass --overwrite. "
                "Nothing was changed."
            )
        return
    held = [name for name in (MASKS, OVERLAYS) if (out / name).exists()]
    if held:  # as in a data set folder, whose masks must not be replaced by predictions
        raise ConfigError(
            f"--out {out} has {' and '.join(held)} that no prediction wrote (there is no {LIST}): give a new folder. "
            "Nothing was changed."
        )


def _write(segmentation: Segmentation, out: Path, name: str) -> dict[str, Any]:
    mask, overlay = out / MASKS / f"{name}.png", out / OVERLAYS / f"{name}.jpg"
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
            images = [p for p in sorted(path.rglob("*")) if _is_image(p, IMAGE_SUFFIXES)]
            if not images:
                raise DataError(f"{path} holds no image ({', '.join(IMAGE_SUFFIXES)}).")
            found.update({image: image.relative_to(path) for image in images})
        elif path.is_file():
            found[path] = Path(path.name)
        else:
            matches = [Path(match) for match in sorted(glob.glob(text, recursive=True))]
            files = [match for match in matches if match.is_file()]
            if not files:
                raise DataError(f"{text} is no file, no folder, and matches no file as a pattern.")
            found.update({file: Path(file.name) for file in files})
    return _named(found)


def _is_image(path: Path, suffixes: tuple[str, ...]) -> bool:
    return path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()


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

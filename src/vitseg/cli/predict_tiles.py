"""`vitseg predict --tiles`: one large image to its label map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

from rich.progress import Progress

from vitseg.errors import ConfigError, DataError, unknown_name
from vitseg.images import decode
from vitseg.images.label_store import note_path
from vitseg.images.reader import has_rasterio
from vitseg.inference.blending import Blend
from vitseg.inference.predictor import Predictor
from vitseg.inference.record import PredictionRecord
from vitseg.inference.tile_plan import parse_memory
from vitseg.inference.tiles import predict_large, run_id
from vitseg.runs import MASKS, POLYGONS


@dataclass(frozen=True)
class Tiling:
    """The options of `--tiles`, checked.

    Attributes:
        max_memory: Bytes above the loaded model.
        blend: How overlapping windows are weighted.
        polygons: Whether GeoJSON files are written, too.
    """

    max_memory: int
    blend: Blend
    polygons: bool

    @classmethod
    def checked(cls, max_memory: str, blend: str, polygons: bool, asked_for: bool) -> Tiling:
        """From the words of the command line.

        Raises:
            ConfigError: A value is not allowed, or polygons are asked for without --tiles or without rasterio.
        """
        if blend not in get_args(Blend):
            raise ConfigError(f"--blend {unknown_name('way of blending', blend, get_args(Blend))}")
        if polygons and not asked_for:
            raise ConfigError("--polygons goes with --tiles: pass both.")
        if polygons and not has_rasterio():
            raise ConfigError("--polygons needs rasterio: pip install 'vitseg[geo]'.")
        return cls(parse_memory(max_memory), cast(Blend, blend), polygons)

    def write(
        self,
        predictor: Predictor,
        path: Path,
        out: Path,
        name: str,
        earlier: Mapping[str, PredictionRecord],
        progress: Progress,
    ) -> PredictionRecord:
        """Segment one image into `out`; returns its record.

        Args:
            predictor: The model.
            path: The image.
            out: The folder of all predictions.
            name: Name of this one.
            earlier: Records of a run that was interrupted, by image; what it finished is kept.
            progress: Gets a bar for this image.
        """
        mask = out / MASKS / f"{name}{'.tif' if has_rasterio() else '.png'}"
        outlines = out / POLYGONS / f"{name}.geojson" if self.polygons else None
        run = run_id(predictor, path, self.blend)
        before = earlier.get(str(path))
        files = [file for file in (mask, outlines) if file]
        if before is not None and before.run == run and all(file.exists() for file in files):
            return before
        task = progress.add_task(f"{path.name}, in tiles", total=1.0)
        try:
            result = predict_large(
                predictor,
                path,
                mask,
                self.max_memory,
                self.blend,
                outlines,
                lambda share: progress.update(task, completed=share),
            )
        finally:
            progress.remove_task(task)
        height, width = result.size
        return PredictionRecord(
            image=str(path),
            mask=str(mask.relative_to(out)),
            overlay=None,
            polygons=str(outlines.relative_to(out)) if outlines else None,
            height=height,
            width=width,
            areas=result.class_areas,
            run=run,
        )


def is_large(path: Path) -> bool:
    """Whether an image has more pixels than are decoded at once."""
    try:
        height, width = decode.image_size(path)
    except DataError:  # predicting it will say what is wrong
        return False
    return height * width > decode.MAX_PIXELS


def has_interrupted(masks: Path) -> bool:
    """Whether a folder of masks holds the beginning of one that `--tiles` was interrupted in."""
    return any(masks.rglob(note_path(Path("*")).name))

"""`vitseg predict --tiles`: one large image to its label map."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

from vitseg.errors import ConfigError, DataError, unknown_name
from vitseg.images import decode
from vitseg.inference.options import Blend, parse_memory
from vitseg.inference.record import PredictionRecord
from vitseg.runs import MASKS, POLYGONS

if TYPE_CHECKING:
    from rich.progress import Progress

    from vitseg.inference.config import InferenceConfig
    from vitseg.inference.predictor import Predictor


MAX_WHOLE_PIXELS = 64_000_000
"""Pixels that are run in one piece: attention takes time with their square, hours for a picture of twice as many."""


@dataclass(frozen=True)
class Tiling:
    """The options of `--tiles`, checked.

    Attributes:
        max_memory: Bytes above the loaded model.
        blend: How overlapping windows are weighted.
        polygons: Whether GeoJSON files are written, too.
        asked_for: Whether all images are run so, or only those that are too large to be decoded or run whole.
    """

    max_memory: int
    blend: Blend
    polygons: bool
    asked_for: bool

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
        if polygons and find_spec("rasterio") is None:
            raise ConfigError("--polygons needs rasterio: pip install 'vitseg[geo]'.")
        return cls(parse_memory(max_memory), cast(Blend, blend), polygons, asked_for)

    def settings(self) -> dict[str, Any]:
        """What the predictions depend on, by the names of the options."""
        return {"tiles": self.asked_for, "blend": self.blend, "polygons": self.polygons}

    def write(
        self,
        predictor: Predictor,
        path: Path,
        out: Path,
        name: str,
        run: str,
        progress: Progress,
    ) -> PredictionRecord:
        """Segment one image into `out`; returns its record.

        Args:
            predictor: The model.
            path: The image.
            out: The folder of all predictions.
            name: Name of this one.
            run: What its record says of model, options and image.
            progress: Gets a bar for this image.
        """
        from vitseg.images.reader import has_rasterio
        from vitseg.inference.tiles import predict_large

        mask = out / MASKS / f"{name}{'.tif' if has_rasterio() else '.png'}"
        outlines = out / POLYGONS / f"{name}.geojson" if self.polygons else None
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


def too_large_for(source: Path | bytes, inference: InferenceConfig) -> str:
    """What an image is too large for: to be "decoded" at once, or to be "run" in one piece; "" where it is neither.

    Args:
        source: The image, or the bytes of one.
        inference: How the model runs images.
    """
    try:
        height, width = decode.image_size(source)
    except DataError:  # predicting it will say what is wrong
        return ""
    if height * width > decode.MAX_PIXELS:
        return "decoded"
    if inference.mode != "whole":
        return ""
    run_height, run_width = inference.input_size((height, width), max(inference.scales))
    return "run" if run_height * run_width > MAX_WHOLE_PIXELS else ""

"""One image of `vitseg predict`: its files and its record, in this process or in a worker of a cluster."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.progress import Progress

from vitseg.cli import frame
from vitseg.cli.member import Failure, failure_of
from vitseg.cli.predict_tiles import Tiling, too_large_for
from vitseg.errors import DataError, InterruptedRunError
from vitseg.files import whole_file
from vitseg.images.label_raster import require_nameable
from vitseg.images.notices import say_notices
from vitseg.images.pixel_source import Notice
from vitseg.images.sources import StoredPicture
from vitseg.inference.prediction_folder import run_hash
from vitseg.inference.record import PredictionRecord
from vitseg.inference.targets import Content, FileTarget, Target
from vitseg.render.palette import encode
from vitseg.runs import MASKS, OVERLAYS

if TYPE_CHECKING:
    from vitseg.inference.predictor import Predictor
    from vitseg.inference.segmentation import Segmentation


@dataclass(frozen=True)
class Outcome:
    """What came of an image.

    Attributes:
        record: Its line.
        failure: Why there is no mask; None: there is one.
        said: What a worker logged meanwhile; in the command's own process it is logged at once.
        losses: Workers that ended in the middle of the image before.
        is_given_up: It was not tried again, for that reason.
    """

    record: PredictionRecord
    failure: Failure | None = None
    said: tuple[logging.LogRecord, ...] = field(default=())
    losses: int = 0
    is_given_up: bool = False


class ImageWriter:
    """Writes masks, and what belongs to them, into a folder of predictions.

    Args:
        predictor: The model.
        tiling: When and how images are run in tiles.
        out: The folder.
        settings: All that the predictions depend on, but for the images.
    """

    def __init__(
        self, predictor: Predictor, tiling: Tiling, out: Path, settings: Mapping[str, Any]
    ):
        self._predictor, self._tiling = predictor, tiling
        self._out, self._settings = out, settings

    def outcome(self, target: Target, content: Content, bars: Progress) -> Outcome:
        """Segment an image; what goes wrong is a part of what comes of it. With --debug, faults of ours leave.

        Args:
            target: The image.
            content: As it was read.
            bars: Get one for an image in tiles.
        """
        start = time.perf_counter()
        try:
            if isinstance(content, DataError):
                raise content
            record, failure = self._written(target, content, bars), None
        except InterruptedRunError:
            raise
        except Exception as error:
            failure = failure_of(error, target.image)
            if failure.is_ours and frame.is_debugging():
                raise
            record = PredictionRecord(image=target.image, error=failure.reason)
        return Outcome(record.timed(time.perf_counter() - start), failure)

    def _written(self, target: Target, content: bytes | None, bars: Progress) -> PredictionRecord:
        run = run_hash(self._settings, target)
        if isinstance(target, FileTarget):
            too_large = too_large_for(target.path, self._predictor.inference)
            if not self._tiling.asked_for and not too_large:
                return self._whole(self._predictor(target.path), target, run)
            record = self._tiling.write(
                self._predictor, target.path, self._out, target.name, run, bars
            )
            if not self._tiling.asked_for:
                text = (
                    f"too large to be {too_large} whole, and therefore segmented in tiles (--tiles)"
                )
                say_notices(target.image, [Notice("in-tiles", text)])
            return record

        assert content is not None
        if too_large := too_large_for(content, self._predictor.inference):
            raise DataError(
                f"{target.image} is too large to be {too_large} whole, and tiles are read from files only: save it as "
                "a file, and give that."
            )
        return self._whole(self._predictor(StoredPicture(content, target.image)), target, run)

    def _whole(self, segmentation: Segmentation, target: Target, run: str) -> PredictionRecord:
        """Write mask and overlay of an image, both or none."""
        out = self._out
        suffix = segmentation.suffix
        mask = out / MASKS / f"{target.name}{suffix}"
        overlay = out / OVERLAYS / f"{target.name}.jpg"
        require_nameable(mask)
        picture, scale = segmentation.preview()
        with whole_file(mask) as mask_file, whole_file(overlay) as overlay_file:
            segmentation.write(mask_file, suffix)
            overlay_file.write_bytes(encode(picture, "JPEG", quality=92))
        height, width = segmentation.size
        facts: dict[str, Any] = {} if scale == 1 else {"overlay_scale": round(scale, 4)}
        return PredictionRecord(
            image=target.image,
            mask=str(mask.relative_to(out)),
            overlay=str(overlay.relative_to(out)),
            height=height,
            width=width,
            areas=segmentation.class_areas,
            run=run,
            **facts,
        )

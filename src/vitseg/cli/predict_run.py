"""The images of `vitseg predict`, one by one: what goes wrong with one becomes its line, and the next follows."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.progress import Progress

from vitseg.cli import frame
from vitseg.cli.member import Failures, disk_full
from vitseg.cli.predict_tiles import Tiling, too_large_for
from vitseg.files import whole_file
from vitseg.images.notices import say_notices
from vitseg.images.pixel_source import Notice
from vitseg.inference.prediction_folder import PredictionFolder, Target
from vitseg.inference.record import PredictionRecord
from vitseg.render.palette import encode, label_image
from vitseg.runs import MASKS, OVERLAYS

if TYPE_CHECKING:
    from vitseg.inference.predictor import Predictor
    from vitseg.inference.segmentation import Segmentation


class Run:
    """Predicts images into a folder.

    Attributes:
        num_finished: Images whose predictions are there.
        failures: The others that were tried.
    """

    def __init__(self, predictor: Predictor, folder: PredictionFolder, tiling: Tiling):
        self._predictor, self._folder, self._tiling = predictor, folder, tiling
        self.num_finished = 0
        self.failures = Failures()
        self._num_kept = 0
        self._num_smaller = 0

    def all(self, targets: Sequence[Target]) -> None:
        """Predict what is not finished, until the end or until the disk is full."""
        with frame.progress() as bars:
            task = bars.add_task("predict", total=len(targets))
            for path, name in targets:
                if str(path) in self._folder.finished:
                    self._num_kept += 1
                    self.num_finished += 1
                else:
                    self._one(path, name, bars)
                bars.advance(task)
                if self.failures.disk_full is not None:
                    return
        with suppress(OSError):  # every line is there already
            self._folder.in_order()

    def closing_lines(self) -> Iterator[str]:
        """What is to be said at the end, beside the count."""
        if self._num_kept:
            yield f"{self._num_kept} were finished before and kept (--overwrite makes them anew)"
        if self._num_smaller:
            yield (
                f"overlays smaller than their images: {self._num_smaller}, since those are too large for a JPEG or "
                "to be looked at (overlay_scale in the list); masks have every pixel"
            )
        if self.failures.disk_full is not None:
            yield f"{self.failures.disk_full.strerror}: {self._folder.out}. Make room; the same command goes on."

    def _one(self, path: Path, name: str, bars: Progress) -> None:
        start = time.perf_counter()
        with self.failures.told(path):
            record = self._predicted(path, name, bars)
            self._folder.add(record.timed(time.perf_counter() - start))
            self.num_finished += 1
        if self.failures.last is not None:
            record = PredictionRecord(image=str(path), error=self.failures.last)
            try:
                self._folder.add(record.timed(time.perf_counter() - start))
            except OSError as error:
                if disk_full(error) is None:
                    raise

    def _predicted(self, path: Path, name: str, bars: Progress) -> PredictionRecord:
        out, run = self._folder.out, self._folder.run_of(path)
        too_large = too_large_for(path, self._predictor.inference)
        if self._tiling.asked_for or too_large:
            record = self._tiling.write(self._predictor, path, out, name, run, bars)
            if not self._tiling.asked_for:
                text = (
                    f"too large to be {too_large} whole, and therefore segmented in tiles (--tiles)"
                )
                say_notices(str(path), [Notice("in-tiles", text)])
            return record
        record = write_prediction(self._predictor(path), path, out, name, run)
        self._num_smaller += record.overlay_scale is not None
        return record


def write_prediction(
    segmentation: Segmentation, path: Path, out: Path, name: str, run: str
) -> PredictionRecord:
    """Write mask and overlay of an image, both or none; returns their record."""
    mask, overlay = out / MASKS / f"{name}.png", out / OVERLAYS / f"{name}.jpg"
    picture, scale = segmentation.preview()
    contents = {
        mask: encode(label_image(segmentation.label_map, segmentation.classes), "PNG"),
        overlay: encode(picture, "JPEG", quality=92),
    }
    with ExitStack() as files:
        for file, content in contents.items():
            files.enter_context(whole_file(file)).write_bytes(content)
    height, width = segmentation.size
    facts: dict[str, Any] = {} if scale == 1 else {"overlay_scale": round(scale, 4)}
    return PredictionRecord(
        image=str(path),
        mask=str(mask.relative_to(out)),
        overlay=str(overlay.relative_to(out)),
        height=height,
        width=width,
        areas=segmentation.class_areas,
        run=run,
        **facts,
    )

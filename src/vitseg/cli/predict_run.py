"""The images of `vitseg predict`: what goes wrong with one becomes its line, and the others follow."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, suppress

from rich.progress import Progress

from vitseg.cli import frame
from vitseg.cli.member import Failures, disk_full
from vitseg.cli.predict_image import ImageWriter, Outcome
from vitseg.errors import first_names
from vitseg.inference.prediction_folder import PredictionFolder
from vitseg.inference.record import PredictionRecord
from vitseg.inference.targets import Target, read_all

Engine = Callable[[Sequence[Target], Progress], Generator[Outcome, None, None]]
"""What segments images and writes their files: gives what came of each, once, in any order."""

_log = logging.getLogger("vitseg")


def in_this_process(writer: ImageWriter) -> Engine:
    """The engine that takes one image after the other, in their order."""

    def engine(targets: Sequence[Target], bars: Progress) -> Generator[Outcome, None, None]:
        for target, content in read_all(targets):
            yield writer.outcome(target, content, bars)

    return engine


class Run:
    """Predicts images into a folder.

    Attributes:
        num_finished: Images whose predictions are there.
        failures: The others that were tried.
    """

    def __init__(self, engine: Engine, folder: PredictionFolder):
        self._engine, self._folder = engine, folder
        self.num_finished = 0
        self.failures = Failures()
        self._num_kept = 0
        self._is_overwriting = folder.is_overwriting
        self._num_smaller = 0
        self._lost: list[str] = []
        self._said: set[str] = set()

    def all(self, targets: Sequence[Target]) -> None:
        """Predict what is not finished, until the end or until the disk is full."""
        left = [target for target in targets if target.image not in self._folder.finished]
        self.num_finished = self._num_kept = len(targets) - len(left)
        with frame.progress() as bars:
            task = bars.add_task("predict", total=len(targets), completed=self._num_kept)
            with closing(self._engine(left, bars)) as outcomes:
                for outcome in outcomes:
                    self._take(outcome)
                    bars.advance(task)
                    if self.failures.disk_full is not None:
                        return
        with suppress(OSError):  # every line is there already
            self._folder.in_order()
            self._folder.complete()

    def closing_lines(self) -> Iterator[str]:
        """What is to be said at the end, beside the count."""
        if self._num_kept:
            way = (
                "by the same command, which was interrupted"
                if self._is_overwriting
                else "(--overwrite makes them anew)"
            )
            yield f"{self._num_kept} were finished before and kept {way}"
        if self._num_smaller:
            yield (
                f"overlays smaller than their images: {self._num_smaller}, since those are too large for a JPEG or "
                "to be looked at (overlay_scale in the list); masks have every pixel"
            )
        if self._lost:
            yield f"run again, since their workers ended: {first_names(self._lost)}"
        if self.failures.disk_full is not None:
            yield f"{self.failures.disk_full.strerror}: {self._folder.out}. Make room; the same command goes on."

    def _take(self, outcome: Outcome) -> None:
        self._relay(outcome.said)
        failure, record = outcome.failure, outcome.record
        if failure is None:
            with self.failures.told(record.image):
                self._folder.add(record)
                self.num_finished += 1
                self._num_smaller += record.overlay_scale is not None
            if outcome.losses:
                self._lost.append(record.image)
            if self.failures.last is None:
                return
            error = PredictionRecord(image=record.image, error=self.failures.last)
            record = error.timed(record.seconds)
        elif failure.is_ours and frame.is_debugging():
            raise RuntimeError(failure.where)
        else:
            self.failures.add(failure)
        try:
            self._folder.add(record)
        except OSError as error:
            if disk_full(error) is None:
                raise

    def _relay(self, said: Sequence[logging.LogRecord]) -> None:
        """Log what workers said: of a picture each time, of the model, which each of them loads, once."""
        for each in said:
            if getattr(each, "picture", None) is None:
                if each.getMessage() in self._said:
                    continue
                self._said.add(each.getMessage())
            _log.handle(each)

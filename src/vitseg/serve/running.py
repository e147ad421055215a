"""Models at work: tasks in, labels out. Runs in the process of the models, or in a replica of a cluster."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from vitseg.checkpoint.model_dir import ModelRecord
from vitseg.errors import ConfigError, DataError, VitsegError, is_out_of_memory
from vitseg.inference.predictor import Predictor, load
from vitseg.inference.scores import (
    OutputScores,
    ScoreMap,
    label_map,
    labels_and_confidence,
    resized,
)
from vitseg.methods.model import SegmentationModel
from vitseg.outputs import SegOutput
from vitseg.runtimes.graph_model import OtherSizeError
from vitseg.runtimes.places import FORMATS, find_model, hashes
from vitseg.serve.jobs import WHOLE_PIXELS, Failure, Result, Served, Task
from vitseg.serve.places import Hashes, ModelPlaces, require_same
from vitseg.serve.views import compute_view, views_of

MOST_WHOLE_PIXELS = 4 * WHOLE_PIXELS
"""Beyond these an image takes minutes and much memory in one piece."""

FAILED = "the model failed on this image"

OVERLAP = 4
"""Windows of a large image overlap by this part of their side, as those of `vitseg predict --tiles`."""


class StoppedError(Exception):
    """Nobody waits for the result any more."""


class _Watched(Predictor):
    """A predictor that asks before every forward pass, as of each window, whether somebody still waits."""

    check: Callable[[], None] = staticmethod(lambda: None)

    def run(self, images: Tensor) -> SegOutput:
        self.check()
        return super().run(images)


class Runner:
    """Loaded models.

    Args:
        places: Where they are.
        is_gone: Whether the client of a task, by its number, has left.
        known: Hashes of the models as they were loaded first; None: this is the first time.

    Raises:
        VitsegError: A model is missing, damaged or cannot be run here.
        ChangedError: A model is not the one that was loaded first.
    """

    def __init__(
        self,
        places: ModelPlaces,
        is_gone: Callable[[int], bool] = lambda number: False,
        known: Mapping[str, Hashes] | None = None,
    ):
        if places.threads is not None:
            torch.set_num_threads(places.threads)
        self._is_gone = is_gone
        self._threads = ThreadPoolExecutor(torch.get_num_threads(), thread_name_prefix="batch")
        self._predictors: dict[str, _Watched] = {}
        self._in_windows: dict[str, _Watched] = {}
        self.served: list[Served] = []
        for name, place in places.models.items():
            model = find_model(place)
            found = hashes(model)
            if known is not None:
                require_same(name, place, found, known)
            own = load(model, places.device, places.protocol, dtype=places.dtype)
            watched = _watched(own, own.record)
            self._predictors[name] = watched
            self._in_windows[name] = _watched(own, in_windows(own.record))
            self.served.append(_served(name, place, own, found))

    def run(self, tasks: Sequence[Task]) -> list[Result | Failure]:
        """One outcome for each task; several are images of one model that are run at one size, see `batch_key`."""
        started = time.monotonic()
        try:
            found = self._run(tasks)
        except StoppedError as stopped:
            return [stopped.args[0]] * len(tasks)
        except Exception as error:
            if len(tasks) > 1:  # one of them alone may be the reason
                return [outcome for task in tasks for outcome in self.run([task])]
            return [_failure(error)]
        seconds = time.monotonic() - started
        return [
            replace(one, forward=seconds, batch=len(tasks)) if isinstance(one, Result) else one
            for one in found
        ]

    def _run(self, tasks: Sequence[Task]) -> list[Result | Failure]:
        first = tasks[0]
        predictor = self._predictors[first.model]
        if len(tasks) == 1:
            predictor, check = self._for(first), lambda: self._require_wanted(first)
            predictor.check = check
            check()
            if first.view is not None:
                shown = compute_view(predictor, first.pixels, first.view, first.class_index)
                return [Result(None, view=shown)]
            with torch.inference_mode():
                found = _labelled(first, predictor.scores(first.pixels))
            if predictor is self._in_windows[first.model]:
                found = replace(found, windows=predictor.inference.crop_size)
            return [found]
        return self._together(predictor, tasks)

    def _together(self, predictor: _Watched, tasks: Sequence[Task]) -> list[Result | Failure]:
        """Images that are run at one size: a torch model on a CPU has a part of them for each of its threads.

        Threads that share an image wait for each other after every operation, and for whoever else uses their core.
        """
        predictor.check = lambda: None
        predictor.model.eval()
        threads = torch.get_num_threads()
        num_parts = min(len(tasks), threads) if predictor.device.type == "cpu" else 1
        if num_parts == 1 or not isinstance(predictor.model, SegmentationModel):
            return _forward(predictor, tasks)

        def run_part(index: int) -> list[Result | Failure]:
            torch.set_num_threads(max(1, threads // num_parts))  # of this thread
            return _forward(predictor, tasks[index::num_parts])

        parts = [self._threads.submit(run_part, index) for index in range(num_parts)]
        wait(parts)  # all, also where one fails: the models are then free
        return [parts[at % num_parts].result()[at // num_parts] for at in range(len(tasks))]

    def _for(self, task: Task) -> _Watched:
        """The predictor of a task; in windows where its image is too large for one piece.

        Raises:
            DataError: It is far too large for one piece, and windows are no way: a view is of the whole, and a
                protocol that enlarges images means another scale.
        """
        own = self._predictors[task.model]
        if own.inference.mode != "whole" and task.view is None:
            return own
        height, width = own.inference.input_size((task.pixels.shape[0], task.pixels.shape[1]))
        if height * width <= WHOLE_PIXELS:
            return own
        if own.inference.resize is None and task.view is None:
            return self._in_windows[task.model]
        if height * width > MOST_WHOLE_PIXELS:
            raise DataError(
                f"the image would be run at {width}x{height} pixels in one piece, but at most {MOST_WHOLE_PIXELS:,} "
                "are: scale it down, or cut it into parts."
            )
        return own

    def _require_wanted(self, task: Task) -> None:
        if self._is_gone(task.number):
            raise StoppedError(Failure("gone", "the client has left"))
        if time.monotonic() > task.deadline:
            raise StoppedError(Failure("late", "the time of the request is over"))


@torch.inference_mode()
def _forward(predictor: Predictor, tasks: Sequence[Task]) -> list[Result | Failure]:
    """Images that are run at one size, in one forward pass."""
    sizes = [(task.pixels.shape[0], task.pixels.shape[1]) for task in tasks]
    input_size = predictor.inference.input_size(sizes[0])
    images = [predictor.model_input(task.pixels, input_size) for task in tasks]
    output = predictor.run(torch.cat(images))
    found: list[Result | Failure] = []
    for index, (task, size) in enumerate(zip(tasks, sizes, strict=True)):
        try:
            found.append(_labelled(task, resized(OutputScores(output, index), size)))
        except VitsegError as error:  # scores of this one that are no numbers
            found.append(_failure(error))
    return found


def in_windows(record: ModelRecord) -> ModelRecord:
    """A model's record with windows of its training size, which run images of any size in bounded memory.

    Its views are those of its own protocol.
    """
    height, width = record.image_size
    views = {
        name: record.inference[name] for name in ("scales", "flip") if name in record.inference
    }
    protocol = {
        **views,
        "mode": "slide",
        "crop_size": record.image_size,
        "stride": (height - height // OVERLAP, width - width // OVERLAP),
        "blend": "cosine",
    }
    return record.model_copy(update={"inference": protocol})


def _watched(own: Predictor, record: ModelRecord) -> _Watched:
    watched = _Watched(own.model, record, own.device)
    watched.dtype = own.dtype  # the model is in these numbers already
    return watched


def _served(name: str, place: str, own: Predictor, found: Hashes) -> Served:
    record = own.record
    return Served(
        name,
        record.method,
        FORMATS.get(Path(place).suffix.lower(), "directory"),
        record.classes,
        record.preprocessing,
        own.inference.model_dump(mode="json"),
        record.image_size,
        views_of(own),
        found,
    )


def _labelled(task: Task, scores: ScoreMap) -> Result:
    if not task.confidence:
        return Result(label_map(scores))
    labels, confidence = labels_and_confidence(scores)
    return Result(labels, _in_bytes(confidence))


def _in_bytes(shares: np.ndarray) -> UInt8[np.ndarray, "H W"]:
    return np.rint(shares * np.float32(255)).astype(np.uint8)


def _failure(error: Exception) -> Failure:
    """What a client is told of an error, and what the log is."""
    detail = "".join(traceback.format_exception(error))
    if isinstance(error, DataError):
        return Failure("unusable", str(error))
    if isinstance(error, OtherSizeError):
        (height, width), (own_height, own_width) = error.wanted, error.size
        return Failure(
            "unusable",
            f"the model takes images of {width}x{height} pixels alone, but this one is run at {own_width}x"
            f"{own_height}: send one of that size.",
        )
    if is_out_of_memory(error):
        return Failure(
            "unavailable", "the model ran out of memory on this image: send a smaller one", detail
        )
    is_plain = isinstance(error, VitsegError) and not set("/\\") & set(str(error))  # names no file
    if isinstance(error, ConfigError):
        message = str(error) if is_plain else "this model cannot do what is asked of it"
        return Failure("unusable", message, "" if is_plain else detail)
    return Failure("unavailable", str(error) if is_plain else FAILED, detail)

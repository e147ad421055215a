"""From the bytes of an image to what a model says of it: what all kinds of requests share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Int64, Integer, UInt8

from vitseg.images.bands import to_rgb
from vitseg.inference.segmentation import class_counts
from vitseg.serve.admission import Admission, Place
from vitseg.serve.engine import Answered, Engine, before
from vitseg.serve.jobs import Result, Served, Task
from vitseg.serve.masks import Mask, chosen
from vitseg.serve.metrics import Metrics, timed
from vitseg.serve.problems import UnknownError
from vitseg.serve.settings import IMAGE_FORMATS, ServeSettings
from vitseg.serve.uploads import Pixels, Upload, decoded, has_costly_header, inspect

DECODERS = 2
"""Images that are decoded at a time, and answers that are encoded: more would take the models' processors away."""

Value = TypeVar("Value")


class Segmented(NamedTuple):
    """What a model made of an image.

    Attributes:
        label_map: Class index of every pixel, of the image as it is shown; `masks.left_out` where it holds no data.
        class_names: Names in index order.
        confidence: Probability of the label of every pixel, in [0, 1]; None: not known.
    """

    label_map: Integer[np.ndarray, "H W"]
    class_names: Sequence[str]
    confidence: Float[np.ndarray, "H W"] | None = None


@dataclass(frozen=True)
class Computed:
    """What a model said of an image.

    Attributes:
        served: The model.
        result: Labels, confidence or a view.
        pixels: What it was run on.
        notices: What was decided about the image, in sentences.
        waited: Seconds in the queue.
        valid: Which pixels hold data; labels of the others mean nothing. None: all.
    """

    served: Served
    result: Result
    pixels: UInt8[np.ndarray, "H W c"]
    notices: tuple[str, ...]
    waited: float
    valid: Bool[np.ndarray, "H W"] | None = None

    @property
    def labels(self) -> Integer[np.ndarray, "H W"]:
        """Class index of every pixel, where labels were asked for; `masks.left_out` where there is no data."""
        return self.mask(None).labels

    def mask(self, wanted: tuple[int, ...] | None) -> Mask:
        """Labels of some classes, where labels were asked for.

        Args:
            wanted: Their indices; None: all.
        """
        assert self.result.labels is not None
        return chosen(self.result.labels, self.served.classes, wanted, self.valid)

    def class_counts(
        self, weights: UInt8[np.ndarray, "H W"] | None = None
    ) -> Int64[np.ndarray, " k"]:
        """How many pixels with data each class has, or the sum of their weights, which are 0 where there is none."""
        assert self.result.labels is not None
        if weights is None and self.valid is not None:
            weights = self.valid.view(np.uint8)
        return class_counts(self.result.labels, self.served.classes.num_classes, weights)

    @property
    def picture(self) -> UInt8[np.ndarray, "H W 3"]:
        """The image as it is shown."""
        return to_rgb(self.pixels, self.served.preprocessing.bands)


class Service:
    """Everything between a request's bytes and the models.

    Args:
        engine: Runs them.
        settings: Limits.
    """

    def __init__(self, engine: Engine, settings: ServeSettings):
        self.engine = engine
        self.settings = settings
        self.admission = Admission(settings.max_requests, settings.max_waiting_pixels)
        self.metrics = Metrics()
        self.metrics.watch("vitseg_queue_length", "Images in the queue", lambda: engine.waiting)
        self.metrics.watch(
            "vitseg_requests_in_progress", "Requests", lambda: self.admission.requests
        )
        self.metrics.watch("vitseg_pixels_in_progress", "Pixels", lambda: self.admission.pixels)
        self._ordinary = ThreadPoolExecutor(DECODERS, thread_name_prefix="pixels")
        # what may take long is decoded by one at a time, and holds up none but its like
        self._costly = ThreadPoolExecutor(1, thread_name_prefix="costly")

    @property
    def is_ready(self) -> bool:
        """Whether requests are taken."""
        return self.admission.state == "ready" and self.engine.is_ready

    def model(self, name: str | None) -> Served:
        """A model by its name; the first where none is given.

        Raises:
            UnknownError: There is none of this name.
        """
        if self.admission.state == "starting":  # one that was let in is finished, also at the end
            self.admission.require_ready()
        served = self.engine.served
        if not name:
            return next(iter(served.values()))
        if name not in served:
            raise UnknownError(f"there is no model {name[:100]!r}. Served: {', '.join(served)}.")
        return served[name]

    def deadline(self, asked: float | None) -> float:
        """When a request that arrives now has to be answered, in seconds of `time.monotonic`.

        Args:
            asked: Seconds that its client allows; never more than the server does.
        """
        own = self.settings.timeout
        return time.monotonic() + (own if asked is None else min(asked, own))

    async def compute(
        self,
        place: Place,
        content: bytes,
        model: Served,
        deadline: float,
        confidence: bool = False,
        view: str | None = None,
        class_index: int | None = None,
    ) -> Computed:
        """Run a model on an image.

        Args:
            place: Of the request.
            content: The image file.
            model: From `model`.
            deadline: From `deadline`.
            confidence: Whether the probability of every label is asked for.
            view: What to show instead of labels.
            class_index: Of which class.

        Raises:
            Problem: There is no result; its status says why.
        """
        upload = await self.inspect(content, deadline)
        place.add_pixels(upload.pixels)
        pixels = await self.decode(content, upload, model, deadline)
        return await self.run(pixels, model, deadline, confidence, view, class_index)

    async def inspect(self, content: bytes, deadline: float) -> Upload:
        """Look at the header of an image file; raises a `Problem` where it is not taken."""
        limits = self.settings
        is_slow = await self.off_loop(partial(has_costly_header, content, IMAGE_FORMATS), deadline)
        look = partial(inspect, content, IMAGE_FORMATS, limits.max_pixels, limits.timeout)
        return await self.off_loop(look, deadline, is_slow)

    async def decode(
        self, content: bytes, upload: Upload, model: Served, deadline: float
    ) -> Pixels:
        """The pixels of an image file as a model reads them; raises a `Problem` where there are none.

        Args:
            content: The file.
            upload: From `inspect`; its pixels have a place.
            model: From `model`.
            deadline: From `deadline`.
        """
        limits = self.settings
        read = partial(decoded, content, model.preprocessing, limits.max_pixels, limits.timeout)
        with self.engine.expect(), timed(self.metrics.decode):
            return await self.off_loop(read, deadline, upload.is_costly)

    async def run(
        self,
        pixels: Pixels,
        model: Served,
        deadline: float,
        confidence: bool = False,
        view: str | None = None,
        class_index: int | None = None,
    ) -> Computed:
        """Run a model on pixels, which have a place; see `compute`."""
        task = Task(model.name, pixels.values, confidence, view, class_index, deadline)
        answered: Answered = await self.engine.run(task)
        self.metrics.waiting.observe(answered.waited)
        self.metrics.forward.observe(answered.result.forward)
        self.metrics.batch.observe(answered.result.batch)
        self.admission.note(answered.result.forward / answered.result.batch)
        result, valid = answered.result, pixels.valid
        notices = (*pixels.notices, *_notices(result))
        if valid is not None and result.confidence is not None:
            result = replace(result, confidence=result.confidence * valid)
        return Computed(model, result, pixels.values, notices, answered.waited, valid)

    async def segment(self, place: Place, model: str | None, image: bytes) -> Segmented:
        """The labels of an image, with the probability of each, in the time that a request has.

        Args:
            place: Of the request, which may have several.
            model: Its name; None: the first.
            image: The bytes of an image file.

        Raises:
            Problem: There is no result.
        """
        deadline = self.deadline(None)
        served = self.model(model)
        computed = await self.compute(place, image, served, deadline, confidence=True)
        return Segmented(computed.labels, served.classes.names, computed.result.probability)

    async def encode(self, encode: Callable[[], Value], deadline: float) -> Value:
        """Turn a result into an answer, beside the event loop.

        Args:
            encode: What does it.
            deadline: Of the request.
        """
        with timed(self.metrics.encode):
            return await self.off_loop(encode, deadline)

    async def off_loop(
        self, work: Callable[[], Value], deadline: float, is_costly: bool = False
    ) -> Value:
        """Have something done in a thread.

        Raises:
            LateError: The deadline is over before it is done.
        """
        pool = self._costly if is_costly else self._ordinary
        async with before(deadline):
            return await asyncio.get_running_loop().run_in_executor(pool, work)

    def close(self) -> None:
        """End the threads."""
        self._ordinary.shutdown(wait=False, cancel_futures=True)
        self._costly.shutdown(wait=False, cancel_futures=True)


def _notices(result: Result) -> tuple[str, ...]:
    """What was decided about an image where it was run."""
    if result.windows is None:
        return ()
    height, width = result.windows
    return (
        f"the image is too large to be run in one piece: it was run in windows of {width}x{height} pixels",
    )

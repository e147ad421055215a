"""Who may come in: requests and pixels that are worked on or wait are counted, and bounded.

Whoever would have to wait longer than it can is refused at once, by how long the models took for the last ones.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from vitseg.serve.problems import BusyError, UnavailableError

State = Literal["starting", "ready", "draining"]

LATEST = 0.1
"""Weight of the latest request in the mean of how long one takes."""

SHARE = 0.8
"""Of the time that a request has, what waiting may take by that mean: some take longer."""


class Place:
    """The place of a request among those that are in."""

    def __init__(self, admission: Admission):
        self._admission = admission
        self.pixels = 0

    def add_pixels(self, pixels: int) -> None:
        """Take room for an image, once its header is known.

        Raises:
            BusyError: There is none.
        """
        own = self._admission
        if own.pixels + pixels > own.max_pixels and own.pixels > 0:
            raise BusyError(
                f"{own.pixels:,} pixels wait already, of at most {own.max_pixels:,}: try again later."
            )
        own.pixels += pixels
        self.pixels += pixels

    @contextmanager
    def one_image(self) -> Iterator[None]:
        """Give the room that is taken within it back at its end: for requests whose images come one after the other."""
        before = self.pixels
        try:
            yield
        finally:
            self._admission.pixels -= self.pixels - before
            self.pixels = before


class Admission:
    """Counts those who are in. Used by one thread, that of the event loop.

    Args:
        max_requests: Requests at most.
        max_pixels: Pixels of their images at most; one image may have more, if it is alone.

    Attributes:
        seconds: That a request took the models, as a mean of the last ones.
    """

    def __init__(self, max_requests: int, max_pixels: int):
        self.max_requests = max_requests
        self.max_pixels = max_pixels
        self.state: State = "starting"
        self.requests = 0
        self.pixels = 0
        self.seconds = 0.0

    def note(self, seconds: float) -> None:
        """Learn how long a request took the models."""
        self.seconds += (seconds - self.seconds) * (LATEST if self.seconds else 1.0)

    @contextmanager
    def enter(self, deadline: float) -> Iterator[Place]:
        """A place for the time of a request.

        Args:
            deadline: Of the request, in seconds of `time.monotonic`.

        Raises:
            UnavailableError: The server starts or ends.
            BusyError: There is no place, or those before it take longer than it has time.
        """
        self.require_ready()
        expected = self.requests * self.seconds
        if self.requests and expected > SHARE * (deadline - time.monotonic()):
            raise BusyError(
                f"the {self.requests} requests before this one take about {expected:.1f} s: try again later."
            )
        if self.requests >= self.max_requests:
            raise BusyError(
                f"{self.requests} requests wait already, which is the most: try again later."
            )
        self.requests += 1
        place = Place(self)
        try:
            yield place
        finally:
            self.requests -= 1
            self.pixels -= place.pixels

    def require_ready(self) -> None:
        """Raise UnavailableError unless requests are taken."""
        if self.state == "starting":
            raise UnavailableError("the models are being loaded: try again in some seconds.")
        if self.state == "draining":
            raise UnavailableError("the server ends, and takes no more requests.")

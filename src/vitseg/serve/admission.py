"""Who may come in: requests and pixels that are worked on or wait are counted, and bounded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from vitseg.serve.problems import BusyError, UnavailableError

State = Literal["starting", "ready", "draining"]


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


class Admission:
    """Counts those who are in. Used by one thread, that of the event loop.

    Args:
        max_requests: Requests at most.
        max_pixels: Pixels of their images at most; one image may have more, if it is alone.
    """

    def __init__(self, max_requests: int, max_pixels: int):
        self.max_requests = max_requests
        self.max_pixels = max_pixels
        self.state: State = "starting"
        self.requests = 0
        self.pixels = 0

    @contextmanager
    def enter(self) -> Iterator[Place]:
        """A place for the time of a request.

        Raises:
            UnavailableError: The server starts or ends.
            BusyError: There is no place.
        """
        self.require_ready()
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

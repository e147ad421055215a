"""Numbers for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """What is counted and timed, of one server."""

    def __init__(self):
        self.registry = CollectorRegistry()
        self.answers = Counter(
            "vitseg_requests", "Answers by status code", ["code"], registry=self.registry
        )
        self.decode = self._seconds("vitseg_decode_seconds", "From bytes to pixels")
        self.waiting = self._seconds("vitseg_queue_seconds", "From pixels to the model")
        self.forward = self._seconds("vitseg_forward_seconds", "In the model, of a whole batch")
        self.encode = self._seconds("vitseg_encode_seconds", "From labels to the answer")
        self.batch = Histogram(
            "vitseg_batch_size",
            "Images that were run together",
            buckets=(1, 2, 4, 8, 16, 32),
            registry=self.registry,
        )

    def watch(self, name: str, what: str, value: Callable[[], float]) -> None:
        """Show a number as it is when it is asked for."""
        Gauge(name, what, registry=self.registry).set_function(value)

    def text(self) -> bytes:
        """All of them, in the text format of Prometheus."""
        return generate_latest(self.registry)

    def _seconds(self, name: str, what: str) -> Histogram:
        return Histogram(name, what, buckets=SECONDS, registry=self.registry)


@contextmanager
def timed(histogram: Histogram) -> Iterator[None]:
    """Note how long the block took, unless it fails."""
    started = monotonic()
    yield
    histogram.observe(monotonic() - started)

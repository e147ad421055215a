"""What a run shows on the screen."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINE_SECONDS = 30.0
"""Where there is no terminal, a plain line is printed this often instead of a bar."""


class Display:
    """A progress bar on a terminal, plain lines in a log file, nothing when quiet."""

    def __init__(self, quiet: bool = False):
        self.console = Console(quiet=quiet, stderr=True)
        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[facts]}"),
            TimeRemainingColumn(),
            console=self.console,
            disable=quiet or not self.console.is_terminal,
        )
        self._task = self._bar.add_task("train", total=None, facts="")
        self._rate: float | None = None
        self._last_step = time.monotonic()
        self._last_line = 0.0
        self._iterations = 0

    def started(self, facts: str) -> None:
        """Say what is trained on what."""
        self.console.print(facts, soft_wrap=True, highlight=False, markup=False)

    @contextlib.contextmanager
    def training(self, first: int, iterations: int) -> Iterator[None]:
        """The bar of a run from iteration `first`."""
        self._iterations = iterations
        self._last_step = time.monotonic()
        self._bar.update(self._task, total=iterations, completed=first)
        with contextlib.nullcontext() if self._bar.disable else self._bar:
            yield

    def step(
        self, iteration: int, loss: float, lr: float, batch_size: int, waiting: float
    ) -> float:
        """Show one iteration; returns images per second (smoothed).

        Args:
            iteration: Its number.
            loss: Of the step.
            lr: Learning rate of the step.
            batch_size: Images of the step.
            waiting: Share of the time that waits for data, smoothed.
        """
        now = time.monotonic()
        rate = batch_size / max(now - self._last_step, 1e-9)
        self._last_step = now
        self._rate = rate if self._rate is None else 0.95 * self._rate + 0.05 * rate
        facts = f"loss {loss:.3f}  lr {lr:.2e}  {self._rate:.1f} images/s  waiting {waiting:.0%}"
        self._bar.update(self._task, completed=iteration, facts=facts)
        if not self.console.is_terminal and now - self._last_line > LINE_SECONDS:
            self._last_line = now
            left = (self._iterations - iteration) * batch_size / self._rate / 60
            self.console.print(
                f"iteration {iteration}/{self._iterations}  {facts}  {left:.0f} min left"
            )
        return self._rate

    def counting(self, num_images: int) -> contextlib.AbstractContextManager[Callable[[], None]]:
        """A bar while the classes of the training masks are counted; gives what to call after each mask."""
        self.started(f"counting the classes of {num_images} masks")
        return self._transient_bar("count classes", num_images)

    def caching(self, num_views: int) -> contextlib.AbstractContextManager[Callable[[], None]]:
        """A bar while features are computed and kept; gives what to call after each view."""
        self.started(f"computing the features of {num_views} views")
        return self._transient_bar("compute features", num_views)

    def scoring(self, num_images: int) -> contextlib.AbstractContextManager[Callable[[], None]]:
        """A bar while a model is scored after its training; gives what to call after each image."""
        self.started(f"scoring {num_images} images")
        return self._transient_bar("score", num_images)

    @contextlib.contextmanager
    def _transient_bar(self, name: str, total: int) -> Iterator[Callable[[], None]]:
        console = self.console
        bar = Progress(console=console, transient=True, disable=not console.is_terminal)
        with contextlib.nullcontext() if bar.disable else bar:  # as in `vitseg.cli.frame.progress`
            task = bar.add_task(name, total=total)
            yield lambda: bar.advance(task)

    @contextlib.contextmanager
    def validation(self, num_images: int) -> Iterator[Callable[[], None]]:
        """A second bar while validating; yields what to call after each image."""
        task = self._bar.add_task("validate", total=num_images, facts="")
        try:
            yield lambda: self._bar.advance(task)
        finally:
            self._bar.remove_task(task)
            self._last_step = time.monotonic()

    def validated(self, iteration: int, miou: float, best: float | None) -> None:
        """Report a validation."""
        note = "  (best so far)" if best is None or miou > best else f"  (best {100 * best:.2f})"
        self.console.print(f"iteration {iteration}: mIoU {100 * miou:.2f}{note}")

    def stalled(self, iteration: int, validations: int) -> None:
        """Say that a run ends before its last iteration.

        Args:
            iteration: Where it ends.
            validations: Those without a better score.
        """
        times = "1 validation" if validations == 1 else f"{validations} validations"
        self.started(
            f"no better score in {times}: the run is over at iteration {iteration} (a larger training.patience and "
            "--resume go on)"
        )

    def finished(self, best: object) -> None:
        """Say where the best model is."""
        self.console.print(f"best model: {best}", soft_wrap=True, highlight=False, markup=False)

"""A display that keeps what it is told."""

from __future__ import annotations

from vitseg.training.display import Display


class Lines(Display):
    """What is shown, as a list."""

    def __init__(self):
        super().__init__(quiet=True)
        self.lines: list[str] = []

    def started(self, facts: str) -> None:
        self.lines.append(facts)

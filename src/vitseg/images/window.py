"""A rectangle of an image."""

from __future__ import annotations

from typing import NamedTuple


class Window(NamedTuple):
    """A rectangle in pixels."""

    top: int
    left: int
    height: int
    width: int

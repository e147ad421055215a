"""Resizes and means by matrix products, which every runtime of a graph computes alike.

Runtimes have resizes by cubic functions, with antialias and means over cells for maps of any size of their own, where
they have them at all. torch's own are what the references were computed with, and cost no multiply-adds.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

_asked = False


@contextmanager
def by_products() -> Iterator[None]:
    """Within it layers that can do so compute by products: for graphs that are traced."""
    global _asked
    before, _asked = _asked, True
    try:
        yield
    finally:
        _asked = before


def are_asked() -> bool:
    """Whether products are asked for."""
    return _asked

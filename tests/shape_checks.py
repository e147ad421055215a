"""What checks signatures while the tests run, where only the shapes are to be checked; see `conftest.py`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from beartype import beartype

SHAPED = re.compile(r"\b(Float|Int|UInt|Integer|Bool|Num|Shaped)\d*\[")


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, whose tensors and arrays are checked on every call; other arguments are whatever they are."""
    every = function.__annotations__
    shaped = {name: hint for name, hint in every.items() if SHAPED.search(str(hint))}
    if not shaped:
        return function
    function.__annotations__ = shaped
    try:
        return beartype(function)
    finally:
        function.__annotations__ = every

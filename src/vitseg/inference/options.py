"""What the options of a prediction may say. Nothing here imports torch, so that a wrong word is refused at once."""

from __future__ import annotations

import re
from typing import Literal

from vitseg.errors import ConfigError

Blend = Literal["mean", "cosine"]
"""Weights of a window's pixels where windows overlap; see `window_weights`."""

UNITS = {
    "": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip


def parse_memory(text: str) -> int:
    """Bytes of a text such as 500MB, 4GB (powers of 1000) or 2GiB (powers of 1024).

    Raises:
        ConfigError: It is not written so, or none.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", text)
    unit = match and UNITS.get(match[2].lower())
    if match is None or unit is None:
        raise ConfigError(
            f"memory {text!r} is not a number of bytes: write it as 500MB, 4GB or 2GiB."
        )
    found = int(float(match[1]) * unit)
    if found == 0:
        raise ConfigError(f"memory {text!r} is none: give what may be used, such as 4GB.")
    return found

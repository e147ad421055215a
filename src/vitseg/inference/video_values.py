"""Video frames of more than 8 bits, as industrial and scientific cameras write them (grey or RGB, FFV1 or raw)."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import UInt8

from vitseg.images.pixel_source import Notice
from vitseg.images.value_range import FULL, ValueRange, to_bytes

RANGE_OF_TYPE = Notice(
    "range-of-type",
    f"frames of 16 bits, of which 0 to {FULL:,} is taken for black to white: where they use a part of it, state that "
    "with --value-range",
)


def frame_pixels(frame: Any, declared: ValueRange | None) -> UInt8[np.ndarray, "H W 3"]:
    """RGB of a frame of PyAV.

    Luma and chroma have a fixed meaning at each depth; so a declared range is for grey and RGB frames of more than 8
    bits.

    Args:
        frame: The frame.
        declared: Black and white, if they are stated, in the frame's own values.
    """
    bits = _bits(frame)
    if declared is None or bits <= 8:
        return frame.to_ndarray(format="rgb24")
    step = 2 ** (16 - bits)  # values come shifted to 16 bits
    limits = ValueRange(declared.low * step, declared.high * step)
    return to_bytes(frame.to_ndarray(format="rgb48le"), limits)


def needs_range(frame: Any) -> bool:
    """Whether nothing but the type of a frame's values says which are black and white."""
    return _bits(frame) == 16


def _bits(frame: Any) -> int:
    """Bits of a value of a grey or RGB frame; 8 for all others."""
    components = frame.format.components
    is_grey = len(components) == 1 and not frame.format.has_palette
    if not is_grey and not frame.format.is_rgb:
        return 8
    return max((component.bits for component in components), default=8)

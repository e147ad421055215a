"""8-bit RGB <-> HSV with 180 levels of hue: the arithmetic that the published models were trained with.

Hue counts steps of two degrees. Pillow's HSV, with its 256 levels of hue, differs by up to 13 grey levels. The library
behind the published training truncates when it goes back to RGB, except in the last columns of a row, which do not
fill a vector of the processor and are rounded. Which columns these are depends on the processor, by one grey level;
here everything is truncated.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

NUM_HUES = 180
_BITS = 12  # of the fixed-point fractions
_HALF = 1 << (_BITS - 1)


def _fractions(numerator: float) -> np.ndarray:
    """Numerator / i in fixed point for i = 0, ..., 255; 0 for i = 0."""
    table = np.zeros(256, np.int32)
    table[1:] = np.rint(numerator * (1 << _BITS) / np.arange(1, 256))
    return table


_SATURATION_OF = _fractions(255)  # by the value
_HUE_OF = _fractions(NUM_HUES / 6)  # by the chroma


def rgb_to_hsv(
    image: UInt8[np.ndarray, "H W 3"],
) -> tuple[UInt8[np.ndarray, "H W"], UInt8[np.ndarray, "H W"], UInt8[np.ndarray, "H W"]]:
    """Hue in [0, 180), saturation and value in [0, 255]."""
    red, green, blue = (image[..., channel].astype(np.int16) for channel in range(3))
    value = np.maximum(np.maximum(red, green), blue)
    chroma = value - np.minimum(np.minimum(red, green), blue)
    saturation = (chroma.astype(np.int32) * _SATURATION_OF[value] + _HALF) >> _BITS
    sector = np.where(
        value == red,
        green - blue,
        np.where(value == green, blue - red + 2 * chroma, red - green + 4 * chroma),
    )
    hue = (sector.astype(np.int32) * _HUE_OF[chroma] + _HALF) >> _BITS
    hue[hue < 0] += NUM_HUES
    return hue.astype(np.uint8), saturation.astype(np.uint8), value.astype(np.uint8)


def hsv_to_rgb(
    hue: UInt8[np.ndarray, "H W"],
    saturation: UInt8[np.ndarray, "H W"],
    value: UInt8[np.ndarray, "H W"],
) -> UInt8[np.ndarray, "H W 3"]:
    """The inverse of `rgb_to_hsv`: colours in [0, 255], truncated to whole numbers."""
    levels = value.astype(np.float32)
    loss = levels * (
        saturation * np.float32(1 / 255)
    )  # what a channel loses that the hue lacks altogether
    image = np.empty((*hue.shape, 3), np.uint8)
    for channel, lacking in enumerate(_LACKING):
        image[..., channel] = levels - loss * lacking[hue]
    return image


def _lacking(place: float) -> np.ndarray:
    """Share of a channel that the pure colour of each hue lacks; at `place`, in sixths of the circle, it lacks none."""
    sixths = np.arange(256, dtype=np.float32) * np.float32(6 / NUM_HUES)
    distance = np.abs((sixths - np.float32(place) + 3) % 6 - 3)
    return (distance - 1).clip(0, 1)


_LACKING = [_lacking(place) for place in (0, 2, 4)]

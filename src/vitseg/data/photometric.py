"""Photometric distortion: brightness, contrast, saturation and hue of a training image."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from vitseg.data.hsv import NUM_HUES, hsv_to_rgb, rgb_to_hsv

_MAX_BRIGHTNESS = 32.0  # grey levels of [0, 255]
_FACTORS = (0.5, 1.5)  # of contrast and of saturation
_MAX_HUE_STEPS = 18  # of 2 degrees

_LEVELS = np.arange(256, dtype=np.float32)


def distort(
    image: UInt8[np.ndarray, "H W 3"], rng: np.random.Generator
) -> UInt8[np.ndarray, "H W 3"]:
    """A variation of the colours of `image`, each of the four changes with probability 1/2.

    Constants and order are those of the published models: [-32, 32] grey levels are added to the brightness; the
    contrast is multiplied by [0.5, 1.5], at this place or at the end, with equal probability; the saturation is
    multiplied by [0.5, 1.5]; the hue is turned by -36 to 34 degrees in steps of 2. Values are clipped and truncated to
    8 bits after each change.
    """
    contrast_first = rng.random() < 0.5
    levels = _LEVELS
    if rng.random() < 0.5:
        levels = _truncated(levels + rng.uniform(-_MAX_BRIGHTNESS, _MAX_BRIGHTNESS))
    if contrast_first and rng.random() < 0.5:
        levels = _truncated(levels * rng.uniform(*_FACTORS))
    if levels is not _LEVELS:
        image = levels.astype(np.uint8)[image]
    saturation = rng.uniform(*_FACTORS) if rng.random() < 0.5 else None
    hue_steps = int(rng.integers(-_MAX_HUE_STEPS, _MAX_HUE_STEPS)) if rng.random() < 0.5 else None
    # Not in one conversion: as published, each of the two goes to HSV and back, and loses the same fractions.
    if saturation is not None:
        hue, chroma, value = rgb_to_hsv(image)
        table = _truncated(_LEVELS * saturation).astype(np.uint8)
        image = hsv_to_rgb(hue, table[chroma], value)
    if hue_steps is not None:
        hue, chroma, value = rgb_to_hsv(image)
        image = hsv_to_rgb(_TURNED[hue_steps][hue], chroma, value)
    if not contrast_first and rng.random() < 0.5:
        image = _truncated(_LEVELS * rng.uniform(*_FACTORS)).astype(np.uint8)[image]
    return image


def brighten(
    image: UInt8[np.ndarray, "H W c"], rng: np.random.Generator
) -> UInt8[np.ndarray, "H W c"]:
    """A variation of the brightness and the contrast of chosen bands, each with probability 1/2, alike in all of them.

    The constants are those of `distort`. What light does to one band it does to all, so their ratios nearly stay.
    """
    levels = _LEVELS
    if rng.random() < 0.5:
        levels = _truncated(levels + rng.uniform(-_MAX_BRIGHTNESS, _MAX_BRIGHTNESS))
    if rng.random() < 0.5:
        levels = _truncated(levels * rng.uniform(*_FACTORS))
    return image if levels is _LEVELS else levels.astype(np.uint8)[image]


def _truncated(levels: np.ndarray) -> np.ndarray:
    return np.floor(np.clip(levels, 0, 255))


_TURNED = {
    steps: ((np.arange(256) + steps) % NUM_HUES).astype(np.uint8)
    for steps in range(-_MAX_HUE_STEPS, _MAX_HUE_STEPS)
}
"""The hue that each hue becomes, by the number of steps."""

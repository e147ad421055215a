"""Photometric distortion: brightness, contrast, saturation and hue of a training image."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8
from PIL import Image

_MAX_BRIGHTNESS = 32.0  # grey levels of [0, 255]
_FACTORS = (0.5, 1.5)  # of contrast and of saturation
_MAX_HUE_STEPS = 18  # of 2 degrees

_LEVELS = np.arange(256, dtype=np.float32)


def distort(
    image: UInt8[np.ndarray, "H W 3"], rng: np.random.Generator
) -> UInt8[np.ndarray, "H W 3"]:
    """A variation of the colours of `image`, each of the four changes with probability 1/2.

    The constants of the published models, in their order: brightness plus [-32, 32] grey levels;
    contrast times [0.5, 1.5], here or last by a coin; saturation times [0.5, 1.5]; hue by -36 to 34
    degrees in steps of 2. Values are clipped and truncated to 8 bits after each change. The published
    models count 180 levels of hue and Pillow 256, so that colours differ from theirs by rounding.
    """
    contrast_first = rng.random() < 0.5
    levels = _LEVELS
    if rng.random() < 0.5:
        levels = _truncated(levels + rng.uniform(-_MAX_BRIGHTNESS, _MAX_BRIGHTNESS))
    if contrast_first and rng.random() < 0.5:
        levels = _truncated(levels * rng.uniform(*_FACTORS))
    saturation = rng.uniform(*_FACTORS) if rng.random() < 0.5 else 1.0
    hue_steps = int(rng.integers(-_MAX_HUE_STEPS, _MAX_HUE_STEPS)) if rng.random() < 0.5 else 0

    picture = Image.fromarray(image).point(_table(levels) * 3)
    if saturation != 1.0 or hue_steps:
        hue = (np.arange(256) + round(hue_steps * 256 / 180)) % 256
        table = _table(hue) + _table(_truncated(_LEVELS * saturation)) + _table(_LEVELS)
        picture = picture.convert("HSV").point(table).convert("RGB")
    if not contrast_first and rng.random() < 0.5:
        picture = picture.point(_table(_truncated(_LEVELS * rng.uniform(*_FACTORS))) * 3)
    return np.array(picture)


def _truncated(levels: np.ndarray) -> np.ndarray:
    return np.floor(np.clip(levels, 0, 255))


def _table(levels: np.ndarray) -> list[int]:
    return levels.astype(int).tolist()

"""How far apart two colours look, and colours that look as different as possible."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Float64, Shaped

GRID_STEP = 15
"""Distance of the candidates' channels: 18 steps from 0 to 255."""

_KEPT_FREE = ((0, 0, 0), (255, 255, 255))
"""Colours that are no class': ignored pixels are black, lines between classes white."""

# CIE XYZ of linear sRGB (IEC 61966-2-1), and CIECAM02's matrices of cone responses (CIE 159:2004).
_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)  # fmt: skip
_CAT02 = np.array([[0.7328, 0.4296, -0.1624], [-0.7036, 1.6975, 0.0061], [0.0030, 0.0136, 0.9834]])
_CONES = np.array([[0.38971, 0.68898, -0.07868], [-0.22981, 1.18340, 0.04641], [0.0, 0.0, 1.0]])
_WHITE = np.array([95.047, 100.0, 108.883])  # D65
_LIGHT = 64 / np.pi / 5  # luminance around an sRGB screen, cd/m2
_BACKGROUND = 0.2  # of white


def perceptual(colors: Shaped[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 3"]:
    """Places in CAM02-UCS, in which distances are as large as colours look different (Luo, Cui and Li, 2006).

    Args:
        colors: sRGB in [0, 255], on a screen in an average surround.
    """
    shares = np.asarray(colors, dtype=np.float64) / 255
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    base = 0.725 * _BACKGROUND**-0.2
    cones = _responses(100 * linear @ _XYZ.T)
    red, green, blue = cones.T
    a = red - 12 * green / 11 + blue / 11
    b = (red + green - 2 * blue) / 9
    hue = np.arctan2(b, a)
    white = _achromatic(_responses(_WHITE[None]), base)
    exponent = 0.69 * (1.48 + np.sqrt(_BACKGROUND))
    lightness = 100 * np.maximum(_achromatic(cones, base) / white, 0) ** exponent
    eccentricity = (np.cos(hue + 2) + 3.8) / 4
    strength = 50000 / 13 * base * eccentricity * np.hypot(a, b) / (red + green + 21 / 20 * blue)
    chroma = strength**0.9 * np.sqrt(lightness / 100) * (1.64 - 0.29**_BACKGROUND) ** 0.73
    colorfulness = np.log1p(0.0228 * chroma * _adaptation() ** 0.25) / 0.0228
    return np.column_stack(
        [
            1.7 * lightness / (1 + 0.007 * lightness),
            colorfulness * np.cos(hue),
            colorfulness * np.sin(hue),
        ]
    )


def distances(colors: Shaped[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n n"]:
    """How different each two colours look: 1 is hardly seen side by side, 10 easily, black and white are 100 apart."""
    places = perceptual(colors)
    return np.linalg.norm(places[:, None] - places, axis=2)


def farthest_colors(
    count: int, taken: tuple[tuple[int, int, int], ...] = ()
) -> list[tuple[int, int, int]]:
    """Colours of which each is the one that looks most different from all before it, and from black and white.

    The first colours are the same whatever the count, and always the same.

    Args:
        count: How many, all distinct up to 18 ** 3.
        taken: Colours that they are to look different from as well.
    """
    room = min(max(64, 1 << (count - 1).bit_length()), 18**3)
    found = _sequence(count if taken else room, taken)
    return [found[number % len(found)] for number in range(count)]


@lru_cache(maxsize=16)
def _sequence(
    count: int, taken: tuple[tuple[int, int, int], ...]
) -> tuple[tuple[int, int, int], ...]:
    channel = np.arange(0, 256, GRID_STEP)
    grid = np.stack(np.meshgrid(channel, channel, channel, indexing="ij"), axis=-1).reshape(-1, 3)
    places = perceptual(grid)
    free = np.full(len(grid), np.inf)
    for place in perceptual(np.array([*_KEPT_FREE, *taken])):
        free = np.minimum(free, np.square(places - place).sum(axis=1))
    found = []
    for _ in range(min(count, len(grid))):
        # rounded, so that the last bits on another machine cannot change which is farthest
        farthest = int(free.round(6).argmax())
        found.append(tuple(int(value) for value in grid[farthest]))
        free = np.minimum(free, np.square(places - places[farthest]).sum(axis=1))
        free[farthest] = -1.0
    return tuple(found)


def _adaptation() -> float:
    """FL, to which degree the eye is used to the light."""
    share = 1 / (5 * _LIGHT + 1)
    return 0.2 * share**4 * 5 * _LIGHT + 0.1 * (1 - share**4) ** 2 * (5 * _LIGHT) ** (1 / 3)


def _responses(xyz: np.ndarray) -> np.ndarray:
    """Cone responses after adaptation to white and light."""
    white = _CAT02 @ _WHITE
    degree = 1 - np.exp((-_LIGHT - 42) / 92) / 3.6
    adapted = xyz @ _CAT02.T * (degree * 100 / white + 1 - degree)
    cones = adapted @ np.linalg.inv(_CAT02).T @ _CONES.T
    power = (_adaptation() * np.abs(cones) / 100) ** 0.42
    return np.sign(cones) * 400 * power / (power + 27.13) + 0.1


def _achromatic(cones: np.ndarray, base: float) -> np.ndarray:
    return (2 * cones[:, 0] + cones[:, 1] + cones[:, 2] / 20 - 0.305) * base

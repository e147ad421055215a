"""How well a mask lies on its image: whether the image has edges where the mask has borders, in each of several turns.

Of the image, the strength of the edge between each two neighbouring pixels is taken by rank, less the mean of its
surroundings; it is averaged over the borders of the mask. How far that stands out is told by the same average with the
mask shifted by a few pixels, in 64 ways: the score is its distance from theirs in standard deviations. A mask that has
nothing to do with the picture scores about 0 with a deviation of 1, on a textured picture as on a smooth one, and so
does a right one in a wrong turn; in the right turn, masks of photos score 8 to 17.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float32, Float64, Integer, UInt8
from PIL import Image
from scipy.ndimage import uniform_filter

from vitseg.images.orientation import on_its_side, upright
from vitseg.types import Size

LONG_SIDE = 192
"""Pixels of the long side at which image and mask are compared."""

SMALLEST = 24
"""Pixels of the short side, at that scale, below which nothing is told."""

FEWEST_BORDERS = 56
"""Pairs of neighbouring pixels of different ids, at that scale, below which nothing is told."""

_MOST_BORDERS = 1000  # of a direction; of more, evenly spread ones
_SURROUNDINGS = 11  # pixels
_FARTHEST = 11  # pixels by which a mask is shifted
_STEPS = (
    -11,
    -9,
    -7,
    -5,
    5,
    7,
    9,
    11,
)  # both ways at once: along itself, a straight border stays where the edge is
_SHIFTS = np.array([(0, 0), *((down, right) for down in _STEPS for right in _STEPS)])
_LEAST_DEVIATION = (
    0.0075  # as photos have it; drawings have less, in which a chance hit would count for much
)


def fit_scores(
    image: UInt8[np.ndarray, "h w 3"],
    raw_ids: Integer[np.ndarray, "H W"],
    turns: Iterable[int],
    stretched: bool = False,
) -> dict[int, float]:
    """The score of the mask in each turn that fits the size of the image; none if there is too little to tell by.

    Args:
        image: The upright image, perhaps at a smaller size.
        raw_ids: The mask.
        turns: Orientations, 1 to 8, by which the mask is turned; 1 leaves it as it is.
        stretched: Whether a mask that is turned on its side is stretched to the size of the image: one whose
            coordinates are fractions of it.
    """
    height, width = raw_ids.shape
    scale = min(1.0, LONG_SIDE / max(height, width, 1))
    size = (round(height * scale), round(width * scale))
    if min(size) < SMALLEST:
        return {}
    small = _sampled(raw_ids, size)
    num_borders = int((small[1:] != small[:-1]).sum() + (small[:, 1:] != small[:, :-1]).sum())
    if num_borders < FEWEST_BORDERS:
        return {}
    picture = Image.fromarray(image).resize(size[::-1], Image.Resampling.BOX)
    down, right = _edges(np.asarray(picture, np.float32))
    placed = {}
    for turn in turns:
        if not on_its_side(turn) or height == width:
            placed[turn] = upright(small, turn)
        elif stretched:
            placed[turn] = upright(_sampled(raw_ids, (size[1], size[0])), turn)
    agreements = {turn: _agreements(down, right, mask) for turn, mask in placed.items()}
    # one deviation for all, so that the turn in which borders and edges agree most scores most
    deviation = max(
        float(np.mean([each[1:].var() for each in agreements.values()])) ** 0.5, _LEAST_DEVIATION
    )
    return {
        turn: float((each[0] - each[1:].mean()) / deviation) for turn, each in agreements.items()
    }


def _sampled(raw_ids: Integer[np.ndarray, "H W"], size: Size) -> Integer[np.ndarray, "h w"]:
    rows, columns = (
        ((np.arange(count) + 0.5) * whole / count).astype(int)
        for count, whole in zip(size, raw_ids.shape, strict=True)
    )
    return raw_ids[rows][:, columns]


def _edges(picture: Float32[np.ndarray, "h w 3"]) -> tuple[np.ndarray, np.ndarray]:
    """How much stronger each edge is than those around it, by rank: of neighbours above each other, and side by side.

    Returns:
        (h - 1, w) and (h, w - 1), about 0 on average, within [-1, 1].
    """
    steps = [np.abs(np.diff(picture, axis=axis)).max(axis=2) for axis in (0, 1)]
    together = np.concatenate([each.ravel() for each in steps])
    _, place, counts = np.unique(together, return_inverse=True, return_counts=True)
    ranks = ((np.cumsum(counts) - counts / 2) / len(together)).astype(np.float32)[place]
    down = ranks[: steps[0].size].reshape(steps[0].shape)
    right = ranks[steps[0].size :].reshape(steps[1].shape)
    return down - uniform_filter(down, _SURROUNDINGS), right - uniform_filter(right, _SURROUNDINGS)


def _agreements(
    down: Float32[np.ndarray, "h1 w"],
    right: Float32[np.ndarray, "h w1"],
    mask: Integer[np.ndarray, "h w"],
) -> Float64[np.ndarray, " shifts"]:
    """How strong the edges at the borders of a mask are, for each of `_SHIFTS`.

    The borders are quartered by where they lie; of the four means the second lowest counts, so that one straight border
    that meets some long edge by chance is not enough.
    """
    strengths, places = [], []
    for edges, borders in ((down, mask[1:] != mask[:-1]), (right, mask[:, 1:] != mask[:, :-1])):
        rows, columns = np.nonzero(borders)
        step = len(rows) // _MOST_BORDERS + 1
        rows, columns = rows[::step], columns[::step]
        padded = np.pad(edges, _FARTHEST)
        shifted = rows + _SHIFTS[:, :1] + _FARTHEST, columns + _SHIFTS[:, 1:] + _FARTHEST
        strengths.append(padded[shifted])  # (shifts, borders)
        places.append(np.stack([rows, columns]))
    strength = np.concatenate(strengths, axis=1, dtype=np.float64)
    rows, columns = np.concatenate(places, axis=1)
    below, beyond = rows > np.median(rows), columns > np.median(columns)
    quarter = 2 * below + beyond
    means = [strength[:, part].mean(axis=1) for n in range(4) if (part := quarter == n).any()]
    return np.sort(means, axis=0)[min(1, len(means) - 1)]

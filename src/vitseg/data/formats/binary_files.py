"""One binary mask: which pixels of a picture are inside, by one rule for every form in which such masks are saved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Integer

from vitseg.errors import DataError
from vitseg.images.decode import (
    MAX_PIXELS,
    decode_image,
    decode_layers,
    decode_mask,
    read_header,
)

RULE = "inside is what is at least half white, or half opaque in a cut-out"
"""The rule in words, for people."""

Seen = Callable[[Path, Integer[np.ndarray, "H W"]], object]
"""Takes the file of a mask, and the values by which was decided what is inside."""

_LOSSY = ("JPEG", "WEBP", "PPM")

_MOST_IDS = 5  # ids up to which numbers beside white are taken for ids


def read_inside(path: Path, seen: Seen = lambda path, values: None) -> Bool[np.ndarray, "H W"]:
    """Where a binary mask is inside.

    Of a cut-out (a picture with an opacity that varies), what is at least half opaque. Else by the brightest channel:
    where the picture reaches half of white, what is at least that bright, so that the soft borders of JPEG and of
    resizing fall on the nearer side; in a darker one, whose values are numbers such as 0 and 1, what is not 0.

    Args:
        path: The file.
        seen: Called with what was compared with half of white.

    Raises:
        DataError: The file is damaged, too large or no picture, or has ids and white, which as an id counts nowhere.
    """
    header = read_header(path)
    if header.size[0] * header.size[1] > MAX_PIXELS:
        raise DataError(
            f"{path} is {header.size[1]}x{header.size[0]} pixels, but at most {MAX_PIXELS:,} are decoded."
        )
    if header.mode in ("RGB", "RGBA", "LA", "PA", "P") and header.format not in _LOSSY:
        return _of_picture(path, seen)
    if header.format in _LOSSY:
        values = decode_image(path).max(axis=2)
    else:
        values = decode_mask(path)
        _require_no_ids(path, values)
    seen(path, values)
    return _bright(values)


def ids_beside_white(values: Sequence[int]) -> list[int]:
    """The ids of a mask that has, beside them and 0, white alone, which as an id counts nowhere; of others none.

    Args:
        values: The distinct values of the mask, ascending.
    """
    ids = [value for value in values[:-1] if value]
    return ids if values[-1] in (255, 65535) and ids and ids[-1] <= _MOST_IDS else []


def _require_no_ids(path: Path, values: Integer[np.ndarray, "H W"]) -> None:
    if not ((values > 0) & (values <= _MOST_IDS)).any():
        return  # as of most masks that are read while training; the distinct values take ten times as long
    if ids := ids_beside_white(np.unique(values).tolist()):
        raise DataError(
            f"{path} has white ({values.max()}) and {', '.join(map(str, ids))}, so it is no binary mask: as an id, "
            "white would count nowhere; as a picture, white alone would be inside. Save it with two values; or, where "
            "there is one mask for each image, list the classes of 0 and 1 and ignore_index: 255."
        )


def between_share(values: Integer[np.ndarray, "H W"]) -> float:
    """The share of pixels that are neither the lowest nor the highest value: 0 of a binary mask.

    Of a soft border each step is a value; values within 2 % of either end, as JPEG leaves them, are that end.
    """
    low, high = int(values.min()), int(values.max())
    margin = (high - low) // 50
    between = (values > low + margin) & (values < high - margin)
    return float(between.mean())


def _of_picture(path: Path, seen: Seen) -> Bool[np.ndarray, "H W"]:
    colors, opacity, indices = decode_layers(path)
    if indices is not None:
        _require_no_ids(path, indices)
    if opacity is not None and opacity.min() != opacity.max():
        seen(path, opacity)
        return opacity >= 128
    brightest = colors.max(axis=2)
    if indices is None or (colors == colors[:, :, :1]).all():
        if indices is None or brightest.min() != brightest.max():
            seen(path, brightest)
            return _bright(brightest)
        return indices != 0  # a palette of one colour: the numbers are what is meant
    return brightest != 0


def _bright(values: Integer[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    top = int(values.max())
    white = 255 if top <= 255 else 65535
    return values >= (white + 1) // 2 if 2 * top > white else values != 0

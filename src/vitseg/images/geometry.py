"""The resize rule of the papers: which size an image gets, and how its pixels and labels are sampled."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Integer, UInt8

from vitseg.errors import ConfigError
from vitseg.images.window import Window


def keep_ratio_size(
    size: tuple[int, int], long_limit: int, short_limit: int, min_short: int | None = None
) -> tuple[int, int]:
    """The largest (height, width) of the same shape whose sides stay within both limits, at least one pixel.

    With `min_short` the rule is another: the short side becomes `short_limit`, but at least `min_short`, and the long
    side whatever the shape asks. This is SegViT's min-size rule (COCO-Stuff, PASCAL-Context) and SETR's multi-scale
    rule, in both of which no image may be smaller than the crop.

    Args:
        size: (height, width) of the image.
        long_limit: Limit of the longer side in pixels.
        short_limit: Limit of the shorter side in pixels.
        min_short: Least length of the shorter side in pixels; the longer side has no limit then.

    Raises:
        ConfigError: The limits are not positive, or `short_limit` exceeds `long_limit`.
    """
    if not 0 < short_limit <= long_limit:
        raise ConfigError(
            f"the limits of the long and the short side are {long_limit} and {short_limit}, "
            "but they must be positive, the long one not below the short one."
        )
    height, width = size
    if min_short is not None:
        scale = max(short_limit, min_short) / min(height, width)
    else:
        scale = min(long_limit / max(height, width), short_limit / min(height, width))
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


def resize_image(
    image: UInt8[np.ndarray, "H W c"], size: tuple[int, int], window: Window | None = None
) -> UInt8[np.ndarray, "_ _ c"]:
    """Bilinear, half-pixel centres, no antialias, rounded: the convention of the published models.

    Args:
        image: RGB, or chosen bands.
        size: (height, width) of the whole resized image.
        window: The part of the resized image to return, within `size`; only this part is computed.
            None: all of it.
    """
    if window is not None:
        return _resize_window(image, size, window)
    if image.shape[:2] == size:
        return image
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None]  # (1, 3, H, W)
    planes = F.interpolate(pixels, size=size, mode="bilinear", align_corners=False)[0].numpy()
    return np.stack([*planes], axis=-1)  # (H, W, 3); five times faster than a transposed copy


def resize_labels(
    label_map: Integer[np.ndarray, "H W"], size: tuple[int, int], window: Window | None = None
) -> Integer[np.ndarray, "_ _"]:
    """Nearest: pixel i of the result is pixel floor(i * old / new) of `label_map`.

    Args:
        label_map: Labels or ids; no new value arises.
        size: (height, width) of the whole resized map.
        window: The part of the resized map to return, within `size`. None: all of it.
    """
    if window is None:
        window = Window(0, 0, *size)
    rows = np.arange(window.top, window.top + window.height) * label_map.shape[0] // size[0]
    columns = np.arange(window.left, window.left + window.width) * label_map.shape[1] // size[1]
    return label_map[rows[:, None], columns]


def _resize_window(image: np.ndarray, size: tuple[int, int], window: Window) -> np.ndarray:
    """In NumPy: data loaders call this beside the training step, which has torch's threads."""
    above, below, row_weights = _neighbours(image.shape[0], size[0], window.top, window.height)
    left, right, column_weights = _neighbours(image.shape[1], size[1], window.left, window.width)
    part = image[above[0] : below[-1] + 1, left[0] : right[-1] + 1].astype(np.float32)
    rows = _blend(
        part.take(above - above[0], axis=0),
        part.take(below - above[0], axis=0),
        row_weights[:, None, None],
    )  # (h, columns of the part, 3)
    pixels = _blend(
        rows.take(left - left[0], axis=1),
        rows.take(right - left[0], axis=1),
        column_weights[:, None],
    )  # (h, w, 3)
    return np.rint(pixels, out=pixels).astype(np.uint8)


def _neighbours(
    old: int, new: int, start: int, length: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Along one axis: the two old pixels between which each new one lies, and the second's weight."""
    places = (np.arange(start, start + length) + 0.5) * (old / new) - 0.5
    places = places.clip(0, old - 1)
    first = places.astype(np.int64)
    second = np.minimum(first + 1, old - 1)
    return first, second, (places - first).astype(np.float32)


def _blend(first: np.ndarray, second: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """`first` moved by `weights` towards `second`, in place of both."""
    second -= first
    second *= weights
    first += second
    return first

"""The eight orientations of EXIF and TIFF: from the pixels as stored to the picture as it is shown."""

from __future__ import annotations

import numpy as np

from vitseg.images.window import Window

# Orientation -> whether rows and columns change places, and whether the stored rows and columns are mirrored.
_TURNS = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, True, False),
    7: (True, True, True),
    8: (True, False, True),
}


TURNS_IN_WORDS = {
    2: "mirrored left to right",
    3: "turned by 180 degrees",
    4: "mirrored top to bottom",
    5: "mirrored along the diagonal from the upper left",
    6: "turned by 90 degrees clockwise",
    7: "mirrored along the diagonal from the upper right",
    8: "turned by 90 degrees counterclockwise",
}
"""What `upright` does with the pixels."""


def on_its_side(orientation: int) -> bool:
    """Whether height and width change places."""
    return _TURNS[orientation][0]


def upright(stored: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels (H, W, ...) turned upright; contiguous.

    Args:
        stored: Pixels or labels as they lie in the file.
        orientation: 1 to 8; 1 leaves them as they are.
    """
    swap, mirror_rows, mirror_columns = _TURNS[orientation]
    turned = stored[::-1] if mirror_rows else stored
    turned = turned[:, ::-1] if mirror_columns else turned
    return np.ascontiguousarray(turned.swapaxes(0, 1) if swap else turned)


def inverse(orientation: int) -> int:
    """The orientation that undoes another, so that `upright` with one and then the other changes nothing."""
    return {6: 8, 8: 6}.get(orientation, orientation)


def upright_size(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """(height, width) of the upright picture."""
    return (size[1], size[0]) if on_its_side(orientation) else size


def stored_window(window: Window, size: tuple[int, int], orientation: int) -> Window:
    """Where the pixels of a window of the upright picture are stored.

    Args:
        window: In the upright picture.
        size: (height, width) as stored.
        orientation: 1 to 8.
    """
    swap, mirror_rows, mirror_columns = _TURNS[orientation]
    top, left, height, width = window
    if swap:
        top, left, height, width = left, top, width, height
    if mirror_rows:
        top = size[0] - top - height
    if mirror_columns:
        left = size[1] - left - width
    return Window(top, left, height, width)

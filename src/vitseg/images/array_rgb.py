"""Arrays of NumPy's by the rules of all readers, where no bands are chosen: as 8-bit RGB."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np

from vitseg.errors import DataError
from vitseg.images.decoded import Decoded, require_pixels
from vitseg.images.npy_file import npy_size, npy_values
from vitseg.images.pixel_source import BANDS_LEFT_OUT, Notice
from vitseg.images.sources import Source, name_of
from vitseg.images.stated_range import limits_of_values, range_notices
from vitseg.images.value_range import Declared, ValueRange, to_bytes


def decode_array(source: Source, file: BinaryIO, max_pixels: int, declared: Declared) -> Decoded:
    """An array as RGB: one band is grey, of three and more the first three are red, green and blue.

    Args:
        source: The file, or its content.
        file: The same, open.
        max_pixels: Largest height * width.
        declared: Black and white of more than 8 bits, if they are stated.

    Raises:
        DataError: It has two bands, is damaged or too large, or nothing says which values are black and white.
    """
    name = name_of(source)
    size = npy_size(file, name)
    require_pixels(name, size, max_pixels)
    values = npy_values(source, file)
    count = values.shape[2]
    if count == 2:
        raise DataError(
            f"{name} has 2 bands, but one (grey), or three and more (the first three are red, green and blue) are "
            "allowed where no bands are chosen. Choose them for the data set: bands=1,2."
        )
    shown = values[..., : 3 if count > 2 else 1]
    values = np.ascontiguousarray(shown, shown.dtype.newbyteorder("="))
    notices: tuple[Notice, ...] = ()
    if count > 3:
        left = "band 4 is" if count == 4 else f"the other {count - 3} are"
        text = (
            f"of {count} bands the first three are taken for red, green and blue; {left} left out"
        )
        notices = (Notice(BANDS_LEFT_OUT, text),)
    found = None
    limits = ValueRange(0, 255)
    if values.dtype != np.uint8:
        found = limits_of_values(values, str(values.dtype), name, declared, None)
        limits, notices = found.limits, (*notices, *range_notices(found))
    pixels = to_bytes(values, limits)
    pixels = pixels if pixels.shape[2] == 3 else np.repeat(pixels, 3, axis=2)
    return Decoded(pixels, size, notices, found)

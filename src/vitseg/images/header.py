"""What the header of an image file says, no pixel decoded."""

from __future__ import annotations

from typing import NamedTuple

from vitseg.errors import DataError
from vitseg.images import decode_process
from vitseg.images.budget import is_costly
from vitseg.images.decoded import MAX_PIXELS
from vitseg.images.orientation import upright_size
from vitseg.images.pillow_reader import pillow_image
from vitseg.images.png_chunks import has_exif_after_pixels
from vitseg.images.sources import (
    Source,
    exif_orientation,
    is_sound,
    name_of,
    open_file,
    pillow_header,
    start_of,
)
from vitseg.images.tiff_tags import PALETTE, RGB, TiffTags, read_tags


class Header(NamedTuple):
    """The header of an image file.

    Attributes:
        format: In Pillow's spelling ("PNG").
        mode: Pillow's mode ("P"); of a TIFF that Pillow does not read, its pixels in words ("float32 x 8").
        size: Upright (height, width).
        orientation: The tag, 1 to 8, that turns the stored pixels upright.
    """

    format: str
    mode: str
    size: tuple[int, int]
    orientation: int = 1


def header_of(source: Source) -> Header:
    """Format, mode, upright size and orientation of an image file, no pixel decoded.

    The rare PNG that has its orientation behind the pixels is decoded, up to `MAX_PIXELS`.

    Raises:
        DataError: The file is missing, empty or in an unknown format, or its header is damaged.
    """
    name = name_of(source)
    with open_file(source) as file:
        file_format = start_of(file, name)
        tags = read_tags(file) if file_format == "TIFF" else None
        if is_costly(file, file_format, tags, header=True):
            return Header(**decode_process.header(source))
        try:
            with pillow_header(file, name, file_format) as image:
                size = (image.height, image.width)
                if tags is not None:  # Pillow has exchanged height and width already
                    return Header(file_format, image.mode, size, tags.orientation)
                if file_format != "PNG" or not has_exif_after_pixels(file):
                    turn = exif_orientation(image, name)
                    size = upright_size(size, turn)
                    return Header(file_format, image.mode, size, turn)
        except DataError:
            if tags is None or not is_sound(tags):
                raise
            return _of_tags(tags)
        file.seek(0)
        if is_costly(file, file_format, tags):
            return Header(**decode_process.header(source))
        with pillow_image(file, name, file_format, MAX_PIXELS) as (image, size):
            # The tag is gone once it is applied; a mirrored picture is not told from an upright one here.
            return Header(file_format, image.mode, size)


def _of_tags(tags: TiffTags) -> Header:
    size = upright_size(tags.size, tags.orientation)
    words = tags.pixels if tags.bands == 1 else f"{tags.pixels} x {tags.bands}"
    return Header("TIFF", _modes(tags).get(words, words), size, tags.orientation)


def _modes(tags: TiffTags) -> dict[str, str]:
    """Pillow's modes of pixels that it would read, were they stored in another way, by their words."""
    grey = "P" if tags.photometric == PALETTE else "L"
    modes = {"uint8": grey, "uint16": "I;16"}
    if tags.photometric == RGB:
        modes |= {"uint8 x 3": "RGB", "uint8 x 4": "RGBA" if tags.has_alpha else "RGBX"}
    return modes

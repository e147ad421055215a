"""What the header of an image file says, no pixel decoded."""

from __future__ import annotations

from typing import BinaryIO, NamedTuple

from vitseg.errors import DataError
from vitseg.images import decode_process
from vitseg.images.budget import is_costly
from vitseg.images.decoded import MAX_PIXELS, require_pixels
from vitseg.images.orientation import upright_size
from vitseg.images.png_chunks import has_exif_after_pixels
from vitseg.images.sources import (
    DECODE_ERRORS,
    Source,
    damaged,
    exif_orientation,
    is_sound,
    name_of,
    open_file,
    pillow_header,
    quiet,
    require_plausible,
    start_of,
)
from vitseg.images.tiff_tags import PALETTE, RGB, TiffTags, read_tags


class Header(NamedTuple):
    """The header of an image file.

    Attributes:
        format: In Pillow's spelling ("PNG").
        mode: Pillow's mode ("P"); of a TIFF that Pillow does not read, its pixels in words ("float32 x 8").
        size: Upright (height, width).
        orientation: The tag, 1 to 8, that turns the stored pixels upright; 1 also where the tag is none of these. Of a
            HEIC picture 1: its decoder turns it.
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
        if file_format == "NPY":
            return _of_array(file, name)
        tags = read_tags(file) if file_format == "TIFF" else None
        if is_costly(file, file_format, tags, header=True):
            return Header(**decode_process.header(source))
        try:
            with pillow_header(file, name, file_format) as image:
                if tags is not None:  # of which Pillow has exchanged height and width already
                    size, turn = _of_tiff(source, file, tags)
                    return Header(file_format, image.mode, size, turn)
                size = (image.height, image.width)
                if file_format != "PNG" or not has_exif_after_pixels(file):
                    turn = exif_orientation(image, name)
                    size = upright_size(size, turn)
                    return Header(file_format, image.mode, size, turn)
        except DataError:
            if tags is None or not is_sound(tags):
                raise
            return _of_tags(source, file, tags)
        file.seek(0)
        if is_costly(file, file_format, tags):
            return Header(**decode_process.header(source))
        return _of_late_tag(file, name)


def _of_array(file: BinaryIO, name: str) -> Header:
    from vitseg.images.npy_file import npy_header, npy_size

    shape, _, dtype, _ = npy_header(file, name)
    words = str(dtype.newbyteorder("="))
    grey = {"uint8": "L", "uint16": "I;16", "int32": "I"}
    mode = f"{words} x {min(shape[0], shape[2])}" if len(shape) == 3 else grey.get(words, words)
    return Header("NPY", mode, npy_size(file, name))


def _of_late_tag(file: BinaryIO, name: str) -> Header:
    """The header of a PNG whose orientation follows the pixels, where Pillow finds it once they are decoded."""
    with pillow_header(file, name, "PNG") as image:
        size = (image.height, image.width)
        require_pixels(name, size, MAX_PIXELS)
        require_plausible(image, file, name)
        try:
            with quiet():
                image.load()
        except DECODE_ERRORS as error:
            raise damaged(name, error) from error
        turn = exif_orientation(image, name)
        return Header("PNG", image.mode, upright_size(size, turn), turn)


def _of_tags(source: Source, file: BinaryIO, tags: TiffTags) -> Header:
    size, turn = _of_tiff(source, file, tags)
    words = tags.pixels if tags.bands == 1 else f"{tags.pixels} x {tags.bands}"
    return Header("TIFF", _modes(tags).get(words, words), size, turn)


def _modes(tags: TiffTags) -> dict[str, str]:
    """Pillow's modes of pixels that it would read, were they stored in another way, by their words."""
    grey = "P" if tags.photometric == PALETTE else "L"
    modes = {"uint8": grey, "uint16": "I;16"}
    if tags.photometric == RGB:
        modes |= {"uint8 x 3": "RGB", "uint8 x 4": "RGBA" if tags.has_alpha else "RGBX"}
    return modes


def _of_tiff(source: Source, file: BinaryIO, tags: TiffTags) -> tuple[tuple[int, int], int]:
    """Upright (height, width) of a TIFF and the orientation that is applied."""
    from vitseg.images.reader import applied_orientation

    turn = applied_orientation(source, file, tags)
    return upright_size(tags.size, turn), turn

"""The palette of a picture, no pixel decoded."""

from __future__ import annotations

from vitseg.images.budget import is_costly
from vitseg.images.sources import Source, name_of, open_file, pillow_header, start_of
from vitseg.images.tiff_tags import read_tags


def read_palette(source: Source) -> tuple[int, ...] | None:
    """The colours of a palette, 0xRRGGBB by index; None: there is none, or its file is none of Pillow's usual ones.

    Raises:
        DataError: The file is missing, empty or in an unknown format, or its header is damaged.
    """
    name = name_of(source)
    with open_file(source) as file:
        file_format = start_of(file, name)
        tags = read_tags(file) if file_format == "TIFF" else None
        if file_format == "NPY" or is_costly(file, file_format, tags, header=True):
            return None
        with pillow_header(file, name, file_format) as image:
            values = image.getpalette("RGB") if image.mode == "P" else None
    if values is None:
        return None
    channels = (values[at::3] for at in range(3))
    return tuple(red << 16 | green << 8 | blue for red, green, blue in zip(*channels, strict=True))

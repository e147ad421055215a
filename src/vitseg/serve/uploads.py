"""From the bytes of a request to pixels: format and size are looked at first, and decoding has bounds."""

from __future__ import annotations

from collections.abc import Collection
from io import BytesIO
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8

from vitseg.errors import DataError
from vitseg.images.budget import is_costly
from vitseg.images.decode_process import within
from vitseg.images.header import header_of
from vitseg.images.preprocess import Preprocessing
from vitseg.images.reader import decode
from vitseg.images.sources import start_of
from vitseg.images.tiff_tags import read_tags
from vitseg.serve.problems import TooLargeError, UnusableError, WrongFormatError
from vitseg.types import Size

NAME = "the image data"

_MOST_CHUNKS = 1000
"""Parts of a PNG in front of its pixels among which the one of a moving image is looked for."""


class Upload(NamedTuple):
    """What the header of an image says.

    Attributes:
        format: In Pillow's spelling.
        size: (height, width) in pixels, upright.
        is_costly: Whether it is decoded in a process of its own, one at a time.
    """

    format: str
    size: Size
    is_costly: bool

    @property
    def pixels(self) -> int:
        """How many."""
        return self.size[0] * self.size[1]


def has_costly_header(content: bytes, formats: Collection[str]) -> bool:
    """Whether reading the header alone may take long, so that `inspect` is for those who decode costly images.

    Args:
        content: The file; whatever is wrong with it, `inspect` says.
        formats: That are allowed.
    """
    file = BytesIO(content)
    try:
        found = start_of(file, NAME)
    except DataError:
        return False
    return found in formats and _takes_long(file, found, header=True)


def inspect(
    content: bytes, formats: Collection[str], max_pixels: int, seconds: float = float("inf")
) -> Upload:
    """Look at the header of an image; no pixel is decoded.

    Args:
        content: The file.
        formats: That are allowed.
        max_pixels: At most.
        seconds: That a header may take which is read in a process of its own.

    Raises:
        WrongFormatError: No image, or one of another format.
        TooLargeError: More pixels.
        UnusableError: Its header is damaged.
    """
    if not content:
        raise UnusableError("there is no image in the request: send the bytes of an image file.")
    listed = ", ".join(formats)
    try:
        found = start_of(BytesIO(content[:64]), NAME)
    except DataError as error:
        raise WrongFormatError(f"this is no image that is read here. Allowed: {listed}.") from error
    if found not in formats:
        raise WrongFormatError(f"{found} is not read here. Allowed: {listed}.")
    if _is_moving(content, found):
        raise WrongFormatError(f"a moving {found} is not read here: send one frame, as an image.")
    try:
        with within(seconds):
            size = header_of(content).size
    except DataError as error:
        raise UnusableError(str(error)) from error
    if size[0] * size[1] > max_pixels:
        raise TooLargeError(
            f"the image has {size[1]}x{size[0]} = {size[0] * size[1]:,} pixels, but at most {max_pixels:,} are taken: "
            "scale it down."
        )
    return Upload(found, size, _takes_long(BytesIO(content), found))


def _takes_long(file: BytesIO, found: str, header: bool = False) -> bool:
    """Whether a file of a format, or its header alone, is read in a process of its own."""
    tags = read_tags(file) if found == "TIFF" else None
    return is_costly(file, found, tags, header=header)


def _is_moving(content: bytes, found: str) -> bool:
    if found == "WEBP":
        return content[12:16] == b"VP8X" and bool(content[20:21] and content[20] & 2)
    if found != "PNG":
        return False
    place = 8
    for _ in range(_MOST_CHUNKS):
        name = content[place + 4 : place + 8]
        if name in (b"acTL", b"IDAT", b""):
            return name == b"acTL"
        place += 12 + int.from_bytes(content[place : place + 4], "big")
    return False


class Pixels(NamedTuple):
    """A decoded image.

    Attributes:
        values: As the model takes them: RGB, or its bands.
        notices: What was decided about them, in sentences.
        valid: Which of them hold data; None: all.
    """

    values: UInt8[np.ndarray, "H W c"]
    notices: tuple[str, ...] = ()
    valid: Bool[np.ndarray, "H W"] | None = None


def decoded(
    content: bytes, preprocessing: Preprocessing, max_pixels: int, seconds: float
) -> Pixels:
    """Decode an image as a model reads it.

    Args:
        content: The file.
        preprocessing: Of the model.
        max_pixels: At most.
        seconds: That an image may take which is decoded in a process of its own.

    Raises:
        UnusableError: It is damaged, takes too long, or is of pixels that this model cannot take.
    """
    try:
        with within(seconds):
            found = decode(
                content, max_pixels=max_pixels, declared=preprocessing.reading, placed=True
            )
    except DataError as error:
        raise UnusableError(str(error)) from error
    return Pixels(found.pixels, tuple(notice.text for notice in found.notices), found.valid)

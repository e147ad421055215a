"""Which image files are decoded in this process, and which only in another one, within time and memory.

What an ordinary photo costs is bounded by its size, and decoding it here is fastest. Of the others the first bytes show
that they may take long, take much memory, or are read by libraries that print to the screen.
"""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

from vitseg.images import decode_process
from vitseg.images.jpeg_scans import frame_of
from vitseg.images.png_chunks import has_few_chunks
from vitseg.images.tiff_tags import TiffTags

ORDINARY_PIXELS = 64_000_000
"""Pixels that are decoded here: a few seconds, and 1.3 GB in the dearest format."""

_BYTES_PER_PIXEL = 8  # of a picture that is not compressed: four channels of 16 bits
_SPARE_BYTES = 1_000_000  # what a small picture may hold besides: profiles, previews, texts
_FEW_BYTES = 250_000  # however they are cut into parts, Pillow reads them in less than a second
_SLOW_BYTES = 2_000_000  # of what Pillow reads in Python: a second, and 0.1 GB
_SLOW_PIXELS = 4_000_000

_ORDINARY_BLOCK = 64_000_000  # bytes of a decoded strip or tile
_ORDINARY_BANDS = 64
_ORDINARY_ENTRIES = 30_000
_ORDINARY_COMPRESSIONS = {1, 5, 7, 8, 32773, 32946}  # none, LZW, JPEG, deflate, PackBits, deflate


def is_costly(
    file: BinaryIO,
    file_format: str,
    tags: TiffTags | None,
    in_windows: bool = False,
    header: bool = False,
) -> bool:
    """Whether the first bytes of a file leave open what time and memory its decoding takes.

    Args:
        file: Open, at its start, which is where it stands afterwards.
        file_format: As `sources.start_of` gives it.
        tags: Of a TIFF; None where they cannot be made out.
        in_windows: Whether a TIFF is read in windows, so that its size does not count.
        header: Whether the header alone is to be read.
    """
    if decode_process.inside or file_format == "NPY":  # which is read as it is
        return False
    if file_format == "TIFF":
        return tags is None or not _is_ordinary_tiff(tags, in_windows)
    try:
        return not _is_ordinary(file, file_format, header)
    except (struct.error, IndexError):  # cut within its header
        return True
    finally:
        file.seek(0)


def prints_errors(tags: TiffTags | None) -> bool:
    """Whether a TIFF is decoded by Pillow's libtiff, which writes what it finds wrong to the screen of this process."""
    return not decode_process.inside and (tags is None or tags.compression != 1)


def _is_ordinary_tiff(tags: TiffTags, in_windows: bool) -> bool:
    height, width = tags.size
    return (
        (in_windows or height * width <= ORDINARY_PIXELS)
        and tags.compression in _ORDINARY_COMPRESSIONS
        and tags.block_bytes <= _ORDINARY_BLOCK
        and tags.bands <= _ORDINARY_BANDS
        and tags.num_entries <= _ORDINARY_ENTRIES
    )


def _is_ordinary(file: BinaryIO, file_format: str, header: bool) -> bool:
    num_bytes = _num_bytes(file)
    if file_format == "JPEG" and num_bytes <= _FEW_BYTES:
        return True
    head = file.read(64)
    if file_format == "JPEG":
        frame = frame_of(file)
        return frame is not None and _is_in_proportion(frame[0], num_bytes)
    if file_format == "PNG":
        width, height = struct.unpack(">II", head[16:24])
        few = num_bytes <= _FEW_BYTES or has_few_chunks(file, header)
        return few and _is_in_proportion(height * width, num_bytes)
    if file_format == "WEBP":
        return _is_in_proportion(_webp_pixels(head), num_bytes)
    if file_format == "BMP":
        return _is_ordinary_bmp(head, num_bytes)
    if file_format == "PPM":  # its pixels as text are read in Python
        slow = head[1:2] in b"123"
        return num_bytes <= (_SLOW_BYTES if slow else _BYTES_PER_PIXEL * ORDINARY_PIXELS)
    if file_format == "GIF":
        width, height = struct.unpack("<HH", head[6:10])
        return height * width <= ORDINARY_PIXELS and num_bytes <= _SLOW_BYTES
    return False  # AVIF, HEIF, JPEG 2000: their first bytes do not say what they take


def _num_bytes(file: BinaryIO) -> int:
    try:
        return os.fstat(file.fileno()).st_size
    except OSError:  # it is in memory
        return file.seek(0, os.SEEK_END)
    finally:
        file.seek(0)


def _is_in_proportion(pixels: int, num_bytes: int) -> bool:
    return pixels <= ORDINARY_PIXELS and num_bytes <= _BYTES_PER_PIXEL * pixels + _SPARE_BYTES


def _webp_pixels(head: bytes) -> int:
    """Pixels by the first part of a WebP file."""
    kind = head[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(head[at : at + 3], "little") + 1 for at in (24, 27))
    elif kind == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        width, height = (side & 0x3FFF for side in struct.unpack("<HH", head[26:30]))
    return height * width


def _is_ordinary_bmp(head: bytes, num_bytes: int) -> bool:
    if int.from_bytes(head[14:18], "little") == 12:  # the header of OS/2
        width, height = struct.unpack("<HH", head[18:22])
        packed = 0
    else:
        width, height = struct.unpack("<ii", head[18:26])
        packed = int.from_bytes(head[30:34], "little")
    pixels = abs(width * height)
    if packed in (1, 2):  # run lengths are read in Python
        return pixels <= _SLOW_PIXELS
    return _is_in_proportion(pixels, num_bytes)

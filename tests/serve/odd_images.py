"""Image files that no camera writes."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np


def png_of(
    width: int, height: int, pixels: bytes, extra: Sequence[tuple[bytes, bytes]] = ()
) -> bytes:
    """A PNG of 8-bit RGB that may say anything of its size.

    Args:
        width: As it claims.
        height: As it claims.
        pixels: Rows, each with its filter byte in front, before compression.
        extra: Chunks in front of the pixels: name, content.
    """
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        *extra,
        (b"IDAT", zlib.compress(pixels, 9)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def png_chunk(name: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
    )


def png_with(content: bytes, *extra: bytes) -> bytes:
    """A PNG with chunks put behind its header."""
    return content[:33] + b"".join(extra) + content[33:]


def bmp_of(width: int, height: int, pixels: bytes) -> bytes:
    """A BMP of 24 bits, whose height may be negative: its rows go down then."""
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, len(pixels), 2835, 2835, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(pixels), 0, 0, 54) + info + pixels


def tiff_of(
    pixels: np.ndarray, more: Sequence[tuple[int, int, int, int]] = (), following: int = 0
) -> bytes:
    """An uncompressed TIFF of one strip.

    Args:
        pixels: (H, W) or (H, W, 3), of any type.
        more: Further entries: tag, type, count, value.
        following: Where the next directory is said to be.
    """
    height, width = pixels.shape[:2]
    bands = pixels.shape[2] if pixels.ndim == 3 else 1
    kind = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    bits, data = pixels.itemsize * 8, pixels.tobytes()
    entries = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, bits), (259, 3, 1, 1), (262, 3, 1, 2 if bands == 3 else 1),
        (273, 4, 1, 8), (277, 3, 1, bands), (278, 4, 1, height), (279, 4, 1, len(data)), (339, 3, 1, kind),
    ]  # fmt: skip
    if bands == 3:  # values that do not fit stand behind the directory
        after = 8 + len(data) + 2 + 12 * (len(entries) + len(more)) + 4
        entries[2], entries[9] = (258, 3, 3, after), (339, 3, 3, after + 6)
    listed = sorted([*entries, *more])
    body = b"".join(struct.pack("<HHII", *entry) for entry in listed)
    tail = struct.pack("<HHH", bits, bits, bits) + struct.pack("<HHH", kind, kind, kind)
    return (
        b"II*\0"
        + struct.pack("<I", 8 + len(data))
        + data
        + struct.pack("<H", len(listed))
        + body
        + struct.pack("<I", following)
        + tail
    )


def jpeg_of_scans(content: bytes, scans: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    last = content.rindex(b"\xff\xda")
    return content[:-2] + content[last:-2] * scans + content[-2:]

"""What the chunks of a PNG file say beyond what Pillow keeps."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import islice, takewhile
from typing import BinaryIO

_TEXTS_WITH_EXIF = (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")
_MAX_CHUNKS = 100_000
_FEW_CHUNKS = 20_000  # of 8 kB each, as is usual: 160 MB


def significant_bits(file: BinaryIO) -> int | None:
    """The largest number of significant bits of a colour by the chunk sBIT; None without it."""
    for kind, length in _chunks(file):
        if kind in (b"IDAT", b"IEND"):
            return None
        if kind == b"sBIT" and 1 <= length <= 4:
            bits = file.read(length)
            colors = bits[:3] if length >= 3 else bits[:1]  # without that of alpha
            return max(colors) if colors and all(1 <= bit <= 16 for bit in colors) else None
    return None


def has_exif_after_pixels(file: BinaryIO) -> bool:
    """Whether one of the chunks in which Pillow finds an orientation follows the pixels."""
    pixels_seen = False
    for kind, _ in _chunks(file):
        pixels_seen = pixels_seen or kind == b"IDAT"
        if pixels_seen and (kind == b"eXIf" or file.read(24).startswith(_TEXTS_WITH_EXIF)):
            return True
    return False


def has_few_chunks(file: BinaryIO, header: bool = False) -> bool:
    """Whether the file has so few chunks that Pillow, which reads each in Python, takes no second for them.

    Args:
        file: Open.
        header: Whether those before the pixels alone count.
    """
    chunks = _chunks(file)
    if header:
        chunks = takewhile(lambda chunk: chunk[0] != b"IDAT", chunks)
    return sum(1 for _ in islice(chunks, _FEW_CHUNKS + 1)) <= _FEW_CHUNKS


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Name and length of every chunk; the file stands at its content meanwhile."""
    place = 8
    for _ in range(_MAX_CHUNKS):
        file.seek(place)
        head = file.read(8)
        if len(head) < 8:
            return
        length, kind = struct.unpack(">I4s", head)
        place = file.tell() + length + 4  # behind the content and its checksum
        yield kind, length

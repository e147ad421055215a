"""The passes in which a JPEG file is stored. Each walks over the whole picture, and a small file can hold thousands."""

from __future__ import annotations

import struct
from typing import BinaryIO

from vitseg.errors import DataError

MAX_SCANS = 1000
"""Passes at most. Cameras and programs write 1 or about 10."""

MAX_SCANNED_PIXELS = 3_000_000_000
"""Passes times pixels at most: about half a minute of decoding."""

_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PIECE = 1 << 20
_MAX_PARTS = 2_000  # a colour profile has 255 at most


def require_few_scans(file: BinaryIO, name: str) -> None:
    """Raise DataError for a JPEG with so many passes that decoding takes minutes; the place in the file is kept.

    A picture in one pass, as most are, costs no more than its header.
    """
    place = file.tell()
    try:
        found = frame_of(file)
        if found is None or not found[1]:
            return
        pixels, limit = found[0], MAX_SCANS
        limit = min(limit, MAX_SCANNED_PIXELS // max(1, pixels))
        scans = _count_scans(file, limit)
    finally:
        file.seek(place)
    if scans > limit:
        raise DataError(
            f"{name} is a JPEG in more than {limit:,} passes over {pixels:,} pixels, which would take minutes to "
            f"decode; at most {MAX_SCANS:,} passes and {MAX_SCANNED_PIXELS:,} pixels in all are read. Save it again, "
            "not progressive."
        )


def frame_of(file: BinaryIO) -> tuple[int, bool] | None:
    """Pixels of the picture, and whether it may have several passes; None where the header cannot be made out.

    So too where its first pass comes after very many parts, each of which costs Pillow time.
    """
    file.seek(2)
    pixels = components = None
    progressive = False
    for _ in range(_MAX_PARTS):
        marker = file.read(2)
        while marker[1:] == b"\xff":  # fill bytes
            marker = marker[1:] + file.read(1)
        if len(marker) < 2 or marker[0] != 0xFF:
            return None
        if marker[1] in (0x01, *range(0xD0, 0xD9)):
            continue
        length = file.read(2)
        if len(length) < 2:
            return None
        size = struct.unpack(">H", length)[0] - 2
        if marker[1] in _FRAMES:
            head = file.read(6)
            if len(head) < 6:
                return None
            height, width, components = struct.unpack(">HHB", head[1:])
            pixels, progressive = height * width, marker[1] in _PROGRESSIVE
            size -= 6
        elif marker[1] == 0xDA:
            in_scan = file.read(1)
            if pixels is None or components is None or not in_scan:
                return None
            return pixels, progressive or in_scan[0] < components
        file.seek(max(0, size), 1)
    return None


def _count_scans(file: BinaryIO, limit: int) -> int:
    """Passes in the file; counting stops above the limit."""
    file.seek(0)
    count, last = 0, b""
    while count <= limit and (piece := file.read(_PIECE)):
        count += (last + piece).count(b"\xff\xda")
        last = piece[-1:]
    return count

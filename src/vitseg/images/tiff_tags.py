"""What the tags of a TIFF file say about its pixels, read without any library that might refuse the rest."""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass, field
from typing import BinaryIO

MAX_PAGES = 1000
"""Directories that are looked at; a chain may be endless in a hostile file."""

MAX_ENTRIES = 100_000
"""Entries of all directories that are looked at; directories may overlap, and be more than the file has bytes."""

_MAX_VALUES = 64  # of a tag; those that are read here have one per band

_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 254, 256, 257, 258, 259, 262
_ORIENTATION, _SAMPLES, _ROWS_PER_STRIP, _MIN_SAMPLE, _MAX_SAMPLE = 274, 277, 278, 280, 281
_PLANAR, _TILE_WIDTH, _TILE_HEIGHT, _EXTRA, _FORMAT, _S_MIN, _S_MAX = (
    284,
    322,
    323,
    338,
    339,
    340,
    341,
)
_WANTED = {
    _SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _ORIENTATION, _SAMPLES, _ROWS_PER_STRIP, _MIN_SAMPLE,
    _MAX_SAMPLE, _PLANAR, _TILE_WIDTH, _TILE_HEIGHT, _EXTRA, _FORMAT, _S_MIN, _S_MAX,
}  # fmt: skip
_REDUCED, _TRANSPARENCY = 1, 4  # bits of NewSubfileType: overviews and masks are no pages

MIN_IS_WHITE, RGB, PALETTE, CMYK, YCBCR, LAB_KINDS = 0, 2, 3, 5, 6, (8, 9, 10)
"""Values of PhotometricInterpretation."""

JPEG_KINDS = (6, 7)
"""Values of Compression."""

# Type of a value -> (bytes, struct's letter); rationals are not wanted.
_TYPES = {
    1: (1, "B"), 3: (2, "H"), 4: (4, "I"), 6: (1, "b"), 8: (2, "h"), 9: (4, "i"), 11: (4, "f"), 12: (8, "d"),
    16: (8, "Q"), 17: (8, "q"),
}  # fmt: skip
_FORMAT_WORDS = {1: "uint", 2: "int", 3: "float", 4: "uint", 5: "complex int", 6: "complex float"}


@dataclass(frozen=True)
class TiffTags:
    """The first page of a TIFF file, and how many there are.

    Attributes:
        size: (height, width) as stored.
        bits: Bits of a sample.
        kind: "uint", "int", "float" or "complex ...".
        bands: Samples of a pixel.
        photometric: Value of PhotometricInterpretation; None if it is missing.
        compression: Value of Compression.
        orientation: 1 to 8, as in EXIF.
        extra: What the samples beyond the colours are: 1 and 2 are alpha, 0 is not said.
        sample_range: Least and largest value by SMinSampleValue and SMaxSampleValue (or their older forms).
        planar: Whether every band is stored by itself.
        block: (height, width) of a strip or tile.
        pages: Pages, without overviews and masks; `MAX_PAGES` at most.
        num_entries: Of all directories that were looked at; beyond `MAX_ENTRIES` none is.
    """

    size: tuple[int, int]
    bits: int = 1
    kind: str = "uint"
    bands: int = 1
    photometric: int | None = None
    compression: int = 1
    orientation: int = 1
    extra: tuple[int, ...] = ()
    sample_range: tuple[float, float] | None = None
    planar: bool = False
    block: tuple[int, int] = (0, 0)
    pages: int = 1
    num_entries: int = 0
    byte_order: str = field(default="<")

    @property
    def pixels(self) -> str:
        """The type of a sample in words: `float32`, `uint12`."""
        return f"{self.kind}{self.bits}"

    @property
    def block_bytes(self) -> int:
        """Memory of a decoded strip or tile, with all bands that it holds."""
        height, width = self.block
        samples = 1 if self.planar else self.bands
        return -(-height * width * samples * self.bits // 8)

    @property
    def has_alpha(self) -> bool:
        return any(extra in (1, 2) for extra in self.extra)


def read_tags(file: BinaryIO) -> TiffTags | None:
    """The tags of an open TIFF file; None where they cannot be made out. The position in the file is kept."""
    place = file.tell()
    try:
        return _read(file)
    except (struct.error, OverflowError, MemoryError, ValueError):
        return None
    except OSError as error:
        if error.errno != errno.EINVAL:  # a place that no file has
            raise
        return None
    finally:
        file.seek(place)


def _read(file: BinaryIO) -> TiffTags | None:
    file.seek(0)
    start = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(start[:2])
    if order is None or len(start) < 8:
        return None
    version = struct.unpack(order + "H", start[2:4])[0]
    if version not in (42, 43):
        return None
    big = version == 43
    offset = struct.unpack(order + ("Q" if big else "I"), start[8:16] if big else start[4:8])[0]
    first: dict[int, tuple] | None = None
    pages, num_entries, seen = 0, 0, set()
    while offset and offset not in seen and len(seen) < MAX_PAGES and num_entries <= MAX_ENTRIES:
        seen.add(offset)
        number, entries, offset = _directory(file, offset, order, big)
        num_entries += number
        if first is None:
            first = entries
        elif _one(entries, _SUBFILE, 0) & (_REDUCED | _TRANSPARENCY):
            continue
        pages += 1
    if first is None or _WIDTH not in first or _HEIGHT not in first:
        return None
    return _tags_of(first, pages, num_entries, order)


def _directory(
    file: BinaryIO, offset: int, order: str, big: bool
) -> tuple[int, dict[int, tuple], int]:
    """The number of a directory's entries, the wanted ones, and where the next directory begins (0: nowhere)."""
    file.seek(offset)
    count_size, entry_size, field_size = (8, 20, 8) if big else (2, 12, 4)
    number = struct.unpack(order + ("Q" if big else "H"), file.read(count_size))[0]
    raw = file.read(min(number, 65535) * entry_size)
    following = file.read(field_size)
    letter = "Q" if big else "I"
    next_offset = struct.unpack(order + letter, following)[0] if len(following) == field_size else 0
    entries = {}
    for start in range(0, len(raw) - entry_size + 1, entry_size):
        tag, kind = struct.unpack(order + "HH", raw[start : start + 4])
        if tag not in _WANTED or kind not in _TYPES:
            continue
        count = struct.unpack(order + letter, raw[start + 4 : start + 4 + field_size])[0]
        size, code = _TYPES[kind]
        kept = min(count, _MAX_VALUES)
        content = raw[start + 4 + field_size : start + entry_size]
        if count * size > field_size:
            file.seek(struct.unpack(order + letter, content)[0])
            content = file.read(kept * size)
        if kept and len(content) >= kept * size:
            entries[tag] = struct.unpack(f"{order}{kept}{code}", content[: kept * size])
    return number, entries, next_offset


def _tags_of(entries: dict[int, tuple], pages: int, num_entries: int, order: str) -> TiffTags:
    height, width = _one(entries, _HEIGHT, 0), _one(entries, _WIDTH, 0)
    tiled = _TILE_WIDTH in entries and _TILE_HEIGHT in entries
    block = (
        (_one(entries, _TILE_HEIGHT, 0), _one(entries, _TILE_WIDTH, 0))
        if tiled
        else (min(height, _one(entries, _ROWS_PER_STRIP, height)), width)
    )
    orientation = _one(entries, _ORIENTATION, 1)
    return TiffTags(
        size=(height, width),
        bits=_one(entries, _BITS, 1),
        kind=_FORMAT_WORDS.get(_one(entries, _FORMAT, 1), "unknown"),
        bands=_one(entries, _SAMPLES, 1),
        photometric=entries[_PHOTOMETRIC][0] if _PHOTOMETRIC in entries else None,
        compression=_one(entries, _COMPRESSION, 1),
        orientation=orientation if 1 <= orientation <= 8 else 1,
        extra=tuple(entries.get(_EXTRA, ())),
        sample_range=_sample_range(entries),
        planar=_one(entries, _PLANAR, 1) == 2,
        block=block,
        pages=pages,
        num_entries=num_entries,
        byte_order=order,
    )


def _sample_range(entries: dict[int, tuple]) -> tuple[float, float] | None:
    """The least and the largest value over the bands; the least is 0 where only the largest is stated."""
    high = entries.get(_S_MAX, entries.get(_MAX_SAMPLE))
    if high is None:
        return None
    low = entries.get(_S_MIN, entries.get(_MIN_SAMPLE, (0,)))
    least, largest = float(min(low)), float(max(high))
    return (least, largest) if largest > least else None


def _one(entries: dict[int, tuple], tag: int, default: int) -> int:
    return int(entries[tag][0]) if tag in entries else default

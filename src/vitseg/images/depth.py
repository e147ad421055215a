"""Whether a picture has more than 8 bits, by the first bytes of its file: sets of ordinary photos pay nothing else."""

from __future__ import annotations

from typing import BinaryIO

from vitseg.errors import DataError
from vitseg.images.sources import Source, name_of, open_file, start_of
from vitseg.images.tiff_tags import read_tags

_PPM_HEAD = 4096  # bytes in which the largest value of a PPM stands, behind comments
_JPEG2000_HEAD = 1 << 16
_SIZES = b"\xff\x4f\xff\x51"
"""Start of a JPEG 2000 codestream; the depth follows 38 bytes of sizes."""


def may_be_deep(source: Source) -> bool:
    """Whether the header declares more than 8 bits a sample, of which a part may be used; False if it is damaged."""
    try:
        with open_file(source) as file:
            file_format = start_of(file, name_of(source))
            return _DEEP[file_format](file) if file_format in _DEEP else False
    except (DataError, OSError):
        return False


def jpeg2000_depth(file: BinaryIO) -> int:
    """Bits of a sample of a JPEG 2000 file; 8 where they are not found. The position in the file is kept."""
    place = file.tell()
    head = file.read(_JPEG2000_HEAD)
    file.seek(place)
    found = head.find(_SIZES)  # then capabilities, and 32 bytes of sizes
    return (head[found + 42] & 0x7F) + 1 if found >= 0 and len(head) > found + 42 else 8


def is_deep_png(file: BinaryIO) -> bool:
    """Whether a PNG has 16 bits a sample. The position in the file is kept."""
    place = file.tell()
    file.seek(0)
    depth = file.read(25)[24:]
    file.seek(place)
    return depth == b"\x10"


def _ppm(file: BinaryIO) -> bool:
    """Whether the largest value, the number behind width and height, is above 255."""
    head = file.read(_PPM_HEAD)
    if head[1:2] in (b"1", b"4"):  # black and white alone
        return False
    lines = (line.partition(b"#")[0] for line in head[2:].splitlines())
    numbers: list[bytes] = []
    for line in lines:
        numbers += line.split()
        if len(numbers) >= 3:
            return numbers[2].isdigit() and int(numbers[2][:6]) > 255
    return False


def _tiff(file: BinaryIO) -> bool:
    tags = read_tags(file)
    return tags is not None and (tags.bits > 8 or tags.kind != "uint")


def _npy(file: BinaryIO) -> bool:
    from vitseg.images.npy_file import npy_header

    return npy_header(file, "")[2].itemsize > 1


_DEEP = {
    "NPY": _npy,
    "PNG": is_deep_png,
    "PPM": _ppm,
    "TIFF": _tiff,
    "JPEG2000": lambda file: jpeg2000_depth(file) > 8,
}
"""Formats that can have more than 8 bits. Those of AVIF and HEIF become 8 in their decoders, by their full range."""

"""The brush strokes of Label Studio: its own bit-packed run lengths of an RGBA picture.

The data are a header and pieces: one bit that says whether a piece is one value that repeats, two that choose one of
four sizes for its length less 1, the length, and the value or values.

Source: `label_studio_sdk.converter.brush`, functions `decode_rle` and `encode_rle`.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int64, UInt8

from vitseg.errors import DataError
from vitseg.types import Size

_HEADER = (
    32 + 5 + 4 * 4
)  # bits: number of values, bits of a value - 1, bits of four kinds of lengths - 1

_WORD = 8
_SIZES = (3, 4, 8, 16)
"""Bits of a value, and of the four kinds of lengths, as they are written."""


def encode_brush(inside: Bool[np.ndarray, "H W"]) -> bytes:
    """A stroke that has painted some pixels: all four channels of these are 255, and those of the others 0.

    Args:
        inside: Where it has painted; one pixel at least.
    """
    pixels = inside.ravel()
    starts = np.concatenate(([0], np.flatnonzero(pixels[1:] != pixels[:-1]) + 1))
    lengths = 4 * np.diff(starts, append=len(pixels))
    most = 1 << _SIZES[-1]  # longer runs are several pieces
    pieces = -(-lengths // most)
    values = np.repeat(np.where(pixels[starts], 255, 0), pieces)
    is_last = np.zeros(len(values), bool)
    is_last[np.cumsum(pieces) - 1] = True
    counts = np.where(is_last, np.repeat(lengths - most * (pieces - 1), pieces), most) - 1
    kinds = np.searchsorted([1 << size for size in _SIZES], counts, side="right")
    sizes = np.array(_SIZES)[kinds]
    fields = (((4 | kinds) << sizes | counts) << _WORD) | values
    header = [(4 * len(pixels), 32), (_WORD - 1, 5), *((size - 1, 4) for size in _SIZES)]
    numbers = np.concatenate(([number for number, _ in header], fields))
    widths = np.concatenate(([width for _, width in header], 3 + sizes + _WORD))
    return np.packbits(_bits(numbers, widths)).tobytes()


def _bits(
    numbers: Int64[np.ndarray, " n"], widths: Int64[np.ndarray, " n"]
) -> UInt8[np.ndarray, " bits"]:
    """The bits of numbers of different widths, one behind the other, the highest first."""
    ends = np.repeat(np.cumsum(widths), widths)
    places = ends - 1 - np.arange(len(ends))
    return (np.repeat(numbers, widths) >> places & 1).astype(np.uint8)


def brush_values(data: bytes) -> int:
    """Number of values that a stroke decodes to, four per pixel, by its header.

    Raises:
        ValueError: It is shorter than its header.
    """
    if 8 * len(data) < _HEADER:
        raise ValueError("a brush stroke is shorter than its header")
    return int.from_bytes(data[:4], "big")


def decode_brush(data: bytes, size: Size) -> Bool[np.ndarray, "H W"]:
    """Where a stroke has painted: where its alpha, of 0 to 255, is at least 128.

    Args:
        data: The numbers of the field `rle`.
        size: (height, width) of the image.

    Raises:
        DataError: The data end early, or are not of this size.
    """
    height, width = size
    if brush_values(data) != 4 * height * width:
        raise DataError(
            f"a brush stroke has {brush_values(data):,} values, but an image of {width}x{height} pixels has "
            f"{4 * height * width:,}: export it again."
        )
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    word = _number(bits, 32, 5) + 1
    sizes = [_number(bits, place, 4) + 1 for place in range(37, _HEADER, 4)]
    values = np.zeros(4 * height * width, np.uint8)
    at, place = 0, _HEADER
    while at < len(values):
        if place + 3 > len(bits):
            raise DataError("a brush stroke ends early: export it again.")
        repeats, kind = bits[place], _number(bits, place + 1, 2)
        length = _number(bits, place + 3, sizes[kind]) + 1
        place += 3 + sizes[kind]
        count = 1 if repeats else length
        content = bits[place : place + count * word]
        if len(content) < count * word or at + length > len(values):
            raise DataError("a brush stroke ends early: export it again.")
        values[at : at + length] = _words(content, word)
        at, place = at + length, place + count * word
    return values.reshape(height, width, 4)[:, :, 3] >= 128  # (H, W)


def _number(bits: UInt8[np.ndarray, " n"], start: int, count: int) -> int:
    number = 0
    for bit in bits[start : start + count].tolist():
        number = 2 * number + bit
    return number


def _words(bits: UInt8[np.ndarray, " n"], word: int) -> UInt8[np.ndarray, " words"]:
    """Numbers of `word` bits each; of more than eight bits, the lowest eight."""
    grid = bits.reshape(-1, word)[:, -8:]
    return np.packbits(np.pad(grid, ((0, 0), (8 - grid.shape[1], 0))), axis=1)[:, 0]

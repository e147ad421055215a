"""Arrays that NumPy has saved (`.npy`) as pictures: read from the file as they are needed, never unpickled."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy_format

from vitseg.errors import DataError
from vitseg.images.sources import Source, name_of

MOST_CHANNELS = 64
"""Channels that an array of three axes may have."""

_KINDS = "uint8, uint16, int16, int32, float16, float32 and float64"
_LONGEST_HEADER = 10_000


def npy_header(file: BinaryIO, name: str) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """Shape, whether it is column by column, type, and where the values begin, of an array file.

    Raises:
        DataError: The header is damaged, or the values are no numbers that pictures have.
    """
    file.seek(0)
    try:
        version = npy_format.read_magic(file)
        read = (
            npy_format.read_array_header_1_0
            if version == (1, 0)
            else npy_format.read_array_header_2_0
        )
        shape, by_column, dtype = read(file, max_header_size=_LONGEST_HEADER)
    except (ValueError, OSError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
        reason = " ".join(str(error).split())[:120]
        raise DataError(f"{name} has a damaged NPY header: {reason}.") from error
    if dtype.hasobject or dtype.kind not in "uif" or dtype.itemsize > 8:
        what = "Python objects, which are not loaded" if dtype.hasobject else f"{dtype} values"
        raise DataError(f"{name} holds {what}; allowed are {_KINDS}.")
    if dtype.kind in "ui" and dtype.newbyteorder("=") not in (
        np.uint8,
        np.uint16,
        np.int16,
        np.int32,
    ):
        raise DataError(f"{name} holds {dtype} values; allowed are {_KINDS}.")
    if len(shape) not in (2, 3) or 0 in shape:
        raise DataError(
            f"{name} is an array of {shape}; allowed are (height, width), (height, width, bands) and (bands, height, "
            "width)."
        )
    return shape, by_column, dtype, file.tell()


def bands_last(shape: tuple[int, ...], name: str) -> bool:
    """Whether the last axis is that of the bands: the shorter of the first and the last is.

    Raises:
        DataError: They are equally long, or no band axis is short enough.
    """
    if len(shape) == 2:
        return True
    first, last = shape[0], shape[2]
    if first == last:
        raise DataError(
            f"{name} is an array of {shape}, of which the first and the last axis are equally long: which of them is "
            "that of the bands is not clear. Save it as a GeoTIFF, or with another number of rows."
        )
    if min(first, last) > MOST_CHANNELS:
        raise DataError(
            f"{name} is an array of {shape}, but at most {MOST_CHANNELS} bands are read, on the first or the last axis."
        )
    return last < first


def npy_size(file: BinaryIO, name: str) -> tuple[int, int]:
    """(height, width) of an array file."""
    shape = npy_header(file, name)[0]
    return _size(shape, name)


def npy_values(source: Source, file: BinaryIO) -> np.ndarray:
    """The values of an array file, (height, width, bands), in the machine's byte order where they are not mapped.

    Of a file, they are read when they are looked at.

    Raises:
        DataError: It is damaged, or of a shape or type that no picture has.
    """
    name = name_of(source)
    shape, by_column, dtype, start = npy_header(file, name)
    last = bands_last(shape, name)
    order: Any = "F" if by_column else "C"
    num_bytes = math.prod(shape) * dtype.itemsize
    if file.seek(0, 2) - start < num_bytes:
        raise DataError(f"{name} is damaged or incomplete: its values end early.")
    if isinstance(source, bytes):
        values = np.frombuffer(source, dtype, math.prod(shape), start).reshape(shape, order=order)
    else:
        values = np.memmap(Path(source), dtype, "r", start, shape, order)
    if len(shape) == 2:
        return values[:, :, None]
    return values if last else values.transpose(1, 2, 0)


def _size(shape: tuple[int, ...], name: str) -> tuple[int, int]:
    if len(shape) == 2 or bands_last(shape, name):
        return shape[0], shape[1]
    return shape[1], shape[2]

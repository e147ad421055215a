"""Which pixel values are black and white: one rule for every picture of more than 8 bits.

8-bit pictures are 0 to 255. For all others, the first that is known counts: the range that the data set or the model
declares; what the file's metadata say; the values themselves, with a notice. The type alone never decides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

FULL = 65535
"""Largest 16-bit value."""

_AT_ONCE = 4_000_000
"""Values that are counted or changed at a time: NumPy takes 8 bytes or more for each."""

_DEPTHS = (8, 10, 12, 14, 16)
_NEARLY_FULL = (
    0.9  # share of a bit depth's largest value from which a picture is taken to use that depth
)
_OUTLIERS = 1.5  # the largest value is set aside if it is this many times what all but a thousandth stay below
_FEW_VALUES = 8  # fewer distinct values say nothing about how they were made


class ValueRange(NamedTuple):
    """The values that are shown as black and as white; values beyond are clipped."""

    low: float
    high: float

    @classmethod
    def valid(cls, low: float, high: float) -> ValueRange:
        """A checked range.

        Raises:
            ValueError: The numbers are not finite, or the second is not above the first.
        """
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(
                f"the value range is [{low}, {high}], but two finite numbers are allowed, the first below the second"
            )
        return cls(float(low), float(high))

    def words(self) -> str:
        """As `0 to 3,060`."""
        return (
            f"{self.low:,.6g} to {self.high:,.6g}"
            if self.high < 1e6
            else f"{self.low:g} to {self.high:g}"
        )


def to_bytes(values: np.ndarray, limits: ValueRange) -> UInt8[np.ndarray, "..."]:
    """Values of any real type as 8 bits: `low` becomes 0, `high` 255, what is between is rounded.

    NaN becomes 0.
    """
    low, high = limits
    if values.dtype == np.uint8 and limits == (0, 255):
        return values
    if values.dtype in (np.uint8, np.uint16, np.int16) and values.size > 4096:
        table = _table(values.dtype, limits)
        bits = values.view(np.dtype(f"u{values.dtype.itemsize}"))
        return _in_parts(bits, lambda part: table[part])
    return _in_parts(values, lambda part: _scaled(part.astype(np.float64), low, high))


def _in_parts(
    values: np.ndarray, change: Callable[[np.ndarray], np.ndarray]
) -> UInt8[np.ndarray, "..."]:
    """What a change gives for all values, some rows at a time, since it takes many bytes for each of them."""
    if values.size <= _AT_ONCE or values.ndim == 0:
        return change(values)
    changed = np.empty(values.shape, np.uint8)
    rows = max(1, _AT_ONCE * len(values) // values.size)
    for start in range(0, len(values), rows):
        changed[start : start + rows] = change(values[start : start + rows])
    return changed


def _table(dtype: np.dtype, limits: ValueRange) -> np.ndarray:
    """What each value of a type of 8 or 16 bits becomes, by its bits."""
    size = 8 * dtype.itemsize
    return _scaled(
        np.arange(2**size, dtype=f"u{dtype.itemsize}").view(dtype).astype(float), *limits
    )


def _scaled(values: np.ndarray, low: float, high: float) -> np.ndarray:
    scaled = (np.nan_to_num(values, nan=low) - low) * (255 / (high - low))
    # Half-way values go up; floating-point noise must not decide.
    return np.floor(scaled.clip(0, 255) + 0.5 + 1e-9).astype(np.uint8)


class Histogram:
    """How often each value of 16 bits occurs in one or many pictures."""

    def __init__(self) -> None:
        self._counts = np.zeros(2**17, np.int64)  # from -65536
        self.signed = False

    def add(self, values: np.ndarray) -> None:
        """Count integer values from -65,536 to 65,535; others are clipped."""
        flat = np.asarray(values).ravel()
        for start in range(0, len(flat), _AT_ONCE):
            self._add(flat[start : start + _AT_ONCE])

    def _add(self, flat: np.ndarray) -> None:
        if flat.dtype not in (np.uint8, np.uint16):
            self.signed = self.signed or flat.dtype.kind == "i"
            flat = flat.astype(np.int64).clip(-65536, 65535)
            self._counts += np.bincount(flat + 65536, minlength=2**17)
        else:
            self._counts[65536:] += np.bincount(flat, minlength=65536)

    def merge(self, other: Histogram) -> None:
        """Add the counts of another one."""
        self._counts += other._counts
        self.signed = self.signed or other.signed

    def remove(self, value: float | None) -> None:
        """Forget a value that stands for no data."""
        if value is not None and float(value).is_integer() and -65536 <= value <= 65535:
            self._counts[int(value) + 65536] = 0

    def limits(self) -> ValueRange:
        """Black and white by the values.

        An 8-bit picture that was multiplied by a whole number is recognised, since all values are its multiples. Else
        white is the largest value, or the full bit depth that it nearly reaches; a few values far above the others do
        not count. Black is 0, unless all values lie far above it.
        """
        places = np.flatnonzero(self._counts)
        if not len(places):
            return ValueRange(0, FULL)
        values, counts = places - 65536, self._counts[places]
        low, high = int(values[0]), int(values[-1])
        if low >= 0 and (scaled := _multiple_of_8_bits(values)) is not None:
            return ValueRange(0, scaled)
        shares = np.cumsum(counts) / counts.sum()
        bottom = int(values[np.searchsorted(shares, 0.001)])
        top = int(values[min(np.searchsorted(shares, 0.999), len(values) - 1)])
        if top > 0 and high > _OUTLIERS * top:
            high = top
        elif high > 0:
            full = next(2**bits - 1 for bits in _DEPTHS if high <= 2**bits - 1)
            high = full if high >= _NEARLY_FULL * full or full == 255 else high
        if bottom > high / 4 or bottom < -0.05 * abs(high):  # a thermal picture, a height model
            return ValueRange(bottom, max(high, bottom + 1))
        return ValueRange(0, max(high, 1))


def _multiple_of_8_bits(values: np.ndarray) -> int | None:
    """The value of 255 in a picture whose values are those of 8 bits, all multiplied by one number."""
    positive = values[values > 0]
    if not len(positive):
        return None
    step = int(np.gcd.reduce(positive))
    if step % 257 == 0:  # 8 bits spread over 16
        return FULL
    if step > 1 and len(positive) >= _FEW_VALUES and positive[-1] // step <= 255:
        return 255 * step if 255 * step <= FULL else None
    return None


def of_significant_bits(bits: int, histogram: Histogram) -> ValueRange:
    """The range that the number of significant bits gives to samples of 16.

    The PNG standard puts them at the upper end, where the lower bits repeat them or are 0. Cameras and microscopes put
    them at the lower end. Values that need no upper bits and are not such multiples lie at the lower end.
    """
    places = np.flatnonzero(histogram._counts) - 65536
    full = 2**bits - 1
    if bits < 16 and len(places) and places[-1] <= full and (places % 2 ** (16 - bits) > 1).any():
        return ValueRange(0, full)
    return ValueRange(0, FULL)


def of_scale(scale: float, offset: float, largest: float) -> ValueRange | None:
    """The range of a file that says what values mean: value * scale + offset is a reflectance in [0, 1], or 8 bits.

    Args:
        scale: GDAL's scale.
        offset: GDAL's offset.
        largest: Largest value in the file.

    Returns:
        None where the meant quantity is neither: a temperature or a height has no white.
    """
    if scale <= 0 or (scale, offset) == (1, 0):
        return None
    meant = largest * scale + offset
    if scale < 0.02 and meant <= 8:  # reflectances above 1 are glints and clouds
        return ValueRange(-offset / scale, (1 - offset) / scale)
    if 32 <= meant <= 255.5 and offset == 0:
        return ValueRange(0, 255 / scale)
    return None


def common_range(ranges: Iterable[ValueRange]) -> ValueRange | None:
    """The one that encloses all; None for none."""
    found = list(ranges)
    return ValueRange(min(r.low for r in found), max(r.high for r in found)) if found else None

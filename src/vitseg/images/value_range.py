"""Which pixel values are black and white: one rule for every picture of more than 8 bits.

8-bit pictures are 0 to 255. For all others, the first that is known counts: the range that the data set or the model
declares; what the file's metadata say; the values themselves, with a notice. The type alone never decides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import UInt8

from vitseg.errors import ConfigError

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
_SAMPLES = 16384  # of each array whose values are not counted one by one
_NO_VALUE = 1e30  # floating-point values beyond stand for no data, whether the file says so or not


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


def parse_range(pair: object) -> ValueRange:
    """The range that a user has written.

    Raises:
        ConfigError: It is not two finite numbers, the first below the second.
    """
    came = list(pair) if isinstance(pair, Iterable) and not isinstance(pair, str) else [pair]
    numbers = [each for each in came if isinstance(each, int | float | np.number)]
    if len(numbers) != 2 or len(came) != 2:
        raise ConfigError(
            f"the value range is {pair!r:.80}, but two numbers are needed: the values that are black and white, as in "
            "0 3060."
        )
    try:
        return ValueRange.valid(float(numbers[0]), float(numbers[1]))
    except ValueError as error:
        raise ConfigError(f"{error}.") from error


class Unstated(Enum):
    """What is done about a picture of which nothing states a range, where that is settled in advance."""

    OWN_VALUES = "its own values are taken, of floating-point pixels, too, and counted"


Declared = ValueRange | Unstated | None
"""A range that counts before all others; or what to do where nothing states one."""


class PictureValues(NamedTuple):
    """The values of a picture of more than 8 bits, and how they were read.

    Attributes:
        words: Type of a value: `uint16`.
        limits: The range that was taken.
        origin: Who states it: it is declared; by the `bits` or the scale that the file gives; least and largest value
            are `noted` in the file; or nobody, and it is by its `own` values.
        histogram: All values, where they were counted.
    """

    words: str
    limits: ValueRange
    origin: Literal["declared", "bits", "noted", "own"]
    histogram: Histogram | None = None

    def to_json(self) -> dict[str, Any]:
        """The same as JSON can hold it; see `from_json`."""
        counted = None if self.histogram is None else self.histogram.to_json()
        return {**self._asdict(), "histogram": counted}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> PictureValues:
        """What `to_json` has given."""
        counted = values["histogram"]
        return cls(
            values["words"],
            ValueRange(*values["limits"]),
            values["origin"],
            None if counted is None else Histogram.from_json(counted),
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
    scaled = (np.nan_to_num(values, nan=low).clip(low, high) - low) * (255 / (high - low))
    # Half-way values go up; floating-point noise must not decide.
    return np.floor(scaled + 0.5 + 1e-9).astype(np.uint8)


class Histogram:
    """How often each value occurs in one or many pictures.

    Values of up to 16 bits are counted one by one; of others evenly spread samples are kept, with the extremes.
    """

    def __init__(self) -> None:
        self._counts = np.zeros(2**17, np.int64)  # from -65536
        self._samples: list[tuple[np.ndarray, float]] = []  # values, and how many each stands for

    def add(self, values: np.ndarray) -> None:
        """Count real values; those that are no numbers, infinite or beyond 1e30 are left out."""
        flat = np.asarray(values).ravel()
        if flat.dtype in (np.uint8, np.uint16):
            for start in range(0, len(flat), _AT_ONCE):
                part = flat[start : start + _AT_ONCE]
                self._counts[65536:] += np.bincount(part, minlength=65536)
            return
        if flat.dtype.kind == "f":
            flat = flat[np.abs(flat) < _NO_VALUE]  # NaN is not below
        if not flat.size:
            return
        low, high = float(flat.min()), float(flat.max())
        if flat.dtype.kind in "iu" and low >= -65536 and high <= 65535:
            for start in range(0, len(flat), _AT_ONCE):
                part = flat[start : start + _AT_ONCE].astype(np.int64)
                self._counts += np.bincount(part + 65536, minlength=2**17)
            return
        step = max(1, flat.size // _SAMPLES)
        self._samples += [(flat[::step].astype(float), float(step)), (np.array([low, high]), 0.0)]

    def merge(self, other: Histogram) -> None:
        """Add the counts of another one."""
        self._counts += other._counts
        self._samples += other._samples

    def to_json(self) -> dict[str, Any]:
        """The same as JSON can hold it; see `from_json`."""
        places = np.flatnonzero(self._counts)
        return {
            "places": places.tolist(),
            "counts": self._counts[places].tolist(),
            "samples": [(sample.tolist(), weight) for sample, weight in self._samples],
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Histogram:
        """What `to_json` has given."""
        histogram = cls()
        histogram._counts[values["places"]] = values["counts"]
        histogram._samples = [(np.array(sample), weight) for sample, weight in values["samples"]]
        return histogram

    def moments(self, limits: ValueRange) -> tuple[float, float, float]:
        """How many values there are, and the sums of them and of their squares, once `limits` is 0 to 1.

        In 8 bits, as they are read.
        """
        values, counts = self._distribution()
        shares = to_bytes(values.astype(float), limits) / 255
        return float(counts.sum()), float(counts @ shares), float(counts @ shares**2)

    def extremes(self) -> tuple[float, float] | None:
        """The least and the largest value; None without any."""
        values, _ = self._distribution()
        return (float(values[0]), float(values[-1])) if len(values) else None

    def limits(self) -> ValueRange:
        """Black and white by the values.

        An 8-bit picture that was multiplied by a whole number is recognised, since all values are its multiples. Else
        white is the largest value, or the full bit depth that it nearly reaches (1 for floating-point values); a few
        values far above the others do not count. Black is 0, unless all values lie far above it.
        """
        values, counts = self._distribution()
        if not len(values):
            return ValueRange(0, FULL)
        whole = not self._samples
        low, high = float(values[0]), float(values[-1])
        if whole and low >= 0 and (scaled := _multiple_of_8_bits(values)) is not None:
            return ValueRange(0, scaled)
        shares = np.cumsum(counts) / counts.sum()
        bottom = float(values[np.searchsorted(shares, 0.001)])
        top = float(values[min(np.searchsorted(shares, 0.999), len(values) - 1)])
        if top > 0 and high > _OUTLIERS * top:
            high = top
        elif high > 0:
            high = _nearly_full_depth(high) if whole else _nearly_full_share(high)
        if bottom > high / 4 or bottom < -0.05 * abs(high):  # a thermal picture, a height model
            return ValueRange(bottom, high if high > bottom else bottom + 1)
        return ValueRange(0, high if high > 0 else 1)

    def _distribution(self) -> tuple[np.ndarray, np.ndarray]:
        """The values that occur, ascending, and how often each does."""
        places = np.flatnonzero(self._counts)
        values, counts = places - 65536, self._counts[places]
        if not self._samples:
            return values, counts
        values = np.concatenate([values, *(sample for sample, _ in self._samples)])
        weights = [np.full(len(sample), weight) for sample, weight in self._samples]
        counts = np.concatenate([counts, *weights])
        order = np.argsort(values, kind="stable")
        return values[order], counts[order]


def _nearly_full_depth(high: float) -> float:
    """The largest value of the bit depth that a value nearly reaches, else the value itself."""
    full = next((2**bits - 1 for bits in _DEPTHS if high <= 2**bits - 1), high)
    return full if high >= _NEARLY_FULL * full or full == 255 else high


def _nearly_full_share(high: float) -> float:
    """The same for floating-point values: 1, where they nearly reach it, as reflectances and scaled pictures do."""
    return 1.0 if _NEARLY_FULL <= high <= 1 else high


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

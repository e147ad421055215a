"""Black and white of decoded values: as they are declared, as the file states, or by the values themselves."""

from __future__ import annotations

import numpy as np

from vitseg.errors import DataError
from vitseg.images.pixel_source import Notice, range_needed, range_notice
from vitseg.images.value_range import (
    FULL,
    Declared,
    Histogram,
    PictureValues,
    Unstated,
    ValueRange,
    of_significant_bits,
)


def is_deep(mode: str) -> bool:
    """Whether a Pillow mode holds one channel of more than 8 bits."""
    return mode in ("I", "F") or mode.startswith("I;16")


def of_bits(bits: int) -> ValueRange | None:
    """The range of samples that a file stores in that many bits.

    Of 16, and of the 15 that satellites' files declare for whatever they hold, none.
    """
    return ValueRange(0, 2**bits - 1) if bits < 15 and bits != 8 else None


def limits_of_values(
    values: np.ndarray,
    words: str,
    name: str,
    declared: Declared,
    stated: ValueRange | None,
    bits: int | None = None,
    noted: ValueRange | None = None,
) -> PictureValues:
    """Black and white of grey or colour values.

    Args:
        values: All of them.
        words: The type in words, for messages.
        name: What the error calls the picture.
        declared: By the data set or model.
        stated: By the file.
        bits: Significant bits by the file.
        noted: Least and largest value by the file, which count before its bits.
    """
    words = {"I": "int32", "F": "floating-point", "I;16": "uint16", "I;16B": "uint16"}.get(
        words, words
    )
    counts = declared is Unstated.OWN_VALUES
    if isinstance(declared, ValueRange):
        return PictureValues(words, declared, "declared")
    if not counts and noted is not None:
        return PictureValues(words, noted, "noted")
    if not counts and stated is not None:
        return PictureValues(words, stated, "bits")
    if not counts:
        _require_own_range(values, words, name)
    histogram = Histogram()
    histogram.add(values)
    if noted is not None:
        return PictureValues(words, noted, "noted", histogram)
    if bits is not None:
        stated = of_significant_bits(bits, histogram)
    if stated is not None:
        return PictureValues(words, stated, "bits", histogram)
    return PictureValues(words, histogram.limits(), "own", histogram)


def _require_own_range(values: np.ndarray, words: str, name: str) -> None:
    """Raise DataError for values of which nobody states a range, and that give none by themselves."""
    if values.dtype.kind == "f":
        raise DataError(range_needed(name, words))
    low, high = int(values.min()), int(values.max())
    if values.dtype.itemsize > 2 and (
        low < -FULL - 1 or high > FULL or (low < 0 and high > FULL // 2)
    ):
        raise DataError(
            f"{name} has grey values from {low} to {high}, but 0-65535 are allowed. "
            "Convert it to 8 or 16 bits first."
        )


def range_notices(values: PictureValues) -> tuple[Notice, ...]:
    """The notice about values of which nobody states a range."""
    return (range_notice(values),) if values.origin == "own" else ()

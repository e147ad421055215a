"""The range that values give by themselves, counted over one or many pictures."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from vitseg.errors import ConfigError
from vitseg.images.value_range import FULL, Histogram, ValueRange, parse_range, to_bytes


def limits_of(*arrays) -> ValueRange:
    whole = Histogram()
    for array in arrays:
        one = Histogram()
        one.add(np.asarray(array))
        whole.merge(one)
    return whole.limits()


def ramp(low, high, dtype=np.uint16):
    return np.linspace(low, high, 5000).astype(dtype)


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ([ramp(0, 1000), ramp(0, 4000)], (0, 4095)),
        ([ramp(100, 1000), ramp(50, 3060)], (0, 3060)),
        ([ramp(0, 255)], (0, 255)),
        ([257 * ramp(0, 200)], (0, FULL)),
        ([ramp(-500, 3000, np.int16)], (-497, 3000)),
        ([ramp(20_000, 24_000)], (20_003, 24_000)),  # a thermal camera
        ([ramp(0, 0.7, np.float32)], (0, 0.7)),
        ([ramp(0, 0.95, np.float64)], (0, 1)),
        ([ramp(0, 12, np.float32)], (0, 12)),
        ([ramp(0, 2e6, np.int32)], (0, 2e6)),
        ([ramp(0, 3000, np.int32)], (0, 3000)),
        ([ramp(0, 3000), ramp(0, 0.5, np.float32)], (0, 3000)),
        ([np.zeros(100, np.float32)], (0, 1)),
        ([np.full(100, np.nan, np.float32)], (0, FULL)),
    ],
)
def test_ranges(arrays, expected):
    np.testing.assert_allclose(limits_of(*arrays), expected, rtol=0.01, atol=0.001)


def test_what_is_no_number_stands_for_no_data():
    spoilt = ramp(0, 0.5, np.float32)
    spoilt[:4] = (np.nan, np.inf, -np.inf, -3.4028235e38)
    histogram = Histogram()
    histogram.add(spoilt)
    assert histogram.extremes() == pytest.approx((0.0004, 0.5), abs=0.0001)


def test_nothing_has_no_extremes():
    assert Histogram().extremes() is None


def test_values_beyond_the_range_become_its_ends_without_a_warning():
    values = np.array([np.nan, -np.inf, -3.4e38, 0, 0.352, 0.7, 3.4e38, np.inf])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for dtype in (np.float32, np.float64):
            found = to_bytes(values.astype(dtype), ValueRange(0, 0.7))
            assert found.tolist() == [0, 0, 0, 0, 128, 255, 255, 255]


@pytest.mark.parametrize(
    "pair",
    [(5, 5), (9, 1), (0, float("nan")), (float("-inf"), 3), (3,), 3, "03", (0, 1, 2), ("a", "b"), (0, None)],
)  # fmt: skip
def test_what_is_no_range_is_refused_in_a_line(pair):
    with pytest.raises(ConfigError) as refused:
        parse_range(pair)
    assert "\n" not in str(refused.value)
    assert "two" in str(refused.value)


def test_a_range_may_be_written_in_any_numbers():
    assert parse_range([np.int32(-3), 7.5]) == (-3, 7.5)

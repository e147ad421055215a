from __future__ import annotations

import json

import numpy as np
import pytest

from tests.golden.reference import load_golden
from vitseg.errors import ConfigError
from vitseg.images.geometry import keep_ratio_size, resize_image, resize_labels
from vitseg.images.window import Window

SIZES = [(20, 30), (37, 53), (74, 41), (113, 160)]


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)


def bilinear(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear interpolation with half-pixel centres, axis by axis."""
    result = image.astype(np.float64)
    for axis in (0, 1):
        old, new = result.shape[axis], size[axis]
        place = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        low = np.floor(place).astype(int)
        high = np.minimum(low + 1, old - 1)
        shape = [1, 1, 1]
        shape[axis] = new
        share = (place - low).reshape(shape)
        result = result.take(low, axis) * (1 - share) + result.take(high, axis) * share
    return result


@pytest.mark.parametrize(
    ("size", "limits", "expected"),
    [
        ((375, 500), (2048, 512), (512, 683)),
        ((500, 375), (2048, 640), (853, 640)),
        ((300, 1500), (2048, 512), (410, 2048)),
        ((300, 1500), (1024, 256), (205, 1024)),
        ((256, 256), (256, 256), (256, 256)),
        ((1, 10_000), (100, 100), (1, 100)),
    ],
)
def test_keep_ratio_size(size, limits, expected):
    assert keep_ratio_size(size, *limits) == expected


@pytest.mark.parametrize(
    ("size", "limits", "min_short", "expected"),
    [
        (
            (375, 500),
            (520, 520),
            480,
            (520, 693),
        ),  # the short side follows the limit above the least
        ((375, 500), (260, 260), 480, (480, 640)),  # and is the least below it
        ((300, 1500), (2048, 512), 512, (512, 2560)),  # whatever the long side becomes
    ],
)
def test_least_short_side(size, limits, min_short, expected):
    assert keep_ratio_size(size, *limits, min_short=min_short) == expected


@pytest.mark.parametrize("limits", [(512, 2048), (0, 0), (10, -1)])
def test_contradicting_limits_are_errors(limits):
    with pytest.raises(ConfigError, match="must be positive"):
        keep_ratio_size((10, 10), *limits)


@pytest.mark.parametrize("size", SIZES)
def test_resize_image_is_bilinear_without_antialias(image, size):
    resized = resize_image(image, size)
    assert resized.shape == (*size, 3)
    assert resized.dtype == np.uint8
    assert resized.flags.c_contiguous
    assert np.abs(resized - bilinear(image, size)).max() < 1


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("corner", [(0, 0), (7, 11), None])
def test_a_window_is_a_part_of_the_whole(image, size, corner):
    top, left = (size[0] - 13, size[1] - 17) if corner is None else corner
    window = Window(top, left, 13, 17)
    part = (slice(top, top + 13), slice(left, left + 17))
    assert np.abs(resize_image(image, size, window) - bilinear(image, size)[part]).max() < 0.51
    labels = image[..., 0]
    assert np.array_equal(resize_labels(labels, size, window), resize_labels(labels, size)[part])


def test_resize_labels_takes_the_floor():
    labels = np.arange(5)[None].repeat(2, axis=0)
    assert resize_labels(labels, (2, 8))[0].tolist() == [0, 0, 1, 1, 2, 3, 3, 4]
    assert resize_labels(labels, (1, 3))[0].tolist() == [0, 1, 3]


def test_resize_labels_makes_no_new_value():
    labels = np.random.default_rng(0).choice([-1, 3, 9], (20, 30))
    resized = resize_labels(labels, (47, 71))
    assert resized.dtype == labels.dtype
    assert set(np.unique(resized)) == {-1, 3, 9}


@pytest.mark.golden
def test_sizes_pixels_and_labels_are_those_of_mmsegmentation(shared):
    golden = load_golden(shared, "setr_mmseg_pipeline")
    image = golden["input_bgr"].numpy()
    labels = golden["input_seg"].numpy()
    scales = {name.split("/")[0] for name in golden.scalars if name.endswith("/scale_in")}
    assert len(scales) == 8
    for name in scales:
        turned = name.endswith("_portrait")
        resized = golden[f"{name}/resized_bgr"].numpy()
        source = image.transpose(1, 0, 2) if turned else image
        long, short = golden.scalars[f"{name}/scale_in"]
        crop = 128 if name.startswith("setr_ms") else None
        size = keep_ratio_size(source.shape[:2], long, short, min_short=crop)
        assert size == resized.shape[:2]
        ours = resize_image(np.ascontiguousarray(source), size)
        assert np.abs(ours.astype(int) - resized).max() <= 1
        theirs = golden[f"{name}/seg_nearest"].numpy()
        assert np.array_equal(resize_labels(labels.T if turned else labels, size), theirs)


@pytest.mark.golden
def test_sizes_are_those_of_segvit(shared):
    limits = {
        "ade512": (2048, 512),
        "ade640": (2048, 640),
        "ade512_r0.5": (1024, 256),
        "coco512min": (2048, 512, 512),
        "pc480min": (520, 520, 480),
        "pc_r0.5min": (260, 260, 480),
    }
    rows = json.loads((shared / "golden" / "segvit_resize_geometry.json").read_text())
    assert {row[0] for row in rows} == set(limits)
    for name, size, expected in rows:
        assert keep_ratio_size(tuple(size), *limits[name]) == tuple(expected)

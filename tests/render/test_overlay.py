"""Overlays, their lines and their legend."""

from __future__ import annotations

import numpy as np
import pytest

from vitseg.classes import IGNORE_INDEX, ClassTable
from vitseg.errors import ConfigError
from vitseg.render.overlay import class_boundaries, draw_overlay, legend_entries

CLASSES = ClassTable(names=("road", "sky"), palette=((200, 0, 0), (0, 0, 200)))


def random_image(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def halves(height: int, width: int) -> np.ndarray:
    label_map = np.zeros((height, width), dtype=np.int64)
    label_map[:, width // 2 :] = 1
    return label_map


def test_opacity_0_leaves_the_image_and_1_shows_the_classes():
    image, label_map = random_image(40, 60), halves(40, 60)
    unchanged = draw_overlay(image, label_map, CLASSES, opacity=0, legend=False)
    assert np.array_equal(np.array(unchanged), image)
    painted = np.array(draw_overlay(image, label_map, CLASSES, opacity=1, legend=False))
    assert painted[0, 0].tolist() == [200, 0, 0]
    assert painted[0, -1].tolist() == [0, 0, 200]


@pytest.mark.parametrize("opacity", [-0.1, 1.1, float("nan")])
def test_opacity_outside_its_range_is_named(opacity):
    with pytest.raises(ConfigError, match="opacity is"):
        draw_overlay(random_image(4, 4), halves(4, 4), CLASSES, opacity=opacity, legend=False)


def test_sizes_that_differ_are_our_mistake():
    with pytest.raises(AssertionError):
        draw_overlay(random_image(4, 4), halves(4, 5), CLASSES, opacity=0.5, legend=False)


def test_boundaries_lie_left_of_and_above_the_change():
    label_map = halves(4, 6)
    assert np.flatnonzero(class_boundaries(label_map)[0]).tolist() == [2]
    assert np.flatnonzero(class_boundaries(label_map.T)[:, 0]).tolist() == [2]
    assert np.flatnonzero(class_boundaries(label_map, thickness=3)[0]).tolist() == [1, 2, 3]
    assert not class_boundaries(np.zeros((3, 3), dtype=np.int64)).any()


def test_legend_lists_what_occurs_largest_first_and_ignored_last():
    label_map = np.array([[1] * 7 + [0] * 1 + [IGNORE_INDEX] * 2])
    assert [entry.text for entry in legend_entries(label_map, CLASSES)] == [
        "sky 70.0%",
        "road 10.0%",
        "ignored 20.0%",
    ]
    only_sky = np.ones((2, 2), dtype=np.uint8)
    assert [entry.text for entry in legend_entries(only_sky, CLASSES)] == ["sky 100.0%"]


def test_tiny_shares_and_long_names_stay_readable():
    classes = ClassTable.from_names(["x" * 80, "dot"])
    label_map = np.zeros((100, 100), dtype=np.int64)
    label_map[0, 0] = 1
    long_name, dot = legend_entries(label_map, classes)
    assert len(long_name.text) < 50
    assert dot.text == "dot <0.1%"


@pytest.mark.parametrize(("height", "width"), [(1, 1), (48, 64), (360, 480)])
def test_legend_lies_below_an_untouched_image_of_any_size(height, width):
    image, label_map = random_image(height, width), halves(height, width)
    bare = draw_overlay(image, label_map, CLASSES, opacity=0.5, legend=False)
    assert bare.size == (width, height)
    with_legend = draw_overlay(image, label_map, CLASSES, opacity=0.5, legend=True)
    assert with_legend.height > height
    assert with_legend.width >= width
    assert np.array_equal(np.array(with_legend)[:height, :width], np.array(bare))


def test_many_classes_wrap_over_rows():
    classes = ClassTable.from_names([f"class {index}" for index in range(150)])
    label_map = np.arange(150).repeat(4).reshape(1, -1).repeat(50, axis=0)
    overlay = draw_overlay(random_image(50, 600), label_map, classes, opacity=0.5, legend=True)
    assert overlay.width == 600
    assert overlay.height > 50 + 20 * 12

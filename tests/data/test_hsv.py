from __future__ import annotations

import colorsys

import numpy as np

from vitseg.data.hsv import hsv_to_rgb, rgb_to_hsv


def test_hsv_is_what_the_formulas_say():
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    hue, saturation, value = rgb_to_hsv(image)
    assert hue.max() < 180
    for place in np.ndindex(image.shape[:2]):
        expected = colorsys.rgb_to_hsv(*(image[place] / 255))
        turn = abs(int(hue[place]) - expected[0] * 180)
        assert min(turn, 180 - turn) <= 0.6
        assert abs(int(saturation[place]) - expected[1] * 255) <= 0.6
        assert value[place] == image[place].max()


def test_there_and_back():
    image = np.random.default_rng(1).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    back = hsv_to_rgb(*rgb_to_hsv(image)).astype(int)
    assert np.abs(back - image).max() <= 6
    assert np.array_equal(back.max(2), image.max(2))


def test_pure_colours_and_grey_are_exact():
    image = np.array(
        [[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [0, 0, 0], [7, 7, 7], [255] * 3]],
        np.uint8,
    )
    hue, saturation, _ = rgb_to_hsv(image)
    assert hue.tolist() == [[0, 60, 120, 30, 0, 0, 0]]
    assert saturation.tolist() == [[255, 255, 255, 255, 0, 0, 0]]
    assert np.array_equal(hsv_to_rgb(*rgb_to_hsv(image)), image)

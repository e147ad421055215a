"""How far apart colours look, and colours that look different."""

from __future__ import annotations

import numpy as np
import pytest

from vitseg.classes import ClassTable, generated_palette
from vitseg.colors import distances, farthest_colors, perceptual


def test_places_of_known_colours():
    """Black and white are 100 apart; red and blue have CIECAM02's hue angles, 32 and 258 degrees."""
    found = perceptual(np.array([[255, 255, 255], [0, 0, 0], [255, 0, 0], [0, 0, 255]]))
    expected = [[100, -1.9, -1.1], [0, 0, 0], [60.1, 38.7, 24.3], [31.2, -8.4, -39.2]]
    np.testing.assert_allclose(found, expected, atol=0.1)


def test_distances_are_symmetric_and_zero_for_equal_colours():
    found = distances(np.array([[10, 20, 30], [10, 20, 30], [200, 20, 30]]))
    np.testing.assert_allclose(found, found.T)
    assert found[0, 1] == 0
    assert found[0, 2] > 30


@pytest.mark.parametrize(
    ("count", "least"), [(2, 40), (8, 35), (19, 23), (28, 20), (60, 14), (150, 10), (256, 8)]
)
def test_generated_colours_look_different(count, least):
    colors = np.array([*generated_palette(count), (0, 0, 0), (255, 255, 255)])
    apart = distances(colors)
    np.fill_diagonal(apart, np.inf)
    assert apart.min() > least


def test_the_first_colours_stay_whatever_the_count():
    longest = generated_palette(1000)
    assert len(set(longest)) == 1000
    for count in (1, 2, 28, 64, 65, 150, 300):
        assert generated_palette(count) == longest[:count]
    assert ClassTable.from_names(["a", "b"]).palette == longest[:2]


def test_a_further_colour_keeps_away_from_those_that_are_taken():
    taken = tuple(generated_palette(12))
    (color,) = farthest_colors(1, taken)
    apart = distances(np.array([color, *taken]))[0, 1:]
    assert apart.min() > 20
    near = ((255, 0, 0), (250, 5, 0))
    assert farthest_colors(3, near) == farthest_colors(4, near)[:3]


def test_more_classes_than_candidates_still_get_colours():
    assert len(generated_palette(7000)) == 7000

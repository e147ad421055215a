"""Hatching of classes whose colours look alike."""

from __future__ import annotations

import numpy as np
import pytest

from vitseg.classes import IGNORE_INDEX, ClassTable, generated_palette
from vitseg.render.hatching import hatchings, stripes
from vitseg.render.overlay import draw_overlay, legend_entries

ALIKE = ClassTable(
    names=("road", "sky", "path", "lane"),
    palette=((200, 0, 0), (0, 0, 200), (203, 2, 0), (200, 0, 0)),
)


def present(*indices: int) -> np.ndarray:
    return np.array(indices)


def test_only_classes_that_look_like_another_of_the_picture_are_hatched():
    assert hatchings(present(0, 1, 2, 3), ALIKE) == {2: 1, 3: 2}
    assert hatchings(present(0, 1), ALIKE) == {}
    assert hatchings(present(1, 2), ALIKE) == {}
    assert hatchings(present(2, 3), ALIKE) == {2: 1, 3: 2}
    assert hatchings(present(IGNORE_INDEX, 0, 3), ALIKE) == {3: 2}


@pytest.mark.parametrize("count", [2, 28, 150])
def test_generated_colours_need_none(count):
    table = ClassTable(names=tuple(map(str, range(count))), palette=generated_palette(count))
    assert hatchings(np.arange(count), table) == {}


def test_classes_of_one_colour_have_patterns_of_their_own():
    table = ClassTable(names=tuple("abcdefghijk"), palette=((9, 9, 9),) * 11)
    patterns = hatchings(np.arange(11), table)
    assert sorted(patterns) == [*range(1, 11)]
    drawn = {stripes((48, 48), pattern, 8).tobytes() for pattern in patterns.values()}
    assert len(drawn) == 10
    many = ClassTable(names=tuple(map(str, range(40))), palette=((9, 9, 9),) * 40)
    assert len(hatchings(np.arange(40), many)) == 39


def test_an_overlay_shows_which_is_which_and_the_legend_says_so():
    labels = np.zeros((60, 80), dtype=np.int64)
    labels[:, 40:] = 3
    image = np.full((60, 80, 3), 120, np.uint8)
    painted = np.array(draw_overlay(image, labels, ALIKE, opacity=1, legend=False))
    assert (painted[:, :38] == (200, 0, 0)).all()
    assert len(np.unique(painted[:, 42:].reshape(-1, 3), axis=0)) > 1
    assert [(entry.text.split()[0], entry.pattern) for entry in legend_entries(labels, ALIKE)] == [
        ("road", 0),
        ("lane", 2),
    ]
    bare = np.array(draw_overlay(image, labels, ALIKE, opacity=0, legend=False))
    assert (bare == image).all()
    labels[:, 40:] = 1
    painted = np.array(draw_overlay(image, labels, ALIKE, opacity=1, legend=True))
    assert (painted[:60, 42:80] == (0, 0, 200)).all()

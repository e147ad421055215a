from __future__ import annotations

import numpy as np
import pytest

from tests.tiny import photo
from vitseg.checks.fingerprint import Fingerprint, perceptual_hash
from vitseg.suggest.choose import FARTHEST, choose
from vitseg.suggest.look import Look

COUNT = 30


def look(uncertainty, feature, content, picture=None):
    feature = np.asarray(feature, float)
    shown = (0, b"") if picture is None else perceptual_hash(picture)
    unit = (feature / np.linalg.norm(feature)).astype(np.float32)
    return Look(uncertainty, unit, Fingerprint(content, 0, *shown))


def some_looks(seed=0, number=COUNT):
    rng = np.random.default_rng(seed)
    return [look(rng.random(), rng.normal(size=4), content) for content in range(number)]


def by_hand(looks, count, labelled):
    """The rule in plain Python, without copies."""
    there = [each.feature.astype(float) for each in labelled]
    left, order = list(range(len(looks))), []
    while left and len(order) < count:
        scores = []
        for index in left:
            own = looks[index].feature.astype(float)
            nearest = min((np.linalg.norm(own - other) for other in there), default=FARTHEST)
            scores.append(looks[index].uncertainty * nearest)
        best = left[int(np.argmax(scores))]
        order.append(best)
        left.remove(best)
        there.append(looks[best].feature.astype(float))
    return order


@pytest.mark.parametrize("labelled", [0, 3])
@pytest.mark.parametrize("seed", range(3))
def test_the_most_uncertain_and_farthest_comes_next(seed, labelled):
    looks, others = some_looks(seed), some_looks(seed + 10, labelled)
    others = [
        Look(each.uncertainty, each.feature, each.fingerprint._replace(content=1000 + number))
        for number, each in enumerate(others)
    ]
    found = choose(looks, 12, others)
    assert [each.index for each in found.choices] == by_hand(looks, 12, others)
    assert (found.choices[0].distance is None) == (labelled == 0)
    for each in found.choices[1:]:
        assert each.score == pytest.approx(looks[each.index].uncertainty * each.distance)
    assert found.num_copies == 0


def test_what_is_known_is_passed_over_and_what_is_alike_comes_last():
    looks = [
        look(0.9, (1, 0, 0), 0),
        look(0.8, (1, 0.02, 0), 1),  # like the first
        look(0.5, (0, 1, 0), 2),
        look(0.001, (0, 0, 1), 3),  # unlike all, but known
    ]
    assert [each.index for each in choose(looks, 4).choices] == [0, 2, 1, 3]


def test_copies_and_near_duplicates_are_never_both_chosen():
    picture = photo(60, 80, seed=1)
    brighter = (picture * 0.9).astype(np.uint8)
    looks = [
        look(0.5, (1, 0, 0), 7),
        look(0.9, (0, 1, 0), 7),  # the same file, whatever its features
        look(0.4, (0, 0, 1), 1, picture),
        look(0.3, (0, 1, 1), 2, brighter),
        look(0.2, (-1, 0, 0), 3),
        look(0.1, (-1, 0, 0), 4),  # the same features
    ]
    found = choose(looks, 6)
    assert [each.index for each in found.choices] == [1, 2, 4]
    assert found.num_copies == 3


def test_copies_of_labelled_images_are_not_chosen():
    picture = photo(60, 80, seed=1)
    labelled = [look(0.0, (1, 0, 0), 7, picture)]
    looks = [look(0.9, (0, 1, 0), 7), look(0.9, (0, 0, 1), 1, picture), look(0.1, (0, 1, 0), 2)]
    found = choose(looks, 3, labelled)
    assert [each.index for each in found.choices] == [2]
    assert found.num_copies == 2


def test_of_equal_images_the_first_comes_first():
    looks = [look(0.5, row, number) for number, row in enumerate(np.eye(4))]
    assert [each.index for each in choose(looks, 4).choices] == [0, 1, 2, 3]

"""Intervals over images, against hand-made counts."""

from __future__ import annotations

import numpy as np
import pytest
from bootstrap import Measured, difference, draws, interval, ious, mean_iou
from results import hits_of, packed, unpacked

from vitseg.metrics.confusion import scores_of


def confusions(n: int, k: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 50, (n, k, k))


def test_iou_of_hits_is_that_of_the_summed_confusions():
    counts = confusions(7, 4)
    counts[:, 2] = counts[:, :, 2] = 0  # a class that is nowhere
    scores = scores_of(counts.sum(0))
    np.testing.assert_allclose(ious(hits_of(counts)), scores.iou)
    assert mean_iou(ious(hits_of(counts))) == pytest.approx(scores.mean_iou)


def test_a_draw_counts_images_as_often_as_it_has_them():
    counts = confusions(3, 2)
    drawn = mean_iou(ious(hits_of(counts), np.array([[2.0, 0.0, 1.0]])))
    assert drawn.tolist() == pytest.approx([scores_of(2 * counts[0] + counts[2]).mean_iou])


def test_draws_have_as_many_images_and_are_the_same_each_time():
    first = draws(11, 50)
    assert first.shape == (50, 11)
    assert (first.sum(1) == 11).all()
    draws.cache_clear()
    np.testing.assert_array_equal(first, draws(11, 50))


def test_the_interval_of_two_kinds_of_images_is_that_of_the_binomial():
    """Half of 100 images are all right, half all wrong: the IoU of a draw follows from how many of each it has."""
    right, wrong = np.array([[10, 0], [0, 0]]), np.array([[0, 10], [0, 0]])
    hits = hits_of(np.stack([right] * 50 + [wrong] * 50))
    drawn = ious(hits, draws(100))[
        :, 0
    ]  # hits over labelled pixels: nothing else is taken for class 0
    found = interval(drawn)
    assert found.low == pytest.approx(0.40, abs=0.011)  # 0.5 - 1.96 * 0.05
    assert found.high == pytest.approx(0.60, abs=0.011)


def measured(counts: np.ndarray) -> Measured:
    hits = hits_of(counts)
    weights = draws(len(hits), 400)
    return Measured(float(mean_iou(ious(hits))), mean_iou(ious(hits, weights)))


def test_pairs_are_compared_on_the_same_draws():
    """Images differ much from one another, but the one model is ahead by the same few pixels on each."""
    rng = np.random.default_rng(1)
    hard = rng.integers(100, 900, 40)
    ours = np.stack([[[1000 - n + 5, n - 5], [0, 1000]] for n in hard])
    theirs = np.stack([[[1000 - n, n], [0, 1000]] for n in hard])
    found = difference([measured(ours)], [measured(theirs)])
    alone = interval(measured(ours).drawn)
    assert 0 < found.interval.low < found.mean < found.interval.high
    assert found.interval.high - found.interval.low < (alone.high - alone.low) / 20


def test_of_one_seed_twice_the_stray_is_needed_and_of_more_seeds_less():
    def told(points: float, seeds: int) -> str:
        high, low = Measured(0.5, np.full(2, 0.5)), Measured(0.5 - points, np.full(2, 0.5 - points))
        return difference([high] * seeds, [low] * seeds).unlike

    assert told(0.023, 1) == "one seed, below 2.4 points"
    assert told(0.025, 1) == ""
    assert told(0.016, 2) == "2 seeds, below 1.7 points"
    assert told(0.018, 2) == ""
    assert told(0.013, 3) == "3 seeds, below 1.4 points"
    assert told(0.014, 3) == ""


def test_within_one_training_no_seed_stands_between():
    a, b = Measured(0.5, np.full(2, 0.5)), Measured(0.499, np.full(2, 0.499))
    assert not difference([a], [b]).can_be_told
    assert difference([a], [b], is_within=True).can_be_told
    assert not difference([a, b], [b, a], is_within=True).can_be_told


def test_one_training_tells_of_itself_and_several_of_the_next():
    a, b = Measured(0.5, np.full(2, 0.5)), Measured(0.499, np.full(2, 0.499))
    assert not difference([a], [b], is_within=True).in_general.can_be_told
    assert difference([a, a], [b, b], is_within=True).in_general.can_be_told
    assert not difference([a, a], [b, b]).in_general.can_be_told


def test_beside_a_bound_the_same_is_asked_as_beside_nothing():
    a, b = Measured(0.5, np.array([0.49, 0.51])), Measured(0.49, np.array([0.48, 0.5]))
    found = difference([b] * 6, [a] * 6).beside(-0.02)
    assert found.mean == pytest.approx(0.01)
    assert found.by_seed == pytest.approx((0.01,) * 6)
    assert found.interval == pytest.approx((0.01, 0.01))
    assert found.can_be_told
    assert difference([b], [a]).beside(-0.02).unlike == "one seed, below 2.4 points"


def test_seeds_that_disagree_tell_nothing():
    high, low = Measured(0.6, np.full(9, 0.6)), Measured(0.5, np.full(9, 0.5))
    mid = Measured(0.51, np.full(9, 0.51))
    found = difference([high, low], [low, mid])
    assert found.mean == pytest.approx(0.045)
    assert found.unlike == "seeds disagree"
    assert not difference([high], [high]).can_be_told


@pytest.mark.parametrize("kind", ["confusions", "hits"])
def test_counts_come_back_as_they_were(kind):
    counts = confusions(5, 3) * 3000
    content = packed(counts, kind)
    np.testing.assert_array_equal(unpacked(content), counts)
    with pytest.raises(ValueError, match="cannot be read"):
        unpacked({**content, "data": content["data"][:-8]})

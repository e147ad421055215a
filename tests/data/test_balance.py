from __future__ import annotations

import numpy as np
import pytest

from tests.tiny import write_dataset
from vitseg.classes import IGNORE_INDEX
from vitseg.data.balance import (
    Balance,
    BalanceConfig,
    RareClassCrops,
    class_weights,
    measure_balance,
    repeat_factors,
)
from vitseg.data.catalog import open_dataset
from vitseg.data.statistics import ClassStatistics

# Four images of 100 labelled pixels: class 0 is everywhere, 1 in two of them, 2 in one, 3 in none.
PRESENT = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]], bool)
PIXELS = np.array([300, 90, 10, 0])
STATISTICS = ClassStatistics(PIXELS, np.array([400, 200, 100, 0]), PRESENT)


def weights(**config) -> np.ndarray:
    found = class_weights(BalanceConfig(**config), STATISTICS)
    assert found is not None
    return found


def test_off_by_default():
    config = BalanceConfig()
    assert not config.needs_statistics
    assert class_weights(config, STATISTICS) is None


def test_inverse_frequency_is_balanced_to_the_median():
    """freq = pixels / pixels of the images that show the class = 0.75, 0.45, 0.1; their median is 0.45."""
    rule = np.array([0.45 / 0.75, 1.0, 4.5])
    np.testing.assert_allclose(weights(class_weights="inverse")[:3], rule / rule.mean())


def test_effective_number():
    """(1 - b) / (1 - b^n) for n = 4, 2, 1 images."""
    rule = np.array([0.5 / (1 - 0.5**4), 0.5 / (1 - 0.5**2), 1.0])
    found = weights(class_weights="effective", effective_beta=0.5)
    np.testing.assert_allclose(found[:3], rule / rule.mean())


@pytest.mark.parametrize("rule", ["inverse", "effective"])
def test_weights_of_the_classes_that_occur_have_mean_one(rule):
    found = weights(class_weights=rule)
    assert found[:3].mean() == pytest.approx(1)
    assert found[3] == 1
    assert found[2] > found[1] > found[0] > 0


def test_the_largest_weight_is_cut():
    assert weights(class_weights="inverse", max_class_weight=1.5).max() == 1.5


def test_repeat_factors_are_those_of_lvis():
    """Shares of images 1, 0.5, 0.25; t = 0.64 gives sqrt(0.64 / 0.25) = 1.6 and sqrt(0.64 / 0.5) = 1.13."""
    np.testing.assert_allclose(
        repeat_factors(0.64, PRESENT), [1.6, np.sqrt(1.28), 1.0, 1.0], rtol=1e-12
    )
    np.testing.assert_array_equal(repeat_factors(0.0, PRESENT), np.ones(4))


def test_rare_classes_are_drawn_more_often():
    label_map = np.zeros((20, 30), np.int64)
    label_map[3, 4], label_map[10:12, 5:9] = 2, 1
    label_map[0] = IGNORE_INDEX
    crops = RareClassCrops(1.0, 0.5, PIXELS)
    rng = np.random.default_rng(0)
    drawn = [label_map[crops.draw(label_map, rng)] for _ in range(4000)]
    shares = np.bincount(drawn, minlength=3) / len(drawn)
    odds = np.exp((1 - PIXELS[:3] / 400) / 0.5)
    np.testing.assert_allclose(shares, odds / odds.sum(), atol=0.03)


def test_crops_on_rare_classes_have_a_share():
    label_map = np.zeros((4, 4), np.int64)
    crops, rng = RareClassCrops(0.25, 0.01, PIXELS), np.random.default_rng(0)
    drawn = [crops.draw(label_map, rng) is not None for _ in range(4000)]
    assert np.mean(drawn) == pytest.approx(0.25, abs=0.03)


def test_an_image_without_labels_is_cropped_anywhere():
    label_map = np.full((4, 4), IGNORE_INDEX)
    assert RareClassCrops(1.0, 0.01, PIXELS).draw(label_map, np.random.default_rng(0)) is None


def test_what_is_off_is_not_measured(tmp_path):
    dataset = open_dataset(f"folder:{write_dataset(tmp_path)}", "train")
    (tmp_path / "masks" / "train_0.png").unlink()
    assert measure_balance(BalanceConfig(), dataset) == Balance()


def test_all_rules_from_a_data_set(tmp_path):
    dataset = open_dataset(f"folder:{write_dataset(tmp_path)}", "train")
    config = BalanceConfig(class_weights="inverse", rare_class_crops=0.5, repeat_threshold=1.0)
    seen = []
    balance = measure_balance(config, dataset, on_image=lambda: seen.append(1))
    assert len(seen) == len(dataset)
    assert balance.class_weights is not None
    labels = np.concatenate([dataset.label_map(index).ravel() for index in range(len(dataset))])
    counts = np.bincount(labels, minlength=3)
    assert (np.argsort(-counts) == np.argsort(balance.class_weights)).all()
    assert balance.repeats is not None
    assert balance.repeats.shape == (len(dataset),)
    assert balance.crops is not None

"""Collecting the worst images of an evaluation, and turning the evaluation into a report."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.tiny import make_predictor, write_dataset
from vitseg.data.catalog import open_dataset
from vitseg.evaluation import worst_samples as module
from vitseg.evaluation.evaluate import SampleResult, evaluate
from vitseg.evaluation.measures import MEASURES
from vitseg.evaluation.report import report_data
from vitseg.evaluation.worst_samples import WorstSamples, image_miou
from vitseg.metrics.confusion import count_pairs
from vitseg.render.report import report_page


def result(index: int, prediction, labels, num_classes: int = 3) -> SampleResult:
    prediction, labels = np.atleast_2d(prediction), np.atleast_2d(labels)
    counts = count_pairs(prediction, labels, num_classes)
    return SampleResult(index, f"image_{index}", counts, prediction, labels, None)


def wrong_pixels(index: int, count: int, label: int = 0, predicted: int = 1) -> SampleResult:
    """Ten pixels of a class, of which some are predicted as another."""
    prediction = np.full(10, label)
    prediction[:count] = predicted
    return result(index, prediction, np.full(10, label))


def picture() -> np.ndarray:
    return np.zeros((1, 10, 3), dtype=np.uint8)


def collect(results, num_samples: int = 3) -> WorstSamples:
    samples = WorstSamples(num_samples, 3)
    for found in results:
        samples.add(found, picture)
    return samples


def test_image_miou_is_the_mean_over_the_labelled_classes():
    counts = np.array([[6, 2, 0], [0, 1, 3], [0, 0, 0]])
    assert image_miou(counts) == pytest.approx((6 / 8 + 1 / 6) / 2)
    assert math.isnan(image_miou(np.zeros((3, 3), dtype=np.int64)))


def test_the_worst_are_kept_in_order_and_of_equal_ones_the_first():
    wrong = [3, 9, 1, 3, 5, 3, 0]
    samples = collect(wrong_pixels(index, count) for index, count in enumerate(wrong))
    assert [view.id for view in samples.worst] == ["image_1", "image_4", "image_0"]
    assert [view.miou for view in samples.worst] == [0.1, 0.5, 0.7]
    assert [view.accuracy for view in samples.worst] == [0.1, 0.5, 0.7]


def test_an_image_without_labels_is_in_no_list():
    samples = collect([result(0, [0] * 10, [-1] * 10)])
    assert samples.worst == ()
    assert samples.cell_images() == {}


def test_the_gallery_may_be_empty():
    assert collect([wrong_pixels(0, 5)], num_samples=0).worst == ()


def test_cells_name_the_images_with_most_of_their_pixels():
    rng = np.random.default_rng(0)
    results = [
        result(i, *rng.integers(0, 3, (2, 40)).clip(0, rng.integers(1, 3))) for i in range(40)
    ]
    found = WorstSamples(0, 3)
    for one in results:
        found.add(one, lambda: np.zeros((1, 40, 3), dtype=np.uint8))
    expected = {}
    for row in range(3):
        for column in range(3):
            ranked = sorted(results, key=lambda one: -one.counts[row, column])
            entries = [(one.id, int(one.counts[row, column])) for one in ranked]
            entries = tuple(entry for entry in entries if entry[1])[: module.IMAGES_PER_CELL]
            if entries:
                expected[row, column] = entries
    assert found.cell_images() == expected


def test_every_image_that_a_cell_of_few_classes_names_has_pictures():
    results = [wrong_pixels(i, 1 + i % 9, i % 3, (i + 1) % 3) for i in range(60)]
    samples = collect(results)
    named = {
        name
        for (row, column), images in samples.cell_images().items()
        if row != column
        for name, _ in images
    }
    assert named <= {view.id for view in samples.confusion_views}


def test_what_is_kept_does_not_grow(monkeypatch):
    monkeypatch.setattr(module, "CONFUSION_PICTURES", 5)
    loaded = []

    def load():
        loaded.append(1)
        return picture()

    samples = WorstSamples(2, 3)
    for index in range(200):
        samples.add(wrong_pixels(index, 1 + (index * 7) % 10, index % 3, (index + 1) % 3), load)
    assert len(samples.worst) == 2
    assert len(samples.confusion_views) == 5
    assert len(loaded) < 100, "images that are not kept are not loaded"


def test_a_larger_confusion_displaces_a_smaller_one(monkeypatch):
    monkeypatch.setattr(module, "CONFUSION_PICTURES", 2)
    samples = collect(
        [wrong_pixels(0, 2), wrong_pixels(1, 3, 1, 2), wrong_pixels(2, 1, 2, 0), wrong_pixels(3, 9)]
    )
    assert [view.id for view in samples.confusion_views] == ["image_1", "image_3"]


def test_a_sample_names_its_largest_confusions():
    found = result(0, [1, 1, 2, 0, 1, 0, 2, 2, 2, 2], [0, 0, 0, 1, 1, 1, 2, 2, 2, 2])
    (view,) = collect([found]).worst
    assert [(c.label, c.predicted, c.pixels) for c in view.confusions] == [
        (0, 1, 2),
        (1, 0, 2),
        (0, 2, 1),
    ]


@pytest.mark.parametrize("measures", [(), MEASURES])
def test_a_real_evaluation_becomes_a_page(tmp_path, measures):
    write_dataset(tmp_path / "data")
    dataset = open_dataset(f"folder:{tmp_path / 'data'}", "val")
    predictor = make_predictor(mode="slide", crop_size=[64, 64], stride=[48, 32], flip=True)
    samples = WorstSamples(1, 3)
    evaluation = evaluate(
        predictor,
        dataset,
        measures=measures,
        on_sample=lambda one: samples.add(one, lambda: dataset[one.index].image),
    )
    data = report_data(evaluation, samples, "Tiny", {"Model": "runs/tiny"})
    assert data.headline["mIoU"] == evaluation.scores.mean_iou
    assert list(data.headline)[5:] == (["Boundary IoU", "ECE"] if measures else [])
    protocol = data.protocol
    assert next(iter(protocol)) == "Model"
    assert protocol["Mode"] == "sliding window"
    assert protocol["Crop"] == "64 × 64 px"
    assert protocol["Stride"] == "48 × 32 px (height × width)"
    assert protocol["Flip"] == "yes"
    assert protocol["Split"] == "val"
    assert protocol["Data hash"] == evaluation.protocol["content_hash"]
    assert protocol["Date"].endswith("UTC")
    assert sum(score.pixels for score in data.classes) == data.confusion.sum()
    assert len(data.worst) == 1
    assert data.samples[data.worst[0]] == samples.worst[0]
    assert bool(data.trimap) == bool(data.reliability) == bool(data.sizes) == bool(measures)
    if measures:
        assert [(size.name, size.area) for size in data.sizes] == [
            ("small", "below 1,024 px"),
            ("medium", "1,024 to 9,216 px"),
            ("large", "from 9,216 px"),
        ]
        assert sum(part.share for part in data.reliability) == pytest.approx(1)
        assert data.samples[data.worst[0]].thumbnail.confidence is not None
    assert "Tiny" in report_page(data)

"""What an evaluation gives beyond the confusion matrix."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

import vitseg
from tests.tiny import NAMES, make_model, make_predictor, write_dataset
from vitseg.classes import IGNORE_INDEX
from vitseg.data.catalog import open_dataset
from vitseg.data.official.tables import read_table
from vitseg.errors import ConfigError, DataError, VitsegError
from vitseg.evaluation.class_subset import ClassSubset
from vitseg.evaluation.evaluate import SampleResult
from vitseg.evaluation.measures import MEASURES
from vitseg.inference.scores import TensorScores, full_scores, label_map, labels_and_confidence
from vitseg.metrics.boundary import WIDTHS, BoundaryIoU, Trimap
from vitseg.metrics.calibration import Calibration
from vitseg.metrics.confusion import ConfusionMatrix
from vitseg.metrics.size import SizeBinnedIoU


@pytest.fixture
def root(tmp_path):
    return write_dataset(tmp_path / "data")


@pytest.fixture
def dataset(root):
    return open_dataset(f"folder:{root}", "val")


def test_every_measure_is_that_of_its_accumulator(dataset):
    predictor = make_predictor()
    found = vitseg.evaluate(predictor, dataset, measures=MEASURES).measures
    trimap, boundary = Trimap(3), BoundaryIoU(3)
    size, calibration = SizeBinnedIoU(3), Calibration(3)
    for sample in dataset:
        labels, confidence = labels_and_confidence(predictor.scores(sample.image))
        for measure in (trimap, boundary, size):
            measure.update(labels, sample.label_map)
        calibration.update(labels, sample.label_map, confidence)
    assert found.trimap is not None
    assert found.boundary is not None
    assert found.size is not None
    assert found.calibration is not None
    for point, expected in zip(found.trimap, trimap.curve(), strict=True):
        np.testing.assert_array_equal(point.scores.iou, expected.scores.iou)
    np.testing.assert_array_equal(found.boundary.iou, boundary.scores().iou)
    for name, scores in size.scores().items():
        np.testing.assert_array_equal(found.size[name].iou, scores.iou)
    assert found.calibration.ece == calibration.scores().ece


def test_json_of_all_measures(dataset):
    result = vitseg.evaluate(make_predictor(), dataset, measures=MEASURES)
    values = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert {"miou", "macc", "aacc", "mdice", "fwiou"} <= values.keys()
    assert [point["width"] for point in values["trimap"]] == list(WIDTHS)
    assert all(0 <= point["miou"] <= 1 for point in values["trimap"])
    assert 0 <= values["boundary_iou"] <= 1
    assert list(values["size_iou"]) == ["small", "medium", "large"]
    assert sum(size["objects"] for size in values["size_iou"].values()) > 3
    assert 0 <= values["ece"] <= 1
    assert len(values["reliability"]) == 15
    assert values["reliability"][0].keys() == {"from", "to", "confidence", "accuracy", "pixels"}
    assert sum(line["pixels"] for line in values["reliability"]) == 2 * 64 * 80
    sky = values["per_class"]["sky"]
    assert sky.keys() == {"iou", "acc", "dice", "pixels", "boundary_iou", "size_iou"}
    assert sky["size_iou"].keys() == values["size_iou"].keys()


def test_nothing_more_is_measured_unless_asked_for(dataset):
    values = vitseg.evaluate(make_predictor(), dataset).to_json()
    assert not {"trimap", "boundary_iou", "size_iou", "ece", "reliability"} & values.keys()
    some = vitseg.evaluate(make_predictor(), dataset, measures=["size"]).to_json()
    assert "size_iou" in some
    assert not {"trimap", "boundary_iou", "ece", "reliability"} & some.keys()


def test_all_measures_of_nothing_are_null(root):
    for path in (root / "masks").iterdir():
        Image.fromarray(np.full((64, 80), 255, np.uint8)).save(path)
    dataset = open_dataset(f"folder:{root}", "val")
    values = vitseg.evaluate(make_predictor(), dataset, measures=MEASURES).to_json()
    json.dumps(values, allow_nan=False)
    assert values["boundary_iou"] is values["ece"] is values["fwiou"] is values["mdice"] is None
    assert {point["miou"] for point in values["trimap"]} == {None}
    assert values["size_iou"]["small"] == {"miou": None, "objects": 0}


@pytest.mark.parametrize("asked", [{"measures": ["boundery"]}, {"without_classes": ["rode"]}])
def test_unknown_names_are_refused_before_any_image_is_read(root, asked):
    for path in (root / "images").iterdir():
        path.write_text("no image")
    with pytest.raises(ConfigError, match=r"Did you mean '(boundary|road)'"):
        vitseg.evaluate(make_predictor(), open_dataset(f"folder:{root}", "val"), **asked)


@pytest.mark.parametrize("measures", [(), ("calibration",)])
def test_every_sample_is_reported(dataset, measures):
    seen: list[SampleResult] = []
    predictor = make_predictor()
    result = vitseg.evaluate(predictor, dataset, measures=measures, on_sample=seen.append)
    assert [(each.index, each.id) for each in seen] == [(0, "val_0"), (1, "val_1")]
    np.testing.assert_array_equal(sum(each.counts for each in seen), result.counts)
    for each in seen:
        sample = dataset[each.index]
        np.testing.assert_array_equal(each.prediction, predictor(sample.image).label_map)
        np.testing.assert_array_equal(each.labels, sample.label_map)
        alone = ConfusionMatrix(3)
        alone.update(each.prediction, each.labels)
        np.testing.assert_array_equal(each.counts, alone.counts)
        if measures:
            assert each.confidence is not None
            assert each.confidence.shape == (64, 80)
        else:
            assert each.confidence is None


def test_scores_that_are_no_numbers_name_the_image(dataset, root):
    model = make_model()
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.fill_(float("nan"))
    with pytest.raises(VitsegError, match=r"val_0\.png: the model's scores are NaN") as raised:
        vitseg.evaluate(make_predictor(model), dataset)
    assert str(root) in str(raised.value)


def test_without_a_class_the_best_is_taken_among_the_others(dataset):
    predictor, full = make_predictor(), ConfusionMatrix(2)
    for sample in dataset:
        scores = full_scores(predictor.scores(sample.image))[[0, 2]]
        labels = np.array([0, IGNORE_INDEX, 1, IGNORE_INDEX])[sample.label_map]
        full.update(label_map(TensorScores(scores)), labels)
    result = vitseg.evaluate(predictor, dataset, without_classes=["road"])
    assert result.classes.names == ("sky", "tree")
    np.testing.assert_array_equal(result.counts, full.counts)
    values = result.to_json()
    assert values["without_classes"] == ["road"]
    assert list(values["per_class"]) == ["sky", "tree"]


def test_the_data_set_may_lack_the_class_already(root, dataset):
    expected = vitseg.evaluate(make_predictor(), dataset, without_classes=["road"])
    for path in (root / "masks").iterdir():
        labels = np.array([0, 255, 1], np.uint8)[np.asarray(Image.open(path))]
        Image.fromarray(labels).save(path)
    (root / "classes.json").write_text(json.dumps({"classes": ["sky", "tree"]}))
    lacking = open_dataset(f"folder:{root}", "val")
    found = vitseg.evaluate(make_predictor(), lacking, without_classes=["road"], measures=MEASURES)
    np.testing.assert_array_equal(found.counts, expected.counts)
    with pytest.raises(DataError, match="the model has 3 classes, the data set 2"):
        vitseg.evaluate(make_predictor(), lacking)


def test_pascal_context_without_background_is_its_59_classes():
    with_background, without = (read_table(f"pascal_context_{n}", hint="") for n in (60, 59))
    subset = ClassSubset(with_background.classes, ["background"])
    assert subset.classes == without.classes
    raw = np.array([sorted(without.mapping)])
    labels = np.vectorize(with_background.mapping.get)(raw)
    expected = np.vectorize(without.mapping.get)(raw)
    np.testing.assert_array_equal(subset.labels(labels), expected)
    assert expected[0, 0] == IGNORE_INDEX


def test_confidence_is_shared_among_the_classes_that_remain():
    scores = torch.tensor([0.6, 0.3, 0.1])[:, None, None]
    classes = make_predictor().classes
    _, confidence = labels_and_confidence(ClassSubset(classes, ["sky"]).scores(TensorScores(scores)))  # fmt: skip
    assert confidence.item() == pytest.approx(0.75)


def test_not_every_class_can_be_left_out(dataset):
    with pytest.raises(ConfigError, match="no class would remain"):
        vitseg.evaluate(make_predictor(), dataset, without_classes=NAMES)

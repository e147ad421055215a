from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

import vitseg
from tests.tiny import NAMES, make_predictor, make_record, write_dataset
from vitseg.classes import IGNORE_INDEX, ClassTable
from vitseg.data.catalog import open_dataset
from vitseg.errors import DataError
from vitseg.evaluation.provenance import content_hash
from vitseg.inference.predictor import Predictor
from vitseg.metrics.confusion import ConfusionMatrix


@pytest.fixture
def root(tmp_path):
    return write_dataset(tmp_path / "data")


def write_classes(root, names) -> None:
    (root / "classes.json").write_text(json.dumps({"classes": names}))


def test_scores_are_those_of_the_label_maps(root):
    predictor, dataset = make_predictor(), open_dataset(f"folder:{root}", "train")
    seen = []
    result = vitseg.evaluate(predictor, dataset, lambda: seen.append(1))
    confusion = ConfusionMatrix(3)
    for index in range(len(dataset)):
        sample = dataset[index]
        confusion.update(predictor(sample.image).label_map, sample.label_map)
    expected = confusion.scores()
    np.testing.assert_array_equal(result.scores.iou, expected.iou)
    assert result.scores.mean_iou == expected.mean_iou
    assert len(seen) == len(dataset) == 4


def test_json_has_the_scores_and_how_they_were_made(root):
    predictor, dataset = make_predictor(flip=True), open_dataset(f"folder:{root}", "val")
    result = vitseg.evaluate(predictor, dataset)
    scores = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert scores["miou"] == pytest.approx(result.scores.mean_iou)
    assert scores["macc"] == pytest.approx(result.scores.mean_accuracy)
    assert scores["aacc"] == pytest.approx(result.scores.pixel_accuracy)
    assert list(scores["per_class"]) == list(NAMES)
    for index, entry in enumerate(scores["per_class"].values()):
        assert entry["iou"] == pytest.approx(result.scores.iou[index])
        assert entry["acc"] == pytest.approx(result.scores.accuracy[index])
    pixels = [entry["pixels"] for entry in scores["per_class"].values()]
    assert sum(pixels) == 2 * 64 * 80
    assert (scores["dataset"], scores["split"], scores["images"]) == ("folder", "val", 2)
    assert scores["inference"]["flip"] is True
    assert scores["versions"]["torch"]


def test_what_is_undefined_is_null(root):
    """Everything is ignored, so no score is defined."""
    for path in (root / "masks").iterdir():
        Image.fromarray(np.full((64, 80), 255, np.uint8)).save(path)
    dataset = open_dataset(f"folder:{root}", "val")
    assert (dataset[0].label_map == IGNORE_INDEX).all()
    scores = vitseg.evaluate(make_predictor(), dataset).to_json()
    assert scores["miou"] is scores["macc"] is scores["aacc"] is None
    assert scores["per_class"]["sky"] == {"iou": None, "acc": None, "dice": None, "pixels": 0}
    json.dumps(scores, allow_nan=False)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["sky", "road", "tree", "car"], "the model has 3 classes, the data set 4"),
        (["sky", "tree", "road"], "class 1 is 'road' in the model and 'tree' in the data set"),
    ],
)
def test_other_classes_are_refused_before_any_image_is_read(root, names, message):
    write_classes(root, names)
    for path in (root / "images").iterdir():
        path.write_text("no image")
    with pytest.raises(DataError, match=message):
        vitseg.evaluate(make_predictor(), open_dataset(f"folder:{root}", "val"))


def test_colours_may_differ(root):
    record = make_record(classes=ClassTable(names=NAMES, palette=((1, 1, 1), (2, 2, 2), (3, 3, 3))))
    predictor = Predictor(make_predictor().model, record, "cpu")
    vitseg.evaluate(predictor, open_dataset(f"folder:{root}", "val"))


def test_content_hash_changes_with_any_file(root):
    def current() -> str:
        return content_hash(open_dataset(f"folder:{root}", "val"))

    first = current()
    assert first == current()
    mask = root / "masks" / "val_1.png"
    mask.write_bytes(mask.read_bytes() + b"\0")
    second = current()
    (root / "val.txt").write_text("val_1\nval_0\n")
    assert len({first, second, current()}) == 3

from __future__ import annotations

import logging
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from tests.tiny import NAMES, make_predictor, photo, write_model
from vitseg.errors import CheckpointError, ConfigError
from vitseg.inference.scores import labels_and_confidence
from vitseg.integrations.cvat import DetectionFunction, create

cvataa = pytest.importorskip("cvat_sdk.auto_annotation")
driver = pytest.importorskip("cvat_sdk.auto_annotation.driver")
masks = pytest.importorskip("cvat_sdk.masks")

SIZE = (50, 70)


class Context(cvataa.DetectionFunctionContext):
    def __init__(self, conf_threshold=None, conv_mask_to_poly=False):
        self._values = conf_threshold, conv_mask_to_poly

    frame_name = "a.png"
    conf_threshold = property(lambda self: self._values[0])
    conv_mask_to_poly = property(lambda self: self._values[1])


@pytest.fixture(scope="module")
def predictor():
    return make_predictor()


@pytest.fixture(scope="module")
def image():
    return Image.fromarray(photo(*SIZE, seed=3))


def expected(predictor, image):
    return labels_and_confidence(predictor.scores(np.asarray(image)))


def decoded(shape):
    return masks.decode_mask(shape.points, image_width=SIZE[1], image_height=SIZE[0])


def painted(shapes, draw):
    labels, times = np.full(SIZE, -1), np.zeros(SIZE, int)
    for shape in shapes:
        inside = draw(shape)
        labels[inside] = shape.label_id
        times += inside
    return labels, times


def test_the_labels_are_the_classes(predictor):
    spec = DetectionFunction(predictor).spec
    assert isinstance(spec, cvataa.DetectionFunctionSpec)
    assert [(each.id, each.name, each.type) for each in spec.labels] == [
        (index, name, "mask") for index, name in enumerate(NAMES)
    ]


@pytest.mark.parametrize("by", ["class", "piece"])
def test_masks_are_the_labels(predictor, image, by):
    shapes = DetectionFunction(predictor, by).detect(Context(), image)
    labels, times = painted(shapes, decoded)
    wanted, _ = expected(predictor, image)
    np.testing.assert_array_equal(labels, wanted)
    assert (times == 1).all()
    assert all(shape.type.value == "mask" for shape in shapes)
    classes = len(np.unique(wanted))
    assert classes > 1
    assert len(shapes) == classes if by == "class" else len(shapes) > classes


def test_masks_are_spelt_as_by_cvats_own_encoder(predictor, image):
    wanted, _ = expected(predictor, image)
    for shape in DetectionFunction(predictor).detect(Context(), image):
        assert shape.points == masks.encode_mask(wanted == shape.label_id)


def drawn(shape):
    """The pixels of a polygon."""
    from pycocotools import mask as rle_tools

    return rle_tools.decode(rle_tools.frPyObjects([shape.points], *SIZE))[:, :, 0] > 0


def test_polygons_painted_as_they_are_sent_are_the_labels(predictor, image):
    shapes = DetectionFunction(predictor).detect(Context(conv_mask_to_poly=True), image)
    assert all(shape.type.value == "polygon" for shape in shapes)
    assert [shape.z_order for shape in shapes] == list(range(len(shapes)))
    wanted, _ = expected(predictor, image)
    labels, _ = painted(shapes, drawn)
    np.testing.assert_array_equal(labels, wanted)


def test_what_a_piece_encloses_is_seen_whatever_its_class(monkeypatch, predictor, image):
    wanted = np.full(SIZE, 1)
    wanted[10:40, 10:60] = 2
    wanted[15:30, 15:40] = 0
    wanted[18:25, 20:30] = 1
    monkeypatch.setattr("vitseg.integrations.cvat.label_map", lambda scores: wanted)
    shapes = DetectionFunction(predictor).detect(Context(conv_mask_to_poly=True), image)
    assert [shape.label_id for shape in shapes] == [1, 2, 0, 1]
    labels, _ = painted(shapes, drawn)
    np.testing.assert_array_equal(labels, wanted)


@pytest.mark.parametrize("by", ["class", "piece"])
def test_masks_below_the_threshold_are_left_out(predictor, image, by):
    wanted, confidence = expected(predictor, image)
    function = DetectionFunction(predictor, by)
    shapes = function.detect(Context(0.0), image)
    means = sorted(confidence[decoded(shape)].mean(dtype=float) for shape in shapes)
    between = (means[0] + means[-1]) / 2
    kept = function.detect(Context(between), image)
    assert 0 < len(kept) < len(shapes)
    assert len(kept) == sum(mean >= between for mean in means)
    assert all(confidence[decoded(shape)].mean(dtype=float) >= between for shape in kept)
    if by == "class":
        assert len(shapes) == len(np.unique(wanted))


def test_small_masks_are_left_out(predictor, image):
    shapes = DetectionFunction(predictor, "piece").detect(Context(), image)
    areas = [decoded(shape).sum() for shape in shapes]
    kept = DetectionFunction(predictor, "piece", min_pixels=20).detect(Context(), image)
    assert len(kept) == sum(area >= 20 for area in areas) < len(areas)


def label(index, name, kind="any"):
    return SimpleNamespace(id=100 + index, name=name, type=kind, attributes=[], sublabels=[])


@pytest.mark.parametrize("polygons", [False, True])
def test_cvats_driver_takes_what_is_answered(monkeypatch, predictor, image, polygons):
    """Everything of `cvat-cli task auto-annotate` but the server."""
    sent = {}
    media = SimpleNamespace(load_image=lambda: image)
    samples = [SimpleNamespace(frame_name=f"{n}.png", frame_index=n, media=media) for n in (4, 7)]
    labels = [label(index, name) for index, name in enumerate(reversed(NAMES))]
    dataset = SimpleNamespace(labels=labels, samples=samples)
    monkeypatch.setattr(driver, "TaskDataset", lambda client, task, load_annotations: dataset)
    api = SimpleNamespace(
        partial_update_annotations=lambda action, task, **content: sent.update(content)
    )
    client = SimpleNamespace(logger=logging.getLogger("t"), tasks=SimpleNamespace(api=api))
    function = DetectionFunction(predictor)
    driver.annotate_task(client, 1, function, conf_threshold=0.0, conv_mask_to_poly=polygons)
    shapes = sent["patched_labeled_data_request"].shapes
    assert {shape.frame for shape in shapes} == {4, 7}
    assert {shape.source for shape in shapes} == {"auto"}
    if not polygons:
        wanted, _ = expected(predictor, image)
        for shape in shapes:
            name = labels[shape.label_id - 100].name
            np.testing.assert_array_equal(decoded(shape), wanted == NAMES.index(name))


def test_a_model_directory_becomes_a_function(tmp_path):
    function = create(model=str(write_model(tmp_path / "model")), device="cpu", by="piece")
    assert len(function.spec.labels) == len(NAMES)


def test_wrong_parameters_are_named(tmp_path, predictor):
    with pytest.raises(ConfigError, match="by is 'pixel'"):
        DetectionFunction(predictor, "pixel")
    with pytest.raises(CheckpointError, match="does not exist"):
        create(model=str(tmp_path / "none"))


def test_a_missing_package_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "cvat_sdk.auto_annotation", None)
    with pytest.raises(ConfigError, match=r"pip install 'vitseg\[cvat\]'"):
        create(model=str(tmp_path / "none"))

from __future__ import annotations

import base64
import io
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle_tools
from pycocotools.coco import COCO
from rasterio.features import rasterize

from tests.tiny import make_record, photo
from vitseg.classes import ClassTable
from vitseg.images.globe import signed_area
from vitseg.images.polygons import count_corners, pixel_features
from vitseg.serve import answers
from vitseg.serve.answers import Wanted, encode_answer, find_classes
from vitseg.serve.jobs import Result, Served
from vitseg.serve.masks import chosen, left_out, mask_facts, mask_png, require_format
from vitseg.serve.problems import UnusableError
from vitseg.serve.service import Computed
from vitseg.serve.settings import ServeSettings

pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul")  # in rasterio itself

DEFAULTS = ServeSettings()


def table(num_classes: int) -> ClassTable:
    return ClassTable.from_names([f"c{index}" for index in range(num_classes)])


def ragged(height: int, width: int, num_classes: int, seed: int = 0) -> np.ndarray:
    """Patches of two to three pixels, and some noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, num_classes, (height // 3 + 1, width // 2 + 1))
    labels = np.kron(coarse, np.ones((3, 2), int))[:height, :width]
    noise = rng.random((height, width)) < 0.1
    labels[noise] = rng.integers(0, num_classes, noise.sum())
    return labels.astype(np.uint8 if num_classes <= 256 else np.uint16)


def computed(labels: np.ndarray, num_classes: int, confidence=None) -> Computed:
    record = make_record()
    served = Served(
        "tiny", "segvit", "directory", table(num_classes), record.preprocessing, {}, (64, 64)
    )
    return Computed(served, Result(labels, confidence), photo(*labels.shape), ("a notice",), 0.5)


SIZES = [(1, 1), (1, 17), (23, 1), (31, 40)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("num_classes", [2, 5, 300])
def test_run_lengths_are_those_of_pycocotools(size, num_classes):
    labels = ragged(*size, num_classes)
    found = mask_facts(chosen(labels, table(num_classes), None), "rle", DEFAULTS)["rle"]
    assert [one["class_index"] for one in found] == np.unique(labels).tolist()
    for one in found:
        inside = np.asfortranarray(labels == one["class_index"], np.uint8)
        assert one["counts"].encode() == rle_tools.encode(inside)["counts"]
        assert one["size"] == list(size)
        assert one["class"] == f"c{one['class_index']}"


@pytest.mark.parametrize("num_classes", [5, 255, 256, 300])
def test_classes_that_were_not_chosen_are_in_no_format(num_classes):
    labels = ragged(31, 40, num_classes)
    kept = tuple(np.unique(labels)[:2].tolist())
    mask = chosen(labels, table(num_classes), kept)
    other = 255 if num_classes < 256 else 65535
    assert left_out(table(num_classes)) == other
    assert np.array_equal(mask.labels, np.where(np.isin(labels, kept), labels.astype(int), other))
    rle = mask_facts(mask, "rle", DEFAULTS)["rle"]
    assert [one["class_index"] for one in rle] == list(kept)
    coco = mask_facts(mask, "coco", DEFAULTS)
    assert [one["category_id"] - 1 for one in coco["annotations"]] == list(kept)
    features = mask_facts(mask, "geojson", DEFAULTS)["geojson"]["features"]
    assert {one["properties"]["class_index"] for one in features} == set(kept)


@pytest.mark.parametrize(("num_classes", "mode"), [(5, "P"), (255, "P"), (256, "I;16")])
def test_a_png_of_chosen_classes_holds_them_and_the_value_of_all_others(num_classes, mode):
    labels = ragged(31, 40, num_classes)
    kept = tuple(np.unique(labels)[:2].tolist())
    mask = chosen(labels, table(num_classes), kept)
    image = Image.open(io.BytesIO(mask_png(mask)))
    assert image.mode == mode
    assert np.array_equal(np.asarray(image), mask.labels)


def test_a_coco_data_set_loads_in_pycocotools_and_gives_the_labels_back(tmp_path):
    labels = ragged(31, 40, 5)
    facts = mask_facts(chosen(labels, table(5), None), "coco", DEFAULTS)
    (tmp_path / "coco.json").write_text(json.dumps(facts))
    coco = COCO(tmp_path / "coco.json")
    again = np.full(labels.shape, 99)
    for annotation in coco.loadAnns(coco.getAnnIds(imgIds=[1])):
        inside = coco.annToMask(annotation).astype(bool)
        assert annotation["area"] == inside.sum()
        rows, columns = np.nonzero(inside)
        left, top = columns.min(), rows.min()
        box = [left, top, columns.max() + 1 - left, rows.max() + 1 - top]
        assert annotation["bbox"] == box
        again[inside] = annotation["category_id"] - 1
        assert coco.cats[annotation["category_id"]]["name"] == f"c{annotation['category_id'] - 1}"
    assert np.array_equal(again, labels)
    assert len(coco.cats) == 5


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("num_classes", [2, 300])
def test_outlines_drawn_again_are_the_labels(size, num_classes):
    labels = ragged(*size, num_classes)
    mask = chosen(labels, table(num_classes), None)
    found = mask_facts(mask, "geojson", DEFAULTS)["geojson"]
    assert found["type"] == "FeatureCollection"
    shapes = [(one["geometry"], one["properties"]["class_index"]) for one in found["features"]]
    assert np.array_equal(rasterize(shapes, size, fill=999, dtype="int32"), labels)
    area = 0.0
    for one in found["features"]:
        outer, *holes = (signed_area(np.array(ring)) for ring in one["geometry"]["coordinates"])
        assert outer > 0
        assert all(hole < 0 for hole in holes)
        area += outer + sum(holes)
    assert area == labels.size


def turning_points(labels: np.ndarray) -> int:
    """Of the outlines, point by point; without the corners of the image."""
    height, width = labels.shape
    padded = np.pad(labels.astype(int), 1, constant_values=-1)
    count = 0
    for row in range(height + 1):
        for column in range(width + 1):
            a, b, c, d = padded[row : row + 2, column : column + 2].reshape(-1).tolist()
            flat = (a == b and c == d) or (a == c and b == d)
            count += not flat
    return count - 4


@pytest.mark.parametrize("size", [*SIZES, (2, 2)])
def test_corners_are_counted_before_outlines_are_made(size, monkeypatch):
    labels = ragged(*size, 3)
    expected = turning_points(labels)
    assert count_corners(labels) == expected
    monkeypatch.setattr("vitseg.images.polygons.COUNTED_AT_ONCE", 100)
    assert count_corners(labels) == expected
    assert len(list(pixel_features(labels, table(3)))) <= expected + 1


def test_noise_is_refused_before_outlines_are_made_of_it(monkeypatch):
    noise = np.random.default_rng(0).integers(0, 2, (200, 200)).astype(np.uint8)
    mask = chosen(noise, table(2), None)
    monkeypatch.setattr("vitseg.serve.masks.pixel_features", None)
    with pytest.raises(UnusableError, match=r"at most 100 polygons .* Ask for format=png"):
        mask_facts(mask, "geojson", ServeSettings(max_polygons=100))
    with pytest.raises(UnusableError, match="at most 1,000 are sent"):
        mask_facts(mask, "rle", ServeSettings(max_runs=1000))


def test_more_polygons_than_allowed_are_refused():
    stripes = np.repeat(np.arange(20, dtype=np.uint8) % 2, 3)[None].repeat(9, 0)
    mask = chosen(stripes, table(2), None)
    settings = ServeSettings(max_polygons=20)
    assert len(mask_facts(mask, "geojson", settings)["geojson"]["features"]) == 20
    with pytest.raises(UnusableError, match="at most 19 polygons"):
        mask_facts(mask, "geojson", ServeSettings(max_polygons=19))


def test_outlines_without_rasterio_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "rasterio", None)
    require_format("coco")
    with pytest.raises(UnusableError, match=r"install vitseg\[geo\]"):
        require_format("geojson")


def test_facts_of_an_answer_agree_with_the_labels():
    labels = ragged(31, 40, 5)
    sure = np.random.default_rng(1).integers(0, 256, labels.shape, dtype=np.uint8)
    wanted = Wanted("rle", (1, 3), overlay=True, areas=True, confidence=True)
    facts = json.loads(encode_answer(computed(labels, 5, sure), wanted).content)
    assert [one["index"] for one in facts["classes"]] == [1, 3]
    for one in facts["classes"]:
        inside = labels == one["index"]
        assert one["area"] == pytest.approx(inside.mean())
        assert one["confidence"] == pytest.approx(sure[inside].mean() / 255)
    shown = Image.open(io.BytesIO(base64.b64decode(facts["confidence"])))
    assert np.array_equal(np.asarray(shown), sure)
    assert (facts["width"], facts["height"], facts["notices"]) == (40, 31, ["a notice"])
    assert facts["seconds"] == {"waiting": 0.5, "forward": 0.0}


def test_an_overlay_paints_the_wanted_classes_alone_and_is_smaller_for_large_images(monkeypatch):
    labels = ragged(60, 80, 5)
    own = computed(labels, 5)

    def overlay(classes) -> np.ndarray:
        facts = json.loads(encode_answer(own, Wanted(classes=classes, overlay=True)).content)
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(facts["overlay"]))))

    both = [overlay(None), overlay((2,))]
    assert np.array_equal(both[1][labels != 2], own.picture[labels != 2])
    assert np.array_equal(both[1][labels == 2], both[0][labels == 2])
    assert not np.array_equal(both[0], both[1])
    monkeypatch.setattr("vitseg.inference.segmentation.PREVIEW_PIXELS", 1200)
    assert overlay(None).shape == overlay((2,)).shape == (30, 40, 3)


def test_classes_are_found_by_name_and_index():
    classes = ClassTable.from_names(["road", "0", "a b"])
    assert find_classes("a b, road,2", classes) == (0, 2)
    assert find_classes("0", classes) == (1,)  # a name goes before an index
    for text in ("", "3", "-1", "0000000000001", "1_0", "²", "Road", "road,,a b"):
        with pytest.raises(UnusableError, match="there is no class"):
            find_classes(text, classes)


@pytest.mark.parametrize("num_classes", [5, 255, 300])
def test_pixels_without_data_are_in_nothing(num_classes):
    labels, valid = ragged(31, 40, num_classes), np.ones((31, 40), bool)
    valid[:, :15] = False
    sure = np.full(labels.shape, 200, np.uint8) * valid
    own = replace(computed(labels, num_classes, sure), valid=valid)
    other = left_out(table(num_classes))
    assert np.array_equal(own.labels, np.where(valid, labels, other))
    answer = encode_answer(own, Wanted())
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(answer.content))), own.labels)
    wanted = Wanted("rle", areas=True, confidence=True, overlay=True)
    facts = json.loads(encode_answer(own, wanted).content)
    seen = np.unique(labels[valid]).tolist()
    assert [one["class_index"] for one in facts["mask"]["rle"]] == seen
    assert [one["index"] for one in facts["classes"]] == seen
    for one in facts["classes"]:
        assert one["area"] == pytest.approx((labels[valid] == one["index"]).mean())
        assert one["confidence"] == pytest.approx(200 / 255)
    features = mask_facts(own.mask(None), "geojson", DEFAULTS)["geojson"]["features"]
    assert {one["properties"]["class_index"] for one in features} == set(seen)
    one_class = json.loads(encode_answer(own, Wanted(classes=(seen[0],), overlay=True)).content)
    painted = np.asarray(Image.open(io.BytesIO(base64.b64decode(one_class["overlay"]))))
    assert np.array_equal(painted[~valid], own.picture[~valid])


def test_an_image_without_any_data_has_no_class():
    labels = np.zeros((4, 6), np.uint8)
    own = replace(computed(labels, 3), valid=np.zeros((4, 6), bool))
    facts = json.loads(encode_answer(own, Wanted("coco", areas=True, overlay=True)).content)
    assert facts["classes"] == facts["mask"]["annotations"] == []


def test_a_plain_answer_is_the_image_alone():
    labels = ragged(31, 40, 5)
    answer = encode_answer(computed(labels, 5), answers.Wanted())
    assert answer.media_type == "image/png"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(answer.content))), labels)

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle_tools

from tests.prepare.trees import run_lengths, write_detail
from vitseg.data.catalog import open_dataset
from vitseg.errors import DataError
from vitseg.prepare.jobs import no_progress
from vitseg.prepare.pascal_context import RAW_IDS, convert, draw
from vitseg.prepare.prepare import prepare

SIZE = (3, 4)
LEFT = [[1, 1, 0, 0], [1, 1, 0, 0], [1, 0, 0, 0]]
TOP = [[0, 0, 1, 1], [0, 1, 1, 0], [0, 0, 0, 0]]


def image(image_id: int, name: str, phase: str) -> dict:
    return {
        "image_id": image_id,
        "file_name": f"{name}.jpg",
        "phase": phase,
        "height": 3,
        "width": 4,
    }


def annotation(image_id: int, raw: int, mask, compressed: bool = True) -> dict:
    if compressed:
        encoded: Any = rle_tools.encode(np.asfortranarray(mask, np.uint8))
        segmentation = {"size": list(SIZE), "counts": encoded["counts"].decode()}
    else:
        segmentation = {"size": list(SIZE), "counts": run_lengths(mask)}
    return {"image_id": image_id, "category_id": raw, "segmentation": segmentation}


IMAGES = [image(2008000009, "2008_000009", "val"), image(2008000002, "2008_000002", "train"),
          image(2008000001, "2008_000001", "train"), image(7, "2010_000007", "test")]  # fmt: skip
ANNOTATIONS = [
    annotation(2008000002, 2, LEFT),  # aeroplane
    annotation(2008000002, 458, TOP, compressed=False),  # wood
    annotation(2008000009, 9, TOP),  # bag
    annotation(2008000009, 3, LEFT),  # no class of the 59
]


@pytest.fixture
def source(tmp_path):
    write_detail(tmp_path / "source", IMAGES, ANNOTATIONS)
    return tmp_path / "source"


def mask(root, name):
    with Image.open(root / "SegmentationClassContext" / f"{name}.png") as image:
        assert image.mode == "L"
        return np.array(image).tolist()


def test_the_ids_are_background_and_59():
    assert len(set(RAW_IDS)) == 60
    assert list(RAW_IDS) == sorted(RAW_IDS)
    assert RAW_IDS[0] == 0


def test_masks_and_lists(source, tmp_path):
    voc, out = source / "VOC2010", tmp_path / "out"
    assert convert(source / "trainval_merged.json", voc, out, no_progress) == (3, 0, ())
    # the later annotation lies over the earlier
    assert mask(out, "2008_000002") == [[1, 1, 59, 59], [1, 59, 59, 0], [1, 0, 0, 0]]
    # a class that is none of the 59 is background, where it lies over others, too
    assert mask(out, "2008_000009") == [[0, 0, 2, 2], [0, 0, 2, 0], [0, 0, 0, 0]]
    assert mask(out, "2008_000001") == [[0] * 4] * 3
    lists = out / "ImageSets" / "SegmentationContext"
    assert (lists / "train.txt").read_text() == "2008_000001\n2008_000002\n"
    assert (lists / "val.txt").read_text() == "2008_000009\n"
    assert (out / "JPEGImages/2008_000002.jpg").samefile(voc / "JPEGImages/2008_000002.jpg")
    assert not (out / "JPEGImages/2010_000007.jpg").exists()


def test_polygons():
    ids = draw((4, 5), [(2, [[1, 1, 4, 1, 4, 3, 1, 3]])], "x")
    assert ids.tolist() == [[0] * 5, [0, 1, 1, 1, 0], [0, 1, 1, 1, 0], [0] * 5]


@pytest.mark.parametrize("name", ["pascal_context", "pascal_context_59", "pascal_context_60"])
def test_the_loaders_read_the_result(source, tmp_path, name):
    result = prepare(name, tmp_path / "out", [source])
    assert [str(count) for count in result.counts] == [
        "train: 2 of 4998 images",
        "val: 1 of 5105 images",
    ]
    assert result.specs == tuple(
        f"pascal_context_{number}:{tmp_path / 'out'}" for number in (60, 59)
    )
    sixty, fifty_nine = (open_dataset(spec, "train") for spec in result.specs)
    first = sixty[1].label_map
    assert [sixty.classes.names[first[place]] for place in ((0, 0), (0, 2), (2, 3))] == [
        "aeroplane", "wood", "background",
    ]  # fmt: skip
    assert (fifty_nine[1].label_map == first - 1).all()


def test_in_place_and_resumed(source):
    result = prepare("pascal_context", source, [source])
    assert (result.made, result.kept) == (3, 0)
    voc = source / "VOC2010"
    path = voc / "SegmentationClassContext/2008_000002.png"
    good = path.read_bytes()
    path.write_bytes(good[:-30])
    (voc / "SegmentationClassContext/2008_000009.png").unlink()
    result = prepare("pascal_context", source, [source])
    assert (result.made, result.kept) == (2, 1)
    assert path.read_bytes() == good


def test_images_that_are_not_there_are_passed_over(source, tmp_path):
    (source / "VOC2010/JPEGImages/2008_000001.jpg").unlink()
    result = prepare("pascal_context", tmp_path / "out", [source])
    assert result.failures == ()
    assert open_dataset(result.specs[0], "train").ids == ("2008_000002",)


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ({"size": [4, 3], "counts": [12]}, r"its size is \[4, 3\], but the image's \[3, 4\]"),
        ({"size": [3, 4], "counts": [5, 6]}, "do not add up"),
        ({"size": [3, 4], "counts": [-1, 13]}, "do not add up"),
        ({"size": [3, 4], "counts": "~~~"}, "outside its alphabet"),
        ({"size": [3, 4], "counts": "o"}, "ends within a number"),
        ({"size": [3, 4], "counts": "0" * 3}, "do not add up"),
        ({"size": [3, 4]}, "'counts'"),
        ([[1, 1, 2, 2]], "three or more points"),
        ([], "three or more points"),
        ([[0, 0, 1e9, 0, 0, 1e9]], "lies far outside the image"),
        ([[0, 0, float("nan"), 0, 0, 1]], "lies far outside the image"),
        ({"size": [3, 4], "counts": [2**62, 2**62, 2**62, 2**62, 12]}, "do not add up"),
        ({"size": [3, 4], "counts": [2**70]}, "damaged"),
        ("x", "damaged"),
        (None, "damaged"),
    ],
)
def test_damaged_segmentations_are_named_and_the_others_done(
    source, tmp_path, segmentation, message
):
    bad = {"image_id": 2008000002, "category_id": 9, "segmentation": segmentation}
    write_detail(source, IMAGES, [*ANNOTATIONS, bad])
    result = prepare("pascal_context", tmp_path / "out", [source])
    assert result.made == 2
    assert len(result.failures) == 1
    with pytest.raises(DataError, match=message):
        raise DataError(result.failures[0])
    assert (
        "image 2008000002: the segmentation of its annotation 2 (category 9)" in result.failures[0]
    )
    assert open_dataset(result.specs[0], "train").ids == ("2008_000001",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not a readable JSON file"),
        ("[]", "no annotation file of PASCAL in Detail: in images, "),
        ({"images": []}, "in annos_segmentation, 'annos_segmentation' is missing"),
        ({"images": [{"image_id": 1}]}, r"in images\[0\], 'height' is missing"),
        ({"images": [{**IMAGES[0], "height": 0}]}, "4x0 pixels"),
        ({"images": [IMAGES[0], IMAGES[0]]}, r"in images\[1\], image_id 2008000009 comes twice"),
        (
            {"images": IMAGES, "annos_segmentation": [{"image_id": 7}]},
            r"annos_segmentation\[0\], 'category_id' is",
        ),
        (
            {"images": [], "annos_segmentation": [ANNOTATIONS[0]]},
            "image_id 2008000002 is none of the images",
        ),
        (
            {"images": IMAGES, "annos_segmentation": [{**ANNOTATIONS[0], "category_id": 460}]},
            "460 is outside 0-459",
        ),
    ],
)
def test_another_structure(source, tmp_path, content, message):
    path = source / "trainval_merged.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(DataError, match=message):
        prepare("pascal_context", tmp_path / "out", [source])


def test_what_is_missing_is_named(source, tmp_path):
    (source / "trainval_merged.json").rename(tmp_path / "x.json")
    with pytest.raises(DataError, match=r"there is no trainval_merged\.json in .*source"):
        prepare("pascal_context", tmp_path / "out", [source])
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.json").rename(tmp_path / "empty" / "trainval_merged.json")
    with pytest.raises(
        DataError, match=r"there is no VOC2010/JPEGImages in .*VOCtrainval_03-May-2010\.tar"
    ):
        prepare("pascal_context", tmp_path / "out", [tmp_path / "empty"])

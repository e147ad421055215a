"""One rule says what is inside a binary mask, whatever the file."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image, ImageFilter

from tests.data.formats.content import save
from vitseg.checks.run import check_dataset
from vitseg.data.catalog import FOLDER, open_dataset, open_unchecked
from vitseg.data.formats.binary_files import read_inside
from vitseg.errors import DataError

DRAWN = np.zeros((40, 60), bool)
DRAWN[10:30, 15:45] = True
WHITE = (DRAWN * 255).astype(np.uint8)
PHOTO = np.random.default_rng(0).integers(30, 250, (40, 60, 3)).astype(np.uint8)


def palette(colors: list[int], indices: np.ndarray = DRAWN) -> Image.Image:
    image = Image.fromarray(indices.astype(np.uint8), "P")
    image.putpalette(colors)
    return image


FORMS = {
    "0 and 1": Image.fromarray(DRAWN.astype(np.uint8)),
    "0 and 255": Image.fromarray(WHITE),
    "0 and 100": Image.fromarray((DRAWN * 100).astype(np.uint8)),
    "one bit": Image.fromarray(DRAWN),
    "16 bits, 1": Image.fromarray(DRAWN.astype(np.uint16)),
    "16 bits, 255": Image.fromarray(WHITE.astype(np.uint16)),
    "16 bits, white": Image.fromarray((DRAWN * 65535).astype(np.uint16)),
    "rgb": Image.fromarray(np.stack([WHITE] * 3, 2)),
    "red": Image.fromarray(np.stack([WHITE, WHITE * 0, WHITE * 0], 2)),
    "palette": palette([0, 0, 0, 255, 255, 255]),
    "palette in a dark colour": palette([0, 0, 0, 0, 64, 0]),
    "palette turned round": palette([255, 255, 255, 0, 0, 0], ~DRAWN),
    "opaque rgba": Image.fromarray(np.dstack([WHITE, WHITE, WHITE, WHITE * 0 + 255])),
    "cut-out": Image.fromarray(np.dstack([PHOTO, WHITE])),
    "black cut-out": Image.fromarray(np.dstack([PHOTO * 0, WHITE])),
    "grey cut-out": Image.fromarray(np.dstack([PHOTO[:, :, 0], WHITE])),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_what_was_drawn(tmp_path, form):
    FORMS[form].save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_inside(tmp_path / "a.png"), DRAWN)


@pytest.mark.parametrize("quality", [30, 75, 95])
def test_jpeg_gives_the_area_that_was_drawn(tmp_path, quality):
    FORMS["rgb"].save(tmp_path / "a.jpg", quality=quality)
    np.testing.assert_array_equal(read_inside(tmp_path / "a.jpg"), DRAWN)
    Image.open(tmp_path / "a.jpg").convert("L").save(tmp_path / "b.png")
    np.testing.assert_array_equal(read_inside(tmp_path / "b.png"), DRAWN)


def test_blurred_borders_fall_on_the_nearer_side(tmp_path):
    FORMS["0 and 255"].filter(ImageFilter.GaussianBlur(2)).save(tmp_path / "a.png")
    inside = read_inside(tmp_path / "a.png")
    assert abs(int(inside.sum()) - int(DRAWN.sum())) <= 12


def test_numbers_of_objects_are_all_inside(tmp_path):
    numbers = DRAWN.astype(np.uint8)
    numbers[DRAWN] += np.arange(DRAWN.sum(), dtype=np.int64).astype(np.uint8) % 30
    Image.fromarray(numbers).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_inside(tmp_path / "a.png"), DRAWN)


def test_damaged_files(tmp_path):
    FORMS["cut-out"].save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:300])
    with pytest.raises(DataError, match=r"a\.png is damaged"):
        read_inside(tmp_path / "a.png")


def write(root, masks: list[Image.Image], classes: list[str], **content) -> str:
    for number, mask in enumerate(masks):
        save(root / "images" / f"{number}.png", PHOTO)
        path = root / "masks" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        mask.save(path)
    (root / "classes.json").write_text(json.dumps({"classes": classes, **content}))
    return f"folder:{root}"


@pytest.mark.parametrize("classes", [["car"], ["background", "car"]])
@pytest.mark.parametrize(
    "forms", [("0 and 255",), ("0 and 1", "0 and 255"), ("rgb", "one bit", "0 and 1")]
)
def test_one_mask_per_image_of_one_class(tmp_path, classes, forms):
    spec = write(tmp_path, [FORMS[form] for form in forms], classes)
    assert FOLDER.detect(tmp_path).name == "binary"
    dataset = open_dataset(spec, "all")
    assert dataset.classes.names == ("background", "car")
    assert "at least half white" in dataset.source
    for sample in dataset:
        np.testing.assert_array_equal(sample.label_map, DRAWN)


def test_masks_with_a_class_and_what_does_not_count_are_index_masks(tmp_path):
    void = DRAWN.astype(np.uint8)
    void[0] = 255
    spec = write(tmp_path, [Image.fromarray(void)], ["background", "car"])
    assert FOLDER.detect(tmp_path).name == "index"
    assert (open_dataset(spec, "all")[0].label_map[0] == -1).all()


@pytest.mark.parametrize("classes", [["car"], ["background", "car"]])
@pytest.mark.parametrize("ids", [(1,), (1, 2)])
@pytest.mark.parametrize("form", ["8 bits", "16 bits", "palette"])
def test_a_mask_of_ids_and_white_is_no_binary_mask(tmp_path, classes, ids, form):
    of_ids = DRAWN.astype(np.uint8)
    of_ids[0] = 255
    for number in ids:
        of_ids[number, :5] = number
    mask = Image.fromarray(of_ids)
    if form == "16 bits":
        mask = Image.fromarray(np.where(of_ids == 255, 65535, of_ids).astype(np.uint16))
    if form == "palette":
        mask.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, *[0] * 252 * 3, 224, 224, 192])
    masks = [FORMS["0 and 255"]] * 40
    masks[7] = mask  # none of those by which the kind of masks is told
    spec = write(tmp_path, masks, classes)
    number = sorted(map(str, range(40))).index("7")
    dataset = open_dataset(spec, "all")
    assert FOLDER.detect(tmp_path).name == "binary"
    with pytest.raises(DataError, match=rf"7\.png has white .* and {', '.join(map(str, ids))}, so"):
        dataset[number]
    errors = [
        each for each in check_dataset(spec, num_workers=0).findings if each.severity == "error"
    ]
    assert [(each.code, each.files) for each in errors] == [
        ("unreadable-mask", (str(tmp_path / "masks" / "7.png"),))
    ]
    assert "no binary mask" in errors[0].message


def test_masks_of_which_some_have_ids_and_white_are_index_masks(tmp_path):
    of_ids = DRAWN.astype(np.uint8)
    of_ids[0] = 255
    masks = [FORMS["0 and 255"], Image.fromarray(of_ids), FORMS["0 and 1"]]
    write(tmp_path, masks, ["background", "car"])
    assert FOLDER.detect(tmp_path).name == "index"


def test_one_and_white_in_different_masks_are_warned_of(tmp_path):
    spec = write(
        tmp_path, [FORMS[form] for form in ("0 and 1", "0 and 1", "0 and 255")], ["none", "car"]
    )
    (finding,) = (
        each
        for each in check_dataset(spec, num_workers=0).findings
        if each.code == "inside-differs"
    )
    assert (finding.severity, finding.count) == ("warning", 1)
    assert finding.files == (str(tmp_path / "masks" / "2.png"),)
    assert "255 in 1 binary mask," in finding.message
    assert "1 in 2, the first" in finding.message


@pytest.mark.parametrize("forms", [("0 and 1", "one bit", "rgb", "cut-out"), ("0 and 255", "rgb")])
def test_masks_that_only_look_different_are_not_warned_of(tmp_path, forms):
    spec = write(tmp_path, [FORMS[form] for form in forms], ["car"])
    codes = [each.code for each in check_dataset(spec, num_workers=0).findings]
    assert "inside-differs" not in codes


@pytest.mark.parametrize("classes", [["car"], ["background", "car"]])
@pytest.mark.parametrize("listed", [False, True])
def test_an_image_without_its_mask_is_no_background(tmp_path, classes, listed):
    spec = write(tmp_path, [FORMS["0 and 255"]] * 3, classes)
    (tmp_path / "masks" / "1.png").unlink()
    if listed:
        (tmp_path / "train.txt").write_text("0\n1\n2\n")
    dataset = open_unchecked(spec, "train" if listed else "all")
    assert dataset.ids == ("0", "2")
    (finding,) = (each for each in dataset.findings if each.severity == "error")
    assert (finding.code, finding.files) == ("image-without-mask", ("1",))


def test_one_class_beside_void_is_warned_of(tmp_path):
    spec = write(tmp_path, [FORMS["0 and 255"]], ["car"], ignore_index=255)
    assert [each.code for each in open_dataset(spec, "all").findings] == ["one-class"]
    assert open_dataset(spec, "all").findings[0].severity == "warning"


@pytest.mark.parametrize("classes", [("car",), ("car", "tree")])
@pytest.mark.parametrize("form", ["rgb", "cut-out", "0 and 1", "0 and 255"])
def test_one_class_and_two_pass_the_check_alike(tmp_path, classes, form):
    for number in range(2):
        save(tmp_path / "images" / f"{number}.png", np.roll(PHOTO, 7 * number, 1) // (1 + number))
        for name in classes:
            path = tmp_path / "masks" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            FORMS[form].save(path)
    found = check_dataset(f"folder:{tmp_path}", num_workers=0).findings
    assert [each for each in found if each.severity == "error"] == []
    label_map = open_dataset(f"folder:{tmp_path}", "all")[0].label_map
    np.testing.assert_array_equal(label_map, DRAWN * len(classes))

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.formats.content import save
from vitseg.data.catalog import open_dataset, open_unchecked
from vitseg.errors import DataError

LAYOUTS = {"by-class": "masks/{name}/{key}.png", "by-image": "masks/{key}/{name}.png"}


def inside(columns: slice, value: int = 255) -> np.ndarray:
    mask = np.zeros((4, 6), np.uint8)
    mask[:, columns] = value
    return mask


@pytest.fixture(params=LAYOUTS)
def root(request, tmp_path):
    """Three images: one with car and tree that overlap, one with a bus, one with nothing."""
    for key in ("a", "b", "c"):
        save(tmp_path / "images" / f"{key}.png", np.zeros((4, 6, 3), np.uint8))
    tmp_path.joinpath("layout").write_text(LAYOUTS[request.param])
    add(tmp_path, "car", "a", inside(slice(0, 3)))
    add(tmp_path, "tree", "a", inside(slice(2, 5), 1))
    add(tmp_path, "bus", "b", inside(slice(0, 1)))
    return tmp_path


def add(root: Path, name: str, key: str, mask: np.ndarray) -> Path:
    path = root / root.joinpath("layout").read_text().format(name=name, key=key)
    save(path, mask)
    return path


def codes(dataset) -> dict[str, tuple[str, tuple[str, ...]]]:
    return {finding.code: (finding.severity, finding.files) for finding in dataset.findings}


def test_the_later_class_wins_and_the_rest_is_background(root):
    dataset = open_dataset(f"binary:{root}", "all")
    assert dataset.classes.names == ("background", "bus", "car", "tree")
    assert dataset.ids == ("a", "b", "c")
    assert dataset[0].label_map[0].tolist() == [2, 2, 3, 3, 3, 0]
    assert dataset[2].label_map.max() == 0
    assert dataset[1].label_map[0].tolist() == [1, 0, 0, 0, 0, 0]
    assert len(dataset.mask_files(0)) == 2
    assert codes(dataset) == {
        "image-without-annotation": ("info", (str(root / "images" / "c.png"),))
    }


def test_images_without_masks_are_a_warning_where_most_are_such(root):
    for key in "def":
        save(root / "images" / f"{key}.png", np.zeros((4, 6, 3), np.uint8))
    severity, files = codes(open_dataset(f"binary:{root}", "all"))["image-without-annotation"]
    assert (severity, len(files)) == ("warning", 4)


def test_the_class_file_gives_the_order(root):
    (root / "classes.json").write_text(
        json.dumps({"classes": ["tree", "car", "bus", "plane"], "ignore": ["background"]})
    )
    dataset = open_dataset(f"binary:{root}", "all")
    assert dataset.classes.names == ("tree", "car", "bus", "plane")
    assert dataset[0].label_map[0].tolist() == [1, 1, 1, 0, 0, -1]


def test_classes_that_the_class_file_lacks(root):
    (root / "classes.txt").write_text("tree\ncar\n")
    dataset = open_unchecked(f"binary:{root}", "all")
    severity, files = codes(dataset)["mask-of-unknown-class"]
    assert severity == "error"
    assert [Path(file).stem for file in files] in (["b"], ["bus"])
    with pytest.raises(DataError, match="a class that the class file does not list"):
        open_dataset(f"binary:{root}", "all")


def test_masks_without_image(root):
    path = add(root, "car", "z", inside(slice(0, 3)))
    assert codes(open_dataset(f"binary:{root}", "all"))["mask-without-image"] == (
        "warning",
        (str(path),),
    )


def test_splits_by_files(root):
    (root / "train.txt").write_text("b\nx\n")
    dataset = open_unchecked(f"binary:{root}", "train")
    assert dataset.ids == ("b",)
    assert codes(dataset) == {"id-without-image": ("error", ("x",))}


def test_classes_are_those_of_all_splits(tmp_path):
    for split, name in (("train", "car"), ("val", "tree")):
        save(tmp_path / split / "images" / "a.png", np.zeros((4, 6, 3), np.uint8))
        save(tmp_path / split / "masks" / name / "a.png", inside(slice(0, 3)))
    for split in ("train", "val"):
        classes = open_dataset(f"binary:{tmp_path}", split).classes
        assert classes.names == ("background", "car", "tree")


@pytest.mark.parametrize("mode", ["1", "P", "RGB", "RGBA", "I;16"])
def test_kinds_of_files(root, mode):
    mask = Image.fromarray(inside(slice(0, 3)))
    if mode == "P":
        mask.putpalette([9, 9, 9] * 256)  # the index counts, not its colour
    elif mode == "I;16":
        mask = Image.fromarray(inside(slice(0, 3)).astype(np.uint16) * 257)
    else:
        mask = mask.convert(mode)
    path = add(root, "car", "a", inside(slice(0, 1)))
    mask.save(path)
    assert open_dataset(f"binary:{root}", "all")[0].label_map[0, :2].tolist() == [2, 2]


def test_masks_of_different_sizes(root):
    add(root, "car", "a", np.zeros((4, 5), np.uint8))
    with pytest.raises(DataError, match=r"is 6x4 pixels, but .* is 5x4: all masks of an image"):
        open_dataset(f"binary:{root}", "all")[0]


def test_masks_in_neither_layout(tmp_path):
    save(tmp_path / "images" / "a.png", np.zeros((4, 6, 3), np.uint8))
    save(tmp_path / "masks" / "b.png", inside(slice(0, 3)))
    with pytest.raises(
        DataError, match=r"no image of .*images has a mask.* are a; the 1 masks are b\."
    ):
        open_dataset(f"binary:{tmp_path}", "all")


ONE_CLASS = {
    "0 and 1": lambda inside: Image.fromarray(inside.astype(np.uint8)),
    "0 and 255": lambda inside: Image.fromarray(inside.astype(np.uint8) * 255),
    "one bit": lambda inside: Image.fromarray(inside),
    "16 bits": lambda inside: Image.fromarray(inside.astype(np.uint16) * 65535),
    "white": lambda inside: Image.fromarray(inside.astype(np.uint8) * 255).convert("RGB"),
    "palette": lambda inside: _with_palette(inside, [0, 0, 0, 255, 0, 0]),
    "palette of greys": lambda inside: _with_palette(inside, [0, 0, 0, 255, 255, 255]),
}


def _with_palette(inside, colors):
    image = Image.fromarray(inside.astype(np.uint8))
    image.putpalette(colors)
    return image


@pytest.mark.parametrize("form", ONE_CLASS)
@pytest.mark.parametrize("classes", [["car"], {"1": "car"}])
def test_one_class_in_every_form(tmp_path, form, classes):
    inside = np.zeros((48, 64), bool)
    inside[5:20, 10:30] = True
    for key, mask in (("a", inside), ("b", ~inside), ("c", np.zeros_like(inside))):
        save(tmp_path / "images" / f"{key}.jpg", np.zeros((48, 64, 3), np.uint8))
        (tmp_path / "masks").mkdir(exist_ok=True)
        ONE_CLASS[form](mask).save(tmp_path / "masks" / f"{key}.png")
    (tmp_path / "classes.json").write_text(json.dumps({"classes": classes}))
    dataset = open_dataset(f"folder:{tmp_path}", "all")
    assert dataset.classes.names == ("background", "car")
    for at, mask in enumerate((inside, ~inside, np.zeros_like(inside))):
        np.testing.assert_array_equal(dataset[at].label_map == 1, mask)

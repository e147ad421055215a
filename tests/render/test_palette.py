"""Label maps as PNG files and as colours."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from vitseg.classes import IGNORE_INDEX, ClassTable
from vitseg.render.palette import colorize, save_label_png, save_whole

CLASSES = ClassTable(names=("road", "sky"), palette=((10, 20, 30), (40, 50, 60)))


def test_colors_are_those_of_the_table_and_ignored_pixels_are_black():
    label_map = np.array([[0, 1, IGNORE_INDEX]])
    assert colorize(label_map, CLASSES).tolist() == [[[10, 20, 30], [40, 50, 60], [0, 0, 0]]]


def test_png_holds_indices_and_palette(tmp_path):
    label_map = np.array([[0, 1, 1], [1, 0, 0]], dtype=np.uint8)
    path = tmp_path / "new" / "mask.png"
    save_label_png(path, label_map, CLASSES)
    with Image.open(path) as image:
        assert image.mode == "P"
        assert image.getpalette()[:6] == [10, 20, 30, 40, 50, 60]
        assert np.array_equal(np.array(image), label_map)
    assert path.read_bytes()[24] == 8, "bit depth of the header"


@pytest.mark.parametrize(("num_classes", "mode"), [(256, "P"), (257, "I;16")])
def test_large_tables_become_16_bit_grey(tmp_path, num_classes, mode):
    classes = ClassTable.from_names([f"class {index}" for index in range(num_classes)])
    label_map = np.arange(num_classes).reshape(1, -1)
    save_label_png(tmp_path / "mask.png", label_map, classes)
    with Image.open(tmp_path / "mask.png") as image:
        assert image.mode == mode
        assert np.array_equal(np.array(image), label_map)


@pytest.mark.parametrize("label", [2, IGNORE_INDEX])
def test_labels_outside_the_table_are_our_mistake(tmp_path, label):
    with pytest.raises(AssertionError, match="2 classes"):
        save_label_png(tmp_path / "mask.png", np.array([[0, label]]), CLASSES)


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "mask.png"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match="CMYK"):
        save_whole(path, Image.new("CMYK", (2, 2)))  # a PNG cannot hold it
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]

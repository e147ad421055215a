"""The class tables: complete, in order, and in the official colours."""

from __future__ import annotations

import pytest

from tests.data.official.trees import TREES
from vitseg.classes import IGNORE_INDEX
from vitseg.data.official.tables import read_table

NEVER_USED = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91)  # of COCO-Stuff's 1-182

SIZES = {  # classes, distinct colours, raw ids
    "ade20k": (150, 149, set(range(151))),  # road and skyscraper share one
    "camvid": (11, 11, set(range(12))),
    "cityscapes_label_ids": (19, 19, set(range(34))),
    "cityscapes_train_ids": (19, 19, {*range(19), 255}),
    "coco_stuff_10k": (171, 171, set(range(172))),
    "coco_stuff_164k": (171, 171, {*range(182), 255} - {raw - 1 for raw in NEVER_USED}),
    "pascal_context_59": (59, 58, set(range(60))),  # bicycle and snow share one
    "pascal_context_60": (60, 59, set(range(60))),
    "voc2012": (21, 21, {*range(21), 255}),
}

COLORS = {
    "ade20k": {"wall": (120, 120, 120), "sky": (6, 230, 230), "tree": (4, 200, 3), "road": (140, 140, 140),
               "person": (150, 5, 61), "car": (0, 102, 200), "skyscraper": (140, 140, 140), "bed": (204, 5, 255),
               "bag": (70, 184, 160), "flag": (92, 0, 255)},
    "camvid": {"sky": (128, 128, 128), "pole": (192, 192, 128), "pavement": (60, 40, 222), "car": (64, 0, 128),
               "bicyclist": (0, 128, 192)},
    "cityscapes_train_ids": {"road": (128, 64, 128), "sidewalk": (244, 35, 232), "sky": (70, 130, 180),
                             "car": (0, 0, 142), "bicycle": (119, 11, 32)},
    "pascal_context_60": {"background": (120, 120, 120), "aeroplane": (180, 120, 120), "bag": (6, 230, 230)},
}  # fmt: skip


@pytest.mark.parametrize("name", SIZES)
def test_size_and_raw_ids(name):
    labels = read_table(name, "hint")
    num_classes, num_colors, raw_ids = SIZES[name]
    assert labels.classes.num_classes == num_classes
    assert len(set(labels.classes.palette)) == num_colors
    assert set(labels.mapping) == set(labels.raw_names) == raw_ids
    used = [index for index in labels.mapping.values() if index != IGNORE_INDEX]
    assert sorted(used) == list(range(num_classes))  # one raw id for every class
    assert all(name == name.strip() and name for name in labels.raw_names.values())


@pytest.mark.parametrize("case", TREES)
def test_what_is_ignored(case):
    tree = TREES[case]
    mapping = read_table(tree.table or case, "hint").mapping
    ignored = {raw for raw, index in mapping.items() if index == IGNORE_INDEX}
    assert ignored == set(tree.ignored)


@pytest.mark.parametrize("name", COLORS)
def test_colors_by_hand(name):
    classes = read_table(name, "hint").classes
    palette = dict(zip(classes.names, classes.palette, strict=True))
    assert {key: palette[key] for key in COLORS[name]} == COLORS[name]


def test_the_colors_of_voc_are_its_color_map():
    """Bit 3k of the index is bit 7-k of red, 3k+1 of green, 3k+2 of blue."""
    for index, color in enumerate(read_table("voc2012", "hint").classes.palette):
        bits = [(index >> place) & 1 for place in range(6)]
        expected = tuple(bits[channel] << 7 | bits[channel + 3] << 6 for channel in range(3))
        assert color == expected


def test_both_cityscapes_tables_have_the_same_classes():
    train_ids, label_ids = (
        read_table(f"cityscapes_{kind}", "hint") for kind in ("train_ids", "label_ids")
    )
    assert train_ids.classes == label_ids.classes
    assert label_ids.raw_names[9] == "parking"


def test_both_coco_stuffs_have_the_same_classes():
    small, large = read_table("coco_stuff_10k", "hint"), read_table("coco_stuff_164k", "hint")
    assert small.classes == large.classes
    assert small.raw_names[0] == large.raw_names[255] == "unlabeled"
    compact = [raw for raw in range(1, 183) if raw not in NEVER_USED]
    for number, raw in enumerate(compact, start=1):
        assert small.raw_names[number] == large.raw_names[raw - 1]
    names = small.classes.names
    assert (names[79], names[80]) == ("toothbrush", "banner")  # 80 things, then
    assert list(names[80:]) == sorted(names[80:])  # stuff in alphabetical order


def test_pascal_context_is_in_alphabetical_order_behind_the_background():
    sixty = read_table("pascal_context_60", "hint").classes
    rest = read_table("pascal_context_59", "hint").classes
    assert sixty.names[0] == "background"
    assert list(rest.names) == sorted(rest.names)
    assert (sixty.names[1:], sixty.palette[1:]) == (rest.names, rest.palette)


def test_pascal_context_has_the_first_colors_of_ade20k():
    sixty = read_table("pascal_context_60", "hint").classes
    assert sixty.palette == read_table("ade20k", "hint").classes.palette[:60]

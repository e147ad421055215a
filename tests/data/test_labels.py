from __future__ import annotations

import numpy as np
import pytest

from vitseg.classes import IGNORE_INDEX, ClassTable
from vitseg.data.labels import MAX_COLOR, MAX_ID, IdLookup, LabelTable, ranges
from vitseg.errors import ConfigError, DataError


def table(names="sky road car bus", mapping=None, **fields) -> LabelTable:
    classes = ClassTable.from_names(names.split())
    if mapping is None:
        mapping = {**dict(enumerate(range(classes.num_classes))), 255: IGNORE_INDEX}
    raw_names = {raw: f"raw {raw}" for raw in mapping}
    return LabelTable(classes, mapping, raw_names, **fields)


def lookup(labels: LabelTable, raw_ids: np.ndarray) -> list:
    return IdLookup(labels, "streets").label_map(raw_ids, "a.png").tolist()


def test_rows_are_for_people():
    labels = table("sky road", {11: 1, 7: 0, 255: IGNORE_INDEX})
    assert labels.rows() == [
        ("7", "raw 7", "0 sky"),
        ("11", "raw 11", "1 road"),
        ("255", "raw 255", "ignored"),
    ]
    assert table("sky", {0x80FF01: 0}, colors=True).rows() == [("#80ff01", "raw 8453889", "0 sky")]


def test_merging():
    labels = table().merged({"vehicle": ["bus", "car"]})
    assert labels.classes.names == ("sky", "road", "vehicle")
    assert labels.classes.palette[2] == table().classes.palette[2]  # the first in class order
    assert labels.mapping == {0: 0, 1: 1, 2: 2, 3: 2, 255: IGNORE_INDEX}
    assert labels.raw_names == table().raw_names
    assert lookup(labels, np.array([[0, 1, 2, 3, 255]], np.uint8)) == [[0, 1, 2, 2, -1]]


def test_a_joint_class_takes_the_place_of_its_first_member():
    labels = table().merged({"ground": ["bus", "sky"], "one": ["car"]})
    assert labels.classes.names == ("ground", "road", "one")
    assert labels.mapping == {0: 0, 1: 1, 2: 2, 3: 0, 255: IGNORE_INDEX}


def test_a_joint_class_may_have_the_name_of_a_member():
    assert table().merged({"car": ["car", "bus"]}).classes.names == ("sky", "road", "car")


def test_ignoring():
    labels = table().merged(ignore=["sky", "car"])
    assert labels.classes.names == ("road", "bus")
    assert labels.mapping == {0: -1, 1: 0, 2: -1, 3: 1, 255: -1}


def test_merging_and_ignoring_together_and_twice():
    both = table().merged({"vehicle": ["car", "bus"]}, ["sky"])
    assert both.classes.names == ("road", "vehicle")
    assert both.mapping == {0: -1, 1: 0, 2: 1, 3: 1, 255: -1}
    again = both.merged({"all": ["road", "vehicle"]})
    assert again.classes.names == ("all",)
    assert again.mapping == {0: -1, 1: 0, 2: 0, 3: 0, 255: -1}


def test_nothing_to_merge_changes_nothing():
    assert table().merged() == table()


@pytest.mark.parametrize(
    ("merge", "ignore", "message"),
    [
        ({"vehicle": ["car", "buss"]}, (), "merge.vehicle: 'buss' is not a known class. Did you mean 'bus'"),
        ({}, ["ski"], "ignore: 'ski' is not a known class. Did you mean 'sky'"),
        ({"vehicle": []}, (), "merge.vehicle is empty"),
        ({"a": ["car"], "b": ["car"]}, (), "merge.b names 'car', which another entry names already"),
        ({"a": ["car", "car"]}, (), "merge.a names 'car', which another"),
        ({"a": ["car"]}, ["car"], "ignore names 'car', which another"),
        ({"sky": ["car", "bus"]}, (), "merge.sky has the name of a class that is not its member"),
        ({"sky": ["car", "bus"]}, ["sky"], "merge.sky has the name of a class that is not its member"),
        ({}, ["sky", "road", "car", "bus"], "every class is ignored: keep at least one"),
    ],
)  # fmt: skip
def test_wrong_merging(merge, ignore, message):
    with pytest.raises(ConfigError) as caught:
        table().merged(merge, ignore)
    assert message in str(caught.value)


def test_more_than_255_classes_and_16_bit_masks():
    names = " ".join(f"c{number}" for number in range(1000))
    labels = table(names, {60_000 + number: number for number in range(1000)})
    raw_ids = np.array([[60_000, 60_255, 60_256, 60_999]], np.uint16)
    assert lookup(labels, raw_ids) == [[0, 255, 256, 999]]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64])
def test_the_type_of_the_mask_does_not_matter(dtype):
    label_map = IdLookup(table(), "streets").label_map(np.array([[3, 255]], dtype), "a.png")
    assert label_map.tolist() == [[3, -1]]
    assert label_map.dtype == np.int64


def test_32_bit_ids_out_of_range():
    lookup_table = IdLookup(table(), "streets")
    raw_ids = np.array([[0, -1, -(2**31), MAX_ID + 1, 2**31 - 1]], np.int32)
    with pytest.raises(DataError) as caught:
        lookup_table.label_map(raw_ids, "a.png")
    assert (
        f"a.png has ids outside the class table: negative or above {MAX_ID} (4 pixels), but streets allows 0-3 and "
        "255 (ignore)." in str(caught.value)
    )


def test_the_largest_id_may_be_a_class():
    labels = table("sky road", {0: 0, MAX_ID: 1})
    assert lookup(labels, np.array([[0, MAX_ID]], np.uint16)) == [[0, 1]]
    assert lookup(labels, np.array([[0, MAX_ID]], np.int32)) == [[0, 1]]


def test_colours():
    labels = table("sky road", {0x000000: 0, MAX_COLOR: 1, 0x80FF01: -1}, colors=True)
    assert lookup(labels, np.array([[0, 0xFFFFFF, 0x80FF01]], np.int32)) == [[0, 1, -1]]
    with pytest.raises(DataError) as caught:
        lookup(labels, np.array([[0x0000FE, 0x0000FE, 7]], np.int32))
    message = str(caught.value)
    assert "colours outside the class table: #000007 (1 pixels), #0000fe (2 pixels), but" in message
    assert "allows the 2 colours of its classes (#000000, #ffffff)." in message


def test_an_error_has_the_hint_of_the_table():
    with pytest.raises(DataError, match=r"9 \(1 pixels\), but .* Reduce the masks\."):
        lookup(table(hint="Reduce the masks."), np.array([[9]], np.uint8))


@pytest.mark.parametrize(
    ("numbers", "text"), [((), ""), ((3,), "3"), ((5, 1, 2, 3, 9, 8), "1-3, 5, 8-9")]
)
def test_ranges(numbers, text):
    assert ranges(numbers) == text

"""Which classes and images a step has, and what its pixels are labelled."""

from __future__ import annotations

import numpy as np
import pytest

from vitseg.classes import IGNORE_INDEX, ClassTable
from vitseg.data.dataset import SegmentationDataset
from vitseg.data.labels import LabelTable
from vitseg.errors import ConfigError, DataError
from vitseg.studies.continual.datasets import StepData, class_table, images_of_step
from vitseg.studies.continual.splits import ClassSteps, make_steps, step_sizes

VOID = 255
NAMES = ("none", "a", "b", "c", "d")


def table() -> LabelTable:
    mapping = {**{index: index for index in range(len(NAMES))}, VOID: IGNORE_INDEX}
    return LabelTable(ClassTable.from_names(NAMES), mapping, {})


class Rows:
    """Masks of one row each."""

    are_pictures = False

    def __init__(self, rows):
        self.rows = rows

    def read(self, index, size):
        return np.array([self.rows[index]], np.uint8)

    def files(self, index):
        return ()


def dataset(*rows) -> SegmentationDataset:
    ids = [f"{index}" for index in range(len(rows))]
    return SegmentationDataset("toy", "train", table(), ids, [b""] * len(rows), Rows(rows), "")


@pytest.mark.parametrize(
    ("split", "classes", "sizes"),
    [
        ("15-5", 20, [15, 5]),
        ("15-1", 20, [15, 1, 1, 1, 1, 1]),
        ("19-1", 20, [19, 1]),
        ("10-1", 20, [10] + [1] * 10),
        ("100-50", 150, [100, 50]),
        ("100-10", 150, [100] + [10] * 5),
        ("100-5", 150, [100] + [5] * 10),
        ("50-50", 150, [50, 50, 50]),
        ("12-2", 24, [12] + [2] * 6),
        ("6-5", 11, [6, 5]),
    ],
)
def test_sizes_of_published_splits(split, classes, sizes):
    assert step_sizes(split, classes) == sizes


@pytest.mark.parametrize("split", ["15-4", "20-1", "21-5", "25-1"])
def test_a_split_must_come_out_even(split):
    with pytest.raises(ConfigError, match=f"continual.split is {split}, but there are 20 classes"):
        step_sizes(split, 20)


@pytest.mark.parametrize("split", ["15", "15_5", "0-5", "15-0", "a-b", "15-5-5"])
def test_a_split_is_two_numbers(split):
    with pytest.raises(ConfigError, match="as in 15-5"):
        step_sizes(split, 20)


def test_orders():
    steps = make_steps(NAMES, "2-1", background="none")
    assert steps == ClassSteps((("a", "b"), ("c",), ("d",)), "none")
    assert steps.seen(1) == ("a", "b", "c")
    assert steps.joint().steps == (("a", "b", "c", "d"),)
    listed = make_steps(NAMES, "1-1", "listed", subset=("d", "a"))
    assert listed.steps == (("d",), ("a",))
    assert make_steps(NAMES, "1-1", subset=("d", "a")).steps == (("a",), ("d",))
    randoms = [make_steps(NAMES, "1-1", "random", seed, background="none") for seed in range(9)]
    assert {len(one.classes) for one in randoms} == {4}
    assert len({one.classes for one in randoms}) > 3
    other_split = make_steps(NAMES, "2-2", "random", 7, background="none")
    assert other_split.classes == randoms[7].classes


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"subset": ("a", "x")}, "continual.classes: 'x' is not a known class"),
        ({"subset": ("a", "a")}, "names 'a' twice"),
        ({"background": "nil"}, "continual.background: 'nil' is not a known class"),
        ({"subset": ("none", "a"), "background": "none"}, "no class to be learnt"),
        ({"order": "listed"}, "list the classes in continual.classes"),
    ],
)
def test_names_that_do_not_fit(options, words):
    with pytest.raises(ConfigError, match=words):
        make_steps(NAMES, "1-1", **options)


def test_a_class_called_background_is_not_learnt_by_accident():
    with pytest.raises(ConfigError, match=r"continual\.background is not given"):
        make_steps(("background", "a"), "1-1")


# Image:                  0              1               2           3             4 (nothing)
ROWS = ([1, 1, 0, 0], [1, 2, 3, 255], [2, 2, 0, 3], [4, 4, 4, 0], [0, 0, 255, 0])


@pytest.mark.parametrize(
    ("setting", "images"),
    [
        ("overlapped", [[0, 1, 2], [1, 2], [3]]),
        ("disjoint", [[0], [1, 2], [3]]),
        # Classes a, b, c, d are in 2, 2, 2, 1 images: image 1 goes by a, which is learnt first; image 2 by b.
        ("partitioned", [[0, 1, 2], None, [3]]),
    ],
)
def test_images_of_each_step(setting, images):
    steps = ClassSteps((("a", "b"), ("c",), ("d",)), "none")
    data = StepData(dataset(*ROWS), dataset(*ROWS), steps, setting)
    for number, expected in enumerate(images):
        if expected is None:
            with pytest.raises(DataError, match=r"step 1 has no image: .* shows c as the setting"):
                data.indices(number)
        else:
            assert data.indices(number) == expected


def test_every_image_with_a_class_serves_one_step_when_partitioned():
    rng = np.random.default_rng(0)
    present = rng.random((200, 9)) < 0.2
    present[50:, 5] = False
    by_step = [[3, 1], [8, 0, 2], [5]]
    parts = [images_of_step(present, by_step, step, "partitioned") for step in range(3)]
    used = sorted(index for part in parts for index in part)
    assert used == np.flatnonzero(present[:, [3, 1, 8, 0, 2, 5]].any(1)).tolist()
    assert (
        parts[2] == np.flatnonzero(present[:, 5]).tolist()
    )  # the rarest class keeps all its images


def test_labels_of_a_step():
    steps = ClassSteps((("b", "a"), ("d",), ("c",)), "none")
    data = StepData(
        dataset(*ROWS), dataset(*ROWS, [0, 1, 2, 3], [4, 255, 0, 0]), steps, "overlapped"
    )
    own = data.train_set(0, with_background=False)
    assert own.classes.names == ("b", "a")
    assert own.label_map(1).tolist() == [[1, 0, -1, -1]]
    both = data.train_set(0, with_background=True)
    assert both.classes.names == ("none", "b", "a")
    assert both.label_map(1).tolist() == [[2, 1, 0, -1]]  # void stays ignored
    later = data.train_set(2, with_background=True)
    assert later.classes.names == ("none", "b", "a", "d", "c")
    assert later.ids == ["1", "2"]
    assert later.label_map(0).tolist() == [[0, 0, 4, -1]]  # earlier classes are background
    val = data.val_set(1)
    assert val.classes.names == ("none", "b", "a", "d")
    assert len(val) == 7
    assert val.label_map(5).tolist() == [[0, 2, 1, 0]]  # a class of a later step, too
    assert val.label_map(6).tolist() == [[3, -1, 0, 0]]


def test_labels_without_a_background_class():
    names = tuple(name for name in NAMES if name != "none")
    mapping = {0: IGNORE_INDEX, 1: 0, 2: 1, 3: 2, 4: 3, VOID: IGNORE_INDEX}
    labels = LabelTable(ClassTable.from_names(names), mapping, {})
    sets = [dataset(*ROWS, [0, 1, 2, 3]).with_labels(labels) for _ in range(2)]
    data = StepData(*sets, ClassSteps((("a",), ("c",))), "overlapped")
    val = data.val_set(0)
    assert val.classes.names == ("a",)
    assert val.label_map(5).tolist() == [
        [-1, 0, -1, -1]
    ]  # classes that are not learnt count nowhere
    later = data.train_set(1, with_background=True)
    assert later.classes.names == ("background", "a", "c")
    assert later.label_map(0).tolist() == [[0, 0, 2, -1]]


def test_colours_stay_with_their_classes():
    classes = table().classes
    own = class_table(table(), ("d", "b"), background="none").classes
    expected = tuple(classes.palette[NAMES.index(name)] for name in ("none", "d", "b"))
    assert own.palette == expected

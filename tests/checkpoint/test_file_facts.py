"""What a file says of its classes, crops and windows, in the forms in which trainings write it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vitseg.checkpoint.file_facts import FileFacts, read_facts
from vitseg.checkpoint.written_config import Window

ABC = ("a", "b", "c")
COLORS = ((1, 2, 3), (4, 5, 6), (7, 8, 9))


def facts(content: dict[str, Any], folder: Path = Path("/nowhere")) -> FileFacts:
    return read_facts(content, folder / "weights.pth")


@pytest.mark.parametrize(
    "classes",
    [
        ABC, list(ABC), json.dumps(ABC), "a, b,c", "a\nb\nc\n",
        {0: "a", 1: "b", 2: "c"}, {"2": "c", "0": "a", "1": "b"}, {"a": 0, "b": 1, "c": 2},
        [{"id": 0, "name": "a", "color": [1, 2, 3]}, {"name": "b"}, {"name": "c"}],
        (" a", "b\n", "\x1bc"),
    ],
    ids=repr,
)  # fmt: skip
@pytest.mark.parametrize("place", ["meta", "hyper_parameters", "dataset_meta"])
def test_forms_of_names(classes, place):
    assert facts({place: {"classes": classes}}).names == ABC


@pytest.mark.parametrize(
    "classes",
    [
        3, None, "cityscapes", [0, 1, 2], ("a", "", "c"), {1: "a", 2: "b", 3: "c"}, {"a": "b"}, ("a" * 10**6,),
        ("LABEL_0", "LABEL_1"), [{"id": 0}], {}, [], "", {"a": True}, b"abc",
    ],
    ids=lambda value: repr(value)[:30],
)  # fmt: skip
def test_what_names_nothing(classes):
    assert facts({"meta": {"CLASSES": classes}}).names is None


@pytest.mark.parametrize(
    "palette",
    [
        COLORS, [list(color) for color in COLORS], json.dumps(COLORS), ["#010203", "#040506", "#070809"],
        {"0": [1, 2, 3], "1": [4, 5, 6], "2": [7, 8, 9]},
    ],
    ids=repr,
)  # fmt: skip
def test_forms_of_palettes(palette):
    table = facts({"meta": {"CLASSES": ABC, "PALETTE": palette}}).table(3)
    assert table is not None
    assert table.palette == COLORS


@pytest.mark.parametrize(
    "palette",
    [COLORS[:2], [[0.1, 0.2, 0.3]] * 3, [[True, False, True]] * 3, "red", [[1, 2, 300]] * 3, 5, {}],
    ids=repr,
)
def test_palettes_that_are_none(palette):
    """The names hold; colours are generated."""
    table = facts({"meta": {"CLASSES": ABC, "PALETTE": palette}}).table(3)
    assert table is not None
    assert table.names == ABC
    assert len(set(table.palette)) == 3


def test_names_of_another_number_are_none_of_this_model():
    assert facts({"meta": {"CLASSES": ABC}}).table(4) is None
    assert facts({"meta": {"CLASSES": ("a", "a", "b")}}).table(3) is None


def test_the_entry_that_has_as_many_is_taken():
    found = facts({"meta": {"CLASSES": ("x", "y")}, "dataset_meta": {"classes": ABC}})
    table = found.table(3)
    assert table is not None
    assert table.names == ABC


def test_a_licence_is_one_line():
    assert facts({"meta": {"license": "mit\n\x1b[31m\nonly"}}).license == "mit [31m only"


ONE_LINE = (
    "model=dict(backbone=dict(img_size=(64, 256)), "
    "test_cfg=dict(mode='slide', crop_size=(64, 256), stride=(32, 128)))\n"
)
PRETTY = """crop_size = (
    64,
    256,
)
model = dict(
    backbone=dict(img_size=(
        64,
        256,
    )),
    test_cfg=dict(
        crop_size=(
            64,
            256,
        ), mode='slide', stride=(
            32,
            128,
        )),
    train_cfg=dict())
test_cfg = dict(type='TestLoop')
"""


@pytest.mark.parametrize("meta", [{"config": ONE_LINE}, {"cfg": PRETTY}], ids=["0", "1"])
def test_the_text_of_mmsegmentation(meta):
    found = facts({"meta": meta}).config
    assert found.sizes == ((64, 256),)
    assert found.window == Window("slide", (64, 256), (32, 128))


def test_a_whole_image():
    assert facts({"meta": {"cfg": "test_cfg = dict(mode='whole')\n"}}).config.window == Window(
        "whole"
    )


@pytest.mark.parametrize(
    "text",
    [
        "test_cfg=dict(mode='slide')", "test_cfg=dict(mode='slide', crop_size=(0, 0), stride=(1, 1))",
        "test_cfg=dict(mode='slide', crop_size=(64, 64), stride=(99, 99))", "test_cfg=dict(" * 10_000,
        "crop_size=(99999, 1)", "import os; os.system('x')", "img_size=" + "9" * 5000, "x" * 2_000_000,
    ],
    ids=lambda text: text[:40],
)  # fmt: skip
def test_texts_that_say_nothing(text):
    found = facts({"meta": {"config": text}}).config
    assert found.window is None
    assert set(found.sizes) <= {(64, 64)}


@pytest.mark.parametrize("value", [[64, 256], (64, 256)])
def test_sizes_among_hyperparameters(value):
    assert facts({"hyper_parameters": {"img_size": value}}).config.sizes == ((64, 256),)
    assert facts({"hparams": {"crop_size": 96}}).config.sizes == ((96, 96),)


def test_a_size_in_the_config_beside(tmp_path):
    content = {"model_type": "vit", "image_size": [64, 256]}
    (tmp_path / "config.json").write_text(json.dumps(content))
    assert facts({}, tmp_path).config.sizes == ((64, 256),)

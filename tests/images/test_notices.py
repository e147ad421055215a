"""Notices of many pictures, in a line for each kind."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from PIL import Image

from tests.tiny import make_predictor
from vitseg.images.notices import NoticeTally, about, grouped, say_notices
from vitseg.images.pixel_source import Notice, range_notice
from vitseg.images.value_range import PictureValues, ValueRange

LEFT_OUT = Notice("bands-left-out", "its 4th band is left out")


def own_range(high: float) -> Notice:
    return range_notice(PictureValues("uint16", ValueRange(0, high), "own"))


def lines_of(*notices: Notice) -> list[str]:
    tally = NoticeTally()
    for number, notice in enumerate(notices):
        tally.add(f"{number}.png", [notice])
    return list(tally.lines())


def test_of_one_picture_as_it_is():
    assert lines_of(LEFT_OUT) == ["0.png: its 4th band is left out."]


def test_of_many_with_a_count_and_the_first_names():
    (line,) = lines_of(*[LEFT_OUT] * 12)
    assert line == "12 images (0.png, 1.png, 2.png and 9 more): its 4th band is left out."


def test_ranges_with_the_least_and_the_largest():
    (line,) = lines_of(*(own_range(high) for high in (900, 310, 4095, 700)))
    assert line.startswith(
        "4 images (0.png, 1.png, 2.png and 1 more): uint16 pixels without a stated range"
    )
    assert "0 to 310 in the darkest" in line
    assert "0 to 4,095 in the brightest" in line


def test_pictures_that_have_the_same_range_say_it_once():
    (line,) = lines_of(own_range(900), own_range(900))
    assert line.count("0 to 900") == 1


def test_each_kind_has_its_line():
    assert len(lines_of(LEFT_OUT, own_range(5), LEFT_OUT, own_range(9))) == 2


def test_logs_are_held_back_and_joined(caplog):
    log = logging.getLogger("vitseg")
    caplog.set_level("INFO", logger="vitseg")
    with grouped():
        for name in ("a.tif", "b.tif", "c.tif"):
            say_notices(name, [LEFT_OUT])
            log.info("%s lies nowhere.", name, extra=about(name))
            log.info("views are left out.", extra=about(""))
        log.info("about something else.")
        assert caplog.messages == ["about something else."]
    assert caplog.messages[1:] == [
        "3 images (a.tif, b.tif, c.tif): its 4th band is left out.",
        "a.tif lies nowhere. The same of b.tif, c.tif.",
        "views are left out.",
    ]
    say_notices("d.tif", [LEFT_OUT])
    assert caplog.messages[-1] == "d.tif: its 4th band is left out."


def test_they_are_told_after_an_error_too(caplog):
    def fail() -> None:
        with grouped():
            say_notices("a.tif", [LEFT_OUT])
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert caplog.messages == ["a.tif: its 4th band is left out."]


def test_a_list_that_is_predicted_has_one_line(tmp_path, caplog):
    for name, high in (("a", 900), ("b", 3000)):
        values = np.linspace(0, high, 64 * 64).reshape(64, 64).astype(np.uint16)
        Image.fromarray(values).save(tmp_path / f"{name}.png")
    with caplog.at_level("WARNING", logger="vitseg"):
        make_predictor()([tmp_path / "a.png", tmp_path / "b.png"])
    (line,) = caplog.messages
    assert line.startswith("2 images (")
